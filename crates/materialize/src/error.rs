//! What can go wrong between a blob and a mounted image.

use larder_core::{Classify, Digest, Kind};
use std::io;
use std::path::{Path, PathBuf};

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store failed.
    #[error("cannot {action}")]
    Store {
        /// What was being done.
        action: &'static str,
        /// Cause.
        #[source]
        source: Box<larder_store::Error>,
    },
    /// A layer cannot be read.
    #[error("cannot read layer {diff_id}")]
    Layer {
        /// Digest of the uncompressed layer.
        diff_id: Digest,
        /// Cause.
        #[source]
        source: Box<larder_rootfs::Error>,
    },
    /// The layers of an image do not fit together.
    #[error("cannot put the layers of {manifest} together")]
    Image {
        /// The image.
        manifest: Digest,
        /// Cause.
        #[source]
        source: Box<larder_rootfs::Error>,
    },
    /// The merged tree cannot be written as a disk image.
    #[error("cannot write a disk image of {manifest}")]
    Encode {
        /// The image.
        manifest: Digest,
        /// Cause.
        #[source]
        source: Box<larder_rootfs::encode::EncodeError>,
    },
    /// An uncompressed layer does not hash to what the image config says.
    #[error("layer {expected} uncompresses to {found}")]
    DiffId {
        /// What the config says.
        expected: Digest,
        /// What it is.
        found: Box<Digest>,
    },
    /// The store does not hold a blob of the image.
    #[error("blob {digest} is not in the store")]
    MissingBlob {
        /// The blob.
        digest: Digest,
    },
    /// The proof of admission is for something else.
    #[error("{manifest} was not admitted; {admitted} was")]
    NotAdmitted {
        /// The image.
        manifest: Digest,
        /// What the proof is for.
        admitted: Box<Digest>,
    },
    /// Somebody else makes the same thing and does not finish.
    #[error("waited too long for another process that makes {name}")]
    Busy {
        /// Name of the thing.
        name: String,
    },
    /// A file operation failed.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// An entry of an image could not be written.
    #[error("cannot {action} {path:?} in {}", dir.display())]
    Extract {
        /// What was being done.
        action: &'static str,
        /// The entry, undecodable bytes replaced.
        path: String,
        /// The directory that is being filled.
        dir: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The kernel refused a mount.
    #[error("cannot mount {filesystem} at {}{}", dir.display(), said(log))]
    Mount {
        /// `erofs` or `overlay`.
        filesystem: &'static str,
        /// Where.
        dir: PathBuf,
        /// What the kernel said about it, if anything.
        log: String,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// A mount could not be undone.
    #[error("cannot unmount {}", dir.display())]
    Unmount {
        /// Where.
        dir: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// Nothing was mounted there by larder.
    #[error("no image is mounted at {}", dir.display())]
    NotMounted {
        /// Where.
        dir: PathBuf,
    },
    /// Somebody else mounted something where larder did.
    #[error("what is mounted at {} now is not of larder ({filesystem}) and was left alone; {}", dir.display(), match gone {
        true => "the mount of larder is gone, and forgotten",
        false => "the mount of larder is below it or elsewhere",
    })]
    Foreign {
        /// Where.
        dir: PathBuf,
        /// The type of the file system that is there.
        filesystem: String,
        /// Nobody has the mount of larder any more.
        gone: bool,
    },
    /// A mount is not where it was made, but it is not gone.
    #[error("what larder mounted at {} is now {}", dir.display(), whereabouts(place.as_deref()))]
    Elsewhere {
        /// Where it was made.
        dir: PathBuf,
        /// Where it is, if it is in this mount namespace.
        place: Option<PathBuf>,
    },
    /// The directory cannot be used as a target.
    #[error("{} {problem}", dir.display())]
    Target {
        /// Which.
        dir: PathBuf,
        /// Why not.
        problem: &'static str,
    },
    /// A name that no writable layer can have.
    #[error(
        "writable layer name {name:?}: 1 to 128 of A-Z a-z 0-9 . _ - are possible, starting with a letter or digit"
    )]
    WritableName {
        /// The name.
        name: String,
    },
    /// A writable layer that cannot be used here.
    #[error("writable layer {name} {problem}")]
    Writable {
        /// The name.
        name: String,
        /// Why not.
        problem: String,
    },
    /// The image is mounted.
    #[error("{manifest} is mounted at {}", dir.display())]
    InUse {
        /// The image.
        manifest: Digest,
        /// Where.
        dir: PathBuf,
    },
    /// A device that overlayfs cannot show.
    #[error("overlayfs takes {path:?}, device 0:0, for a whiteout")]
    Whiteout {
        /// Where.
        path: String,
    },
    /// A word that names no driver.
    #[error("unknown driver {0:?}: expected erofs or overlay")]
    Driver(String),
    /// What an earlier run recorded about an image cannot be read.
    #[error("the record {} is damaged", path.display())]
    Record {
        /// Which.
        path: PathBuf,
        /// Cause.
        #[source]
        source: serde_json::Error,
    },
}

