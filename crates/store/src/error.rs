//! What can go wrong in a store.

use larder_core::{Classify, Digest, Kind};
use std::io;
use std::path::PathBuf;

/// An operation on the store failed. `Display` leaves the source out; print with [`larder_core::report`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused something.
    #[error("cannot {operation} {path}", path = .path.display())]
    Io {
        /// What was attempted, as a verb: `write`, `rename`, …
        operation: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The database refused something.
    #[error("cannot {operation} in the database {path}", path = .path.display())]
    Database {
        /// What was attempted, as a verb with its object.
        operation: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rusqlite::Error,
    },
    /// The database is gone, or contradicts itself.
    #[error("the database {path} {problem}", path = .path.display())]
    BrokenDatabase {
        /// Which file.
        path: PathBuf,
        /// What is wrong, as the rest of a sentence that starts with it.
        problem: &'static str,
    },
    /// The database cannot be replaced while others have it open.
    #[error("the database {path} is in use", path = .path.display())]
    InUse {
        /// Which file.
        path: PathBuf,
    },
    /// The store was written by a newer larder, whose layout this one does not know.
    #[error("the store {path} has layout version {found}, and this larder knows only up to {known}", path = .path.display())]
    Newer {
        /// The store.
        path: PathBuf,
        /// The version that was found.
        found: i64,
        /// The newest version this program reads.
        known: i64,
    },
    /// The directory is in use by something else: it holds an image layout, or a database, that larder did not make.
    #[error("{path} was not made by larder", path = .path.display())]
    Foreign {
        /// The file that says so.
        path: PathBuf,
    },
    /// What was ingested does not hash to its name. Nothing of it was kept.
    #[error("content of {digest} hashes to {actual}")]
    Corrupt {
        /// What it should be.
        digest: Digest,
        /// What it is.
        actual: Box<Digest>,
        /// Bytes of it that were kept from an earlier attempt. If not zero, the fault may lie in those (a power cut), and
        /// starting again from the first byte is worth one try.
        resumed: u64,
    },
    /// More bytes arrived than the descriptor promised. The bytes up to its size are kept.
    #[error("{digest} is longer than the {size} bytes it should have")]
    TooLong {
        /// Which blob.
        digest: Digest,
        /// The promised size in bytes.
        size: u64,
    },
    /// Fewer bytes arrived than the descriptor promised. They are kept, so that the rest may follow.
    #[error("{digest} ends after {actual} of {size} bytes")]
    TooShort {
        /// Which blob.
        digest: Digest,
        /// The promised size in bytes.
        size: u64,
        /// The bytes that are there.
        actual: u64,
    },
    /// `write` or `commit` of a resumed ingest before `replay`: the kept bytes were not hashed.
    #[error("the {offset} bytes kept of {digest} were not replayed")]
    NotReplayed {
        /// Which blob.
        digest: Digest,
        /// How many bytes were kept.
        offset: u64,
    },
    /// A stored blob is damaged: it no longer has its size or its hash.
    #[error("the stored blob {digest} is damaged: {problem}")]
    Damaged {
        /// Which blob.
        digest: Digest,
        /// What is wrong with it.
        problem: String,
    },
    /// A whole read was asked of a blob larger than the caller's limit.
    #[error("{digest} has {size} bytes, more than the limit of {limit}")]
    TooLarge {
        /// Which blob.
        digest: Digest,
        /// Its size in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// An upload grew beyond the limit of its caller. The bytes up to here are kept.
    #[error("upload {id} is longer than the limit of {limit} bytes")]
    UploadTooLarge {
        /// Which upload.
        id: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// A fact about a blob was to be recorded, but the store does not hold the blob.
    #[error("the store does not hold {digest}")]
    Absent {
        /// Which blob.
        digest: Digest,
    },
    /// A fact about a derived thing was to be recorded, but the store does not hold it.
    #[error("the store does not hold {name}")]
    NotDerived {
        /// Area and name.
        name: String,
    },
    /// The name of a derived thing could not be a file name.
    #[error("invalid name {name:?}: expected letters, digits, '.', '_' and '-', not starting with '.'")]
    DerivedName {
        /// What was given.
        name: String,
    },
    /// A part of the audit log was to be repaired.
    #[error("the audit log {path} cannot be repaired", path = .path.display())]
    Evidence {
        /// The file.
        path: PathBuf,
    },
    /// A stored document is whole but cannot be read.
    #[error("cannot read the document {digest}")]
    Document {
        /// Which one.
        digest: Digest,
        /// Why.
        #[source]
        source: larder_core::Error,
    },
}

/// The result of most operations of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub(crate) fn io(operation: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { operation, path, source }
    }

    /// The database itself is broken or gone, as opposed to unreachable.
    pub(crate) fn is_broken_database(&self) -> bool {
        match self {
            Self::Database { source, .. } => database_kind(source) == Kind::Corrupt,
            Self::BrokenDatabase { .. } => true,
            _ => false,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Io { source, .. } => io_kind(source),
            Self::Database { source, .. } => database_kind(source),
            Self::BrokenDatabase { .. } => Kind::Corrupt,
            Self::Newer { .. } | Self::Evidence { .. } => Kind::Unsupported,
            Self::Foreign { .. } | Self::InUse { .. } => Kind::Conflict,
            Self::Corrupt { .. } | Self::TooLong { .. } | Self::TooShort { .. } | Self::Damaged { .. } => {
                Kind::Corrupt
            }
            Self::NotReplayed { .. } => Kind::Internal,
            Self::TooLarge { .. } | Self::UploadTooLarge { .. } | Self::DerivedName { .. } => Kind::Invalid,
            Self::Absent { .. } | Self::NotDerived { .. } => Kind::NotFound,
            Self::Document { source, .. } => source.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Io { source, .. } if is_full(source) => vec![FULL.into()],
            Self::Database { source, .. } if is_database_full(source) => vec![FULL.into()],
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                vec!["Run as the owner of the store, or choose another one.".into()]
            }
            Self::Database { .. } | Self::BrokenDatabase { .. } if self.is_broken_database() => vec![
                "Run `larder verify --repair`: it builds the database again from the blobs and index.json.".into(),
            ],
            Self::InUse { .. } => vec!["Stop the other larder processes that use this store first.".into()],
            Self::Newer { .. } => {
                vec!["Install the newer larder, or choose another directory for the store.".into()]
            }
            Self::Evidence { .. } => vec![
                "What it said before it was changed is not known. `larder audit verify` says where it was changed.".into(),
            ],
            Self::Foreign { .. } => vec!["Choose an empty directory for the store.".into()],
            Self::Damaged { .. } => {
                vec!["Run a verification with repair: damaged blobs are set aside and fetched again.".into()]
            }
            _ => Vec::new(),
        }
    }
}

