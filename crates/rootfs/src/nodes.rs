//! The nodes of a tree in as few bytes as they need.

use crate::entry::{Content, Extent, Meta, Time, Xattrs};
use crate::error::{Error, METADATA_OF_IMAGE, Result};
use crate::header::BLOCK;
use crate::names::NONE;
use crate::packed::{Input, put_xattrs};
use crate::tree::{Kind, Node, NodeId};
use std::borrow::Cow;

/// Nodes by number. What nearly every node has is in its slot; targets of symbolic links, attributes and files in several
/// pieces lie beside.
#[derive(Debug, Clone, Default)]
pub(crate) struct Nodes {
    slots: Vec<Slot>,
    live: usize,
    /// Head of the list of unused slots, linked by `place`.
    free: u32,
    targets: Vec<u8>,
    /// As in a packed layer. The first byte is nothing, so that 0 can stand for none.
    xattrs: Vec<u8>,
    /// The attributes that were put last, which the next file often has too.
    latest: (u32, Xattrs),
    contents: Vec<Content>,
    /// Of the extents in `contents`.
    extent_bytes: u64,
}

/// FORMAT: only in memory. `place` and `size` are, by `sort`:
///
/// | | `place` | `size` |
/// |---|---|---|
/// | directory | first of its names | |
/// | plain file | offset in the raw tar, in blocks | 40 bits with `size_high` |
/// | other file | position in `contents` | |
/// | symbolic link | position in `targets` | length |
/// | device | major | minor |
#[derive(Debug, Clone, Copy)]
struct Slot {
    mtime: Time,
    uid: u32,
    gid: u32,
    /// Position in [`Nodes::xattrs`], 0 for none.
    xattrs: u32,
    links: u32,
    place: u32,
    size: u32,
    mode: u16,
    source: u16,
    sort: Sort,
    size_high: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sort {
    Directory,
    Plain,
    File,
    Symlink,
    Character,
    Block,
    Fifo,
}

impl Nodes {
    /// A single directory, root:root 0755, which is node 0.
    pub(crate) fn with_root() -> Self {
        let root = Slot { mode: 0o755, place: NONE, links: 2, ..EMPTY };
        Self { slots: vec![root], live: 1, free: NONE, xattrs: vec![0], ..Self::default() }
    }

    pub(crate) fn live(&self) -> usize {
        self.live
    }

    pub(crate) fn bound(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn memory(&self) -> u64 {
        let beside = self.targets.len() + self.xattrs.len() + self.contents.len() * size_of::<Content>();
        (self.slots.len() * size_of::<Slot>() + beside) as u64 + self.extent_bytes
    }

    pub(crate) fn get(&self, id: NodeId) -> Node<'_> {
        let slot = &self.slots[id.index()];
        let (place, size) = (slot.place, slot.size);
        let kind = match slot.sort {
            Sort::Directory => Kind::Directory,
            Sort::Plain => {
                let size = u64::from(size) | u64::from(slot.size_high) << 32;
                Kind::File(Cow::Owned(Content::whole(size, slot.source, u64::from(place) * BLOCK as u64)))
            }
            Sort::File => Kind::File(Cow::Borrowed(&self.contents[place as usize])),
            Sort::Symlink => Kind::Symlink(&self.targets[place as usize..][..size as usize]),
            sort @ (Sort::Character | Sort::Block) => {
                Kind::Device { block: sort == Sort::Block, major: place, minor: size }
            }
            Sort::Fifo => Kind::Fifo,
        };
        let xattrs = match slot.xattrs {
            0 => Xattrs::default(),
            at => Input(&self.xattrs[at as usize..]).xattrs(),
        };
        let meta = Meta { mode: slot.mode, uid: slot.uid, gid: slot.gid, mtime: slot.mtime, xattrs };
        Node { meta, kind, links: slot.links }
    }

    pub(crate) fn is_directory(&self, id: NodeId) -> bool {
        self.slots[id.index()].sort == Sort::Directory
    }

    /// The first name of a directory; none for any other node.
    pub(crate) fn first(&self, id: NodeId) -> u32 {
        if self.is_directory(id) { self.slots[id.index()].place } else { NONE }
    }

    /// Of a directory only.
    pub(crate) fn first_mut(&mut self, id: NodeId) -> &mut u32 {
        debug_assert!(self.is_directory(id));
        &mut self.slots[id.index()].place
    }

    pub(crate) fn links_mut(&mut self, id: NodeId) -> &mut u32 {
        &mut self.slots[id.index()].links
    }

    pub(crate) fn set_meta(&mut self, id: NodeId, meta: &Meta) -> Result<()> {
        let xattrs = self.keep_xattrs(&meta.xattrs)?;
        let slot = &mut self.slots[id.index()];
        (slot.mode, slot.uid, slot.gid, slot.mtime) = (meta.mode, meta.uid, meta.gid, meta.mtime);
        slot.xattrs = xattrs;
        Ok(())
    }

    pub(crate) fn create(&mut self, meta: &Meta, kind: &Kind<'_>) -> Result<NodeId> {
        let slot = self.slot(kind)?;
        let node = if self.free == NONE {
            let node = NodeId::new(position(self.slots.len())?);
            self.slots.push(slot);
            node
        } else {
            let node = NodeId::new(self.free);
            self.free = self.slots[node.index()].place;
            self.slots[node.index()] = slot;
            node
        };
        self.live += 1;
        self.set_meta(node, meta)?;
        Ok(node)
    }

