//! Manifests at hand.

use larder_core::{Digest, Document};
use larder_store::{Error, Result, Store};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Manifests that were read and verified lately, in a bounded amount of memory. What is in here is right whatever happens to
/// the file, because content never changes under its digest; whether a repository holds it is asked anew every time.
pub(crate) struct Documents {
    store: Store,
    limit: usize,
    cached: Mutex<Cached>,
}

#[derive(Default)]
struct Cached {
    /// Those used since the last turn, and those that go at the next one.
    young: HashMap<Digest, Document>,
    old: HashMap<Digest, Document>,
    young_bytes: usize,
}

impl Documents {
    pub(crate) fn new(store: Store, limit: usize) -> Self {
        Self { store, limit, cached: Mutex::default() }
    }

    /// `None` also for what is no manifest: a blob that somebody asks for as one.
    pub(crate) fn read(&self, digest: &Digest) -> Result<Option<Document>> {
        if let Some(document) = self.lock().find(digest, self.limit) {
            return Ok(Some(document));
        }
        let document = match self.store.document(digest) {
            Err(Error::Document { .. } | Error::TooLarge { .. }) => return Ok(None),
            document => document?,
        };
        if let Some(document) = &document {
            self.lock().keep(*digest, document.clone(), self.limit);
        }
        Ok(document)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cached> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Cached {
    fn find(&mut self, digest: &Digest, limit: usize) -> Option<Document> {
        if let Some(document) = self.young.get(digest) {
            return Some(document.clone());
        }
        let document = self.old.remove(digest)?;
        self.keep(*digest, document.clone(), limit);
        Some(document)
    }

    fn keep(&mut self, digest: Digest, document: Document, limit: usize) {
        let bytes = document.raw().len() * 3;
        if self.young_bytes + bytes > limit / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(digest, document);
    }
}
