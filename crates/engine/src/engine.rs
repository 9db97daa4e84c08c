//! The composition root: one configuration in, everything wired.

use crate::{Config, Error, Result, keychain};
use larder_core::{Platform, Progress, Reference, Selection};
use larder_fetch::{DiskTier, Fetcher, MemoryTier, RegistryTier, Scope, Settings, SourceTier};
use larder_materialize::{Driver, ErofsDriver, Materializer, OverlayDriver, Scans, Turns};
use larder_remote::{Auth, Client, Keychain, Proxy};
use larder_rootfs::Limits;
use larder_store::{AuditLimits, AuditLog, Lease, Repaired, Store};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;
use tokio::sync::Semaphore;

/// What the engine has to be told about the machine it runs on, since libraries do not look for themselves.
#[derive(Clone)]
pub struct Host {
    /// Changes with every boot. What was written but not synced before the last boot is not trusted.
    pub boot_id: String,
    /// The clock.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// Docker and podman credential files, first one first.
    pub credential_files: Vec<PathBuf>,
    /// Directories where `docker-credential-*` programs are looked for.
    pub helper_path: Vec<PathBuf>,
    /// Seeds the jitter of retries.
    pub seed: u64,
    /// `larder/VERSION (…)`, sent to registries.
    pub user_agent: String,
    /// How to get out, where not directly.
    pub proxy: Option<Proxy>,
    /// Who is recorded in the audit log as the one who acts.
    pub actor: Option<String>,
}

/// The product. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    inner: Arc<Inner>,
}

struct Inner {
    config: Config,
    host: Host,
    store: Store,
    /// What was done to open it.
    repaired: Repaired,
    progress: Progress,
    /// What is done is written down here, if it is to be.
    audit: Option<AuditLog>,
    /// What was just unpacked is not read again to be mounted.
    scans: Scans,
    /// Layers that are unpacked at the same time.
    imports: Semaphore,
    /// Which of them inflate now.
    turns: Turns,
    /// Built on first use: commands that never leave the machine do not load certificates.
    online: OnceLock<Online>,
}

struct Online {
    client: Client,
    keychain: Arc<dyn Keychain>,
    fetcher: Fetcher,
}

impl Engine {
    /// Opens the store and checks the configuration. Talks to nobody.
    pub fn open(config: Config, host: Host, progress: Progress) -> Result<Self> {
        Self::open_with(config, host, progress, |home, options| {
            Store::open(home, options).map(|store| (store, Repaired::Nothing))
        })
    }

    /// The same for a store whose database may be damaged or gone: where it cannot be opened, a new one is built, and
    /// [`Engine::verify`] with repair tells of it.
    pub fn open_damaged(config: Config, host: Host, progress: Progress) -> Result<Self> {
        Self::open_with(config, host, progress, Store::repair)
    }

    fn open_with(
        config: Config,
        host: Host,
        progress: Progress,
        open: impl FnOnce(&Path, larder_store::Options) -> larder_store::Result<(Store, Repaired)>,
    ) -> Result<Self> {
        check(&config)?;
        let jobs = config.jobs;
        let options = larder_store::Options { boot_id: host.boot_id.clone(), clock: host.clock.clone() };
        let (store, repaired) = open(&config.home, options).map_err(|source| Error::Store {
            action: format!("cannot open the store at {}", config.home.display()),
            source,
        })?;
        let audit = config.audit.then(|| AuditLog::open(&store, AuditLimits::default()));
        Ok(Self {
            inner: Arc::new(Inner {
                config,
                host,
                store,
                repaired,
                progress,
                audit,
                scans: Scans::default(),
                imports: Semaphore::new(jobs),
                turns: Turns::new(std::thread::available_parallelism().map_or(1, usize::from)),
                online: OnceLock::new(),
            }),
        })
    }

    /// The configuration in force.
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The store.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn repaired(&self) -> &Repaired {
        &self.inner.repaired
    }

    /// The fetcher over all tiers, for callers that want images without names.
    pub fn fetcher(&self) -> Result<&Fetcher> {
        Ok(&self.online()?.fetcher)
    }

    /// A scope for [`Engine::fetcher`]: with the configured credential chain unless `auth` says otherwise.
    pub fn scope(&self, reference: &Reference, auth: Option<Auth>, lease: &Lease) -> Result<Scope> {
        let auth = match auth {
            Some(auth) => auth,
            None => Auth::Keychain(self.online()?.keychain.clone()),
        };
        let progress = self.inner.progress.clone();
        Ok(Scope { reference: reference.clone(), auth, lease: lease.clone(), progress })
    }

    /// The platforms that are pulled where nothing else is said.
    pub fn default_selection(&self) -> Result<Selection> {
        let platforms = &self.inner.config.platforms;
        if platforms.is_empty() {
            return Ok(Selection::host());
        }
        if platforms.iter().any(|platform| platform == "all") {
            return Ok(Selection::All);
        }
        let parsed: std::result::Result<Vec<Platform>, _> =
            platforms.iter().map(|platform| platform.parse()).collect();
        parsed.map(Selection::Only).map_err(|error| Error::Config { problem: format!("platforms: {error}") })
    }

    pub(crate) fn imports(&self) -> &Semaphore {
        &self.inner.imports
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.inner.turns
    }

