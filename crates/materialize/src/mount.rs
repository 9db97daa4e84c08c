//! Mounting and unmounting, with the record of it in the store.

use crate::driver::{Access, Driver, Rootfs};
use crate::mounts::{self, Mounts};
use crate::writable::Writable;
use crate::{Error, Result, kernel};
use larder_core::Digest;
use larder_store::{MountRecord, Store};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::fs;
use std::path::{Path, PathBuf};

/// Where to mount.
pub(crate) struct Place<'a> {
    /// The real path.
    pub(crate) path: &'a Path,
    /// The directory itself: whatever happens to the path meanwhile, this is what is mounted on.
    pub(crate) handle: BorrowedFd<'a>,
    pub(crate) writable: Option<&'a Writable>,
}

/// Mounts by calling `attach`, with a record of it made before and taken back on failure.
pub(crate) fn record(
    store: &Store,
    rootfs: &Rootfs,
    dir: &Path,
    access: Access,
    attach: impl FnOnce(&Place<'_>) -> Result<()>,
) -> Result<MountRecord> {
    let point = Mountpoint::open(dir)?;
    let writable = match access {
        Access::ReadOnly => Ok(None),
        Access::Writable(name) => Writable::open(store, &name, rootfs.manifest()).map(Some),
    };
    let writable = match writable {
        Ok(writable) => writable,
        Err(error) => {
            point.abandon();
            return Err(error);
        }
    };
    let mut extra = rootfs.paths();
    if point.created {
        // Listed among the things that belong to the mount: unmounting removes it.
        extra.push(point.path.clone());
    }
    let mut record = MountRecord {
        dir: point.path.clone(),
        identity: None,
        manifest: *rootfs.manifest(),
        driver: rootfs.driver().to_string(),
        writable: writable.as_ref().map(|writable| writable.name().to_owned()),
        extra,
    };
    store.add_mount(&record).map_err(Error::store("record a mount"))?;
    let place = Place { path: &point.path, handle: point.handle.as_fd(), writable: writable.as_ref() };
    if let Err(error) = attach(&place) {
        // The mount is what counts; a record that stays behind is dropped by the next collection.
        let _ = store.remove_mount(&record);
        point.abandon();
        return Err(error);
    }
    // From here on it is recognised wherever it is moved. Until then the lease of the root file system keeps the image.
    if let Some(found) = mounts::at(&point.path)? {
        recognise(store, &mut record, found.identity)?;
    }
    Ok(record)
}

/// Replaces the record by one with the identity of the mount.
fn recognise(store: &Store, record: &mut MountRecord, identity: Vec<u8>) -> Result<()> {
    let failed = || Error::store("record a mount");
    let before = record.clone();
    record.identity = Some(identity);
    store.add_mount(record).map_err(failed())?;
    store.remove_mount(&before).map_err(failed())?;
    for old in store.mounts().map_err(failed())? {
        // This file system is new, so one that was recognised the same way is gone.
        if old.identity == record.identity && old.dir != record.dir {
            store.remove_mount(&old).map_err(failed())?;
        }
    }
    Ok(())
}

/// Whether an image can be mounted at `dir`: an empty directory where nothing is mounted, or a name that is free in a
/// directory that is there. Changes nothing, so it can be asked before work that would be for nothing.
///
/// # Errors
/// [`Error::Target`] or [`Error::File`], as mounting would give.
pub fn check_mountpoint(dir: &Path) -> Result<()> {
    check_empty(dir)?;
    match kernel::is_mount_point(dir)? {
        true => Err(Error::Target { dir: dir.to_owned(), problem: "is a mount point already" }),
        false => Ok(()),
    }
}

/// Whether `dir` is an empty directory, or a name that is free in a directory that is there. Changes nothing.
///
/// # Errors
/// [`Error::Target`] or [`Error::File`], as unpacking into it would give.
pub fn check_empty(dir: &Path) -> Result<()> {
    if is_free(dir)? { Ok(()) } else { open_empty(dir).map(drop) }
}

/// Unmounts what larder mounted at `dir` and forgets it; a directory made for the mount is removed. A mount that is gone
/// already, after a restart for example, is only forgotten. One that other mount namespaces have too is not forgotten before
/// it is gone there as well. The writable layer stays.
///
/// # Errors
/// [`Error::NotMounted`] if larder knows of no mount there, [`Error::Unmount`] while it is in use, [`Error::Foreign`] if
/// somebody else's mount is there, which is left alone, [`Error::Elsewhere`] if the mount was moved.
pub fn unmount(store: &Store, dir: &Path) -> Result<()> {
    let path = real_path(dir)?;
    let mut records = store.mounts().map_err(Error::store("look up a mount"))?;
    let found = mounts::at(&path)?;
    if let Some(found) = &found
        && let Some(record) = of(&records, &path, found)
    {
        kernel::unmount(&path, false)?;
        return finish(store, record, &path);
    }
    records.retain(|record| record.dir == path);
    if records.is_empty() {
        return Err(Error::NotMounted { dir: path });
    }
    let mounts = Mounts::look()?;
    let alive = |record: &MountRecord| record.identity.is_some() && mounts.has(record);
    let (kept, gone): (Vec<_>, Vec<_>) = records.into_iter().partition(alive);
    for record in &gone {
        store.remove_mount(record).map_err(Error::store("forget a mount"))?;
    }
    match (found, kept.first()) {
        (Some(found), kept) => {
            Err(Error::Foreign { dir: path, filesystem: found.filesystem, gone: kept.is_none() })
        }
        (None, Some(record)) => {
            let place = mounts::whereabouts(record.identity.as_deref().unwrap_or_default())?;
            Err(Error::Elsewhere { dir: path, place })
        }
        (None, None) => {
            gone.iter().for_each(|record| remove_made(record, &path));
            Ok(())
        }
    }
}

/// The record of what is mounted at `path`.
fn of<'a>(records: &'a [MountRecord], path: &Path, found: &mounts::Found) -> Option<&'a MountRecord> {
    let same = |record: &&MountRecord| record.identity.as_ref() == Some(&found.identity);
    // Records of older versions have no identity.
    let alike = |record: &&MountRecord| {
        let filesystem = match record.writable {
            Some(_) => "overlay",
            None => &record.driver,
        };
        record.identity.is_none() && record.dir == path && filesystem == found.filesystem
    };
    records.iter().find(same).or_else(|| records.iter().find(alike))
}

