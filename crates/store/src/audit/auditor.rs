//! Writes records on a thread of its own, so that nobody waits for the disk who need not.

use super::line::AuditNote;
use super::record::AuditRecord;
use super::{AuditLimits, AuditLog};
use crate::database::lock;
use crate::store::Clock;
use crate::{Error, Result, Store};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A queue in front of an [`AuditLog`], and the thread that empties it: whatever has come together is one write.
///
/// A record is in memory for at most some milliseconds, and survives the death of the process after that. Dropping this writes
/// what is queued.
pub struct Auditor {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// How an [`Auditor`] behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditorOptions {
    /// Records that may wait to be written.
    pub queue: usize,
    /// What happens to more of them, and to those that cannot be written.
    pub when_full: WhenFull,
    /// How often what was written is made durable, while there is something.
    pub sync_every: Duration,
}

/// What happens when records come that cannot be kept, since the disk is full or slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Nothing is lost: what cannot be written is tried again, and whoever comes when the queue is full waits. Who has waited for
    /// so long is refused: what cannot be recorded should not be done.
    Block {
        /// How long to wait for room.
        patience: Duration,
    },
    /// Nobody waits: records are dropped and counted, and the next one that can be written is preceded by one that says how many
    /// are missing.
    DropAndCount,
}

/// What became of the records so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditCounters {
    /// Records that are in the log.
    pub written: u64,
    /// Records that never will be.
    pub dropped: u64,
    /// Attempts to write that failed.
    pub failed: u64,
    /// Records in the queue now.
    pub waiting: u64,
}

/// The record was not taken: the queue is full, or the auditor is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the audit log does not keep up")]
pub struct NotQueued;

impl Default for AuditorOptions {
    fn default() -> Self {
        Self {
            queue: 16_384,
            when_full: WhenFull::Block { patience: Duration::from_secs(5) },
            sync_every: Duration::from_secs(1),
        }
    }
}

impl Auditor {
    /// Starts the thread. The log need not exist yet.
    pub fn start(store: &Store, limits: AuditLimits, options: AuditorOptions) -> Result<Self> {
        let shared = Arc::new(Shared {
            log: AuditLog::open(store, limits),
            clock: Arc::clone(&store.options.clock),
            options,
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            trouble: Mutex::default(),
        });
        let writer = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || writer.run())
            .map_err(Error::io("start a thread for", store.layout.audit()))?;
        Ok(Self { shared, thread: Mutex::new(Some(thread)) })
    }

    /// Queues a record. With [`WhenFull::Block`] this waits while the queue is full, and ends with an error when that takes too
    /// long; with [`WhenFull::DropAndCount`] it never waits, and an error means that the auditor is closed.
    pub fn record(&self, record: AuditRecord) -> Result<(), NotQueued> {
        self.shared.put(Entry { record, receipt: None }, true)
    }

    /// Like [`Auditor::record`], but never waits. An error means that the record was not taken: with [`WhenFull::Block`] it may be
    /// offered again, or the operation refused; it is not counted as dropped.
    pub fn offer(&self, record: AuditRecord) -> Result<(), NotQueued> {
        self.shared.put(Entry { record, receipt: None }, false)
    }

    /// Queues a record, and tells when it is durable. Never waits by itself.
    pub fn record_durably(&self, record: AuditRecord) -> Result<Receipt, NotQueued> {
        let slot = Arc::new(Slot::default());
        self.shared.put(Entry { record, receipt: Some(Arc::clone(&slot)) }, false)?;
        Ok(Receipt { slot })
    }

    /// What became of the records so far.
    pub fn counters(&self) -> AuditCounters {
        let shared = &self.shared;
        AuditCounters {
            written: shared.written.load(Ordering::Relaxed),
            dropped: shared.dropped.load(Ordering::Relaxed),
            failed: shared.failed.load(Ordering::Relaxed),
            waiting: lock(&shared.queue).entries.len() as u64,
        }
    }

    /// Why the last attempt to write failed; `None` once one succeeds.
    pub fn trouble(&self) -> Option<Arc<Error>> {
        lock(&self.shared.trouble).clone()
    }

    /// Writes what is queued, makes everything durable, and ends the thread. Records that come later are refused.
    ///
    /// # Errors
    /// The last records could not be written, and are lost; [`Auditor::counters`] says how many.
    pub fn close(&self) -> Result<(), Arc<Error>> {
        lock(&self.shared.queue).closing = true;
        self.shared.work.notify_all();
        self.shared.room.notify_all();
        if let Some(thread) = lock(&self.thread).take() {
            // It ended by a panic, which has been told where panics are told.
            let _ = thread.join();
        }
        lock(&self.shared.trouble).clone().map_or(Ok(()), Err)
    }
}

