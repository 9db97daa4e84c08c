//! Where every inode of an image lies: computed once, walked again to write.

use super::EncodeError;
use super::erofs::{ErofsDevice, ErofsOptions};
use super::erofs_chunks::{ChunkPlan, Chunker};
use super::erofs_directory::{self, DirectorySize, Entry};
use super::erofs_format::{
    CHUNK_INDEX, COMPACT, DataLayout, EXTENDED, FileType, INODE_SLOT, Superblock, device_number,
};
use super::erofs_xattr::XattrArea;
use crate::entry::Content;
use crate::tree::{Kind, Node, NodeId, Tree};
use std::collections::HashMap;

/// The order of the inodes and the numbers they get.
///
/// Memory: 12 bytes per inode and some 40 per directory. Everything else is computed again from the tree when it is needed.
#[derive(Debug)]
pub(super) struct Layout<'t> {
    tree: &'t Tree,
    options: &'t ErofsOptions,
    /// Every inode once, with the directory it was found in; the children of a directory are neighbours.
    order: Vec<(NodeId, NodeId)>,
    /// By node: position in units of [`INODE_SLOT`].
    nids: Vec<u32>,
    /// By directory: what its entries take.
    sizes: HashMap<NodeId, DirectorySize>,
    /// The time that most inodes have; those need only the short form.
    pub(super) epoch: (i64, u32),
    /// First block of the data area.
    pub(super) data_block: u64,
    /// End of the image.
    pub(super) end_block: u64,
    pub(super) chunked: bool,
    pub(super) copied_bytes: u64,
    pub(super) dropped_xattrs: u64,
}

/// One inode in its place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) node: NodeId,
    pub(super) parent: NodeId,
    /// Byte position of the inode and of the first byte behind all that belongs to it.
    pub(super) at: u64,
    pub(super) end: u64,
    /// Length of the inode with its attributes.
    pub(super) head: u64,
    pub(super) extended: bool,
    pub(super) layout: DataLayout,
    pub(super) kind: FileType,
    pub(super) links: u32,
    pub(super) size: u64,
    /// Bytes behind the inode (and its attributes) that are content.
    pub(super) tail: u32,
    /// Blocks in the data area.
    pub(super) blocks: u64,
    pub(super) chunks: Option<ChunkPlan>,
}

impl<'t> Layout<'t> {
    pub(super) fn new(
        tree: &'t Tree,
        devices: &[ErofsDevice],
        options: &'t ErofsOptions,
    ) -> Result<Self, EncodeError> {
        let table = if options.inline_data { 0 } else { devices.len() };
        let Walk { order, nids, sizes } = Walk::new(tree, 1 << options.block_bits)?;
        let mut layout = Self {
            epoch: commonest_time(tree, &order),
            tree,
            options,
            order,
            nids,
            sizes,
            data_block: 0,
            end_block: 0,
            chunked: false,
            copied_bytes: 0,
            dropped_xattrs: 0,
        };
        let mut nids = std::mem::take(&mut layout.nids);
        let (mut copied, mut dropped, mut chunked, mut data_blocks) = (0u64, 0u64, false, 0u64);
        let end = layout.each(table, |layout, placed, xattrs| {
            let slot = placed.at / INODE_SLOT;
            nids[placed.node.index()] = u32::try_from(slot)
                .map_err(|_| EncodeError::TooLarge { what: "metadata bytes", limit: INODE_SLOT << 32 })?;
            layout.check_content(placed, devices)?;
            data_blocks += placed.blocks;
            dropped += u64::from(xattrs.dropped);
            chunked |= placed.chunks.is_some();
            if let (Some(plan), false) = (placed.chunks, options.inline_data) {
                copied += plan.copied_blocks << options.block_bits;
                if copied > options.copy_limit_bytes {
                    let limit = options.copy_limit_bytes;
                    return Err(EncodeError::TooLarge { what: "bytes of unaligned file content", limit });
                }
            }
            Ok(())
        })?;
        layout.nids = nids;
        layout.data_block = end.div_ceil(1 << options.block_bits);
        layout.end_block = layout.data_block + data_blocks;
        if layout.end_block >= u64::from(u32::MAX) {
            let limit = u64::from(u32::MAX) << options.block_bits;
            return Err(EncodeError::TooLarge { what: "bytes of the image", limit });
        }
        (layout.chunked, layout.copied_bytes, layout.dropped_xattrs) = (chunked, copied, dropped);
        Ok(layout)
    }

    pub(super) fn inodes(&self) -> u64 {
        self.order.len() as u64
    }

    pub(super) fn nid(&self, node: NodeId) -> u64 {
        u64::from(self.nids[node.index()])
    }

