//! What has to be done now and then while serving: uses are written down, and the quota is kept.

use super::{Shared, blocking};
use crate::Engine;
use larder_core::{Digest, RepositoryName, report};
use larder_server::Selector;
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Uses that are not written down yet: one transaction every few seconds instead of one per request.
#[derive(Default)]
pub(super) struct Touched(Mutex<HashSet<(RepositoryName, Selector)>>);

/// Bytes that came into the store since the last collection.
#[derive(Default)]
pub(super) struct Pressure {
    bytes: AtomicU64,
    enough: Notify,
}

/// How often uses are written down.
const TICK: Duration = Duration::from_secs(5);
/// How often garbage is collected where little comes in.
const COLLECT: Duration = Duration::from_secs(3600);
/// How much may come in between two collections where there is a quota.
const ENOUGH: u64 = 64 << 20;
/// Uses that are remembered until they are written; more are not noted.
const MOST: usize = 16_384;

impl Touched {
    pub(super) fn note(&self, repository: &RepositoryName, selector: &Selector) {
        let mut touched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if touched.len() < MOST {
            touched.insert((repository.clone(), selector.clone()));
        }
    }

    fn take(&self) -> HashSet<(RepositoryName, Selector)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Pressure {
    pub(super) fn add(&self, bytes: u64) {
        if self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes >= ENOUGH {
            self.enough.notify_one();
        }
    }

    fn take_if(&self, least: u64) -> bool {
        self.bytes
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |bytes| (bytes >= least).then_some(0))
            .is_ok()
    }
}

impl Shared {
    /// Writes uses down and keeps the quota, for ever. Never blocks a request: it works on threads of its own.
    pub(super) async fn housekeeping(&self) {
        let mut collected = Instant::now();
        loop {
            tokio::select! {
                () = tokio::time::sleep(TICK) => {}
                () = self.pressure.enough.notified() => {}
            }
            self.write_uses().await;
            let limited = self.engine.policy().quota.is_some();
            if limited && self.pressure.take_if(ENOUGH) || collected.elapsed() >= COLLECT {
                collected = Instant::now();
                self.collect().await;
            }
        }
    }

    /// Writes down what was used since the last time.
    pub(super) async fn write_uses(&self) {
        let touched = self.touched.take();
        if touched.is_empty() {
            return;
        }
        let store = self.store().clone();
        let outcome = blocking(move || {
            let entries: Vec<(RepositoryName, String)> = touched
                .iter()
                .map(|(repository, selector)| (repository.clone(), selector.to_string()))
                .collect();
            store.touch_cached(&entries)?;
            let mut used: Vec<Digest> = Vec::new();
            for (repository, selector) in &touched {
                match selector {
                    Selector::Digest(digest) => used.push(*digest),
                    // A name of `larder pull` or of a push.
                    Selector::Tag(tag) => {
                        used.extend(
                            store.name(&repository.tagged(tag.clone()))?.map(|name| name.descriptor.digest),
                        );
                    }
                }
            }
            store.touch(&used)
        })
        .await;
        if let Ok(Err(error)) = outcome {
            self.warn(format!("cannot note what was used: {}", report(&error)));
        }
    }

    async fn collect(&self) {
        let engine: Engine = self.engine.clone();
        match blocking(move || engine.gc(&engine.policy(), false)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => self.warn(report(&error)),
            Err(trouble) => self.warn(trouble.message),
        }
    }
}
