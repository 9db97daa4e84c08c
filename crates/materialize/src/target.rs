//! The directory that a tree is written into: opened once, emptied again if writing fails.

use crate::{Error, Result};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, ResolveFlags};
use rustix::io::{self, Errno};
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// An empty directory.
#[derive(Debug)]
pub(crate) struct Target {
    path: PathBuf,
    handle: OwnedFd,
    created: bool,
}

impl Target {
    /// Opens `path`, which must be an empty directory or not exist; directories above it must exist. A symbolic link is
    /// refused: where it points is not what was asked for.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let created = match rustix::fs::mkdirat(CWD, path, Mode::RWXU) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(Error::file("create", path)(error.into())),
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(CWD, path, flags, Mode::empty()).map_err(|error| match error {
            Errno::LOOP | Errno::NOTDIR => Error::Target { dir: path.into(), problem: "is not a directory" },
            error => Error::file("open", path)(error.into()),
        })?;
        let target = Self { path: path.to_owned(), handle, created };
        let empty =
            names(target.handle()).map_err(|error| Error::file("list", path)(error.into()))?.is_empty();
        if empty { Ok(target) } else { Err(Error::Target { dir: path.into(), problem: "is not empty" }) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn handle(&self) -> BorrowedFd<'_> {
        self.handle.as_fd()
    }

    /// Removes everything in it, and the directory itself if it was made here. Best effort: it is called on the way out
    /// with an error.
    pub(crate) fn abandon(self) {
        let _ = clear(&self.handle);
        if self.created {
            let _ = rustix::fs::unlinkat(CWD, &self.path, AtFlags::REMOVEDIR);
        }
    }
}

/// Removes what is in a directory, to any depth, never following a link. Every directory is listed once, so it ends even
/// if somebody keeps adding to it.
fn clear(root: &OwnedFd) -> io::Result<()> {
    let mut path: Vec<CString> = Vec::new();
    // By level: directories that were not empty when they were seen.
    let mut pending = vec![sweep(&walk(root, &path)?)?];
    while let Some(level) = pending.last_mut() {
        if let Some(name) = level.pop() {
            path.push(name);
            pending.push(sweep(&walk(root, &path)?)?);
        } else {
            pending.pop();
            if let Some(name) = path.pop() {
                rustix::fs::unlinkat(walk(root, &path)?, &*name, AtFlags::REMOVEDIR)?;
            }
        }
    }
    Ok(())
}

/// Removes files and empty directories; gives the other directories.
fn sweep(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut full = Vec::new();
    for name in names(directory.as_fd())? {
        match rustix::fs::unlinkat(directory, &*name, AtFlags::empty()) {
            Ok(()) => {}
            // POSIX says PERM, Linux says ISDIR.
            Err(Errno::ISDIR | Errno::PERM) => {
                match rustix::fs::unlinkat(directory, &*name, AtFlags::REMOVEDIR) {
                    Ok(()) => {}
                    Err(Errno::NOTEMPTY | Errno::EXIST) => full.push(name),
                    Err(error) => return Err(error),
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(full)
}

/// Opens a directory below `root`, one component at a time.
pub(crate) fn walk(root: &OwnedFd, path: &[CString]) -> io::Result<OwnedFd> {
    let mut here = enter(root.as_fd(), c".")?;
    for name in path {
        here = enter(here.as_fd(), name)?;
    }
    Ok(here)
}

/// Opens a subdirectory, which must be a real one on the same file system.
pub(crate) fn enter(parent: BorrowedFd<'_>, name: &std::ffi::CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    loop {
        match rustix::fs::openat2(parent, name, flags, Mode::empty(), resolve) {
            // Somebody renamed something meanwhile, and the kernel cannot be sure.
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

fn names(directory: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn only_an_empty_directory_will_do() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        fs::create_dir(at("empty")).unwrap();
        fs::create_dir_all(at("full/x")).unwrap();
        fs::write(at("file"), b"").unwrap();
        std::os::unix::fs::symlink(at("empty"), at("link")).unwrap();
        Target::open(&at("empty")).unwrap();
        Target::open(&at("new")).unwrap();
        for (name, problem) in
            [("full", "is not empty"), ("file", "is not a directory"), ("link", "is not a directory")]
        {
            assert!(Target::open(&at(name)).unwrap_err().to_string().contains(problem), "{name}");
        }
        assert!(Target::open(&at("no/such/parent")).is_err());
    }

    #[test]
    fn abandoning_removes_what_is_inside_and_nothing_else() {
        let scratch = tempfile::tempdir().unwrap();
        let outside = scratch.path().join("outside");
        fs::create_dir_all(outside.join("deep")).unwrap();
        fs::write(outside.join("deep/canary"), b"alive").unwrap();
        let target = Target::open(&scratch.path().join("t")).unwrap();
        let mut deep = target.path().to_owned();
        for number in 0..300 {
            deep.push(format!("d{number}"));
            fs::create_dir(&deep).unwrap();
            fs::write(deep.join("f"), b"").unwrap();
        }
        std::os::unix::fs::symlink(&outside, target.path().join("link")).unwrap();
        std::os::unix::fs::symlink(&outside, deep.join("link")).unwrap();
        target.abandon();
        assert!(!scratch.path().join("t").exists());
        assert_eq!(fs::read(outside.join("deep/canary")).unwrap(), b"alive");
    }
}
