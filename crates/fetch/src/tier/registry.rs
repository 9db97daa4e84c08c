//! The registry, the farthest tier.

use super::large::{self, LargeBlob};
use super::{BlobSource, BlobStream, Scope};
use crate::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{Descriptor, Tier};
use larder_remote::{Client, Repo};

/// Registries over the distribution protocol.
pub struct RegistryTier {
    client: Client,
    connections: usize,
}

impl RegistryTier {
    /// `connections` is how many connections one large blob may use where a single one is slow; 1 means a single stream.
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
            return Ok(Some(Box::new(Whole(whole.slice(start..)))));
        }
        if self.connections > 1 && descriptor.size.saturating_sub(offset) >= large::FROM {
            let blob = LargeBlob::open(repo, descriptor.clone(), offset, self.connections).await?;
            return Ok(Some(Box::new(blob)));
        }
        let stream = repo.blob(descriptor, offset).await.map_err(failed)?;
        Ok(Some(Box::new(Single { stream, what: digest.to_string() })))
    }
}

/// A document, in one piece.
struct Whole(Bytes);

#[async_trait]
impl BlobStream for Whole {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(Some(std::mem::take(&mut self.0)).filter(|rest| !rest.is_empty()))
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
