//! Tiers: where bytes come from and where they are kept, behind one seam.

mod disk;
mod large;
mod memory;
mod registry;

pub use disk::DiskTier;
pub use memory::MemoryTier;
pub use registry::RegistryTier;

use crate::Result;
use async_trait::async_trait;
use bytes::Bytes;
use larder_core::{Descriptor, Progress, Reference, Registry, Repository, Tier};
use larder_remote::Auth;
use larder_store::{Follower, Lease};
use std::sync::Arc;

/// On whose behalf something is fetched. Cheap to clone.
#[derive(Clone)]
pub struct Scope {
    /// The image, as asked for.
    pub reference: Reference,
    /// Resolved once per fetch, passed down.
    pub auth: Auth,
    /// Keeps what arrives from being collected until it has a name.
    pub lease: Lease,
    /// Where events go.
    pub progress: Progress,
}

impl Scope {
    /// The registry asked.
    pub fn registry(&self) -> &Registry {
        self.reference.registry()
    }

    /// The repository asked.
    pub fn repository(&self) -> &Repository {
        self.reference.repository()
    }
}

/// Answers for references and serves blobs.
///
/// `Ok(None)` means "I do not have it" and nothing else: a source that is broken says so with an error.
#[async_trait]
pub trait BlobSource: Send + Sync {
    /// Which tier this is.
    fn tier(&self) -> Tier;

    /// What the scope's reference stands for now.
    async fn resolve(&self, scope: &Scope) -> Result<Option<Descriptor>>;

    /// The bytes of a blob from `offset` on, exactly up to the descriptor's size.
    async fn open(
        &self,
        scope: &Scope,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Option<Box<dyn BlobStream>>>;

    /// The sink of the same tier, where it keeps what it is given.
    fn sink(&self) -> Option<&dyn BlobSink> {
        None
    }
}

/// A source behind the seam.
pub type SourceTier = Arc<dyn BlobSource>;

/// Bytes on their way.
#[async_trait]
pub trait BlobStream: Send {
    /// The next chunk, or `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>>;
}

/// Keeps blobs.
#[async_trait]
pub trait BlobSink: Send + Sync {
    /// Prepares to keep a blob.
    async fn begin(&self, scope: &Scope, descriptor: &Descriptor) -> Result<Begin>;

    /// Notes what the scope's reference stands for.
    async fn remember(&self, scope: &Scope, descriptor: &Descriptor) -> Result<()>;

    /// Drops what it knows about a reference.
    async fn forget(&self, reference: &Reference) -> Result<()>;

    /// Whether what it keeps outlives this process. A blob has arrived when every durable sink has it.
    fn is_durable(&self) -> bool;

    /// Drops a blob that turned out to be damaged, so that it is brought again.
    async fn distrust(&self, _descriptor: &Descriptor) -> Result<()> {
        Ok(())
    }
}

/// The answer of a sink.
pub enum Begin {
    /// It is here already, or somebody else brought it while we waited.
    Present,
    /// The sink does not keep blobs like this.
    Unwanted,
    /// Write to this.
    Fill(Box<dyn Fill>),
}

/// A blob being kept. Dropping it without [`Fill::commit`] leaves nothing visible; what arrived may be kept for resuming.
#[async_trait]
pub trait Fill: Send {
    /// Bytes kept from an interrupted attempt.
    fn kept(&self) -> u64 {
        0
    }

    /// Hashes the kept bytes again and shows them to the others who need the whole blob.
    async fn replay(&mut self, _tap: &mut Tap<'_>) -> Result<()> {
        Ok(())
    }

    /// A blocking reader of the whole blob while it is being kept, where the sink has one.
    async fn follow(&mut self) -> Result<Option<Follower>> {
        Ok(None)
    }

    /// Throws the kept bytes away and starts from zero.
    async fn reset(&mut self) -> Result<()>;

    /// Appends.
    async fn write(&mut self, chunk: Bytes) -> Result<()>;

    /// Checks size and digest, then makes the blob visible.
    async fn commit(self: Box<Self>) -> Result<()>;
}

/// Somebody who wants the bytes of a blob while they arrive.
pub enum Reader {
    /// Nobody.
    None,
    /// Gets every chunk, from the first byte on; a slow one slows the transfer down.
    Chunks(tokio::sync::mpsc::Sender<Bytes>),
    /// Gets a reader that follows the disk, and slows nobody down. Nothing is sent for a blob that is here already.
    File(tokio::sync::oneshot::Sender<Follower>),
}

/// Passes chunks on to whoever needs the whole blob: other fills and readers.
pub struct Tap<'a> {
    pub(crate) fills: &'a mut [Box<dyn Fill>],
    pub(crate) reader: Option<&'a tokio::sync::mpsc::Sender<Bytes>>,
}

impl Tap<'_> {
    /// Hands a chunk to everybody. A reader that went away is no reason to stop: the blob is still wanted by the tiers.
    pub async fn pass(&mut self, chunk: &Bytes) -> Result<()> {
        for fill in self.fills.iter_mut() {
            fill.write(chunk.clone()).await?;
        }
        if let Some(reader) = self.reader
            && reader.send(chunk.clone()).await.is_err()
        {
            self.reader = None;
        }
        Ok(())
    }
}
