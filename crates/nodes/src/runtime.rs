//! What runs containers on a node.

/// Which runtime the inventory asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RuntimeChoice {
    /// containerd where it answers, else Docker.
    #[default]
    Auto,
    /// containerd.
    Containerd,
    /// Docker.
    Docker,
}

/// Which runtime a node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// containerd.
    Containerd,
    /// Docker.
    Docker,
}

impl std::fmt::Display for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::Containerd => "containerd",
            Self::Docker => "docker",
        })
    }
}
