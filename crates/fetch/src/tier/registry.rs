//! The registry, the farthest tier.

use super::{BlobSource, BlobStream, Scope};
use crate::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use larder_core::{Descriptor, Tier};
use larder_remote::{Client, Repo};

/// Larger blobs are fetched over several connections at once.
const PARALLEL_FROM: u64 = 64 << 20;
/// What one of these connections brings at a time; the window in memory is this times the number of connections.
const RANGE: u64 = 2 << 20;
/// Ranges are passed on in pieces of this size, so that a bounded number of chunks is a bounded number of bytes.
const PIECE: usize = 256 << 10;

/// Registries over the distribution protocol.
pub struct RegistryTier {
    client: Client,
    connections: usize,
}

impl RegistryTier {
    /// `connections` is how many connections one large blob may use; 1 means a single stream.
    pub fn new(client: Client, connections: usize) -> Self {
        Self { client, connections: connections.max(1) }
    }

    fn repo(&self, scope: &Scope) -> Repo {
        self.client.repository(scope.registry(), scope.repository(), scope.auth.clone())
    }
}

#[async_trait]
impl BlobSource for RegistryTier {
    fn tier(&self) -> Tier {
        Tier::Registry
    }

    async fn resolve(&self, scope: &Scope) -> Result<Option<Descriptor>> {
        let outcome = self.repo(scope).resolve(&scope.reference.selector()).await;
        let what = scope.reference.to_string();
        outcome.map(Some).map_err(|source| Error::Remote { what, source })
    }

    async fn open(
        &self,
        scope: &Scope,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Option<Box<dyn BlobStream>>> {
        let repo = self.repo(scope);
        let digest = descriptor.digest;
        let failed = move |source| Error::Remote { what: digest.to_string(), source };
        if descriptor.media_type.is_manifest() || descriptor.media_type.is_index() {
            let document = repo.manifest(&digest.to_string()).await.map_err(failed)?;
            let whole = Bytes::from(document.raw().to_vec());
            let start = usize::try_from(offset).unwrap_or(usize::MAX).min(whole.len());
            return Ok(Some(Box::new(Ranged::new(stream::iter([Ok(vec![whole.slice(start..)])]).boxed()))));
        }
        if self.connections > 1 && descriptor.size.saturating_sub(offset) >= PARALLEL_FROM {
            return Ok(Some(Box::new(Ranged::new(self.ranges(repo, descriptor.clone(), offset)))));
        }
        let stream = repo.blob(descriptor, offset).await.map_err(failed)?;
        Ok(Some(Box::new(Single { stream, what: digest.to_string() })))
    }
}

impl RegistryTier {
    /// Fetches ranges concurrently and yields them in order, so that hashing and inflating go on as if it were one stream.
    fn ranges(
        &self,
        repo: Repo,
        descriptor: Descriptor,
        offset: u64,
    ) -> BoxStream<'static, Result<Vec<Bytes>>> {
        let starts = (offset..descriptor.size).step_by(RANGE as usize);
        stream::iter(starts)
            .map(move |start| {
                let (repo, descriptor) = (repo.clone(), descriptor.clone());
                async move {
                    let length = RANGE.min(descriptor.size - start);
                    // A task of its own, so that the others go on while the consumer is busy.
                    let fetch =
                        tokio::spawn(async move { repo.blob_range(&descriptor, start, length).await });
                    let guard = AbortOnDrop(fetch);
                    guard.join().await
                }
            })
            .buffered(self.connections)
            .boxed()
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<std::result::Result<Vec<Bytes>, larder_remote::Error>>);

impl AbortOnDrop {
    async fn join(mut self) -> Result<Vec<Bytes>> {
        match (&mut self.0).await {
            Ok(outcome) => outcome.map_err(|source| Error::Remote { what: "a range".into(), source }),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only we abort it, and then nobody waits here; the runtime is going down.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

struct Ranged {
    ranges: BoxStream<'static, Result<Vec<Bytes>>>,
    pieces: std::vec::IntoIter<Bytes>,
    rest: Bytes,
}

impl Ranged {
    fn new(ranges: BoxStream<'static, Result<Vec<Bytes>>>) -> Self {
        Self { ranges, pieces: Vec::new().into_iter(), rest: Bytes::new() }
    }
}

#[async_trait]
impl BlobStream for Ranged {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.rest.is_empty() {
            if let Some(piece) = self.pieces.next() {
                self.rest = piece;
                continue;
            }
            match self.ranges.next().await.transpose()? {
                Some(range) => self.pieces = range.into_iter(),
                None => return Ok(None),
            }
        }
        Ok(Some(self.rest.split_to(self.rest.len().min(PIECE))))
    }
}

struct Single {
    stream: larder_remote::BlobStream,
    what: String,
}

#[async_trait]
impl BlobStream for Single {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.stream.next().await.map_err(|source| Error::Remote { what: self.what.clone(), source })
    }
}
