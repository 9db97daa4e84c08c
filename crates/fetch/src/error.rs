//! What can go wrong while blobs move.

use larder_core::{Classify, Digest, Kind, Platform};
use std::time::Duration;

/// Errors of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry, or the way to it, failed.
    #[error("cannot fetch {what}")]
    Remote {
        /// Reference or digest.
        what: String,
        /// Why.
        #[source]
        source: larder_remote::Error,
    },
    /// The store failed.
    #[error("cannot use the store for {what}")]
    Store {
        /// Reference or digest.
        what: String,
        /// Why.
        #[source]
        source: larder_store::Error,
    },
    /// No tier has it.
    #[error("{what} is in no tier ({tiers})")]
    Absent {
        /// Reference or digest.
        what: String,
        /// The tiers that were asked.
        tiers: String,
    },
    /// The index offers nothing for these platforms.
    #[error("{reference} has no image for {}; it offers {}", list(missing), list(offered))]
    Platform {
        /// The reference.
        reference: String,
        /// What was asked for.
        missing: Vec<Platform>,
        /// What there is.
        offered: Vec<Platform>,
    },
    /// A document that must be something else.
    #[error("{what} is {found}, expected {expected}")]
    Unexpected {
        /// Reference or digest.
        what: String,
        /// What it is.
        found: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A manifest, index or config that cannot be parsed.
    #[error("cannot read {what}")]
    Document {
        /// Reference or digest.
        what: String,
        /// Why.
        #[source]
        source: larder_core::Error,
    },
    /// A tier delivered bytes that are not what was asked for.
    #[error("{tier} served wrong bytes for {digest}: {problem}")]
    Corrupt {
        /// Who.
        tier: larder_core::Tier,
        /// For what.
        digest: Digest,
        /// What is wrong with them.
        problem: String,
    },
    /// The reader of a tapped blob gave up.
    #[error("the reader of {digest} stopped early")]
    ReaderGone {
        /// Which blob.
        digest: Digest,
    },
    /// The worker thread of a transfer ended without an answer.
    #[error("the worker that wrote {digest} ended unexpectedly")]
    Worker {
        /// Which blob.
        digest: Digest,
    },
}

fn list(platforms: &[Platform]) -> String {
    if platforms.is_empty() {
        return "no platform".into();
    }
    platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Remote { source, .. } => source.kind(),
            Self::Store { source, .. } => source.kind(),
            Self::Absent { .. } | Self::Platform { .. } => Kind::NotFound,
            Self::Unexpected { .. } | Self::Document { .. } => Kind::Invalid,
            Self::Corrupt { .. } => Kind::Corrupt,
            Self::ReaderGone { .. } => Kind::Unavailable,
            Self::Worker { .. } => Kind::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Remote { source, .. } => source.hints(),
            Self::Store { source, .. } => source.hints(),
            Self::Platform { offered, .. } if !offered.is_empty() => {
                vec![format!("choose one with --platform, for example --platform {}", offered[0])]
            }
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
