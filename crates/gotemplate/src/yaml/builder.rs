//! From events to nodes: anchors, aliases, merge keys and limits.

use super::Error;
use super::block;
use super::documents::Limits;
use super::node::{Node, NodeKind, Scalar, Style};
use super::repair::repair;
use granit_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::HashMap;

/// Reads documents one by one.
pub(super) struct Builder {
    limits: Limits,
    /// Whether it is an error if something follows a document that is neither separated nor JSON. go-yaml reads the first document
    /// and does not look further.
    pub(super) strict: bool,
}

/// The first document of a text.
pub(super) struct Read {
    /// `None` if there is none.
    pub(super) document: Result<Option<Node>, Error>,
    /// Bytes that belong to it.
    pub(super) used: usize,
}

impl Builder {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, strict: true }
    }

    /// Reads the first document of `text`, whose first line is `line`. After an error all of the text is used up, except that a
    /// document in JSON may be followed by another one without a separator.
    pub(super) fn read(&self, text: &str, line: u32) -> Read {
        let mut document = Document::new(&self.limits, line);
        if block::read(text, &mut document).is_some() {
            return Read { document: Ok(document.root), used: text.len() };
        }
        let read = self.read_as_it_is(text, line);
        if !matches!(read.document, Err(Error::Syntax { .. })) {
            return read;
        }
        let Some(repaired) = repair(text) else {
            return read;
        };
        let second = self.read_as_it_is(&repaired, line);
        match second.document {
            Ok(document) if second.used == repaired.len() => {
                Read { document: Ok(document), used: text.len() }
            }
            // Which byte of the text that is cannot be said.
            _ => read,
        }
    }

    fn read_as_it_is(&self, text: &str, line: u32) -> Read {
        let mut document = Document::new(&self.limits, line);
        let mut options = granit_parser::Options::default();
        options.set_emit_comments(false);
        options.emit_unresolved_aliases = true;
        options.block_nesting_limit = self.limits.depth;
        options.flow_nesting_limit = self.limits.depth;
        let mut parser = Parser::new_from_str_with_options(text, options);
        let mut json_end = None;
        while let Some(event) = parser.next_event() {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    let followed = json_end.filter(|end| text[*end..].trim_start().starts_with(['{', '[']));
                    if let (Some(end), Some(root)) = (followed, document.root.take()) {
                        return Read { document: Ok(Some(root)), used: end };
                    }
                    return Read { document: Err(document.syntax(&error)), used: text.len() };
                }
            };
            let ends = matches!(event, Event::DocumentEnd);
            let closes = matches!(event, Event::MappingEnd | Event::SequenceEnd);
            if let Err(error) = document.take(event, &span) {
                return Read { document: Err(error), used: text.len() };
            }
            let end = span.end.byte_offset().unwrap_or(text.len());
            if closes && document.root.is_some() && text[..end].ends_with(['}', ']']) {
                json_end = Some(end);
            }
            if ends && document.root.is_some() {
                let rest = text[end..].trim_start();
                let separated = text[..end].trim_end().ends_with("...")
                    || ["{", "[", "...", "---"].iter().any(|mark| rest.starts_with(mark));
                if self.strict && !rest.is_empty() && !separated {
                    continue;
                }
                let used = if rest.is_empty() { text.len() } else { end };
                return Read { document: Ok(document.finish(&text[..used])), used };
            }
        }
        Read { document: Ok(document.finish(text)), used: text.len() }
    }
}

/// A block scalar whose last line has no line end has none in its text either; the parser adds one.
fn unterminate(node: &mut Node, last_line: &str) {
    match &mut node.kind {
        NodeKind::List(items) => {
            if let Some(last) = items.last_mut() {
                unterminate(last, last_line);
            }
        }
        NodeKind::Map(entries) => {
            if let Some((key, last)) = entries.last_mut() {
                let nothing = last.as_scalar().is_some_and(|scalar| scalar.text.is_empty());
                unterminate(if nothing { key } else { last }, last_line);
            }
        }
        NodeKind::Scalar(scalar) if matches!(scalar.style, Style::Literal | Style::Folded) => {
            let ends = scalar
                .text
                .strip_suffix('\n')
                .is_some_and(|text| text.ends_with(last_line.trim_start_matches(' ')));
            if ends {
                scalar.text.pop();
            }
        }
        NodeKind::Scalar(_) => {}
    }
}

/// One document while it is being read.
pub(super) struct Document<'a> {
    limits: &'a Limits,
    /// What is added to the lines of the parser, which counts from 1.
    line: u32,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    root: Option<Node>,
    nodes: usize,
    bytes: usize,
}

