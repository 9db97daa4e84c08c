//! EROFS images (Linux, Documentation/filesystems/erofs.rst).
//!
//! Two shapes. An **index** image holds metadata only: its chunk indexes point into the raw tars of the layers, which are
//! attached as extra devices when it is mounted; blocks are 512 bytes, as in a tar. A **full** image holds the file content
//! too and needs nothing beside it.

use super::EncodeError;
use super::erofs_chunks::Chunk;
use super::erofs_directory;
use super::erofs_format::{
    CHUNK_INDEX, DataLayout, INODE_SLOT, Inode, NULL_BLOCK, Superblock, device_number, put_chunk,
};
use super::erofs_layout::{Layout, Placed};
use super::erofs_xattr::XattrArea;
use crate::entry::Content;
use crate::tree::{Kind, Tree};
use larder_core::{Algorithm, Digest, Hasher};
use std::io::{self, Write};

/// A file that holds content: the raw tar of a layer. Its position in the list is the `source` of the extents.
#[derive(Debug, Clone, Copy)]
pub struct ErofsDevice {
    /// Its length.
    pub size_bytes: u64,
    /// What it hashes to; written into the device table and into the identity of the image.
    pub digest: Option<Digest>,
}

/// The shape of the image.
#[derive(Debug, Clone, Copy)]
pub struct ErofsOptions {
    /// Block size as a power of two: 9 (512 bytes) to 12 (4096 bytes, all that older tools read).
    pub block_bits: u8,
    /// Store file content in the image instead of pointing at the devices.
    pub inline_data: bool,
    /// How many bytes an index image may copy because they do not lie at a block boundary of their device.
    pub copy_limit_bytes: u64,
}

impl ErofsOptions {
    /// Metadata over external raw tars.
    pub fn index() -> Self {
        Self { block_bits: 9, inline_data: false, copy_limit_bytes: 1 << 30 }
    }

    /// One self-contained image.
    pub fn full() -> Self {
        Self { block_bits: 12, inline_data: true, copy_limit_bytes: u64::MAX }
    }
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ErofsSummary {
    /// Length of the image, whole blocks.
    pub size_bytes: u64,
    /// Inodes, the root included.
    pub inodes: u64,
    /// Content copied into an index image.
    pub copied_bytes: u64,
    /// Attributes left out because Linux knows no such name.
    pub dropped_xattrs: u64,
    /// Identity of the image, derived from its metadata and the digests of its devices.
    pub uuid: [u8; 16],
}

/// Fills the buffer with content: device, byte offset in it.
pub type ReadAt<'a> = dyn FnMut(u16, u64, &mut [u8]) -> io::Result<()> + 'a;

/// Writes `tree` as an EROFS image, front to back.
///
/// `read` is asked for the content that has to be in the image: all of it for a full image, else only what does not lie
/// at a block boundary of its device. The bytes depend on nothing but the arguments.
///
/// # Errors
/// Names, links, devices and attributes that Linux could not hold either, content outside of the devices, bounds of the
/// format, and failures of `read` and `out`.
pub fn erofs<W: Write + ?Sized>(
    tree: &Tree,
    devices: &[ErofsDevice],
    options: &ErofsOptions,
    read: &mut ReadAt<'_>,
    out: &mut W,
) -> Result<ErofsSummary, EncodeError> {
    let image = Image::new(tree, devices, options)?;
    let uuid = image.uuid()?;
    let mut sink = Sink { out, at: 0 };
    sink.put(&image.superblock.header(uuid))?;
    image.metadata(&mut sink, &mut |extents, at, buffer| fill(extents, at, buffer, read))?;
    image.data(&mut sink, read)?;
    Ok(ErofsSummary {
        size_bytes: sink.at,
        inodes: image.layout.inodes(),
        copied_bytes: image.layout.copied_bytes,
        dropped_xattrs: image.layout.dropped_xattrs,
        uuid,
    })
}

/// Fills the buffer with the content of one file, from an offset in it.
type Fill<'a> = dyn FnMut(&Content, u64, &mut [u8]) -> Result<(), EncodeError> + 'a;

struct Image<'t> {
    tree: &'t Tree,
    options: &'t ErofsOptions,
    devices: &'t [ErofsDevice],
    layout: Layout<'t>,
    superblock: Superblock,
}

