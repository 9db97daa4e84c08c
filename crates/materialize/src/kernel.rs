//! The mount calls: a file system is configured, made and attached in three steps (`fsopen`, `fsmount`, `move_mount`), so that
//! nothing is visible before it is whole.

use crate::{Error, Result};
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, UnmountFlags};
use std::ffi::CString;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Files that the kernel opens while a mount is being made; closed afterwards.
#[derive(Debug, Default)]
struct Handles(Vec<OwnedFd>);

impl Handles {
    /// A spelling of `path` that fits an option of a mount: the path itself, or by a handle where it is too long or has bytes
    /// that options give a meaning to.
    fn spell(&mut self, path: &Path) -> io::Result<PathBuf> {
        let bytes = path.as_os_str().as_bytes();
        let plain = bytes.len() < OPTION_LIMIT && !bytes.iter().any(|byte| b",:\\\"\n".contains(byte));
        if plain { Ok(path.to_owned()) } else { self.number(path) }
    }

    /// The shortest spelling.
    fn number(&mut self, path: &Path) -> io::Result<PathBuf> {
        let handle = rustix::fs::openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        let name = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));
        self.0.push(handle);
        Ok(name)
    }
}

/// A disk image with the files its device table lists, in that order; not attached anywhere yet.
pub(crate) fn erofs(image: &Path, devices: &[PathBuf], dir: &Path) -> Result<OwnedFd> {
    let mut handles = Handles::default();
    let context = open("erofs", dir)?;
    let mut configure = || -> io::Result<()> {
        rustix::mount::fsconfig_set_string(&context, "source", handles.spell(image)?)?;
        for device in devices {
            rustix::mount::fsconfig_set_string(&context, "device", handles.spell(device)?)?;
        }
        rustix::mount::fsconfig_set_flag(&context, "ro")?;
        rustix::mount::fsconfig_create(&context)?;
        Ok(())
    };
    configure().map_err(|source| failed("erofs", dir, &context, source))?;
    // Like containerd: no `nosuid`, no `nodev`; it is the container that decides what its processes may do.
    finish("erofs", &context, MountAttrFlags::MOUNT_ATTR_RDONLY, dir)
}

/// Directories merged by overlayfs.
#[derive(Debug)]
pub(crate) struct Overlay<'a> {
    /// The top one first; at least two where nothing is writable.
    pub(crate) lowers: &'a [PathBuf],
    /// Where changes go, and an empty directory beside it.
    pub(crate) upper: Option<(&'a Path, &'a Path)>,
    /// Marks are in `user.` attributes, because we are not root.
    pub(crate) user: bool,
}

