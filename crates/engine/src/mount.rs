//! `mount`, `unmount`, `unpack`: images as file trees of this host.

use crate::download::Unpacking;
use crate::pull::{Content, PullRequest, Pulled};
use crate::{Engine, Error, Result};
use larder_core::{Classify, Digest, Kind, Platform, Reference, Selection};
use larder_materialize::{Access, Materializer, Rootfs, WritableLayer};
use larder_remote::Auth;
use larder_store::{Admitted, Lease};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Whether a registry is asked before an image is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PullPolicy {
    /// Only when the store does not have it whole.
    #[default]
    Missing,
    /// Always: tags may have moved.
    Always,
    /// Never: what is not here is an error.
    Never,
}

/// What to mount where.
#[derive(Clone)]
pub struct MountRequest {
    /// The image.
    pub reference: Reference,
    /// An empty directory, made when it does not exist; its parent must.
    pub dir: PathBuf,
    /// For which platform; `None` means this machine's.
    pub platform: Option<Platform>,
    /// A writable layer of this name on top; it outlives the mount.
    pub writable: Option<String>,
    /// `auto`, `erofs` or `overlay`; `None` means as configured.
    pub driver: Option<String>,
    /// Whether to pull first.
    pub pull: PullPolicy,
    /// Credentials in place of the configured chain.
    pub auth: Option<Auth>,
}

/// A mounted image.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Mounted {
    /// Where.
    pub dir: PathBuf,
    /// The manifest that is mounted.
    pub digest: Digest,
    /// By which driver.
    pub driver: String,
    /// The writable layer.
    pub writable: Option<String>,
    /// What was pulled for it.
    pub pulled: Option<Pulled>,
    /// How long it took.
    #[serde(skip)]
    pub elapsed: Duration,
}

/// What to unpack where.
#[derive(Clone)]
pub struct UnpackRequest {
    /// The image.
    pub reference: Reference,
    /// An empty directory, made when it does not exist; its parent must.
    pub dir: PathBuf,
    /// For which platform; `None` means this machine's.
    pub platform: Option<Platform>,
    /// Whether to pull first.
    pub pull: PullPolicy,
    /// Credentials in place of the configured chain.
    pub auth: Option<Auth>,
    /// Give files to the owners the image names (needs root); else to the caller.
    pub keep_owner: bool,
}

/// An unpacked image.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Unpacked {
    /// Where.
    pub dir: PathBuf,
    /// The manifest that was unpacked.
    pub digest: Digest,
    /// Files, directories, links and devices written.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
    /// What could not be made without root, one line each.
    pub skipped: Vec<String>,
}

impl Engine {
    /// Mounts an image. On a cold store its layers are unpacked while they are still arriving.
    pub async fn mount(&self, request: &MountRequest) -> Result<Mounted> {
        let mounted = self.bring_and_mount(request).await;
        self.audit_mount(&request.reference, &request.dir, &mounted);
        mounted
    }

    async fn bring_and_mount(&self, request: &MountRequest) -> Result<Mounted> {
        let started = Instant::now();
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        let choosing = self.choose(request.driver.as_deref())?;
        // What cannot work is said before a download.
        let checked = match &request.writable {
            Some(name) => larder_materialize::check_writable_name(name),
            None => Ok(()),
        };
        checked
            .and_then(|()| larder_materialize::check_mountpoint(&request.dir))
            .map_err(|source| cannot_mount(request, source))?;
        let lease = self.lease("mount")?;
        let pulled = self
            .bring_for(&request.reference, &platform, request.pull, request.auth.clone(), true, &lease)
            .await?;
        // By its digest, since it gets its name meanwhile.
        let image = match &pulled {
            Some(content) => request.reference.with_digest(content.pulled.digest),
            None => request.reference.clone(),
        };
        let (pulled, finishing, unpacking) = self.finishing(&request.reference, pulled);
        let unpacked = unpacking.finished().await;
        let materializer = choosing.await.map_err(|_| Error::Task { what: "choosing a driver" })??;
        let (engine, request) = (self.clone(), request.clone());
        let task = tokio::task::spawn_blocking(move || {
            let rootfs =
                unpacked.and_then(|()| engine.prepare(&image, &platform, Some(&*materializer), &lease));
            // In any case: what was pulled has its name, also if it cannot be mounted.
            let finished = finished(finishing);
            let rootfs = rootfs?;
            finished?;
            let access = match &request.writable {
                Some(name) => Access::Writable(name.clone()),
                None => Access::ReadOnly,
            };
            let record = materializer
                .mount(&rootfs, &request.dir, access)
                .map_err(|source| cannot_mount(&request, source))?;
            Ok(Mounted {
                dir: record.dir,
                digest: record.manifest,
                driver: record.driver,
                writable: record.writable,
                pulled,
                elapsed: started.elapsed(),
            })
        });
        task.await.map_err(|_| Error::Task { what: "mounting" })?
    }

