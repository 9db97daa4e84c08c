//! A blob that is being written.

use crate::error::{Error, Result};
use crate::spool::remove;
use larder_core::{Digest, Hasher};
use rustix::fs::statvfs;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

/// A file that grows towards a blob, under an exclusive lock. Dropping it keeps what was written.
#[derive(Debug)]
pub(crate) struct Part {
    file: File,
    path: PathBuf,
    whole: PathBuf,
    digest: Digest,
    size: u64,
    /// Bytes in the file.
    length: u64,
    /// Over the first `hashed` bytes.
    hasher: Hasher,
    hashed: u64,
}

impl Part {
    pub(crate) fn new(
        file: File,
        path: PathBuf,
        whole: PathBuf,
        digest: Digest,
        size: u64,
        length: u64,
    ) -> Self {
        Self { file, path, whole, digest, size, length, hasher: Hasher::new(digest.algorithm()), hashed: 0 }
    }

    /// Bytes that are there.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// Cuts off what lies behind `offset`, and looks whether the rest will fit.
    ///
    /// # Errors
    ///
    /// If less than that is there, or there is no room.
    pub(crate) fn resume(&mut self, offset: u64) -> Result<()> {
        let digest = self.digest;
        if offset > self.length {
            return Err(Error::Offset { digest, offset, actual: self.length });
        }
        if offset > self.size {
            return Err(Error::TooLong { digest, size: self.size });
        }
        if offset < self.length {
            self.file.set_len(offset).map_err(|source| Error::file("cut", &self.path, source))?;
            self.length = offset;
        }
        if self.size - offset > self.free() { Err(self.full(self.size)) } else { Ok(()) }
    }

    /// Says that there is no room for the rest of `size` bytes.
    pub(crate) fn full(&self, size: u64) -> Error {
        let path = self.path.parent().map(Into::into).unwrap_or_default();
        Error::Full { digest: self.digest, path, needed: size.saturating_sub(self.length), free: self.free() }
    }

    /// Bytes of the first [`Part::length`] that were hashed.
    pub(crate) fn replayed(&self) -> u64 {
        self.hashed
    }

    /// Bytes that are free; all there can be where the file system does not say.
    fn free(&self) -> u64 {
        statvfs(&self.path).map_or(u64::MAX, |room| room.f_bavail.saturating_mul(room.f_frsize))
    }

    /// Hashes the next stretch of what an earlier session left. True while there is more.
    pub(crate) fn replay(&mut self, buffer: &mut [u8]) -> Result<bool> {
        if self.hashed == 0 {
            self.file.seek(SeekFrom::Start(0)).map_err(|source| Error::file("read", &self.path, source))?;
        }
        let mut stretch = STRETCH;
        while self.hashed < self.length && stretch > 0 {
            let most = usize::try_from(self.length - self.hashed).unwrap_or(usize::MAX).min(buffer.len());
            let count = self
                .file
                .read(&mut buffer[..most])
                .map_err(|source| Error::file("read", &self.path, source))?;
            if count == 0 {
                return Err(Error::Shrunk { digest: self.digest });
            }
            self.hasher.update(&buffer[..count]);
            self.hashed += count as u64;
            stretch = stretch.saturating_sub(count);
        }
        Ok(self.hashed < self.length)
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    ///
    /// If they are too many, or cannot be written.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<()> {
        debug_assert_eq!(self.hashed, self.length, "kept bytes are hashed before more come");
        let count = bytes.len() as u64;
        if count > self.size - self.length {
            return Err(Error::TooLong { digest: self.digest, size: self.size });
        }
        self.file.write_all(bytes).map_err(|source| Error::file("write", &self.path, source))?;
        self.hasher.update(bytes);
        self.length += count;
        self.hashed += count;
        Ok(())
    }

    /// Verifies the blob and gives it its name.
    ///
    /// # Errors
    ///
    /// If bytes are missing, or they are the wrong ones.
    pub(crate) fn finish(&mut self) -> Result<()> {
        let Self { digest, size, length, .. } = *self;
        if length < size {
            return Err(Error::Incomplete { digest, size, actual: length });
        }
        let actual = self.hasher.clone().finish();
        if actual != digest {
            return Err(Error::WrongBytes { digest, actual: Box::new(actual) });
        }
        std::fs::rename(&self.path, &self.whole).map_err(|source| Error::file("rename", &self.path, source))
    }

    /// The file.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// The file, still locked. For after [`Part::finish`].
    pub(crate) fn into_file(self) -> File {
        self.file
    }

    /// Throws it away, before its lock goes.
    pub(crate) fn discard(self) -> Result<()> {
        remove(&self.path)
    }
}

/// Bytes that are hashed between two looks at the connection.
const STRETCH: usize = 64 << 20;