impl Drop for Auditor {
    fn drop(&mut self) {
        // Who wants to know calls `close`.
        let _ = self.close();
    }
}

/// Tells when a record is durable: by `await`, or by [`Receipt::wait`] on a thread that may block.
#[must_use = "the record is durable only once this says so"]
pub struct Receipt {
    slot: Arc<Slot>,
}

impl Receipt {
    /// Waits on this thread.
    ///
    /// # Errors
    /// The record could not be written now. With [`WhenFull::Block`] it is tried again all the same.
    pub fn wait(self) -> Result<(), Arc<Error>> {
        let mut state = lock(&self.slot.state);
        loop {
            if let Some(result) = state.result.take() {
                return result;
            }
            state = self.slot.told.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Future for Receipt {
    type Output = Result<(), Arc<Error>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = lock(&self.slot.state);
        match state.result.take() {
            Some(result) => Poll::Ready(result),
            None => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

#[derive(Default)]
struct Slot {
    state: Mutex<SlotState>,
    told: Condvar,
}

#[derive(Default)]
struct SlotState {
    result: Option<Result<(), Arc<Error>>>,
    waker: Option<Waker>,
}

impl Slot {
    fn tell(&self, result: Result<(), Arc<Error>>) {
        let waker = {
            let mut state = lock(&self.state);
            state.result = Some(result);
            state.waker.take()
        };
        self.told.notify_all();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

struct Entry {
    record: AuditRecord,
    /// Somebody waits until it is durable.
    receipt: Option<Arc<Slot>>,
}

#[derive(Default)]
struct Queue {
    entries: VecDeque<Entry>,
    /// Somebody in it waits.
    urgent: bool,
    closing: bool,
}

struct Shared {
    log: AuditLog,
    clock: Clock,
    options: AuditorOptions,
    queue: Mutex<Queue>,
    work: Condvar,
    room: Condvar,
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
    /// Dropped since the log last said how many.
    lost: AtomicU64,
    trouble: Mutex<Option<Arc<Error>>>,
}

impl Shared {
    fn put(&self, entry: Entry, may_wait: bool) -> Result<(), NotQueued> {
        let mut queue = lock(&self.queue);
        let mut deadline = None;
        while queue.entries.len() >= self.options.queue && !queue.closing {
            let patience = match self.options.when_full {
                WhenFull::Block { patience } => patience,
                WhenFull::DropAndCount => {
                    self.drop_records(1);
                    return if entry.receipt.is_some() { Err(NotQueued) } else { Ok(()) };
                }
            };
            if !may_wait {
                return Err(NotQueued);
            }
            let deadline = *deadline.get_or_insert_with(|| Instant::now() + patience);
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.drop_records(1);
                return Err(NotQueued);
            }
            queue = wait(&self.room, queue, left);
        }
        if queue.closing {
            return Err(NotQueued);
        }
        let was_empty = queue.entries.is_empty();
        let becomes_urgent = entry.receipt.is_some() && !queue.urgent;
        queue.urgent |= entry.receipt.is_some();
        queue.entries.push_back(entry);
        let is_batch = queue.entries.len() == BATCH;
        drop(queue);
        if was_empty || becomes_urgent || is_batch {
            self.work.notify_one();
        }
        Ok(())
    }

    fn drop_records(&self, number: u64) {
        self.dropped.fetch_add(number, Ordering::Relaxed);
        self.lost.fetch_add(number, Ordering::Relaxed);
    }

    fn run(&self) {
        let mut unsynced: Option<Instant> = None;
        loop {
            let (mut batch, closing) = self.take(unsynced);
            let lost = self.lost.load(Ordering::Relaxed);
            if (!batch.is_empty() || lost > 0) && self.write(&mut batch, lost) {
                unsynced = unsynced.or_else(|| Some(Instant::now()));
            }
            let due = unsynced.is_some_and(|since| since.elapsed() >= self.options.sync_every);
            let ended = closing && batch.is_empty();
            if (due || ended) && unsynced.is_some() {
                match self.log.sync() {
                    Ok(()) => unsynced = None,
                    Err(error) => {
                        self.fail(error);
                        // Not at once again.
                        unsynced = Some(Instant::now());
                    }
                }
            }
            if ended {
                return;
            }
        }
    }

    /// The next records, and whether there will be no more after them. Empty when it is time for something else.
    fn take(&self, unsynced: Option<Instant>) -> (Vec<Entry>, bool) {
        let mut queue = lock(&self.queue);
        if queue.entries.is_empty() && !queue.closing {
            let until_sync = unsynced.map(|since| self.options.sync_every.saturating_sub(since.elapsed()));
            let until_retry = (self.lost.load(Ordering::Relaxed) > 0).then_some(RETRY);
            queue = match until_sync.into_iter().chain(until_retry).min() {
                Some(limit) => wait(&self.work, queue, limit),
                None => self.work.wait(queue).unwrap_or_else(PoisonError::into_inner),
            };
        }
        if !queue.entries.is_empty() && !queue.urgent && !queue.closing && queue.entries.len() < BATCH {
            // More will follow soon, and then it is one write, and one time that this thread runs.
            queue = wait(&self.work, queue, LINGER);
        }
        let number = queue.entries.len().min(BATCH);
        let batch: Vec<Entry> = queue.entries.drain(..number).collect();
        queue.urgent = queue.entries.iter().any(|entry| entry.receipt.is_some());
        let closing = queue.closing && queue.entries.is_empty();
        drop(queue);
        self.room.notify_all();
        (batch, closing)
    }

    /// Writes a batch, again and again if need be. Afterwards it is empty.
    fn write(&self, batch: &mut Vec<Entry>, lost: u64) -> bool {
        loop {
            let note = AuditNote::Lost { records: lost };
            let about = (lost > 0).then(|| note.record((self.clock)()));
            let durable = batch.iter().any(|entry| entry.receipt.is_some());
            let mut records = batch.iter().map(|entry| &entry.record);
            match self.log.append_noted(about.as_ref().map(|record| (record, &note)), &mut records, durable) {
                Ok(()) => {
                    self.lost.fetch_sub(lost, Ordering::Relaxed);
                    self.written.fetch_add(batch.len() as u64, Ordering::Relaxed);
                    *lock(&self.trouble) = None;
                    for entry in batch.drain(..) {
                        if let Some(receipt) = entry.receipt {
                            receipt.tell(Ok(()));
                        }
                    }
                    return true;
                }
                Err(error) => {
                    let error = self.fail(error);
                    for entry in batch.iter_mut() {
                        if let Some(receipt) = entry.receipt.take() {
                            receipt.tell(Err(Arc::clone(&error)));
                        }
                    }
                }
            }
            let queue = lock(&self.queue);
            if queue.closing || self.options.when_full == WhenFull::DropAndCount || batch.is_empty() {
                drop(queue);
                self.drop_records(batch.len() as u64);
                batch.clear();
                return false;
            }
            drop(wait(&self.work, queue, RETRY));
        }
    }

    fn fail(&self, error: Error) -> Arc<Error> {
        self.failed.fetch_add(1, Ordering::Relaxed);
        let error = Arc::new(error);
        *lock(&self.trouble) = Some(Arc::clone(&error));
        error
    }
}

fn wait<'a>(condition: &Condvar, queue: MutexGuard<'a, Queue>, limit: Duration) -> MutexGuard<'a, Queue> {
    condition.wait_timeout(queue, limit).unwrap_or_else(PoisonError::into_inner).0
}

impl fmt::Debug for Auditor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Auditor").field(&self.counters()).finish()
    }
}

impl fmt::Debug for Receipt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receipt").finish_non_exhaustive()
    }
}

/// Records in one write.
const BATCH: usize = 1_024;
/// How long a record waits for company.
const LINGER: Duration = Duration::from_millis(2);
/// Between attempts to write.
const RETRY: Duration = Duration::from_millis(200);
