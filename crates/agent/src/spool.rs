//! The spool: blobs by digest in one directory, shared by all sessions of a node.
//!
//! Nothing is synced. A file under its final name is trusted in the boot it was made in; the first session after a boot makes it
//! a part again, which is read and hashed before it counts ([`Part`]). Locks are `flock`s, which die with their process:
//! exclusive on a part that is written, shared on a blob that a session counts on.

use crate::error::{Error, Result};
use crate::message::{Presence, Released};
use crate::part::Part;
use larder_core::{Algorithm, Digest};
use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The spool of one session.
#[derive(Debug)]
pub(crate) struct Spool {
    directory: PathBuf,
    /// Blobs that this session counts on, each with a shared lock.
    held: BTreeMap<Digest, File>,
}

/// How writing a blob begins.
#[derive(Debug)]
pub(crate) enum Begin {
    /// It is whole already.
    Exists {
        /// Its size in bytes.
        size: u64,
    },
    /// Another session writes it.
    Busy {
        /// How far that is, in bytes.
        offset: u64,
    },
    /// It is this session's to write.
    Part(Box<Part>),
}

impl Spool {
    /// Opens the spool in `directory`, which is made if it is missing.
    pub(crate) fn open(directory: &Path) -> Result<Self> {
        for algorithm in ALGORITHMS {
            let path = directory.join("blobs").join(algorithm.as_str());
            let mut builder = std::fs::DirBuilder::new();
            builder
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(|source| Error::file("make", &path, source))?;
        }
        let spool = Self { directory: directory.to_owned(), held: BTreeMap::new() };
        spool.distrust_other_boots()?;
        Ok(spool)
    }