    /// Undoes [`Engine::mount`]. A writable layer stays, to be mounted again under its name.
    pub fn unmount(&self, dir: &Path) -> Result<()> {
        let unmounted = larder_materialize::unmount(self.store(), dir).map_err(|source| Error::Materialize {
            action: format!("cannot unmount {}", dir.display()),
            source,
        });
        self.audit_unmount(dir, &unmounted);
        unmounted
    }

    /// The writable layers that [`Engine::mount`] made.
    pub fn writable_layers(&self) -> Result<Vec<WritableLayer>> {
        larder_materialize::writable_layers(self.store())
            .map_err(|source| Error::Materialize { action: "cannot list the writable layers".into(), source })
    }

    /// Deletes writable layers with all that was written to them. All are looked up before the first is deleted.
    pub fn remove_writable(&self, names: &[String]) -> Result<()> {
        let there = self.writable_layers()?;
        if let Some(name) = names.iter().find(|name| there.iter().all(|layer| layer.name != **name)) {
            return Err(Error::NoWritable { name: name.clone() });
        }
        for name in names {
            larder_materialize::remove_writable(self.store(), name).map_err(|source| Error::Materialize {
                action: format!("cannot remove the writable layer {name}"),
                source,
            })?;
        }
        Ok(())
    }

    /// Writes the merged file tree of an image into a directory.
    pub async fn unpack(&self, request: &UnpackRequest) -> Result<Unpacked> {
        let unpacked = self.bring_and_unpack(request).await;
        self.audit_unpack(&request.reference, &request.dir, &unpacked);
        unpacked
    }

    async fn bring_and_unpack(&self, request: &UnpackRequest) -> Result<Unpacked> {
        let platform = request.platform.clone().unwrap_or_else(Platform::host);
        larder_materialize::check_empty(&request.dir).map_err(|source| cannot_unpack(request, source))?;
        let lease = self.lease("unpack")?;
        let pulled = self
            .bring_for(&request.reference, &platform, request.pull, request.auth.clone(), false, &lease)
            .await?;
        let (_, finishing, unpacking) = self.finishing(&request.reference, pulled);
        let unpacked = unpacking.finished().await;
        let (engine, request) = (self.clone(), request.clone());
        let task = tokio::task::spawn_blocking(move || {
            finished(finishing)?;
            unpacked?;
            let image = engine.complete(&request.reference, &platform, &lease)?;
            let admitted = engine.admitted(&image.document.digest())?;
            let options = larder_materialize::UnpackOptions {
                owner: match request.keep_owner {
                    true => larder_materialize::Owner::Keep,
                    false => larder_materialize::Owner::Ignore,
                },
            };
            let source = image.source();
            let report = larder_materialize::unpack(
                engine.store(),
                &source,
                &admitted,
                &request.dir,
                &engine.limits(),
                &options,
            )
            .map_err(|source| cannot_unpack(&request, source))?;
            Ok(Unpacked {
                dir: request.dir,
                digest: source.manifest,
                entries: report.entries,
                bytes: report.bytes,
                skipped: report.skipped,
            })
        });
        task.await.map_err(|_| Error::Task { what: "unpacking" })?
    }

    /// Whether an image can be mounted without unpacking anything. One indexed look-up.
    pub fn is_materialized(
        &self,
        reference: &Reference,
        platform: &Platform,
        driver: Option<&str>,
    ) -> Result<bool> {
        let image = self.local(reference, platform)?;
        let digest = image.document.digest();
        self.materializer(driver)?
            .is_materialized(&digest)
            .map_err(|source| Error::Materialize { action: format!("cannot look up {digest}"), source })
    }

