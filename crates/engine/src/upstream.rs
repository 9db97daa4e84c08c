//! Standing in front of other registries: what the store lacks is brought once, and everybody reads along.
//!
//! What a tag stands for, and who may read what, is the upstream's word, believed for a configured time. While an upstream
//! cannot be asked, what it said before goes on to hold: for tags, for public repositories, and for a bounded time for
//! credentials that it accepted. "Cannot be asked" is never taken for "no" or for "there is no such thing".
//!
//! Every registry but `localhost` is covered: of one that has no upstream, what the store has is served to those who may
//! read it in spite of that.

mod absent;
mod access;
mod blobs;
mod describe;
mod detour;
mod flights;
mod health;
mod housekeeping;
mod lately;
mod learned;
mod lists;
mod manifests;
mod settings;
mod source;
mod trouble;
mod vouch;
mod writer;

pub use settings::{CredentialSource, UpstreamSettings, WELL_KNOWN};
pub use vouch::Terms;

use crate::{Engine, Error};
use absent::Absent;
use access::Access;
use async_trait::async_trait;
use blobs::Transfers;
use flights::Flights;
use housekeeping::{Pressure, Touched};
use larder_core::{Descriptor, Digest, Event, Kind, Progress, Registry, RepositoryName, Tag};
use larder_remote::Keychain;
use larder_server::{Bringing, Caller, Found, LOCAL, OnMiss, Selector, Trouble, UpstreamState};
use larder_store::{Lease, Store};
use lately::Lately;
use learned::Learned;
use lists::Lists;
use manifests::{FlightKey, Flown};
use source::Source;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

/// The upstreams behind a server.
pub struct Upstreams {
    shared: Arc<Shared>,
    via: String,
}

/// What requests and the tasks they start have in common.
struct Shared {
    engine: Engine,
    keychain: Arc<dyn Keychain>,
    progress: Progress,
    terms: Terms,
    sources: HashMap<Registry, Arc<Source>>,
    /// Stands for every registry that is not among the sources. Never asked.
    nobody: Arc<Source>,
    access: Access,
    absent: Absent,
    /// What selectors stand for, heard while access was asked for.
    heard: Lately<(RepositoryName, Selector), Descriptor>,
    learned: Learned,
    flights: Flights<FlightKey, Flown>,
    lists: Lists,
    transfers: Transfers,
    touched: Touched,
    pressure: Pressure,
}

/// Answers that were heard and not used yet.
const HEARD: usize = 4096;

impl Upstreams {
    /// The upstreams of `settings`, by registry, and the well-known ones; settings for `*` hold for every well-known one
    /// that has none. Of all other registries the store is all there is. Talks to nobody.
    ///
    /// # Errors
    /// Settings that do not fit, unusable credential files and proxies.
    pub fn new(
        engine: &Engine,
        settings: &BTreeMap<String, UpstreamSettings>,
        terms: Terms,
    ) -> crate::Result<Arc<Self>> {
        let mut key = [0; 32];
        rustix::rand::getrandom(&mut key, rustix::rand::GetRandomFlags::empty()).map_err(|error| {
            Error::File { action: "cannot read", path: "/dev/urandom".into(), source: error.into() }
        })?;
        let via = format!("larder-{}", &Digest::of(&key).to_string()["sha256:".len()..][..16]);
        let mut sources = HashMap::new();
        for (registry, mut settings, url) in settings::resolve(settings)? {
            settings.offline |= terms.offline;
            let source = Source::new(engine, registry.clone(), settings, url, &via)?;
            source.warn_of_plain_http(engine.progress());
            sources.insert(registry, Arc::new(source));
        }
        let local = Registry::new(LOCAL).expect("a host name");
        let offline = UpstreamSettings { offline: true, ..UpstreamSettings::default() };
        let shared = Shared {
            terms,
            nobody: Arc::new(Source::new(engine, local, offline, None, &via)?),
            engine: engine.clone(),
            keychain: engine.keychain()?,
            progress: engine.progress().clone(),
            sources,
            access: Access::new(key),
            absent: Lately::new(absent::MOST),
            heard: Lately::new(HEARD),
            learned: Learned::new(),
            flights: Flights::default(),
            lists: Lists::new(),
            transfers: Transfers::new(),
            touched: Touched::default(),
            pressure: Pressure::default(),
        };
        Ok(Arc::new(Self { shared: Arc::new(shared), via }))
    }

