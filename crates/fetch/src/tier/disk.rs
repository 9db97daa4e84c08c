//! The store on this machine as a tier.

use super::{Begin, BlobSink, BlobSource, BlobStream, Fill, Scope, Tap};
use crate::{Error, Result};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use larder_core::{Classify, Descriptor, Digest, Document, Hasher, Kind, Reference, Tier};
use larder_store::{BlobKind, Follower, Ingest, Lease, Store};
use std::io::Read;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;

/// How often a blob that another process downloads is looked at.
const BUSY_POLL: Duration = Duration::from_millis(20);
/// Chunks between the network and the disk. Small, so that a slow disk slows the network down instead of filling memory.
const CHUNKS: usize = 16;
/// How much is read from the disk at once.
const READ: usize = 256 << 10;

/// The store, answering for names it has confirmed lately and for every blob it holds.
pub struct DiskTier {
    store: Store,
    fresh: Duration,
    now: Arc<dyn Fn() -> SystemTime + Send + Sync>,
}

impl DiskTier {
    /// A tag confirmed upstream less than `fresh` ago is answered from here; digests always are.
    pub fn new(store: Store, fresh: Duration, now: Arc<dyn Fn() -> SystemTime + Send + Sync>) -> Self {
        Self { store, fresh, now }
    }
}

fn failed(what: &impl ToString) -> impl FnOnce(larder_store::Error) -> Error {
    let what = what.to_string();
    move |source| Error::Store { what, source }
}

#[async_trait]
impl BlobSource for DiskTier {
    fn tier(&self) -> Tier {
        Tier::Disk
    }

    async fn resolve(&self, scope: &Scope) -> Result<Option<Descriptor>> {
        let reference = &scope.reference;
        if let Some(digest) = reference.digest() {
            let document = self.store.document(digest).map_err(failed(digest))?;
            return Ok(document.map(|document| document.descriptor()));
        }
        let name = self.store.name(reference).map_err(failed(reference))?;
        let fresh =
            |checked: SystemTime| (self.now)().duration_since(checked).is_ok_and(|age| age < self.fresh);
        Ok(name.filter(|name| fresh(name.checked)).map(|name| name.descriptor))
    }

    async fn open(
        &self,
        _: &Scope,
        descriptor: &Descriptor,
        offset: u64,
    ) -> Result<Option<Box<dyn BlobStream>>> {
        let digest = descriptor.digest;
        let Some(blob) = self.store.blob(&digest).map_err(failed(&digest))? else { return Ok(None) };
        let mut file = blob.open().map_err(failed(&digest))?;
        let (sender, receiver) = mpsc::channel(4);
        let size = descriptor.size;
        tokio::task::spawn_blocking(move || {
            let outcome = read_verified(&mut file, digest, size, offset, &sender);
            if let Err(error) = outcome {
                // The receiver is gone only if nobody waits for the answer any more.
                let _ = sender.blocking_send(Err(error));
            }
        });
        Ok(Some(Box::new(DiskStream(receiver))))
    }

    fn sink(&self) -> Option<&dyn BlobSink> {
        Some(self)
    }
}