impl Overlay<'_> {
    /// Mounts at the directory `target`, which is `dir`. Kernels below 6.7 take all layers in one page of text.
    pub(crate) fn mount(&self, target: BorrowedFd<'_>, dir: &Path) -> Result<()> {
        match self.create(dir) {
            Ok(mount) => attach("overlay", mount.as_fd(), target, dir),
            Err(Error::Mount { source, .. }) if is_unknown_option(&source) => self.mount_by_text(target, dir),
            Err(error) => Err(error),
        }
    }

    fn create(&self, dir: &Path) -> Result<OwnedFd> {
        let mut handles = Handles::default();
        let context = open("overlay", dir)?;
        for (number, lower) in self.lowers.iter().enumerate() {
            let mut add = || -> io::Result<()> {
                Ok(rustix::mount::fsconfig_set_string(&context, "lowerdir+", handles.spell(lower)?)?)
            };
            add().map_err(|source| match is_unknown_option(&source) && number > 0 {
                // The first one was taken, so the option is known: this is another error.
                true => failed("overlay", dir, &context, Errno::NOTSUP.into()),
                false => failed("overlay", dir, &context, source),
            })?;
        }
        let mut configure = || -> io::Result<()> {
            rustix::mount::fsconfig_set_string(&context, "source", source())?;
            if let Some((upper, work)) = self.upper {
                rustix::mount::fsconfig_set_string(&context, "upperdir", handles.spell(upper)?)?;
                rustix::mount::fsconfig_set_string(&context, "workdir", handles.spell(work)?)?;
            }
            for (name, value) in self.options() {
                match value {
                    Some(value) => rustix::mount::fsconfig_set_string(&context, *name, *value)?,
                    None => rustix::mount::fsconfig_set_flag(&context, *name)?,
                }
            }
            Ok(())
        };
        // An option refused here is no reason to try the old way.
        configure().map_err(|source| failed("overlay", dir, &context, not_unknown(source)))?;
        rustix::mount::fsconfig_create(&context)
            .map_err(|source| failed("overlay", dir, &context, not_unknown(source.into())))?;
        let attributes = match self.upper {
            Some(_) => MountAttrFlags::empty(),
            None => MountAttrFlags::MOUNT_ATTR_RDONLY,
        };
        finish("overlay", &context, attributes, dir)
    }

    fn mount_by_text(&self, target: BorrowedFd<'_>, dir: &Path) -> Result<()> {
        let error = |log: String, source: io::Error| Error::Mount {
            filesystem: "overlay",
            dir: dir.into(),
            log,
            source,
        };
        let mut handles = Handles::default();
        let mut spell = |path: &Path| match handles.number(path) {
            Ok(name) => Ok(name.into_os_string().into_string().unwrap_or_default()),
            Err(source) => Err(error(String::new(), source)),
        };
        let lowers = self.lowers.iter().map(|lower| spell(lower)).collect::<Result<Vec<_>>>()?;
        let mut text = format!("lowerdir={}", lowers.join(":"));
        if let Some((upper, work)) = self.upper {
            text.push_str(&format!(",upperdir={},workdir={}", spell(upper)?, spell(work)?));
        }
        for (name, value) in self.options() {
            text.push_str(&match value {
                Some(value) => format!(",{name}={value}"),
                None => format!(",{name}"),
            });
        }
        if text.len() >= TEXT_LIMIT {
            let log = format!("{} layers are too many for a kernel before 6.7", self.lowers.len());
            return Err(error(log, io::ErrorKind::Unsupported.into()));
        }
        let flags = if self.upper.is_some() { MountFlags::empty() } else { MountFlags::RDONLY };
        let data =
            CString::new(text).map_err(|_| error(String::new(), io::ErrorKind::InvalidInput.into()))?;
        let place = format!("/proc/self/fd/{}", target.as_raw_fd());
        rustix::mount::mount(source(), place, "overlay", flags, &*data)
            .map_err(|source| error(String::new(), source.into()))
    }

    /// What is not left to the defaults of the kernel: nothing that a layer could forge is followed.
    fn options(&self) -> &'static [(&'static str, Option<&'static str>)] {
        match self.user {
            true => &[("userxattr", None)],
            false => &[("metacopy", Some("off")), ("redirect_dir", Some("nofollow")), ("index", Some("off"))],
        }
    }
}

/// What an overlay is called in the list of mounts. No two are called the same: it is how a mount is recognised.
fn source() -> String {
    // The keys of the standard hasher are random.
    format!("larder-{:016x}", RandomState::new().build_hasher().finish())
}

/// Attaches a mount made by [`erofs`] at the directory `target`, which is `dir`.
pub(crate) fn attach(
    filesystem: &'static str,
    mount: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    dir: &Path,
) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", target, "", flags).map_err(|source| Error::Mount {
        filesystem,
        dir: dir.into(),
        log: String::new(),
        source: source.into(),
    })
}

/// Unmounts what is at `dir`. `false` if nothing is. `lazily` even if it is in use, once nobody uses it any more.
pub(crate) fn unmount(dir: &Path, lazily: bool) -> Result<bool> {
    let flags = UnmountFlags::NOFOLLOW | if lazily { UnmountFlags::DETACH } else { UnmountFlags::empty() };
    match rustix::mount::unmount(dir, flags) {
        Ok(()) => Ok(true),
        Err(Errno::INVAL | Errno::NOENT | Errno::NOTDIR) => Ok(false),
        Err(source) => Err(Error::Unmount { dir: dir.into(), source: source.into() }),
    }
}

/// Whether `dir` itself, not something above it, is where a file system is mounted.
pub(crate) fn is_mount_point(dir: &Path) -> Result<bool> {
    Ok(mount_id(dir)?.is_some())
}

