//! Directories that a layer needs but does not describe look as in the nearest layer below that has them.

use crate::error::{Error, Result};
use crate::layer::open_directory;
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Gid, Mode, OFlags, Stat, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::ffi::CStr;
use std::path::Path;

/// Gives the directories at `paths` of `layer` the attributes that those below have for them, the nearest first; root:root 0755 where
/// none has any. The root is always 0755, as whoever makes a layer's directory makes it.
///
/// # Errors
/// [`Error::Irregular`] if a layer below has a symbolic link on the way: then the layer means another place.
pub(crate) fn inherit(layer: &Path, paths: &[Box<[u8]>], lowers: &[&Path]) -> Result<()> {
    let open = |path: &Path| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, path, flags, Mode::empty())
            .map_err(|source| Error::file("open", path, source))
    };
    let root = open(layer)?;
    let lowers: Vec<OwnedFd> = lowers.iter().map(|path| open(path)).collect::<Result<_>>()?;
    for path in paths {
        let shown = || String::from_utf8_lossy(path).into_owned();
        let failed = |source: Errno| Error::file("set the attributes of", layer.join(shown()), source);
        let directory = open_directory(root.as_fd(), path).map_err(failed)?;
        let mut model = None;
        for lower in &lowers {
            match open_directory(lower.as_fd(), path) {
                Ok(found) => {
                    model = Some(found);
                    break;
                }
                Err(Errno::NOENT) => {}
                // Replaced there: what lies below is hidden.
                Err(Errno::NOTDIR) => break,
                Err(Errno::LOOP) => {
                    let reason = "its directory is behind a symbolic link of another layer";
                    return Err(Error::Irregular { path: shown(), reason });
                }
                Err(source) => return Err(failed(source)),
            }
        }
        if model.is_none() && has_set_group(root.as_fd(), path).map_err(failed)? {
            let reason = "its directory would get the group of the one above";
            return Err(Error::Irregular { path: shown(), reason });
        }
        let stat = model.as_ref().map(rustix::fs::fstat).transpose().map_err(failed)?;
        let (uid, gid) = stat.as_ref().map_or((0, 0), |stat| (stat.st_uid, stat.st_gid));
        rustix::fs::fchown(&directory, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(failed)?;
        let mode = match &stat {
            Some(stat) if !path.is_empty() => stat.st_mode & 0o7777,
            _ => 0o755,
        };
        rustix::fs::fchmod(&directory, Mode::from_raw_mode(mode)).map_err(failed)?;
        if let (Some(model), Some(stat)) = (&model, &stat)
            && !path.is_empty()
        {
            copy_attributes(model, &directory).map_err(failed)?;
            rustix::fs::futimens(&directory, &times(stat)).map_err(failed)?;
        }
    }
    Ok(())
}

/// Whether the directory above makes its group that of what is made in it.
fn has_set_group(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<bool> {
    let Some(slash) = path.iter().rposition(|byte| *byte == b'/') else { return Ok(false) };
    let above = rustix::fs::fstat(open_directory(root, &path[..slash])?)?;
    Ok(Mode::from_raw_mode(above.st_mode).contains(Mode::SGID))
}

/// All but those that steer overlayfs and the host.
fn copy_attributes(from: &OwnedFd, to: &OwnedFd) -> rustix::io::Result<()> {
    let mut names = vec![0; LIST_LIMIT];
    let length = match rustix::fs::flistxattr(from, &mut names) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => return Ok(()),
        Err(error) => return Err(error),
    };
    for name in names[..length].split_inclusive(|byte| *byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        if name.to_bytes().starts_with(b"trusted.") || name.to_bytes() == b"security.selinux" {
            continue;
        }
        let mut value = vec![0; LIST_LIMIT];
        let length = rustix::fs::fgetxattr(from, name, &mut value)?;
        rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

fn times(stat: &Stat) -> Timestamps {
    let time = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    Timestamps { last_access: time, last_modification: time }
}

/// `XATTR_LIST_MAX` and `XATTR_SIZE_MAX` of Linux.
const LIST_LIMIT: usize = 65536;
