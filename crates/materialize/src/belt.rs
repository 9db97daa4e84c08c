//! Between inflating a layer and what is done with the bytes then: hashing, writing, scanning.

use rustix::thread::{Pid, gettid, sched_getaffinity, sched_getcpu, sched_setaffinity};
use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Takes the bytes of a layer, in order.
pub(crate) trait Sink: Send {
    /// Takes the next bytes; `false` means that it wants no more.
    fn take(&mut self, bytes: &[u8]) -> bool;
}

/// Carries filled buffers to a sink. Whoever has time works them off: a second thread while there is a processor for it,
/// and otherwise the one that fills them, for which they are still in the cache.
pub(crate) struct Belt<S> {
    // Locked before the buffers. Buffers are taken under it, so they reach the sink in order.
    sink: Mutex<Work<S>>,
    buffers: Mutex<Buffers>,
    changed: Condvar,
}

/// A buffer that goes round: its memory is zeroed and touched once.
pub(crate) struct Filled {
    pub(crate) bytes: Vec<u8>,
    pub(crate) length: usize,
}

struct Work<S> {
    sink: S,
    wants_more: bool,
}

#[derive(Default)]
struct Buffers {
    full: VecDeque<Filled>,
    /// The one used last is used next.
    empty: Vec<Filled>,
    made: usize,
    /// There is something for the helper to do, or nothing more will come.
    called: bool,
    ended: bool,
    /// The second thread, and the processor it ran on when it last went to sleep.
    helper: Option<(Pid, usize)>,
}

impl<S: Sink> Belt<S> {
    pub(crate) fn new(sink: S) -> Self {
        let work = Work { sink, wants_more: true };
        Self { sink: Mutex::new(work), buffers: Mutex::default(), changed: Condvar::new() }
    }

    /// A buffer to be filled. Works off full ones while there is none; `None` once the sink wants no more.
    pub(crate) fn buffer(&self) -> Option<Filled> {
        loop {
            {
                let mut buffers = self.buffers();
                if let Some(buffer) = buffers.empty.pop() {
                    return Some(buffer);
                }
                if buffers.made < BUFFERS {
                    buffers.made += 1;
                    return Some(Filled { bytes: vec![0; BUFFER], length: 0 });
                }
            }
            // Once the sink is free and nothing is full, all others are empty.
            if !self.step() && !self.work().wants_more {
                return None;
            }
        }
    }

    /// Puts a filled buffer on the belt. Returns once it is worked off, unless `helped`: then another thread does that.
    pub(crate) fn put(&self, buffer: Filled, helped: bool) {
        let (calls, helper) = {
            let mut buffers = self.buffers();
            buffers.full.push_back(buffer);
            buffers.called = helped && buffers.full.len() >= BATCH;
            (buffers.called, buffers.helper)
        };
        if calls {
            if let Some((helper, _)) = helper.filter(|(_, processor)| *processor == sched_getcpu()) {
                send_away(helper);
            }
            self.changed.notify_one();
        } else if !helped {
            self.drain();
        }
    }

    /// Works off what is full.
    pub(crate) fn drain(&self) {
        while self.step() {}
    }

    /// What the second thread does, until the end.
    pub(crate) fn help(&self) {
        loop {
            let mut buffers = self.buffers();
            buffers.helper = Some((gettid(), sched_getcpu()));
            while !buffers.called {
                buffers = self.changed.wait(buffers).unwrap_or_else(PoisonError::into_inner);
            }
            if buffers.ended {
                return;
            }
            buffers.called = false;
            drop(buffers);
            self.drain();
        }
    }

    /// Sends the second thread home when it is dropped.
    pub(crate) fn end(&self) -> impl Drop + '_ {
        End(self)
    }

    pub(crate) fn into_sink(self) -> S {
        self.sink.into_inner().unwrap_or_else(PoisonError::into_inner).sink
    }

    /// Works off one buffer; `false` if there was none, or the sink wants no more.
    fn step(&self) -> bool {
        let mut work = self.work();
        if !work.wants_more {
            return false;
        }
        let Some(buffer) = self.buffers().full.pop_front() else { return false };
        work.wants_more = work.sink.take(&buffer.bytes[..buffer.length]);
        self.buffers().empty.push(buffer);
        work.wants_more
    }

    fn work(&self) -> MutexGuard<'_, Work<S>> {
        self.sink.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn buffers(&self) -> MutexGuard<'_, Buffers> {
        self.buffers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Has a thread run on any processor but this one. Where the machine was busy a moment ago, the kernel wakes a thread beside
