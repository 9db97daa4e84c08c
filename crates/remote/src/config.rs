//! How a client behaves. Everything has a sane default.

use ipnet::IpNet;
use larder_core::{Progress, Registry, Secret, silent};
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use url::Url;

/// Tells the time of day; needed for `Retry-After` dates and for how long cached credentials live.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// Addresses of a host name that the name server is not asked for; `None` asks it. The port comes from the URL.
pub type Lookup = Arc<dyn Fn(&str) -> Option<Vec<IpAddr>> + Send + Sync>;

/// A proxy for outgoing requests.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// For plain http, with credentials if it needs them.
    pub http: Option<Secret>,
    /// For https, with credentials if it needs them.
    pub https: Option<Secret>,
    /// Comma-separated hosts, domains and networks that are reached directly.
    pub exceptions: String,
}

/// How a [`Client`](crate::Client) behaves.
#[derive(Clone)]
pub struct Config {
    /// The `User-Agent` header.
    pub user_agent: String,
    /// The `Via` header (RFC 9110 §7.6.3), for who asks on behalf of others: it is how a loop is noticed.
    pub via: Option<String>,
    /// How long a connection may take to come about.
    pub connect_timeout: Duration,
    /// How long no byte may arrive before a connection is given up.
    pub idle_timeout: Duration,
    /// Bytes per second below which a blob transfer counts as stalled, measured over `idle_timeout` of waiting.
    pub min_rate: Option<u64>,
    /// How often an operation is tried in all without any progress.
    pub attempts: u32,
    /// The wait before the second attempt; it doubles from there.
    pub backoff_base: Duration,
    /// The longest wait that larder chooses by itself.
    pub backoff_max: Duration,
    /// The longest wait that a server's `Retry-After` can impose.
    pub retry_after_max: Duration,
    /// Attempts after the first that all operations of a client share; successes win them back one by one. Keeps a
    /// fleet from drowning a registry that is in trouble.
    pub retry_budget: u32,
    /// Where the jitter of the waits starts.
    pub seed: u64,
    /// Directories with `HOST/hosts.toml`, `HOST/*.crt`, `HOST/*.cert` and `HOST/*.key`, searched in order.
    pub certs_dirs: Vec<PathBuf>,
    /// Where registries are served, other than at their own host. Comes before any hosts file. A path with a component `v2` is
    /// taken as it is, any other gets `/v2` behind it. Credentials are those of the host in the URL.
    pub servers: Vec<(Registry, Url)>,
    /// Registries that may be spoken to without verified TLS, or over plain http where they do not offer TLS.
    pub insecure: Vec<Registry>,
    /// Further certificate authorities for every host, PEM.
    pub ca_files: Vec<PathBuf>,
    /// Private networks that servers may point to (redirects, token servers, upload locations, foreign layers).
    pub allowed_networks: Vec<IpNet>,
    /// Networks that are never connected to, whoever asks.
    pub blocked_networks: Vec<IpNet>,
    /// Token servers that may get credentials though they share no registrable domain with the registry: `host`, or
    /// `host:port`.
    pub realm_hosts: Vec<String>,
    /// How many redirects are followed for one request.
    pub max_redirects: u32,
    /// Whether the `urls` of a descriptor may be used where the registry does not have the blob.
    pub allow_foreign_urls: bool,
    /// Largest part of a blob that is pushed in one request.
    pub push_chunk: u64,
    /// How to get out.
    pub proxy: Option<Proxy>,
    /// Fixed addresses of hosts.
    pub lookup: Option<Lookup>,
    /// The time of day.
    pub clock: Clock,
    /// Where [`Event::Retrying`](larder_core::Event::Retrying) and warnings go.
    pub progress: Progress,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            user_agent: concat!("larder/", env!("CARGO_PKG_VERSION")).into(),
            via: None,
            connect_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(30),
            min_rate: Some(1024),
            attempts: 6,
            backoff_base: Duration::from_millis(200),
            backoff_max: Duration::from_secs(10),
            retry_after_max: Duration::from_secs(60),
            retry_budget: 200,
            seed: 0x6c61_7264_6572,
            certs_dirs: Vec::new(),
            servers: Vec::new(),
            insecure: Vec::new(),
            ca_files: Vec::new(),
            allowed_networks: Vec::new(),
            blocked_networks: Vec::new(),
            realm_hosts: Vec::new(),
            max_redirects: 10,
            allow_foreign_urls: false,
            push_chunk: 64 << 20,
            proxy: None,
            lookup: None,
            clock: Arc::new(SystemTime::now),
            progress: silent(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("user_agent", &self.user_agent)
            .field("connect_timeout", &self.connect_timeout)
            .field("idle_timeout", &self.idle_timeout)
            .field("attempts", &self.attempts)
            .field("certs_dirs", &self.certs_dirs)
            .field("servers", &self.servers.len())
            .field("insecure", &self.insecure)
            .field("allowed_networks", &self.allowed_networks)
            .field("blocked_networks", &self.blocked_networks)
            .field("proxy", &self.proxy)
            .finish_non_exhaustive()
    }
}
