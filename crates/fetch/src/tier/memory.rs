//! The nearest tier: small documents and fresh answers, in this process.

use super::{Begin, BlobSink, BlobSource, BlobStream, Fill, Scope};
use crate::{Error, Result};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use larder_core::{Descriptor, Digest, Hasher, Reference, Tier};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Keeps manifests, indexes and configs, and what tags resolved to, up to a byte limit; oldest go first.
pub struct MemoryTier {
    shared: Arc<Shared>,
    /// Larger blobs are not kept.
    largest: u64,
    /// How long an answer for a tag is good.
    fresh: Duration,
}

struct Shared {
    limit: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    blobs: HashMap<Digest, Bytes>,
    order: VecDeque<Digest>,
    bytes: u64,
    names: HashMap<Reference, (Descriptor, Instant)>,
}

const NAMES: usize = 10_000;

impl MemoryTier {
    /// A tier of at most `limit` bytes. A tag's answer is believed for `fresh`; digests never expire.
    pub fn new(limit: u64, fresh: Duration) -> Self {
        let shared = Arc::new(Shared { limit, state: Mutex::default() });
        Self { shared, largest: (limit / 8).min(larder_core::MANIFEST_LIMIT), fresh }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Every update below leaves the maps whole, so a panic elsewhere does not poison their meaning.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn insert(&self, digest: Digest, bytes: Bytes) {
        let mut state = self.lock();
        let size = bytes.len() as u64;
        if state.blobs.insert(digest, bytes).is_none() {
            state.order.push_back(digest);
            state.bytes += size;
        }
        while state.bytes > self.limit {
            let Some(oldest) = state.order.pop_front() else { break };
            if let Some(gone) = state.blobs.remove(&oldest) {
                state.bytes -= gone.len() as u64;
            }
        }
    }
}

#[async_trait]
impl BlobSource for MemoryTier {
    fn tier(&self) -> Tier {
        Tier::Memory
    }

    async fn resolve(&self, scope: &Scope) -> Result<Option<Descriptor>> {
        let state = self.shared.lock();
        let fresh = |at: &Instant| scope.reference.digest().is_some() || at.elapsed() < self.fresh;
        Ok(state
            .names
            .get(&scope.reference)
            .filter(|(_, at)| fresh(at))
            .map(|(descriptor, _)| descriptor.clone()))
    }

    async fn open(
        &self,
        _: &Scope,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Option<Box<dyn BlobStream>>> {
        let found = self.shared.lock().blobs.get(&descriptor.digest).cloned();
        Ok(found.map(|bytes| {
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            Box::new(Once(Some(bytes.slice(start..)))) as Box<dyn BlobStream>
        }))
    }

    fn sink(&self) -> Option<&dyn BlobSink> {
        Some(self)
    }
}

#[async_trait]
impl BlobSink for MemoryTier {
    async fn begin(&self, _: &Scope, descriptor: &Descriptor) -> Result<Begin> {
        if descriptor.size > self.largest || descriptor.media_type.is_layer() {
            return Ok(Begin::Unwanted);
        }
        if self.shared.lock().blobs.contains_key(&descriptor.digest) {
            return Ok(Begin::Present);
        }
        let capacity = usize::try_from(descriptor.size).unwrap_or_default();
        Ok(Begin::Fill(Box::new(MemoryFill {
            shared: self.shared.clone(),
            descriptor: descriptor.clone(),
            bytes: BytesMut::with_capacity(capacity),
        })))
    }

    async fn remember(&self, scope: &Scope, descriptor: &Descriptor) -> Result<()> {
        let mut state = self.shared.lock();
        if state.names.len() >= NAMES {
            state.names.clear();
        }
        state.names.insert(scope.reference.clone(), (descriptor.clone(), Instant::now()));
        Ok(())
    }

    fn is_durable(&self) -> bool {
        false
    }

    async fn forget(&self, reference: &Reference) -> Result<()> {
        self.shared.lock().names.remove(reference);
        Ok(())
    }
}

struct Once(Option<Bytes>);

#[async_trait]
impl BlobStream for Once {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(self.0.take().filter(|bytes| !bytes.is_empty()))
    }
}

struct MemoryFill {
    shared: Arc<Shared>,
    descriptor: Descriptor,
    bytes: BytesMut,
}

impl MemoryFill {
    fn corrupt(&self, problem: impl Into<String>) -> Error {
        Error::Corrupt { tier: Tier::Memory, digest: self.descriptor.digest, problem: problem.into() }
    }
}

#[async_trait]
impl Fill for MemoryFill {
    async fn reset(&mut self) -> Result<()> {
        self.bytes.clear();
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        if (self.bytes.len() + chunk.len()) as u64 > self.descriptor.size {
            return Err(self.corrupt(format!("more than {} bytes", self.descriptor.size)));
        }
        self.bytes.extend_from_slice(&chunk);
        Ok(())
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        let mut hasher = Hasher::new(self.descriptor.digest.algorithm());
        hasher.update(&self.bytes);
        let found = hasher.finish();
        if self.bytes.len() as u64 != self.descriptor.size || found != self.descriptor.digest {
            return Err(self.corrupt(format!("{} bytes that hash to {found}", self.bytes.len())));
        }
        let bytes = std::mem::take(&mut self.bytes).freeze();
        self.shared.insert(self.descriptor.digest, bytes);
        Ok(())
    }
}
