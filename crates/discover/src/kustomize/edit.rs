//! Changes to nodes of documents.

use larder_gotemplate::yaml::{Node, NodeKind, Scalar, Style};

/// A text, whatever it looks like.
pub(super) fn text(value: impl Into<String>, line: u32) -> Node {
    scalar(value, Style::DoubleQuoted, line)
}

/// A scalar that means what its text looks like.
pub(super) fn plain(value: impl Into<String>, line: u32) -> Node {
    scalar(value, Style::Plain, line)
}

/// A map without entries.
pub(super) fn map(line: u32) -> Node {
    Node { line, column: 1, kind: NodeKind::Map(Vec::new()) }
}

/// A list without items.
pub(super) fn list(line: u32) -> Node {
    Node { line, column: 1, kind: NodeKind::List(Vec::new()) }
}

fn scalar(value: impl Into<String>, style: Style, line: u32) -> Node {
    Node { line, column: 1, kind: NodeKind::Scalar(Scalar { text: value.into(), style, tag: None }) }
}

/// The text of a scalar, whatever it means.
pub(super) fn scalar_text(node: &Node) -> Option<&str> {
    node.as_scalar().map(|scalar| scalar.text.as_str())
}

/// The text of a scalar under a key.
pub(super) fn text_of<'a>(node: &'a Node, key: &str) -> Option<&'a str> {
    node.get(key).filter(|value| !value.is_null()).and_then(scalar_text)
}

/// The value of a key, to be changed.
pub(super) fn get_mut<'a>(node: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let NodeKind::Map(entries) = &mut node.kind else { return None };
    let found = entries.iter_mut().rev().find(|(name, _)| is_key(name, key));
    found.map(|(_, value)| value)
}

/// Sets the value of a key; a new key goes behind the others. Nothing happens to what is no map.
pub(super) fn set(node: &mut Node, key: &str, value: Node) {
    if let Some(old) = get_mut(node, key) {
        *old = value;
    } else if let NodeKind::Map(entries) = &mut node.kind {
        let name = text(key, value.line);
        entries.push((name, value));
    }
}

/// Sets a key to a text. The notation of a text that is there stays.
pub(super) fn set_text(node: &mut Node, key: &str, value: &str, line: u32) {
    set(node, key, text(value, line));
}

/// The value of a key that is made a map if it is not there or null.
pub(super) fn map_at<'a>(node: &'a mut Node, key: &str, line: u32) -> Option<&'a mut Node> {
    if node.get(key).is_none_or(Node::is_null) {
        set(node, key, map(line));
    }
    get_mut(node, key).filter(|value| value.as_map().is_some())
}

/// Takes a key out.
pub(super) fn remove(node: &mut Node, key: &str) -> Option<Node> {
    let NodeKind::Map(entries) = &mut node.kind else { return None };
    let at = entries.iter().rposition(|(name, _)| is_key(name, key))?;
    Some(entries.remove(at).1)
}

/// Adds `offset` to the line of every node.
pub(super) fn shift(node: &mut Node, offset: u32) {
    node.line = node.line.saturating_add(offset);
    match &mut node.kind {
        NodeKind::Scalar(_) => {}
        NodeKind::List(items) => items.iter_mut().for_each(|item| shift(item, offset)),
        NodeKind::Map(entries) => {
            for (key, value) in entries {
                shift(key, offset);
                shift(value, offset);
            }
        }
    }
}

/// Gives all nodes one line: what is copied from one place to another was put there by somebody.
pub(super) fn claim(node: &mut Node, line: u32) {
    node.line = line;
    match &mut node.kind {
        NodeKind::Scalar(_) => {}
        NodeKind::List(items) => items.iter_mut().for_each(|item| claim(item, line)),
        NodeKind::Map(entries) => {
            for (key, value) in entries {
                claim(key, line);
                claim(value, line);
            }
        }
    }
}

/// Whether it is a map or a list without anything in it, or null.
pub(super) fn is_empty(node: &Node) -> bool {
    match &node.kind {
        NodeKind::Scalar(_) => node.is_null(),
        NodeKind::List(items) => items.is_empty(),
        NodeKind::Map(entries) => entries.is_empty(),
    }
}

fn is_key(name: &Node, key: &str) -> bool {
    scalar_text(name) == Some(key)
}
