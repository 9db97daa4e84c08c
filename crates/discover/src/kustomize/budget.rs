//! How much may come of a kustomization: what is small as it is written can grow with every step, and doubled thirty times it is
//! larger than any memory.

use super::fault::Fault;
use larder_gotemplate::yaml::{Node, NodeKind};
use std::cell::Cell;

/// Bytes that a build may still read or copy. What is built is at most as large.
#[derive(Debug)]
pub(super) struct Budget {
    left: Cell<u64>,
}

impl Budget {
    pub(super) fn new() -> Self {
        Self { left: Cell::new(BYTES) }
    }

    /// Takes as much; when it is used up, everything that follows fails as well.
    pub(super) fn spend(&self, bytes: usize) -> Result<(), Fault> {
        let left = self.left.get().checked_sub(bytes as u64);
        self.left.set(left.unwrap_or(0));
        left.map(drop).ok_or(Fault::Limit { limit: BYTES, what: "bytes that are read and copied" })
    }

    /// Takes as much as a node has, `times` over.
    pub(super) fn spend_on(&self, node: &Node, times: usize) -> Result<(), Fault> {
        self.spend(weight(node).saturating_mul(times))
    }
}

/// About what a node takes in memory.
fn weight(node: &Node) -> usize {
    let inner = match &node.kind {
        NodeKind::Scalar(scalar) => scalar.text.len(),
        NodeKind::List(items) => items.iter().map(weight).sum(),
        NodeKind::Map(entries) => entries.iter().map(|(key, value)| weight(key) + weight(value)).sum(),
    };
    inner + size_of::<Node>()
}

/// Far more than there is in any cluster, and less than there is in any machine.
const BYTES: u64 = 256 << 20;
