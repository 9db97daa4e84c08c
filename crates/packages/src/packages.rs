//! The tool packages of a store.

use crate::index::{Entry, Index};
use crate::wish::is_architecture;
use crate::{Catalog, Error, Keys, Pins, Result, Selector, Wish};
use larder_core::{Event, Progress};
use larder_rootfs::Limits;
use larder_store::{PackageShelf, Store, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

/// What [`Packages`] go by.
#[derive(Clone)]
pub struct Settings {
    /// How tools are published.
    pub catalog: Catalog,
    /// What users say that files hash to.
    pub pins: Pins,
    /// Who may sign.
    pub keys: Keys,
    /// What cannot be verified by a signature is refused.
    pub require_signatures: bool,
    /// Bounds of what archives may hold.
    pub limits: Limits,
    /// The largest file that is downloaded, in bytes.
    pub max_download: u64,
    /// The level of zstd for archives.
    pub level: i32,
    /// Threads that compress one archive.
    pub threads: usize,
    /// The time of day.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// Where events go.
    pub progress: Progress,
}

/// The tool packages of a store. Cheap to clone; any number of processes may use one store.
#[derive(Clone)]
pub struct Packages {
    pub(crate) shelf: PackageShelf,
    pub(crate) settings: Arc<Settings>,
}

impl Packages {
    /// Those of `store`.
    ///
    /// # Errors
    /// [`Error::Store`] where their directory cannot be made.
    pub fn new(store: &Store, settings: Settings) -> Result<Self> {
        let shelf = store.packages().map_err(Error::store("cannot open the packages of the store"))?;
        Ok(Self { shelf, settings: Arc::new(settings) })
    }

    /// How tools are published.
    pub fn catalog(&self) -> &Catalog {
        &self.settings.catalog
    }

    /// Everything in the store, sorted by name, version and architecture. Entries whose archive is gone or has another size are
    /// dropped from the index, and that is said as a warning.
    pub fn list(&self) -> Result<Vec<Entry>> {
        Ok(self.index()?.packages)
    }

    /// What a wish stands for in the store. Does not count as a use.
    ///
    /// # Errors
    /// [`Error::NotCached`] where there is none.
    pub fn find(&self, wish: &Wish, architecture: &str) -> Result<Entry> {
        self.found(wish, architecture)?
            .ok_or_else(|| Error::NotCached { what: format!("{wish} for {architecture}") })
    }

    /// The archive of an entry.
    pub fn archive(&self, entry: &Entry) -> Result<PathBuf> {
        self.shelf
            .archive(&entry.name, entry.version.as_str(), &entry.architecture)
            .map_err(Error::store("cannot find the archive"))
    }

    /// Notes that somebody uses a package.
    pub fn touch(&self, entry: &Entry) -> Result<()> {
        let now = Timestamp(self.now());
        self.change(|index| {
            let ours = |other: &&mut Entry| other.is(&entry.name, &entry.version, &entry.architecture);
            index.packages.iter_mut().filter(ours).for_each(|entry| entry.used = now);
        })
    }

    /// Keeps packages whatever a clean-up is told, or not any more. Returns those that it is about.
    ///
    /// # Errors
    /// [`Error::NotCached`].
    pub fn set_pinned(&self, wish: &Wish, architecture: Option<&str>, pinned: bool) -> Result<Vec<Entry>> {
        let meant = self.meant(wish, architecture)?;
        self.change(|index| {
            for entry in &mut index.packages {
                if meant.iter().any(|meant| meant.is(&entry.name, &entry.version, &entry.architecture)) {
                    entry.pinned = pinned;
                }
            }
        })?;
        Ok(meant)
    }

    /// Removes packages from the store. With `forget`, what they were when they were first seen is given up too. Returns those that
    /// went.
    ///
    /// # Errors
    /// [`Error::NotCached`].
    pub fn remove(&self, wish: &Wish, architecture: Option<&str>, forget: bool) -> Result<Vec<Entry>> {
        let meant = match self.meant(wish, architecture) {
            Err(Error::NotCached { .. }) if forget => Vec::new(),
            other => other?,
        };
        let mut forgotten = false;
        self.change(|index| {
            index.packages.retain(|entry| !meant.iter().any(|meant| meant == entry));
            if forget {
                index.first_use.retain(|pin| {
                    let ours = pin.name == wish.name
                        && architecture.is_none_or(|architecture| pin.architecture == architecture)
                        && match &wish.selector {
                            Selector::Version(version) => pin.version == *version,
                            _ => true,
                        };
                    forgotten |= ours;
                    !ours
                });
            }
        })?;
        if meant.is_empty() && !forgotten {
            return Err(Error::NotCached { what: wish.to_string() });
        }
        for entry in &meant {
            self.discard(entry)?;
        }
        Ok(meant)
    }

    /// Removes the archive of an entry that is no longer in the index.
    pub(crate) fn discard(&self, entry: &Entry) -> Result<()> {
        // Whoever makes the package again waits, and finds neither entry nor archive, or makes both after this.
        let owned = self.own(entry)?;
        let again = self.read()?.find(&entry.name, &entry.version, &entry.architecture).is_some();
        if !again {
            self.shelf.remove(&self.archive(entry)?).map_err(Error::store("cannot remove the archive"))?;
        }
        owned.remove().map_err(Error::store("cannot remove a lock"))
    }

    fn own(&self, entry: &Entry) -> Result<larder_store::PackagePart> {
        self.shelf
            .own(&entry.name, entry.version.as_str(), &entry.architecture)
            .map_err(Error::store("cannot lock a package"))
    }

    /// The entries that a wish is about; all versions where it names none.
    fn meant(&self, wish: &Wish, architecture: Option<&str>) -> Result<Vec<Entry>> {
        let index = self.read()?;
        let newest = match wish.selector {
            Selector::Latest => {
                index.packages.iter().filter(|e| e.name == wish.name).map(|e| e.version.clone()).max()
            }
            _ => None,
        };
        let ours = |entry: &Entry| {
            entry.name == wish.name
                && architecture.is_none_or(|architecture| entry.architecture == architecture)
                && match &wish.selector {
                    Selector::Any => true,
                    Selector::Latest => Some(&entry.version) == newest.as_ref(),
                    Selector::Version(version) => entry.version == *version,
                }
        };
        let meant: Vec<Entry> = index.packages.into_iter().filter(ours).collect();
        match meant.is_empty() {
            true => Err(Error::NotCached { what: wish.to_string() }),
            false => Ok(meant),
        }
    }

    /// What a wish stands for in the store.
    pub(crate) fn found(&self, wish: &Wish, architecture: &str) -> Result<Option<Entry>> {
        let index = self.index()?;
        Ok(match &wish.selector {
            Selector::Version(version) => {
                index.find(&wish.name, version, architecture).cloned().or_else(|| {
                    let series = format!("{version}.");
                    let ours = |entry: &&Entry| {
                        entry.name == wish.name
                            && entry.architecture == architecture
                            && version.is_series()
                            && entry.version.as_str().starts_with(&series)
                    };
                    index.packages.iter().filter(ours).max_by(|a, b| a.version.cmp(&b.version)).cloned()
                })
            }
            Selector::Any | Selector::Latest => index.newest(&wish.name, architecture).cloned(),
        })
    }

    /// The index, after what is visibly broken was taken out of it.
    pub(crate) fn index(&self) -> Result<Index> {
        let index = self.read()?;
        let gone: Vec<(Entry, String)> =
            index.packages.iter().filter_map(|entry| Some((entry.clone(), self.flaw(entry)?))).collect();
        if gone.is_empty() {
            return Ok(index);
        }
        for (entry, flaw) in &gone {
            self.warn(format!("{} is not in the store any more: {flaw}", entry.title()));
        }
        self.change(|index| {
            // Another process may have made it again meanwhile.
            index
                .packages
                .retain(|entry| !gone.iter().any(|(gone, _)| gone == entry) || self.flaw(entry).is_none());
            index.clone()
        })
    }

    /// What can be seen to be wrong with an entry without reading its archive.
    pub(crate) fn flaw(&self, entry: &Entry) -> Option<String> {
        let path = self.archive(entry).ok()?;
        match std::fs::symlink_metadata(&path) {
            Ok(metadata) if !metadata.is_file() => Some("its archive is not a file".into()),
            Ok(metadata) if metadata.len() != entry.size => {
                Some(format!("its archive has {} bytes, and not {}", metadata.len(), entry.size))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some("its archive is gone".into()),
            // That it cannot be looked at does not say that it is gone.
            Ok(_) | Err(_) => None,
        }
    }

    /// The index as it stands in its file; a broken one is set aside first.
    pub(crate) fn read(&self) -> Result<Index> {
        let text = self.shelf.index().map_err(Error::store("cannot read the index of packages"))?;
        let Some(text) = text else { return Ok(Index::default()) };
        let (index, broken) = Index::parse(&text);
        if broken.is_empty() {
            return Ok(index);
        }
        // Once more while nobody writes, and set right.
        self.change(|index| index.clone())
    }

    /// Changes the index while nobody else does.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Index) -> T) -> Result<T> {
        let failed = || Error::store("cannot write the index of packages");
        let mut broken_text = None;
        let changed = self.shelf.change_index(|text| {
            let (before, broken) = text.as_deref().map(Index::parse).unwrap_or_default();
            let mut index = before.clone();
            let answer = change(&mut index);
            if !broken.is_empty() {
                broken_text = text.zip(Some(broken));
            } else if index == before {
                return (None, Ok(answer));
            }
            match index.write() {
                Ok(text) => (Some(text), Ok(answer)),
                Err(problem) => (None, Err(problem)),
            }
        });
        let answer = changed.map_err(failed())?.map_err(|problem| Error::Settings {
            path: Path::new("packages/index.yaml").to_owned(),
            problem,
        })?;
        if let Some((text, broken)) = broken_text {
            let aside = self.shelf.set_index_aside(&text).map_err(failed())?;
            let message = format!(
                "the index of packages was broken, and the broken part was taken out (the old one is {}): {}",
                aside.display(),
                broken.join("; ")
            );
            self.warn(message);
        }
        Ok(answer)
    }

    pub(crate) fn warn(&self, message: String) {
        (self.settings.progress)(Event::Warning { message });
    }

    pub(crate) fn now(&self) -> SystemTime {
        (self.settings.clock)()
    }
}

impl std::fmt::Debug for Packages {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packages").field("shelf", &self.shelf).finish_non_exhaustive()
    }
}

/// An architecture as Go calls it; the kernel's names are taken too.
pub fn architecture(text: &str) -> Result<String> {
    let known = match text {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    match is_architecture(known) {
        true => Ok(known.to_owned()),
        false => Err(Error::Architecture { text: text.chars().take(100).collect() }),
    }
}