    /// Calls `visit` with every inode in order; gives the end of the metadata. The attributes are those of the inode.
    pub(super) fn each(
        &self,
        devices: usize,
        mut visit: impl FnMut(&Self, &Placed, &XattrArea) -> Result<(), EncodeError>,
    ) -> Result<u64, EncodeError> {
        let mut xattrs = XattrArea::default();
        let mut at = Superblock::header_size(self.options.block_bits, devices);
        for (node, parent) in &self.order {
            let placed = self.place(*node, *parent, at, &mut xattrs)?;
            visit(self, &placed, &xattrs)?;
            at = placed.end.next_multiple_of(INODE_SLOT);
        }
        Ok(at)
    }

    fn place(
        &self,
        id: NodeId,
        parent: NodeId,
        at: u64,
        xattrs: &mut XattrArea,
    ) -> Result<Placed, EncodeError> {
        let node = self.tree.node(id);
        let entries = node.meta.xattrs.iter().map(|xattr| (&*xattr.name, &*xattr.value));
        xattrs.fill(entries).map_err(|_| EncodeError::Xattrs { path: self.path(id, parent) })?;
        let block = 1u64 << self.options.block_bits;
        let kind = file_type(&node);
        let mut placed = Placed {
            node: id,
            parent,
            at,
            end: at,
            head: 0,
            extended: false,
            layout: DataLayout::Plain,
            kind,
            links: node.links,
            size: 0,
            tail: 0,
            blocks: 0,
            chunks: None,
        };
        let mut tail = 0;
        match &node.kind {
            Kind::Directory => {
                let size = self.sizes.get(&id).copied().unwrap_or_default();
                placed.size = size.full_blocks * block + u64::from(size.tail);
                (placed.blocks, tail) = (size.full_blocks, size.tail);
            }
            Kind::Symlink(target) => {
                if target.is_empty() || target.len() > SYMLINK_LIMIT {
                    return Err(EncodeError::Symlink { path: self.path(id, parent), length: target.len() });
                }
                placed.size = target.len() as u64;
                (placed.blocks, tail) = (placed.size / block, (placed.size % block) as u32);
            }
            Kind::File(content) => {
                placed.size = content.size;
                let plain_cost = content.size;
                let plan = (content.size > 0 && !(self.options.inline_data && is_dense(content)))
                    .then(|| self.chunker(content).plan())
                    .filter(|plan| {
                        let cost = plan.count * CHUNK_INDEX + (plan.copied_blocks << self.options.block_bits);
                        !self.options.inline_data || cost < plain_cost
                    });
                match plan {
                    Some(plan) => {
                        placed.layout = DataLayout::Chunks;
                        placed.chunks = Some(plan);
                        placed.blocks = plan.copied_blocks;
                    }
                    None => (placed.blocks, tail) = (placed.size / block, (placed.size % block) as u32),
                }
            }
            Kind::Device { major, minor, .. } => {
                if device_number(*major, *minor).is_none() {
                    let path = self.path(id, parent);
                    return Err(EncodeError::Device { path, major: *major, minor: *minor });
                }
            }
            Kind::Fifo => {}
        }
        placed.extended = node.meta.uid > u32::from(u16::MAX)
            || node.meta.gid > u32::from(u16::MAX)
            || placed.links > u32::from(u16::MAX)
            || placed.size > u64::from(u32::MAX)
            || (node.meta.mtime.secs, node.meta.mtime.nanos) != self.epoch;
        let head = u64::from(if placed.extended { EXTENDED } else { COMPACT }) + xattrs.bytes().len() as u64;
        placed.head = head;
        if tail > 0 {
            // The tail must not cross a block; some sizes of attributes leave no position for a long tail.
            match (0..block / INODE_SLOT)
                .map(|slots| at + slots * INODE_SLOT)
                .find(|at| (at + head) % block + u64::from(tail) <= block)
            {
                Some(at) => (placed.at, placed.layout, placed.tail) = (at, DataLayout::Inline, tail),
                None => placed.blocks += 1,
            }
        }
        placed.end = placed.at + head + u64::from(placed.tail);
        if let Some(plan) = placed.chunks {
            placed.end = placed.end.next_multiple_of(CHUNK_INDEX) + plan.count * CHUNK_INDEX;
        }
        Ok(placed)
    }

