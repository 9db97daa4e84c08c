//! Several nodes.

use super::node::{Node, new_key};
use super::plan::{Engine, Plan};
use super::slot::Slot;
use anyhow::{Context as _, Result};
use std::ops::{Index, IndexMut};
use std::path::PathBuf;

/// Nodes that one key opens, with an inventory of them.
#[derive(Debug)]
pub struct Fleet {
    nodes: Vec<Node>,
    home: Slot,
}

impl Fleet {
    /// Nodes `worker-1` to `worker-COUNT` with the same engine.
    pub fn start(count: usize, engine: &Engine) -> Result<Self> {
        let plans: Vec<Plan> =
            (1..=count).map(|at| Plan::new(&format!("worker-{at}"), engine.clone())).collect();
        Self::with(&plans)
    }

    /// Nodes after these plans, started side by side; all answer when this returns.
    pub fn with(plans: &[Plan]) -> Result<Self> {
        Slot::sweep()?;
        // A place like those of nodes: what a killed process leaves there goes with the next sweep.
        let home = Slot::take()?;
        let key = home.directory().join("id_ed25519");
        new_key(&key)?;
        let started: Vec<Result<Node>> = std::thread::scope(|scope| {
            let starting: Vec<_> = plans.iter().map(|plan| scope.spawn(|| Node::start(plan, &key))).collect();
            starting.into_iter().map(|node| node.join().expect("starting a node does not panic")).collect()
        });
        let nodes = started.into_iter().collect::<Result<_>>()?;
        let fleet = Self { nodes, home };
        let entries: String = fleet.nodes.iter().map(Node::entry).collect();
        fleet.write_inventory(&entries)?;
        Ok(fleet)
    }

    /// The nodes in the order of their plans.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The private key that opens all of them.
    pub fn key(&self) -> PathBuf {
        self.home.directory().join("id_ed25519")
    }

    /// An inventory of all nodes.
    pub fn inventory(&self) -> PathBuf {
        self.home.directory().join("nodes.yaml")
    }

    /// Replaces the inventory; `entries` are list items, as [`Node::entry`] writes them.
    pub fn write_inventory(&self, entries: &str) -> Result<PathBuf> {
        std::fs::write(self.inventory(), format!("nodes:\n{entries}"))
            .context("cannot write the inventory")?;
        Ok(self.inventory())
    }

    /// A place for files of a test, removed with the fleet.
    pub fn directory(&self) -> PathBuf {
        self.home.directory()
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.nodes.clear();
        // What stays is swept by the next fleet.
        let _ = self.home.clear();
    }
}

impl Index<usize> for Fleet {
    type Output = Node;

    fn index(&self, at: usize) -> &Node {
        &self.nodes[at]
    }
}

impl IndexMut<usize> for Fleet {
    fn index_mut(&mut self, at: usize) -> &mut Node {
        &mut self.nodes[at]
    }
}
