//! `push`: an image from the store to a registry, children before parents.

use crate::attached::{SUFFIXES, tag};
use crate::export::damaged;
use crate::graph::Graph;
use crate::{Engine, Error, Result};
use larder_core::{
    Classify, Descriptor, Digest, Document, Hasher, Kind, Manifest, Platform, Reference, Selection,
};
use larder_remote::{Auth, BlobOpener, Repo};
use larder_store::Blob;
use std::collections::HashSet;
use std::io::{Read, Seek, SeekFrom};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// How much of a blob is read at once.
const BUFFER: usize = 1 << 20;

/// How to push.
#[derive(Clone, Default)]
pub struct PushOptions {
    /// Push only this platform's image, not the index.
    pub platform: Option<Platform>,
    /// Push signatures and other referrers along; `None` means as configured.
    pub attached: Option<bool>,
    /// Credentials in place of the configured chain.
    pub auth: Option<Auth>,
}

/// What was pushed.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Pushed {
    /// Where to.
    pub reference: Reference,
    /// The digest it has there.
    pub digest: Digest,
    /// Blobs that had to be sent.
    pub sent: usize,
    /// Bytes of these.
    pub sent_bytes: u64,
    /// Blobs that were there, or that the registry took from another repository.
    pub present: usize,
    /// Signatures and other artifacts that went along.
    pub attached: usize,
    /// How long it took.
    #[serde(skip)]
    pub elapsed: Duration,
}

impl Engine {
    /// Pushes a name of the store. Blobs that are there are skipped, blobs of other repositories of the same registry are
    /// mounted, and the manifests follow bottom-up, so that a reader never sees an image that is not whole.
    pub async fn push(
        &self,
        source: &Reference,
        target: &Reference,
        options: &PushOptions,
    ) -> Result<Pushed> {
        let pushed = self.push_name(source, target, options).await;
        self.audit_push(target, &pushed);
        pushed
    }

    async fn push_name(
        &self,
        source: &Reference,
        target: &Reference,
        options: &PushOptions,
    ) -> Result<Pushed> {
        let lease = self.lease("push")?;
        let root = match &options.platform {
            Some(platform) => self.local(source, platform)?.document.descriptor(),
            None => self.root(source)?,
        };
        self.hold(&[root.digest], &lease)?;
        self.push_root(&root, Some(source), target, options).await
    }

    pub(crate) async fn push_root(
        &self,
        root: &Descriptor,
        source: Option<&Reference>,
        target: &Reference,
        options: &PushOptions,
    ) -> Result<Pushed> {
        let started = Instant::now();
        let auth = match &options.auth {
            Some(auth) => auth.clone(),
            None => Auth::Keychain(self.keychain()?),
        };
        let repo = self.client()?.repository(target.registry(), target.repository(), auth);
        let graph = self.graph(&root.digest, &Selection::All)?;
        let mut pushed = Pushed {
            reference: target.clone(),
            digest: root.digest,
            sent: 0,
            sent_bytes: 0,
            present: 0,
            attached: 0,
            elapsed: Duration::ZERO,
        };
        self.push_blobs(&repo, &graph, source, target, &mut pushed).await?;
        for document in &graph.documents {
            let last = document.digest() == root.digest;
            let tag = target.tag().filter(|_| last && target.digest().is_none());
            let failed = |source| Error::Remote {
                action: match graph.absent.is_empty() || !last {
                    true => format!("cannot push manifest {} to {target}", document.digest()),
                    false => format!(
                        "cannot push {target}: the index lists {} images that are not in the store; pull with --all-platforms, or push one with --platform",
                        graph.absent.len()
                    ),
                },
                source,
            };
            repo.push_manifest(document, tag).await.map_err(failed)?;
        }
        if options.attached.unwrap_or(self.config().attached) {
            pushed.attached = self.push_attached(&repo, &graph, source, target, &mut pushed).await?;
        }
        pushed.elapsed = started.elapsed();
        Ok(pushed)
    }