/// What the operations of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    pub(crate) fn store(action: &'static str) -> impl FnOnce(larder_store::Error) -> Self {
        move |source| Self::Store { action, source: Box::new(source) }
    }

    pub(crate) fn layer(diff_id: &Digest) -> impl FnOnce(larder_rootfs::Error) -> Self {
        move |source| Self::Layer { diff_id: *diff_id, source: Box::new(source) }
    }

    pub(crate) fn image(manifest: &Digest) -> impl FnOnce(larder_rootfs::Error) -> Self {
        move |source| Self::Image { manifest: *manifest, source: Box::new(source) }
    }

    pub(crate) fn encode(manifest: &Digest) -> impl FnOnce(larder_rootfs::encode::EncodeError) -> Self {
        move |source| Self::Encode { manifest: *manifest, source: Box::new(source) }
    }

    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::File { action, path: path.into(), source }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Store { source, .. } => source.kind(),
            Self::Layer { source, .. } | Self::Image { source, .. } => source.kind(),
            Self::Encode { source, .. } => source.kind(),
            Self::DiffId { .. } | Self::Record { .. } => Kind::Corrupt,
            Self::MissingBlob { .. } | Self::NotMounted { .. } => Kind::NotFound,
            Self::NotAdmitted { .. } => Kind::Denied,
            Self::Busy { .. } => Kind::Unavailable,
            Self::Whiteout { .. } => Kind::Unsupported,
            Self::File { source, .. } | Self::Extract { source, .. } => of_io(source),
            Self::Mount { source, .. } => match of_io(source) {
                Kind::Unavailable | Kind::Invalid => Kind::Unsupported,
                kind => kind,
            },
            Self::Unmount { source, .. } => of_io(source),
            Self::Target { .. }
            | Self::Writable { .. }
            | Self::InUse { .. }
            | Self::Foreign { .. }
            | Self::Elsewhere { .. } => Kind::Conflict,
            Self::WritableName { .. } | Self::Driver(_) => Kind::Invalid,
        }
    }

    fn hints(&self) -> Vec<String> {
        let hint = match self {
            Self::Store { source, .. } => return source.hints(),
            Self::Layer { source, .. } | Self::Image { source, .. } => return source.hints(),
            Self::Mount { .. } if self.kind() == Kind::Denied => {
                "mounting needs root; `unpack` writes the same tree into a directory without it"
            }
            Self::Mount { filesystem: "erofs", .. } => {
                "disk images mounted from a file need Linux 6.12; the driver `overlay` works everywhere"
            }
            Self::Mount { .. } => "`unpack` writes the same tree into a directory without mounting",
            Self::Extract { .. } if self.kind() == Kind::Denied => {
                "only root can give files away; without root, owners have to be ignored"
            }
            Self::MissingBlob { .. } => "pull the image again",
            Self::DiffId { .. } => "the image is inconsistent; report it to whoever built it",
            Self::Unmount { .. } if self.kind() == Kind::Conflict => {
                "a process still has its working directory or an open file in there"
            }
            Self::Whiteout { .. } => "the driver `erofs` shows it",
            Self::InUse { .. } => "unmount it first",
            Self::Foreign { gone: false, .. } => "unmount what is on top first",
            Self::Elsewhere { place: Some(place), .. } => {
                return vec![format!("larder unmount {}", place.display())];
            }
            Self::Elsewhere { place: None, .. } => {
                "it goes with the last process of the mount namespace that has it"
            }
            Self::Record { .. } => "remove the record; it is made again",
            _ => return Vec::new(),
        };
        vec![hint.into()]
    }
}

fn of_io(error: &io::Error) -> Kind {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Kind::Denied,
        io::ErrorKind::NotFound => Kind::NotFound,
        io::ErrorKind::AlreadyExists | io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty => {
            Kind::Conflict
        }
        io::ErrorKind::Unsupported => Kind::Unsupported,
        io::ErrorKind::InvalidInput => Kind::Invalid,
        io::ErrorKind::UnexpectedEof => Kind::Corrupt,
        _ => Kind::Unavailable,
    }
}

fn whereabouts(place: Option<&Path>) -> String {
    match place {
        Some(place) => format!("at {}", place.display()),
        None => "only in another mount namespace".into(),
    }
}

fn said(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!(" (the kernel says: {log})") }
}
