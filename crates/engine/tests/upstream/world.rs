//! A registry, an engine with a clock that is set by hand, and upstreams over them.

use larder_core::{Compression, Digest, Event, Reference, RepositoryName, Secret, Tag};
use larder_engine::{Config, Engine, Host, RegistryConfig, Span, Terms, UpstreamSettings, Upstreams};
use larder_server::{Bringing, Caller, Found, Login, OnMiss, Presented, Selector, Trouble};
use larder_testkit::{FaultRegistry, Image, ImageBuilder};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

pub(crate) const REGISTRY: &str = "hub.example";
pub(crate) const IDLE: Duration = Duration::from_millis(400);

#[derive(Clone)]
pub(crate) struct HandClock(Arc<Mutex<SystemTime>>);

impl HandClock {
    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }

    fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

pub(crate) struct World {
    pub(crate) registry: FaultRegistry,
    pub(crate) engine: Engine,
    pub(crate) upstreams: Arc<Upstreams>,
    pub(crate) clock: HandClock,
    pub(crate) warnings: Arc<Mutex<Vec<String>>>,
    settings: UpstreamSettings,
    home: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {}, |_| {})
    }

    /// With other settings of the upstream, and another configuration.
    pub(crate) fn with(
        settings: impl FnOnce(&mut UpstreamSettings),
        config: impl FnOnce(&mut Config),
    ) -> Self {
        let registry = FaultRegistry::start();
        let home = tempfile::tempdir().unwrap();
        let clock = HandClock(Arc::new(Mutex::new(SystemTime::now())));
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let operator = RegistryConfig {
            username: Some("operator".into()),
            password: Some(Secret::new("operator's secret")),
            ..RegistryConfig::default()
        };
        let mut configuration = Config {
            home: home.path().join("store"),
            certs_dir: Vec::new(),
            attempts: 3,
            idle_timeout: Span(IDLE),
            connect_timeout: Span(Duration::from_secs(2)),
            registries: BTreeMap::from([(registry.host(), operator)]),
            ..Config::default()
        };
        config(&mut configuration);
        let (_, mut with) = UpstreamSettings::parse(&format!("{REGISTRY}={}", registry.url(""))).unwrap();
        settings(&mut with);
        let engine = open(configuration, &clock, &warnings);
        let upstreams = upstreams(&engine, &with);
        Self { registry, engine, upstreams, clock, warnings, settings: with, home }
    }

    /// The same store, opened anew: nothing is left of what was in memory.
    pub(crate) fn restarted(self) -> Self {
        let config = self.engine.config().clone();
        drop((self.upstreams, self.engine));
        let engine = open(config, &self.clock, &self.warnings);
        let upstreams = upstreams(&engine, &self.settings);
        Self {
            registry: self.registry,
            engine,
            upstreams,
            clock: self.clock,
            warnings: self.warnings,
            settings: self.settings,
            home: self.home,
        }
    }

    /// The same store behind other settings: `None` for none at all.
    pub(crate) fn behind(&mut self, settings: Option<UpstreamSettings>, terms: Terms) {
        let all = settings.map(|settings| (REGISTRY.to_owned(), settings)).into_iter().collect();
        self.upstreams = Upstreams::new(&self.engine, &all, terms).unwrap();
    }

    pub(crate) fn settings(&self) -> UpstreamSettings {
        self.settings.clone()
    }

    /// Another server on the same store, as another process would be.
    pub(crate) fn beside(&self) -> Arc<Upstreams> {
        let engine = open(self.engine.config().clone(), &self.clock, &self.warnings);
        upstreams(&engine, &self.settings)
    }

    /// An image with one layer of so many bytes, pushed as `repository:tag`.
    pub(crate) fn image(&self, seed: u64, repository: &str, tag: &str, layer: usize) -> Image {
        let image = ImageBuilder::new(seed).random_layers(1, layer, Compression::None).build();
        image.push(&self.registry, repository, Some(tag));
        image
    }

    pub(crate) async fn authorize(
        &self,
        repository: &str,
        about: Option<&Selector>,
        caller: &Caller,
    ) -> Result<(), Trouble> {
        self.upstreams.authorize(&name(repository), about, caller).await
    }

    /// What a server does for a manifest.
    pub(crate) async fn manifest(
        &self,
        repository: &str,
        selector: &Selector,
        caller: &Caller,
    ) -> Result<Found, Trouble> {
        let repository = name(repository);
        self.upstreams.authorize(&repository, Some(selector), caller).await?;
        self.upstreams.manifest(&repository, selector, caller).await
    }

    pub(crate) async fn tag(&self, image: &str) -> Result<Found, Trouble> {
        let (repository, tag) = image.split_once(':').unwrap();
        self.manifest(repository, &selector(tag), &anonymous()).await
    }

    /// What a server does for a blob: all of its bytes, from wherever they come.
    pub(crate) async fn blob(
        &self,
        repository: &str,
        digest: &Digest,
        caller: &Caller,
    ) -> Result<Vec<u8>, String> {
        let repository = name(repository);
        let brought = async {
            self.upstreams.authorize(&repository, None, caller).await?;
            self.upstreams.blob(&repository, digest, caller).await
        };
        match brought.await.map_err(|trouble| format!("{}: {trouble}", trouble.kind))? {
            Bringing::Here => {
                assert!(self.engine.store().holds(&repository, digest).unwrap(), "here, but not readable");
                let blob = self.engine.store().blob(digest).unwrap().expect("it is said to be here");
                Ok(std::fs::read(blob.path()).unwrap())
            }
            Bringing::Coming { mut follower, size } => {
                let read = tokio::task::spawn_blocking(move || {
                    let mut bytes = Vec::new();
                    follower.read_to_end(&mut bytes).map(|_| bytes)
                });
                let bytes = read.await.unwrap().map_err(|error| error.to_string())?;
                assert_eq!(bytes.len() as u64, size, "the size that was told");
                Ok(bytes)
            }
        }
    }

    pub(crate) fn warned(&self, words: &str) -> usize {
        self.warnings.lock().unwrap().iter().filter(|warning| warning.contains(words)).count()
    }

    /// Until the transfer has ended and let go of everything.
    pub(crate) async fn quiet(&self) {
        larder_testkit::eventually_async("transfers end", Duration::from_secs(30), || async {
            (self.upstreams.transfers() == 0).then_some(())
        })
        .await;
    }
}

