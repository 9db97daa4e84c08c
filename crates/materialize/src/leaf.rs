//! Sets the attributes of something by a handle, never by a path that could lead elsewhere meanwhile.

use rustix::fd::BorrowedFd;
use rustix::fs::{AtFlags, CWD, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::{self, Errno};
use std::os::fd::AsRawFd as _;

/// What a tree entry became on disk.
pub(crate) enum Leaf<'a> {
    /// A file or directory that is open.
    Open(BorrowedFd<'a>),
    /// Something that must not be opened, by a handle that only names it (`O_PATH`).
    Path { handle: BorrowedFd<'a>, symlink: bool },
}

impl Leaf<'_> {
    pub(crate) fn own(&self, uid: u32, gid: u32) -> io::Result<()> {
        // All ones means "leave it as it is" to the kernel; nobody can own a file by that number.
        if uid == u32::MAX || gid == u32::MAX {
            return Err(Errno::INVAL);
        }
        let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
        match self {
            Self::Open(handle) => rustix::fs::fchown(handle, uid, gid),
            Self::Path { handle, .. } => rustix::fs::chownat(handle, "", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    pub(crate) fn permit(&self, mode: u16) -> io::Result<()> {
        let mode = Mode::from_raw_mode(u32::from(mode));
        match self {
            Self::Open(handle) => rustix::fs::fchmod(handle, mode),
            // The mode of a symbolic link means nothing and cannot be set.
            Self::Path { symlink: true, .. } => Ok(()),
            Self::Path { handle, .. } => rustix::fs::chmodat(CWD, magic(handle), mode, AtFlags::empty()),
        }
    }

    pub(crate) fn set_xattr(&self, name: &[u8], value: &[u8]) -> io::Result<()> {
        match self {
            Self::Open(handle) => rustix::fs::fsetxattr(handle, name, value, XattrFlags::empty()),
            Self::Path { handle, .. } => {
                rustix::fs::setxattr(magic(handle), name, value, XattrFlags::empty())
            }
        }
    }

    pub(crate) fn date(&self, secs: i64, nanos: u32) -> io::Result<()> {
        let time = Timespec { tv_sec: secs, tv_nsec: nanos.into() };
        let times = Timestamps { last_access: time, last_modification: time };
        match self {
            Self::Open(handle) => rustix::fs::futimens(handle, &times),
            Self::Path { handle, .. } => rustix::fs::utimensat(handle, "", &times, AtFlags::EMPTY_PATH),
        }
    }
}

/// A path that the kernel resolves to the file behind the handle, without looking at any name.
fn magic(handle: &BorrowedFd<'_>) -> String {
    format!("/proc/self/fd/{}", handle.as_raw_fd())
}
