//! Room in file systems.

use crate::error::{Error, Result};
use crate::message::Space;
use rustix::fs::statvfs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

impl Space {
    /// Looks at `path`, or at the nearest directory above it that exists.
    pub(crate) fn at(path: &Path) -> Result<Self> {
        let mut path = path;
        let metadata = loop {
            match std::fs::metadata(path) {
                Ok(metadata) => break metadata,
                Err(error) => match (error.kind(), path.parent()) {
                    (io::ErrorKind::NotFound | io::ErrorKind::NotADirectory, Some(parent)) => path = parent,
                    _ => return Err(Error::file("look at", path, error)),
                },
            }
        };
        let room = statvfs(path).map_err(|source| Error::file("look at", path, source))?;
        Ok(Self {
            path: path.display().to_string(),
            device: metadata.dev(),
            total_bytes: room.f_blocks.saturating_mul(room.f_frsize),
            free_bytes: room.f_bavail.saturating_mul(room.f_frsize),
            // btrfs has no fixed number of them and says 0 of 0.
            free_inodes: (room.f_files > 0).then_some(room.f_favail),
        })
    }
}
