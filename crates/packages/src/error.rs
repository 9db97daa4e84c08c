//! Why a package cannot be had.

use larder_core::{Classify, Digest, Kind};
use std::path::PathBuf;
use std::time::Duration;

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of this crate. `what` is a package: `kubectl 1.33.4 amd64`.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Something that cannot be the name of a package.
    #[error("invalid package name {text:?}: expected lower-case letters, digits, '-', '_' and '.'")]
    Name {
        /// What was given.
        text: String,
    },
    /// Something that cannot be a version.
    #[error("invalid version {text:?}: expected for example 1.33.4 or v1.33.4")]
    Version {
        /// What was given.
        text: String,
    },
    /// Something that cannot be an architecture.
    #[error("invalid architecture {text:?}: expected for example amd64 or arm64")]
    Architecture {
        /// What was given.
        text: String,
    },
    /// Definitions, pins or keys that cannot be used.
    #[error("cannot use {}: {problem}", path.display())]
    Settings {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Nothing defines the package.
    #[error("there is no definition of a package {name}")]
    Unknown {
        /// Which one.
        name: String,
        /// Names that look alike.
        similar: Vec<String>,
    },
    /// The package is not made for the architecture.
    #[error("{name} is not published for {architecture}")]
    NotForArchitecture {
        /// Which package.
        name: String,
        /// For what it was asked.
        architecture: String,
        /// For what it is published.
        known: Vec<String>,
    },
    /// Nothing says which version is meant.
    #[error("nothing says which version of {name} is meant")]
    NoVersion {
        /// Which package.
        name: String,
    },
    /// The answer to which version is the latest is none.
    #[error("{url} does not say which version is the latest: {problem}")]
    Latest {
        /// Who was asked.
        url: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// A server failed.
    #[error("{action}")]
    Remote {
        /// What was being done.
        action: String,
        /// Why it failed.
        #[source]
        source: larder_remote::Error,
    },
    /// The store failed.
    #[error("{action}")]
    Store {
        /// What was being done.
        action: String,
        /// Why it failed.
        #[source]
        source: larder_store::Error,
    },
    /// A file could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// What upstream publishes as checksums does not say what the file hashes to.
    #[error("{what}: no checksum from {url}: {problem}")]
    NoChecksum {
        /// Which package.
        what: String,
        /// Where the checksums are.
        url: String,
        /// What is wrong with them.
        problem: String,
    },
    /// The bytes are not those that were promised.
    #[error("{what}: what came from {url} hashes to {actual}, and not to {expected} as {by} says")]
    Checksum {
        /// Which package.
        what: String,
        /// Where the bytes came from.
        url: String,
        /// What they should hash to.
        expected: Box<Digest>,
        /// What they hash to.
        actual: Box<Digest>,
        /// Who says so.
        by: String,
    },
    /// Two that should say the same about a file do not.
    #[error("{what}: {one_says} says {one}, and {other_says} says {other}")]
    Contradiction {
        /// Which package.
        what: String,
        /// Who says.
        one_says: String,
        /// What.
        one: Box<Digest>,
        /// Who says otherwise.
        other_says: String,
        /// What.
        other: Box<Digest>,
    },
    /// A signature is not good.
    #[error("{what}: the {kind} signature is not good: {problem}")]
    Signature {
        /// Which package.
        what: String,
        /// OpenPGP or cosign.
        kind: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A signature was demanded, and cannot be verified.
    #[error("{what}: a signature is required, and {problem}")]
    Unsigned {
        /// Which package.
        what: String,
        /// Why it cannot be verified.
        problem: String,
    },
    /// What was downloaded cannot be made into an archive.
    #[error("{what}: the archive is refused")]
    Archive {
        /// Which package.
        what: String,
        /// Why.
        #[source]
        source: larder_rootfs::Error,
    },
    /// A member of an archive that must not be there.
    #[error("{what}: the archive is refused: {member:?} {problem}")]
    Member {
        /// Which package.
        what: String,
        /// Which member.
        member: String,
        /// The rule it breaks.
        problem: &'static str,
    },
    /// The package is not in the store.
    #[error("{what} is not in the store")]
    NotCached {
        /// Which one.
        what: String,
    },
    /// What is in the store is not what was put there.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A background task ended without an answer.
    #[error("{what} ended unexpectedly")]
    Task {
        /// Which one.
        what: &'static str,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown { .. } | Self::NotForArchitecture { .. } | Self::NotCached { .. } => Kind::NotFound,
            Self::Name { .. }
            | Self::Version { .. }
            | Self::Architecture { .. }
            | Self::Settings { .. }
            | Self::NoVersion { .. }
            | Self::Latest { .. }
            | Self::NoChecksum { .. }
            | Self::Member { .. } => Kind::Invalid,
            Self::Unsigned { .. } => Kind::Denied,
            Self::Checksum { .. }
            | Self::Contradiction { .. }
            | Self::Signature { .. }
            | Self::Damaged { .. } => Kind::Corrupt,
            Self::Remote { source, .. } => source.kind(),
            Self::Store { source, .. } => source.kind(),
            Self::Archive { source, .. } => source.kind(),
            Self::File { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => Kind::NotFound,
                std::io::ErrorKind::PermissionDenied => Kind::Denied,
                std::io::ErrorKind::IsADirectory | std::io::ErrorKind::NotADirectory => Kind::Invalid,
                _ => Kind::Unavailable,
            },
            Self::Task { .. } => Kind::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Unknown { similar, .. } if !similar.is_empty() => {
                vec![format!("did you mean {}?", similar.join(" or "))]
            }
            Self::Unknown { name, .. } => vec![
                "`larder package search` lists the definitions there are".into(),
                format!("larder package add {name}@VERSION --from FILE takes what nothing defines"),
            ],
            Self::NotForArchitecture { known, .. } => vec![format!("it is published for {}", known.join(", "))],
            Self::NoVersion { name } => vec![format!("larder package add {name}@VERSION")],
            Self::NoChecksum { .. } => {
                vec!["--checksum sha256:… says what the file hashes to, where you know it from elsewhere".into()]
            }
            Self::Contradiction { .. } => vec![
                "somebody changed a published release, or stands between here and it; find out before you go on".into(),
                "larder package remove NAME@VERSION --forget gives up what was seen first".into(),
            ],
            Self::Unsigned { what, .. } => vec![
                "`package_keys` in the configuration names directories with NAME.asc and fulcio.pem".into(),
                format!(
                    "what came without a verified signature is fetched again after `larder package remove {}`",
                    what.split_whitespace().take(2).collect::<Vec<_>>().join("@")
                ),
            ],
            Self::NotCached { what } => {
                let mut words = what.split_whitespace();
                let (name, version) = (words.next().unwrap_or_default(), words.next());
                vec![match version {
                    Some("for") => {
                        let architecture = words.next().unwrap_or_default();
                        format!("larder package add {name} --arch {architecture}")
                    }
                    Some(version) => format!("larder package add {name}@{version}"),
                    None => format!("larder package add {name}"),
                }]
            }
            Self::Damaged { .. } => vec!["`larder package verify` sets it aside; `larder package add` brings it again".into()],
            Self::Remote { source, .. } => {
                let mut hints = source.hints();
                if hints.is_empty() && source.kind() == Kind::NotFound {
                    let latest = "there may be no such version: NAME@latest asks the project which is the newest";
                    hints.push(latest.into());
                    hints.push("where only the checksum is missing, --checksum sha256:… stands in for it".into());
                }
                hints
            }
            Self::Store { source, .. } => source.hints(),
            Self::Archive { source, .. } => source.hints().into_iter().filter(|hint| hint.contains('`')).collect(),
            _ => Vec::new(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Remote { source, .. } => source.retry_after(),
            _ => None,
        }
    }
}

impl Error {
    pub(crate) fn store(action: impl Into<String>) -> impl FnOnce(larder_store::Error) -> Self {
        let action = action.into();
        move |source| Self::Store { action, source }
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
