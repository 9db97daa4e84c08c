//! How much a layer may ask for.

/// Bounds on what hostile bytes can cost. The defaults fit every known image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Uncompressed bytes of one layer; also the sum of the sizes of its sparse files.
    pub bytes: u64,
    /// Uncompressed per compressed byte, beyond the first 64 MiB.
    pub ratio: u32,
    /// Members of one layer, and inodes of a tree.
    pub entries: u32,
    /// Bytes of a path: of a member, and of any name in the tree after symbolic links are followed.
    pub path: usize,
    /// Bytes of the extended attributes of one member, names included.
    pub xattr_bytes: usize,
    /// Bytes of one extended header: pax records or a GNU long name.
    pub pax_bytes: usize,
    /// Bytes of memory that the names and attributes of a layer, or of all layers together, may take.
    pub metadata_bytes: u64,
    /// Largest window of a zstd frame, as a power of two (RFC 8878 §3.1.1.1.2).
    pub window_log: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 64 << 30,
            ratio: 1000,
            entries: 2_000_000,
            path: 4096,
            xattr_bytes: 256 << 10,
            pax_bytes: 1 << 20,
            metadata_bytes: 128 << 20,
            window_log: 27,
        }
    }
}
