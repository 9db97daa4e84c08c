//! The tool packages' part of the store: their archives, their index, and what is on its way.

use crate::layout::{self, Layout};
use crate::lock::{self, Claim, Held};
use crate::{Error, Result, Store};
use larder_core::Digest;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The directory `packages/` of a store. What its index says is the business of crate `packages`; that it is read whole, and
/// written by one at a time, is this one's.
#[derive(Debug, Clone)]
pub struct PackageShelf {
    layout: Arc<Layout>,
}

/// Exclusive right to write something on a [`PackageShelf`]; others wait for it. It ends when this is dropped, and leaves the file
/// unless it is removed before.
#[derive(Debug)]
pub struct PackagePart {
    file: Held,
    path: PathBuf,
}

/// A file of a [`PackageShelf`], in the directory of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShelvedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written.
    pub written: SystemTime,
}

impl Store {
    /// The packages' part of this store. Makes its directories.
    pub fn packages(&self) -> Result<PackageShelf> {
        let home = self.home().join(PACKAGES);
        for path in [home.clone(), home.join(PARTS)] {
            match fs::DirBuilder::new().create(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("create", path)(error));
                }
                _ => {}
            }
        }
        Ok(self.shelf())
    }

    /// The same, where it may be that there is nothing yet.
    pub(crate) fn shelf(&self) -> PackageShelf {
        PackageShelf { layout: self.layout.clone() }
    }
}

impl PackageShelf {
    /// The index, as it was written last; `None` where there is none.
    pub fn index(&self) -> Result<Option<String>> {
        let path = self.layout.package_index();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", path)(error)),
        };
        // What is not text is not an index, and for the reader to set aside.
        Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Changes the index, while nobody else does. `change` gets what it is and gives what it shall be, `None` for no change. A
    /// crash leaves the one or the other.
    pub fn change_index<T>(&self, change: impl FnOnce(Option<String>) -> (Option<String>, T)) -> Result<T> {
        let path = self.layout.package_index_lock();
        let _alone = lock::own(&path).map_err(Error::io("lock", &path))?;
        let (new, answer) = change(self.index()?);
        if let Some(new) = new {
            layout::replace(&self.layout.package_index(), new.as_bytes())?;
        }
        Ok(answer)
    }

    /// Keeps a copy of a text that cannot be used as the index, under a free name in `quarantine/`. Returns its path.
    pub fn set_index_aside(&self, text: &str) -> Result<PathBuf> {
        let path = self.layout.aside("packages-index.yaml");
        layout::replace(&path, text.as_bytes())?;
        Ok(path)
    }

    /// Where the archive of a package is, or will be.
    ///
    /// # Errors
    /// [`Error::DerivedName`] where one of the words cannot be part of a file name.
    pub fn archive(&self, name: &str, version: &str, architecture: &str) -> Result<PathBuf> {
        [name, version, architecture].into_iter().try_for_each(check)?;
        Ok(self.layout.package(name, version, architecture))
    }

    /// Waits for the right to make one package.
    pub fn own(&self, name: &str, version: &str, architecture: &str) -> Result<PackagePart> {
        [name, version, architecture].into_iter().try_for_each(check)?;
        self.part_at(self.layout.package_part(&format!("{name}-{version}-{architecture}{LOCK}")))
    }

    /// Waits for the right to write the bytes that `content` stands for: what they hash to, or where that is not known, a hash of
    /// everything that tells them from others. What an earlier owner wrote is there.
    pub fn part(&self, content: &Digest) -> Result<PackagePart> {
        let name = format!("{}-{}{PART}", content.algorithm().as_str(), content.hex());
        self.part_at(self.layout.package_part(&name))
    }

    fn part_at(&self, path: PathBuf) -> Result<PackagePart> {
        let file = lock::own(&path).map_err(Error::io("lock", &path))?;
        Ok(PackagePart { file, path })
    }

    /// A place for something that grows beside a part, of which its owner is the only user.
    pub fn beside(&self, part: &PackagePart, what: &str) -> Result<PathBuf> {
        check(what)?;
        let mut name = part.path.file_name().unwrap_or_default().to_os_string();
        name.push(format!(".{what}"));
        Ok(part.path.with_file_name(name))
    }