    pub(crate) fn scans(&self) -> &Scans {
        &self.inner.scans
    }

    pub(crate) fn host(&self) -> &Host {
        &self.inner.host
    }

    pub(crate) fn progress(&self) -> &Progress {
        &self.inner.progress
    }

    pub(crate) fn audit_log(&self) -> Option<&AuditLog> {
        self.inner.audit.as_ref()
    }

    pub(crate) fn client(&self) -> Result<&Client> {
        Ok(&self.online()?.client)
    }

    pub(crate) fn keychain(&self) -> Result<Arc<dyn Keychain>> {
        Ok(self.online()?.keychain.clone())
    }

    pub(crate) fn lease(&self, purpose: &str) -> Result<Lease> {
        self.inner
            .store
            .lease(purpose)
            .map_err(|source| Error::Store { action: "cannot take a lease".into(), source })
    }

    pub(crate) fn limits(&self) -> Limits {
        let config = &self.inner.config;
        Limits {
            bytes: config.max_layer.0,
            ratio: config.max_ratio,
            entries: config.max_entries,
            metadata_bytes: config.max_metadata.0,
            ..Limits::default()
        }
    }

    /// The driver that `name`, or else the configuration, chooses; `auto` asks the kernel.
    pub(crate) fn materializer(&self, name: Option<&str>) -> Result<Box<dyn Materializer>> {
        let name = name.unwrap_or(&self.inner.config.driver);
        let driver = match name {
            "auto" => larder_materialize::probe(self.inner.store.home())
                .find(|finding| finding.usable)
                .map_or(Driver::Overlay, |finding| finding.driver),
            name => name.parse().map_err(|_| Error::Config {
                problem: format!("driver {name:?}: expected auto, erofs or overlay"),
            })?,
        };
        let (store, limits) = (self.inner.store.clone(), self.limits());
        Ok(match driver {
            Driver::Erofs => Box::new(ErofsDriver::new(store, limits).with_scans(self.inner.scans.clone())),
            Driver::Overlay => Box::new(OverlayDriver::new(store, limits)),
        })
    }

    fn online(&self) -> Result<&Online> {
        if let Some(online) = self.inner.online.get() {
            return Ok(online);
        }
        let inner = &self.inner;
        let keychain = keychain::chain(&inner.config, &inner.host)?;
        let client =
            Client::new(keychain::client_config(&inner.config, &inner.host, inner.progress.clone())?)
                .map_err(|source| Error::Remote {
                    action: "cannot set up the registry client".into(),
                    source,
                })?;
        let fresh = inner.config.tag_ttl.0;
        let tiers: Vec<SourceTier> = vec![
            Arc::new(MemoryTier::new(inner.config.memory.0, fresh)),
            Arc::new(DiskTier::new(inner.store.clone(), fresh, inner.host.clock.clone())),
            Arc::new(RegistryTier::new(client.clone(), inner.config.connections)),
        ];
        let fetcher = Fetcher::new(inner.store.clone(), tiers, Settings { jobs: inner.config.jobs });
        // A second caller may have been faster; then its parts are used and these are dropped.
        Ok(inner.online.get_or_init(|| Online { client, keychain, fetcher }))
    }
}

fn check(config: &Config) -> Result<()> {
    let invalid = |problem: String| Err(Error::Config { problem });
    if config.jobs == 0 || config.jobs > 256 {
        return invalid(format!("jobs: {} is not between 1 and 256", config.jobs));
    }
    if config.connections == 0 || config.connections > 64 {
        return invalid(format!("connections: {} is not between 1 and 64", config.connections));
    }
    if config.attempts == 0 {
        return invalid("attempts: at least 1 is needed".into());
    }
    let limits = [
        ("max_ratio", u64::from(config.max_ratio)),
        ("max_entries", u64::from(config.max_entries)),
        ("max_layer", config.max_layer.0),
        ("max_metadata", config.max_metadata.0),
    ];
    if let Some((name, _)) = limits.iter().find(|(_, limit)| *limit == 0) {
        return invalid(format!("{name}: a limit of 0 would refuse every image"));
    }
    for (name, span) in [("connect_timeout", config.connect_timeout), ("idle_timeout", config.idle_timeout)] {
        if span.0.is_zero() {
            return invalid(format!("{name}: 0 would fail every transfer"));
        }
    }
    for platform in config.platforms.iter().filter(|platform| *platform != "all") {
        if let Err(error) = platform.parse::<Platform>() {
            return invalid(format!("platforms: {error}"));
        }
    }
    for registry in config.registries.keys() {
        if let Err(error) = larder_core::Registry::new(registry) {
            return invalid(format!("registries: {error}"));
        }
    }
    if let Some(missing) = config.ca_file.iter().find(|path| !path.is_file()) {
        return invalid(format!("ca_file: there is no file {}", missing.display()));
    }
    keychain::networks("allow_networks", &config.allow_networks)?;
    keychain::networks("block_networks", &config.block_networks)?;
    keychain::insecure(config)?;
    if !["auto", "erofs", "overlay"].contains(&config.driver.as_str()) {
        return invalid(format!("driver: {:?} is none of auto, erofs, overlay", config.driver));
    }
    Ok(())
}
