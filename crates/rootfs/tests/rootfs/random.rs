//! Random archives.

use crate::tar::{Head, Tar, scan};
use larder_rootfs::{
    Decoder, Error, Extent, Kind, Layer, Limits, Namespace, NodeId, Scanner, Shape, Tree, listing,
    listing_of_layer,
};
use proptest::collection::vec;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::io::Read;

fn limits() -> Limits {
    Limits { bytes: 64 << 20, entries: 10_000, ..Limits::default() }
}

/// Everything that can be done with bytes from a stranger.
fn everything(bytes: &[u8]) -> Result<(), Error> {
    let mut tar = Vec::new();
    Decoder::new(bytes, None, &limits()).read_to_end(&mut tar).map_err(Error::from_io)?;
    let mut scanner = Scanner::new(limits());
    scanner.feed(&tar)?;
    let layer = scanner.finish()?;
    listing_of_layer(&layer);
    let mut tree = Tree::with_limits(&limits());
    tree.apply(&layer, 0)?;
    tree.apply(&layer, 1)?;
    check(&tree);
    let (tree, _) = Tree::overlay(&layer, 0, Namespace::User, &limits())?;
    check(&tree);
    Ok(())
}

/// What holds for every tree.
fn check(tree: &Tree) {
    let mut names: BTreeMap<_, u32> = BTreeMap::new();
    let mut subdirectories: BTreeMap<_, u32> = BTreeMap::new();
    tree.visit(|path, id| {
        assert_eq!(tree.lookup(path), Some(id));
        *names.entry(id).or_default() += 1;
        assert!(id.index() < tree.bound());
        let children: Vec<_> = tree.children(id).collect();
        assert!(children.is_sorted_by(|(a, _), (b, _)| a < b));
        let directory = |(_, child): &(&[u8], _)| matches!(tree.node(*child).kind, Kind::Directory);
        subdirectories.insert(id, children.iter().filter(|child| directory(child)).count() as u32);
    });
    assert_eq!(names.len(), tree.len());
    for (id, count) in names {
        let node = tree.node(id);
        if matches!(node.kind, Kind::Directory) {
            assert_eq!((count, node.links), (1, 2 + subdirectories[&id]));
        } else {
            assert_eq!(node.links, count);
        }
    }
}

/// A member of an archive whose names collide often, and mean something now and then.
fn member() -> impl Strategy<Value = (u8, String, String, usize)> {
    let component = prop_oneof![
        6 => prop_oneof!["a", "b", "c"],
        1 => prop::sample::select(vec![".wh.a", ".wh.b", ".wh..wh..opq", ".", ".."]).prop_map(str::to_owned),
    ];
    let path = vec(component, 1..4).prop_map(|parts| parts.join("/"));
    let flag =
        prop_oneof![4 => Just(b'0'), 3 => Just(b'5'), 3 => Just(b'2'), 3 => Just(b'1'), 1 => Just(b'6')];
    let target =
        prop_oneof![path.clone(), Just("/".to_owned()), Just("..".to_owned()), Just("../../a".to_owned())];
    (flag, path, target, 0..2000usize)
}

fn write(members: &[(u8, String, String, usize)]) -> Tar {
    members.iter().fold(Tar::new(), |tar, (flag, path, target, size)| match flag {
        b'0' => tar.file(path, vec![1; *size]),
        b'5' => tar.directory(path),
        _ => tar.head(Head::new(*flag, path).link(target)),
    })
}

