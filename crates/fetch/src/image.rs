//! A fetched image: its documents are here, its layers open when asked for.

use crate::fetcher::{Fetcher, ServedBy};
use crate::tier::{BlobStream, Reader, Scope};
use crate::{Error, Result};
use bytes::{Bytes, BytesMut};
use larder_core::{Descriptor, Digest, Document, ImageConfig, ImageManifest, MediaType, Tier};
use larder_store::Follower;
use std::io::Read;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

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
    /// without an error only if all bytes hashed to the digest. Nothing moves before the first [`LayerReader::next`]; a slow
    /// reader slows nobody down, since it follows the disk.
    pub fn open(&self) -> LayerReader {
        LayerReader { layer: self.clone(), state: State::Idle, seen: 0 }
    }
}

/// The bytes of a layer as they arrive.
pub struct LayerReader {
    layer: Layer,
    state: State,
    seen: u64,
}

enum State {
    Idle,
    /// Close behind the transfer, out of the page cache.
    Following(Box<Follower>, JoinHandle<Result<ServedBy>>),
    /// It is in the store; verified while it is read.
    Stored(Box<dyn BlobStream>),
    Ended,
}

/// How much is read at once.
const READ: usize = 256 << 10;

impl LayerReader {
    /// The next chunk, or `None` after the last one, once everything is verified.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Idle => self.state = start(&self.layer).await?,
                State::Following(follower, transfer) => {
                    if let Some(chunk) = self.follow(follower, transfer).await? {
                        return Ok(Some(chunk));
                    }
                }
                State::Stored(mut stream) => {
                    let chunk = stream.next().await?;
                    if let Some(chunk) = chunk {
                        self.seen += chunk.len() as u64;
                        self.state = State::Stored(stream);
                        return Ok(Some(chunk));
                    }
                }
                State::Ended => return Ok(None),
            }
        }
    }

    async fn follow(
        &mut self,
        mut follower: Box<Follower>,
        transfer: JoinHandle<Result<ServedBy>>,
    ) -> Result<Option<Bytes>> {
        let digest = self.layer.digest();
        let read = tokio::task::spawn_blocking(move || {
            let mut chunk = BytesMut::zeroed(READ);
            let count = follower.read(&mut chunk)?;
            chunk.truncate(count);
            Ok::<_, std::io::Error>((follower, chunk.freeze()))
        });
        match read.await.map_err(|_| Error::Worker { digest })? {
            Ok((_, chunk)) if chunk.is_empty() => {
                verdict(&self.layer, transfer).await?;
                Ok(None)
            }
            Ok((follower, chunk)) => {
                self.seen += chunk.len() as u64;
                self.state = State::Following(follower, transfer);
                Ok(Some(chunk))
            }
            Err(_) => {
                // What was followed was given up. If it arrived whole at last, it can be read again from the start.
                verdict(&self.layer, transfer).await?;
                if self.seen > 0 {
                    return Err(Error::ReaderGone { digest });
                }
                self.state = stored(&self.layer).await?;
                Ok(None)
            }
        }
    }
}

async fn start(layer: &Layer) -> Result<State> {
    let (asked, answer) = oneshot::channel();
    let Layer { fetcher, scope, descriptor, .. } = layer.clone();
    let transfer = tokio::spawn(async move { fetcher.blob(&scope, &descriptor, Reader::File(asked)).await });
    match answer.await {
        Ok(follower) => Ok(State::Following(Box::new(follower), transfer)),
        // There was nothing to follow: it is here already, or it cannot be had.
        Err(_) => {
            verdict(layer, transfer).await?;
            stored(layer).await
        }
    }
}

async fn stored(layer: &Layer) -> Result<State> {
    Ok(State::Stored(layer.fetcher.stored(&layer.scope, &layer.descriptor).await?))
}

async fn verdict(layer: &Layer, transfer: JoinHandle<Result<ServedBy>>) -> Result<()> {
    transfer.await.map_err(|_| Error::Worker { digest: layer.digest() })?.map(drop)
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
