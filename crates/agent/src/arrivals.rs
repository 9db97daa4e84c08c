//! Which bytes of which blobs are there: who unpacks them reads along while they arrive.

use larder_core::Digest;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Shared between the thread that receives and those that read. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arrivals(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Those that somebody expects.
    blobs: HashMap<Digest, Blob>,
    /// Nothing that is not there will come any more.
    is_closed: bool,
}

#[derive(Debug, Clone)]
enum Blob {
    Awaited,
    /// So many bytes of it are there.
    Part(Arc<File>, u64),
    /// It is verified.
    Whole(Arc<File>, u64),
    Failed,
}

impl Arrivals {
    /// These are read from now on. What is said about others is not kept.
    pub(crate) fn watch(&self, digests: impl IntoIterator<Item = Digest>) {
        let blobs = digests.into_iter().map(|digest| (digest, Blob::Awaited)).collect();
        *self.lock() = State { blobs, is_closed: false };
        // Whoever waits for another one waits in vain.
        self.0.changed.notify_all();
    }

    /// Whether somebody reads a blob that did not begin to arrive.
    pub(crate) fn awaits(&self, digest: &Digest) -> bool {
        matches!(self.lock().blobs.get(digest), Some(Blob::Awaited))
    }

    /// So many bytes of a blob are in its file.
    pub(crate) fn grew(&self, digest: &Digest, length: u64) {
        if let Some(Blob::Part(_, known)) = self.lock().blobs.get_mut(digest) {
            *known = length;
            self.0.changed.notify_all();
        }
    }

    /// A blob begins to arrive, in this file.
    pub(crate) fn begins(&self, digest: &Digest, file: &File, length: u64) {
        if let Ok(file) = file.try_clone() {
            self.set(digest, Blob::Part(Arc::new(file), length));
        }
    }

    /// A blob is verified. It is `size` bytes long.
    pub(crate) fn is_whole(&self, digest: &Digest, file: File, size: u64) {
        self.set(digest, Blob::Whole(Arc::new(file), size));
    }

    /// A blob did not arrive.
    pub(crate) fn failed(&self, digest: &Digest) {
        self.set(digest, Blob::Failed);
    }

    /// Nothing else comes.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.0.changed.notify_all();
    }

    /// Reads a blob from its start, waiting for what did not arrive yet. The end is the end of the verified blob.
    pub(crate) fn follow(&self, digest: &Digest) -> Follower {
        Follower { arrivals: self.clone(), digest: *digest, offset: 0 }
    }

    fn set(&self, digest: &Digest, blob: Blob) {
        if let Some(known) = self.lock().blobs.get_mut(digest) {
            *known = blob;
            self.0.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A blob that is read while it arrives.
#[derive(Debug)]
pub(crate) struct Follower {
    arrivals: Arrivals,
    digest: Digest,
    offset: u64,
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.arrivals.lock();
        let (file, end) = loop {
            match state.blobs.get(&self.digest) {
                Some(Blob::Whole(file, size)) => break (file.clone(), *size),
                Some(Blob::Part(file, length)) if *length > self.offset => break (file.clone(), *length),
                Some(Blob::Failed) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Some(Blob::Awaited | Blob::Part(..)) if !state.is_closed => {}
                Some(Blob::Awaited | Blob::Part(..)) | None => return Err(io::ErrorKind::NotFound.into()),
            }
            state = self.arrivals.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        drop(state);
        let most = usize::try_from(end - self.offset.min(end)).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let count = file.read_at(&mut buffer[..most], self.offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += count as u64;
        Ok(count)
    }
}
