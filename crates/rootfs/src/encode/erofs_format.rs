//! FORMAT: the records of EROFS, little endian (Linux, fs/erofs/erofs_fs.h).

/// Where the superblock lies.
pub(super) const SUPER_OFFSET: u64 = 1024;
/// Size of the superblock without extension slots, and of a device slot.
pub(super) const SUPER_SIZE: u64 = 128;
/// Size of one device slot.
pub(super) const DEVICE_SLOT: u64 = 128;
/// Inodes are numbered in units of this many bytes.
pub(super) const INODE_SLOT: u64 = 32;
/// Size of the two inode forms.
pub(super) const COMPACT: u32 = 32;
/// The long form: 32-bit owners and links, 64-bit size, its own time.
pub(super) const EXTENDED: u32 = 64;
/// A block address that means "zeros".
pub(super) const NULL_BLOCK: u32 = u32::MAX;
/// Bytes of one chunk index.
pub(super) const CHUNK_INDEX: u64 = 8;

/// How the content of an inode is found (`EROFS_INODE_*`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DataLayout {
    /// Whole blocks at one address.
    Plain = 0,
    /// Whole blocks at one address, the tail behind the inode.
    Inline = 2,
    /// A table of chunk indexes behind the inode.
    Chunks = 4,
}

/// File types of directory entries (`FT_*`) and of modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileType {
    Regular,
    Directory,
    CharDevice,
    BlockDevice,
    Fifo,
    Symlink,
}

impl FileType {
    pub(super) fn dirent(self) -> u8 {
        match self {
            Self::Regular => 1,
            Self::Directory => 2,
            Self::CharDevice => 3,
            Self::BlockDevice => 4,
            Self::Fifo => 5,
            Self::Symlink => 7,
        }
    }

    pub(super) fn mode(self) -> u16 {
        match self {
            Self::Regular => 0o100_000,
            Self::Directory => 0o040_000,
            Self::CharDevice => 0o020_000,
            Self::BlockDevice => 0o060_000,
            Self::Fifo => 0o010_000,
            Self::Symlink => 0o120_000,
        }
    }
}

/// One inode, whichever form it takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inode {
    pub(super) extended: bool,
    pub(super) layout: DataLayout,
    pub(super) xattr_count: u16,
    pub(super) mode: u16,
    pub(super) links: u32,
    pub(super) size: u64,
    /// Block address, device number, or chunk format.
    pub(super) union: u32,
    pub(super) number: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: (i64, u32),
}

impl Inode {
    /// Appends the record. The compact form must have been checked to be large enough.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let format = u16::from(self.extended) | (self.layout as u16) << 1;
        out.extend_from_slice(&format.to_le_bytes());
        out.extend_from_slice(&self.xattr_count.to_le_bytes());
        out.extend_from_slice(&self.mode.to_le_bytes());
        if self.extended {
            out.extend_from_slice(&[0; 2]);
            out.extend_from_slice(&self.size.to_le_bytes());
            out.extend_from_slice(&self.union.to_le_bytes());
            out.extend_from_slice(&self.number.to_le_bytes());
            out.extend_from_slice(&self.uid.to_le_bytes());
            out.extend_from_slice(&self.gid.to_le_bytes());
            out.extend_from_slice(&self.mtime.0.to_le_bytes());
            out.extend_from_slice(&self.mtime.1.to_le_bytes());
            out.extend_from_slice(&self.links.to_le_bytes());
            out.extend_from_slice(&[0; 16]);
        } else {
            out.extend_from_slice(&(self.links as u16).to_le_bytes());
            out.extend_from_slice(&(self.size as u32).to_le_bytes());
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(&self.union.to_le_bytes());
            out.extend_from_slice(&self.number.to_le_bytes());
            out.extend_from_slice(&(self.uid as u16).to_le_bytes());
            out.extend_from_slice(&(self.gid as u16).to_le_bytes());
            out.extend_from_slice(&[0; 4]);
        }
    }
}

/// Appends one chunk index; `device` 0 is the image itself.
pub(super) fn put_chunk(out: &mut Vec<u8>, device: u16, block: u32) {
    out.extend_from_slice(&[0; 2]);
    out.extend_from_slice(&device.to_le_bytes());
    out.extend_from_slice(&block.to_le_bytes());
}

