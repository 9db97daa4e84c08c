//! `package`: tools of a node, each kept as one archive.

use crate::{Engine, Error, Failure, Result};
use futures_util::StreamExt as _;
use larder_core::{Classify, Digest};
use larder_packages::{
    Added, Catalog, CleanPolicy, Cleaned, Entry, Install, Keys, Order, Origin, PackageStats, Packages,
    PackagesVerified, Pins, Settings, Wish,
};
use std::path::PathBuf;
use std::time::SystemTime;

/// A package that is to be in the store.
#[derive(Debug, Clone)]
pub struct PackageOrder {
    /// Which one.
    pub wish: Wish,
    /// For which architecture.
    pub architecture: String,
    /// A file, or a URL with `http://` or `https://`, that it is taken from in place of its project.
    pub from: Option<String>,
    /// What the upstream file hashes to.
    pub checksum: Option<Digest>,
    /// A signature that cannot be verified is an error.
    pub require_signature: bool,
}

/// What became of several packages, in the order in which they were asked for.
#[derive(Debug, serde::Serialize)]
pub struct PackageReport {
    /// One per package and architecture.
    pub packages: Vec<PackageOutcome>,
}

/// What became of one package.
#[derive(Debug, serde::Serialize)]
pub struct PackageOutcome {
    /// As it was asked for.
    pub wish: String,
    /// For which architecture.
    pub architecture: String,
    /// The package.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub package: Option<PackageRow>,
    /// It was there before.
    pub up_to_date: bool,
    /// Bytes that came for it.
    pub downloaded: u64,
    /// Or why it is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A package in the store. Times are seconds since 1970, sizes are bytes.
#[derive(Debug, Clone, serde::Serialize)]
#[expect(missing_docs, reason = "the fields are those of the index, which documents them")]
pub struct PackageRow {
    pub name: String,
    pub version: String,
    pub architecture: String,
    pub source: String,
    pub upstream: Digest,
    pub upstream_size: u64,
    pub digest: Digest,
    pub size: u64,
    pub unpacked_size: u64,
    pub archive: PathBuf,
    pub verified: Vec<String>,
    pub pinned: bool,
    pub cached: u64,
    pub used: u64,
}

impl PackageReport {
    /// Those that are not there, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&PackageOutcome, &Failure)> {
        self.packages.iter().filter_map(|outcome| Some((outcome, outcome.failure.as_ref()?)))
    }
}

impl Engine {
    /// The tool packages of the store, by the definitions, pins and keys of the configuration.
    ///
    /// # Errors
    /// Where one of those cannot be read.
    pub fn packages(&self) -> Result<Packages> {
        self.packages_that(false)
    }

    fn packages_that(&self, require_signatures: bool) -> Result<Packages> {
        let config = self.config();
        let mut catalog = Catalog::builtin();
        for path in &config.package_definitions {
            catalog.read(path)?;
        }
        let mut pins = Pins::default();
        for path in &config.package_pins {
            pins.read(path)?;
        }
        let settings = Settings {
            catalog,
            pins,
            keys: Keys::new(config.package_keys.clone()),
            require_signatures: require_signatures || config.require_signatures,
            limits: self.limits(),
            max_download: MAX_DOWNLOAD,
            level: LEVEL,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            clock: self.host().clock.clone(),
            progress: self.progress().clone(),
        };
        Ok(Packages::new(self.store(), settings)?)
    }

    /// Sees to it that packages are in the store, several at once. If one fails, the others go on.
    ///
    /// # Errors
    /// Where the configuration cannot be used. What becomes of a package is in the report.
    pub async fn add_packages(&self, orders: &[PackageOrder]) -> Result<PackageReport> {
        let client = self.client()?.clone();
        let jobs = self.config().jobs;
        let strict = self.packages_that(true)?;
        let usual = self.packages()?;
        let adding = orders.iter().cloned().map(|order| {
            let packages = if order.require_signature { &strict } else { &usual };
            let (client, packages) = (client.clone(), packages.clone());
            async move {
                let outcome = packages.add(&client, &order.order()).await;
                PackageOutcome::of(&order, outcome, &packages)
            }
        });
        let packages: Vec<PackageOutcome> = futures_util::stream::iter(adding).buffered(jobs).collect().await;
        let records =
            packages.iter().filter(|outcome| !outcome.up_to_date).map(|outcome| match &outcome.package {
                Some(row) => (row.title(), Ok((row.digest, outcome.downloaded))),
                None => {
                    let kind =
                        outcome.failure.as_ref().map_or(larder_core::Kind::Internal, |failure| failure.kind);
                    (format!("{} {}", outcome.wish, outcome.architecture), Err(kind))
                }
            });
        self.audit_packages("package-add", records.collect::<Vec<_>>());
        Ok(PackageReport { packages })
    }

    /// The packages in the store.
    pub fn list_packages(&self) -> Result<Vec<PackageRow>> {
        let packages = self.packages()?;
        packages.list()?.iter().map(|entry| row(&packages, entry)).collect()
    }