impl<'t> Image<'t> {
    fn new(
        tree: &'t Tree,
        devices: &'t [ErofsDevice],
        options: &'t ErofsOptions,
    ) -> Result<Self, EncodeError> {
        let bits = options.block_bits;
        if !(9..=12).contains(&bits) {
            return Err(EncodeError::TooLarge { what: "bits of the block size", limit: 12 });
        }
        let limit = u64::from(u32::MAX) << bits;
        let mut table = Vec::new();
        for device in devices {
            let blocks = u32::try_from(device.size_bytes.div_ceil(1 << bits))
                .ok()
                .filter(|blocks| *blocks < NULL_BLOCK)
                .ok_or(EncodeError::TooLarge { what: "bytes of one device", limit })?;
            if !options.inline_data {
                table.push((tag(device), blocks));
            }
        }
        if table.len() > DEVICE_LIMIT {
            return Err(EncodeError::TooLarge { what: "devices", limit: DEVICE_LIMIT as u64 });
        }
        let layout = Layout::new(tree, devices, options)?;
        let root = layout.nid(tree.root());
        let superblock = Superblock {
            block_bits: bits,
            root: u16::try_from(root)
                .map_err(|_| EncodeError::TooLarge { what: "devices", limit: DEVICE_LIMIT as u64 })?,
            inodes: layout.inodes(),
            epoch: layout.epoch,
            blocks: layout.end_block as u32,
            chunked: layout.chunked,
            devices: table,
        };
        Ok(Self { tree, options, devices, layout, superblock })
    }

    fn block(&self) -> u64 {
        1 << self.options.block_bits
    }

    /// The first 16 bytes of a digest over all metadata, with the places of the content instead of the content.
    fn uuid(&self) -> Result<[u8; 16], EncodeError> {
        let mut hashing = Hashing(Hasher::new(Algorithm::Sha256));
        for device in self.devices {
            hashing.0.update(&tag(device));
        }
        hashing.0.update(&self.superblock.header([0; 16]));
        self.metadata(&mut Sink { out: &mut hashing, at: 0 }, &mut |_, _, buffer| {
            buffer.fill(0);
            Ok(())
        })?;
        let mut extents = hashing.0;
        if self.options.inline_data || self.layout.copied_bytes > 0 {
            self.layout.each(self.superblock.devices.len(), |_, placed, _| {
                if let Kind::File(content) = &self.tree.node(placed.node).kind {
                    for extent in content.extents.iter() {
                        for number in [extent.at, u64::from(extent.source), extent.offset, extent.len] {
                            extents.update(&number.to_le_bytes());
                        }
                    }
                }
                Ok(())
            })?;
        }
        let digest = extents.finish();
        let mut uuid = [0; 16];
        uuid.copy_from_slice(&digest.as_bytes()[..16]);
        // RFC 9562 §5.8: version 8, made of whatever one likes.
        uuid[6] = uuid[6] & 0x0f | 0x80;
        uuid[8] = uuid[8] & 0x3f | 0x80;
        Ok(uuid)
    }

    /// The inodes and what lies behind each, padded to a block.
    fn metadata<W: Write + ?Sized>(
        &self,
        sink: &mut Sink<'_, W>,
        content: &mut Fill<'_>,
    ) -> Result<(), EncodeError> {
        let start = Superblock::header_size(self.options.block_bits, self.superblock.devices.len());
        let mut record = Vec::with_capacity(BUFFER);
        let (mut at, mut data, mut number) = (start, self.layout.data_block, 0);
        self.layout.each(self.superblock.devices.len(), |_, placed, xattrs| {
            number += 1;
            record.resize(record.len() + (placed.at - at) as usize, 0);
            self.inode(placed, xattrs, number, data, &mut record);
            self.behind(placed, data, &mut record, content)?;
            data += placed.blocks;
            at = placed.end.next_multiple_of(INODE_SLOT);
            record.resize(record.len() + (at - placed.end) as usize, 0);
            if record.len() >= BUFFER {
                sink.put(&record)?;
                record.clear();
            }
            Ok(())
        })?;
        record.resize(record.len() + (at.next_multiple_of(self.block()) - at) as usize, 0);
        sink.put(&record)
    }

    fn inode(&self, placed: &Placed, xattrs: &XattrArea, number: u32, data: u64, record: &mut Vec<u8>) {
        let node = self.tree.node(placed.node);
        let union = match (placed.chunks, &node.kind) {
            (Some(plan), _) => u32::from(plan.bits - self.options.block_bits) | CHUNK_INDEXES,
            (None, Kind::Device { major, minor, .. }) => device_number(*major, *minor).unwrap_or_default(),
            (None, _) if placed.blocks > 0 => data as u32,
            _ => 0,
        };
        let inode = Inode {
            extended: placed.extended,
            layout: placed.layout,
            xattr_count: xattrs.count(),
            mode: placed.kind.mode() | node.meta.mode & 0o7777,
            links: placed.links,
            size: placed.size,
            union,
            number,
            uid: node.meta.uid,
            gid: node.meta.gid,
            mtime: (node.meta.mtime.secs, node.meta.mtime.nanos),
        };
        inode.put(record);
        record.extend_from_slice(xattrs.bytes());
    }