/// the one that called it, where it waits for it, and looks for an idle processor only much later.
fn send_away(thread: Pid) {
    // What this thread may use; where that is a single processor there is nowhere to go.
    let Ok(mut others) = sched_getaffinity(None) else { return };
    others.unset(sched_getcpu());
    if others.count() > 0 {
        // Only slower if refused.
        let _ = sched_setaffinity(Some(thread), &others);
    }
}

struct End<'a, S: Sink>(&'a Belt<S>);

impl<S: Sink> Drop for End<'_, S> {
    fn drop(&mut self) {
        let mut buffers = self.0.buffers();
        (buffers.called, buffers.ended) = (true, true);
        drop(buffers);
        self.0.changed.notify_one();
    }
}

/// Fits the second-level cache together with what the inflater needs.
const BUFFER: usize = 256 << 10;
const BUFFERS: usize = 8;
/// So many full buffers are worth waking a thread.
const BATCH: usize = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    /// Keeps the first byte of each buffer, up to a limit, and by whom it was given.
    struct Noted {
        bytes: Vec<u8>,
        by: Vec<thread::ThreadId>,
        limit: usize,
    }

    impl Sink for Noted {
        fn take(&mut self, bytes: &[u8]) -> bool {
            self.bytes.push(bytes[0]);
            self.by.push(thread::current().id());
            self.bytes.len() < self.limit
        }
    }

    fn carry(count: u8, limit: usize, helped: impl Fn(u8) -> bool) -> (Noted, u8) {
        let belt = Belt::new(Noted { bytes: Vec::new(), by: Vec::new(), limit });
        let mut put = 0;
        thread::scope(|scope| {
            scope.spawn(|| belt.help());
            let _end = belt.end();
            for number in 0..count {
                let Some(mut buffer) = belt.buffer() else { break };
                (buffer.bytes[0], buffer.length) = (number, 1);
                belt.put(buffer, helped(number));
                put += 1;
            }
            belt.drain();
        });
        (belt.into_sink(), put)
    }

    #[test]
    fn everything_arrives_in_order_whoever_helps() {
        let ways: [fn(u8) -> bool; 4] =
            [|_| false, |_| true, |number| number % 3 == 0, |number| number % 50 < 25];
        for helped in ways {
            let (noted, _) = carry(250, usize::MAX, helped);
            assert_eq!(noted.bytes, (0..250).collect::<Vec<_>>());
        }
    }

    #[test]
    fn without_help_the_filling_thread_does_it_all() {
        let (noted, _) = carry(100, usize::MAX, |_| false);
        assert!(noted.by.iter().all(|thread| *thread == thread::current().id()));
    }

    #[test]
    fn a_sink_that_has_enough_stops_the_filling() {
        for helped in [false, true] {
            let (noted, put) = carry(250, 3, |_| helped);
            assert_eq!(noted.bytes, [0, 1, 2]);
            assert!(usize::from(put) <= 3 + BUFFERS, "{put} buffers were filled");
        }
    }

    #[test]
    fn a_helper_is_sent_to_another_processor() {
        let (told, tell) = std::sync::mpsc::channel();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let helper = thread::spawn(move || {
            told.send(gettid()).unwrap();
            ended.recv().unwrap_err();
        });
        let thread = tell.recv().unwrap();
        let all = sched_getaffinity(None).unwrap();
        // This thread may be moved in between.
        let here = loop {
            let here = sched_getcpu();
            sched_setaffinity(Some(thread), &all).unwrap();
            send_away(thread);
            if sched_getcpu() == here {
                break here;
            }
        };
        let allowed = sched_getaffinity(Some(thread)).unwrap();
        assert_eq!(allowed.is_set(here), all.count() == 1);
        assert_eq!(allowed.count(), (all.count() - 1).max(1));
        drop(end);
        helper.join().unwrap();
    }
}
