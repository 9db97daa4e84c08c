//! `serve`: the store as a registry, in front of every upstream.

mod config;
mod journal;
mod keys;

pub use config::{ServeConfig, TlsConfig};

use crate::upstream::{Terms, Upstreams};
use crate::{Engine, Error, Result};
use larder_core::{Event, Registry};
use larder_server::{
    Access, AccessSettings, Farewell, OnMiss, Parts, Server, Sink, Tls, TlsFiles, create_token_key,
};
use larder_store::{AuditLimits, Auditor, AuditorOptions, WhenFull};
use std::future::Future;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;

/// A server that has its address and may start.
pub struct Serving {
    engine: Engine,
    server: Server,
    listeners: std::sync::Mutex<Vec<TcpListener>>,
    addresses: Vec<SocketAddr>,
    access: Arc<Access>,
    tls: Option<Arc<Tls>>,
    upstreams: Arc<Upstreams>,
    auditor: Arc<Auditor>,
}

impl Engine {
    /// Prepares a server: checks everything, binds the addresses, answers nobody yet. `log` is told about every request.
    ///
    /// # Errors
    /// Names the key of the configuration that cannot be used. A server that anybody on the network could write to is
    /// refused: it needs accounts, or an address on the loopback, or to be told so.
    pub async fn prepare_to_serve(&self, config: &ServeConfig, log: Sink) -> Result<Serving> {
        let addresses = addresses(&config.listen)?;
        let now = (self.host().clock)();
        let access = self.access(config, &addresses)?;
        let client_ca = access.client_ca.as_ref().map(|settings| settings.file.clone());
        let access = Access::new(access, self.host().clock.clone(), Arc::new(keys::IssuerKeys(self.clone())));
        let access = Arc::new(access.map_err(|source| Error::Access { source: Box::new(source) })?);
        let tls = match &config.tls {
            None => None,
            Some(tls) => {
                let files =
                    TlsFiles { certificate: tls.certificate.clone(), key: tls.key.clone(), client_ca };
                let opened = Tls::open(files, now);
                Some(Arc::new(opened.map_err(|source| Error::Tls { source: Box::new(source) })?))
            }
        };
        let terms =
            Terms { offline: config.offline, share: config.share, accounts: config.access.has_accounts() };
        let upstreams = Upstreams::new(self, &config.upstreams, terms)?;
        self.warn_of_withheld(&upstreams.withheld().await?);
        let options = AuditorOptions { when_full: WhenFull::DropAndCount, ..AuditorOptions::default() };
        let auditor = Auditor::start(self.store(), AuditLimits::default(), options)
            .map_err(|source| Error::Store { action: "cannot open the audit log".into(), source })?;
        let auditor = Arc::new(auditor);
        let mut listeners = Vec::new();
        for address in &addresses {
            let bound = bind(*address);
            listeners.push(bound.map_err(|source| Error::Listen { address: address.to_string(), source })?);
        }
        let addresses = listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect();
        let settings = larder_server::Settings {
            default_namespace: config.default_namespace()?,
            public_url: config.public_url.clone(),
            quota: self.policy().quota,
            blob_limit: config.max_blob.0,
            head_timeout: config.head_timeout.0,
            stall_timeout: config.stall_timeout.0,
            connections: config.max_connections,
            grace: config.grace.0,
            via: Some(upstreams.via().to_owned()),
            private_metrics: config.private_metrics,
            ..larder_server::Settings::default()
        };
        let parts = Parts {
            store: self.store().clone(),
            access: access.clone(),
            on_miss: Some(upstreams.clone() as Arc<dyn OnMiss>),
            sinks: std::iter::once(log)
                .chain(self.config().audit.then(|| journal::sink(auditor.clone())))
                .collect(),
            clock: self.host().clock.clone(),
        };
        Ok(Serving {
            engine: self.clone(),
            server: Server::new(settings, parts),
            listeners: std::sync::Mutex::new(listeners),
            addresses,
            access,
            tls,
            upstreams,
            auditor,
        })
    }
}

impl Engine {
    fn warn_of_withheld(&self, registries: &[Registry]) {
        if !registries.is_empty() {
            let names: Vec<&str> = registries.iter().map(Registry::as_str).collect();
            let message = format!(
                "what the store has of {} is only for callers with an account: it is not known to be public, and there is \
                 no upstream to ask; --share (serve.share: true) makes it readable for whoever the rules let",
                names.join(", ")
            );
            (self.progress())(Event::Warning { message });
        }
    }

