//! Writes one layer into a directory of its own while its bytes arrive, in the form that overlayfs stacks.
//!
//! Every entry has to be new, and every directory on the way to it has to be one that the layer itself made: then nothing is ever
//! written through a link, and the order of the entries means nothing. A layer that needs more than that is
//! [`Error::Irregular`]: whoever applies it to the layers below can write it, this cannot.

use crate::error::{Error, Result};
use larder_rootfs::{Body, Content, Entry, Limits, Meta, Scanner};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, makedev,
};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Where in a stack a layer lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Below all others: there is nothing to hide, and overlayfs would show the marks.
    Bottom,
    /// Above others.
    Above,
}

/// A directory that is being filled. Its path leads to where only root gets.
#[derive(Debug)]
pub(crate) struct LayerWriter {
    root: OwnedFd,
    path: PathBuf,
    place: Place,
    scanner: Scanner,
    /// Bytes of the tar that were taken in.
    offset: u64,
    /// The directories that were made, the root as the empty path, and what the layer says of them; those above come first.
    directories: BTreeMap<Box<[u8]>, Described>,
    /// Bytes of memory that they take, and may take.
    memory: u64,
    memory_limit: u64,
    /// Where the last entry went: the next one mostly goes there, too.
    recent: Option<(Box<[u8]>, OwnedFd)>,
    file: Option<Open>,
}

#[derive(Debug, Default)]
struct Described {
    meta: Option<Meta>,
    is_opaque: bool,
}

/// A file whose content arrives.
#[derive(Debug)]
struct Open {
    file: File,
    path: Box<[u8]>,
    meta: Meta,
    content: Content,
    /// The first extent that is not written to its end.
    next: usize,
}