fn open(config: Config, clock: &HandClock, warnings: &Arc<Mutex<Vec<String>>>) -> Engine {
    let clock = clock.clone();
    let host = Host {
        boot_id: "test".into(),
        clock: Arc::new(move || clock.now()),
        credential_files: Vec::new(),
        helper_path: Vec::new(),
        seed: 1,
        user_agent: "larder-tests".into(),
        proxy: None,
        actor: None,
    };
    let warnings = warnings.clone();
    let progress = Arc::new(move |event| {
        if let Event::Warning { message } = event {
            warnings.lock().unwrap().push(message);
        }
    });
    Engine::open(config, host, progress).unwrap()
}

fn upstreams(engine: &Engine, settings: &UpstreamSettings) -> Arc<Upstreams> {
    let all = BTreeMap::from([(REGISTRY.to_owned(), settings.clone())]);
    Upstreams::new(engine, &all, Terms::default()).unwrap()
}

pub(crate) fn name(repository: &str) -> RepositoryName {
    let reference: Reference = format!("{REGISTRY}/{repository}").parse().unwrap();
    RepositoryName::new(reference.registry().clone(), reference.repository().clone())
}

pub(crate) fn selector(text: &str) -> Selector {
    match text.parse() {
        Ok(digest) => Selector::Digest(digest),
        Err(_) => Selector::Tag(Tag::new(text).unwrap()),
    }
}

const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

pub(crate) fn anonymous() -> Caller {
    Caller::anonymous(HERE)
}

/// Somebody whom this server does not know, with a credential that the upstream may know.
pub(crate) fn presenting(username: &str, password: &str) -> Caller {
    let presented = Presented::Basic { username: username.into(), password: Secret::new(password) };
    Caller { presented: Some(presented), ..anonymous() }
}

/// Somebody with an account of this server.
pub(crate) fn account() -> Caller {
    Caller { name: Some("ann".into()), login: Login::Password, ..anonymous() }
}
