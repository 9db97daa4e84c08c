//! A web server with the layouts of the upstreams, a store, and packages over both.

use larder_core::{Digest, Event};
use larder_packages::{Added, Catalog, Error, Keys, Order, Origin, Packages, Pins, Settings};
use larder_remote::{Client, Config, IpNet};
use larder_rootfs::Limits;
use larder_store::{Options, Store};
use larder_testkit::{FaultRegistry, Process, tools};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

pub(crate) struct World {
    pub(crate) server: FaultRegistry,
    pub(crate) directory: tempfile::TempDir,
    pub(crate) warnings: Arc<Mutex<Vec<String>>>,
    pub(crate) now: Arc<Mutex<SystemTime>>,
    pub(crate) settings: Settings,
    client: Client,
    // The client's connections live in it: one that ended with its user would cut those that others use.
    runtime: tokio::runtime::Runtime,
}

impl World {
    pub(crate) fn new() -> Self {
        let (server, directory) = (FaultRegistry::start(), tempfile::tempdir().unwrap());
        let definitions = directory.path().join("definitions.yaml");
        let mirrors: String = HOSTS
            .iter()
            .map(|host| {
                format!(
                    "- {{ prefix: 'https://{host}/', url: '{}' }}\n",
                    server.url(&format!("/files/{host}/"))
                )
            })
            .collect();
        std::fs::write(&definitions, format!("repositories:\n{mirrors}")).unwrap();
        let mut catalog = Catalog::builtin();
        catalog.read(&definitions).unwrap();
        let warnings: Arc<Mutex<Vec<String>>> = Arc::default();
        let now = Arc::new(Mutex::new(SystemTime::now()));
        let (told, clock) = (warnings.clone(), now.clone());
        let keys = directory.path().join("keys");
        std::fs::create_dir(&keys).unwrap();
        let settings = Settings {
            catalog,
            pins: Pins::default(),
            keys: Keys::new(vec![keys]),
            require_signatures: false,
            limits: Limits { bytes: 256 << 20, ratio: 200, entries: 1000, ..Limits::default() },
            max_download: 64 << 20,
            level: 3,
            threads: 2,
            clock: Arc::new(move || *clock.lock().unwrap()),
            progress: Arc::new(move |event| {
                if let Event::Warning { message } = event {
                    told.lock().unwrap().push(message);
                }
            }),
        };
        let client = Client::new(Config {
            attempts: 4,
            backoff_base: Duration::from_millis(5),
            idle_timeout: Duration::from_secs(5),
            allowed_networks: vec!["127.0.0.0/8".parse::<IpNet>().unwrap()],
            ..Config::default()
        })
        .unwrap();
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { server, directory, warnings, now, settings, client, runtime }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// A handle of its own, as another process has it.
    pub(crate) fn packages(&self) -> Packages {
        let options = Options { boot_id: "test".into(), clock: self.settings.clock.clone() };
        let store = Store::open(&self.store(), options).unwrap();
        Packages::new(&store, self.settings.clone()).unwrap()
    }

    pub(crate) fn add(&self, wish: &str) -> Result<Added, Error> {
        self.add_with(wish, |_| {})
    }

    pub(crate) fn add_with(&self, wish: &str, change: impl FnOnce(&mut Order)) -> Result<Added, Error> {
        let mut order = order(wish);
        change(&mut order);
        let packages = self.packages();
        self.runtime.block_on(packages.add(&self.client, &order))
    }

    /// Publishes a file, as the upstream with this URL does.
    pub(crate) fn publish(&self, url: &str, content: impl Into<Vec<u8>>) {
        let path = url.strip_prefix("https://").unwrap();
        self.server.put_file(path, content.into());
    }

    /// Publishes a tool that is a program without an archive, with its checksum.
    pub(crate) fn publish_kubectl(&self, version: &str, content: &[u8]) -> String {
        self.publish_at(&format!("https://dl.k8s.io/release/v{version}/bin/linux/amd64/kubectl"), content)
    }

    /// Publishes a file with its checksum. Returns the path at the server.
    pub(crate) fn publish_at(&self, url: &str, content: &[u8]) -> String {
        self.publish(url, content);
        self.publish(&format!("{url}.sha256"), Digest::of(content).hex());
        format!("/files/{}", url.strip_prefix("https://").unwrap())
    }

    /// A world in which kubectl has no signature.
    pub(crate) fn plain() -> Self {
        let mut world = Self::new();
        let file = world.path("definitions.yaml");
        let text = std::fs::read_to_string(&file).unwrap();
        let kubectl = "packages:
- name: kubectl
  url: https://dl.k8s.io/release/{tag}/bin/linux/{arch}/kubectl
  binary: kubectl
  checksum: '{url}.sha256'
  latest: { url: https://dl.k8s.io/release/stable.txt, minor: 'https://dl.k8s.io/release/stable-{minor}.txt' }
";
        std::fs::write(&file, format!("{kubectl}{text}")).unwrap();
        world.settings.catalog.read(&file).unwrap();
        world
    }

    pub(crate) fn warned(&self, text: &str) -> bool {
        self.warnings.lock().unwrap().iter().any(|warning| warning.contains(text))
    }

    pub(crate) fn parts(&self) -> Vec<PathBuf> {
        let directory = self.store().join("packages/.parts");
        let entries = std::fs::read_dir(directory).unwrap();
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.metadata().unwrap().len() > 0).collect()
    }
}

pub(crate) fn order(wish: &str) -> Order {
    Order { wish: wish.parse().unwrap(), architecture: "amd64".into(), from: None, checksum: None }
}

pub(crate) fn from_file(path: &Path) -> impl FnOnce(&mut Order) {
    let path = path.to_owned();
    move |order| order.from = Some(Origin::File(path))
}

/// Bytes that do not compress, the same each time.
pub(crate) fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut random = larder_testkit::Random::new(seed);
    random.bytes(length)
}

/// A program: it begins as one does.
pub(crate) fn program(seed: u64, length: usize) -> Vec<u8> {
    [b"\x7fELF".to_vec(), noise(seed, length)].concat()
}

/// Runs a shell command in a directory.
pub(crate) fn shell(directory: &Path, script: &str) {
    Process::new(tools::find("sh").unwrap()).directory(directory).args(["-ec", script]).run().unwrap();
}

/// What GNU tar and zstd say is in an archive: mode, owner, time and name of each member.
pub(crate) fn listing(archive: &Path) -> Vec<String> {
    let outcome = Process::new(tools::find("tar").unwrap())
        .env("TZ", "UTC")
        .args(["--zstd", "--numeric-owner", "--full-time", "-tvf"])
        .arg(archive)
        .run()
        .unwrap();
    outcome.text().lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// The files of an archive, as GNU tar extracts them.
pub(crate) fn contents(archive: &Path) -> BTreeMap<String, Vec<u8>> {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path();
    Process::new(tools::find("tar").unwrap())
        .args(["--zstd", "-xf"])
        .arg(archive)
        .arg("-C")
        .arg(out)
        .run()
        .unwrap();
    let mut found = BTreeMap::new();
    let mut left = vec![out.to_owned()];
    while let Some(next) = left.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                left.push(path);
            } else {
                let name = path.strip_prefix(out).unwrap().display().to_string();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

pub(crate) const HOSTS: [&str; 4] = ["github.com", "api.github.com", "dl.k8s.io", "get.helm.sh"];
