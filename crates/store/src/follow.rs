//! Reading a blob while it is still being written.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Reads an [`Ingest`](crate::Ingest) from its first byte, close behind the writer, out of the page cache. It waits where it has
/// caught up, and never slows the writer down.
///
/// The end comes only once all bytes hash to the name; before that, a writer that gives up is an error.
#[derive(Debug)]
pub struct Follower {
    file: File,
    at: u64,
    shared: Arc<Shared>,
}

/// What writer and followers tell each other.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    written: u64,
    end: Option<End>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Verified,
    GivenUp,
}

impl Follower {
    pub(crate) fn new(file: File, shared: Arc<Shared>) -> Self {
        Self { file, at: 0, shared }
    }
}

impl Shared {
    pub(crate) fn starting_at(written: u64) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { written, end: None }), changed: Condvar::new() })
    }

    pub(crate) fn advance(&self, written: u64) {
        self.lock().written = written;
        self.changed.notify_all();
    }

    /// The bytes are all there and hash to the name.
    pub(crate) fn verified(&self) {
        self.end(End::Verified);
    }

    /// No more bytes come, or those that came were wrong. The first word counts.
    pub(crate) fn give_up(&self) {
        self.end(End::GivenUp);
    }

    fn end(&self, end: End) {
        self.lock().end.get_or_insert(end);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.shared.lock();
        let ready = loop {
            match state.end {
                Some(End::GivenUp) => return Err(io::Error::other("the blob was given up half-way")),
                Some(End::Verified) => break state.written - self.at,
                None if state.written > self.at => break state.written - self.at,
                None => state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(state);
        let count = buffer.len().min(usize::try_from(ready).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
