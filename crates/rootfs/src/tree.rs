//! A file system in memory: what a sequence of layers adds up to.

use crate::entry::{Content, Meta};
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::names::{NONE, Names};

/// A file system without its file content. Every name is reachable from the root, every directory has one
/// name, hard links share a node.
///
/// About 115 bytes per node plus the name. Changing it never recurses, so depth cannot exhaust the stack.
#[derive(Debug, Clone)]
pub struct Tree {
    nodes: Vec<Slot>,
    pub(crate) names: Names,
    live: usize,
    /// Head of the list of unused nodes, linked by `first`.
    free: u32,
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

/// A view of one node.
#[derive(Debug, Clone, Copy)]
pub struct Node<'a> {
    /// Owner, mode, time, attributes.
    pub meta: &'a Meta,
    /// What it is.
    pub kind: &'a Kind,
    /// Names of the node; for a directory 2 and one per subdirectory, as `stat` has it.
    pub links: u32,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory; see [`Tree::children`].
    Directory,
    /// A regular file.
    File(Content),
    /// A symbolic link and its target, 1 to 4095 bytes.
    Symlink(Box<[u8]>),
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

#[derive(Debug, Clone)]
struct Slot {
    meta: Meta,
    kind: Kind,
    links: u32,
    /// First name of a directory.
    first: u32,
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

    /// An empty root directory that grows to `limits.entries` nodes and `limits.path` bytes of path.
    pub fn with_limits(limits: &Limits) -> Self {
        let root = Slot { meta: Meta::implicit(), kind: Kind::Directory, links: 2, first: NONE };
        Self {
            nodes: vec![root],
            names: Names::default(),
            live: 1,
            free: NONE,
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
        self.live
    }

    /// Above every [`NodeId::index`] in use.
    pub fn bound(&self) -> usize {
        self.nodes.len()
    }

    /// Looks at a node. The id must be one that this tree gave out since it was last changed.
    pub fn node(&self, id: NodeId) -> Node<'_> {
        let slot = &self.nodes[id.index()];
        Node { meta: &slot.meta, kind: &slot.kind, links: slot.links }
    }

    /// The names in a directory, ascending by bytes; none for any other node. Sorts at every call.
    pub fn children(&self, directory: NodeId) -> impl ExactSizeIterator<Item = (&[u8], NodeId)> {
        let mut children: Vec<(&[u8], NodeId)> = self
            .listed(directory)
            .filter_map(|at| Some((self.names.text(at), self.names.get(at).node()?)))
            .collect();
        children.sort_unstable_by_key(|(name, _)| *name);
        children.into_iter()
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
        matches!(self.nodes[node.index()].kind, Kind::Directory)
    }

    pub(crate) fn meta_mut(&mut self, node: NodeId) -> &mut Meta {
        &mut self.nodes[node.index()].meta
    }

    /// The names that a directory ever had, as positions in [`Names`].
    pub(crate) fn listed(&self, directory: NodeId) -> impl Iterator<Item = u32> {
        let slot = &self.nodes[directory.index()];
        let first = if matches!(slot.kind, Kind::Directory) { slot.first } else { NONE };
        let some = |at: u32| (at != NONE).then_some(at);
        std::iter::successors(some(first), move |at| some(self.names.get(*at).next))
    }

    /// Makes a node that nothing names yet.
    pub(crate) fn create(&mut self, meta: Meta, kind: Kind) -> Result<NodeId> {
        let limit = u64::from(self.limits.entries);
        if self.live as u64 >= limit {
            return Err(Error::Limit { what: "files of an image", limit });
        }
        let links = if matches!(kind, Kind::Directory) { 2 } else { 0 };
        let slot = Slot { meta, kind, links, first: NONE };
        let node = if self.free == NONE {
            // Cannot wrap: `live` is below a 32-bit limit, and nodes that are not live are used again.
            self.nodes.push(slot);
            NodeId(self.nodes.len() as u32 - 1)
        } else {
            let node = NodeId(self.free);
            self.free = self.nodes[node.index()].first;
            self.nodes[node.index()] = slot;
            node
        };
        self.live += 1;
        Ok(node)
    }

    /// Lets a name that stands for nothing stand for `node`.
    pub(crate) fn attach(&mut self, at: u32, node: NodeId) {
        let parent = self.names.get(at).parent();
        if self.is_directory(node) {
            self.nodes[parent.index()].links += 1;
        } else {
            self.nodes[node.index()].links += 1;
        }
        let first = &mut self.nodes[parent.index()].first;
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
            self.nodes[parent.index()].links -= 1;
        }
        let mut doomed = vec![node];
        while let Some(node) = doomed.pop() {
            if self.is_directory(node) {
                let mut next = self.nodes[node.index()].first;
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
                self.release(node);
            } else {
                self.nodes[node.index()].links -= 1;
                if self.nodes[node.index()].links == 0 {
                    self.release(node);
                }
            }
        }
    }

    fn release(&mut self, node: NodeId) {
        let slot = &mut self.nodes[node.index()];
        *slot = Slot { meta: Meta::default(), kind: Kind::Fifo, links: 0, first: self.free };
        self.free = node.0;
        self.live -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_small() {
        assert_eq!(size_of::<Slot>(), 88);
    }

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