/// A list or a map that is not at its end.
struct Open {
    line: u32,
    column: u32,
    anchor: usize,
    items: Items,
}

enum Items {
    List(Vec<Node>),
    Map { entries: Vec<(Node, Node)>, key: Option<Node>, merges: bool },
}

impl<'a> Document<'a> {
    fn new(limits: &'a Limits, line: u32) -> Self {
        Self { limits, line, open: Vec::new(), anchors: HashMap::new(), root: None, nodes: 0, bytes: 0 }
    }

    /// The root. `text` is all of the document.
    fn finish(&mut self, text: &str) -> Option<Node> {
        let mut root = self.root.take()?;
        let last_line = text.rsplit('\n').next().unwrap_or_default();
        if !last_line.trim().is_empty() {
            unterminate(&mut root, last_line);
        }
        Some(root)
    }

    fn take(&mut self, event: Event<'_>, span: &Span) -> Result<(), Error> {
        let (line, column) = self.place(span);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                // Where nothing is written the parser says `~`.
                let nothing = style == ScalarStyle::Plain && span.start.index() == span.end.index();
                let text = if nothing { "".into() } else { text };
                let scalar = Scalar {
                    text: text.into_owned(),
                    style: style_of(style),
                    tag: tag.as_deref().map(full_tag),
                };
                let node = Node { line, column, kind: NodeKind::Scalar(scalar) };
                self.node(node, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(line, column, anchor, Items::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                let items = Items::Map { entries: Vec::new(), key: None, merges: false };
                self.begin(line, column, anchor, items)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    return Err(Error::AnchorLoop { line });
                };
                // Charged before it is copied: aliases of aliases grow exponentially.
                let (nodes, bytes) = size(node);
                self.charge(nodes, bytes, line)?;
                match self.anchors.get(&id).cloned() {
                    Some(node) => self.put(node),
                    None => Ok(()),
                }
            }
            Event::UnresolvedAlias(name) => Err(Error::UnknownAnchor { line, name: name.into_owned() }),
            _ => Ok(()),
        }
    }

    /// A scalar without a tag; `line` and `column` count from 0 in this document. `None` where a limit is reached.
    pub(super) fn scalar(
        &mut self,
        text: Cow<'_, str>,
        style: Style,
        line: u32,
        column: usize,
    ) -> Option<()> {
        let (line, column) = self.place_of(line, column);
        let scalar = Scalar { text: text.into_owned(), style, tag: None };
        self.node(Node { line, column, kind: NodeKind::Scalar(scalar) }, 0).ok()
    }

    /// A list, up to [`Self::close`].
    pub(super) fn begin_list(&mut self, line: u32, column: usize) -> Option<()> {
        let (line, column) = self.place_of(line, column);
        self.begin(line, column, 0, Items::List(Vec::new())).ok()
    }

    /// A map, up to [`Self::close`]; keys and values in turn.
    pub(super) fn begin_map(&mut self, line: u32, column: usize) -> Option<()> {
        let (line, column) = self.place_of(line, column);
        let items = Items::Map { entries: Vec::new(), key: None, merges: false };
        self.begin(line, column, 0, items).ok()
    }

    /// Ends the list or map that was begun last.
    pub(super) fn close(&mut self) -> Option<()> {
        self.end().ok()
    }

    fn place_of(&self, line: u32, column: usize) -> (u32, u32) {
        (self.line.saturating_add(line), u32::try_from(column).unwrap_or(u32::MAX).saturating_add(1))
    }

    fn begin(&mut self, line: u32, column: u32, anchor: usize, items: Items) -> Result<(), Error> {
        if self.open.len() >= self.limits.depth {
            return Err(Error::Limit { line, limit: self.limits.depth, what: "levels" });
        }
        self.charge(1, 0, line)?;
        self.open.push(Open { line, column, anchor, items });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Error> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let kind = match open.items {
            Items::List(items) => NodeKind::List(items),
            Items::Map { entries, merges: false, .. } => NodeKind::Map(entries),
            Items::Map { entries, .. } => NodeKind::Map(merge(entries)?),
        };
        let node = Node { line: open.line, column: open.column, kind };
        self.remember(&node, open.anchor)?;
        self.put(node)
    }

    /// A complete node with its own anchor.
    fn node(&mut self, node: Node, anchor: usize) -> Result<(), Error> {
        let bytes = node.as_scalar().map_or(0, |scalar| scalar.text.len());
        self.charge(1, bytes, node.line)?;
        self.remember(&node, anchor)?;
        self.put(node)
    }

    fn remember(&mut self, node: &Node, anchor: usize) -> Result<(), Error> {
        if anchor > 0 {
            let (nodes, bytes) = size(node);
            self.charge(nodes, bytes, node.line)?;
            self.anchors.insert(anchor, node.clone());
        }
        Ok(())
    }

    fn put(&mut self, node: Node) -> Result<(), Error> {
        match self.open.last_mut().map(|open| &mut open.items) {
            None => self.root = Some(node),
            Some(Items::List(items)) => items.push(node),
            Some(Items::Map { entries, key, merges }) => match key.take() {
                None => {
                    *merges |= node.as_scalar().is_some_and(Scalar::is_merge);
                    *key = Some(node);
                }
                Some(key) => entries.push((key, node)),
            },
        }
        Ok(())
    }

    fn charge(&mut self, nodes: usize, bytes: usize, line: u32) -> Result<(), Error> {
        self.nodes = self.nodes.saturating_add(nodes);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.nodes > self.limits.nodes {
            return Err(Error::Limit { line, limit: self.limits.nodes, what: "nodes" });
        }
        if self.bytes > self.limits.bytes {
            return Err(Error::Limit { line, limit: self.limits.bytes, what: "bytes" });
        }
        Ok(())
    }

    fn place(&self, span: &Span) -> (u32, u32) {
        let line = u32::try_from(span.start.line()).unwrap_or(u32::MAX).saturating_sub(1);
        let column = u32::try_from(span.start.col()).unwrap_or(u32::MAX);
        (self.line.saturating_add(line), column.saturating_add(1))
    }

    fn syntax(&self, error: &granit_parser::ScanError) -> Error {
        let line = u32::try_from(error.marker().line()).unwrap_or(u32::MAX).saturating_sub(1);
        let line = self.line.saturating_add(line);
        let column = u32::try_from(error.marker().col()).unwrap_or(u32::MAX).saturating_add(1);
        Error::Syntax { line, column, reason: error.info() }
    }
}