/// Forgets a mount that was undone at `path`, unless somebody else still has it.
fn finish(store: &Store, record: &MountRecord, path: &Path) -> Result<()> {
    if record.identity.is_some() && Mounts::look()?.has(record) {
        return Ok(());
    }
    store.remove_mount(record).map_err(Error::store("forget a mount"))?;
    if !kernel::is_mount_point(path)? {
        remove_made(record, path);
    }
    Ok(())
}

/// Removes the directory if it was made for the mount.
fn remove_made(record: &MountRecord, path: &Path) {
    if record.extra.contains(&record.dir) {
        // Not empty, or gone: then it is not ours any more.
        let _ = fs::remove_dir(path);
    }
}

/// Whether `dir` is a directory where something is mounted.
pub fn is_mounted(dir: &Path) -> Result<bool> {
    kernel::is_mount_point(dir)
}

/// Refuses if the driver has the image mounted somewhere.
pub(crate) fn refuse_mounted(store: &Store, manifest: &Digest, driver: Driver) -> Result<()> {
    let mut records = store.mounts().map_err(Error::store("look up mounts"))?;
    records.retain(|record| record.manifest == *manifest && record.driver == driver.as_str());
    if records.is_empty() {
        return Ok(());
    }
    let mounts = Mounts::look()?;
    match records.into_iter().find(|record| mounts.may_have(record)) {
        Some(record) => Err(Error::InUse { manifest: *manifest, dir: record.dir }),
        None => Ok(()),
    }
}

#[derive(Debug)]
struct Mountpoint {
    path: PathBuf,
    handle: OwnedFd,
    created: bool,
}

