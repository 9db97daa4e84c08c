//! Leases: what is under one is not collected.

use crate::database::{Durability, Key, lock};
use crate::{Error, Result, Store, layout, lock as file_lock};
use larder_core::Digest;
use rusqlite::{Transaction, params};
use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Keeps blobs, everything they point at, and what is derived meanwhile, from being collected, until its last clone is dropped
/// or the process ends, however it ends. No clock is involved: a lease is alive exactly as long as somebody holds the lock on
/// its file.
#[derive(Debug, Clone)]
pub struct Lease(Arc<Held>);

#[derive(Debug)]
pub(crate) struct Held {
    store: Store,
    pub(crate) id: String,
    /// What is already recorded.
    digests: Mutex<HashSet<Digest>>,
    _file: file_lock::Held,
}

impl Store {
    /// Takes a lease. `purpose` is for people.
    pub fn lease(&self, purpose: &str) -> Result<Lease> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let now = self.now();
        let id = format!("{}-{number}-{}", std::process::id(), now.0);
        // Process numbers repeat across containers that share a store, and clocks can be set back: then the file is owned, and
        // we wait; but nobody's lease is ever mistaken for ours.
        let path = self.layout.lease(&id);
        let file = file_lock::own(&path).map_err(Error::io("lock", &path))?;
        // The file is locked before the row exists, so a row without locked file is always dead.
        self.database.write("record a lease", Durability::Process, |db| {
            db.prepare_cached("INSERT OR REPLACE INTO leases (id, purpose, created) VALUES (?1, ?2, ?3)")?
                .execute(params![id, purpose, now])
        })?;
        let held = Arc::new(Held { store: self.clone(), id, digests: Mutex::default(), _file: file });
        lock(&self.leases).push(Arc::downgrade(&held));
        Ok(Lease(held))
    }
}

impl Lease {
    /// Puts digests under the lease, whether the store holds them or not. What a collection has not removed by the time this
    /// returns stays.
    pub fn add(&self, digests: &[Digest]) -> Result<()> {
        let new: Vec<Digest> = {
            let recorded = lock(&self.0.digests);
            digests.iter().filter(|digest| !recorded.contains(digest)).copied().collect()
        };
        if new.is_empty() {
            return Ok(());
        }
        self.0.store.database.write("extend a lease", Durability::Process, |db| {
            let mut insert =
                db.prepare_cached("INSERT OR IGNORE INTO leased_blobs (lease, digest) VALUES (?1, ?2)")?;
            for digest in &new {
                insert.execute(params![self.0.id, Key::from(digest)])?;
            }
            Ok(())
        })?;
        lock(&self.0.digests).extend(new);
        Ok(())
    }
}

/// Drops all rows of a lease.
pub(crate) fn forget(db: &Transaction<'_>, id: &str) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM leased_blobs WHERE lease = ?1")?.execute([id])?;
    db.prepare_cached("DELETE FROM leased_derived WHERE lease = ?1")?.execute([id])?;
    db.prepare_cached("DELETE FROM leases WHERE id = ?1")?.execute([id])?;
    Ok(())
}

impl Drop for Held {
    fn drop(&mut self) {
        // If this fails the lease is dead all the same once the lock is gone, and the next collection sweeps it.
        let _ = self.store.database.write("end a lease", Durability::Process, |db| forget(db, &self.id));
        // Still locked, so that nobody has taken the path over.
        let _ = layout::remove(&self.store.layout.lease(&self.id));
    }
}
