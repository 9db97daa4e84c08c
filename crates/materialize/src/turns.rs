//! Whose turn it is to inflate.
//!
//! More layers arrive at once than there are processors. Were all of them inflated side by side, the largest would get as
//! little of the processors as the others, and be inflated alone in the end while the rest of the machine stands still.

use larder_store::Follower;
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// As many turns as there are processors: the largest layer that has bytes to inflate goes first. Cheap to clone.
///
/// A layer that waits for the network has no turn, so a slow one delays nobody.
#[derive(Debug, Clone)]
pub struct Turns(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    free: usize,
    tickets: u64,
    /// The largest first; of equal ones, the one that asked first.
    waiting: BTreeSet<Place>,
}

type Place = (Reverse<u64>, u64);

impl Turns {
    /// `count` turns at a time; at least one.
    pub fn new(count: usize) -> Self {
        let state = State { free: count.max(1), tickets: 0, waiting: BTreeSet::new() };
        Self(Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() }))
    }

    /// Whether a processor has nothing to inflate.
    pub(crate) fn is_free(&self) -> bool {
        let state = self.lock();
        state.free > 0 && state.waiting.is_empty()
    }

    /// A reader of a compressed layer: what is read from it is inflated in turn. `size` is that of the blob.
    pub(crate) fn follow(&self, follower: Follower, size: u64) -> impl Read + use<> {
        self.reader(follower, size, |follower, at| {
            follower.poll_available(at, &mut Context::from_waker(Waker::noop())).is_pending()
        })
    }

    fn reader<R: Read, W: FnMut(&R, u64) -> bool>(&self, inner: R, size: u64, waits: W) -> InTurn<R, W> {
        InTurn { inner, at: 0, size, waits, turns: self.clone(), held: false }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has the turn from the end of one read to the start of the next one that has to wait.
struct InTurn<R, W> {
    inner: R,
    at: u64,
    size: u64,
    /// Whether a read at this offset would wait.
    waits: W,
    turns: Turns,
    held: bool,
}

impl<R, W> InTurn<R, W> {
    /// Waits for the turn; whoever has it already lets larger layers pass.
    fn take(&mut self) {
        let mut state = self.turns.lock();
        if std::mem::replace(&mut self.held, true) {
            if state.waiting.first().is_none_or(|(Reverse(size), _)| *size <= self.size) {
                return;
            }
            // In line again before anybody else can go: otherwise a smaller one would come in between.
            state.free += 1;
            self.turns.0.changed.notify_all();
        }
        let place = (Reverse(self.size), state.tickets);
        state.tickets += 1;
        state.waiting.insert(place);
        while state.free == 0 || state.waiting.first() != Some(&place) {
            state = self.turns.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.waiting.remove(&place);
        state.free -= 1;
        if state.free > 0 && !state.waiting.is_empty() {
            self.turns.0.changed.notify_all();
        }
    }

    fn leave(&mut self) {
        if std::mem::replace(&mut self.held, false) {
            self.turns.lock().free += 1;
            self.turns.0.changed.notify_all();
        }
    }
}

impl<R: Read, W: FnMut(&R, u64) -> bool> Read for InTurn<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.held && (self.waits)(&self.inner, self.at) {
            self.leave();
        }
        let count = self.inner.read(buffer)?;
        self.at += count as u64;
        self.take();
        Ok(count)
    }
}

impl<R, W> Drop for InTurn<R, W> {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_testkit::eventually;
    use std::sync::mpsc::{Receiver, channel};
    use std::thread;
    use std::time::Duration;

    /// Gives one byte for each that was sent.
    struct Pipe(Receiver<u8>, Option<u8>);

    impl Read for Pipe {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let byte = self.1.take().or_else(|| self.0.recv().ok());
            buffer[0] = byte.unwrap_or(0);
            Ok(usize::from(byte.is_some()))
        }
    }

    #[test]
    fn who_waits_for_bytes_has_no_turn() {
        let turns = Turns::new(1);
        let (more, arriving) = channel();
        more.send(1).unwrap();
        let mut slow = turns.reader(Pipe(arriving, None), 100, |_, at| at == 1);
        slow.read_exact(&mut [0]).unwrap();
        let waiting = thread::spawn(move || slow.read_exact(&mut [0]).map(|()| slow));
        // Would wait for ever if the first one kept the turn while it waits.
        let mut quick = turns.reader(&b"quick"[..], 1, |_, _| false);
        quick.read_exact(&mut [0; 5]).unwrap();
        drop(quick);
        more.send(2).unwrap();
        waiting.join().unwrap().unwrap();
    }

    #[test]
    fn the_largest_goes_first_and_overtakes() {
        let turns = Turns::new(1);
        let mut holder = turns.reader(&b"abc"[..], 5, |_, _| false);
        holder.read_exact(&mut [0]).unwrap();
        let (sender, order) = channel();
        let mut threads = Vec::new();
        for (count, size) in [1, 9, 3].into_iter().enumerate() {
            let (others, sender) = (turns.clone(), sender.clone());
            threads.push(thread::spawn(move || {
                let mut reader = others.reader(&b"x"[..], size, |_, _| false);
                reader.read_exact(&mut [0]).unwrap();
                sender.send(size).unwrap();
            }));
            eventually("it waits", Duration::from_secs(10), || {
                (turns.lock().waiting.len() == count + 1).then_some(())
            });
        }
        // One that is larger waits, so the holder lets it pass, and comes next itself.
        holder.read_exact(&mut [0]).unwrap();
        sender.send(5).unwrap();
        assert!(turns.lock().free == 0 && holder.held);
        drop(holder);
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        drop(sender);
        assert_eq!(order.iter().collect::<Vec<u64>>(), [9, 5, 3, 1]);
    }
}
