//! A file system in memory: what a sequence of layers adds up to.

use crate::entry::{Content, Meta};
use crate::error::{Error, METADATA_OF_IMAGE, Result};
use crate::limits::Limits;
use crate::names::{NONE, Names};
use crate::nodes::Nodes;
use std::borrow::Cow;

/// A file system without its file content. Every name is reachable from the root, every directory has one
/// name, hard links share a node.
///
/// About 75 bytes per node plus the name, and at most `limits.metadata_bytes` in all. Changing it never recurses, so depth cannot exhaust the stack.
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: Nodes,
    pub(crate) names: Names,
    pub(crate) limits: Limits,
    /// Number of the running apply, from 1.
    pub(crate) stamp: u16,
    pub(crate) recent: Recent,
    /// Names looked at during this apply.
    pub(crate) work: u64,
    /// Why the entry just put cannot stand in an overlay by itself.
    pub(crate) irregular: Option<&'static str>,
    pub(crate) root_explicit: bool,
}

/// Names one node of one [`Tree`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    pub(crate) fn new(index: u32) -> Self {
        Self(index)
    }

    /// A small number, unique in its tree and below [`Tree::bound`]; good for indexing a table.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One node, put together from what the tree keeps of it.
#[derive(Debug, Clone)]
pub struct Node<'a> {
    /// Owner, mode, time, attributes.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind<'a>,
    /// Names of the node; for a directory 2 and one per subdirectory, as `stat` has it.
    pub links: u32,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind<'a> {
    /// A directory; see [`Tree::children`].
    Directory,
    /// A regular file.
    File(Cow<'a, Content>),
    /// A symbolic link and its target, 1 to 4095 bytes.
    Symlink(&'a [u8]),
    /// A device node.
    Device {
        /// Block device; otherwise a character device.
        block: bool,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
}

/// The directory that the last entry went to; valid until something is removed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recent {
    pub(crate) path: Vec<u8>,
    pub(crate) found: Option<(NodeId, usize)>,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// An empty root directory, root:root 0755, under the default [`Limits`].
    pub fn new() -> Self {
        Self::with_limits(&Limits::default())
    }

    /// An empty root directory that grows to `limits.entries` nodes, `limits.path` bytes of path and
    /// `limits.metadata_bytes` of memory.
    pub fn with_limits(limits: &Limits) -> Self {
        Self {
            nodes: Nodes::with_root(),
            names: Names::default(),
            limits: limits.clone(),
            stamp: 0,
            recent: Recent::default(),
            work: 0,
            irregular: None,
            root_explicit: false,
        }
    }

    /// The root directory.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }

    /// Number of nodes, the root included.
    #[expect(clippy::len_without_is_empty, reason = "there is always a root")]
    pub fn len(&self) -> usize {
        self.nodes.live()
    }

    /// Above every [`NodeId::index`] in use.
    pub fn bound(&self) -> usize {
        self.nodes.bound()
    }

    /// Looks at a node. The id must be one that this tree gave out since it was last changed.
    pub fn node(&self, id: NodeId) -> Node<'_> {
        self.nodes.get(id)
    }

    /// The names in a directory, ascending by bytes; none for any other node. Sorts at every call.
    pub fn children(&self, directory: NodeId) -> impl ExactSizeIterator<Item = (&[u8], NodeId)> {
        // Four bytes for each: a directory may have a million names.
        let mut children: Vec<u32> =
            self.listed(directory).filter(|at| self.names.get(*at).node().is_some()).collect();
        children.sort_unstable_by(|a, b| self.names.text(*a).cmp(self.names.text(*b)));
        children.into_iter().map(|at| {
            let node = self.names.get(at).node().expect("those without a node were left out");
            (self.names.text(at), node)
        })
    }

    /// The node at a path, no symbolic link followed anywhere. Empty components and `.` count for nothing.
    pub fn lookup(&self, path: &[u8]) -> Option<NodeId> {
        path.split(|byte| *byte == b'/')
            .filter(|name| !name.is_empty() && *name != b".")
            .try_fold(self.root(), |directory, name| self.child(directory, name))
    }

    /// Calls `visit` with every name, depth first, siblings in order; the root first, with the empty path.
    pub fn visit(&self, mut visit: impl FnMut(&[u8], NodeId)) {
        let mut path = Vec::new();
        visit(&path, self.root());
        let mut stack = vec![(0, self.children(self.root()))];
        while let Some((length, children)) = stack.last_mut() {
            path.truncate(*length);
            let Some((name, node)) = children.next() else {
                stack.pop();
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
            visit(&path, node);
            if self.is_directory(node) {
                stack.push((path.len(), self.children(node)));
            }
        }
    }

    pub(crate) fn child(&self, directory: NodeId, name: &[u8]) -> Option<NodeId> {
        self.names.get(self.names.find(directory, name)?).node()
    }

    pub(crate) fn is_directory(&self, node: NodeId) -> bool {
        self.nodes.is_directory(node)
    }

    pub(crate) fn set_meta(&mut self, node: NodeId, meta: &Meta) -> Result<()> {
        self.nodes.set_meta(node, meta)?;
        self.check_memory()
    }

    /// The names that a directory ever had, as positions in [`Names`].
    pub(crate) fn listed(&self, directory: NodeId) -> impl Iterator<Item = u32> {
        let first = self.nodes.first(directory);
        let some = |at: u32| (at != NONE).then_some(at);
        std::iter::successors(some(first), move |at| some(self.names.get(*at).next))
    }

    /// Makes a node that nothing names yet.
    pub(crate) fn create(&mut self, meta: &Meta, kind: &Kind<'_>) -> Result<NodeId> {
        let limit = u64::from(self.limits.entries);
        if self.len() as u64 >= limit {
            return Err(Error::Limit { what: "files of an image", limit });
        }
        let node = self.nodes.create(meta, kind)?;
        self.check_memory()?;
        Ok(node)
    }

    /// Bytes of memory that the tree takes.
    pub fn memory(&self) -> u64 {
        self.nodes.memory() + self.names.memory()
    }

    /// Names and attributes that were removed count too: their memory is not given back.
    fn check_memory(&self) -> Result<()> {
        let limit = self.limits.metadata_bytes;
        if self.memory() > limit {
            return Err(Error::Limit { what: METADATA_OF_IMAGE, limit });
        }
        Ok(())
    }

    /// Lets a name that stands for nothing stand for `node`.
    pub(crate) fn attach(&mut self, at: u32, node: NodeId) {
        let parent = self.names.get(at).parent();
        *self.nodes.links_mut(if self.is_directory(node) { parent } else { node }) += 1;
        let first = self.nodes.first_mut(parent);
        let name = self.names.get_mut(at);
        debug_assert!(name.node().is_none());
        name.set_node(Some(node));
        if !name.listed() {
            name.next = std::mem::replace(first, at);
            name.set_listed(true);
        }
    }

    /// Lets a name stand for nothing; what only it named goes with it, to any depth.
    pub(crate) fn detach(&mut self, at: u32) {
        let Some(node) = self.names.get(at).node() else { return };
        self.names.get_mut(at).set_node(None);
        self.recent.found = None;
        if self.is_directory(node) {
            let parent = self.names.get(at).parent();
            *self.nodes.links_mut(parent) -= 1;
        }
        let mut doomed = vec![node];
        while let Some(node) = doomed.pop() {
            if self.is_directory(node) {
                let mut next = self.nodes.first(node);
                while next != NONE {
                    let name = self.names.get_mut(next);
                    doomed.extend(name.node());
                    // The node may come back as another directory: nothing of this one may be left in its
                    // names.
                    name.set_node(None);
                    name.set_listed(false);
                    name.stamp = 0;
                    next = name.next;
                }
                self.nodes.release(node);
            } else {
                let links = self.nodes.links_mut(node);
                *links -= 1;
                if *links == 0 {
                    self.nodes.release(node);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_tree_has_a_root() {
        let tree = Tree::new();
        let root = tree.node(tree.root());
        assert_eq!((tree.len(), tree.bound(), root.links, root.meta.mode), (1, 1, 2, 0o755));
        assert_eq!(tree.children(tree.root()).len(), 0);
        assert_eq!(tree.lookup(b"./"), Some(tree.root()));
        assert_eq!(tree.lookup(b"a"), None);
    }
}