    /// Puts a finished archive in its place, durably.
    pub fn commit(&self, from: &Path, to: &Path) -> Result<()> {
        let directory = to.parent().unwrap_or(Path::new("."));
        match fs::DirBuilder::new().create(directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create", directory)(error));
            }
            Err(_) => {}
            Ok(()) => layout::sync_directory(&self.layout.home().join(PACKAGES))?,
        }
        let file = File::open(from).map_err(Error::io("open", from))?;
        file.sync_all().map_err(Error::io("sync", from))?;
        fs::rename(from, to).map_err(Error::io("rename", from))?;
        layout::sync_directory(directory)
    }

    /// Removes an archive, and its directory where it was the last in it. One that is gone is fine.
    pub fn remove(&self, path: &Path) -> Result<()> {
        layout::remove(path)?;
        if let Some(directory) = path.parent() {
            // Another archive in it is the usual reason to stay.
            let _ = fs::remove_dir(directory);
        }
        Ok(())
    }

    /// The archives there are, whether the index knows them or not.
    pub fn archives(&self) -> Result<Vec<ShelvedFile>> {
        let home = self.layout.home().join(PACKAGES);
        let mut found = Vec::new();
        for directory in list(&home)? {
            if directory.file_name().is_some_and(|name| name == PARTS) || !directory.is_dir() {
                continue;
            }
            found.extend(list(&directory)?.iter().filter_map(|path| shelved(path)));
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(found)
    }

    /// What interrupted downloads take, in bytes.
    pub fn partial_bytes(&self) -> Result<u64> {
        let files = list(&self.layout.home().join(PACKAGES).join(PARTS))?;
        Ok(files.iter().filter_map(|path| shelved(path)).map(|file| file.size).sum())
    }

    /// Removes what interrupted downloads left before `before`, unless somebody is at it. Returns what went, or with `dry_run` would.
    pub fn sweep_parts(&self, before: SystemTime, dry_run: bool) -> Result<Vec<ShelvedFile>> {
        let mut swept = Vec::new();
        let files = list(&self.layout.home().join(PACKAGES).join(PARTS))?;
        let owner = |path: &Path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let end = name.find(PART).map_or(name.len(), |at| at + PART.len());
            path.with_file_name(&name[..end])
        };
        for path in &files {
            let Some(file) = shelved(path).filter(|file| file.written < before) else { continue };
            let owner = owner(path);
            let _held = match lock::claim(&owner).map_err(Error::io("lock", &owner))? {
                Claim::Owned => continue,
                Claim::Free(held) => Some(held),
                Claim::Gone => None,
            };
            if !dry_run {
                layout::remove(path)?;
            }
            swept.push(file);
        }
        Ok(swept)
    }
}

impl PackagePart {
    /// The file. Reads and writes give their offset.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes it: it is not needed any more.
    pub fn remove(self) -> Result<()> {
        // The lock is still held: who waits for it finds that the file has another name or none.
        layout::remove(&self.path)
    }
}

fn list(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = || Error::io("list", directory);
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        // It went with its last archive.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed()(error)),
    };
    entries.map(|entry| entry.map(|entry| entry.path()).map_err(failed())).collect()
}

/// What is known of a file; nothing where it is gone by now.
fn shelved(path: &Path) -> Option<ShelvedFile> {
    let metadata = fs::symlink_metadata(path).ok().filter(fs::Metadata::is_file)?;
    let written = SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(metadata.mtime()).unwrap_or(0));
    Some(ShelvedFile { path: path.to_owned(), size: metadata.len(), written })
}

/// A word that may be part of a file name.
fn check(word: &str) -> Result<()> {
    let ok = (1..=100).contains(&word.len())
        && !word.starts_with(['.', '-'])
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-' | b'+' | b'~'));
    if ok { Ok(()) } else { Err(Error::DerivedName { name: word.chars().take(200).collect() }) }
}

impl Layout {
    fn package_index(&self) -> PathBuf {
        self.home().join(PACKAGES).join("index.yaml")
    }

    fn package_index_lock(&self) -> PathBuf {
        self.home().join(PACKAGES).join("index.lock")
    }

    fn package_part(&self, name: &str) -> PathBuf {
        self.home().join(PACKAGES).join(PARTS).join(name)
    }

    fn package(&self, name: &str, version: &str, architecture: &str) -> PathBuf {
        let file = format!("{name}-{version}-{architecture}.tar.zst");
        self.home().join(PACKAGES).join(name).join(file)
    }
}

/// FORMAT: `packages/index.yaml`, `packages/NAME/NAME-VERSION-ARCH.tar.zst`, `packages/.parts/SHA.part`.
const PACKAGES: &str = "packages";
const PARTS: &str = ".parts";
const PART: &str = ".part";
const LOCK: &str = ".lock";
