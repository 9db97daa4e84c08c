//! Whether layers, stacked by overlayfs, show the tree that they add up to.
//!
//! Layers are unpacked one by one and shared between images, but some only mean the right thing together: a directory
//! that a layer needs but does not describe gets its attributes from below; overlayfs shows a whiteout where there is
//! nothing to hide. So the stack is played through in memory and compared with the merged tree.

use larder_rootfs::{Body, Entry};
use larder_rootfs::{Kind, Layer, Meta, Namespace, NodeId, Tree, Xattrs};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// How to show an image by overlayfs.
#[derive(Debug)]
pub(crate) enum Plan {
    /// The layers as they are.
    Exact,
    /// The layers, and one of directories on top that sets attributes right.
    Fixed(Layer),
    /// Not at all: the merged tree has to be one directory. The reason is for people.
    Flat(&'static str),
}

/// Plays the stack through. `layers` are the trees of [`Tree::overlay`], the top one first.
pub(crate) fn plan(merged: &Tree, layers: &[&Tree], namespace: Namespace) -> Plan {
    let mut stack = Stack { merged, layers, namespace, wrong: BTreeSet::new() };
    match stack.check() {
        Err(reason) => Plan::Flat(reason),
        Ok(()) if stack.wrong.is_empty() => Plan::Exact,
        Ok(()) => Plan::Fixed(stack.fix()),
    }
}

struct Stack<'a> {
    merged: &'a Tree,
    layers: &'a [&'a Tree],
    namespace: Namespace,
    /// Paths of directories that need an entry on top.
    wrong: BTreeSet<Vec<u8>>,
}

/// What the layers that were looked at so far make of a name.
enum Seen {
    Hidden,
    File(usize, NodeId),
    Directory {
        parts: Vec<(usize, NodeId)>,
        /// Lower layers still count.
        open: bool,
    },
}

impl<'a> Stack<'a> {
    fn check(&mut self) -> Result<(), &'static str> {
        let roots: Vec<_> = self.layers.iter().enumerate().map(|(at, tree)| (at, tree.root())).collect();
        if roots.iter().any(|(at, root)| self.is_opaque(*at, *root)) {
            return Err("a layer hides everything below it");
        }
        let mut directories = vec![(Vec::new(), self.merged.root(), roots)];
        while let Some((path, node, parts)) = directories.pop() {
            let meta = self.merged.node(node).meta;
            if parts.first().is_none_or(|(at, part)| !self.same(&meta, &self.layers[*at].node(*part).meta)) {
                self.wrong.insert(path.clone());
            }
            let (seen, whiteouts) = self.look(&parts);
            // Only in merged directories does overlayfs leave the whiteouts out; the root always is one.
            if whiteouts && parts.len() == 1 && !path.is_empty() {
                self.wrong.insert(path.clone());
            }
            let children: HashMap<&[u8], NodeId> = self.merged.children(node).collect();
            let visible = seen.values().filter(|seen| !matches!(seen, Seen::Hidden)).count();
            if visible != children.len() {
                return Err("a name is hidden by one way and not by the other");
            }
            for (name, seen) in seen {
                if matches!(seen, Seen::Hidden) {
                    continue;
                }
                let child = *children.get(name).ok_or("a name is hidden by one way and not by the other")?;
                let expected = self.merged.node(child);
                match seen {
                    Seen::Hidden => {}
                    Seen::File(at, part) => {
                        let found = self.layers[at].node(part);
                        if found.kind != expected.kind || !self.same(&expected.meta, &found.meta) {
                            return Err("a file gets something from a lower layer");
                        }
                    }
                    Seen::Directory { parts, .. } => {
                        if !matches!(expected.kind, Kind::Directory) {
                            return Err("a directory is something else below");
                        }
                        let mut below = path.clone();
                        if !below.is_empty() {
                            below.push(b'/');
                        }
                        below.extend_from_slice(name);
                        directories.push((below, child, parts));
                    }
                }
            }
        }
        Ok(())
    }

    /// The names in a directory that is merged from `parts`, and whether there are whiteouts among them.
    fn look(&self, parts: &[(usize, NodeId)]) -> (BTreeMap<&'a [u8], Seen>, bool) {
        let (mut names, mut whiteouts): (BTreeMap<&'a [u8], Seen>, _) = (BTreeMap::new(), false);
        for (at, part) in parts {
            let tree: &'a Tree = self.layers[*at];
            for (name, child) in tree.children(*part) {
                let kind = tree.node(child).kind;
                let (directory, whiteout) = (matches!(kind, Kind::Directory), is_whiteout(&kind));
                whiteouts |= whiteout;
                let open = directory && !self.is_opaque(*at, child);
                match names.get_mut(name) {
                    None => {
                        let seen = match (directory, whiteout) {
                            (true, _) => Seen::Directory { parts: vec![(*at, child)], open },
                            (false, true) => Seen::Hidden,
                            (false, false) => Seen::File(*at, child),
                        };
                        names.insert(name, seen);
                    }
                    Some(Seen::Directory { parts, open: more @ true }) => {
                        *more = open;
                        if directory {
                            parts.push((*at, child));
                        }
                    }
                    Some(_) => {}
                }
            }
        }
        (names, whiteouts)
    }

    /// The wrong directories and all above them, with the attributes they should have.
    fn fix(&self) -> Layer {
        let mut paths = BTreeSet::from([&b""[..]]);
        for path in &self.wrong {
            paths.extend(
                path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]),
            );
            paths.insert(path);
        }
        let entry = |path: &[u8]| {
            let meta = self.merged.node(self.merged.lookup(path)?).meta;
            Some(Entry { path: path.into(), meta, body: Body::Directory })
        };
        Layer::new(paths.into_iter().filter_map(entry), 0)
    }

    fn same(&self, merged: &Meta, part: &Meta) -> bool {
        let opaque = self.opaque();
        let own = |xattrs: &Xattrs| {
            xattrs.iter().filter(|xattr| *xattr.name != *opaque).cloned().collect::<Vec<_>>()
        };
        (merged.mode, merged.uid, merged.gid, merged.mtime) == (part.mode, part.uid, part.gid, part.mtime)
            && (merged.xattrs == part.xattrs || *merged.xattrs == *own(&part.xattrs))
    }

    fn is_opaque(&self, at: usize, node: NodeId) -> bool {
        self.layers[at].node(node).meta.xattrs.get(&self.opaque()).is_some()
    }

    fn opaque(&self) -> Vec<u8> {
        format!("{}.overlay.opaque", self.namespace.as_str()).into_bytes()
    }
}

