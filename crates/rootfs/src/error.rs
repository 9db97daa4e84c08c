//! What is wrong with a layer.

use larder_core::{Classify, Kind};
use std::io;

/// Why a layer cannot be read or applied. Paths are shown with undecodable bytes escaped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A compression that larder does not read.
    #[error("the layer is compressed with {0}, which is not supported")]
    Compression(&'static str),
    /// The compressed stream is damaged or ends early.
    #[error("damaged {compression} stream at compressed byte {offset}")]
    Stream {
        /// What it was taken for.
        compression: &'static str,
        /// Compressed bytes taken in before.
        offset: u64,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// More than [`Limits`](crate::Limits) allow.
    #[error("{what} exceed the limit of {limit}")]
    Limit {
        /// Which quantity, plural.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// The archive as such is malformed.
    #[error("malformed tar at byte {offset}: {problem}")]
    Archive {
        /// Where in the uncompressed stream.
        offset: u64,
        /// The rule it breaks.
        problem: &'static str,
    },
    /// A member that cannot be, or that readers of tar disagree about.
    #[error("tar member {path:?} at byte {offset}: {problem}")]
    Member {
        /// Its name as written.
        path: String,
        /// Where in the uncompressed stream its header starts.
        offset: u64,
        /// The rule it breaks.
        problem: &'static str,
    },
    /// A member that cannot be put where it wants to be.
    #[error("cannot apply {path:?}: {problem}")]
    Apply {
        /// Its path.
        path: String,
        /// The rule it breaks.
        problem: &'static str,
    },
    /// A hard link to something that is not there or cannot be linked to.
    #[error("cannot apply hard link {path:?} to {target:?}: {problem}")]
    HardLink {
        /// Its path.
        path: String,
        /// Its target.
        target: String,
        /// What is wrong with the target.
        problem: &'static str,
    },
    /// A zip archive that cannot be read, or that readers of zip disagree about.
    #[error("malformed zip: {problem}")]
    Zip {
        /// The rule it breaks.
        problem: String,
    },
    /// The tar could not be read.
    #[error("cannot read the layer")]
    Read(#[source] io::Error),
}

/// What the operations of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// The error that a [`Decoder`](crate::Decoder) put into an [`io::Error`]; the `io::Error` as it is where
    /// it came from the reader underneath.
    pub fn from_io(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(error) => error,
            Err(error) => Self::Read(error),
        }
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Compression(_) => Kind::Unsupported,
            Self::Stream { .. } => Kind::Corrupt,
            Self::Limit { .. }
            | Self::Archive { .. }
            | Self::Zip { .. }
            | Self::Member { .. }
            | Self::Apply { .. }
            | Self::HardLink { .. } => Kind::Invalid,
            Self::Read(_) => Kind::Unavailable,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Limit { what, .. } => {
                let key = match *what {
                    "bytes of a layer"
                    | "bytes of the sparse files of a layer"
                    | "uncompressed bytes of a layer" => "max_layer",
                    "uncompressed bytes per compressed byte" => "max_ratio",
                    "members of a layer" | "files of an image" => "max_entries",
                    METADATA_OF_LAYER | METADATA_OF_IMAGE => "max_metadata",
                    _ => return Vec::new(),
                };
                vec![format!(
                    "`{key}` in the configuration is the limit; raise it only if you trust who made this"
                )]
            }
            Self::Compression(_) => vec!["rebuild the image with gzip or zstd layers".into()],
            _ => Vec::new(),
        }
    }
}

/// What runs into [`Limits::metadata_bytes`](crate::Limits::metadata_bytes).
pub(crate) const METADATA_OF_LAYER: &str = "bytes of memory for the names and attributes of a layer";
pub(crate) const METADATA_OF_IMAGE: &str = "bytes of memory for the names and attributes of an image";

/// Bytes of a path for an error message, shortened to what a line can hold.
pub(crate) fn shown(path: &[u8]) -> String {
    let end = path.len().min(512);
    String::from_utf8_lossy(&path[..end]).into_owned()
}
