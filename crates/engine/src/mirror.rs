//! `nodes mirror`: let nodes pull through a larder registry.

use crate::{Error, Failure};
use larder_nodes::{FileChange, Fleet, MirrorOptions, Mirrored, Node};

/// What became of the nodes.
#[derive(Debug, serde::Serialize)]
pub struct MirrorReport {
    /// One per node, in the order of the inventory.
    pub nodes: Vec<MirroredNode>,
}

/// What became of one node.
#[derive(Debug, serde::Serialize)]
pub struct MirroredNode {
    /// Its name.
    pub node: String,
    /// Where it is.
    pub address: String,
    /// The files that were looked at.
    pub files: Vec<FileChange>,
    /// What somebody still has to do, and what is worth knowing.
    pub notes: Vec<String>,
    /// Why it could not be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

impl MirrorReport {
    /// Lets all nodes pull through a registry.
    pub async fn of(fleet: &Fleet, options: &MirrorOptions, jobs: usize) -> Self {
        Self::told(fleet.mirror(options, jobs).await)
    }

    /// Takes that back on all nodes.
    pub async fn undone(fleet: &Fleet, reload: bool, dry_run: bool, jobs: usize) -> Self {
        Self::told(fleet.unmirror(reload, dry_run, jobs).await)
    }

    /// The nodes that could not be changed, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        self.nodes.iter().filter_map(|node| Some((node.node.as_str(), node.failure.as_ref()?)))
    }

    fn told(nodes: Vec<(Node, larder_nodes::Result<Mirrored>)>) -> Self {
        let nodes = nodes.into_iter().map(|(node, outcome)| {
            let (name, address) = (node.name().to_owned(), node.address());
            match outcome {
                Ok(Mirrored { files, notes }) => {
                    MirroredNode { node: name, address, files, notes, failure: None }
                }
                Err(error) => MirroredNode {
                    node: name,
                    address,
                    files: Vec::new(),
                    notes: Vec::new(),
                    failure: Some(Failure::from(&Error::from(error))),
                },
            }
        });
        Self { nodes: nodes.collect() }
    }
}
