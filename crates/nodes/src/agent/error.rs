//! Why a session with `larder-node` failed.

use larder_agent::{Code, Failure, FrameError, MessageError};
use larder_core::{Classify, Digest, Kind};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Errors of [`super::Agent`]. The caller knows the node.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The connection ended.
    #[error("the connection to larder-node was closed")]
    Closed(#[source] Option<io::Error>),
    /// No sign of life.
    #[error("no sign of life of larder-node for {} s", after.as_secs())]
    Stalled {
        /// The limit.
        after: Duration,
    },
    /// What came is not `larder-node`.
    #[error("larder-node does not answer: {said:?} came in its place")]
    NotThere {
        /// The beginning of what came.
        said: String,
    },
    /// `larder-node` could not be put on the node.
    #[error("cannot put larder-node on the node: {reason}")]
    Install {
        /// What the node said.
        reason: String,
    },
    /// There is no `larder-node` for the node.
    #[error("there is no larder-node for {architecture}")]
    NoProgram {
        /// As `uname -m` has it.
        architecture: String,
    },
    /// A file that is no program for a node.
    #[error("{} is no program for a node: {reason}", path.display())]
    Program {
        /// Which file.
        path: PathBuf,
        /// Why not.
        reason: &'static str,
    },
    /// A file of this machine.
    #[error("cannot read {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes to send.
    #[error("cannot read {digest} to send it")]
    Source {
        /// Of which blob.
        digest: Digest,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Bytes that are no frame.
    #[error("larder-node does not speak the protocol")]
    Frame(#[from] FrameError),
    /// A frame that makes no sense.
    #[error("larder-node does not speak the protocol")]
    Message(#[from] MessageError),
    /// A frame in a wrong place.
    #[error("larder-node does not speak the protocol: {0}")]
    Unexpected(&'static str),
    /// A request that does not fit into a frame.
    #[error("the request is longer than larder-node takes")]
    TooLong,
    /// An earlier call was given up in its middle.
    #[error("the session with larder-node was interrupted by its user")]
    Interrupted,
    /// The node says why.
    #[error("{}", .0.words)]
    Failed(Failure),
}

impl AgentError {
    /// True if the node is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Failed(failure) if failure.code == Code::DiskFull)
    }
}

impl Classify for AgentError {
    fn kind(&self) -> Kind {
        match self {
            // A line that is cut in the middle of a greeting looks as if somebody else answered.
            Self::Closed(_) | Self::Stalled { .. } | Self::NotThere { .. } | Self::Source { .. } => {
                Kind::Unavailable
            }
            Self::Frame(_)
            | Self::Message(_)
            | Self::Unexpected(_)
            | Self::Install { .. }
            | Self::NoProgram { .. } => Kind::Unsupported,
            Self::File { source, .. } if source.kind() == io::ErrorKind::NotFound => Kind::NotFound,
            Self::File { .. } => Kind::Unavailable,
            Self::Program { .. } | Self::TooLong => Kind::Invalid,
            Self::Interrupted => Kind::Internal,
            Self::Failed(failure) => failure.code.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoProgram { .. } => vec![
                "`--node-binary FILE` names one; `cargo xtask node-binary` builds it; `--method thin` does without".into(),
            ],
            Self::Install { .. } | Self::NotThere { .. } => {
                vec!["`--method thin` does without a program on the node".into()]
            }
            _ => Vec::new(),
        }
    }
}
