//! The server: what all its requests share.

use crate::access::Access;
use crate::documents::Documents;
use crate::metrics::Metrics;
use crate::naming::Naming;
use crate::proof::Proofs;
use crate::record::Sink;
use crate::uses::Uses;
use crate::{OnMiss, Settings};
use larder_store::Store;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::SystemTime;

/// An OCI registry over a store. Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct Server(pub(crate) Arc<Shared>);

/// What a server is made of.
pub struct Parts {
    /// Where everything is kept.
    pub store: Store,
    /// Who may do what.
    pub access: Arc<Access>,
    /// Where the rest comes from. `None`: there is nothing but the store.
    pub on_miss: Option<Arc<dyn OnMiss>>,
    /// Who is told about requests.
    pub sinks: Vec<Sink>,
    /// The time.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

pub(crate) struct Shared {
    pub(crate) settings: Settings,
    pub(crate) naming: Naming,
    pub(crate) store: Store,
    pub(crate) access: Arc<Access>,
    pub(crate) on_miss: Option<Arc<dyn OnMiss>>,
    pub(crate) sinks: Arc<[Sink]>,
    pub(crate) clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) proofs: Proofs,
    pub(crate) documents: Documents,
    pub(crate) uses: Uses,
    pub(crate) leaving: AtomicBool,
    /// Tells processes and restarts apart in request ids.
    run: u64,
    requests: AtomicU64,
}

impl Server {
    /// A server that is ready to take connections; see [`Server::serve`].
    pub fn new(settings: Settings, parts: Parts) -> Self {
        let Parts { store, access, on_miss, sinks, clock } = parts;
        let started = clock().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let run = started.as_micros() as u64 ^ u64::from(std::process::id()) << 44;
        Self(Arc::new(Shared {
            naming: Naming::new(settings.default_namespace.as_ref()),
            metrics: Arc::new(Metrics::new(settings.quota)),
            proofs: Proofs::new(store.clone()),
            documents: Documents::new(store.clone(), settings.manifest_cache),
            sinks: sinks.into(),
            uses: Uses::default(),
            leaving: AtomicBool::new(false),
            requests: AtomicU64::new(0),
            settings,
            store,
            access,
            on_miss,
            clock,
            run,
        }))
    }

    /// The counters, as `/metrics` shows them.
    pub fn metrics(&self) -> String {
        let upstreams = self.0.on_miss.as_ref().map(|on_miss| on_miss.states()).unwrap_or_default();
        self.0.metrics.text(&self.0.store, &upstreams)
    }
}

impl Shared {
    /// Uses and hits since the last time, into the store, and what was pushed into its index for other tools. Blocks. What cannot
    /// be written now is written the next time.
    pub(crate) fn write_figures(&self) {
        let _ = self.store.flush();
        self.uses.write(&self.store);
        self.metrics.write(&self.store);
    }

    pub(crate) fn request_id(&self) -> String {
        format!("{:012x}-{:x}", self.run & 0xffff_ffff_ffff, self.requests.fetch_add(1, Ordering::Relaxed))
    }

    /// The hook, if it has a say about this registry.
    pub(crate) fn upstream(&self, repository: &larder_core::RepositoryName) -> Option<&Arc<dyn OnMiss>> {
        self.on_miss.as_ref().filter(|on_miss| on_miss.covers(repository.registry()))
    }
}
