//! Mounting and unmounting, with the record of it in the store.

use crate::driver::{Access, Driver, Rootfs};
use crate::writable::Writable;
use crate::{Error, Result, kernel};
use larder_core::Digest;
use larder_store::{MountRecord, Store};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
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
    let record = MountRecord {
        dir: point.path.clone(),
        manifest: *rootfs.manifest(),
        driver: rootfs.driver().to_string(),
        writable: writable.as_ref().map(|writable| writable.name().to_owned()),
        extra,
    };
    store.add_mount(&record).map_err(Error::store("record a mount"))?;
    let place = Place { path: &point.path, handle: point.handle.as_fd(), writable: writable.as_ref() };
    if let Err(error) = attach(&place) {
        // The mount is what counts; a record that stays behind is dropped by the next collection.
        let _ = store.remove_mount(&point.path);
        point.abandon();
        return Err(error);
    }
    Ok(record)
}

/// Unmounts what larder mounted at `dir` and forgets it; a directory made for the mount is removed. A mount that is gone
/// already, after a restart for example, is only forgotten. The writable layer stays.
///
/// # Errors
/// [`Error::NotMounted`] if larder knows of no mount there, [`Error::Unmount`] while it is in use.
pub fn unmount(store: &Store, dir: &Path) -> Result<()> {
    let path = real_path(dir)?;
    let record = store
        .mounts()
        .map_err(Error::store("look up a mount"))?
        .into_iter()
        .find(|record| record.dir == path)
        .ok_or_else(|| Error::NotMounted { dir: path.clone() })?;
    if kernel::is_mount_point(&path)? {
        kernel::unmount(&path, false)?;
    }
    store.remove_mount(&path).map_err(Error::store("forget a mount"))?;
    if record.extra.contains(&path) && !kernel::is_mount_point(&path)? {
        // Not empty, or gone: then it is not ours any more.
        let _ = fs::remove_dir(&path);
    }
    Ok(())
}

/// Every directory of this mount namespace where something is mounted.
pub fn mount_points() -> Result<HashSet<PathBuf>> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs::read(path).map_err(Error::file("read", path))?;
    Ok(text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(|field| OsString::from_vec(unescape(field)).into())
        .collect())
}

/// Whether `dir` is a directory where something is mounted.
pub fn is_mounted(dir: &Path) -> Result<bool> {
    kernel::is_mount_point(dir)
}

/// Refuses if the driver has the image mounted somewhere.
pub(crate) fn refuse_mounted(store: &Store, manifest: &Digest, driver: Driver) -> Result<()> {
    for record in store.mounts().map_err(Error::store("look up mounts"))? {
        let same = record.manifest == *manifest && record.driver == driver.as_str();
        if same && kernel::is_mount_point(&record.dir)? {
            return Err(Error::InUse { manifest: *manifest, dir: record.dir });
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Mountpoint {
    path: PathBuf,
    handle: OwnedFd,
    created: bool,
}

impl Mountpoint {
    fn open(dir: &Path) -> Result<Self> {
        let refuse = |problem| Error::Target { dir: dir.to_owned(), problem };
        let created = match fs::symlink_metadata(dir) {
            Ok(_) => false,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                fs::create_dir_all(dir).map_err(Error::file("create", dir))?;
                true
            }
            Err(error) => return Err(Error::file("examine", dir)(error)),
        };
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(CWD, dir, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => refuse("is not a directory"),
            error => Error::file("open", dir)(error.into()),
        })?;
        let path = real_path(dir)?;
        if kernel::is_mount_point(&path)? {
            return Err(refuse("is a mount point already"));
        }
        let entries = Dir::read_from(&opened).map_err(|error| Error::file("list", dir)(error.into()))?;
        for entry in entries {
            let entry = entry.map_err(|error| Error::file("list", dir)(error.into()))?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                return Err(refuse("is not empty"));
            }
        }
        // The path that is recorded must be the directory that was looked at.
        let here = rustix::fs::fstat(&opened).map_err(|error| Error::file("examine", dir)(error.into()))?;
        let there = rustix::fs::statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| Error::file("examine", &path)(error.into()))?;
        if (here.st_dev, here.st_ino) != (there.st_dev, there.st_ino) {
            return Err(refuse("changed while it was looked at"));
        }
        Ok(Self { path, handle: opened, created })
    }

    fn abandon(self) {
        if self.created {
            let _ = fs::remove_dir(&self.path);
        }
    }
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

/// Undoes the octal escapes of `mountinfo` (proc(5)).
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_escapes() {
        for (field, expected) in [
            ("/a\\040b", "/a b"),
            ("/a\\134b\\011", "/a\\b\t"),
            ("/plain", "/plain"),
            ("\\04", "\\04"),
            ("/x\\", "/x\\"),
        ] {
            assert_eq!(unescape(field.as_bytes()), expected.as_bytes());
        }
        assert!(mount_points().unwrap().contains(Path::new("/proc")));
    }

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
            let error = Mountpoint::open(&dir).unwrap_err();
            assert!(error.to_string().contains(problem), "{error}");
        }
        let new = Mountpoint::open(&scratch.path().join("a/b")).unwrap();
        assert!(new.created);
        new.abandon();
        assert!(!scratch.path().join("a/b").exists());
    }
}