    /// The rules in force, and the key that signs tokens: one of this store if the configuration names none.
    fn access(&self, config: &ServeConfig, addresses: &[SocketAddr]) -> Result<AccessSettings> {
        let mut access = config.access(addresses)?;
        if let Some(tokens) = &mut access.tokens {
            if tokens.key.as_os_str().is_empty() {
                tokens.key = self.store().home().join("token.pem");
            }
            create_token_key(&tokens.key).map_err(|source| Error::Access { source: Box::new(source) })?;
        }
        Ok(access)
    }
}

impl Serving {
    /// Where it listens: with the ports that were chosen.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Whether clients have to speak TLS.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Reads certificates again. `false`: there are none. What cannot be read stays as it was.
    pub fn reload_certificates(&self) -> Result<bool> {
        let Some(tls) = &self.tls else { return Ok(false) };
        let now = (self.engine.host().clock)();
        tls.reload(now).map_err(|source| Error::Tls { source: Box::new(source) })?;
        Ok(true)
    }

    /// Reads accounts again, and takes over the rules of `config`; the rest of it needs a restart. If there is something wrong
    /// in them, all stay as they were.
    pub fn reload_access(&self, config: &ServeConfig) -> Result<()> {
        let access = self.engine.access(config, &self.addresses)?;
        self.access.reload(access).map_err(|source| Error::Access { source: Box::new(source) })
    }

    /// Reads certificates again if their files changed. `true` if they did.
    pub fn refresh(&self) -> Result<bool> {
        let Some(tls) = &self.tls else { return Ok(false) };
        let now = (self.engine.host().clock)();
        tls.refresh(now).map_err(|source| Error::Tls { source: Box::new(source) })
    }

    /// What does not work about accounts although it is configured, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        self.access.problems()
    }

    /// Records something about the server itself.
    fn record(&self, action: &'static str) {
        if self.engine.config().audit {
            let mut record = self.engine.about(action, None);
            let addresses: Vec<String> = self.addresses.iter().map(ToString::to_string).collect();
            record.reference = Some(addresses.join(" "));
            // Refused only when the queue is full, and then it is counted.
            let _ = self.auditor.offer(record);
        }
    }

    /// Answers until `leave` resolves, then lets transfers finish. To be called once.
    pub async fn run(&self, leave: impl Future<Output = ()> + Send) -> Farewell {
        let listeners =
            std::mem::take(&mut *self.listeners.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        let (leaving, left) = watch::channel(false);
        let mut running = tokio::task::JoinSet::new();
        self.record("serve-start");
        for listener in listeners {
            let (server, tls, mut left) = (self.server.clone(), self.tls.clone(), left.clone());
            running.spawn(async move {
                // An error means that the sender is gone, which is a reason to leave, too.
                let leave = async move { drop(left.wait_for(|leaving| *leaving).await) };
                server.serve(listener, tls, leave).await
            });
        }
        let upstreams = self.upstreams.clone();
        let housekeeping = tokio::spawn(async move { upstreams.housekeeping().await });
        leave.await;
        // Nobody listens any more if the last server has ended by itself.
        let _ = leaving.send(true);
        let mut farewell = Farewell { cut: 0 };
        while let Some(ended) = running.join_next().await {
            farewell.cut += ended.map_or(0, |ended| ended.cut);
        }
        housekeeping.abort();
        self.upstreams.flush().await;
        self.record("serve-stop");
        let auditor = self.auditor.clone();
        // What cannot be written by now is counted; there is nobody left to wait.
        let _ = tokio::task::spawn_blocking(move || auditor.close()).await;
        farewell
    }
}

fn addresses(listen: &[String]) -> Result<Vec<SocketAddr>> {
    let mut all = Vec::new();
    for text in listen {
        // `:5000` is how most of the field writes "everywhere".
        let full = if text.starts_with(':') { format!("[::]{text}") } else { text.clone() };
        let found = full.to_socket_addrs().map(|addresses| addresses.collect::<Vec<_>>());
        let found = found.map_err(|error| Error::Config {
            problem: format!("serve: listen: {text:?} is not ADDRESS:PORT: {error}"),
        })?;
        all.extend(found.into_iter().next());
    }
    if all.is_empty() {
        return Err(Error::Config { problem: "serve: listen: no address".into() });
    }
    Ok(all)
}

/// As [`TcpListener::bind`], with room for more who wait to be taken: beyond its 128, a crowd that comes at once waits for the
/// second attempt of its kernels, which is a second later.
fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    // The kernel lowers it to what the machine allows (net.core.somaxconn).
    socket.listen(4096)
}

/// Whether only this machine can reach an address.
pub(crate) fn is_private(address: &SocketAddr) -> bool {
    address.ip().is_loopback()
}

fn registry(key: &str, name: &str) -> Result<Registry> {
    Registry::new(name).map_err(|error| Error::Config { problem: format!("serve: {key}: {error}") })
}