/// A tree of plain things: path to what it is.
fn plain_tree() -> impl Strategy<Value = BTreeMap<String, Option<Vec<u8>>>> {
    let path = vec("[a-zA-Z0-9._ -]{1,30}", 1..6).prop_map(|parts| parts.join("/"));
    proptest::collection::btree_map(path, proptest::option::of(vec(any::<u8>(), 0..1500)), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..3000)) {
        let _ = everything(&bytes);
    }

    #[test]
    fn damaged_archives_never_panic(
        members in vec(member(), 0..12),
        damage in vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        fix in any::<bool>(),
    ) {
        let sparse = [("SCHILY.xattr.user.a", "b"), ("GNU.sparse.size", "9000"), ("GNU.sparse.map", "0,512")];
        let mut bytes = write(&members).pax(&sparse).file("sparse", [1; 512]).end();
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
            if fix {
                // Make the block a header again, so that the damage gets further.
                let block = &mut bytes[at / 512 * 512..][..512];
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        let _ = everything(&bytes);
    }

    #[test]
    fn trees_stay_consistent(layers in vec(vec(member(), 0..15), 1..4)) {
        let mut tree = Tree::new();
        for (source, members) in layers.iter().enumerate() {
            let Ok(layer) = scan(&write(members).end()) else { return Ok(()) };
            let mut other = tree.clone();
            let tar = &mut std::io::Cursor::new(write(members).end());
            let streamed = other.apply_tar(tar, &Limits::default(), source as u16);
            let whole = tree.apply(&layer, source as u16);
            prop_assert_eq!(whole.is_err(), streamed.is_err());
            if whole.is_err() {
                return Ok(());
            }
            check(&tree);
            prop_assert_eq!(listing(&tree), listing(&other));
        }
    }

    #[test]
    fn pieces_do_not_matter(members in vec(member(), 0..12), cuts in vec(1..3000usize, 1..8)) {
        let bytes = write(&members).end();
        let whole = scan(&bytes).map_err(|error| error.to_string());
        let mut scanner = Scanner::new(Limits::default());
        let (mut rest, mut result) = (&bytes[..], Ok(()));
        for cut in cuts.iter().cycle() {
            let (piece, tail) = rest.split_at((*cut).min(rest.len()));
            result = scanner.feed(piece);
            rest = tail;
            if rest.is_empty() || result.is_err() {
                break;
            }
        }
        let pieces = result.and_then(|()| scanner.finish()).map_err(|error| error.to_string());
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn plain_trees_come_back(files in plain_tree(), pax in any::<bool>()) {
        let mut tar = Tar::new();
        let mut kept: BTreeMap<String, Option<Vec<u8>>> = BTreeMap::new();
        for (path, content) in files {
            if path.split('/').any(|part| part == "." || part == ".." || part.starts_with(".wh.")) {
                continue;
            }
            // A file cannot be a directory too.
            let above = path.match_indices('/').map(|(at, _)| &path[..at]);
            if above.clone().any(|above| matches!(kept.get(above), Some(Some(_)))) {
                continue;
            }
            for above in above {
                kept.entry(above.to_owned()).or_default();
            }
            tar = if pax { tar.pax(&[("path", &path)]) } else { tar.long(b'L', &path) };
            tar = match &content {
                Some(content) => tar.file("short", content),
                None => tar.directory("short"),
            };
            kept.insert(path, content);
        }
        let bytes = tar.end();
        let mut tree = Tree::new();
        tree.apply(&scan(&bytes).unwrap(), 0).unwrap();
        let mut found = BTreeMap::new();
        tree.visit(|path, id| {
            let content = match tree.node(id).kind {
                Kind::File(content) => {
                    let read = |extent: &Extent| bytes[extent.offset as usize..][..extent.len as usize].to_vec();
                    Some(content.extents.iter().flat_map(read).collect())
                }
                _ => None,
            };
            found.insert(String::from_utf8(path.to_vec()).unwrap(), content);
        });
        found.remove("");
        prop_assert_eq!(found, kept);
    }

    /// Stacking what `overlay` makes, by the rules of overlayfs, gives what `apply` gives.
    #[test]
    fn overlays_and_merged_trees_agree(lower in vec(member(), 0..12), upper in vec(member(), 0..12)) {
        let written: Vec<String> =
            upper.iter().flat_map(|(_, path, target, _)| [path.clone(), target.clone()]).collect();
        let (Ok(lower), Ok(upper)) = (scan(&write(&lower).end()), scan(&write(&upper).end())) else { return Ok(()) };
        let mut merged = Tree::new();
        if merged.apply(&lower, 0).is_err() || merged.apply(&upper, 1).is_err() {
            return Ok(());
        }
        let Ok((top, shape)) = overlay(&upper, 1) else { return Ok(()) };
        let mut base = Tree::new();
        base.apply(&lower, 0).unwrap();
        // What a layer writes through a link of the layer below depends on the order of its members, and so does what it writes
        // below something that it removes itself. No tool makes such layers.
        let implied = |path: &[u8]| base.lookup(path).is_some_and(|id| is_link(&base, id));
        let on_links = shape.synthesised.iter().any(|path| implied(path)) || written.iter().any(|path| passes_link(&base, path));
        let on_links = on_links || removes_what_it_writes(&written);
        prop_assume!(shape.irregular.is_none() && !on_links);
        let mut stacked = BTreeMap::new();
        stack(&base, &top, &shape.synthesised, &mut stacked);
        let mut expected = BTreeMap::new();
        merged.visit(|path, id| {
            expected.insert(path.to_vec(), describe(&merged, id));
        });
        prop_assert_eq!(stacked, expected, "{}", listing(&merged));
    }
}

fn overlay(layer: &Layer, source: u16) -> Result<(Tree, Shape), Error> {
    Tree::overlay(layer, source, Namespace::User, &Limits::default())
}

/// Whether a directory on the way to `path` is a link.
fn passes_link(tree: &Tree, path: &str) -> bool {
    let mut above: Vec<&str> = Vec::new();
    for part in path.split('/') {
        let so_far = above.join("/");
        if !so_far.is_empty() && tree.lookup(so_far.as_bytes()).is_some_and(|id| is_link(tree, id)) {
            return true;
        }
        match part {
            "" | "." => {}
            ".." => drop(above.pop()),
            part => above.push(part),
        }
    }
    false
}

/// Whether something is removed that stands above something written.
fn removes_what_it_writes(written: &[String]) -> bool {
    let plain = |path: &str| -> Vec<String> {
        path.split('/').filter(|part| !matches!(*part, "" | ".")).map(str::to_owned).collect()
    };
    let removed: Vec<Vec<String>> = written
        .iter()
        .filter_map(|path| {
            let mut parts = plain(path);
            let name = parts.pop()?.strip_prefix(".wh.")?.to_owned();
            parts.push(name);
            Some(parts)
        })
        .collect();
    written.iter().map(|path| plain(path)).any(|path| {
        removed.iter().any(|gone| path.len() > gone.len() && path.starts_with(gone))
            || path.iter().any(|part| part == "..") && !removed.is_empty()
    })
}

fn is_link(tree: &Tree, id: NodeId) -> bool {
    matches!(tree.node(id).kind, Kind::Symlink(_))
}

fn describe(tree: &Tree, id: NodeId) -> String {
    let node = tree.node(id);
    format!("{:?} {:o}", node.kind, node.meta.mode)
}

/// What overlayfs shows, as far as these archives go.
fn stack(lower: &Tree, upper: &Tree, synthesised: &[Box<[u8]>], out: &mut BTreeMap<Vec<u8>, String>) {
    let is_directory = |tree: &Tree, id| matches!(tree.node(id).kind, Kind::Directory);
    let hidden = |path: &[u8]| {
        let above = (0..path.len()).filter(|at| *at == 0 || path[*at] == b'/').map(|at| &path[..at]);
        let opaque = |id| upper.node(id).meta.xattrs.get(b"user.overlay.opaque").is_some();
        above.filter_map(|above| upper.lookup(above)).any(|id| opaque(id) || !is_directory(upper, id))
            || upper.lookup(path).is_some_and(|id| !is_directory(upper, id))
    };
    lower.visit(|path, id| {
        if !hidden(path) {
            out.insert(path.to_vec(), describe(lower, id));
        }
    });
    upper.visit(|path, id| {
        let below = lower.lookup(path).is_some_and(|id| is_directory(lower, id));
        let inherited = below && synthesised.iter().any(|other| **other == *path);
        let whiteout = matches!(upper.node(id).kind, Kind::Device { .. });
        if !inherited && !whiteout {
            out.insert(path.to_vec(), describe(upper, id));
        }
    });
}