/// The number of the mount at `dir` itself, the uppermost one; `None` if nothing is mounted there.
pub(crate) fn mount_id(dir: &Path) -> Result<Option<u64>> {
    let flags = rustix::fs::AtFlags::SYMLINK_NOFOLLOW | rustix::fs::AtFlags::NO_AUTOMOUNT;
    match rustix::fs::statx(CWD, dir, flags, StatxFlags::MNT_ID) {
        Ok(found) => {
            let root = found.stx_attributes.contains(rustix::fs::StatxAttributes::MOUNT_ROOT);
            Ok(root.then_some(found.stx_mnt_id))
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(None),
        Err(source) => Err(Error::File { action: "examine", path: dir.into(), source: source.into() }),
    }
}

fn open(filesystem: &'static str, dir: &Path) -> Result<OwnedFd> {
    rustix::mount::fsopen(filesystem, FsOpenFlags::FSOPEN_CLOEXEC).map_err(|source| {
        let log = match source {
            Errno::NODEV => "the file system is not built in and its module is not loaded",
            _ => "",
        };
        Error::Mount { filesystem, dir: dir.into(), log: log.into(), source: source.into() }
    })
}

fn finish(
    filesystem: &'static str,
    context: &OwnedFd,
    attributes: MountAttrFlags,
    dir: &Path,
) -> Result<OwnedFd> {
    rustix::mount::fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        .map_err(|source| failed(filesystem, dir, context, source.into()))
}

/// The error with what the kernel wrote to the log of the context.
fn failed(filesystem: &'static str, dir: &Path, context: &OwnedFd, source: io::Error) -> Error {
    let mut log = String::new();
    let mut line = [0; 1024];
    while let Ok(length @ 1..) = rustix::io::read(context, &mut line) {
        if !log.is_empty() {
            log.push_str("; ");
        }
        // Each message starts with a letter for its level and a space.
        log.push_str(String::from_utf8_lossy(&line[..length]).trim().get(2..).unwrap_or_default());
    }
    Error::Mount { filesystem, dir: dir.into(), log, source }
}

fn is_unknown_option(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::INVAL.raw_os_error())
}

fn not_unknown(error: io::Error) -> io::Error {
    if is_unknown_option(&error) { Errno::NOTSUP.into() } else { error }
}

/// `fsconfig` takes strings of less than 256 bytes.
const OPTION_LIMIT: usize = 256;
/// `mount` takes one page of options.
const TEXT_LIMIT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    struct Mounted(PathBuf);

    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = unmount(&self.0, true);
        }
    }

    #[test]
    fn both_ways_to_mount_an_overlay() {
        for by_text in [false, true] {
            let scratch = tempfile::tempdir().unwrap();
            // Bytes that options would take apart, and a path too long for one option.
            let base = scratch.path().join("a:b,c\\d").join("x".repeat(200)).join("y".repeat(100));
            let lowers: Vec<PathBuf> = (0..60).map(|number| base.join(format!("l{number}"))).collect();
            for (number, lower) in lowers.iter().enumerate() {
                fs::create_dir_all(lower).unwrap();
                fs::write(lower.join(format!("f{number}")), b"x").unwrap();
                fs::write(lower.join("who"), format!("{number}")).unwrap();
            }
            let dir = scratch.path().join("m");
            fs::create_dir(&dir).unwrap();
            let target = rustix::fs::open(&dir, OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
            let overlay = Overlay { lowers: &lowers, upper: None, user: false };
            let _mounted = Mounted(dir.clone());
            match by_text {
                true => overlay.mount_by_text(target.as_fd(), &dir).unwrap(),
                false => overlay.mount(target.as_fd(), &dir).unwrap(),
            }
            assert!(is_mount_point(&dir).unwrap());
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 61);
            assert_eq!(fs::read_to_string(dir.join("who")).unwrap(), "0");
            assert!(fs::write(dir.join("new"), b"").is_err());
            assert!(unmount(&dir, false).unwrap());
            assert!(!unmount(&dir, false).unwrap());
            assert!(!is_mount_point(&dir).unwrap());
        }
    }

    #[test]
    fn too_many_layers_for_an_old_kernel_is_said_plainly() {
        let scratch = tempfile::tempdir().unwrap();
        let lowers = vec![scratch.path().to_owned(); 400];
        let target =
            rustix::fs::open(scratch.path(), OFlags::PATH | OFlags::DIRECTORY, Mode::empty()).unwrap();
        let overlay = Overlay { lowers: &lowers, upper: None, user: false };
        let error = overlay.mount_by_text(target.as_fd(), scratch.path()).unwrap_err();
        assert!(error.to_string().contains("400 layers are too many for a kernel before 6.7"), "{error}");
    }

    #[test]
    fn the_kernel_gets_a_word() {
        let context = open("tmpfs", Path::new("/m")).unwrap();
        let refused = rustix::mount::fsconfig_set_string(&context, "size", "much").unwrap_err();
        let error = failed("tmpfs", Path::new("/m"), &context, refused.into());
        let text = error.to_string();
        assert!(text.starts_with("cannot mount tmpfs at /m (the kernel says: "), "{text}");
        assert!(text.contains("size"), "{text}");
    }
}