    /// The entries of a directory in the order they are stored.
    pub(super) fn entries(&self, id: NodeId, parent: NodeId) -> impl Iterator<Item = Entry<'t>> {
        let children = self.tree.children(id).map(|(name, child)| Entry {
            name,
            nid: self.nid(child),
            kind: file_type(&self.tree.node(child)),
        });
        erofs_directory::with_dots(self.nid(id), self.nid(parent), children)
    }

    pub(super) fn chunker<'c>(&self, content: &'c Content) -> Chunker<'c> {
        Chunker::new(content, self.options.block_bits, !self.options.inline_data)
    }

    fn check_content(&self, placed: &Placed, devices: &[ErofsDevice]) -> Result<(), EncodeError> {
        let node = self.tree.node(placed.node);
        let Kind::File(content) = &node.kind else { return Ok(()) };
        let mut at = 0;
        for extent in content.extents.iter() {
            let inside = devices.get(usize::from(extent.source)).is_some_and(|device| {
                extent.offset.checked_add(extent.len).is_some_and(|end| end <= device.size_bytes)
            });
            let end = extent.at.checked_add(extent.len);
            match end {
                Some(end) if inside && extent.at >= at && end <= content.size => at = end,
                _ => return Err(EncodeError::Content { path: self.path(placed.node, placed.parent) }),
            }
        }
        Ok(())
    }

    fn path(&self, id: NodeId, parent: NodeId) -> String {
        path(self.tree, &self.order, id, parent)
    }
}

/// The path of a node, for an error: walks up over the recorded parents.
fn path(tree: &Tree, order: &[(NodeId, NodeId)], id: NodeId, parent: NodeId) -> String {
    let mut names = Vec::new();
    let (mut node, mut directory) = (id, parent);
    while node != tree.root() {
        let name = tree.children(directory).find(|(_, child)| *child == node);
        names
            .push(name.map_or_else(Default::default, |(name, _)| String::from_utf8_lossy(name).into_owned()));
        node = directory;
        let above = order.iter().find(|(candidate, _)| *candidate == node);
        directory = above.map_or_else(|| tree.root(), |(_, parent)| *parent);
    }
    names.reverse();
    names.join("/")
}

pub(super) fn file_type(node: &Node<'_>) -> FileType {
    match node.kind {
        Kind::Directory => FileType::Directory,
        Kind::File(_) => FileType::Regular,
        Kind::Symlink(_) => FileType::Symlink,
        Kind::Device { block: true, .. } => FileType::BlockDevice,
        Kind::Device { block: false, .. } => FileType::CharDevice,
        Kind::Fifo => FileType::Fifo,
    }
}

fn is_dense(content: &Content) -> bool {
    content.extents.iter().map(|extent| extent.len).sum::<u64>() == content.size
}

/// Every inode once, the children of one directory together, depth first.
struct Walk {
    order: Vec<(NodeId, NodeId)>,
    nids: Vec<u32>,
    sizes: HashMap<NodeId, DirectorySize>,
}

impl Walk {
    fn new(tree: &Tree, block: u32) -> Result<Self, EncodeError> {
        let mut order = Vec::with_capacity(tree.len());
        let mut sizes = HashMap::new();
        // Anything but 0 says that the node has its place; the numbers come later.
        let mut nids = vec![0; tree.bound()];
        nids[tree.root().index()] = 1;
        order.push((tree.root(), tree.root()));
        let mut directories = vec![(tree.root(), tree.root())];
        while let Some((directory, parent)) = directories.pop() {
            let first = directories.len();
            for (name, child) in tree.children(directory) {
                if name.is_empty() || name.len() > NAME_LIMIT {
                    let path = format!(
                        "{}/{}",
                        path(tree, &order, directory, parent),
                        String::from_utf8_lossy(name)
                    );
                    return Err(EncodeError::Name { path, length: name.len() });
                }
                if std::mem::replace(&mut nids[child.index()], 1) == 0 {
                    order.push((child, directory));
                    if matches!(tree.node(child).kind, Kind::Directory) {
                        directories.push((child, directory));
                    }
                }
            }
            let unnumbered =
                tree.children(directory).map(|(name, _)| Entry { name, nid: 0, kind: FileType::Regular });
            let lengths = erofs_directory::with_dots(0, 0, unnumbered).map(|entry| entry.name.len());
            sizes.insert(directory, erofs_directory::size(lengths, block));
            directories[first..].reverse();
        }
        Ok(Self { order, nids, sizes })
    }
}

/// The time that more than half of the inodes have, if there is one (Boyer and Moore's majority vote); else some time.
fn commonest_time(tree: &Tree, order: &[(NodeId, NodeId)]) -> (i64, u32) {
    let (mut candidate, mut votes) = ((0, 0), 0u64);
    for (node, _) in order {
        let mtime = tree.node(*node).meta.mtime;
        let time = (mtime.secs, mtime.nanos);
        if time == candidate {
            votes += 1;
        } else if votes == 0 {
            (candidate, votes) = (time, 1);
        } else {
            votes -= 1;
        }
    }
    // Some readers take the epoch as unsigned.
    if candidate.0 < 0 { (0, 0) } else { candidate }
}

const NAME_LIMIT: usize = 255;
const SYMLINK_LIMIT: usize = 4095;
