//! When things were last used, for the least-recently-used policy.

use larder_core::Digest;
use larder_store::Store;
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Digests used lately: one write for many requests.
#[derive(Default)]
pub(crate) struct Uses(Mutex<HashSet<Digest>>);

impl Uses {
    pub(crate) fn note(&self, digest: Digest) {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if noted.len() < MOST {
            noted.insert(digest);
        }
    }

    /// Writes what was noted. A use that is lost makes something go a little early, no more; so errors are left to the next
    /// request, which meets them too.
    pub(crate) fn write(&self, store: &Store) {
        let noted = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if !noted.is_empty() {
            let digests: Vec<Digest> = noted.into_iter().collect();
            let _ = store.touch(&digests);
        }
    }
}

const MOST: usize = 100_000;