    /// Chunk indexes or the tail of the content.
    fn behind(
        &self,
        placed: &Placed,
        data: u64,
        record: &mut Vec<u8>,
        content: &mut Fill<'_>,
    ) -> Result<(), EncodeError> {
        let node = self.tree.node(placed.node);
        if let (Some(plan), Kind::File(file)) = (placed.chunks, &node.kind) {
            let indexes = placed.end - plan.count * CHUNK_INDEX;
            record.resize(record.len() + (indexes - placed.at - placed.head) as usize, 0);
            let mut copied = data;
            for chunk in self.layout.chunker(file).chunks(plan) {
                match chunk {
                    Chunk::Hole => put_chunk(record, 0, NULL_BLOCK),
                    Chunk::Device { source, block } => put_chunk(record, source + 1, block),
                    Chunk::Copied { start, end } => {
                        put_chunk(record, 0, copied as u32);
                        copied += (end - start).div_ceil(self.block());
                    }
                }
            }
        } else if placed.tail > 0 {
            debug_assert_eq!(placed.layout, DataLayout::Inline);
            let start = placed.size - u64::from(placed.tail);
            match &node.kind {
                Kind::Directory => {
                    let mut last = Vec::new();
                    let entries = self.layout.entries(placed.node, placed.parent);
                    erofs_directory::blocks(entries, self.block() as u32, |block| {
                        last.clear();
                        last.extend_from_slice(block);
                        Ok::<_, EncodeError>(())
                    })?;
                    record.extend_from_slice(&last);
                }
                Kind::Symlink(target) => record.extend_from_slice(&target[start as usize..]),
                Kind::File(file) => {
                    let from = record.len();
                    record.resize(from + placed.tail as usize, 0);
                    content(file, start, &mut record[from..])?;
                }
                Kind::Device { .. } | Kind::Fifo => {}
            }
        }
        Ok(())
    }

    /// Whole blocks of directories, long symlinks and content.
    fn data<W: Write + ?Sized>(
        &self,
        sink: &mut Sink<'_, W>,
        read: &mut ReadAt<'_>,
    ) -> Result<(), EncodeError> {
        if self.layout.end_block == self.layout.data_block {
            return Ok(());
        }
        let block = self.block();
        let mut buffer = Vec::new();
        self.layout.each(self.superblock.devices.len(), |layout, placed, _| {
            if placed.blocks == 0 {
                return Ok(());
            }
            let node = self.tree.node(placed.node);
            match &node.kind {
                Kind::Directory => {
                    let mut left = placed.blocks;
                    let entries = layout.entries(placed.node, placed.parent);
                    erofs_directory::blocks(entries, block as u32, |bytes| {
                        if left > 0 {
                            left -= 1;
                            sink.put(bytes)?;
                            sink.pad(block)?;
                        }
                        Ok(())
                    })
                }
                Kind::Symlink(target) => {
                    sink.put(&target[..(placed.blocks * block).min(placed.size) as usize])?;
                    sink.pad(block)
                }
                Kind::File(content) => {
                    let whole = [Chunk::Copied { start: 0, end: (placed.blocks * block).min(placed.size) }];
                    let chunker = layout.chunker(content);
                    let chunks = placed.chunks.map(|plan| chunker.chunks(plan));
                    for chunk in chunks
                        .into_iter()
                        .flatten()
                        .chain(whole.into_iter().filter(|_| placed.chunks.is_none()))
                    {
                        let Chunk::Copied { start, end } = chunk else { continue };
                        let mut at = start;
                        while at < end {
                            buffer.resize((end - at).min(BUFFER as u64) as usize, 0);
                            fill(content, at, &mut buffer, read)?;
                            sink.put(&buffer)?;
                            at += buffer.len() as u64;
                        }
                        sink.pad(block)?;
                    }
                    Ok(())
                }
                Kind::Device { .. } | Kind::Fifo => Ok(()),
            }
        })?;
        Ok(())
    }
}

/// The content from `at` on, holes as zeros.
fn fill(content: &Content, at: u64, buffer: &mut [u8], read: &mut ReadAt<'_>) -> Result<(), EncodeError> {
    buffer.fill(0);
    let end = at + buffer.len() as u64;
    let extents = &content.extents;
    let first = extents.partition_point(|extent| extent.at + extent.len <= at);
    for extent in extents[first..].iter().take_while(|extent| extent.at < end) {
        let (from, to) = (extent.at.max(at), (extent.at + extent.len).min(end));
        let offset = extent.offset + (from - extent.at);
        read(extent.source, offset, &mut buffer[(from - at) as usize..(to - at) as usize])
            .map_err(|source| EncodeError::Read { device: extent.source, offset, source })?;
    }
    Ok(())
}

/// The name of a device in the table: the first 64 hexadecimal digits of its digest.
fn tag(device: &ErofsDevice) -> [u8; 64] {
    let mut tag = [0; 64];
    if let Some(digest) = device.digest {
        tag.copy_from_slice(&digest.hex().as_bytes()[..64]);
    }
    tag
}

