//! Files that appear whole or not at all.

use crate::{Error, Result};
use std::fs::{File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file being written beside its place under a name of its own, whoever else writes there. Dropped, it is gone.
pub(super) struct Part {
    file: File,
    path: PathBuf,
    target: PathBuf,
}

impl Part {
    pub(super) fn create(target: &Path) -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name = target.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.ok_or_else(|| Error::Archive {
            path: target.to_owned(),
            problem: "it does not name a file".into(),
        })?;
        sweep(target, &name);
        // Another process may have the same id in its own namespace: a taken name is passed over.
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = target.with_file_name(format!(".{name}.{}-{number}.part", std::process::id()));
            match File::create_new(&path) {
                Ok(file) if is_held(&file) => return Ok(Self { file, path, target: target.to_owned() }),
                // Somebody swept it before it was ours.
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(source) => return Err(cannot_write(target, source)),
            }
        }
    }

    /// Where to write.
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Moves it to its place once its bytes are on the disk. The move itself lasts once the directory was synced.
    pub(super) fn place(self) -> Result<u64> {
        let placed = || -> io::Result<u64> {
            self.file.sync_all()?;
            let size = self.file.metadata()?.len();
            std::fs::rename(&self.path, &self.target)?;
            Ok(size)
        };
        placed().map_err(|source| cannot_write(&self.target, source))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // After the move there is nothing under this name.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Locks a part for as long as it is open; whether it still has its name then. Where files cannot be locked, nobody sweeps.
fn is_held(file: &File) -> bool {
    match file.try_lock() {
        Ok(()) => file.metadata().is_ok_and(|found| found.nlink() > 0),
        Err(TryLockError::WouldBlock) => false,
        Err(TryLockError::Error(_)) => true,
    }
}

/// Removes the parts that killed processes left beside the same target: nobody holds their locks.
fn sweep(target: &Path, name: &str) {
    let parent = target.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Ok(entries) = std::fs::read_dir(parent) else { return };
    for entry in entries.flatten() {
        let found = entry.file_name();
        let Some(middle) = found.to_str().and_then(|found| {
            found.strip_prefix('.')?.strip_prefix(name)?.strip_prefix('.')?.strip_suffix(".part")
        }) else {
            continue;
        };
        if !middle.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            continue;
        }
        if let Ok(file) = File::open(entry.path())
            && file.try_lock().is_ok()
        {
            // Left behind is no worse than before.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// Writes a small file so that readers see the old or the new one, never half of it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut part = Part::create(path)?;
    part.file().write_all(bytes).map_err(|source| cannot_write(path, source))?;
    part.place().map(drop)
}

/// Writes a file so that readers see the old or the new one, never half of it, and that it survives a power cut.
pub fn replace_file(path: &Path, bytes: &[u8]) -> Result<()> {
    replace(path, bytes)?;
    path.parent().map_or(Ok(()), sync_directory)
}

/// Makes the names in a directory survive a power cut.
pub(super) fn sync_directory(dir: &Path) -> Result<()> {
    // The parent of a bare name is the empty path.
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|file| file.sync_all()).map_err(|source| cannot_write(dir, source))
}

pub(super) fn cannot_write(path: &Path, source: io::Error) -> Error {
    Error::File { action: "cannot write", path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x");
        let foreign = [".x.old.part", ".xy.1-0.part", "x.1-0.part", ".x.1-0"];
        for name in [".x.1-0.part", ".x.4194304-17.part"].iter().chain(&foreign) {
            std::fs::write(dir.path().join(name), b"").unwrap();
        }
        let mut held = Part::create(&target).unwrap();
        held.file().write_all(b"held").unwrap();
        let other = Part::create(&target).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), foreign.len() + 2);
        drop(other);
        assert_eq!(held.place().unwrap(), 4);
        assert_eq!(std::fs::read(&target).unwrap(), b"held");
    }

    #[test]
    fn parts_do_not_meet_and_leave_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("x");
        let (mut one, mut two, lost) =
            (Part::create(&target).unwrap(), Part::create(&target).unwrap(), Part::create(&target).unwrap());
        one.file().write_all(b"one").unwrap();
        two.file().write_all(b"second").unwrap();
        assert_eq!(one.place().unwrap(), 3);
        assert_eq!(std::fs::read(&target).unwrap(), b"one");
        assert_eq!(two.place().unwrap(), 6);
        drop(lost);
        assert_eq!(std::fs::read(&target).unwrap(), b"second");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
