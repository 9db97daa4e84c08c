//! Where the bytes of a blob are read from, and how far they may be sent already.

use crate::proof::Proof;
use larder_store::Follower;
use rustix::fs::{Advice, fadvise};
use rustix::io::{ReadWriteFlags, preadv2};
use std::fs::File;
use std::future::Future as _;
use std::io::{self, IoSliceMut};
use std::num::NonZeroU64;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// An open blob. The last bytes of what is asked for leave only when all of it is known to hash to its name, so that a client
/// never has a whole answer with wrong bytes in it.
pub(crate) struct Source {
    file: Arc<File>,
    state: State,
}

enum State {
    /// Hashed since this process started, and unchanged since.
    Proven,
    /// Being hashed.
    Checking(Proof),
    /// Being fetched.
    Coming(Follower),
}

/// What may be sent now.
pub(crate) struct Window {
    pub(crate) until: u64,
}

impl Source {
    pub(crate) fn proven(file: Arc<File>) -> Self {
        Self { file, state: State::Proven }
    }

    pub(crate) fn checking(file: Arc<File>, proof: Proof) -> Self {
        Self { file, state: State::Checking(proof) }
    }

    pub(crate) fn coming(follower: Follower) -> io::Result<Self> {
        Ok(Self { file: Arc::new(follower.file().try_clone()?), state: State::Coming(follower) })
    }

    pub(crate) fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Ready with more than `at` and at most `end`, or with why there is no more.
    pub(crate) fn poll_window(
        &mut self,
        at: u64,
        end: u64,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<Window>> {
        let held = end.saturating_sub(HELD).max(at);
        match &mut self.state {
            State::Proven => Poll::Ready(Ok(Window { until: end })),
            State::Checking(proof) => {
                if let Poll::Ready(sound) = Pin::new(proof).poll(cx) {
                    if !sound {
                        return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, DAMAGED)));
                    }
                    self.state = State::Proven;
                    return Poll::Ready(Ok(Window { until: end }));
                }
                if held > at {
                    return Poll::Ready(Ok(Window { until: held }));
                }
                Poll::Pending
            }
            State::Coming(follower) => {
                let beyond = if held > at { at } else { u64::MAX };
                let available = std::task::ready!(follower.poll_available(beyond, cx))?;
                if available.verified {
                    self.state = State::Proven;
                    return Poll::Ready(Ok(Window { until: end }));
                }
                Poll::Ready(Ok(Window { until: available.until.min(held) }))
            }
        }
    }

    /// Lets the kernel read ahead of what is about to be sent, so that a slow disk does not hold up other connections.
    pub(crate) fn expect(&self, at: u64, length: u64) {
        // Where the end is in memory, the rest is, too, nearly always; looking costs less than the advice.
        let mut byte = [0];
        let mut end = [IoSliceMut::new(&mut byte)];
        let last = at + length.saturating_sub(1);
        if preadv2(&*self.file, &mut end, last, ReadWriteFlags::NOWAIT).is_ok() {
            return;
        }
        // Advice only; a file system that takes none is fine.
        let _ = fadvise(&*self.file, at, NonZeroU64::new(length), Advice::WillNeed);
    }
}

/// Kept back until the hash is known.
const HELD: u64 = 1 << 10;
const DAMAGED: &str = "the stored bytes do not hash to their name";
