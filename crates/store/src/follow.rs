//! Reading a blob while it is still being written.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Reads an [`Ingest`](crate::Ingest) from its first byte, close behind the writer, out of the page cache. It waits where it has
/// caught up, and never slows the writer down. There can be any number of them, each at its own place.
///
/// The end comes only once all bytes hash to the name; before that, a writer that gives up is an error. After it the file stays
/// readable through the follower, whatever becomes of the blob.
#[derive(Debug)]
pub struct Follower {
    file: Arc<File>,
    at: u64,
    shared: Arc<Shared>,
    /// Tells the followers of one ingest apart.
    number: u64,
}

/// How far one may read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// Bytes from the start of the blob.
    pub until: u64,
    /// These are all, and they hash to the name.
    pub verified: bool,
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
    followers: u64,
    /// Who waits, and for the byte after which one.
    waiting: BTreeMap<u64, (u64, Waker)>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    Verified,
    Corrupt,
    GivenUp,
}

impl Follower {
    pub(crate) fn new(file: Arc<File>, shared: Arc<Shared>) -> Self {
        let number = {
            let mut state = shared.lock();
            state.followers += 1;
            state.followers
        };
        Self { file, at: 0, shared, number }
    }

    /// The file that grows, for reading at any place below [`Available::until`].
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Another follower of the same bytes, from the first one on.
    #[must_use]
    pub fn again(&self) -> Self {
        Self::new(self.file.clone(), self.shared.clone())
    }

    /// Ready once there are more than `beyond` bytes, or the end is known; otherwise the waker is called then. An error if the
    /// writer gave up, or wrote what does not hash to the name (`InvalidData`).
    pub fn poll_available(&self, beyond: u64, context: &mut Context<'_>) -> Poll<io::Result<Available>> {
        let mut state = self.shared.lock();
        let found = state.available(beyond);
        match found {
            Some(_) => state.waiting.remove(&self.number),
            None => state.waiting.insert(self.number, (beyond, context.waker().clone())),
        };
        found.map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.shared.lock().waiting.remove(&self.number);
    }
}

impl State {
    fn available(&self, beyond: u64) -> Option<io::Result<Available>> {
        let until = self.written;
        match self.end {
            Some(End::Verified) => Some(Ok(Available { until, verified: true })),
            Some(End::GivenUp) => Some(Err(io::Error::other("the blob was given up half-way"))),
            Some(End::Corrupt) => {
                let problem = "the blob does not hash to its name";
                Some(Err(io::Error::new(io::ErrorKind::InvalidData, problem)))
            }
            None => (until > beyond).then_some(Ok(Available { until, verified: false })),
        }
    }

    /// Takes those who wait no longer.
    fn woken(&mut self) -> Vec<Waker> {
        let (written, all) = (self.written, self.end.is_some());
        let ready: Vec<u64> = self
            .waiting
            .iter()
            .filter(|(_, (beyond, _))| all || written > *beyond)
            .map(|(number, _)| *number)
            .collect();
        ready.iter().filter_map(|number| self.waiting.remove(number)).map(|(_, waker)| waker).collect()
    }
}

impl Shared {
    pub(crate) fn starting_at(written: u64) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { written, ..State::default() }), changed: Condvar::new() })
    }

    pub(crate) fn advance(&self, written: u64) {
        self.change(|state| state.written = written);
    }

    /// The bytes are all there and hash to the name.
    pub(crate) fn verified(&self) {
        self.end(End::Verified);
    }

    /// The bytes are all there and are wrong.
    pub(crate) fn corrupt(&self) {
        self.end(End::Corrupt);
    }

    /// No more bytes come. The first word about the end counts.
    pub(crate) fn give_up(&self) {
        self.end(End::GivenUp);
    }

    fn end(&self, end: End) {
        self.change(|state| {
            state.end.get_or_insert(end);
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let woken = {
            let mut state = self.lock();
            change(&mut state);
            state.woken()
        };
        self.changed.notify_all();
        woken.into_iter().for_each(Waker::wake);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Read for Follower {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.shared.lock();
        let available = loop {
            match state.available(self.at) {
                Some(available) => break available?,
                None => state = self.shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(state);
        let ready = available.until.saturating_sub(self.at);
        let count = buffer.len().min(usize::try_from(ready).unwrap_or(usize::MAX));
        let count = self.file.read_at(&mut buffer[..count], self.at)?;
        self.at += count as u64;
        Ok(count)
    }
}