/// Nodes and bytes of text.
fn size(node: &Node) -> (usize, usize) {
    match &node.kind {
        NodeKind::Scalar(scalar) => (1, scalar.text.len()),
        NodeKind::List(items) => items.iter().map(size).fold((1, 0), |(a, b), (c, d)| (a + c, b + d)),
        NodeKind::Map(entries) => entries.iter().fold((1, 0), |(nodes, bytes), (key, value)| {
            let (key, value) = (size(key), size(value));
            (nodes + key.0 + value.0, bytes + key.1 + value.1)
        }),
    }
}

/// Resolves `<<` as go-yaml 2 does: in the order of the document, so that a key before `<<` is overwritten by it. Of a list of maps
/// the earlier ones win.
fn merge(entries: Vec<(Node, Node)>) -> Result<Vec<(Node, Node)>, Error> {
    let mut merged = Merged { entries: Vec::with_capacity(entries.len()), places: HashMap::new() };
    for (key, value) in entries {
        if !key.as_scalar().is_some_and(Scalar::is_merge) {
            merged.set(key, value);
            continue;
        }
        let line = value.line;
        match value.kind {
            NodeKind::Map(inner) => merged.set_all(inner),
            NodeKind::List(items) => {
                for item in items.into_iter().rev() {
                    match item.kind {
                        NodeKind::Map(inner) => merged.set_all(inner),
                        _ => return Err(Error::Merge { line: item.line }),
                    }
                }
            }
            NodeKind::Scalar(_) => return Err(Error::Merge { line }),
        }
    }
    Ok(merged.entries)
}

struct Merged {
    entries: Vec<(Node, Node)>,
    places: HashMap<String, usize>,
}

impl Merged {
    fn set_all(&mut self, entries: Vec<(Node, Node)>) {
        for (key, value) in entries {
            self.set(key, value);
        }
    }

    fn set(&mut self, key: Node, value: Node) {
        let Some(name) = key.as_scalar().map(|scalar| scalar.text.clone()) else {
            self.entries.push((key, value));
            return;
        };
        match self.places.get(&name) {
            Some(place) => self.entries[*place].1 = value,
            None => {
                self.places.insert(name, self.entries.len());
                self.entries.push((key, value));
            }
        }
    }
}

