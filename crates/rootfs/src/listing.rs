//! A text form of trees and layers, for people and for comparison.

use crate::entry::{Body, Entry, Meta, Time};
use crate::layer::Layer;
use crate::tree::{Kind, Tree};
use std::fmt::Write;

/// One line per name, in the order of [`Tree::visit`]:
///
/// ```text
/// TYPE+MODE  UID/GID  SIZE  SECONDS.NANOS  PATH  [-> TARGET | link to PATH]  [NAME=VALUE …]
/// drwxr-xr-x 0/0 0 1700000000.000000000 usr
/// -rwsr-xr-x 0/0 31520 1700000000.000000000 usr/bin/su security.capability=\001\000
/// ```
///
/// The size of a device is `MAJOR,MINOR`. The root is `.`. A node that was listed before is a link to its
/// first path. Whatever is not a printing ASCII character, and space, `=` and `\`, is written as `\` and
/// three octal digits.
pub fn listing(tree: &Tree) -> String {
    let mut out = String::new();
    let mut first: Vec<Option<Box<[u8]>>> = vec![None; tree.bound()];
    tree.visit(|path, id| {
        let node = tree.node(id);
        let (sort, size, target) = match &node.kind {
            Kind::Directory => ('d', 0.to_string(), None),
            Kind::File(content) => ('-', content.size.to_string(), None),
            Kind::Symlink(target) => ('l', 0.to_string(), Some(("->", *target))),
            Kind::Device { block, major, minor } => (device(*block), format!("{major},{minor}"), None),
            Kind::Fifo => ('p', 0.to_string(), None),
        };
        let before = first[id.index()].clone();
        let linked = before.as_deref().map(|path| ("link to", path));
        line(&mut out, path, if linked.is_some() { 'h' } else { sort }, &size, &node.meta, linked.or(target));
        if node.links > 1 && before.is_none() && sort != 'd' {
            first[id.index()] = Some(path.into());
        }
    });
    out
}

/// The same for the members of a layer, in their order. Whiteouts are of type `w`, opaque directories `o`.
pub fn listing_of_layer(layer: &Layer) -> String {
    let mut out = String::new();
    for Entry { path, meta, body } in layer.entries() {
        let (sort, size, target) = match &body {
            Body::Directory => ('d', 0.to_string(), None),
            Body::File(content) => ('-', content.size.to_string(), None),
            Body::Symlink(target) => ('l', 0.to_string(), Some(("->", &**target))),
            Body::HardLink(target) => ('h', 0.to_string(), Some(("link to", &**target))),
            Body::Device { block, major, minor } => (device(*block), format!("{major},{minor}"), None),
            Body::Fifo => ('p', 0.to_string(), None),
            Body::Whiteout => ('w', 0.to_string(), None),
            Body::Opaque => ('o', 0.to_string(), None),
        };
        line(&mut out, &path, sort, &size, &meta, target);
    }
    out
}

fn device(block: bool) -> char {
    if block { 'b' } else { 'c' }
}

fn line(out: &mut String, path: &[u8], sort: char, size: &str, meta: &Meta, target: Option<(&str, &[u8])>) {
    let Time { secs, nanos } = meta.mtime;
    out.push(sort);
    mode(out, meta.mode);
    let path = if path.is_empty() { b"." } else { path };
    // Writing to a string cannot fail.
    let _ = write!(out, " {}/{} {size} {secs}.{nanos:09} ", meta.uid, meta.gid);
    escape(out, path);
    if let Some((arrow, target)) = target {
        let _ = write!(out, " {arrow} ");
        escape(out, target);
    }
    for xattr in &meta.xattrs {
        out.push(' ');
        escape(out, &xattr.name);
        out.push('=');
        escape(out, &xattr.value);
    }
    out.push('\n');
}

fn mode(out: &mut String, mode: u16) {
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
}

fn escape(out: &mut String, bytes: &[u8]) {
    for byte in bytes {
        if byte.is_ascii_graphic() && !matches!(byte, b'\\' | b'=') {
            out.push(char::from(*byte));
        } else {
            let _ = write!(out, "\\{byte:03o}");
        }
    }
}
