//! `copy`: an image from any place to any place. The store stands in the middle: bytes are verified, resumed and shared there.

use crate::push::PushOptions;
use crate::{Engine, Error, Place, Result};
use larder_core::{Descriptor, Digest, Platform, Reference, Selection};
use larder_remote::Auth;
use larder_store::Lease;
use std::path::PathBuf;

/// How to copy.
#[derive(Clone, Default)]
pub struct CopyOptions {
    /// Which images of an index; `None` means all that the source has.
    pub selection: Option<Selection>,
    /// Take signatures and other referrers along; `None` means as configured.
    pub attached: Option<bool>,
    /// Credentials in place of the configured chain, for both ends.
    pub auth: Option<Auth>,
}

/// What was copied.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Copied {
    /// Source.
    pub from: String,
    /// Destination.
    pub to: String,
    /// The digest at the destination.
    pub digest: Digest,
    /// Compressed bytes of the image.
    pub size: u64,
    /// Bytes that had to be written or sent.
    pub sent_bytes: u64,
    /// Signatures and other artifacts that went along.
    pub attached: usize,
}

impl Engine {
    /// Copies an image. The digest stays the same, except into and out of docker archives, which have no manifest of their own.
    pub async fn copy(&self, from: &Place, to: &Place, options: &CopyOptions) -> Result<Copied> {
        let before = match to {
            Place::Store(reference) => self.before(std::slice::from_ref(reference)),
            _ => Vec::new(),
        };
        let copied = self.copy_through(from, to, options).await;
        self.audit_copy(from, to, &before, &copied);
        copied
    }

    async fn copy_through(&self, from: &Place, to: &Place, options: &CopyOptions) -> Result<Copied> {
        let lease = self.lease("copy")?;
        let mut passing = Vec::new();
        let copied = self.copy_under(from, to, options, &lease, &mut passing).await;
        if !matches!(to, Place::Store(_)) {
            // Names that only led through the store; the lease has held what they stood for.
            for name in &passing {
                let failed = |source| Error::Store { action: format!("cannot remove {name}"), source };
                self.store().remove_name(name).map_err(failed)?;
            }
        }
        if let Ok(fetcher) = self.fetcher() {
            fetcher.flush();
        }
        let copied = copied?;
        self.store()
            .flush()
            .map_err(|source| Error::Store { action: "cannot write index.json".into(), source })?;
        Ok(copied)
    }

    async fn copy_under(
        &self,
        from: &Place,
        to: &Place,
        options: &CopyOptions,
        lease: &Lease,
        passing: &mut Vec<Reference>,
    ) -> Result<Copied> {
        let mut root = self.load(from, options, lease, passing).await?;
        if let Some(Selection::Only(platforms)) = &options.selection
            && let [platform] = platforms.as_slice()
            && !matches!(to, Place::Store(_))
            && self.is_index(&root)?
        {
            root = self.local(&pinned(&root)?, platform)?.document.descriptor();
        }
        let mut copied = Copied {
            from: from.to_string(),
            to: to.to_string(),
            digest: root.digest,
            size: self.graph(&root.digest, &Selection::All)?.size(),
            sent_bytes: 0,
            attached: 0,
        };
        match to {
            Place::Store(reference) => {
                self.name(reference, &root)?;
            }
            Place::Registry(reference) => {
                let source = match from {
                    Place::Store(source) | Place::Registry(source) => Some(source),
                    _ => None,
                };
                let push =
                    PushOptions { platform: None, attached: options.attached, auth: options.auth.clone() };
                let pushed = self.push_root(&root, source, reference, &push).await?;
                copied.sent_bytes = pushed.sent_bytes;
                copied.attached = pushed.attached;
            }
            local => copied = self.put_into(root, from, local, options, copied).await?,
        }
        Ok(copied)
    }

    /// Brings the source into the store, without a name.
    async fn load(
        &self,
        from: &Place,
        options: &CopyOptions,
        lease: &Lease,
        passing: &mut Vec<Reference>,
    ) -> Result<Descriptor> {
        let blocking = |work: Work| {
            let engine = self.clone();
            async move {
                let task = tokio::task::spawn_blocking(move || work(&engine));
                task.await.map_err(|_| Error::Task { what: "reading the source" })?
            }
        };
        let kept = lease.clone();
        match from {
            Place::Store(reference) => {
                let root = self.root(reference)?;
                let failed = |source| Error::Store { action: format!("cannot hold {reference}"), source };
                lease.add(&[root.digest]).map_err(failed)?;
                Ok(root)
            }
            Place::Registry(reference) => {
                let selection = options.selection.clone().unwrap_or(Selection::All);
                let attached = options.attached.unwrap_or(self.config().attached);
                let (root, names) =
                    self.pull_unnamed(reference, &selection, attached, options.auth.clone(), lease).await?;
                passing.extend(names);
                Ok(root)
            }
            Place::Layout { dir, name } | Place::OciArchive { file: dir, name } => {
                let (path, name): (PathBuf, Option<String>) = (dir.clone(), name.clone());
                blocking(Box::new(move |engine| engine.import_layout(&path, name.as_deref(), &kept))).await
            }
            Place::DockerArchive { file, name } => {
                let (path, name) = (file.clone(), name.clone());
                blocking(Box::new(move |engine| engine.import_docker(&path, name.as_ref(), &kept))).await
            }
        }
    }

    async fn put_into(
        &self,
        root: Descriptor,
        from: &Place,
        to: &Place,
        options: &CopyOptions,
        mut copied: Copied,
    ) -> Result<Copied> {
        let (engine, to, from) = (self.clone(), to.clone(), from.clone());
        let selection = options.selection.clone();
        let task = tokio::task::spawn_blocking(move || {
            match &to {
                Place::Layout { dir, name } => {
                    copied.sent_bytes = engine.export_layout(&root, name.as_deref(), dir)?;
                }
                Place::OciArchive { file, name } => {
                    copied.sent_bytes = engine.export_oci_archive(&root, name.as_deref(), file)?;
                }
                Place::DockerArchive { file, name } => {
                    let platform = match &selection {
                        Some(Selection::Only(platforms)) => platforms.first().cloned(),
                        _ => None,
                    };
                    let platform = platform.unwrap_or_else(Platform::host);
                    let tagged = match (name, &from) {
                        (Some(name), _) => Some(name.clone()),
                        (None, Place::Store(source) | Place::Registry(source)) => {
                            source.tag().map(|_| source.clone())
                        }
                        _ => None,
                    };
                    let (digest, bytes) =
                        engine.export_docker(&pinned(&root)?, &platform, tagged.as_ref(), file)?;
                    copied.digest = digest;
                    copied.sent_bytes = bytes;
                }
                Place::Store(_) | Place::Registry(_) => {}
            }
            Ok(copied)
        });
        task.await.map_err(|_| Error::Task { what: "writing the destination" })?
    }
}

/// Reading a source, on a blocking thread.
type Work = Box<dyn FnOnce(&Engine) -> Result<Descriptor> + Send>;

/// A reference that finds a root in the store by its digest alone.
fn pinned(root: &Descriptor) -> Result<Reference> {
    format!("localhost/store@{}", root.digest)
        .parse()
        .map_err(|source| Error::Document { what: "cannot name a digest".into(), source })
}