/// Sends the file from `offset` on. A whole read is hashed, and its last chunk is held back until the hash is known.
fn read_verified(
    file: &mut std::fs::File,
    digest: Digest,
    size: u64,
    offset: u64,
    sender: &mpsc::Sender<Result<Bytes>>,
) -> Result<()> {
    let corrupt = |problem: String| Error::Corrupt { tier: Tier::Disk, digest, problem };
    if offset > 0 {
        std::io::Seek::seek(file, std::io::SeekFrom::Start(offset))
            .map_err(|error| corrupt(error.to_string()))?;
    }
    let mut hasher = (offset == 0).then(|| Hasher::new(digest.algorithm()));
    let mut left = size.saturating_sub(offset);
    while left > 0 {
        let want = usize::try_from(left).unwrap_or(READ).min(READ);
        let mut chunk = BytesMut::zeroed(want);
        let got = file.read(&mut chunk).map_err(|error| corrupt(error.to_string()))?;
        if got == 0 {
            return Err(corrupt(format!("the file is {left} bytes short")));
        }
        chunk.truncate(got);
        left -= got as u64;
        if let Some(hasher) = &mut hasher {
            hasher.update(&chunk);
        }
        if left == 0
            && let Some(found) = hasher.take().map(Hasher::finish)
            && found != digest
        {
            return Err(corrupt(format!("the file hashes to {found}")));
        }
        if sender.blocking_send(Ok(chunk.freeze())).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

struct DiskStream(mpsc::Receiver<Result<Bytes>>);

#[async_trait]
impl BlobStream for DiskStream {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.0.recv().await.transpose()
    }
}

#[async_trait]
impl BlobSink for DiskTier {
    async fn begin(&self, scope: &Scope, descriptor: &Descriptor) -> Result<Begin> {
        let digest = descriptor.digest;
        let media_type = &descriptor.media_type;
        if media_type.is_manifest() || media_type.is_index() {
            scope.lease.add(&[digest]).map_err(failed(&digest))?;
            if self.store.blob(&digest).map_err(failed(&digest))?.is_some() {
                return Ok(Begin::Present);
            }
            let fill = DocumentFill {
                store: self.store.clone(),
                lease: scope.lease.clone(),
                descriptor: descriptor.clone(),
                bytes: BytesMut::new(),
            };
            return Ok(Begin::Fill(Box::new(fill)));
        }
        let kind = if media_type.is_layer() {
            BlobKind::Layer
        } else if media_type.is_image_config() {
            BlobKind::Config
        } else {
            BlobKind::Other
        };
        loop {
            match self.store.begin(&digest, Some(descriptor.size), &scope.lease).map_err(failed(&digest))? {
                larder_store::Begin::Exists(_) => return Ok(Begin::Present),
                larder_store::Begin::Busy => tokio::time::sleep(BUSY_POLL).await,
                larder_store::Begin::Ingest(ingest) => {
                    return Ok(Begin::Fill(Box::new(DiskFill::start(ingest, digest, kind))));
                }
            }
        }
    }

    async fn remember(&self, _: &Scope, _: &Descriptor) -> Result<()> {
        // Names are set by the engine once the whole image is here; a name never points at an incomplete image.
        Ok(())
    }

    fn is_durable(&self) -> bool {
        true
    }

    async fn distrust(&self, descriptor: &Descriptor) -> Result<()> {
        match self.store.quarantine(&descriptor.digest) {
            Err(error) if error.kind() != Kind::NotFound => Err(failed(&descriptor.digest)(error)),
            _ => Ok(()),
        }
    }

    async fn forget(&self, reference: &Reference) -> Result<()> {
        self.store.remove_name(reference).map(drop).map_err(failed(reference))
    }
}

enum Command {
    Follow(tokio::sync::oneshot::Sender<Follower>),
    Replay(mpsc::Sender<Bytes>),
    Reset,
    Write(Bytes),
    Commit,
}

/// A blocking thread that hashes and writes, fed by a bounded channel. When the channel closes without a commit, the thread
/// drops the ingest, which keeps what arrived.
struct DiskFill {
    digest: Digest,
    kept: u64,
    commands: Option<mpsc::Sender<Command>>,
    worker: Option<tokio::task::JoinHandle<std::result::Result<(), larder_store::Error>>>,
}

impl DiskFill {
    fn start(mut ingest: Ingest, digest: Digest, kind: BlobKind) -> Self {
        let kept = ingest.offset();
        let (commands, mut receiver) = mpsc::channel(CHUNKS);
        let worker = tokio::task::spawn_blocking(move || {
            while let Some(command) = receiver.blocking_recv() {
                match command {
                    Command::Write(chunk) => ingest.write(&chunk)?,
                    Command::Reset => ingest.reset()?,
                    // Whoever asked may have gone; the blob is wanted all the same.
                    Command::Follow(asked) => drop(asked.send(ingest.follow()?)),
                    Command::Replay(tap) => ingest.replay(&mut |bytes| {
                        // A closed tap means that nobody wants the prefix; the hash still does.
                        let _ = tap.blocking_send(Bytes::copy_from_slice(bytes));
                    })?,
                    Command::Commit => {
                        ingest.commit(kind)?;
                        return Ok(());
                    }
                }
            }
            Ok(())
        });
        Self { digest, kept, commands: Some(commands), worker: Some(worker) }
    }

    async fn send(&mut self, command: Command) -> Result<()> {
        if let Some(commands) = &self.commands
            && commands.send(command).await.is_ok()
        {
            return Ok(());
        }
        self.finish().await?;
        Err(Error::Worker { digest: self.digest })
    }

    /// Closes the channel and takes the worker's answer.
    async fn finish(&mut self) -> Result<()> {
        self.commands = None;
        let Some(worker) = self.worker.take() else { return Err(Error::Worker { digest: self.digest }) };
        match worker.await {
            Ok(outcome) => outcome.map_err(failed(&self.digest)),
            Err(_) => Err(Error::Worker { digest: self.digest }),
        }
    }
}

#[async_trait]
impl Fill for DiskFill {
    fn kept(&self) -> u64 {
        self.kept
    }

    async fn replay(&mut self, tap: &mut Tap<'_>) -> Result<()> {
        let (sender, mut receiver) = mpsc::channel(4);
        self.send(Command::Replay(sender)).await?;
        while let Some(chunk) = receiver.recv().await {
            tap.pass(&chunk).await?;
        }
        Ok(())
    }

    async fn follow(&mut self) -> Result<Option<Follower>> {
        let (asked, answer) = tokio::sync::oneshot::channel();
        self.send(Command::Follow(asked)).await?;
        Ok(answer.await.ok())
    }

    async fn reset(&mut self) -> Result<()> {
        self.kept = 0;
        self.send(Command::Reset).await
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        self.send(Command::Write(chunk)).await
    }

    async fn commit(mut self: Box<Self>) -> Result<()> {
        self.send(Command::Commit).await?;
        self.finish().await
    }
}

/// Manifests are small: they are collected, parsed and stored together with their edges.
struct DocumentFill {
    store: Store,
    lease: Lease,
    descriptor: Descriptor,
    bytes: BytesMut,
}

#[async_trait]
impl Fill for DocumentFill {
    async fn reset(&mut self) -> Result<()> {
        self.bytes.clear();
        Ok(())
    }

    async fn write(&mut self, chunk: Bytes) -> Result<()> {
        let digest = self.descriptor.digest;
        if (self.bytes.len() + chunk.len()) as u64 > self.descriptor.size.min(larder_core::MANIFEST_LIMIT) {
            let problem = format!("more than {} bytes", self.descriptor.size);
            return Err(Error::Corrupt { tier: Tier::Registry, digest, problem });
        }
        self.bytes.extend_from_slice(&chunk);
        Ok(())
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        let digest = self.descriptor.digest;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&self.bytes);
        let found = hasher.finish();
        if found != digest {
            let problem = format!("{} bytes that hash to {found}", self.bytes.len());
            return Err(Error::Corrupt { tier: Tier::Registry, digest, problem });
        }
        let document = Document::parse(self.bytes.to_vec(), Some(&self.descriptor.media_type))
            .map_err(|source| Error::Document { what: digest.to_string(), source })?;
        // Not here: whoever waits for what the document says need not wait for the disk.
        let put = tokio::task::spawn_blocking(move || self.store.put_document(&document, &self.lease));
        put.await.map_err(|_| Error::Worker { digest })?.map_err(failed(&digest))
    }
}