    /// Unpacks what is missing and readies the image for mounting.
    pub(crate) fn prepare(
        &self,
        reference: &Reference,
        platform: &Platform,
        materializer: Option<&dyn Materializer>,
        lease: &Lease,
    ) -> Result<Rootfs> {
        let image = self.complete(reference, platform, lease)?;
        let admitted = self.admitted(&image.document.digest())?;
        let failed =
            |source| Error::Materialize { action: format!("cannot unpack {}", reference.familiar()), source };
        match materializer {
            Some(materializer) => materializer.prepare(&image.source(), &admitted).map_err(failed),
            None => self.materializer(None)?.prepare(&image.source(), &admitted).map_err(failed),
        }
    }

    /// Asks the kernel, which takes milliseconds, while other things are waited for. A wrong name is known at once.
    fn choose(&self, name: Option<&str>) -> Result<JoinHandle<Result<Box<dyn Materializer>>>> {
        let name = name.unwrap_or(&self.config().driver).to_owned();
        if name != "auto" {
            self.materializer(Some(&name))?;
        }
        let engine = self.clone();
        Ok(tokio::task::spawn_blocking(move || engine.materializer(Some(&name))))
    }

    /// Moves the name, and writes the index for other tools, while layers are unpacked and the image is readied: both wait for
    /// the disk. Nothing was pulled, nothing to write.
    fn finishing(
        &self,
        reference: &Reference,
        pulled: Option<Content>,
    ) -> (Option<Pulled>, Option<oneshot::Receiver<Result<()>>>, Unpacking) {
        let Some(Content { pulled, root, unpacking }) = pulled else {
            return (None, None, Unpacking::default());
        };
        let (sender, receiver) = oneshot::channel();
        let (engine, reference) = (self.clone(), reference.clone());
        tokio::task::spawn_blocking(move || {
            let named = root.map_or(Ok(()), |root| engine.name(&reference, &root));
            // Gone only if the mount failed by itself.
            let _ = sender.send(named.and_then(|()| engine.finish_pull()));
        });
        (Some(pulled), Some(receiver), unpacking)
    }

    /// The proof that an image may be used.
    pub(crate) fn admitted(&self, digest: &Digest) -> Result<Admitted> {
        let failed = |source| Error::Store { action: format!("cannot read the verdict on {digest}"), source };
        match self.store().admitted(digest).map_err(failed)? {
            Some(admitted) => Ok(admitted),
            // Images that came by another way than a pull, while nothing is forbidden.
            None => self.store().admit(digest, "no policy is configured").map_err(failed),
        }
    }

    /// Pulls as the policy says; [`Engine::finishing`] has to follow. A tag is not asked for again when the image is whole and
    /// the policy is `Missing`.
    async fn bring_for(
        &self,
        reference: &Reference,
        platform: &Platform,
        policy: PullPolicy,
        auth: Option<Auth>,
        unpack: bool,
        lease: &Lease,
    ) -> Result<Option<Content>> {
        match policy {
            PullPolicy::Never => return Ok(None),
            PullPolicy::Missing => match self.complete(reference, platform, lease) {
                Ok(_) => return Ok(None),
                Err(error) if error.kind() == Kind::NotFound => {}
                Err(error) => return Err(error),
            },
            PullPolicy::Always => {}
        }
        self.prepare_audit();
        let request = PullRequest {
            selection: Some(Selection::Only(vec![platform.clone()])),
            unpack: unpack.then(|| platform.clone()),
            auth,
            ..PullRequest::new(vec![reference.clone()])
        };
        self.pull_under(&request, reference, lease).await.map(Some)
    }
}

/// Waits for [`Engine::finishing`].
fn finished(finishing: Option<oneshot::Receiver<Result<()>>>) -> Result<()> {
    match finishing.map(oneshot::Receiver::blocking_recv) {
        None => Ok(()),
        Some(outcome) => outcome.map_err(|_| Error::Task { what: "writing the index" })?,
    }
}

fn cannot_mount(request: &MountRequest, source: larder_materialize::Error) -> Error {
    let action = format!("cannot mount {} at {}", request.reference.familiar(), request.dir.display());
    Error::Materialize { action, source }
}

fn cannot_unpack(request: &UnpackRequest, source: larder_materialize::Error) -> Error {
    let action = format!("cannot unpack {} into {}", request.reference.familiar(), request.dir.display());
    Error::Materialize { action, source }
}
