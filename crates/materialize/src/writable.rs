//! Writable layers: `rw/NAME/{upper,work}` under the home of the store, one image each.
//!
//! They are kept across mounts and restarts, so they are never mounted `volatile`: overlayfs would refuse them after a crash.

use crate::attributes::{Attributes, privileged};
use crate::kernel::{self, Overlay};
use crate::mounts::Mounts;
use crate::{Error, Result};
use larder_core::Digest;
use larder_store::Store;
use rustix::fd::BorrowedFd;
use rustix::fs::{CWD, Mode, OFlags};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// A writable layer that nobody else uses. Holding the value keeps others from mounting it.
#[derive(Debug)]
pub(crate) struct Writable {
    name: String,
    dir: PathBuf,
    _lock: File,
}

impl Writable {
    /// Opens the layer `name`, or makes it. It belongs to the image it was first used with, because what is in it only makes
    /// sense on top of that.
    pub(crate) fn open(store: &Store, name: &str, manifest: &Digest) -> Result<Self> {
        check_writable_name(name)?;
        let dir = store.home().join("rw").join(name);
        let problem = |problem: String| Error::Writable { name: name.to_owned(), problem };
        create_dir(&dir)?;
        let lock = own(&dir, name)?;
        if let Some(place) = mounted_at(store, name)? {
            return Err(problem(format!("is mounted at {}", place.display())));
        }
        let owner_path = dir.join("image");
        match fs::read_to_string(&owner_path) {
            Ok(owner) if owner.trim() == manifest.to_string() => {}
            Ok(owner) => return Err(problem(format!("belongs to the image {}", owner.trim()))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // Under another name first: a cut-off write must not look like an owner.
                let new = dir.join("image.new");
                let mut file = File::create(&new).map_err(Error::file("create", &new))?;
                writeln!(file, "{manifest}").map_err(Error::file("write", &new))?;
                file.sync_all().map_err(Error::file("write", &new))?;
                fs::rename(&new, &owner_path).map_err(Error::file("rename", &new))?;
            }
            Err(error) => return Err(Error::file("read", owner_path)(error)),
        }
        Ok(Self { name: name.to_owned(), dir, _lock: lock })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Mounts `image`, which is not attached anywhere yet, with this layer on top. The image itself ends up attached nowhere:
    /// overlayfs keeps its own hold on it.
    pub(crate) fn mount_over_image(
        &self,
        image: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        dir: &Path,
    ) -> Result<()> {
        let lower = self.dir.join("lower");
        // Somebody may have been killed between attaching and detaching.
        while kernel::unmount(&lower, true)? {}
        create_dir(&lower)?;
        let handle = rustix::fs::openat(
            CWD,
            &lower,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|source| Error::file("open", &lower)(source.into()))?;
        kernel::attach("erofs", image, handle.as_fd(), &lower)?;
        let mounted = self.mount_over(std::slice::from_ref(&lower), target, dir);
        let detached = kernel::unmount(&lower, true);
        let _ = fs::remove_dir(&lower);
        mounted.and(detached.map(drop))
    }

    /// Mounts `lowers`, the top one first, with this layer on top of them.
    pub(crate) fn mount_over(&self, lowers: &[PathBuf], target: BorrowedFd<'_>, dir: &Path) -> Result<()> {
        let (upper, work) = (self.dir.join("upper"), self.dir.join("work"));
        create_dir(&work)?;
        if let (false, Some(top)) = (upper.is_dir(), lowers.first()) {
            // The root of the merged tree has the attributes of the upper root. Renamed when it has them all.
            let new = self.dir.join("upper.new");
            create_dir(&new)?;
            Attributes::of(top)?.put(&new)?;
            fs::rename(&new, &upper).map_err(Error::file("rename", &new))?;
        }
        let overlay = Overlay { lowers, upper: Some((&upper, &work)), user: !privileged() };
        overlay.mount(target, dir)
    }
}

/// A writable layer of a store.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct WritableLayer {
    /// Its name.
    pub name: String,
    /// The image it belongs to, once it was mounted.
    pub image: Option<Digest>,
    /// Where it is mounted now.
    pub mounted: Option<PathBuf>,
}

/// The writable layers of a store, by name.
pub fn writable_layers(store: &Store) -> Result<Vec<WritableLayer>> {
    let rw = store.home().join("rw");
    let mut layers = Vec::new();
    for entry in fs::read_dir(&rw).map_err(Error::file("list", &rw))? {
        let entry = entry.map_err(Error::file("list", &rw))?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        if check_writable_name(&name).is_err() || !entry.path().is_dir() {
            continue;
        }
        let owner = fs::read_to_string(entry.path().join("image"));
        let image = owner.ok().and_then(|owner| owner.trim().parse().ok());
        layers.push(WritableLayer { image, mounted: mounted_at(store, &name)?, name });
    }
    layers.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(layers)
}

/// Deletes a writable layer with everything that was written to it. `false` if there is none of this name.
///
/// # Errors
/// [`Error::Writable`] while it is mounted.
pub fn remove_writable(store: &Store, name: &str) -> Result<bool> {
    check_writable_name(name)?;
    let rw = store.home().join("rw");
    let dir = rw.join(name);
    if !dir.is_dir() {
        return Ok(false);
    }
    let _lock = own(&dir, name)?;
    if let Some(place) = mounted_at(store, name)? {
        let problem = format!("is mounted at {}", place.display());
        return Err(Error::Writable { name: name.to_owned(), problem });
    }
    // Under a name that no layer can have: what is half deleted must not be mounted.
    let doomed = rw.join(format!("{DOOMED}{name}"));
    remove_all(&doomed)?;
    fs::rename(&dir, &doomed).map_err(Error::file("rename", &dir))?;
    remove_all(&doomed).map(|()| true)
}

/// Holds a layer against everybody else.
fn own(dir: &Path, name: &str) -> Result<File> {
    let path = dir.join("lock");
    let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let lock = lock.map_err(Error::file("open", &path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(fs::TryLockError::WouldBlock) => {
            let problem = "is being mounted by another process".into();
            Err(Error::Writable { name: name.to_owned(), problem })
        }
        Err(fs::TryLockError::Error(source)) => Err(Error::file("lock", &path)(source)),
    }
}

fn mounted_at(store: &Store, name: &str) -> Result<Option<PathBuf>> {
    let mut records = store.mounts().map_err(Error::store("look up mounts"))?;
    records.retain(|record| record.writable.as_deref() == Some(name));
    if records.is_empty() {
        return Ok(None);
    }
    let mounts = Mounts::look()?;
    Ok(records.into_iter().find(|record| mounts.has(record)).map(|record| record.dir))
}

fn remove_all(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(Error::file("remove", dir)),
    }
}

const DOOMED: &str = ".removed-";

/// Whether a writable layer can have this name.
///
/// # Errors
/// [`Error::WritableName`] with the rule.
pub fn check_writable_name(name: &str) -> Result<()> {
    let valid = (1..=128).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    if valid { Ok(()) } else { Err(Error::WritableName { name: name.chars().take(200).collect() }) }
}

fn create_dir(path: &Path) -> Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        other => other.map_err(Error::file("create", path)),
    }
}