    /// Where the blobs are.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Whether a blob is there. One that is whole stays for as long as this session counts on it.
    pub(crate) fn look(&mut self, digest: &Digest) -> Result<Presence> {
        if let Some(size) = self.hold(digest)? {
            return Ok(Presence::Whole(size));
        }
        let part = self.part(digest);
        match std::fs::symlink_metadata(&part) {
            Ok(metadata) => Ok(Presence::Part(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Presence::Absent),
            Err(error) => Err(Error::file("look at", part, error)),
        }
    }

    /// Begins to write a blob.
    pub(crate) fn begin(&mut self, digest: &Digest, size: u64) -> Result<Begin> {
        loop {
            if let Some(size) = self.hold(digest)? {
                return Ok(Begin::Exists { size });
            }
            let path = self.part(digest);
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .custom_flags(NO_LINKS)
                .open(&path)
                .map_err(|source| Error::file("open", &path, source))?;
            if !lock(&file, FlockOperation::NonBlockingLockExclusive, &path)? {
                let length = length(&file, &path)?;
                return Ok(Begin::Busy { offset: length });
            }
            // Between opening and locking, another session may have finished the blob, or thrown the part away.
            if !is_still(&file, &path)? {
                continue;
            }
            if self.hold(digest)?.is_some() {
                remove(&path)?;
                continue;
            }
            let length = length(&file, &path)?;
            return Ok(Begin::Part(Box::new(Part::new(
                file,
                path,
                self.whole(digest),
                *digest,
                size,
                length,
            ))));
        }
    }

    /// Takes over a blob that this session wrote.
    pub(crate) fn keep(&mut self, digest: &Digest, file: File) -> Result<()> {
        let path = self.whole(digest);
        if self.held.len() < HELD_LIMIT && lock(&file, FlockOperation::NonBlockingLockShared, &path)? {
            self.held.insert(*digest, file);
        }
        Ok(())
    }

    /// Opens a blob for reading, at its start; with its size in bytes. It cannot go while the file is open.
    pub(crate) fn read(&self, digest: &Digest) -> Result<(File, u64)> {
        self.open_whole(digest)?.ok_or(Error::Absent { digest: *digest })
    }

    /// Gives blobs up: those that no other session counts on go, parts as well.
    pub(crate) fn release(&mut self, digests: &[Digest]) -> Result<Released> {
        let mut released = Released::default();
        for digest in digests {
            self.held.remove(digest);
            for path in [self.whole(digest), self.part(digest)] {
                match remove_unused(&path, |_| true)? {
                    Removal::Absent => {}
                    Removal::Used => released.kept += 1,
                    Removal::Removed(bytes) => {
                        released.removed += 1;
                        released.removed_bytes += bytes;
                    }
                }
            }
        }
        Ok(released)
    }

    fn whole(&self, digest: &Digest) -> PathBuf {
        self.directory.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
    }

    fn part(&self, digest: &Digest) -> PathBuf {
        self.whole(digest).with_extension(PART)
    }

    /// Counts on a blob, if it is whole; then with its size in bytes.
    fn hold(&mut self, digest: &Digest) -> Result<Option<u64>> {
        if let Some(file) = self.held.get(digest) {
            return length(file, &self.whole(digest)).map(Some);
        }
        let Some((file, size)) = self.open_whole(digest)? else { return Ok(None) };
        if self.held.len() < HELD_LIMIT {
            self.held.insert(*digest, file);
        }
        Ok(Some(size))
    }

    /// A whole blob with a shared lock.
    fn open_whole(&self, digest: &Digest) -> Result<Option<(File, u64)>> {
        let path = self.whole(digest);
        let Some(file) = open(&path)? else { return Ok(None) };
        // Locked exclusively: about to be removed.
        if !lock(&file, FlockOperation::NonBlockingLockShared, &path)? || !is_still(&file, &path)? {
            return Ok(None);
        }
        let size = length(&file, &path)?;
        Ok(Some((file, size)))
    }

    /// After a boot nothing is whole until it was read again: it was never synced.
    fn distrust_other_boots(&self) -> Result<()> {
        let path = self.directory.join("boot");
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(NO_LINKS)
            .open(&path)
            .map_err(|source| Error::file("open", &path, source))?;
        // Held for a few renames; all sessions that start meanwhile need the outcome.
        flock(&file, FlockOperation::LockExclusive).map_err(|source| Error::file("lock", &path, source))?;
        let boot = std::fs::read("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let known = std::fs::read(&path).map_err(|source| Error::file("read", &path, source))?;
        if !boot.is_empty() && boot == known {
            return Ok(());
        }
        for (path, name) in self.files()? {
            if !name.ends_with(&format!(".{PART}")) {
                let part = path.with_extension(PART);
                std::fs::rename(&path, &part).map_err(|source| Error::file("rename", &path, source))?;
            }
        }
        // A crash before this line repeats the loop, which finds nothing left to do.
        file.set_len(0)
            .and_then(|()| std::fs::write(&path, &boot))
            .map_err(|source| Error::file("write", &path, source))
    }

    /// All files that are named like blobs and parts.
    pub(crate) fn files(&self) -> Result<Vec<(PathBuf, String)>> {
        let mut files = Vec::new();
        for algorithm in ALGORITHMS {
            let directory = self.directory.join("blobs").join(algorithm.as_str());
            files.extend(listed(&directory)?);
        }
        Ok(files)
    }
}

/// What became of a file that was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Removal {
    Absent,
    /// Somebody holds a lock on it, or it is not to go.
    Used,
    /// With its size in bytes.
    Removed(u64),
}

/// Removes a file that nobody has locked and that `may` go.
pub(crate) fn remove_unused(path: &Path, may: impl Fn(&std::fs::Metadata) -> bool) -> Result<Removal> {
    let Some(file) = open(path)? else { return Ok(Removal::Absent) };
    let metadata = file.metadata().map_err(|source| Error::file("look at", path, source))?;
    if !may(&metadata) || !lock(&file, FlockOperation::NonBlockingLockExclusive, path)? {
        return Ok(Removal::Used);
    }
    if !is_still(&file, path)? {
        return Ok(Removal::Absent);
    }
    remove(path)?;
    Ok(Removal::Removed(metadata.len()))
}

/// The files of a directory with their names, as far as those are text; none if there is no directory.
pub(crate) fn listed(directory: &Path) -> Result<Vec<(PathBuf, String)>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("list", directory, error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry.map_err(|source| Error::file("list", directory, source))?;
        if let Ok(name) = entry.file_name().into_string() {
            files.push((entry.path(), name));
        }
    }
    Ok(files)
}

/// Opens a regular file for reading; `None` if there is none.
pub(crate) fn open(path: &Path) -> Result<Option<File>> {
    match OpenOptions::new().read(true).custom_flags(NO_LINKS).open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::file("open", path, error)),
    }
}

/// True if the lock was taken.
pub(crate) fn lock(file: &File, operation: FlockOperation, path: &Path) -> Result<bool> {
    match flock(file, operation) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(Error::file("lock", path, error)),
    }
}

/// True if `path` still leads to `file`.
pub(crate) fn is_still(file: &File, path: &Path) -> Result<bool> {
    let own = file.metadata().map_err(|source| Error::file("look at", path, source))?;
    match std::fs::symlink_metadata(path) {
        Ok(named) => Ok(own.dev() == named.dev() && own.ino() == named.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::file("look at", path, error)),
    }
}

pub(crate) fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", path, error)),
        _ => Ok(()),
    }
}

fn length(file: &File, path: &Path) -> Result<u64> {
    Ok(file.metadata().map_err(|source| Error::file("look at", path, source))?.len())
}

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Sha256, Algorithm::Sha512];
const PART: &str = "part";
/// Locks of one session: each is an open file, and a process may have 1024 by default.
const HELD_LIMIT: usize = 512;
const NO_LINKS: i32 = OFlags::NOFOLLOW.union(OFlags::NONBLOCK).bits().cast_signed();
