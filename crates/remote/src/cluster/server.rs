//! API servers of Kubernetes: read, and nothing else.

use super::gate::{GateLayer, TooLong};
use super::{ApiAccess, ApiKind, ApiKinds};
use crate::transport::is_about_tls;
use crate::{Config, Error, Proxy, Result};
use bytes::Bytes;
use http::header::USER_AGENT;
use http::uri::Scheme;
use http::{HeaderValue, Request, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use k8s_openapi::apimachinery::pkg::version::Info;
use kube::Client;
use kube::client::ClientBuilder;
use kube::client::retry::RetryPolicy;
use kube::core::Status;
use kube::core::params::ListParams;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use tower::buffer::BufferLayer;
use tower::retry::RetryLayer;

/// A connection to an API server. It sends GET requests only, follows no redirects, keeps to one host, and reads no more of an
/// answer than it may.
#[derive(Clone)]
pub struct ApiServer {
    client: Client,
    host: String,
    config: Config,
}

impl ApiServer {
    /// Makes a connection ready; nothing is sent. An answer has `limit` bytes at most.
    ///
    /// # Errors
    /// Certificates, keys, names or a proxy that cannot be used.
    ///
    /// # Panics
    /// Outside of a Tokio runtime, on which the connection lives.
    pub fn new(access: &ApiAccess, config: Config, limit: u64) -> Result<Self> {
        let host = access.host();
        let setup = |source: kube::Error| Error::ApiSetup { host: host.clone(), source: cause(source) };
        let mut options = access.config().clone();
        options.connect_timeout = Some(config.connect_timeout);
        options.read_timeout = Some(config.idle_timeout);
        options.write_timeout = Some(config.idle_timeout);
        options.reset_reader_on_write = true;
        // The retries are outside of the gate, which bounds what a server may ask for.
        options.default_retry = false;
        if options.proxy_url.is_none() {
            options.proxy_url =
                config.proxy.as_ref().and_then(|proxy| way_out(proxy, &options.cluster_url)).transpose()?;
        }
        if let Ok(agent) = HeaderValue::from_str(&config.user_agent) {
            options.headers.push((USER_AGENT, agent));
        }
        let (base, max) = (config.backoff_base.min(config.backoff_max), config.backoff_max);
        // A group of the API whose server is away is unavailable for long, and nothing to wait for.
        let retries = config.attempts.saturating_sub(1).min(3);
        let policy = RetryPolicy::new(base, max, retries, true).unwrap_or_default();
        let gate = GateLayer { limit, retry_after_max: config.retry_after_max };
        let client = ClientBuilder::try_from(options)
            .map_err(setup)?
            .with_layer(&gate)
            .with_layer(&BufferLayer::new(1))
            .with_layer(&RetryLayer::new(policy))
            .build();
        Ok(Self { client, host, config })
    }

    /// The version of the server: `v1.34.2`.
    ///
    /// # Errors
    /// As [`Self::page`].
    pub async fn version(&self) -> Result<String> {
        let info: Info = self.document("/version", None).await?;
        Ok(info.git_version)
    }

    /// Everything that the server has.
    ///
    /// # Errors
    /// No connection. What it refuses to say is in [`ApiKinds::refused`].
    pub async fn kinds(&self) -> Result<ApiKinds> {
        ApiKinds::read(self).await
    }

    /// Some objects of a kind, as JSON text: from the start, or what comes after another page.
    ///
    /// # Errors
    /// No connection ([`Error::ApiConnect`], [`Error::ApiTls`], [`Error::ApiInterrupted`]), an error status
    /// ([`Error::ApiStatus`]; that the server is busy is waited out first), more bytes than the limit.
    pub async fn page(
        &self,
        kind: &ApiKind,
        namespace: Option<&str>,
        count: u32,
        after: Option<&str>,
    ) -> Result<Bytes> {
        let mut parameters = ListParams::default().limit(count);
        parameters.continue_token = after.map(str::to_owned);
        let path = kind.path(namespace);
        let request = kube::core::Request::new(path.clone()).list(&parameters);
        self.answer(request.map_err(|_| no_path(path))?).await
    }

    /// A document about the server itself.
    pub(super) async fn document<T: DeserializeOwned>(&self, path: &str, accept: Option<&str>) -> Result<T> {
        let bytes = self.bytes(path, accept).await?;
        read(path, &bytes)
    }

    pub(super) async fn bytes(&self, path: &str, accept: Option<&str>) -> Result<Bytes> {
        let mut request = Request::get(path);
        if let Some(accept) = accept {
            request = request.header(http::header::ACCEPT, accept);
        }
        let request = request.body(Vec::new());
        self.answer(request.map_err(|_| no_path(path.to_owned()))?).await
    }

    async fn answer(&self, request: Request<Vec<u8>>) -> Result<Bytes> {
        let what = request.uri().path().to_owned();
        let failed = |error: kube::Error| self.blame(error, &what);
        let response = self.client.send(request.map(Into::into)).await.map_err(failed)?;
        let status = response.status();
        let bytes = response.into_body().collect_bytes().await.map_err(failed)?;
        if status.is_success() {
            return Ok(bytes);
        }
        let said = serde_json::from_slice::<Status>(&bytes).map(|status| status.message).unwrap_or_default();
        Err(Error::ApiStatus { what, status: status.as_u16(), message: said })
    }

    fn blame(&self, error: kube::Error, what: &str) -> Error {
        let (host, what) = (self.host.clone(), what.to_owned());
        let source = cause(error);
        let mut words = String::new();
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(&*source);
        while let Some(error) = next {
            if let Some(TooLong { limit }) = error.downcast_ref() {
                return Error::TooLarge { what, limit: *limit };
            }
            words.push_str(&error.to_string().to_ascii_lowercase());
            words.push('\n');
            // I/O errors hide the error they were made of.
            next = match error.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref()) {
                Some(inner) => Some(inner),
                None => error.source(),
            };
        }
        if words.contains("client error (connect)") {
            match is_about_tls(&words) {
                true => Error::ApiTls { host, source },
                false => Error::ApiConnect { host, source },
            }
        } else if words.contains("timed out") {
            Error::Stalled { what, after: self.config.idle_timeout }
        } else {
            Error::ApiInterrupted { what, source }
        }
    }
}

