//! Owner, mode, times and extended attributes of a directory, carried over to another one.

use crate::{Error, Result};
use rustix::fd::OwnedFd;
use rustix::fs::{CWD, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString};
use std::fs;
use std::path::Path;

/// What a directory says about itself.
#[derive(Debug)]
pub(crate) struct Attributes {
    stat: Stat,
    xattrs: Vec<(CString, Vec<u8>)>,
}

impl Attributes {
    /// Reads everything but the marks of overlayfs.
    pub(crate) fn of(dir: &Path) -> Result<Self> {
        let fail = |source: Errno| Error::file("read the attributes of", dir)(source.into());
        let handle = open(dir)?;
        let stat = rustix::fs::fstat(&handle).map_err(fail)?;
        let mut names = vec![0; LIST_LIMIT];
        let length = match rustix::fs::flistxattr(&handle, &mut names) {
            Ok(length) => length,
            Err(Errno::NOTSUP) => 0,
            Err(error) => return Err(fail(error)),
        };
        let mut xattrs = Vec::new();
        for name in names[..length].split_inclusive(|byte| *byte == 0) {
            let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
            let bytes = name.to_bytes();
            if bytes.starts_with(b"trusted.overlay.")
                || bytes.starts_with(b"user.overlay.")
                || bytes == SELINUX
            {
                continue;
            }
            let mut value = vec![0; LIST_LIMIT];
            let length = rustix::fs::fgetxattr(&handle, name, &mut value).map_err(fail)?;
            value.truncate(length);
            xattrs.push((name.to_owned(), value));
        }
        Ok(Self { stat, xattrs })
    }

    /// Gives them to another directory.
    pub(crate) fn put(&self, dir: &Path) -> Result<()> {
        let fail = |source: Errno| Error::file("set the attributes of", dir)(source.into());
        let handle = open(dir)?;
        let (uid, gid) = (Uid::from_raw(self.stat.st_uid), Gid::from_raw(self.stat.st_gid));
        rustix::fs::fchown(&handle, Some(uid), Some(gid)).map_err(fail)?;
        rustix::fs::fchmod(&handle, Mode::from_raw_mode(self.stat.st_mode & 0o7777)).map_err(fail)?;
        for (name, value) in &self.xattrs {
            match rustix::fs::fsetxattr(&handle, &**name, value, XattrFlags::empty()) {
                // `trusted.` needs privilege; without it such a mount shows none either.
                Ok(()) | Err(Errno::PERM | Errno::NOTSUP) => {}
                Err(error) => return Err(fail(error)),
            }
        }
        let mtime = Timespec { tv_sec: self.stat.st_mtime, tv_nsec: self.stat.st_mtime_nsec as _ };
        rustix::fs::futimens(&handle, &Timestamps { last_access: mtime, last_modification: mtime })
            .map_err(fail)
    }
}

/// Whether we are root of the machine, not only of a user namespace: only then are `trusted.` attributes ours.
pub(crate) fn privileged() -> bool {
    let all = |map: String| map.split_whitespace().eq(["0", "0", "4294967295"]);
    rustix::process::geteuid().is_root() && fs::read_to_string("/proc/self/uid_map").is_ok_and(all)
}

fn open(dir: &Path) -> Result<OwnedFd> {
    rustix::fs::openat(CWD, dir, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| Error::file("open", dir)(source.into()))
}

/// `XATTR_LIST_MAX` and `XATTR_SIZE_MAX` of Linux.
const LIST_LIMIT: usize = 65536;
const SELINUX: &[u8] = b"security.selinux";
