//! Files that appear whole or not at all.

use crate::{Error, Result};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
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
        // Another process may have the same id in its own namespace, or have left a part behind: a taken name is passed over.
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let path = target.with_file_name(format!(".{name}.{}-{number}.part", std::process::id()));
            match File::create_new(&path) {
                Ok(file) => return Ok(Self { file, path, target: target.to_owned() }),
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

/// Writes a small file so that readers see the old or the new one, never half of it.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut part = Part::create(path)?;
    part.file().write_all(bytes).map_err(|source| cannot_write(path, source))?;
    part.place().map(drop)
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