/// A device number as `new_encode_dev` of Linux writes it; `None` where it does not fit.
pub(super) fn device_number(major: u32, minor: u32) -> Option<u32> {
    (major < 1 << 12 && minor < 1 << 20).then_some(minor & 0xff | major << 8 | (minor & !0xff) << 12)
}

/// Everything the superblock says.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    pub(super) block_bits: u8,
    pub(super) root: u16,
    pub(super) inodes: u64,
    /// Time of compact inodes.
    pub(super) epoch: (i64, u32),
    pub(super) blocks: u32,
    pub(super) chunked: bool,
    /// Per device: name, size in blocks.
    pub(super) devices: Vec<([u8; 64], u32)>,
}

impl Superblock {
    /// Length of everything before the first inode: boot area, superblock, device table, padded to a block.
    pub(super) fn header_size(block_bits: u8, devices: usize) -> u64 {
        (SUPER_OFFSET + SUPER_SIZE + DEVICE_SLOT * devices as u64).next_multiple_of(1 << block_bits)
    }

    /// The header with its checksum.
    pub(super) fn header(&self, uuid: [u8; 16]) -> Vec<u8> {
        let size = Self::header_size(self.block_bits, self.devices.len()) as usize;
        let start = SUPER_OFFSET as usize;
        let mut out = Vec::with_capacity(size);
        out.resize(start, 0);
        out.extend_from_slice(&0xe0f5_e1e2_u32.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&(COMPAT_CHECKSUM | COMPAT_MTIME).to_le_bytes());
        out.push(self.block_bits);
        out.push(0);
        out.extend_from_slice(&self.root.to_le_bytes());
        out.extend_from_slice(&self.inodes.to_le_bytes());
        out.extend_from_slice(&self.epoch.0.to_le_bytes());
        out.extend_from_slice(&self.epoch.1.to_le_bytes());
        out.extend_from_slice(&self.blocks.to_le_bytes());
        out.extend_from_slice(&[0; 8]); // inodes count from block 0; no shared attributes
        out.extend_from_slice(&uuid);
        out.extend_from_slice(&[0; 16]); // volume name
        let chunked = if self.chunked { INCOMPAT_CHUNKED } else { 0 };
        let table = if self.devices.is_empty() { 0 } else { INCOMPAT_DEVICE_TABLE };
        out.extend_from_slice(&(chunked | table).to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        out.extend_from_slice(&(self.devices.len() as u16).to_le_bytes());
        let slot = if self.devices.is_empty() { 0 } else { (SUPER_OFFSET + SUPER_SIZE) / DEVICE_SLOT };
        out.extend_from_slice(&(slot as u16).to_le_bytes());
        out.resize(start + SUPER_SIZE as usize, 0);
        for (tag, blocks) in &self.devices {
            out.extend_from_slice(tag);
            out.extend_from_slice(&blocks.to_le_bytes());
            out.resize(out.len() + 60, 0);
        }
        out.resize(size, 0);
        // The sum covers the rest of the block that the superblock is in (fs/erofs/super.c).
        let block = 1usize << self.block_bits;
        let end = if block > start { block } else { start + block };
        let sum = crc32c(&out[start..end]);
        out[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
        out
    }
}

const COMPAT_CHECKSUM: u32 = 1;
const COMPAT_MTIME: u32 = 2;
const INCOMPAT_CHUNKED: u32 = 4;
const INCOMPAT_DEVICE_TABLE: u32 = 8;

/// CRC-32C (Castagnoli, reflected), started with all ones and not inverted at the end, as Linux uses it.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 };
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crc_of_the_check_string() {
        assert_eq!(!crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn device_numbers() {
        assert_eq!(device_number(1, 3), Some(0x103));
        assert_eq!(device_number(259, 0x12345), Some(0x1230_0000 | 259 << 8 | 0x45));
        assert_eq!(device_number(4096, 0), None);
        assert_eq!(device_number(0, 1 << 20), None);
    }

    #[test]
    fn inode_sizes() {
        let mut inode = Inode {
            extended: false,
            layout: DataLayout::Chunks,
            xattr_count: 0,
            mode: 0,
            links: 1,
            size: 0,
            union: 0,
            number: 1,
            uid: 0,
            gid: 0,
            mtime: (0, 0),
        };
        let mut out = Vec::new();
        inode.put(&mut out);
        assert_eq!((out.len(), out[0]), (COMPACT as usize, 8));
        inode.extended = true;
        out.clear();
        inode.put(&mut out);
        assert_eq!((out.len(), out[0]), (EXTENDED as usize, 9));
    }
}
