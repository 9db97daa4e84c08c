//! The names of a tree: which directory calls which node what, found in constant time.
//!
//! Twenty bytes per name, the text in one arena, and an open hash table over both. A name is never taken out:
//! its node is unset, and it is used again when the same name comes back.

use crate::error::{Error, Result};
use crate::tree::NodeId;
use std::hash::{BuildHasher, RandomState};

#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    names: Vec<Name>,
    text: Vec<u8>,
    /// Positions in `names`, `NONE` where free; a power of two long, at most three quarters full.
    slots: Vec<u32>,
    /// Seeded at random, so that nobody can craft names that collide.
    hasher: RandomState,
}

#[derive(Debug, Clone)]
pub(crate) struct Name {
    parent: NodeId,
    node: u32,
    /// The next name of the same directory.
    pub(crate) next: u32,
    text: u32,
    /// The last apply that wrote at or below this name.
    pub(crate) stamp: u16,
    length: u8,
    flags: u8,
}

impl Name {
    pub(crate) fn parent(&self) -> NodeId {
        self.parent
    }

    /// What the name stands for; nothing when it was removed.
    pub(crate) fn node(&self) -> Option<NodeId> {
        (self.node != NONE).then(|| NodeId::new(self.node))
    }

    pub(crate) fn set_node(&mut self, node: Option<NodeId>) {
        self.node = node.map_or(NONE, |node| node.index() as u32);
    }

    /// The name is in the list of its directory.
    pub(crate) fn listed(&self) -> bool {
        self.flags & LISTED != 0
    }

    pub(crate) fn set_listed(&mut self, on: bool) {
        self.flags = self.flags & !LISTED | if on { LISTED } else { 0 };
    }

    /// The last apply had an entry of its own for this name.
    pub(crate) fn explicit(&self) -> bool {
        self.flags & EXPLICIT != 0
    }

    pub(crate) fn set_explicit(&mut self, on: bool) {
        self.flags = self.flags & !EXPLICIT | if on { EXPLICIT } else { 0 };
    }
}

impl Names {
    pub(crate) fn memory(&self) -> u64 {
        let slots = self.slots.len() * size_of::<u32>();
        (self.names.len() * size_of::<Name>() + self.text.len() + slots) as u64
    }

    pub(crate) fn get(&self, at: u32) -> &Name {
        &self.names[at as usize]
    }

    pub(crate) fn get_mut(&mut self, at: u32) -> &mut Name {
        &mut self.names[at as usize]
    }

    pub(crate) fn text(&self, at: u32) -> &[u8] {
        let name = self.get(at);
        &self.text[name.text as usize..][..usize::from(name.length)]
    }

    pub(crate) fn find(&self, parent: NodeId, text: &[u8]) -> Option<u32> {
        if self.slots.is_empty() {
            return None;
        }
        let slot = self.probe(parent, text);
        (self.slots[slot] != NONE).then(|| self.slots[slot])
    }

    /// Finds the name or makes it, without a node.
    pub(crate) fn find_or_insert(&mut self, parent: NodeId, text: &[u8]) -> Result<u32> {
        let length =
            u8::try_from(text.len()).map_err(|_| Error::Limit { what: "bytes of a name", limit: 255 })?;
        if (self.names.len() + 1) * 4 > self.slots.len() * 3 {
            self.grow();
        }
        let slot = self.probe(parent, text);
        if self.slots[slot] != NONE {
            return Ok(self.slots[slot]);
        }
        let limit = u64::from(NONE);
        let at = u32::try_from(self.names.len()).ok().filter(|at| *at != NONE);
        let at = at.ok_or(Error::Limit { what: "names of a tree", limit })?;
        let start = u32::try_from(self.text.len());
        let start = start.map_err(|_| Error::Limit { what: "bytes of all names", limit })?;
        self.text.extend_from_slice(text);
        let name = Name { parent, node: NONE, next: NONE, text: start, stamp: 0, length, flags: 0 };
        self.names.push(name);
        self.slots[slot] = at;
        Ok(at)
    }

    /// The slot that holds the name, or the free one where it would go.
    fn probe(&self, parent: NodeId, text: &[u8]) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = self.hasher.hash_one((parent.index() as u32, text)) as usize & mask;
        loop {
            let at = self.slots[slot];
            if at == NONE || (self.get(at).parent == parent && self.text(at) == text) {
                return slot;
            }
            slot = (slot + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(16);
        self.slots.clear();
        self.slots.resize(size, NONE);
        for at in 0..self.names.len() as u32 {
            let name = self.get(at);
            let mask = size - 1;
            let mut slot = self.hasher.hash_one((name.parent.index() as u32, self.text(at))) as usize & mask;
            while self.slots[slot] != NONE {
                slot = (slot + 1) & mask;
            }
            self.slots[slot] = at;
        }
    }
}

/// No name, no node, no list.
pub(crate) const NONE: u32 = u32::MAX;
const LISTED: u8 = 1;
const EXPLICIT: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_found_again() {
        assert_eq!(size_of::<Name>(), 20);
        let mut names = Names::default();
        let mut places = Vec::new();
        for i in 0..5000u32 {
            let text = format!("name-{}", i / 3);
            places.push((
                NodeId::new(i % 3),
                text.clone(),
                names.find_or_insert(NodeId::new(i % 3), text.as_bytes()).unwrap(),
            ));
        }
        for (parent, text, at) in places {
            assert_eq!(names.find(parent, text.as_bytes()), Some(at));
            assert_eq!(names.find_or_insert(parent, text.as_bytes()).unwrap(), at);
            assert_eq!(names.text(at), text.as_bytes());
        }
        assert_eq!(names.find(NodeId::new(3), b"name-1"), None);
        assert!(names.find_or_insert(NodeId::new(0), &[b'x'; 256]).is_err());
    }
}
