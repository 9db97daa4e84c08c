//! What a file-system format cannot hold.

use larder_core::{Classify, Kind};
use std::io;

/// Why a tree could not be encoded. Paths are relative to the root of the tree, undecodable bytes replaced.
#[derive(Debug, thiserror::Error)]
pub enum EncodeError {
    /// A name that is empty or longer than 255 bytes.
    #[error("the name of {path:?} has {length} bytes; 1 to 255 are possible")]
    Name {
        /// Where.
        path: String,
        /// Bytes.
        length: usize,
    },
    /// A symbolic link whose target is empty or does not fit a page.
    #[error("the target of symlink {path:?} has {length} bytes; 1 to 4095 are possible")]
    Symlink {
        /// Where.
        path: String,
        /// Bytes.
        length: usize,
    },
    /// A device number beyond 12 bits of major and 20 bits of minor.
    #[error("{path:?} is a device {major}:{minor}, which Linux cannot number")]
    Device {
        /// Where.
        path: String,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Extended attributes that do not fit into the inode: one value over 65,535 bytes, or 256 KiB together.
    #[error("the extended attributes of {path:?} are too large")]
    Xattrs {
        /// Where.
        path: String,
    },
    /// A file whose content lies outside every device.
    #[error("the content of {path:?} lies outside of the given devices")]
    Content {
        /// Where.
        path: String,
    },
    /// A bound of the format, or of the options, is reached.
    #[error("{what} exceed the limit of {limit}")]
    TooLarge {
        /// Which quantity.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The source of file content could not be read.
    #[error("cannot read file content: source {device}, offset {offset}")]
    Read {
        /// Index of the device.
        device: u16,
        /// Byte offset in it.
        offset: u64,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The image could not be written.
    #[error("cannot write the image")]
    Write(#[source] io::Error),
}

impl Classify for EncodeError {
    fn kind(&self) -> Kind {
        match self {
            Self::Name { .. }
            | Self::Symlink { .. }
            | Self::Device { .. }
            | Self::Xattrs { .. }
            | Self::Content { .. } => Kind::Invalid,
            Self::TooLarge { .. } => Kind::Unsupported,
            Self::Read { .. } | Self::Write(_) => Kind::Unavailable,
        }
    }
}