impl LayerWriter {
    /// Fills the directory at `path`, which is empty.
    pub(crate) fn new(path: &Path, place: Place, limits: &Limits) -> Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|source| Error::file("open", path, source))?;
        let root_path: Box<[u8]> = Box::default();
        Ok(Self {
            root,
            path: path.to_owned(),
            place,
            scanner: Scanner::new(limits.clone()),
            offset: 0,
            directories: BTreeMap::from([(root_path, Described::default())]),
            memory: 0,
            memory_limit: limits.metadata_bytes,
            recent: None,
            file: None,
        })
    }

    /// Takes in the next bytes of the uncompressed tar.
    ///
    /// # Errors
    /// When they are no layer, or one that cannot be written by itself, or the file system refuses.
    pub(crate) fn feed(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            let jump = self.scanner.skippable();
            let count = if jump > 0 {
                let count = usize::try_from(jump).unwrap_or(usize::MAX).min(bytes.len());
                self.content(&bytes[..count])?;
                self.scanner.skip(count as u64);
                count
            } else {
                // To the end of a block: an entry is known before its content comes.
                let count = (BLOCK - (self.offset % BLOCK as u64) as usize).min(bytes.len());
                self.scanner.feed(&bytes[..count]).map_err(Error::Layer)?;
                count
            };
            self.offset += count as u64;
            bytes = &bytes[count..];
            if self.scanner.memory() > 0 {
                self.entries()?;
            }
        }
        Ok(())
    }

    /// Ends the layer: directories get their attributes. Gives the paths of those that the layer does not describe.
    pub(crate) fn finish(mut self) -> Result<Vec<Box<[u8]>>> {
        self.close()?;
        let limits = Limits::default();
        let scanner = std::mem::replace(&mut self.scanner, Scanner::new(limits));
        let rest = scanner.finish().map_err(Error::Layer)?;
        for entry in rest.entries() {
            self.entry(entry)?;
        }
        self.close()?;
        let mut inherited = Vec::new();
        for (path, described) in std::mem::take(&mut self.directories) {
            let handle = open_directory(self.root.as_fd(), &path);
            let handle = handle.map_err(|source| self.fail("open", &path, source))?;
            let failed = |source: Errno| self.fail("set the attributes of", &path, source);
            if described.is_opaque {
                rustix::fs::fsetxattr(&handle, OPAQUE, b"y", XattrFlags::empty()).map_err(failed)?;
            }
            match described.meta {
                Some(meta) => dress(handle.as_fd(), &meta).map_err(failed)?,
                None => inherited.push(path),
            }
        }
        Ok(inherited)
    }

    fn entries(&mut self) -> Result<()> {
        let layer = self.scanner.take();
        layer.entries().try_for_each(|entry| self.entry(entry))
    }

    fn entry(&mut self, entry: Entry) -> Result<()> {
        self.close()?;
        let Entry { path, meta, body } = entry;
        if let Body::Opaque = body {
            if self.place == Place::Bottom {
                // containerd removes there what came before the mark.
                return match self.exists(&path)? {
                    true => Err(self.irregular(&path, "a mark that hides what the lowest layer itself has")),
                    false => self.directory(&path),
                };
            }
            self.directory(&path)?;
            self.describe(&path, |described| described.is_opaque = true);
            return Ok(());
        }
        if path.is_empty() {
            // containerd leaves the root as its snapshotter makes it, whatever a layer says.
            return match body {
                Body::Directory => Ok(()),
                _ => Err(self.irregular(&path, "the root must be a directory")),
            };
        }
        let (parent, name) = split(&path);
        match &body {
            Body::Directory => {
                self.directory(&path)?;
                self.dressed_later(&path, meta)
            }
            Body::Whiteout if self.place == Place::Bottom && self.exists(&path)? => {
                Err(self.irregular(&path, "a mark that removes what the lowest layer itself has"))
            }
            // Nothing to hide, but its directory is there.
            Body::Whiteout if self.place == Place::Bottom => self.directory(parent),
            Body::Whiteout => self.special(&path, FileType::CharacterDevice, 0, &Meta::default()),
            Body::File(content) => {
                let flags =
                    OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
                let directory = self.enter(parent)?;
                let file = rustix::fs::openat(directory, name, flags, Mode::RUSR | Mode::WUSR);
                let file = File::from(file.map_err(|source| self.refused("create", &path, source))?);
                self.file = Some(Open { file, meta, content: content.clone(), next: 0, path });
                Ok(())
            }
            Body::Symlink(target) => {
                let directory = self.enter(parent)?;
                let made = rustix::fs::symlinkat(&**target, directory, name);
                made.map_err(|source| self.refused("create", &path, source))?;
                self.name(&path, &meta, false)
            }
            Body::HardLink(target) => self.link(&path, target, &meta),
            Body::Device { block: false, major: 0, minor: 0 } => {
                Err(self.irregular(&path, "a device that overlayfs takes for a whiteout"))
            }
            Body::Device { block, major, minor } => {
                let kind = if *block { FileType::BlockDevice } else { FileType::CharacterDevice };
                self.special(&path, kind, makedev(*major, *minor), &meta)
            }
            Body::Fifo => self.special(&path, FileType::Fifo, 0, &meta),
            Body::Opaque => Ok(()),
        }
    }

    /// Writes what of these bytes of the tar belongs to the open file.
    fn content(&mut self, bytes: &[u8]) -> Result<()> {
        let start = self.offset;
        let end = start + bytes.len() as u64;
        let Some(open) = &mut self.file else { return Ok(()) };
        while let Some(extent) = open.content.extents.get(open.next) {
            let (from, to) = (extent.offset.max(start), (extent.offset + extent.len).min(end));
            if from < to {
                let part = &bytes[(from - start) as usize..(to - start) as usize];
                let written = open.file.write_all_at(part, extent.at + (from - extent.offset));
                if let Err(source) = written {
                    let path = open.path.clone();
                    return Err(self.fail("write", &path, source));
                }
            }
            if extent.offset + extent.len > end {
                break;
            }
            open.next += 1;
        }
        Ok(())
    }

    /// Ends the open file: its size where it ends in a hole, then its attributes.
    fn close(&mut self) -> Result<()> {
        let Some(open) = self.file.take() else { return Ok(()) };
        let written = open.content.extents.last().map_or(0, |extent| extent.at + extent.len);
        if written < open.content.size {
            let extended = open.file.set_len(open.content.size);
            extended.map_err(|source| self.fail("extend", &open.path, source))?;
        }
        dress(open.file.as_fd(), &open.meta)
            .map_err(|source| self.fail("set the attributes of", &open.path, source))
    }

    fn special(&mut self, path: &[u8], kind: FileType, device: u64, meta: &Meta) -> Result<()> {
        let (parent, name) = split(path);
        let made = rustix::fs::mknodat(self.enter(parent)?, name, kind, Mode::empty(), device);
        made.map_err(|source| self.refused("create", path, source))?;
        self.name(path, meta, true)
    }

    /// Attributes of what must not be opened. It was just made, where nobody else gets.
    fn name(&mut self, path: &[u8], meta: &Meta, has_mode: bool) -> Result<()> {
        if !meta.xattrs.is_empty() {
            return Err(self.irregular(path, "extended attributes of something that is no file or directory"));
        }
        let (parent, name) = split(path);
        let (uid, gid) = owner(meta).map_err(|source| self.fail("give away", path, source))?;
        let directory = self.enter(parent)?;
        let done = rustix::fs::chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
            .and_then(|()| match has_mode {
                true => rustix::fs::chmodat(directory, name, mode(meta), AtFlags::empty()),
                false => Ok(()),
            })
            .and_then(|()| rustix::fs::utimensat(directory, name, &times(meta), AtFlags::SYMLINK_NOFOLLOW));
        done.map_err(|source| self.fail("set the attributes of", path, source))
    }

    /// What the entry says of itself counts for what it is linked to: containerd does it, too.
    fn link(&mut self, path: &[u8], target: &[u8], meta: &Meta) -> Result<()> {
        let (target_parent, target_name) = split(target);
        if !self.directories.contains_key(target_parent) {
            return Err(self.irregular(path, LOWER_LINK));
        }
        let from = open_directory(self.root.as_fd(), target_parent)
            .map_err(|source| self.fail("open", target_parent, source))?;
        let stat = match rustix::fs::statat(&from, target_name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Err(self.irregular(path, LOWER_LINK)),
            Err(source) => return Err(self.fail("look at", target, source)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::Directory => return Err(self.irregular(path, "a hard link to a directory")),
            FileType::CharacterDevice if stat.st_rdev == 0 => return Err(self.irregular(path, LOWER_LINK)),
            _ => {}
        }
        let (parent, name) = split(path);
        let linked = rustix::fs::linkat(&from, target_name, self.enter(parent)?, name, AtFlags::empty());
        linked.map_err(|source| self.refused("link", path, source))?;
        if kind != FileType::RegularFile {
            return self.name(path, meta, kind != FileType::Symlink);
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(self.enter(parent)?, name, flags, Mode::empty())
            .and_then(|file| dress(file.as_fd(), meta))
            .map_err(|source| self.fail("set the attributes of", path, source))
    }

    /// Makes a directory and those above it, unless they are there.
    fn directory(&mut self, path: &[u8]) -> Result<()> {
        if self.directories.contains_key(path) {
            return Ok(());
        }
        // Paths have 4096 bytes at most: not so deep.
        let mut end = 0;
        while end < path.len() {
            let start = end;
            end = path[start + 1..]
                .iter()
                .position(|byte| *byte == b'/')
                .map_or(path.len(), |at| start + 1 + at);
            let here = &path[..end];
            if self.directories.contains_key(here) {
                continue;
            }
            self.charge(here, 0)?;
            let (parent, name) = split(here);
            let directory = open_directory(self.root.as_fd(), parent)
                .map_err(|source| self.fail("open", parent, source))?;
            let made = rustix::fs::mkdirat(&directory, name, Mode::from_raw_mode(0o755));
            made.map_err(|source| self.refused("create", here, source))?;
            self.directories.insert(here.into(), Described::default());
        }
        Ok(())
    }

    /// Keeps what a layer says of a directory until its content is there.
    fn dressed_later(&mut self, path: &[u8], meta: Meta) -> Result<()> {
        if meta.xattrs.iter().any(|xattr| *xattr.name == *DEFAULT_ACL) {
            return Err(self.irregular(path, "a directory that gives its content attributes"));
        }
        let before = self.directories.get(path).and_then(|described| described.meta.as_ref());
        if before.is_some_and(|before| !before.xattrs.is_empty()) {
            return Err(self.irregular(path, "a directory that is described twice"));
        }
        let bytes = meta.xattrs.iter().map(|xattr| xattr.name.len() + xattr.value.len()).sum::<usize>();
        self.charge(path, bytes)?;
        self.describe(path, |described| described.meta = Some(meta));
        Ok(())
    }

    /// Whether the layer has made something at this path.
    fn exists(&self, path: &[u8]) -> Result<bool> {
        let (parent, name) = split(path);
        if path.is_empty() || self.directories.contains_key(path) {
            return Ok(true);
        }
        if !self.directories.contains_key(parent) {
            return Ok(false);
        }
        let directory =
            open_directory(self.root.as_fd(), parent).map_err(|source| self.fail("open", parent, source))?;
        match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(source) => Err(self.fail("look at", path, source)),
        }
    }

    /// Counts what is kept in memory until the end.
    fn charge(&mut self, path: &[u8], bytes: usize) -> Result<()> {
        self.memory = self.memory.saturating_add(DIRECTORY + (path.len() + bytes) as u64);
        match self.memory > self.memory_limit {
            true => Err(self.irregular(path, "too many directories to keep in memory")),
            false => Ok(()),
        }
    }

    fn describe(&mut self, path: &[u8], change: impl FnOnce(&mut Described)) {
        change(self.directories.entry(path.into()).or_default());
    }

    /// Opens a directory, which is made if it is missing.
    fn enter(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>> {
        if self.recent.as_ref().is_none_or(|(recent, _)| **recent != *path) {
            self.directory(path)?;
            let handle =
                open_directory(self.root.as_fd(), path).map_err(|source| self.fail("open", path, source))?;
            self.recent = Some((path.into(), handle));
        }
        Ok(self.recent.as_ref().expect("it was put there").1.as_fd())
    }

    /// Something is there already: an entry that comes twice, or a directory where something else is.
    fn refused(&self, operation: &'static str, path: &[u8], source: Errno) -> Error {
        match source {
            Errno::EXIST => self.irregular(path, "it comes twice"),
            source => self.fail(operation, path, source),
        }
    }

    fn irregular(&self, path: &[u8], reason: &'static str) -> Error {
        Error::Irregular { path: shown(path), reason }
    }

    fn fail(&self, operation: &'static str, path: &[u8], source: impl Into<io::Error>) -> Error {
        Error::file(operation, self.path.join(shown(path)), source)
    }
}

/// Opens a directory below `root` without following anything: `LOOP` where a symbolic link is on the way.
pub(crate) fn open_directory(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    // Not NOFOLLOW: with it a link at the end would be "no directory", and not the loop that links on the way are.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    let path = if path.is_empty() { b"." } else { path };
    loop {
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // Somebody renamed something meanwhile, and the kernel cannot be sure.
            Err(Errno::AGAIN) => {}
            other => return other,
        }
    }
}

