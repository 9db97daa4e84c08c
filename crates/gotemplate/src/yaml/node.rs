//! Nodes of a document, with their places.

use super::scalar::{self, Resolved};

/// A node of a document; aliases and merge keys are resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Line of the first character, from 1, in the whole stream. Of an alias: where the anchor's value stands.
    pub line: u32,
    /// Column of the first character, from 1.
    pub column: u32,
    /// What it holds.
    pub kind: NodeKind,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeKind {
    /// A text, a number, a boolean or null.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// In the order of the document; a key may stand there twice.
    Map(Vec<(Node, Node)>),
}

/// A scalar as written: what it means is decided by its text, its style and its tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scalar {
    /// The text after unquoting, unescaping and unfolding.
    pub text: String,
    /// How it is written.
    pub style: Style,
    /// The full tag, `tag:yaml.org,2002:str` for `!!str`.
    pub tag: Option<Box<str>>,
}

/// The notation of a scalar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Without quotes: may mean something else than a text.
    Plain,
    /// `'…'`
    SingleQuoted,
    /// `"…"`
    DoubleQuoted,
    /// `|`
    Literal,
    /// `>`
    Folded,
}

impl Node {
    /// The text, if this is a scalar that means a text: not a number, a boolean or null.
    pub fn as_text(&self) -> Option<&str> {
        match &self.kind {
            NodeKind::Scalar(scalar) if scalar.is_text() => Some(&scalar.text),
            _ => None,
        }
    }

    /// The scalar, whatever it means.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            NodeKind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The items, if this is a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.kind {
            NodeKind::List(items) => Some(items),
            _ => None,
        }
    }

    /// The entries, if this is a map.
    pub fn as_map(&self) -> Option<&[(Node, Node)]> {
        match &self.kind {
            NodeKind::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The value of `key`, if this is a map that has it; of the last one if it stands there twice.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let entries = self.as_map()?;
        let found =
            entries.iter().rev().find(|(name, _)| name.as_scalar().is_some_and(|name| name.text == key));
        found.map(|(_, value)| value)
    }

    /// Whether this is null: nothing, `~` or `null`.
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(|scalar| matches!(scalar.resolve(), Ok(Resolved::Nil)))
    }
}

impl Scalar {
    /// Whether it means a text (dates do): not a number, a boolean or null.
    pub fn is_text(&self) -> bool {
        match self.style {
            Style::Plain => matches!(self.resolve(), Ok(Resolved::Text | Resolved::Timestamp)),
            _ => self
                .tag
                .as_deref()
                .is_none_or(|tag| tag == scalar::TAG_TEXT || !tag.starts_with(scalar::TAG_PREFIX)),
        }
    }

    pub(super) fn resolve(&self) -> Result<Resolved, scalar::Mismatch> {
        scalar::resolve(self)
    }

    /// Whether it is `<<` as a key that merges.
    pub(super) fn is_merge(&self) -> bool {
        self.text == "<<"
            && match self.tag.as_deref() {
                None => self.style == Style::Plain,
                Some(tag) => tag == "!" || tag == scalar::TAG_MERGE,
            }
    }
}