fn style_of(style: ScalarStyle) -> Style {
    match style {
        ScalarStyle::SingleQuoted => Style::SingleQuoted,
        ScalarStyle::DoubleQuoted => Style::DoubleQuoted,
        ScalarStyle::Literal => Style::Literal,
        ScalarStyle::Folded => Style::Folded,
        _ => Style::Plain,
    }
}

fn full_tag(tag: &Tag) -> Box<str> {
    format!("{}{}", tag.handle(), tag.suffix()).into_boxed_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The nodes as the quick reader gives them, and as the parser of all of YAML does.
    fn both(text: &str) -> Option<(Node, Result<Option<Node>, Error>)> {
        let builder = Builder::new(Limits::default());
        let mut document = Document::new(&builder.limits, 1);
        block::read(text, &mut document)?;
        Some((document.root.expect("it is read"), builder.read_as_it_is(text, 1).document))
    }

    /// Whether the quick reader reads it; both must agree then.
    fn is_quick(text: &str) -> bool {
        match both(text) {
            None => false,
            Some((quick, whole)) => {
                assert_eq!(Ok(Some(quick)), whole, "{text}");
                true
            }
        }
    }

    #[test]
    fn usual_documents_are_read_quickly() {
        for text in USUAL {
            assert!(is_quick(text), "{text}");
        }
    }

    #[test]
    fn what_is_not_usual_is_left_to_the_parser() {
        for text in [
            "a: &x 1\n",
            "a: !!str 1\n",
            "a:\tb\n",
            "? a\n: b\n",
            "a: [\n1]\n",
            "a: b: c\n",
            "a: |2\n   x\n",
            "- a\nb: c\n",
        ] {
            assert!(!is_quick(text), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4000))]
        #[test]
        fn both_readers_agree(pieces in prop::collection::vec(prop::sample::select(PIECES), 1..24)) {
            is_quick(&pieces.concat());
        }

        #[test]
        fn both_readers_agree_on_what_is_nearly_usual(
            text in prop::sample::select(USUAL),
            cuts in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(PIECES), any::<bool>()), 1..4),
        ) {
            let mut characters: Vec<char> = text.chars().collect();
            for (at, piece, replaces) in cuts {
                let at = at.index(characters.len() + 1);
                let end = if replaces { (at + piece.len()).min(characters.len()) } else { at };
                characters.splice(at..end, piece.chars());
            }
            is_quick(&characters.into_iter().collect::<String>());
        }
    }

    const USUAL: &[&str] = &[
        "a: 1\n",
        "# c\n---\n# d\na: 1 # e\nb: x#y\n",
        "--- # c\n  a: 1\n  b: 2\n",
        "a:\n  b:\n    c: d\n  e: f\ng:\n",
        "a:\n- b\n- c: d\n  e: f\n-\n  g: h\nx: y\n",
        "a:\n  - - b\n    - c\n  - --flag=x\n  - -1\n",
        "- a: 1\n  b:\n  - c\n- d: 2\n",
        "a: |\n  x\n\n    y # no comment\n  z\nb: 2\n",
        "a: |-\n\n  x: [\n  \ty\n\n\n# c\nb: >\n  one\n  two\n\n  three\nc: >-\n  x\n\n",
        "a: 'it''s' # c\n'b c': \"x \\\" \\n\"\n\"d\": 'x\n  y\n\n  z '\n",
        "a: one\n  two\n\n  three # c\nb: \"one \n   two\"\n",
        "a: [a, \"b\", 'c', 1.5, [x], {}] # c\nb: {k: v, \"l\": [ ], m: {n: o}, }\nc: []\n",
        "a: b\n  # c\n  # d\ne: f\n",
        "a: 'https://x.y:8080/z?a=b#c'\nb: https://x.y:8080/z?a=b#c\nc: ä ö\n",
        "a: \n  b: null\n  c: ~\nd: yes   \n\n\n",
        "- |\n  x\n- >-\n  y\n- a\n  b\n",
    ];

    const PIECES: &[&str] = &[
        "a", "b: ", "c:", ":", "- ", "-", " ", "  ", "    ", "\n", "\n  ", "\n    ", "\n- ", "\na: ", "\n\n",
        "'", "\"", "''", "\\", "\\n", "|", "|-", "|+", ">", ">-", "|\n  x\n", "#", " # c", "[", "]", "{",
        "}", ",", ", ", "1", "~", "null", "<<", "<<: ", "&x ", "*x", "!t ", "? ", "%", "@", "`", "---",
        "\n---\n", "...", "\n...\n", "\t", "\r", "ä", "\u{a0}", "\u{85}", "\u{feff}", ".", "=",
    ];
}
