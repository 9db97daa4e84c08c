//! One layer by itself, in the form overlayfs stacks (Linux, Documentation/filesystems/overlayfs.rst).

use crate::apply::split;
use crate::entry::{Body, Meta};
use crate::error::{Error, Result};
use crate::layer::Layer;
use crate::limits::Limits;
use crate::tree::{Kind, NodeId, Tree};

/// Where overlayfs keeps its marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Namespace {
    /// `trusted.overlay.*`, for mounts with privilege.
    Trusted,
    /// `user.overlay.*`, for mounts with the option `userxattr`.
    User,
}

impl Namespace {
    /// The word before the first dot.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trusted => "trusted",
            Self::User => "user",
        }
    }
}

/// What a stack of overlays has to know about a layer beyond its tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shape {
    /// Directories that the layer needs but does not describe, in order, the root as the empty path. They
    /// have the attributes of the nearest lower layer that has the directory; if what that layer has there is
    /// a symbolic link, the layer must be applied to its lower layers instead of being stacked.
    pub synthesised: Vec<Box<[u8]>>,
    /// Whiteouts and opaque directories made. The lowest layer should not be used with any: overlayfs shows
    /// them there.
    pub whiteouts: u32,
    /// The first reason why the layer by itself does not mean what it means on top of its lower layers.
    pub irregular: Option<Irregularity>,
}

/// Why a layer needs its lower layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Irregularity {
    /// The entry concerned.
    pub path: Box<[u8]>,
    /// What is special about it.
    pub reason: &'static str,
}

impl Tree {
    /// The tree of one layer alone: whiteouts as character devices 0:0, opaque directories with the attribute
    /// `{namespace}.overlay.opaque` = `y`. A directory that is hidden and made anew becomes opaque.
    ///
    /// # Errors
    /// As [`Tree::apply`]; but a hard link to what only a lower layer can have makes the layer irregular, and
    /// is left out.
    pub fn overlay(
        layer: &Layer,
        source: u16,
        namespace: Namespace,
        limits: &Limits,
    ) -> Result<(Self, Shape)> {
        let mut tree = Self::with_limits(limits);
        let mut shape = Shape::default();
        let opaque = format!("{}.overlay.opaque", namespace.as_str()).into_bytes();
        tree.begin()?;
        for entry in layer.entries() {
            let reason = match &entry.body {
                // Marks are made at the end, when it is clear what the layer itself has there.
                Body::Whiteout | Body::Opaque => continue,
                Body::Device { block: false, major: 0, minor: 0 } => {
                    Some("a device that overlayfs takes for a whiteout")
                }
                _ => None,
            };
            let reason = match tree.put(&entry, source) {
                Ok(()) => reason,
                Err(Error::HardLink { .. }) => Some("a hard link to a file that the layer does not have"),
                Err(error) => return Err(error),
            };
            let reason = tree.irregular.take().or(reason);
            note(&mut shape, &entry.path, reason);
        }
        for entry in layer.entries() {
            let whole = match entry.body {
                Body::Opaque => true,
                Body::Whiteout => false,
                _ => continue,
            };
            let directory = if whole { &*entry.path } else { split(&entry.path).0 };
            if tree.is_below_file(directory) {
                continue;
            }
            shape.whiteouts += 1;
            if whole {
                let node = tree.make_directory(&entry.path, &entry.path)?.0;
                tree.mark(node, &opaque)?;
            } else {
                let at = tree.name_of(&entry.path)?;
                match tree.names.get(at).node() {
                    None => {
                        let whiteout = Kind::Device { block: false, major: 0, minor: 0 };
                        let node = tree.create(&Meta::default(), &whiteout)?;
                        tree.touch(at);
                        tree.attach(at, node);
                    }
                    Some(node) if tree.is_directory(node) => {
                        // Nothing below comes from a lower layer, so nothing is inherited either.
                        tree.names.get_mut(at).set_explicit(true);
                        tree.mark(node, &opaque)?;
                    }
                    Some(_) => {}
                }
            }
            let reason = tree.irregular.take();
            note(&mut shape, &entry.path, reason);
        }
        shape.synthesised = tree.synthesised(&opaque)?;
        Ok((tree, shape))
    }

    fn mark(&mut self, directory: NodeId, name: &[u8]) -> Result<()> {
        let mut meta = self.node(directory).meta;
        meta.xattrs.set(name, b"y");
        self.set_meta(directory, &meta)
    }

    /// The layer itself has a file where a whiteout needs a directory: everything below is hidden anyway.
    fn is_below_file(&self, directory: &[u8]) -> bool {
        let mut node = self.root();
        for name in directory.split(|byte| *byte == b'/').filter(|name| !name.is_empty()) {
            match self.child(node, name) {
                Some(child) if self.is_directory(child) => node = child,
                Some(child) => return !matches!(self.node(child).kind, Kind::Symlink(_)),
                None => return false,
            }
        }
        false
    }

    /// The directories without an entry of their own, but not those that nothing can be inherited by.
    fn synthesised(&self, opaque: &[u8]) -> Result<Vec<Box<[u8]>>> {
        let mut implicit = vec![false; self.bound()];
        implicit[self.root().index()] = !self.root_explicit;
        let mut directories = vec![self.root()];
        while let Some(directory) = directories.pop() {
            if self.node(directory).meta.xattrs.get(opaque).is_some() {
                continue;
            }
            for at in self.listed(directory) {
                if let Some(node) = self.names.get(at).node().filter(|node| self.is_directory(*node)) {
                    implicit[node.index()] = !self.names.get(at).explicit();
                    directories.push(node);
                }
            }
        }
        // Paths inside of paths: their sum grows with the square of the depth.
        let limit = self.limits.metadata_bytes;
        let (mut paths, mut bytes) = (Vec::new(), 0);
        self.visit(|path, node| {
            if implicit[node.index()] {
                bytes += path.len() as u64;
                if bytes <= limit {
                    paths.push(path.into());
                }
            }
        });
        if bytes > limit {
            return Err(Error::Limit { what: "bytes of paths that a layer does not describe", limit });
        }
        Ok(paths)
    }
}

fn note(shape: &mut Shape, path: &[u8], reason: Option<&'static str>) {
    if let (None, Some(reason)) = (&shape.irregular, reason) {
        shape.irregular = Some(Irregularity { path: path.into(), reason });
    }
}