struct Sink<'w, W: Write + ?Sized> {
    out: &'w mut W,
    at: u64,
}

impl<W: Write + ?Sized> Sink<'_, W> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.at += bytes.len() as u64;
        self.out.write_all(bytes).map_err(EncodeError::Write)
    }

    fn pad(&mut self, block: u64) -> Result<(), EncodeError> {
        let need = self.at.next_multiple_of(block) - self.at;
        self.put(&[0; 4096][..need as usize])
    }
}

struct Hashing(Hasher);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `EROFS_CHUNK_FORMAT_INDEXES`: 8 bytes per chunk, with a device.
const CHUNK_INDEXES: u32 = 0x20;
/// More would push the root inode beyond what 16 bits number.
const DEVICE_LIMIT: usize = 16_000;
const BUFFER: usize = 256 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Body, Entry, Meta, Time};
    use crate::layer::Layer;

    fn tree(files: u32, time: impl Fn(u32) -> i64) -> Tree {
        let entry = |number: u32| Entry {
            path: format!("f{number:05}").into_bytes().into(),
            meta: Meta { mtime: Time { secs: time(number), nanos: 0 }, ..Meta::implicit() },
            body: Body::File(Content::whole(100, 0, u64::from(number) * 512)),
        };
        let mut tree = Tree::new();
        tree.apply(&Layer::new((0..files).map(entry), 1 << 20), 0).unwrap();
        tree
    }

    fn image(tree: &Tree, digest: Option<Digest>) -> (Vec<u8>, ErofsSummary) {
        let devices = [ErofsDevice { size_bytes: 1 << 20, digest }];
        let mut out = Vec::new();
        let mut read = |_, _, _: &mut [u8]| panic!("aligned content is not read");
        let summary = erofs(tree, &devices, &ErofsOptions::index(), &mut read, &mut out).unwrap();
        (out, summary)
    }

    #[test]
    fn inodes_of_the_commonest_time_are_short() {
        let same = image(&tree(1000, |_| 77), None).0.len();
        let mixed = image(&tree(1000, i64::from), None).0.len();
        assert!(mixed - same > 1000 * 24, "{same} {mixed}");
        let (bytes, _) = image(&tree(1000, |number| if number % 5 == 0 { -1 } else { 77 }), None);
        assert_eq!(bytes[1048..1056], 77i64.to_le_bytes());
        let (bytes, _) = image(&tree(1000, |_| -77), None);
        assert_eq!(bytes[1048..1056], [0; 8], "an epoch before 1970 is not understood by everybody");
    }

    #[test]
    fn devices_are_named_by_their_digest() {
        let digest = Digest::of(b"layer");
        let (bytes, summary) = image(&tree(3, |_| 0), Some(digest));
        assert_eq!(bytes[1152..1216], *digest.hex().as_bytes());
        assert_eq!(bytes[1216..1220], 2048u32.to_le_bytes());
        assert_eq!((summary.inodes, summary.copied_bytes), (4, 0));
        assert_eq!(bytes[1072..1088], summary.uuid);
        assert_ne!(image(&tree(3, |_| 0), None).1.uuid, summary.uuid, "other content");
        assert_ne!(image(&tree(3, |_| 1), Some(digest)).1.uuid, summary.uuid, "other metadata");
    }

    #[test]
    fn a_name_that_no_file_system_holds_is_refused() {
        // The scanner lets none through; the encoder does not rely on it.
        let entry = Entry { path: vec![b'x'; 256].into(), meta: Meta::implicit(), body: Body::Fifo };
        let mut tree = Tree::new();
        if tree.apply(&Layer::new(vec![entry], 0), 0).is_ok() {
            let error =
                erofs(&tree, &[], &ErofsOptions::full(), &mut |_, _, _| Ok(()), &mut Vec::new()).unwrap_err();
            assert!(matches!(error, EncodeError::Name { length: 256, .. }), "{error}");
        }
    }

    #[test]
    fn failures_of_the_reader_and_the_writer_are_told_apart() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let tree = tree(3, |_| 0);
        let devices = [ErofsDevice { size_bytes: 1 << 20, digest: None }];
        let mut broken = |_, _, _: &mut [u8]| Err(io::ErrorKind::UnexpectedEof.into());
        let error = erofs(&tree, &devices, &ErofsOptions::full(), &mut broken, &mut Vec::new()).unwrap_err();
        assert!(matches!(error, EncodeError::Read { device: 0, .. }), "{error}");
        let error = erofs(&tree, &devices, &ErofsOptions::index(), &mut broken, &mut Full).unwrap_err();
        assert!(matches!(error, EncodeError::Write(_)), "{error}");
    }
}
