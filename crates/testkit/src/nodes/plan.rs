//! What a node is to be like.

use std::path::PathBuf;

/// A node that is about to be made.
#[derive(Debug, Clone)]
pub struct Plan {
    pub(super) name: String,
    pub(super) engine: Engine,
    pub(super) disk_bytes: Option<u64>,
}

/// What runs containers on a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Engine {
    /// The installed containerd, at its default socket, without the Kubernetes interface (which takes a second to start).
    Containerd,
    /// The `containerd` and `ctr` in this directory, for example one of another version.
    ContainerdIn(PathBuf),
    /// The installed Docker engine, at its default socket.
    Docker,
    /// Nothing: a machine with an sshd only.
    None,
}

impl Plan {
    /// A node with this host name and engine, and as much disk as there is.
    pub fn new(name: &str, engine: Engine) -> Self {
        Self { name: name.into(), engine, disk_bytes: None }
    }

    /// All its files, beyond those of the distribution, share a disk of this size (in memory).
    #[must_use]
    pub fn disk(mut self, bytes: u64) -> Self {
        self.disk_bytes = Some(bytes);
        self
    }
}
