//! What goes: by age, by last use, and what nothing refers to.

use crate::index::Entry;
use crate::{Error, Packages, Result};
use larder_core::{Algorithm, Digest, Hasher};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Which packages may go. Those that are pinned never do. Where both are given, either is enough.
#[derive(Debug, Clone, Copy, Default)]
pub struct CleanPolicy {
    /// Made so long ago.
    pub older_than: Option<Duration>,
    /// Not asked for since so long.
    pub unused_for: Option<Duration>,
    /// Only says what would go.
    pub dry_run: bool,
}

/// What went, or in a dry run would go.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Cleaned {
    /// Packages.
    pub packages: Vec<Entry>,
    /// Archives that the index does not know.
    pub orphans: Vec<PathBuf>,
    /// What all of it took, in bytes, parts of interrupted downloads included.
    pub freed: u64,
}

/// How much there is. Sizes are bytes.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PackageStats {
    /// Archives.
    pub packages: usize,
    /// Different names.
    pub names: usize,
    /// What the archives take.
    pub size: u64,
    /// What was downloaded for them.
    pub upstream_size: u64,
    /// What their files take when they are unpacked.
    pub unpacked_size: u64,
    /// What interrupted downloads take.
    pub partial_size: u64,
    /// Archives per architecture.
    pub architectures: BTreeMap<String, usize>,
    /// Those that a clean-up leaves alone.
    pub pinned: usize,
}

/// What [`Packages::verify`] found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PackagesVerified {
    /// Archives that are what they should be.
    pub sound: usize,
    /// Bytes that were read.
    pub bytes: u64,
    /// Those that are not; they were taken out of the store.
    pub damaged: Vec<DamagedPackage>,
}

/// An archive that is not what it should be.
#[derive(Debug, Clone, Serialize)]
pub struct DamagedPackage {
    /// What the index said of it.
    #[serde(flatten)]
    pub entry: Entry,
    /// What is wrong.
    pub problem: String,
}

impl Packages {
    /// Removes what the policy lets go, archives that the index does not know, and what downloads left behind that nobody
    /// continued for a week.
    pub fn clean(&self, policy: &CleanPolicy) -> Result<Cleaned> {
        let now = self.now();
        let age = |time: SystemTime| now.duration_since(time).unwrap_or_default();
        let goes = |entry: &Entry| {
            !entry.pinned
                && (policy.older_than.is_some_and(|limit| age(entry.cached.0) > limit)
                    || policy.unused_for.is_some_and(|limit| age(entry.used.0) > limit))
        };
        let mut cleaned = Cleaned::default();
        let index = self.index()?;
        if policy.dry_run {
            cleaned.packages = index.packages.into_iter().filter(goes).collect();
        } else {
            cleaned.packages = self.change(|index| {
                let gone = index.packages.iter().filter(|entry| goes(entry)).cloned().collect();
                index.packages.retain(|entry| !goes(entry));
                gone
            })?;
            for entry in &cleaned.packages {
                self.discard(entry)?;
            }
        }
        cleaned.freed += cleaned.packages.iter().map(|entry| entry.size).sum::<u64>();
        let store = || Error::store("cannot clean up the packages");
        let before = now.checked_sub(FRESH).unwrap_or(SystemTime::UNIX_EPOCH);
        for file in self.shelf.archives().map_err(store())? {
            // A young one may be about to be put into the index.
            if file.written >= before || self.is_known(&file.path)? {
                continue;
            }
            if !policy.dry_run {
                self.shelf.remove(&file.path).map_err(store())?;
            }
            cleaned.freed += file.size;
            cleaned.orphans.push(file.path);
        }
        let before = now.checked_sub(PARTS).unwrap_or(SystemTime::UNIX_EPOCH);
        let parts = self.shelf.sweep_parts(before, policy.dry_run).map_err(store())?;
        cleaned.freed += parts.iter().map(|part| part.size).sum::<u64>();
        Ok(cleaned)
    }

    fn is_known(&self, path: &Path) -> Result<bool> {
        let index = self.read()?;
        Ok(index.packages.iter().any(|entry| path.ends_with(&entry.path)))
    }

    /// Counts everything.
    pub fn stats(&self) -> Result<PackageStats> {
        let packages = self.list()?;
        let mut stats = PackageStats {
            packages: packages.len(),
            partial_size: self.shelf.partial_bytes().map_err(Error::store("cannot count the packages"))?,
            ..PackageStats::default()
        };
        let mut names: Vec<&str> = packages.iter().map(|entry| entry.name.as_str()).collect();
        names.dedup();
        stats.names = names.len();
        for entry in &packages {
            stats.size += entry.size;
            stats.upstream_size += entry.upstream_size;
            stats.unpacked_size += entry.unpacked_size;
            stats.pinned += usize::from(entry.pinned);
            *stats.architectures.entry(entry.architecture.clone()).or_default() += 1;
        }
        Ok(stats)
    }

    /// Hashes every archive again. What is damaged is taken out of the index and removed, so that it is fetched again when it is
    /// asked for.
    pub fn verify(&self) -> Result<PackagesVerified> {
        let mut verified = PackagesVerified::default();
        for entry in self.read()?.packages {
            let problem = match self.flaw(&entry) {
                Some(flaw) => Some(flaw),
                None => {
                    verified.bytes += entry.size;
                    let found = self.hash(&entry)?;
                    (found != entry.digest).then(|| format!("it hashes to {found}"))
                }
            };
            let Some(problem) = problem else {
                verified.sound += 1;
                continue;
            };
            // Nobody may have put another one there meanwhile.
            let removed = self.change(|index| {
                let before = index.packages.len();
                index.packages.retain(|other| *other != entry);
                index.packages.len() < before
            })?;
            if removed {
                self.discard(&entry)?;
                verified.damaged.push(DamagedPackage { entry, problem });
            }
        }
        Ok(verified)
    }

    /// What an archive hashes to now.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn hash(&self, entry: &Entry) -> Result<Digest> {
        let path = self.archive(entry)?;
        let mut file = std::fs::File::open(&path).map_err(Error::file("open", &path))?;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        let mut buffer = vec![0; 256 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(count) => hasher.update(&buffer[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::file("read", &path)(error)),
            }
        }
    }
}

/// An archive is in the index soon after it is in its place.
const FRESH: Duration = Duration::from_secs(3600);
/// Interrupted downloads that nobody continued for so long are dropped.
const PARTS: Duration = Duration::from_secs(7 * 24 * 3600);
