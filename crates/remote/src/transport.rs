//! Connections: one HTTP client per way of trusting a host.
//!
//! Connections to hosts the user named and to hosts a server pointed to live in separate pools, so that a connection opened
//! under one rule is never used under the other.

use crate::config::Proxy;
use crate::guard::{Guard, Refused, Resolver, Trust};
use crate::hosts::{Tls, authorities, authority};
use crate::{Config, Error, Result, redact};
use larder_core::Secret;
use reqwest::header::{HeaderMap, HeaderValue, VIA};
use reqwest::{Certificate, Identity, NoProxy};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;

pub(crate) struct Transport {
    config: Arc<Config>,
    guard: Arc<Guard>,
    clients: Mutex<HashMap<Key, reqwest::Client>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    secure: bool,
    trust: Trust,
    tls: Arc<Tls>,
    dial_timeout: Duration,
}

/// Clients kept at once; more than this many differently configured hosts start over.
const MOST: usize = 256;

impl Transport {
    pub(crate) fn new(config: Arc<Config>) -> Result<Self> {
        let mut proxies = Vec::new();
        if let Some(proxy) = &config.proxy {
            make_proxies(proxy)?;
            for secret in [&proxy.http, &proxy.https].into_iter().flatten() {
                proxies.extend(
                    Url::parse(secret.reveal()).ok().and_then(|url| url.host_str().map(str::to_owned)),
                );
            }
        }
        let guard = Guard {
            allowed: config.allowed_networks.clone(),
            blocked: config.blocked_networks.clone(),
            lookup: config.lookup.clone(),
            proxies,
        };
        Ok(Self { config, guard: Arc::new(guard), clients: Mutex::default() })
    }

    /// A client for `url`, after the guard's word on addresses that need no resolving.
    pub(crate) async fn client(
        &self,
        url: &Url,
        known: Option<(Arc<Tls>, Option<Duration>)>,
        trust: Trust,
    ) -> Result<reqwest::Client> {
        self.guard.admit(url, trust).await.map_err(refused)?;
        let (tls, dial_timeout) = known.unwrap_or_else(|| {
            // Certificate authorities may be known for this host; client certificates are for registries only.
            let ca = authorities(&self.config, &authority(url));
            (Arc::new(Tls { ca, ..Tls::default() }), None)
        });
        let secure = url.scheme() == "https";
        let key = Key {
            secure,
            trust,
            tls: if secure { tls } else { Arc::default() },
            dial_timeout: dial_timeout.unwrap_or(self.config.connect_timeout),
        };
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&key) {
            return Ok(client.clone());
        }
        let client = self.build(&key, url)?;
        if clients.len() >= MOST {
            clients.clear();
        }
        clients.insert(key, client.clone());
        Ok(client)
    }

    fn build(&self, key: &Key, url: &Url) -> Result<reqwest::Client> {
        let mut authorities = Vec::new();
        if key.secure {
            for path in self.config.ca_files.iter().chain(&key.tls.ca) {
                let certificates = Certificate::from_pem_bundle(&read(path)?)
                    .map_err(|source| Error::Certificate { path: path.clone(), source })?;
                authorities.extend(certificates);
            }
        }
        let identity = match key.tls.client.first() {
            None => None,
            Some((certificate, private)) => {
                let mut pem = read(certificate)?;
                if let Some(private) = private {
                    pem.push(b'\n');
                    pem.extend(read(private)?);
                }
                let identity = Identity::from_pem(&pem);
                Some(identity.map_err(|source| Error::Certificate { path: certificate.clone(), source })?)
            }
        };
        let builder = || -> Result<reqwest::ClientBuilder> {
            let mut builder = reqwest::Client::builder()
                .user_agent(&self.config.user_agent)
                .redirect(reqwest::redirect::Policy::none())
                .referer(false)
                .no_proxy()
                .connect_timeout(key.dial_timeout)
                .pool_idle_timeout(Duration::from_secs(60))
                .tcp_keepalive(Duration::from_secs(30))
                .http2_initial_stream_window_size(4 << 20)
                .http2_initial_connection_window_size(16 << 20)
                .dns_resolver(Resolver { guard: self.guard.clone(), trust: key.trust });
            if let Some(proxy) = &self.config.proxy {
                for proxy in make_proxies(proxy)? {
                    builder = builder.proxy(proxy);
                }
            }
            if let Some(via) = self.config.via.as_deref().and_then(|via| HeaderValue::from_str(via).ok()) {
                builder = builder.default_headers(HeaderMap::from_iter([(VIA, via)]));
            }
            if let Some(identity) = &identity {
                builder = builder.identity(identity.clone());
            }
            Ok(builder.tls_danger_accept_invalid_certs(key.tls.skip_verify))
        };
        let setup =
            |source: reqwest::Error| Error::Setup { host: authority(url), source: source.without_url() };
        if !key.secure {
            // Reading the system's certificates takes milliseconds that plain http need not pay.
            return builder()?.tls_certs_only([]).build().map_err(setup);
        }
        let built = builder()?.tls_certs_merge(authorities.clone()).build();
        // A host without any system certificates can still trust the configured ones.
        built.or_else(|error| builder()?.tls_certs_only(authorities).build().map_err(|_| setup(error)))
    }
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn make_proxies(proxy: &Proxy) -> Result<Vec<reqwest::Proxy>> {
    let except = || NoProxy::from_string(&proxy.exceptions);
    let failed = |error: reqwest::Error| Error::Proxy(error.without_url());
    let mut proxies = Vec::new();
    if let Some(url) = proxy.http.as_ref().map(Secret::reveal) {
        proxies.push(reqwest::Proxy::http(url).map_err(failed)?.no_proxy(except()));
    }
    if let Some(url) = proxy.https.as_ref().map(Secret::reveal) {
        proxies.push(reqwest::Proxy::https(url).map_err(failed)?.no_proxy(except()));
    }
    Ok(proxies)
}

fn refused(refused: Refused) -> Error {
    Error::Refused { host: refused.host, address: refused.address, why: refused.why }
}

/// Says what an error of the HTTP client means.
pub(crate) fn blame(error: reqwest::Error, url: &Url, config: &Config) -> Error {
    let source = error.without_url();
    let host = authority(url);
    let mut words = String::new();
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&source);
    while let Some(error) = cause {
        if let Some(found) = error.downcast_ref::<Refused>() {
            return refused(found.clone());
        }
        words.push_str(&error.to_string());
        words.push('\n');
        // I/O errors hide the error they were made of.
        cause = match error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref()) {
            Some(inner) => Some(inner),
            None => error.source(),
        };
    }
    let words = words.to_ascii_lowercase();
    if source.is_builder() {
        Error::Setup { host, source }
    } else if source.is_dns() || words.contains("dns error") {
        Error::UnknownHost { host, source }
    } else if source.is_connect() {
        if url.scheme() == "https" && is_about_tls(&words) {
            Error::Tls { host, certs_dir: config.certs_dirs.first().cloned(), source }
        } else {
            Error::Connect { host, source }
        }
    } else {
        Error::Interrupted { what: redact::url(url), source }
    }
}

/// Whether an error is about TLS, in lower case. The TLS library is not linked here by name, so its words have to do.
pub(crate) fn is_about_tls(words: &str) -> bool {
    let tls = ["certificate", "corrupt message", "fatal alert", "handshake", "peer is incompatible"];
    tls.iter().any(|word| words.contains(word))
}
