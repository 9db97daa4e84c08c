//! Writes a [`Tree`] into a directory.
//!
//! Names of the tree are single components; every directory is made by us, entered by its handle without following anything,
//! and closed to others (0700) until it is complete. So whatever a layer says, and whoever renames things meanwhile, nothing
//! is written through a link.

use crate::leaf::Leaf;
use crate::target::{self, Target};
use crate::{Error, Result};
use larder_rootfs::{Content, Kind, Meta, Node, NodeId, Tree};
use rustix::fd::{AsFd as _, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Who owns what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// As the image says; needs root.
    Keep,
    /// Whoever runs larder.
    Ignore,
}

/// What may be left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// A tree for people: devices and attributes that we may not make are left out and reported.
    Plain,
    /// A layer for overlayfs: all or nothing.
    Layer,
}

/// What was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnpackReport {
    /// Files, directories, links and devices, by name.
    pub entries: u64,
    /// Bytes of file content; holes do not count.
    pub bytes: u64,
    /// What could not be made without privilege or on this file system, one line each; the first thousand.
    pub skipped: Vec<String>,
}

pub(crate) struct Extractor<'t> {
    pub(crate) tree: &'t Tree,
    /// Raw tars, by source.
    pub(crate) sources: &'t [File],
    pub(crate) owner: Owner,
    pub(crate) style: Style,
}

impl Extractor<'_> {
    /// Fills `target`. On failure what was written is still there; see [`Target::abandon`].
    pub(crate) fn run(&self, target: &Target) -> Result<UnpackReport> {
        let mut run = Run {
            extractor: self,
            target,
            report: UnpackReport::default(),
            stack: Vec::new(),
            links: HashMap::new(),
            buffer: Vec::new(),
        };
        run.all()?;
        Ok(run.report)
    }
}

struct Run<'r, 't> {
    extractor: &'r Extractor<'t>,
    target: &'r Target,
    report: UnpackReport,
    stack: Vec<Frame<'t>>,
    /// First name of files with several: directory and name.
    links: HashMap<NodeId, (Vec<CString>, CString)>,
    buffer: Vec<u8>,
}

/// A directory that is being filled.
struct Frame<'t> {
    /// Its name in the frame below; unused for the root.
    name: CString,
    node: NodeId,
    /// `None` once too many directories are open; opened again when it is needed.
    handle: Option<OwnedFd>,
    children: Box<dyn Iterator<Item = (&'t [u8], NodeId)> + 't>,
}

