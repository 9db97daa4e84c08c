//! Progress leaves the libraries as events; faces decide how to show them.

use crate::Digest;
use std::sync::Arc;
use std::time::Duration;

/// Where bytes or an answer came from, nearest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tier {
    /// This process.
    Memory,
    /// The store on this machine.
    Disk,
    /// A cache shared by several machines.
    Remote,
    /// The registry, or a mirror of it.
    Registry,
}

impl Tier {
    /// All tiers, nearest first.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Disk, Self::Remote, Self::Registry];

    /// The lower-case word used in output, metrics and the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Remote => "remote",
            Self::Registry => "registry",
        }
    }
}

impl std::fmt::Display for Tier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that happened. Sizes are bytes.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A reference was resolved to a digest.
    Resolved {
        /// The reference as the user wrote it.
        reference: String,
        /// What it stands for now.
        digest: Digest,
        /// Who answered.
        tier: Tier,
    },
    /// A blob is about to move. `done` bytes of it are already here from an earlier attempt.
    BlobStarted {
        /// The reference on whose behalf.
        reference: String,
        /// Which blob.
        digest: Digest,
        /// Its whole size.
        size: u64,
        /// Bytes kept from an interrupted transfer.
        done: u64,
    },
    /// More bytes of a blob arrived.
    BlobAdvanced {
        /// Which blob.
        digest: Digest,
        /// How many more.
        bytes: u64,
    },
    /// A blob is complete and verified.
    BlobFinished {
        /// Which blob.
        digest: Digest,
        /// Who served it.
        tier: Tier,
    },
    /// So many bytes are about to go to a node.
    NodeStarted {
        /// Its name.
        node: String,
        /// What it lacks.
        bytes: u64,
    },
    /// More bytes went to a node.
    NodeAdvanced {
        /// Its name.
        node: String,
        /// How many more.
        bytes: u64,
    },
    /// Nothing more goes to a node, for good or ill.
    NodeFinished {
        /// Its name.
        node: String,
    },
    /// A transfer failed and is tried again.
    Retrying {
        /// What was being done, with the host.
        what: String,
        /// Why it failed.
        reason: String,
        /// How long until the next attempt.
        delay: Duration,
    },
    /// A layer was unpacked or indexed.
    LayerReady {
        /// Digest of the uncompressed layer.
        diff_id: Digest,
        /// Uncompressed size.
        size: u64,
    },
    /// Something the user should know, though the operation goes on.
    Warning {
        /// One sentence.
        message: String,
    },
}

/// Receives events; called from any thread, must not block.
pub type Progress = Arc<dyn Fn(Event) + Send + Sync>;

/// A receiver that drops everything.
pub fn silent() -> Progress {
    Arc::new(|_| {})
}