    /// A package in the store, and where its files go on a node.
    ///
    /// # Errors
    /// When it is not in the store.
    pub fn package(&self, wish: &Wish, architecture: &str) -> Result<(PackageRow, Vec<Install>)> {
        let packages = self.packages()?;
        let entry = packages.find(wish, architecture)?;
        let installs = match packages.catalog().get(&entry.name) {
            Ok(definition) => definition.installs(&entry.version, architecture),
            // What was brought from a file need not be defined.
            Err(_) => Vec::new(),
        };
        Ok((row(&packages, &entry)?, installs))
    }

    /// Removes packages; with `forget`, also what they were when they were first seen.
    pub fn remove_packages(
        &self,
        wishes: &[Wish],
        architecture: Option<&str>,
        forget: bool,
    ) -> Result<Vec<PackageRow>> {
        let packages = self.packages()?;
        let mut removed = Vec::new();
        for wish in wishes {
            let gone = packages.remove(wish, architecture, forget);
            let records = match &gone {
                Ok(gone) => {
                    gone.iter().map(|entry| (entry.title(), Ok((entry.digest, entry.size)))).collect()
                }
                Err(error) => vec![(wish.to_string(), Err(error.kind()))],
            };
            self.audit_packages("package-remove", records);
            for entry in gone? {
                removed.push(row(&packages, &entry)?);
            }
        }
        Ok(removed)
    }

    /// Keeps packages whatever a clean-up is told, or not any more.
    pub fn pin_packages(
        &self,
        wishes: &[Wish],
        architecture: Option<&str>,
        pinned: bool,
    ) -> Result<Vec<PackageRow>> {
        let packages = self.packages()?;
        let mut rows = Vec::new();
        for wish in wishes {
            for entry in packages.set_pinned(wish, architecture, pinned)? {
                rows.push(PackageRow { pinned, ..row(&packages, &entry)? });
            }
        }
        Ok(rows)
    }

    /// Removes packages that a policy lets go, and what nothing refers to.
    pub fn clean_packages(&self, policy: &CleanPolicy) -> Result<Cleaned> {
        let cleaned = self.packages()?.clean(policy)?;
        if !policy.dry_run {
            let gone = cleaned.packages.iter().map(|entry| (entry.title(), Ok((entry.digest, entry.size))));
            self.audit_packages("package-remove", gone.collect::<Vec<_>>());
        }
        Ok(cleaned)
    }

    /// How many packages there are, and what they take.
    pub fn package_stats(&self) -> Result<PackageStats> {
        Ok(self.packages()?.stats()?)
    }

    /// Hashes every archive again; damaged ones go.
    pub fn verify_packages(&self) -> Result<PackagesVerified> {
        Ok(self.packages()?.verify()?)
    }
}

impl PackageOrder {
    fn order(&self) -> Order {
        let is_url = |text: &str| text.starts_with("http://") || text.starts_with("https://");
        let origin =
            |text: &String| if is_url(text) { Origin::Url(text.clone()) } else { Origin::File(text.into()) };
        Order {
            wish: self.wish.clone(),
            architecture: self.architecture.clone(),
            from: self.from.as_ref().map(origin),
            checksum: self.checksum,
        }
    }
}

impl PackageOutcome {
    fn of(order: &PackageOrder, outcome: larder_packages::Result<Added>, packages: &Packages) -> Self {
        let mut this = Self {
            wish: order.wish.to_string(),
            architecture: order.architecture.clone(),
            package: None,
            up_to_date: false,
            downloaded: 0,
            failure: None,
        };
        match outcome.map_err(Error::from).and_then(|added| Ok((row(packages, &added.entry)?, added))) {
            Ok((row, added)) => {
                (this.package, this.up_to_date, this.downloaded) =
                    (Some(row), added.up_to_date, added.downloaded);
            }
            Err(error) => this.failure = Some(Failure::from(&error)),
        }
        this
    }
}

impl PackageRow {
    /// `kubectl 1.33.4 amd64`
    pub fn title(&self) -> String {
        format!("{} {} {}", self.name, self.version, self.architecture)
    }
}

fn row(packages: &Packages, entry: &Entry) -> Result<PackageRow> {
    let seconds =
        |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    Ok(PackageRow {
        name: entry.name.clone(),
        version: entry.version.to_string(),
        architecture: entry.architecture.clone(),
        source: entry.source.clone(),
        upstream: entry.upstream,
        upstream_size: entry.upstream_size,
        digest: entry.digest,
        size: entry.size,
        unpacked_size: entry.unpacked_size,
        archive: packages.archive(entry)?,
        verified: entry.verified.clone(),
        pinned: entry.pinned,
        cached: seconds(entry.cached.0),
        used: seconds(entry.used.0),
    })
}

/// No tool is larger.
const MAX_DOWNLOAD: u64 = 4 << 30;
/// Above it, programs hardly get smaller, and take much longer.
const LEVEL: i32 = 6;
