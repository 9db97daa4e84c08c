//! A fetched image: its documents are here, its layers open when asked for.

use crate::fetcher::Fetcher;
use crate::tier::{Reader, Scope};
use crate::{Error, Result};
use bytes::Bytes;
use larder_core::{Descriptor, Digest, Document, ImageConfig, ImageManifest, MediaType, Tier};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// One image for one platform.
#[derive(Clone)]
pub struct Image {
    /// What the reference resolved to: the digest of the index where there is one, else of the manifest.
    pub digest: Digest,
    /// The manifest document of the platform.
    pub manifest: Document,
    /// The configuration.
    pub config: ImageConfig,
    /// The layers, lowest first.
    pub layers: Vec<Layer>,
    /// The farthest tier that had to be asked.
    pub tier: Tier,
    /// What the fetch cost.
    pub metrics: Metrics,
}

/// What a fetch cost.
#[derive(Debug, Clone, Copy, Default)]
pub struct Metrics {
    /// From the call to the answer.
    pub elapsed: Duration,
    /// Documents served by memory, disk, remote and registry, in the order of [`Tier::ALL`].
    pub documents: [u32; 4],
    /// Bytes of them from the registry.
    pub registry_bytes: u64,
}

/// A layer: nothing is downloaded until it is opened.
#[derive(Clone)]
pub struct Layer {
    /// The compressed blob.
    pub descriptor: Descriptor,
    /// Digest of the uncompressed layer.
    pub diff_id: Digest,
    pub(crate) fetcher: Fetcher,
    pub(crate) scope: Scope,
}

impl Layer {
    /// Digest of the compressed blob.
    pub fn digest(&self) -> Digest {
        self.descriptor.digest
    }

    /// Size of the compressed blob.
    pub fn size(&self) -> u64 {
        self.descriptor.size
    }

    /// What it is.
    pub fn media_type(&self) -> &MediaType {
        &self.descriptor.media_type
    }

    /// Streams the compressed bytes from the nearest tier that has them, filling the nearer tiers on the way. The stream ends
    /// without an error only if all bytes hashed to the digest.
    pub fn open(&self) -> LayerReader {
        let (sender, chunks) = mpsc::channel(4);
        let (verdict, outcome) = oneshot::channel();
        let (fetcher, scope, descriptor) =
            (self.fetcher.clone(), self.scope.clone(), self.descriptor.clone());
        tokio::spawn(async move {
            let moved = fetcher.blob(&scope, &descriptor, Reader::Chunks(sender)).await;
            // Nobody listens any more: the tiers have the blob all the same.
            let _ = verdict.send(moved.map(drop));
        });
        LayerReader { chunks, outcome: Some(outcome), descriptor: self.descriptor.clone(), seen: 0 }
    }
}

/// The bytes of a layer as they arrive.
pub struct LayerReader {
    chunks: mpsc::Receiver<Bytes>,
    outcome: Option<oneshot::Receiver<Result<()>>>,
    descriptor: Descriptor,
    seen: u64,
}

impl LayerReader {
    /// The next chunk, or `None` after the last one, once everything is verified.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(chunk) = self.chunks.recv().await {
            self.seen += chunk.len() as u64;
            return Ok(Some(chunk));
        }
        let digest = self.descriptor.digest;
        if let Some(outcome) = self.outcome.take() {
            outcome.await.map_err(|_| Error::Worker { digest })??;
        }
        if self.seen != self.descriptor.size {
            // The transfer had to begin again and finished without us; open it once more.
            return Err(Error::ReaderGone { digest });
        }
        Ok(None)
    }
}

/// The manifest of an image, or an error that says what it is instead.
pub(crate) fn image_manifest(document: &Document, what: &str) -> Result<ImageManifest> {
    match document.manifest() {
        larder_core::Manifest::Image(image) => Ok(image.clone()),
        larder_core::Manifest::Artifact(_) => {
            Err(Error::Unexpected { what: what.into(), found: "an artifact", expected: "an image" })
        }
        larder_core::Manifest::Index(_) => {
            Err(Error::Unexpected { what: what.into(), found: "an index", expected: "an image" })
        }
    }
}