    async fn push_blobs(
        &self,
        repo: &Repo,
        graph: &Graph,
        source: Option<&Reference>,
        target: &Reference,
        pushed: &mut Pushed,
    ) -> Result<()> {
        let slots = Arc::new(Semaphore::new(self.config().jobs));
        let mut tasks = JoinSet::new();
        // A layer of another repository on the same registry need not travel.
        let from = source
            .filter(|source| {
                source.registry() == target.registry() && source.repository() != target.repository()
            })
            .map(|source| source.repository().clone());
        for blob in graph.blobs.iter().filter(|blob| !blob.media_type.is_foreign()) {
            let (engine, repo, blob, slots) = (self.clone(), repo.clone(), blob.clone(), slots.clone());
            let (from, target) = (from.clone(), target.to_string());
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                let failed = |source| Error::Remote {
                    action: format!("cannot push blob {} to {target}", blob.digest),
                    source,
                };
                if repo.has_blob(&blob.digest).await.map_err(failed)?.is_some() {
                    return Ok(0);
                }
                if let Some(from) = &from
                    && repo.mount_blob(&blob.digest, from).await.map_err(failed)?
                {
                    return Ok(0);
                }
                let opener = Opener::new(engine.blob_to_give(&blob.digest)?);
                let sent = repo.push_blob(&blob, &opener, engine.progress()).await;
                match opener.damage() {
                    // Whatever the registry made of it.
                    Some(found) => Err(damaged(&blob.digest, &found)),
                    None => sent.map_err(failed).map(|()| blob.size),
                }
            });
        }
        let mut first: Option<Error> = None;
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(Ok(0)) => pushed.present += 1,
                Ok(Ok(bytes)) => {
                    pushed.sent += 1;
                    pushed.sent_bytes += bytes;
                }
                Ok(Err(error)) => first = first.or(Some(error)),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        first.map_or(Ok(()), Err)
    }

    async fn push_attached(
        &self,
        repo: &Repo,
        graph: &Graph,
        source: Option<&Reference>,
        target: &Reference,
        pushed: &mut Pushed,
    ) -> Result<usize> {
        let mut subjects: Vec<Digest> = graph.documents.iter().map(Document::digest).collect();
        let mut known: HashSet<Digest> = subjects.iter().copied().collect();
        let mut count = 0;
        while let Some(subject) = subjects.pop() {
            let failed = |source| Error::Store {
                action: format!("cannot list what is attached to {subject}"),
                source,
            };
            let mut found: Vec<(Descriptor, Option<larder_core::Tag>)> = self
                .store()
                .referrers(&subject)
                .map_err(failed)?
                .into_iter()
                .map(|found| (found, None))
                .collect();
            if let Some(source) = source {
                for tag in SUFFIXES.iter().filter_map(|suffix| tag(&subject, suffix)) {
                    if let Some(name) = self.store().name(&source.with_tag(tag.clone())).map_err(failed)? {
                        found.push((name.descriptor, Some(tag)));
                    }
                }
            }
            for (descriptor, tag) in found {
                if !known.insert(descriptor.digest) && tag.is_none() {
                    continue;
                }
                let below = match self.graph(&descriptor.digest, &Selection::All) {
                    Ok(below) => below,
                    Err(error) if error.kind() == Kind::NotFound => continue,
                    Err(error) => return Err(error),
                };
                self.push_blobs(repo, &below, source, target, pushed).await?;
                for document in &below.documents {
                    let action = format!("cannot push {} that is attached to {target}", document.digest());
                    let tag = tag.as_ref().filter(|_| document.digest() == descriptor.digest);
                    repo.push_manifest(document, tag)
                        .await
                        .map_err(|source| Error::Remote { action, source })?;
                }
                count += 1;
                subjects.push(descriptor.digest);
            }
        }
        Ok(count)
    }

    /// Whether a root is an index, for messages.
    pub(crate) fn is_index(&self, root: &Descriptor) -> Result<bool> {
        Ok(matches!(self.document(&root.digest)?.as_ref().map(Document::manifest), Some(Manifest::Index(_))))
    }
}

/// A blob of the store that is hashed while it is sent. Of a damaged one the last bytes never leave, so that no registry, however
/// trusting, ends up with a blob that it calls whole.
struct Opener {
    blob: Blob,
    state: Arc<Mutex<State>>,
}

/// How far a blob was hashed, over all the requests that carried parts of it.
struct State {
    hasher: Hasher,
    hashed: u64,
    /// What it hashes to, when that is something else.
    damage: Option<Digest>,
}

/// One reading of a blob, from some offset on.
struct Watched {
    file: tokio::fs::File,
    at: u64,
    blob: Blob,
    state: Arc<Mutex<State>>,
}

impl Opener {
    fn new(blob: Blob) -> Self {
        let hasher = Hasher::new(blob.digest().algorithm());
        Self { blob, state: Arc::new(Mutex::new(State { hasher, hashed: 0, damage: None })) }
    }

