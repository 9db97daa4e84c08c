//! One flight per key inside this process.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use tokio::sync::OwnedMutexGuard;

/// Hands out one pass per key at a time. Whoever waited looks again whether the work is done: the one before may have
/// finished it, or been cancelled half-way.
pub(crate) struct Flights<K>(Mutex<HashMap<K, Weak<tokio::sync::Mutex<()>>>>);

impl<K: Eq + Hash> Default for Flights<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Flights<K> {
    pub(crate) async fn board(&self, key: K) -> OwnedMutexGuard<()> {
        let lane = {
            let mut lanes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if lanes.len() > 1024 {
                lanes.retain(|_, lane| lane.strong_count() > 0);
            }
            match lanes.get(&key).and_then(Weak::upgrade) {
                Some(lane) => lane,
                None => {
                    let lane = Arc::new(tokio::sync::Mutex::new(()));
                    lanes.insert(key, Arc::downgrade(&lane));
                    lane
                }
            }
        };
        lane.lock_owned().await
    }
}
