//! Why something could not be brought to a node.

use larder_core::{Bytes, Classify, Digest, Kind};
use std::path::PathBuf;

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of this crate. Each names the node, or the file, it is about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
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
    /// An inventory that cannot be used.
    #[error("cannot use the inventory {}: {problem}", path.display())]
    Inventory {
        /// Which one.
        path: PathBuf,
        /// What is wrong, with the line where there is one.
        problem: String,
    },
    /// No node is what was selected.
    #[error("{selector:?} is no node of {}", inventory.display())]
    NoNode {
        /// As it was given.
        selector: String,
        /// Where it was looked for.
        inventory: PathBuf,
        /// The names that there are.
        known: Vec<String>,
    },
    /// A word that may not be a host, a user, a name of a node and so on.
    #[error("{value:?} is no {what}: {reason}")]
    Word {
        /// What it should be.
        what: &'static str,
        /// What was given.
        value: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// A program of this machine could not be started.
    #[error("cannot run {program} on this machine")]
    Program {
        /// Which one.
        program: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nothing answers at the node's address, or the connection ended.
    #[error("{node}: {doing}: {said}")]
    Unreachable {
        /// Which node.
        node: String,
        /// What was being done.
        doing: &'static str,
        /// The words of ssh.
        said: String,
    },
    /// The node's address has no meaning to the resolver.
    #[error("{node}: there is no host {host}")]
    NoHost {
        /// Which node.
        node: String,
        /// Its address.
        host: String,
    },
    /// The node's host key is not known.
    #[error("{node}: the host key of {host} is not known")]
    UnknownHost {
        /// Which node.
        node: String,
        /// Its address.
        host: String,
        /// By what `larder nodes trust` finds it: a node, or a host on the way to one.
        trust: String,
    },
    /// The node's host key is another one than before.
    #[error("{node}: the host key of {host} has changed: it is another machine, or somebody is in between")]
    ChangedHost {
        /// Which node.
        node: String,
        /// Its address.
        host: String,
        /// By what `larder nodes trust` finds it: a node, or a host on the way to one.
        trust: String,
    },
    /// The node does not let the user in.
    #[error("{node}: {user} may not log in: {said}")]
    Login {
        /// Which node.
        node: String,
        /// Who.
        user: String,
        /// The words of ssh.
        said: String,
    },
    /// Something on the node was silent for too long.
    #[error("{node}: {doing} said nothing for {seconds} s")]
    Silent {
        /// Which node.
        node: String,
        /// What was being done.
        doing: &'static str,
        /// How long.
        seconds: u64,
    },
    /// A program on the node failed.
    #[error("{node}: {program} failed with {status}: {said}")]
    Remote {
        /// Which node.
        node: String,
        /// What was run, without what may be secret.
        program: String,
        /// Its exit code, or the signal.
        status: String,
        /// The end of what it said.
        said: String,
    },
    /// A disk of the node is full.
    #[error("{node}: no room is left on the device, says {program}: {said}")]
    NoSpace {
        /// Which node.
        node: String,
        /// What was run.
        program: String,
        /// The end of what it said.
        said: String,
    },
    /// A program on the node may not do what it should.
    #[error("{node}: {program} may not do that there: {said}")]
    Forbidden {
        /// Which node.
        node: String,
        /// What was run.
        program: String,
        /// The end of what it said.
        said: String,
    },
    /// A program on the node said something that cannot be understood.
    #[error("{node}: {program} said something that cannot be understood: {said:?}")]
    Answer {
        /// Which node.
        node: String,
        /// What was run.
        program: &'static str,
        /// The part that is not understood.
        said: String,
    },
    /// The node has a container runtime that does not answer: it is being started, or is broken.
    #[error("{node}: its container runtime does not answer: {said}")]
    NoAnswer {
        /// Which node.
        node: String,
        /// The words of its client.
        said: String,
    },
    /// The node has no container runtime that could take images.
    #[error("{node} has no container runtime that can be used: {looked}")]
    NoRuntime {
        /// Which node.
        node: String,
        /// What was looked for and what was found.
        looked: String,
    },
    /// The node cannot do what was asked for.
    #[error("{node} cannot do that: {reason}")]
    Unsupported {
        /// Which node.
        node: String,
        /// Why not.
        reason: String,
        /// What could be done in place of it.
        hint: &'static str,
    },
    /// Too little room on the node.
    #[error("{node}: {directory} has {} free, and {} are needed", Bytes(*free), Bytes(*needed))]
    Full {
        /// Which node.
        node: String,
        /// Where.
        directory: String,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// What arrived is not what was sent.
    #[error("{node}: {image} is not on the node as it was sent: {problem}")]
    NotThere {
        /// Which node.
        node: String,
        /// Which image.
        image: String,
        /// What is missing or different.
        problem: String,
    },
    /// A blob of the store is not what its name says, so it is not sent.
    #[error("blob {digest} is not sent: {problem}")]
    Damaged {
        /// Which one.
        digest: Digest,
        /// What is wrong with it.
        problem: String,
    },
    /// A file of settings on the node that cannot be changed.
    #[error("{node}: cannot use {path} there: {problem}")]
    Configuration {
        /// Which node.
        node: String,
        /// Which file.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// `larder-node` could not be put on the node, or could not do its work.
    #[error("{node}")]
    Agent {
        /// Which node.
        node: String,
        /// Why.
        #[source]
        source: crate::agent::AgentError,
    },
    /// The store failed.
    #[error("cannot read blob {digest}")]
    Store {
        /// Of which blob.
        digest: Digest,
        /// Why.
        #[source]
        source: larder_store::Error,
    },
}

impl Error {
    /// Whether trying again may help: the network, a node that starts again, a program that was killed.
    pub fn is_passing(&self) -> bool {
        self.kind() == Kind::Unavailable
    }

    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::File { source, .. } | Self::Program { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => Kind::NotFound,
                std::io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Unavailable,
            },
            Self::Inventory { .. } | Self::Word { .. } | Self::Configuration { .. } => Kind::Invalid,
            Self::NoNode { .. } | Self::NoHost { .. } => Kind::NotFound,
            Self::Unreachable { .. } | Self::Silent { .. } | Self::Remote { .. } | Self::NoAnswer { .. } => {
                Kind::Unavailable
            }
            Self::UnknownHost { .. }
            | Self::ChangedHost { .. }
            | Self::Login { .. }
            | Self::Forbidden { .. } => Kind::Denied,
            Self::Answer { .. } | Self::NoRuntime { .. } | Self::Unsupported { .. } => Kind::Unsupported,
            Self::Full { .. } | Self::NoSpace { .. } => Kind::Unavailable,
            Self::NotThere { .. } | Self::Damaged { .. } => Kind::Corrupt,
            Self::Agent { source, .. } => source.kind(),
            Self::Store { source, .. } => source.kind(),
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::NoNode { known, .. } if !known.is_empty() => {
                vec![format!("the inventory has {}", known.join(", "))]
            }
            Self::NoNode { .. } => vec!["`larder nodes add` adds one".into()],
            Self::NoHost { .. } => vec![
                "it is no node of the inventory either, unless that names this host; `larder nodes list` shows them".into(),
            ],
            Self::UnknownHost { trust, .. } => vec![format!(
                "`larder nodes trust --node {trust}` shows the key, and records it once you have compared it"
            )],
            Self::ChangedHost { trust, .. } => vec![format!(
                "if the machine was installed again, `larder nodes trust --node {trust} --replace` shows the new key and records it"
            )],
            Self::Login { .. } => {
                vec!["check user and key in the inventory, and that `ssh` gets in without asking".into()]
            }
            Self::Program { program, .. } => vec![format!("install {program} (Debian: openssh-client)")],
            Self::NoRuntime { .. } => {
                vec![
                    "start containerd or Docker there, or say where it is with `socket` in the inventory"
                        .into(),
                ]
            }
            Self::Unsupported { hint, .. } if !hint.is_empty() => vec![(*hint).into()],
            Self::Forbidden { .. } => {
                vec!["log in as root, or let the user become root by `sudo` without a password".into()]
            }
            Self::Full { node, .. } | Self::NoSpace { node, .. } => {
                vec![format!("make room on {node}, or let `directory` in the inventory be on another disk")]
            }
            Self::Damaged { .. } => {
                vec!["`larder verify --repair` sets it aside and fetches it again".into()]
            }
            Self::Agent { source, .. } => source.hints(),
            Self::Store { source, .. } => source.hints(),
            _ => Vec::new(),
        }
    }
}
