//! Bytes of the store on their way out, hashed as they go.

use crate::{Engine, Error, Result};
use larder_core::{Digest, Hasher};
use larder_store::Blob;
use std::fs::File;
use std::io::{ErrorKind, Read};

/// How much is read at once where nobody else decides.
pub(super) const BUFFER: usize = 256 << 10;

/// A reader that hashes what passes, with the algorithm of the digest it must have. It remembers why it failed, so that a copy
/// that ended with an error can tell its source's fault from its target's.
pub(super) struct Verified<R> {
    inner: R,
    digest: Digest,
    hasher: Hasher,
    ended: bool,
    failure: Option<std::io::Error>,
}

/// What is wrong with what was read.
pub(super) enum Flaw {
    /// It could not be read to its end.
    Unreadable(std::io::Error),
    /// It hashes to this.
    Mismatch(Digest),
}

impl<R: Read> Verified<R> {
    pub(super) fn new(inner: R, digest: Digest) -> Self {
        let hasher = Hasher::new(digest.algorithm());
        Self { inner, digest, hasher, ended: false, failure: None }
    }

    /// Whether the source is at its end or failed. Of a copy that ended earlier, the target is to blame.
    pub(super) fn is_over(&self) -> bool {
        self.ended || self.failure.is_some()
    }

    /// Reads what is left and compares. Whatever was copied is good only if this says nothing.
    pub(super) fn finish(mut self) -> (Option<Flaw>, R) {
        let mut buffer = vec![0; BUFFER];
        while !self.is_over() {
            // Failures are kept; an interrupted read is tried again.
            let _ = self.read(&mut buffer);
        }
        let flaw = match self.failure {
            Some(failure) => Some(Flaw::Unreadable(failure)),
            None => Some(self.hasher.finish()).filter(|found| *found != self.digest).map(Flaw::Mismatch),
        };
        (flaw, self.inner)
    }
}

impl<R: Read> Read for Verified<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(count) => {
                self.ended |= count == 0 && !buffer.is_empty();
                self.hasher.update(&buffer[..count]);
                Ok(count)
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            Err(error) => {
                let echo = error.kind().into();
                self.failure = Some(error);
                Err(echo)
            }
        }
    }
}

/// A blob of the store that leaves it.
pub(super) struct Source {
    pub(super) blob: Blob,
    pub(super) reader: Verified<File>,
}

impl Engine {
    /// Opens a blob in order to give it out.
    pub(super) fn source(&self, digest: &Digest) -> Result<Source> {
        let blob = self.blob_to_give(digest)?;
        let file = blob.open().map_err(|source| unusable(digest, source))?;
        Ok(Source { reader: Verified::new(file, *digest), blob })
    }

    /// Looks a blob up in order to give it out.
    pub(crate) fn blob_to_give(&self, digest: &Digest) -> Result<Blob> {
        let found = self.store().blob(digest).map_err(|source| unusable(digest, source))?;
        found.ok_or(Error::NoBlob { digest: *digest })
    }
}

impl Source {
    /// Whether all of the blob was what it should be.
    pub(super) fn finish(self) -> Result<()> {
        judge(&self.blob, self.reader.finish().0)
    }
}

/// What a flaw in a blob's file means.
pub(super) fn judge(blob: &Blob, flaw: Option<Flaw>) -> Result<()> {
    match flaw {
        None => Ok(()),
        Some(Flaw::Mismatch(found)) => Err(damaged(blob.digest(), &found)),
        Some(Flaw::Unreadable(source)) => {
            let path = blob.path().to_owned();
            Err(unusable(blob.digest(), larder_store::Error::Io { operation: "read", path, source }))
        }
    }
}

/// A blob of the store that hashes to something else.
pub(crate) fn damaged(digest: &Digest, found: &Digest) -> Error {
    let problem = format!("it hashes to {found}");
    unusable(digest, larder_store::Error::Damaged { digest: *digest, problem })
}

fn unusable(digest: &Digest, source: larder_store::Error) -> Error {
    let (action, source) = match source {
        larder_store::Error::Damaged { digest, problem } => {
            let problem = format!("{problem}; `larder verify --repair` sets it aside and fetches it again");
            (format!("blob {digest} is not given out"), larder_store::Error::Damaged { digest, problem })
        }
        source => (format!("cannot read blob {digest}"), source),
    };
    Error::Store { action, source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::Algorithm;

    #[test]
    fn both_algorithms_are_checked() {
        let mut hasher = Hasher::new(Algorithm::Sha512);
        hasher.update(b"content");
        for digest in [Digest::of(b"content"), hasher.finish()] {
            assert!(Verified::new(&b"content"[..], digest).finish().0.is_none());
            for wrong in [&b"kontent"[..], b"conten", b"contents", b""] {
                assert!(matches!(Verified::new(wrong, digest).finish().0, Some(Flaw::Mismatch(_))));
            }
        }
    }

    #[test]
    fn what_a_copy_left_is_hashed_too() {
        let mut reader = Verified::new(&b"content"[..], Digest::of(b"content"));
        let mut some = [0; 3];
        reader.read_exact(&mut some).unwrap();
        assert!(!reader.is_over());
        assert!(reader.finish().0.is_none());
    }
}