/// Owner, attributes, mode, times, in this order: giving a file away clears set-user-id and capabilities, an access list changes
/// the mode, and everything changes the times.
pub(crate) fn dress(handle: BorrowedFd<'_>, meta: &Meta) -> rustix::io::Result<()> {
    let (uid, gid) = owner(meta)?;
    rustix::fs::fchown(handle, Some(uid), Some(gid))?;
    // Those that only root of the machine sees mean nothing in a container; containerd sets none either.
    for xattr in meta.xattrs.iter().filter(|xattr| !xattr.name.starts_with(b"trusted.")) {
        rustix::fs::fsetxattr(handle, &*xattr.name, &xattr.value, XattrFlags::empty())?;
    }
    rustix::fs::fchmod(handle, mode(meta))?;
    rustix::fs::futimens(handle, &times(meta))
}

/// All ones means "leave it as it is" to the kernel; nobody can own a file by that number.
fn owner(meta: &Meta) -> rustix::io::Result<(Uid, Gid)> {
    if meta.uid == u32::MAX || meta.gid == u32::MAX {
        return Err(Errno::INVAL);
    }
    Ok((Uid::from_raw(meta.uid), Gid::from_raw(meta.gid)))
}

fn mode(meta: &Meta) -> Mode {
    Mode::from_raw_mode(u32::from(meta.mode))
}

/// What Go cannot count in nanoseconds is the beginning of time, as containerd has it.
fn times(meta: &Meta) -> Timestamps {
    let (secs, nanos) = match meta.mtime.secs {
        0..LAST_SECOND => (meta.mtime.secs, meta.mtime.nanos),
        _ => (0, 0),
    };
    let time = Timespec { tv_sec: secs, tv_nsec: nanos.into() };
    Timestamps { last_access: time, last_modification: time }
}

/// The directory of a path, and its last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(&path[..path.len().min(512)]).into_owned()
}

const BLOCK: usize = 512;
/// What a directory takes in memory beside its path.
const DIRECTORY: u64 = 128;
/// By which overlayfs knows that nothing of lower layers shows through (Documentation/filesystems/overlayfs.rst).
const OPAQUE: &str = "trusted.overlay.opaque";
/// Whose content gets attributes as it is made (acl(5)).
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";
/// The last whole second of a signed 64-bit number of nanoseconds.
const LAST_SECOND: i64 = i64::MAX / 1_000_000_000;
const LOWER_LINK: &str = "a hard link to a file that the layer does not have";
