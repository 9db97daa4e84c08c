//! How images get to a node.

use std::fmt;

/// One way of bringing images to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// A small program of larder's on the node keeps what arrived, so that an interrupted delivery goes on at the byte.
    Agent,
    /// The node pulls from larder's registry through the connection.
    Tunnel,
    /// An archive without the blobs that the node has, straight into the runtime's import.
    Thin,
    /// The same archive as a file, by SFTP.
    Archive,
}

impl Method {
    /// All of them, the one that is tried first first.
    pub const ALL: [Self; 4] = [Self::Agent, Self::Thin, Self::Tunnel, Self::Archive];

    /// The word in commands and output.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Tunnel => "tunnel",
            Self::Thin => "thin",
            Self::Archive => "archive",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