    pub(crate) fn release(&mut self, id: NodeId) {
        let slot = &mut self.slots[id.index()];
        if slot.sort == Sort::File {
            let content = std::mem::take(&mut self.contents[slot.place as usize]);
            self.extent_bytes -= extent_bytes(&content);
        }
        *slot = Slot { sort: Sort::Fifo, place: self.free, ..EMPTY };
        self.free = id.index() as u32;
        self.live -= 1;
    }

    fn slot(&mut self, kind: &Kind<'_>) -> Result<Slot> {
        Ok(match kind {
            Kind::Directory => Slot { sort: Sort::Directory, place: NONE, links: 2, ..EMPTY },
            Kind::File(content) => match plain(content) {
                Some((source, place)) => {
                    let (size, size_high) = (content.size as u32, (content.size >> 32) as u8);
                    Slot { sort: Sort::Plain, source, place, size, size_high, ..EMPTY }
                }
                None => {
                    let place = position(self.contents.len())?;
                    self.extent_bytes += extent_bytes(content);
                    self.contents.push(content.clone().into_owned());
                    Slot { sort: Sort::File, place, ..EMPTY }
                }
            },
            Kind::Symlink(target) => {
                let (place, size) = (position(self.targets.len())?, position(target.len())?);
                self.targets.extend_from_slice(target);
                Slot { sort: Sort::Symlink, place, size, ..EMPTY }
            }
            Kind::Device { block, major, minor } => {
                let sort = if *block { Sort::Block } else { Sort::Character };
                Slot { sort, place: *major, size: *minor, ..EMPTY }
            }
            Kind::Fifo => Slot { sort: Sort::Fifo, ..EMPTY },
        })
    }

    fn keep_xattrs(&mut self, xattrs: &Xattrs) -> Result<u32> {
        if xattrs.is_empty() {
            return Ok(0);
        }
        if self.latest.0 == 0 || self.latest.1 != *xattrs {
            self.latest = (position(self.xattrs.len())?, xattrs.clone());
            put_xattrs(&mut self.xattrs, xattrs);
        }
        Ok(self.latest.0)
    }
}

/// Source and block of a file that a slot can hold: empty or in one piece, at a block, of less than 1 TiB.
fn plain(content: &Content) -> Option<(u16, u32)> {
    if content.size >> 40 != 0 {
        return None;
    }
    match content.extents[..] {
        [] if content.size == 0 => Some((0, 0)),
        [Extent { at: 0, source, offset, len }] if len == content.size && offset % BLOCK as u64 == 0 => {
            Some((source, u32::try_from(offset / BLOCK as u64).ok()?))
        }
        _ => None,
    }
}

fn extent_bytes(content: &Content) -> u64 {
    match content.extents.len() {
        0 | 1 => 0,
        more => (more * size_of::<Extent>()) as u64,
    }
}

fn position(length: usize) -> Result<u32> {
    let limit = u64::from(NONE);
    u32::try_from(length).ok().filter(|at| *at != NONE).ok_or(Error::Limit { what: METADATA_OF_IMAGE, limit })
}

const EMPTY: Slot = Slot {
    mtime: Time { secs: 0, nanos: 0 },
    uid: 0,
    gid: 0,
    xattrs: 0,
    links: 0,
    place: 0,
    size: 0,
    mode: 0,
    source: 0,
    sort: Sort::Directory,
    size_high: 0,
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::Xattr;

    #[test]
    fn a_node_is_small() {
        assert_eq!(size_of::<Slot>(), 44);
    }

    #[test]
    fn nodes_come_back_as_they_were() {
        let piece = |at, offset, len| Extent { at, source: 3, offset, len };
        let file = |size, extents: &[Extent]| {
            Kind::File(Cow::Owned(Content { size, extents: extents.iter().copied().collect() }))
        };
        let xattr = |value: &[u8]| Xattr { name: b"user.a"[..].into(), value: value.into() };
        let kinds = [
            Kind::Directory,
            Kind::Fifo,
            Kind::Symlink(b"to"),
            Kind::Symlink(b"elsewhere"),
            Kind::Device { block: true, major: 8, minor: u32::MAX },
            Kind::Device { block: false, major: u32::MAX, minor: 1 },
            file(0, &[]),
            file(77, &[piece(0, 512, 77)]),
            file((1 << 40) - 1, &[piece(0, 512 << 30, (1 << 40) - 1)]),
            file(1 << 40, &[piece(0, 512, 1 << 40)]),
            file(77, &[piece(0, 513, 77)]),
            file(77, &[piece(1, 512, 76)]),
            file(77, &[]),
            file(1000, &[piece(0, 512, 10), piece(500, 1024, 10)]),
        ];
        let mut nodes = Nodes::with_root();
        let mut made = Vec::new();
        for round in 0..2u32 {
            for (at, kind) in kinds.iter().enumerate() {
                let value = [b"one", b"one", b"two"][at % 3];
                let meta = Meta {
                    mode: at as u16,
                    uid: u32::MAX - round,
                    gid: at as u32,
                    mtime: Time { secs: i64::MIN + at as i64, nanos: 999_999_999 },
                    xattrs: (at % 2 == 0).then(|| xattr(value)).into_iter().collect(),
                };
                made.push((nodes.create(&meta, kind).unwrap(), meta, kind));
            }
            for (id, meta, kind) in &made {
                let node = nodes.get(*id);
                assert_eq!((&node.meta, &node.kind), (meta, *kind));
                assert_eq!(node.links, if **kind == Kind::Directory { 2 } else { 0 });
            }
            assert_eq!(nodes.live(), made.len() + 1);
            // Half of them go, and their numbers are used again.
            for (id, ..) in made.extract_if(.., |(id, ..)| id.index() % 2 == 0) {
                nodes.release(id);
            }
        }
        assert_eq!(nodes.bound(), 1 + kinds.len() + kinds.len() / 2);
    }
}