impl<'t> Run<'_, 't> {
    fn all(&mut self) -> Result<()> {
        let root = self.extractor.tree.root();
        let handle =
            target::enter(self.target.handle(), c".").map_err(|error| self.fail("open", error.into()))?;
        rustix::fs::fchmod(&handle, Mode::RWXU).map_err(|error| self.fail("close", error.into()))?;
        self.push(CString::default(), root, handle);
        while let Some(frame) = self.stack.last_mut() {
            match frame.children.next() {
                Some((name, node)) => self.entry(name, node)?,
                None => self.leave()?,
            }
        }
        Ok(())
    }

    fn push(&mut self, name: CString, node: NodeId, handle: OwnedFd) {
        let tree: &'t Tree = self.extractor.tree;
        let children = Box::new(tree.children(node));
        self.stack.push(Frame { name, node, handle: Some(handle), children });
        // The root stays open, and so do the last few.
        if let Some(far) = self.stack.len().checked_sub(OPEN).filter(|far| *far > 0) {
            self.stack[far].handle = None;
        }
    }

    fn entry(&mut self, name: &[u8], node: NodeId) -> Result<()> {
        let tree = self.extractor.tree;
        let c_name = CString::new(name).map_err(|error| self.fail_at("create", name, error.into()))?;
        self.reopen()?;
        let Node { meta, kind, links } = tree.node(node);
        let mut skipped = false;
        if let Kind::Directory = kind {
            let made = {
                let parent = self.here();
                rustix::fs::mkdirat(parent, &*c_name, Mode::RWXU)
                    .and_then(|()| target::enter(parent, &c_name))
            };
            let handle = made.map_err(|error| self.fail_at("create directory", name, error.into()))?;
            self.push(c_name, node, handle);
        } else if let Some((path, first)) = self.links.get(&node) {
            let linked = target::walk(self.root(), path).and_then(|directory| {
                rustix::fs::linkat(&directory, &**first, self.here(), &*c_name, AtFlags::empty())
            });
            linked.map_err(|error| self.fail_at("link", name, error.into()))?;
        } else {
            skipped = match &kind {
                Kind::File(content) => {
                    self.file(name, &c_name, &meta, content)?;
                    false
                }
                _ => !self.special(name, &c_name, &meta, &kind)?,
            };
            if links > 1 && !skipped {
                let path = self.stack[1..].iter().map(|frame| frame.name.clone()).collect();
                self.links.insert(node, (path, c_name));
            }
        }
        self.report.entries += u64::from(!skipped);
        Ok(())
    }

    fn file(&mut self, name: &[u8], c_name: &CString, meta: &Meta, content: &Content) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let created = rustix::fs::openat(self.here(), &**c_name, flags, Mode::RUSR | Mode::WUSR);
        let file = File::from(created.map_err(|error| self.fail_at("create", name, error.into()))?);
        let mut written = 0;
        for extent in content.extents.iter() {
            let source = usize::from(extent.source);
            self.copy(source, extent.offset, &file, extent.at, extent.len)
                .map_err(|error| self.fail_at("write", name, error))?;
            written = extent.at + extent.len;
            self.report.bytes += extent.len;
        }
        if written < content.size {
            file.set_len(content.size).map_err(|error| self.fail_at("extend", name, error))?;
        }
        self.finish(name, &Leaf::Open(file.as_fd()), meta)
    }

    /// Everything that is neither file nor directory. `false` if it was left out.
    fn special(&mut self, name: &[u8], c_name: &CString, meta: &Meta, kind: &Kind<'_>) -> Result<bool> {
        let parent = self.here();
        let kind_of = |file_type| (file_type, Mode::RUSR | Mode::WUSR);
        let made = match kind {
            Kind::Symlink(target) => rustix::fs::symlinkat(*target, parent, &**c_name),
            Kind::Fifo => {
                let (file_type, mode) = kind_of(rustix::fs::FileType::Fifo);
                rustix::fs::mknodat(parent, &**c_name, file_type, mode, 0)
            }
            Kind::Device { block, major, minor } => {
                let (file_type, mode) = kind_of(match block {
                    true => rustix::fs::FileType::BlockDevice,
                    false => rustix::fs::FileType::CharacterDevice,
                });
                rustix::fs::mknodat(parent, &**c_name, file_type, mode, rustix::fs::makedev(*major, *minor))
            }
            Kind::File(_) | Kind::Directory => Ok(()),
        };
        match made {
            Ok(()) => {}
            Err(Errno::PERM)
                if matches!(kind, Kind::Device { .. }) && self.extractor.style == Style::Plain =>
            {
                self.skip(name, "device", Errno::PERM);
                return Ok(false);
            }
            Err(error) => return Err(self.fail_at("create", name, error.into())),
        }
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::openat(self.here(), &**c_name, flags, Mode::empty());
        let handle = opened.map_err(|error| self.fail_at("open", name, error.into()))?;
        // What is there must be what was made: everything below acts on the handle, not on the name.
        let found =
            rustix::fs::fstat(&handle).map_err(|error| self.fail_at("examine", name, error.into()))?;
        let same = match kind {
            Kind::Symlink(_) => rustix::fs::FileType::Symlink,
            Kind::Fifo => rustix::fs::FileType::Fifo,
            Kind::Device { block: true, .. } => rustix::fs::FileType::BlockDevice,
            _ => rustix::fs::FileType::CharacterDevice,
        } == rustix::fs::FileType::from_raw_mode(found.st_mode);
        if !same || found.st_nlink != 1 {
            return Err(self.fail_at("recognise", name, io::ErrorKind::InvalidData.into()));
        }
        let symlink = matches!(kind, Kind::Symlink(_));
        self.finish(name, &Leaf::Path { handle: handle.as_fd(), symlink }, meta)?;
        Ok(true)
    }

    /// The attributes of the directory on top of the stack, now that nothing is added to it any more.
    fn leave(&mut self) -> Result<()> {
        self.reopen()?;
        let Some(frame) = self.stack.pop() else { return Ok(()) };
        let meta = self.extractor.tree.node(frame.node).meta;
        if let Some(handle) = &frame.handle {
            self.finish(frame.name.to_bytes(), &Leaf::Open(handle.as_fd()), &meta)?;
        }
        Ok(())
    }

    /// Owner, mode, attributes, times, in this order: giving a file away clears set-user-id and capabilities, and everything
    /// changes the times.
    fn finish(&mut self, name: &[u8], leaf: &Leaf<'_>, meta: &Meta) -> Result<()> {
        if self.extractor.owner == Owner::Keep {
            leaf.own(meta.uid, meta.gid).map_err(|error| self.fail_at("give away", name, error.into()))?;
        }
        leaf.permit(meta.mode).map_err(|error| self.fail_at("set the mode of", name, error.into()))?;
        for xattr in meta.xattrs.iter() {
            match leaf.set_xattr(&xattr.name, &xattr.value) {
                Ok(()) => {}
                Err(error @ (Errno::PERM | Errno::NOTSUP)) if self.extractor.style == Style::Plain => {
                    self.skip(name, &format!("attribute {}", String::from_utf8_lossy(&xattr.name)), error);
                }
                Err(error) => return Err(self.fail_at("set an extended attribute of", name, error.into())),
            }
        }
        let (secs, nanos) = (meta.mtime.secs, meta.mtime.nanos);
        leaf.date(secs, nanos).map_err(|error| self.fail_at("set the time of", name, error.into()))
    }

    /// Copies content inside the kernel where that is worth it.
    fn copy(
        &mut self,
        source: usize,
        mut offset: u64,
        file: &File,
        mut at: u64,
        mut left: u64,
    ) -> io::Result<()> {
        let from = self.extractor.sources.get(source).ok_or(io::ErrorKind::NotFound)?;
        while left > SMALL {
            let length = usize::try_from(left).unwrap_or(usize::MAX);
            match rustix::fs::copy_file_range(from, Some(&mut offset), file, Some(&mut at), length) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(copied) => left -= copied as u64,
                Err(Errno::INTR) => {}
                // Different file systems, or one that cannot: read and write do the same.
                Err(_) => break,
            }
        }
        self.buffer.resize(BUFFER, 0);
        while left > 0 {
            let length = left.min(BUFFER as u64) as usize;
            from.read_exact_at(&mut self.buffer[..length], offset)?;
            file.write_all_at(&self.buffer[..length], at)?;
            (offset, at, left) = (offset + length as u64, at + length as u64, left - length as u64);
        }
        Ok(())
    }

    fn root(&self) -> &OwnedFd {
        self.stack[0].handle.as_ref().expect("the root stays open")
    }

    fn here(&self) -> BorrowedFd<'_> {
        let frame = self.stack.last().expect("entries are made inside of a directory");
        frame.handle.as_ref().expect("opened again before use").as_fd()
    }

    /// Opens the directory on top of the stack again, if it was closed for want of handles.
    fn reopen(&mut self) -> Result<()> {
        let top = self.stack.len() - 1;
        if self.stack[top].handle.is_none() {
            let path: Vec<CString> = self.stack[1..].iter().map(|frame| frame.name.clone()).collect();
            let opened = target::walk(self.root(), &path);
            self.stack[top].handle = Some(opened.map_err(|error| self.fail("open again", error.into()))?);
        }
        Ok(())
    }

    fn skip(&mut self, name: &[u8], what: &str, reason: Errno) {
        if self.report.skipped.len() < SKIPPED {
            self.report.skipped.push(format!("{what} of {}: {}", self.shown(name), io::Error::from(reason)));
        }
    }

    fn fail(&self, action: &'static str, source: io::Error) -> Error {
        self.fail_at(action, b"", source)
    }

    fn fail_at(&self, action: &'static str, name: &[u8], source: io::Error) -> Error {
        Error::Extract { action, path: self.shown(name), dir: self.target.path().to_owned(), source }
    }

    fn shown(&self, name: &[u8]) -> String {
        let frames = self.stack.iter().skip(1).map(|frame| frame.name.to_string_lossy().into_owned());
        let name = Some(String::from_utf8_lossy(name).into_owned()).filter(|name| !name.is_empty());
        frames.chain(name).collect::<Vec<_>>().join("/")
    }
}

/// Directories kept open at once: well below the usual bound of 1024 files.
const OPEN: usize = 200;
/// Below this a copy inside of the kernel costs more than it saves.
const SMALL: u64 = 128 << 10;
const BUFFER: usize = 128 << 10;
const SKIPPED: usize = 1000;
