//! A place for layers that are being unpacked, which goes with its session.

use crate::error::{Error, Result};
use crate::spool::{is_still, listed, lock};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// A directory that nobody else uses: locked as long as this value lives, removed when it is dropped, and by others once its session is
/// dead.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    _lock: File,
}

impl Staging {
    /// Makes one in `parent`, which is made if it is missing. The directory above `parent` must exist.
    pub(crate) fn new(parent: &Path) -> Result<Self> {
        make(parent)?;
        for number in 0.. {
            let path = parent.join(format!("{}-{number}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(source) => return Err(Error::file("make", path, source)),
            }
            let Ok(directory) = File::open(&path) else { continue };
            // Somebody who sweeps may have been faster.
            if lock(&directory, FlockOperation::NonBlockingLockExclusive, &path)?
                && is_still(&directory, &path)?
            {
                return Ok(Self { path, _lock: directory });
            }
        }
        unreachable!("the numbers do not end")
    }

    /// Makes an empty directory for a layer.
    pub(crate) fn layer(&self, number: usize) -> Result<PathBuf> {
        let path = self.path.join(number.to_string());
        make(&path)?;
        Ok(path)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // What stays is removed by the next session.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes what dead sessions left in `parent`.
pub(crate) fn sweep(parent: &Path) -> Result<()> {
    for (path, _) in listed(parent)? {
        let Ok(directory) = File::open(&path) else { continue };
        if lock(&directory, FlockOperation::NonBlockingLockExclusive, &path)? {
            remove(&path)?;
        }
    }
    Ok(())
}

fn make(path: &Path) -> Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            Err(Error::file("make", path, error))
        }
        _ => Ok(()),
    }
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::file("remove", path, error)),
        _ => Ok(()),
    }
}
