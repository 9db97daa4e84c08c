//! How an upstream has been doing.

use super::lately::is_within;
use larder_core::Registry;
use larder_server::UpstreamState;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Counters, and whether it is worth asking now.
#[derive(Default)]
pub(super) struct Health {
    /// 0: not tried yet, 1: the last attempt succeeded, 2: it failed.
    reachable: AtomicU8,
    requests: AtomicU64,
    errors: AtomicU64,
    bytes: AtomicU64,
    stale: AtomicU64,
    pause: Mutex<Option<(SystemTime, Duration)>>,
}

/// How long an upstream that failed is not asked where an older answer can be given.
const PAUSE: Duration = Duration::from_secs(5);
/// The longest pause that an upstream can ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

impl Health {
    pub(super) fn asking(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// It gave a word, whatever it was.
    pub(super) fn spoke(&self) {
        self.reachable.store(1, Ordering::Relaxed);
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// It could not be reached, or gave no word.
    pub(super) fn failed(&self, now: SystemTime, retry_after: Option<Duration>) {
        self.reachable.store(2, Ordering::Relaxed);
        self.errors.fetch_add(1, Ordering::Relaxed);
        let pause = retry_after.unwrap_or_default().clamp(PAUSE, LONGEST_PAUSE);
        *self.pause.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, pause));
    }

    /// Something was wrong with what it sent.
    pub(super) fn erred(&self) {
        self.errors.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it failed a moment ago, or asked to be left alone.
    pub(super) fn is_resting(&self, now: SystemTime) -> bool {
        let pause = *self.pause.lock().unwrap_or_else(PoisonError::into_inner);
        pause.is_some_and(|(since, pause)| is_within(since, now, pause))
    }

    pub(super) fn sent(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The store answered in its place.
    pub(super) fn stood_in(&self) {
        self.stale.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn state(&self, registry: &Registry) -> UpstreamState {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        UpstreamState {
            registry: registry.clone(),
            reachable: match self.reachable.load(Ordering::Relaxed) {
                0 => None,
                state => Some(state == 1),
            },
            requests: load(&self.requests),
            errors: load(&self.errors),
            bytes: load(&self.bytes),
            stale: load(&self.stale),
        }
    }
}
