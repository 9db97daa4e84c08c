//! Bounds and names: everything about a server that is a number or a word.

use larder_core::Registry;
use std::time::Duration;

/// How a server behaves. The defaults suit a registry on a local network.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The registry that unqualified paths belong to when nothing local has them: `docker.io` makes this a mirror as
    /// Docker's engine wants it.
    pub default_namespace: Option<Registry>,
    /// `https://host[:port]` under which clients reach this server; the request's own `Host` otherwise.
    pub public_url: Option<String>,
    /// Connections at the same time. When there are more, those that have not sent a request yet go first, oldest first.
    pub connections: usize,
    /// How long a client may take for the head of a request; also how long a connection may stay unused.
    pub head_timeout: Duration,
    /// How long a transfer may stay below [`Settings::slowest_bytes`] before it is cut.
    pub stall_timeout: Duration,
    /// What has to move within [`Settings::stall_timeout`].
    pub slowest_bytes: u64,
    /// Largest manifest, in bytes. The distribution specification wants at least 4 MiB.
    pub manifest_limit: u64,
    /// Largest blob that may be pushed, in bytes.
    pub blob_limit: u64,
    /// Memory for manifests that are asked for often, in bytes.
    pub manifest_cache: usize,
    /// How long shutting down waits for transfers.
    pub grace: Duration,
    /// What the store may take, for metrics; enforced elsewhere.
    pub quota: Option<u64>,
    /// The name under which this server appears in `Via` where it asks others. Requests that carry it come from itself.
    pub via: Option<String>,
    /// Whether `/metrics` needs the right to administer.
    pub private_metrics: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            default_namespace: None,
            public_url: None,
            connections: 16_384,
            head_timeout: Duration::from_secs(20),
            stall_timeout: Duration::from_secs(60),
            slowest_bytes: 16 << 10,
            manifest_limit: larder_core::MANIFEST_LIMIT,
            blob_limit: 256 << 30,
            manifest_cache: 16 << 20,
            grace: Duration::from_secs(60),
            quota: None,
            via: None,
            private_metrics: false,
        }
    }
}
