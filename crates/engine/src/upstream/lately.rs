//! What was learned lately.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// A bounded memory of things and when they were learned. When it is full, the older half goes.
pub(super) struct Lately<K, V> {
    entries: Mutex<HashMap<K, (SystemTime, V)>>,
    most: usize,
}

impl<K: Eq + Hash, V: Clone> Lately<K, V> {
    pub(super) fn new(most: usize) -> Self {
        Self { entries: Mutex::default(), most: most.max(2) }
    }

    /// What was learned less than `ttl` before `now`. A time in the future counts as long ago: clocks are set back.
    pub(super) fn get<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: SystemTime, ttl: Duration) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let entries = self.lock();
        let (at, value) = entries.get(key)?;
        is_within(*at, now, ttl).then(|| value.clone())
    }

    pub(super) fn put(&self, key: K, value: V, at: SystemTime) {
        let mut entries = self.lock();
        if entries.len() >= self.most && !entries.contains_key(&key) {
            let mut times: Vec<SystemTime> = entries.values().map(|(at, _)| *at).collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            // Entries of the same moment go together, so that there is room afterwards whatever the clock does.
            entries.retain(|_, (at, _)| *at > median);
        }
        entries.insert(key, (at, value));
    }

    pub(super) fn forget<Q: Eq + Hash + ?Sized>(&self, key: &Q)
    where
        K: Borrow<Q>,
    {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, (SystemTime, V)>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `at` lies less than `ttl` before `now`.
pub(super) fn is_within(at: SystemTime, now: SystemTime, ttl: Duration) -> bool {
    now.duration_since(at).is_ok_and(|age| age < ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forgets_with_time_and_when_full() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        let lately = Lately::new(4);
        for n in 0..4 {
            lately.put(n, n, at(n));
        }
        let get = |n: u64, now| lately.get(&n, at(now), Duration::from_secs(10));
        assert_eq!((get(3, 3), get(3, 12), get(3, 13), get(3, 2)), (Some(3), Some(3), None, None));
        lately.put(4, 4, at(4));
        assert_eq!([0, 1, 2, 3, 4].map(|n| get(n, 5).is_some()), [false, false, false, true, true]);
        for n in 10..100 {
            lately.put(n, n, at(4));
            assert!(lately.lock().len() <= 4);
        }
    }
}
