//! Laying one layer over what is there (OCI image-spec, layer.md, "Applying Changesets").
//!
//! Sequential extraction, as umoci and containerd do it, inside of the tree. Where those depend on the order
//! of the archive, this does not: a whiteout hides what lower layers brought and nothing of its own layer,
//! whether it comes first or last.

use crate::entry::{Body, Entry, Meta};
use crate::error::{Error, Result, shown};
use crate::layer::Layer;
use crate::limits::Limits;
use crate::tree::{Kind, NodeId, Tree};
use std::borrow::Cow;
use std::io::{Read, Seek};

impl Tree {
    /// Lays `layer` over the tree; `source` is what the extents of its files get.
    ///
    /// - Missing parents become root:root 0755 at the epoch; existing ones keep their attributes. A symbolic
    ///   link among the parents is followed inside the root; any other file there is replaced if a lower
    ///   layer brought it, else refused.
    /// - The last of several entries of one path wins. A directory over a directory keeps the content and
    ///   takes the new attributes; in every other case what was there goes, to any depth.
    /// - A hard link keeps the attributes of its target, and is not followed if the target is a symbolic
    ///   link.
    /// - The empty path sets the attributes of the root; it must be a directory.
    /// - A directory that the layer hides and also writes below, without an entry of its own, starts anew as
    ///   root:root 0755.
    ///
    /// # Errors
    /// [`Error::Apply`], [`Error::HardLink`] and [`Error::Limit`]; the tree is then of no more use.
    pub fn apply(&mut self, layer: &Layer, source: u16) -> Result<()> {
        self.begin()?;
        layer.entries().try_for_each(|entry| self.put(&entry, source))
    }

    /// The same with a layer that is scanned on the way: its members are never all in memory.
    ///
    /// # Errors
    /// Also those of [`Layer::read`].
    pub fn apply_tar(&mut self, tar: &mut (impl Read + Seek), limits: &Limits, source: u16) -> Result<()> {
        self.begin()?;
        let rest = Layer::scan(tar, limits, |scanner| {
            scanner.take().entries().try_for_each(|entry| self.put(&entry, source))?;
            Ok(true)
        })?;
        rest.iter().flat_map(Layer::entries).try_for_each(|entry| self.put(&entry, source))
    }

    /// Starts a new layer.
    pub(crate) fn begin(&mut self) -> Result<()> {
        let limit = u64::from(u16::MAX);
        self.stamp = self.stamp.checked_add(1).ok_or(Error::Limit { what: "layers", limit })?;
        self.recent.found = None;
        self.work = 0;
        Ok(())
    }

    pub(crate) fn put(&mut self, entry: &Entry, source: u16) -> Result<()> {
        if let Body::Opaque = entry.body {
            let directory = self.make_directory(&entry.path, &entry.path)?.0;
            return self.hide_below(directory);
        }
        if entry.path.is_empty() {
            return self.put_root(entry);
        }
        let at = self.name_of(&entry.path)?;
        let kind = match &entry.body {
            Body::Whiteout => {
                return self.hide(at);
            }
            Body::Opaque => return Ok(()),
            Body::HardLink(target) => return self.link(at, &entry.path, target),
            Body::Directory => {
                if let Some(node) = self.names.get(at).node() {
                    if self.is_directory(node) {
                        self.touch(at);
                        self.names.get_mut(at).set_explicit(true);
                        return self.set_meta(node, &entry.meta);
                    }
                    if self.names.get(at).stamp == self.stamp {
                        // What was replaced first has already removed what lower layers have here.
                        self.irregular = Some("a directory in place of another entry of the same layer");
                    }
                }
                Kind::Directory
            }
            Body::File(content) => {
                let mut content = content.clone();
                content.extents.set_source(source);
                Kind::File(Cow::Owned(content))
            }
            Body::Symlink(target) => Kind::Symlink(target),
            Body::Device { block, major, minor } => {
                Kind::Device { block: *block, major: *major, minor: *minor }
            }
            Body::Fifo => Kind::Fifo,
        };
        self.touch(at);
        self.names.get_mut(at).set_explicit(true);
        self.detach(at);
        let node = self.create(&entry.meta, &kind)?;
        self.attach(at, node);
        Ok(())
    }