impl fmt::Debug for ApiServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiServer").field("host", &self.host).finish_non_exhaustive()
    }
}

/// The proxy of the environment for a server, as kubectl has it: none for this machine itself, where clusters for trying out are.
fn way_out(proxy: &Proxy, server: &Uri) -> Option<Result<Uri>> {
    let host = server.host()?.trim_matches(['[', ']']);
    let is_here = host.parse().map_or(host == "localhost", |address: IpAddr| address.is_loopback());
    let secure = server.scheme() == Some(&Scheme::HTTPS);
    let url = if secure { &proxy.https } else { &proxy.http }.as_ref()?.reveal();
    // The rule for exceptions is the one that registries are asked by.
    let matcher = Matcher::builder().all("http://proxy.invalid").no(proxy.exceptions.as_str()).build();
    let is_meant = !is_here && matcher.intercept(server).is_some();
    let url = if url.contains("://") { Cow::from(url) } else { format!("http://{url}").into() };
    is_meant.then(|| url.parse().map_err(|_| Error::ApiProxy))
}

/// A document of a known type.
pub(super) fn read<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| Error::ApiAnswer { what: path.to_owned(), source })
}

/// Names come from the server.
fn no_path(what: String) -> Error {
    Error::Protocol { what, reason: "the name cannot be part of an address" }
}

/// The error without the client's word for where it came by.
fn cause(error: kube::Error) -> Box<dyn std::error::Error + Send + Sync> {
    match error {
        kube::Error::Service(source) => source,
        other => Box::new(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::Secret;

    fn used(server: &'static str, exceptions: &str) -> Option<String> {
        let proxy = Proxy {
            http: Some(Secret::new("http://plain.test:3128".to_owned())),
            https: Some(Secret::new("bob:canary@secure.test".to_owned())),
            exceptions: exceptions.to_owned(),
        };
        let used = way_out(&proxy, &Uri::from_static(server))?;
        Some(used.expect("it is an address").to_string())
    }

    #[test]
    fn a_cluster_is_reached_through_the_proxy_for_its_scheme() {
        assert_eq!(
            used("https://kube.test:6443/base", "").as_deref(),
            Some("http://bob:canary@secure.test/")
        );
        assert_eq!(used("http://kube.test", "").as_deref(), Some("http://plain.test:3128/"));
    }

    #[test]
    fn exceptions_and_this_machine_are_reached_directly() {
        for (server, exceptions) in [
            ("https://kube.test:6443", "other.test, .kube.test,kube.test"),
            ("https://api.kube.test", "kube.test"),
            ("https://10.1.2.3:6443", "10.0.0.0/8"),
            ("https://kube.test", "*"),
            ("https://localhost:6443", ""),
            ("https://127.0.0.1:6443", ""),
            ("https://[::1]:6443", ""),
        ] {
            assert_eq!(used(server, exceptions), None, "{server}, {exceptions}");
        }
        assert!(used("https://kube.test", "ube.test,api.kube.test,10.0.0.0/8").is_some());
    }

    #[test]
    fn a_proxy_that_is_no_address_is_an_error_that_keeps_its_secret() {
        let https = Some(Secret::new("http://bob:canary @".to_owned()));
        let proxy = Proxy { http: None, https, exceptions: String::new() };
        let used = way_out(&proxy, &Uri::from_static("https://kube.test")).expect("one is set");
        let error = used.expect_err("it is no address");
        assert!(!format!("{error:?} {error}").contains("canary"));
        assert!(way_out(&proxy, &Uri::from_static("http://kube.test")).is_none());
    }
}
