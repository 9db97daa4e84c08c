//! What can go wrong on the node.

use crate::frame::FrameError;
use crate::message::{Code, Failure, MessageError};
use larder_core::{Classify, Digest, Kind, report};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// One variant per operation. `Display` leaves the source out; print with [`larder_core::report`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The client is gone.
    #[error("the connection was closed")]
    Closed,
    /// The client is silent in the middle of something.
    #[error("nothing came for {} s", after.as_secs())]
    Idle {
        /// The limit that it set.
        after: Duration,
    },
    /// The pipe from the client.
    #[error("cannot read from the connection")]
    Receive(#[source] io::Error),
    /// The pipe to the client.
    #[error("cannot write to the connection")]
    Send(#[source] io::Error),
    /// Bytes that are no frame.
    #[error("not the protocol of larder-node")]
    Frame(#[from] FrameError),
    /// A frame that makes no sense.
    #[error("not the protocol of larder-node")]
    Message(#[from] MessageError),
    /// A request in a place where it may not be.
    #[error("{what} where {expected} should be")]
    Unexpected {
        /// What came.
        what: &'static str,
        /// What could have come.
        expected: &'static str,
    },
    /// A client of another version.
    #[error("the client speaks version {found} of the protocol, this node speaks {known}")]
    Version {
        /// Its version.
        found: u32,
        /// This program's.
        known: u32,
    },
    /// A request beyond a bound.
    #[error("{what}: more than the limit of {limit}")]
    Limit {
        /// What there is too much of, with its unit.
        what: &'static str,
        /// The bound.
        limit: u64,
    },
    /// An answer that does not fit into a frame.
    #[error("the answer is too long")]
    Answer,
    /// The operating system refused something about a file.
    #[error("cannot {operation} {}", path.display())]
    File {
        /// A verb.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// There is no room for a blob. Nothing of it was kept.
    #[error("no room for {digest} in {}: {needed} more bytes are needed, {free} are free", path.display())]
    Full {
        /// Which blob.
        digest: Digest,
        /// The directory.
        path: PathBuf,
        /// Bytes that were still to come.
        needed: u64,
        /// Bytes that were free.
        free: u64,
    },
    /// Bytes that do not hash to their name. Nothing of them was kept.
    #[error("content of {digest} hashes to {actual}")]
    WrongBytes {
        /// What it should be.
        digest: Digest,
        /// What it is.
        actual: Box<Digest>,
    },
    /// A blob that is whole here with another size than the client says.
    #[error("{digest} has {actual} bytes, not {size}")]
    Size {
        /// Which blob.
        digest: Digest,
        /// As announced.
        size: u64,
        /// As it is.
        actual: u64,
    },
    /// More bytes than announced. Nothing of them was kept.
    #[error("{digest} is longer than the {size} bytes it should have")]
    TooLong {
        /// Which blob.
        digest: Digest,
        /// As announced.
        size: u64,
    },
    /// A damaged encoding. Nothing of it was kept.
    #[error("{digest} came with a damaged zstd encoding")]
    Encoding {
        /// Which blob.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The data ended early. They were kept.
    #[error("{digest} ends after {actual} of {size} bytes")]
    Incomplete {
        /// Which blob.
        digest: Digest,
        /// As announced.
        size: u64,
        /// What is there.
        actual: u64,
    },
    /// A beginning that leaves a hole.
    #[error("{digest} was to begin at {offset}, but only {actual} bytes are here")]
    Offset {
        /// Which blob.
        digest: Digest,
        /// As announced.
        offset: u64,
        /// What is there.
        actual: u64,
    },
    /// A blob to read that is not there.
    #[error("{digest} is not in the spool")]
    Absent {
        /// Which.
        digest: Digest,
    },
    /// A blob that became shorter while it was read.
    #[error("{digest} became shorter while it was read")]
    Shrunk {
        /// Which.
        digest: Digest,
    },
    /// A layer that cannot be read.
    #[error("a layer cannot be unpacked")]
    Layer(#[source] larder_rootfs::Error),
    /// A layer that hashes to something else than it should. Nothing of it was kept.
    #[error("a layer has the content {actual}, not {diff_id}")]
    DiffId {
        /// What it should be.
        diff_id: Digest,
        /// What it is.
        actual: Box<Digest>,
    },
    /// A layer that only makes sense on top of those below, which is not done here.
    #[error("{path:?} of a layer: {reason}")]
    Irregular {
        /// The entry.
        path: String,
        /// What is special about it.
        reason: &'static str,
    },
    /// Only root of the machine can write what overlayfs stacks.
    #[error("not root of this machine")]
    Unprivileged,
    /// Layers were awaited that were not asked for.
    #[error("nothing is being unpacked")]
    NothingToAwait,
    /// A program that is not there.
    #[error("there is no program {program}")]
    NoProgram {
        /// As asked for.
        program: String,
    },
    /// A program that does not start.
    #[error("cannot start {program}")]
    Start {
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The pipes or the end of a running program.
    #[error("cannot {operation} {program}")]
    Child {
        /// A verb.
        operation: &'static str,
        /// Which.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An argument list that cannot be understood.
    #[error("unknown argument {0:?}: larder-node serve --directory DIRECTORY | --version")]
    Arguments(String),
}

impl Error {
    pub(crate) fn file(
        operation: &'static str,
        path: impl Into<PathBuf>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self::File { operation, path: path.into(), source: source.into() }
    }

    /// True if nothing more can be said to or understood from the client.
    pub(crate) fn is_fatal(&self) -> bool {
        matches!(
            self,
            Self::Closed
                | Self::Idle { .. }
                | Self::Receive(_)
                | Self::Send(_)
                | Self::Frame(_)
                | Self::Message(_)
                | Self::Unexpected { .. }
                | Self::Version { .. }
        )
    }

    /// True if it comes of a full file system or a used-up quota.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Full { .. } => true,
            Self::File { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// For the client.
    pub(crate) fn failure(&self) -> Failure {
        let (digest, have) = match self {
            Self::Incomplete { digest, actual, .. } | Self::Offset { digest, actual, .. } => {
                (Some(*digest), Some(*actual))
            }
            Self::Full { digest, .. }
            | Self::WrongBytes { digest, .. }
            | Self::Size { digest, .. }
            | Self::TooLong { digest, .. }
            | Self::Encoding { digest, .. }
            | Self::Absent { digest }
            | Self::Shrunk { digest } => (Some(*digest), None),
            _ => (None, None),
        };
        Failure { code: self.code(), words: report(self), digest, have }
    }

    fn code(&self) -> Code {
        match self {
            Self::Closed | Self::Idle { .. } | Self::Receive(_) | Self::Send(_) => Code::System,
            Self::Frame(_) | Self::Message(_) | Self::Unexpected { .. } | Self::Arguments(_) => {
                Code::Protocol
            }
            Self::Version { .. } => Code::Version,
            Self::Layer(_) | Self::DiffId { .. } => Code::WrongBytes,
            Self::Irregular { .. } => Code::Irregular,
            Self::Unprivileged => Code::Denied,
            Self::NothingToAwait => Code::Absent,
            Self::Limit { .. } | Self::Answer => Code::Limit,
            Self::WrongBytes { .. } | Self::Size { .. } | Self::TooLong { .. } | Self::Encoding { .. } => {
                Code::WrongBytes
            }
            Self::Incomplete { .. } => Code::Incomplete,
            Self::Offset { .. } => Code::Offset,
            Self::Absent { .. } => Code::Absent,
            Self::NoProgram { .. } => Code::NoProgram,
            Self::Start { .. } => Code::Start,
            Self::Full { .. } => Code::DiskFull,
            Self::File { source, .. } => match source.kind() {
                _ if self.is_full() => Code::DiskFull,
                io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Code::Denied,
                _ => Code::System,
            },
            Self::Child { .. } | Self::Shrunk { .. } => Code::System,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        self.code().kind()
    }
}