fn io_kind(error: &io::Error) -> Kind {
    use io::ErrorKind as E;
    match error.kind() {
        E::PermissionDenied | E::ReadOnlyFilesystem => Kind::Denied,
        E::InvalidInput | E::InvalidFilename => Kind::Invalid,
        E::Unsupported => Kind::Unsupported,
        E::NotADirectory | E::IsADirectory | E::DirectoryNotEmpty | E::AlreadyExists => Kind::Conflict,
        // What is left is the state of the machine: a full disk, a quota, too many open files, a failing device, a store
        // that somebody deleted. Never `NotFound`: that would read as the answer of a store that works.
        _ => Kind::Unavailable,
    }
}

fn database_kind(error: &rusqlite::Error) -> Kind {
    use rusqlite::{Error as E, ErrorCode as C};
    match error {
        E::SqliteFailure(failure, _) => match failure.code {
            C::DatabaseCorrupt | C::NotADatabase => Kind::Corrupt,
            C::PermissionDenied | C::ReadOnly => Kind::Denied,
            C::DatabaseBusy
            | C::DatabaseLocked
            | C::DiskFull
            | C::SystemIoFailure
            | C::CannotOpen
            | C::OutOfMemory
            | C::FileLockingProtocolFailed => Kind::Unavailable,
            // Our statements are right, so a table or a column that they do not find has been lost.
            C::Unknown => Kind::Corrupt,
            _ => Kind::Internal,
        },
        E::SqlInputError { .. } => Kind::Corrupt,
        // A column that does not hold what we wrote there.
        E::FromSqlConversionFailure(..)
        | E::InvalidColumnType(..)
        | E::IntegralValueOutOfRange(..)
        | E::Utf8Error(..) => Kind::Corrupt,
        _ => Kind::Internal,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn is_database_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull)
}

const FULL: &str =
    "Free some space, for example with `larder gc`, and try again; what arrived so far is kept.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_passes_and_says_what_to_do() {
        let error = Error::io("write", "x")(io::Error::from(io::ErrorKind::StorageFull));
        assert_eq!(error.kind(), Kind::Unavailable);
        assert_eq!(error.hints().len(), 1);
    }

    #[test]
    fn display_leaves_the_source_out() {
        let error = Error::io("write", "/a/b")(io::Error::other("because"));
        assert_eq!(error.to_string(), "cannot write /a/b");
        assert_eq!(larder_core::report(&error), "cannot write /a/b: because");
    }
}