fn is_whiteout(kind: &Kind<'_>) -> bool {
    matches!(kind, Kind::Device { block: false, major: 0, minor: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use larder_rootfs::{Limits, Xattr};

    fn layer(entries: &[(&str, Body)]) -> Layer {
        let entry = |(path, body): &(&str, Body)| Entry {
            path: path.as_bytes().into(),
            meta: Meta { mode: 0o700, ..Meta::implicit() },
            body: body.clone(),
        };
        Layer::new(entries.iter().map(entry), 0)
    }

    fn planned(layers: &[Layer]) -> Plan {
        let mut merged = Tree::new();
        let mut trees = Vec::new();
        for layer in layers {
            merged.apply(layer, 0).unwrap();
            trees.push(Tree::overlay(layer, 0, Namespace::Trusted, &Limits::default()).unwrap().0);
        }
        let refs: Vec<&Tree> = trees.iter().rev().collect();
        plan(&merged, &refs, Namespace::Trusted)
    }

    fn paths(layer: &Layer) -> Vec<String> {
        layer.entries().map(|entry| String::from_utf8_lossy(&entry.path).into_owned()).collect()
    }

    #[test]
    fn ordinary_layers_are_stacked_as_they_are() {
        let root = ("", Body::Directory);
        let base = layer(&[root.clone(), ("d", Body::Directory), ("d/a", Body::Fifo), ("d/b", Body::Fifo)]);
        let top = layer(&[root, ("d", Body::Directory), ("d/a", Body::Whiteout), ("d/c", Body::Fifo)]);
        assert!(matches!(planned(std::slice::from_ref(&base)), Plan::Exact));
        assert!(matches!(planned(&[base, top]), Plan::Exact));
    }

    #[test]
    fn directories_that_a_layer_does_not_describe_are_set_right_on_top() {
        let base = layer(&[
            ("", Body::Directory),
            ("d", Body::Directory),
            ("d/e", Body::Directory),
            ("x", Body::Fifo),
        ]);
        let top = layer(&[("d/e/f", Body::Fifo)]);
        let Plan::Fixed(fix) = planned(&[base, top]) else { panic!() };
        assert_eq!(paths(&fix), ["", "d", "d/e"]);
        assert!(fix.entries().all(|entry| entry.meta.mode == 0o700));
    }

    #[test]
    fn whiteouts_that_would_show_are_covered() {
        let base = layer(&[("", Body::Directory)]);
        let top = layer(&[("", Body::Directory), ("new", Body::Directory), ("new/gone", Body::Whiteout)]);
        let Plan::Fixed(fix) = planned(&[base, top]) else { panic!() };
        assert_eq!(paths(&fix), ["", "new"]);
    }

    #[test]
    fn what_overlayfs_cannot_say_is_flattened() {
        let base = layer(&[("", Body::Directory), ("a", Body::Fifo)]);
        let top = layer(&[("", Body::Directory), ("", Body::Opaque), ("b", Body::Fifo)]);
        assert!(matches!(planned(&[base.clone(), top]), Plan::Flat(_)), "the root cannot be opaque");
        let mut other: Vec<Entry> = base.entries().collect();
        other[1].meta.xattrs =
            [Xattr { name: b"user.x"[..].into(), value: b"1"[..].into() }].into_iter().collect();
        let mut merged = Tree::new();
        merged.apply(&base, 0).unwrap();
        let (tree, _) =
            Tree::overlay(&Layer::new(other, 0), 0, Namespace::Trusted, &Limits::default()).unwrap();
        assert!(matches!(plan(&merged, &[&tree], Namespace::Trusted), Plan::Flat(_)), "a file differs");
    }
}