    /// Opens the blob. What lies before `offset` is hashed first, if nobody has read it: a registry may know more than we sent.
    fn read_from(self, offset: u64) -> std::io::Result<Watched> {
        let mut file = self.blob.open().map_err(std::io::Error::other)?;
        let mut at = self.state.lock().unwrap_or_else(PoisonError::into_inner).hashed.min(offset);
        file.seek(SeekFrom::Start(at))?;
        let mut buffer = vec![0; BUFFER];
        while at < offset {
            let wanted = usize::try_from(offset - at).map_or(BUFFER, |left| left.min(BUFFER));
            file.read_exact(&mut buffer[..wanted])?;
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            state.take(at, &buffer[..wanted], &self.blob)?;
            at += wanted as u64;
        }
        Ok(Watched { file: file.into(), at, blob: self.blob, state: self.state })
    }

    /// What the blob hashes to, if that is not its name.
    fn damage(&self) -> Option<Digest> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).damage
    }
}

impl State {
    /// Takes in bytes that were read at an offset; those of a repetition are known.
    fn take(&mut self, at: u64, bytes: &[u8], blob: &Blob) -> std::io::Result<()> {
        let known = self.hashed.checked_sub(at).ok_or(std::io::ErrorKind::InvalidInput)?;
        if let Some(new) = usize::try_from(known).ok().and_then(|known| bytes.get(known..)) {
            self.hasher.update(new);
            self.hashed += new.len() as u64;
        }
        if self.hashed >= blob.size() && self.damage.is_none() {
            self.damage = Some(self.hasher.clone().finish()).filter(|found| found != blob.digest());
        }
        match self.damage {
            Some(_) => Err(std::io::ErrorKind::InvalidData.into()),
            None => Ok(()),
        }
    }
}

#[async_trait::async_trait]
impl BlobOpener for Opener {
    async fn open_at(&self, offset: u64) -> std::io::Result<Box<dyn AsyncRead + Send + Unpin>> {
        let opener = Self { blob: self.blob.clone(), state: self.state.clone() };
        let opened = tokio::task::spawn_blocking(move || opener.read_from(offset));
        let mut watched: Watched = opened.await.map_err(std::io::Error::other)??;
        watched.file.set_max_buf_size(BUFFER);
        Ok(Box::new(watched))
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.file).poll_read(context, buffer))?;
        let bytes = &buffer.filled()[before..];
        let mut state = this.state.lock().unwrap_or_else(PoisonError::into_inner);
        match state.take(this.at, bytes, &this.blob) {
            Ok(()) => {
                this.at += bytes.len() as u64;
                Poll::Ready(Ok(()))
            }
            Err(error) => {
                buffer.set_filled(before);
                Poll::Ready(Err(error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_store::BlobKind;
    use std::time::SystemTime;
    use tokio::io::AsyncReadExt;

    fn store(dir: &std::path::Path) -> larder_store::Store {
        let options =
            larder_store::Options { boot_id: "boot".into(), clock: Arc::new(|| SystemTime::UNIX_EPOCH) };
        larder_store::Store::open(dir, options).unwrap()
    }

    async fn read(opener: &Opener, offset: u64, length: usize) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        opener.open_at(offset).await?.read_exact(&mut bytes).await?;
        Ok(bytes)
    }

    #[tokio::test]
    async fn parts_are_hashed_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path());
        let lease = store.lease("test").unwrap();
        let content: Vec<u8> = (0..3_000_000u32).map(|number| (number % 251) as u8).collect();
        let blob = store.put(&content, BlobKind::Layer, &lease).unwrap();
        let opener = Opener::new(blob.clone());
        // In parts, one of them twice, and one that nobody here has read.
        for (offset, length) in [(0, 1_000_000), (500_000, 700_000), (0, 10), (2_500_000, 500_000)] {
            let bytes = read(&opener, offset as u64, length).await.unwrap();
            assert!(bytes == content[offset..offset + length]);
        }
        assert!(opener.damage().is_none());
        assert_eq!(opener.state.lock().unwrap().hashed, 3_000_000);
        let mut damaged = content.clone();
        damaged[1_300_000] ^= 1;
        std::fs::write(blob.path(), &damaged).unwrap();
        let opener = Opener::new(blob);
        read(&opener, 0, 1_000_000).await.unwrap();
        assert!(read(&opener, 2_000_000, 1_000_000).await.is_err(), "the last part left");
        assert_eq!(opener.damage(), Some(Digest::of(&damaged)));
    }
}
