//! `push`: an image from the store to a registry, children before parents.

use crate::attached::{SUFFIXES, tag};
use crate::graph::Graph;
use crate::{Engine, Error, Result};
use larder_core::{Classify, Descriptor, Digest, Document, Kind, Manifest, Platform, Reference, Selection};
use larder_remote::{Auth, BlobOpener, Repo};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

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
                let stored =
                    |source| Error::Store { action: format!("cannot read blob {}", blob.digest), source };
                let held = engine.store().blob(&blob.digest).map_err(stored)?;
                let held = held.ok_or(Error::NoBlob { digest: blob.digest })?;
                repo.push_blob(&blob, &Opener(held), engine.progress()).await.map_err(failed)?;
                Ok(blob.size)
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

struct Opener(larder_store::Blob);

#[async_trait::async_trait]
impl BlobOpener for Opener {
    async fn open_at(&self, offset: u64) -> std::io::Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>> {
        use tokio::io::AsyncSeekExt;
        let mut file = tokio::fs::File::open(self.0.path()).await?;
        file.set_max_buf_size(1 << 20);
        file.seek(std::io::SeekFrom::Start(offset)).await?;
        Ok(Box::new(file))
    }
}