    /// The name under which upstreams hear of this server, in `Via`. A request that carries it is one of its own.
    pub fn via(&self) -> &str {
        &self.via
    }

    /// Writes down what was used and keeps the quota of the configuration while serving; never ends. Requests do not wait
    /// for it. Between two collections up to 64 MiB, and whatever is under way, may come in over the quota.
    pub async fn housekeeping(&self) {
        self.shared.housekeeping().await;
    }

    /// Notes that something came into the store by another way, for example a push, so that the quota is looked at in time.
    pub fn wrote(&self, bytes: u64) {
        self.shared.pressure.add(bytes);
    }

    /// Writes down what was used since the last time; for the end of a server.
    pub async fn flush(&self) {
        self.shared.write_uses().await;
    }

    /// Blobs that are being brought.
    pub fn transfers(&self) -> usize {
        self.shared.transfers.count()
    }
}

#[async_trait]
impl OnMiss for Upstreams {
    fn covers(&self, registry: &Registry) -> bool {
        registry.as_str() != LOCAL
    }

    async fn authorize(
        &self,
        repository: &RepositoryName,
        about: Option<&Selector>,
        caller: &Caller,
    ) -> Result<(), Trouble> {
        self.shared.authorize(repository, about, caller).await
    }

    async fn manifest(
        &self,
        repository: &RepositoryName,
        selector: &Selector,
        caller: &Caller,
    ) -> Result<Found, Trouble> {
        self.shared.manifest(repository, selector, caller).await
    }

    async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        caller: &Caller,
    ) -> Result<Bringing, Trouble> {
        self.shared.blob(repository, digest, caller).await
    }

    async fn blob_size(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        caller: &Caller,
    ) -> Result<u64, Trouble> {
        self.shared.blob_size(repository, digest, caller).await
    }

    async fn tags(&self, repository: &RepositoryName, caller: &Caller) -> Result<Option<Vec<Tag>>, Trouble> {
        self.shared.tags(repository, caller).await
    }

    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        caller: &Caller,
    ) -> Result<Option<Vec<Descriptor>>, Trouble> {
        self.shared.referrers(repository, subject, caller).await
    }

    fn states(&self) -> Vec<UpstreamState> {
        let asked = self.shared.sources.values().filter(|source| !source.settings.offline);
        let mut states: Vec<_> = asked.map(|source| source.health.state(&source.registry)).collect();
        states.sort_by(|a, b| a.registry.cmp(&b.registry));
        states
    }
}

impl Shared {
    fn store(&self) -> &Store {
        self.engine.store()
    }

    fn now(&self) -> SystemTime {
        (self.engine.host().clock)()
    }

    fn warn(&self, message: String) {
        (self.progress)(Event::Warning { message });
    }

    /// The upstream of a repository. Nobody else's host is ever contacted.
    fn source(&self, repository: &RepositoryName) -> Result<Arc<Source>, Trouble> {
        if repository.registry().as_str() == LOCAL {
            return Err(trouble::plain(Kind::NotFound, format!("{repository} has no upstream")));
        }
        Ok(self.source_of(repository.registry()))
    }

    fn source_of(&self, registry: &Registry) -> Arc<Source> {
        self.sources.get(registry).unwrap_or(&self.nobody).clone()
    }

    async fn lease(&self) -> Result<Leased, Trouble> {
        self.on_disk(|store| store.lease("bring from upstream")).await.map(|lease| Leased(Some(lease)))
    }

    /// Work that may wait for the disk, or for others who write. Whoever else asks meanwhile is answered.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> larder_store::Result<T> + Send + 'static,
    ) -> Result<T, Trouble> {
        let store = self.store().clone();
        blocking(move || work(&store)).await?.map_err(|error| trouble::store(&error))
    }
}

/// A lease that does not end on a thread that serves connections: its end is written down, and may have to wait.
struct Leased(Option<Lease>);

impl std::ops::Deref for Leased {
    type Target = Lease;

    fn deref(&self) -> &Lease {
        self.0.as_ref().expect("taken only when it is dropped")
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        let lease = self.0.take();
        match tokio::runtime::Handle::try_current() {
            Ok(runtime) => drop(runtime.spawn_blocking(move || drop(lease))),
            Err(_) => drop(lease),
        }
    }
}

/// Work that may wait for the disk.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Trouble> {
    tokio::task::spawn_blocking(work).await.map_err(|_| trouble::lost("the store"))
}