    /// The name at a path, made if need be, in a directory that is there afterwards.
    pub(crate) fn name_of(&mut self, path: &[u8]) -> Result<u32> {
        let (parent, name) = split(path);
        let (directory, length) = self.make_directory(parent, path)?;
        if length + 1 + name.len() > self.limits.path {
            return Err(Error::Limit { what: "bytes of a path", limit: self.limits.path as u64 });
        }
        if matches!(name, b"" | b"." | b"..") || name.contains(&0) {
            return Err(Error::Apply { path: shown(path), problem: "no file can have this name" });
        }
        self.names.find_or_insert(directory, name)
    }

    /// Marks a name as written by the running apply.
    pub(crate) fn touch(&mut self, at: u32) {
        let stamp = self.stamp;
        let name = self.names.get_mut(at);
        if name.stamp != stamp {
            name.stamp = stamp;
            name.set_explicit(false);
        }
    }

    fn put_root(&mut self, entry: &Entry) -> Result<()> {
        if !matches!(entry.body, Body::Directory) {
            return Err(Error::Apply { path: "/".into(), problem: "the root must be a directory" });
        }
        self.root_explicit = true;
        self.set_meta(self.root(), &entry.meta)
    }

    fn link(&mut self, at: u32, path: &[u8], target: &[u8]) -> Result<()> {
        let fail = |problem| Error::HardLink { path: shown(path), target: shown(target), problem };
        let (parent, name) = split(target);
        let there = self.directory(parent)?.and_then(|directory| self.names.find(directory, name));
        if there == Some(at) && self.names.get(at).node().is_some_and(|node| !self.is_directory(node)) {
            self.touch(at);
            return Ok(());
        }
        // What is replaced may be a directory that holds the target: then there is no target any more.
        self.touch(at);
        self.detach(at);
        let directory = self.directory(parent)?;
        let node = directory.and_then(|directory| self.child(directory, name));
        let node = node.ok_or_else(|| fail("there is no such file"))?;
        if self.is_directory(node) {
            return Err(fail("a directory cannot be linked to"));
        }
        self.attach(at, node);
        Ok(())
    }

    /// A whiteout: removes what a lower layer brought.
    fn hide(&mut self, at: u32) -> Result<()> {
        if self.names.get(at).stamp != self.stamp {
            self.detach(at);
        } else if let Some(node) = self.names.get(at).node().filter(|node| self.is_directory(*node)) {
            self.forget_meta(at, node)?;
            self.hide_below(node)?;
        }
        Ok(())
    }

    /// An opaque directory: removes all that lower layers brought below it.
    fn hide_below(&mut self, directory: NodeId) -> Result<()> {
        let mut directories = vec![directory];
        while let Some(directory) = directories.pop() {
            let names: Vec<u32> = self.listed(directory).collect();
            // The same directory can be hidden once per entry.
            self.spend(names.len() as u64)?;
            for at in names {
                let Some(node) = self.names.get(at).node() else { continue };
                if self.names.get(at).stamp != self.stamp {
                    self.detach(at);
                } else if self.is_directory(node) {
                    self.forget_meta(at, node)?;
                    directories.push(node);
                }
            }
        }
        Ok(())
    }

    /// A hidden directory that the layer has below it, but does not describe, is a new one.
    fn forget_meta(&mut self, at: u32, node: NodeId) -> Result<()> {
        if self.names.get(at).explicit() { Ok(()) } else { self.set_meta(node, &Meta::implicit()) }
    }
}

/// Splits a clean path into its directory and its last component.
pub(crate) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}