impl Mountpoint {
    fn open(dir: &Path) -> Result<Self> {
        let created = is_free(dir)?;
        if created {
            fs::create_dir(dir).map_err(Error::file("create", dir))?;
        }
        let opened = open_empty(dir)?;
        let path = real_path(dir)?;
        if kernel::is_mount_point(&path)? {
            return Err(Error::Target { dir: dir.to_owned(), problem: "is a mount point already" });
        }
        // The path that is recorded must be the directory that was looked at.
        let here = rustix::fs::fstat(&opened).map_err(|error| Error::file("examine", dir)(error.into()))?;
        let there = rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Error::file("examine", &path)(error.into()))?;
        if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino) {
            return Err(Error::Target { dir: dir.to_owned(), problem: "changed while it was looked at" });
        }
        Ok(Self { path, handle: opened, created })
    }

    fn abandon(self) {
        if self.created {
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Whether nothing has this name, in a directory that is there: the name of a directory that can be made.
fn is_free(dir: &Path) -> Result<bool> {
    match fs::symlink_metadata(dir) {
        Ok(_) => Ok(false),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A typing error in a long path must not become a tree of directories.
            match dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                Some(parent) => match fs::metadata(parent) {
                    Ok(found) if found.is_dir() => Ok(true),
                    Ok(_) => Err(Error::Target { dir: parent.to_owned(), problem: "is not a directory" }),
                    Err(error) => Err(Error::file("find", parent)(error)),
                },
                None => Ok(true),
            }
        }
        Err(error) => Err(Error::file("examine", dir)(error)),
    }
}

/// Opens a directory, not by a symbolic link, that has nothing in it.
fn open_empty(dir: &Path) -> Result<OwnedFd> {
    let refuse = |problem| Error::Target { dir: dir.to_owned(), problem };
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(CWD, dir, flags, Mode::empty()).map_err(|error| match error {
        Errno::LOOP | Errno::NOTDIR => refuse("is not a directory"),
        error => Error::file("open", dir)(error.into()),
    })?;
    let entries = Dir::read_from(&opened).map_err(|error| Error::file("list", dir)(error.into()))?;
    for entry in entries {
        let entry = entry.map_err(|error| Error::file("list", dir)(error.into()))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Err(refuse("is not empty"));
        }
    }
    Ok(opened)
}

/// Absolute and without symbolic links, except that the last component stays as it is where it does not exist.
fn real_path(dir: &Path) -> Result<PathBuf> {
    match fs::canonicalize(dir) {
        Ok(path) => Ok(path),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let absolute = std::path::absolute(dir).map_err(Error::file("resolve", dir))?;
            match (absolute.parent().map(fs::canonicalize), absolute.file_name()) {
                (Some(Ok(parent)), Some(name)) => Ok(parent.join(name)),
                _ => Ok(absolute),
            }
        }
        Err(error) => Err(Error::file("resolve", dir)(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::Classify as _;

    #[test]
    fn mountpoints_that_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let full = scratch.path().join("full");
        fs::create_dir(&full).unwrap();
        fs::write(full.join("x"), b"").unwrap();
        std::os::unix::fs::symlink(&full, scratch.path().join("link")).unwrap();
        for (dir, problem) in [
            (full.clone(), "not empty"),
            (scratch.path().join("link"), "not a directory"),
            (full.join("x"), "not a directory"),
        ] {
            for error in [Mountpoint::open(&dir).unwrap_err(), check_mountpoint(&dir).unwrap_err()] {
                assert!(error.to_string().contains(problem), "{error}");
            }
        }
        check_mountpoint(&scratch.path().join("new")).unwrap();
        assert!(!scratch.path().join("new").exists());
        let new = Mountpoint::open(&scratch.path().join("new")).unwrap();
        assert!(new.created);
        check_mountpoint(&scratch.path().join("new")).unwrap();
        new.abandon();
        assert!(!scratch.path().join("new").exists());
    }

    #[test]
    fn parents_are_not_made_up() {
        let scratch = tempfile::tempdir().unwrap();
        let parent = scratch.path().join("a/b");
        for error in [
            check_mountpoint(&parent.join("c")).unwrap_err(),
            Mountpoint::open(&parent.join("c")).unwrap_err(),
        ] {
            assert_eq!(error.kind(), larder_core::Kind::NotFound);
            assert_eq!(error.to_string(), format!("cannot find {}", parent.display()));
        }
        assert!(!scratch.path().join("a").exists());
    }
}
