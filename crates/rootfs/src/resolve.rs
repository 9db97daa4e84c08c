//! Walking paths the way the kernel does with the tree's root as `/`: symbolic links are followed, never out
//! of the root.

use crate::entry::Meta;
use crate::error::{Error, Result, shown};
use crate::tree::{Kind, NodeId, Tree};
use std::borrow::Cow;
use std::ops::Range;

impl Tree {
    /// The node at a path, symbolic links followed everywhere, the last component included; `None` where
    /// there is nothing, or after 40 links, as Linux has it.
    pub fn resolve(&self, path: &[u8]) -> Option<NodeId> {
        let mut walk = Walk::new(self, path);
        match self.walk(&mut walk) {
            Stop::End => Some(walk.here()),
            Stop::Blocked(at) if walk.rest().is_empty() => self.names.get(at).node(),
            Stop::Blocked(_) | Stop::Missing | Stop::Loop => None,
        }
    }

    /// The directory at a path, symbolic links followed; `None` where there is none.
    pub(crate) fn directory(&mut self, path: &[u8]) -> Result<Option<NodeId>> {
        let mut walk = Walk::new(self, path);
        let stop = self.walk(&mut walk);
        self.spend(walk.steps)?;
        Ok(matches!(stop, Stop::End).then(|| walk.here()))
    }

    /// The directory at a path and the length of its real path, for an entry of the running apply: what is
    /// missing is made, what is in the way and comes from a lower layer is replaced. Everything on the way
    /// counts as touched.
    pub(crate) fn make_directory(&mut self, path: &[u8], entry: &[u8]) -> Result<(NodeId, usize)> {
        if let Some(found) = self.recent.found
            && self.recent.path == path
        {
            return Ok(found);
        }
        let fail = |problem| Error::Apply { path: shown(entry), problem };
        let mut walk = Walk::new(self, path);
        loop {
            let at = match self.walk(&mut walk) {
                Stop::End => break,
                Stop::Loop => return Err(fail("its directory is behind too many symbolic links")),
                Stop::Missing => self.names.find_or_insert(walk.here(), walk.name())?,
                Stop::Blocked(at) if self.names.get(at).stamp == self.stamp => {
                    return Err(fail("its directory is not a directory but another entry of the same layer"));
                }
                Stop::Blocked(at) => at,
            };
            self.detach(at);
            let node = self.create(&Meta::implicit(), &Kind::Directory)?;
            self.attach(at, node);
            walk.enter(self, at, node);
        }
        self.spend(walk.steps)?;
        for at in &walk.passed {
            self.touch(*at);
        }
        if walk.hops > 0 {
            self.irregular = Some("its directory is behind a symbolic link");
        }
        let found = (walk.here(), walk.length());
        if found.1 > self.limits.path {
            return Err(Error::Limit { what: "bytes of a path", limit: self.limits.path as u64 });
        }
        // A path through a symbolic link means something else once the link is replaced, which removes
        // nothing.
        self.recent.path.clear();
        self.recent.path.extend_from_slice(path);
        self.recent.found = (walk.hops == 0).then_some(found);
        Ok(found)
    }

    /// Walks on until something needs a decision.
    fn walk<'w>(&self, walk: &mut Walk<'w>) -> Stop {
        while walk.advance() {
            match walk.name() {
                b"" | b"." => continue,
                b".." => {
                    if walk.stack.len() > 1 {
                        walk.stack.pop();
                    }
                    continue;
                }
                _ => {}
            }
            let at = self.names.find(walk.here(), walk.name());
            let Some((at, node)) = at.and_then(|at| Some((at, self.names.get(at).node()?))) else {
                return Stop::Missing;
            };
            match self.node(node).kind {
                Kind::Directory => walk.enter(self, at, node),
                Kind::Symlink(target) => {
                    walk.hops += 1;
                    if walk.hops > HOPS {
                        return Stop::Loop;
                    }
                    walk.splice(target);
                }
                _ => return Stop::Blocked(at),
            }
        }
        Stop::End
    }

    /// Bounds the time that a layer can cost: chains of long symbolic links, directories hidden again and again.
    pub(crate) fn spend(&mut self, steps: u64) -> Result<()> {
        self.work += steps;
        if self.work > WORK {
            return Err(Error::Limit { what: "names looked at for one layer", limit: WORK });
        }
        Ok(())
    }
}

struct Walk<'p> {
    path: Cow<'p, [u8]>,
    name: Range<usize>,
    /// Where the next component starts.
    at: usize,
    /// The directories from the root to here, each with the length of its path.
    stack: Vec<(NodeId, usize)>,
    /// Every name that was entered, as positions in the tree's names.
    passed: Vec<u32>,
    hops: u32,
    steps: u64,
}

enum Stop {
    /// The whole path was walked; it ends in a directory.
    End,
    /// The directory where the walk stands has no such name.
    Missing,
    /// Neither a directory nor a symbolic link.
    Blocked(u32),
    /// Too many symbolic links.
    Loop,
}

impl<'p> Walk<'p> {
    fn new(tree: &Tree, path: &'p [u8]) -> Self {
        let stack = vec![(tree.root(), 0)];
        Self { path: Cow::Borrowed(path), name: 0..0, at: 0, stack, passed: Vec::new(), hops: 0, steps: 0 }
    }

    fn here(&self) -> NodeId {
        self.stack[self.stack.len() - 1].0
    }

    fn length(&self) -> usize {
        self.stack[self.stack.len() - 1].1
    }

    fn rest(&self) -> &[u8] {
        self.path.get(self.at..).unwrap_or_default()
    }

    /// Moves to the next component, if there is one.
    fn advance(&mut self) -> bool {
        let rest = self.rest();
        let length = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let more = !rest.is_empty();
        self.name = self.at..self.at + length;
        self.at += length + 1;
        self.steps += 1;
        more
    }

    /// The component the walk is at.
    fn name(&self) -> &[u8] {
        &self.path[self.name.clone()]
    }

    fn enter(&mut self, tree: &Tree, at: u32, node: NodeId) {
        self.stack.push((node, self.length() + 1 + tree.names.text(at).len()));
        self.passed.push(at);
    }

    /// Goes on with the target of a symbolic link, then with what was left.
    fn splice(&mut self, target: &[u8]) {
        if target.first() == Some(&b'/') {
            self.stack.truncate(1);
        }
        self.path = Cow::Owned([target, b"/", self.rest()].concat());
        self.at = 0;
    }
}

/// `MAXSYMLINKS` of Linux.
const HOPS: u32 = 40;
/// Names that one apply may look at. A million entries ten levels deep stay below.
const WORK: u64 = 1 << 26;
