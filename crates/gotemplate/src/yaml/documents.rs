//! A stream of documents.

use super::builder::Builder;
use super::{Error, Node, Style};
use std::borrow::Cow;

/// What is read at most. One document from a stranger must not cost more than these allow.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of the whole stream, and of all texts of one document after aliases are expanded.
    pub bytes: usize,
    /// Lists and maps inside of each other.
    pub depth: usize,
    /// Nodes of one document after aliases are expanded.
    pub nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 20, depth: 200, nodes: 4_000_000 }
    }
}

/// The documents of a stream, in order. Empty ones are left out. A document that cannot be read is an error in its place; the
/// ones after it are read all the same, since `---` at the beginning of a line separates documents whatever stands before.
pub struct Documents<'a> {
    text: Cow<'a, str>,
    /// Where the rest begins, and in which line.
    position: usize,
    line: u32,
    /// What is left of the part that is being read: a part can have several documents, with `...` or in JSON one after the other.
    builder: Builder,
    end: usize,
    /// Where the document that was read last stands.
    last: std::ops::Range<usize>,
    failed: Option<Error>,
}

/// Reads a stream. Byte order marks, UTF-16 and line ends of any kind are read as go-yaml reads them.
pub fn documents<'a>(bytes: &'a [u8], limits: &Limits) -> Documents<'a> {
    let builder = Builder::new(limits.clone());
    let mut documents = Documents {
        text: Cow::Borrowed(""),
        position: 0,
        line: 1,
        builder,
        end: 0,
        last: 0..0,
        failed: None,
    };
    if bytes.len() > limits.bytes {
        documents.failed = Some(Error::Limit { line: 1, limit: limits.bytes, what: "bytes" });
        return documents;
    }
    match decode(bytes) {
        Ok(text) => documents.text = text,
        Err(error) => documents.failed = Some(error),
    }
    documents
}

/// The first document, also if nothing stands in it; what follows is not looked at.
pub(super) fn first(bytes: &[u8], limits: &Limits) -> Option<Result<Node, Error>> {
    let mut documents = documents(bytes, limits);
    documents.builder.strict = false;
    documents.next_or_empty()
}

impl Iterator for Documents<'_> {
    type Item = Result<Node, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.next_or_empty()? {
                Ok(node)
                    if node
                        .as_scalar()
                        .is_some_and(|scalar| scalar.text.is_empty() && scalar.style == Style::Plain) => {}
                document => return Some(document),
            }
        }
    }
}

impl Documents<'_> {
    /// The text of the document that came last, also of one that could not be read.
    pub fn text(&self) -> &str {
        &self.text[self.last.clone()]
    }

    /// The next document, also if nothing stands in it.
    fn next_or_empty(&mut self) -> Option<Result<Node, Error>> {
        if let Some(error) = self.failed.take() {
            return Some(Err(error));
        }
        loop {
            if self.position >= self.end {
                if self.end >= self.text.len() {
                    return None;
                }
                self.end = part(&self.text, self.position);
            }
            let rest = &self.text[self.position..self.end];
            let read = self.builder.read(rest, self.line);
            let used = read.used.clamp(1, rest.len());
            self.line += lines(&rest[..used]);
            self.last = self.position..self.position + used;
            self.position += used;
            match read.document {
                Ok(Some(node)) => return Some(Ok(node)),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The text of a stream: UTF-8, or UTF-16 with a byte order mark.
pub(super) fn decode(bytes: &[u8]) -> Result<Cow<'_, str>, Error> {
    let wide = |order: fn([u8; 2]) -> u16| {
        let units =
            bytes[2..].chunks(2).map(|unit| order([unit[0], unit.get(1).copied().unwrap_or_default()]));
        let text: Result<String, _> = char::decode_utf16(units).collect();
        text.map(Cow::Owned).map_err(|_| Error::Encoding { line: 1 })
    };
    match bytes {
        [0xff, 0xfe, ..] => wide(u16::from_le_bytes),
        [0xfe, 0xff, ..] => wide(u16::from_be_bytes),
        _ => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Cow::Borrowed(text.strip_prefix('\u{feff}').unwrap_or(text))),
            Err(error) => {
                let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
                Err(Error::Encoding { line: u32::try_from(line).unwrap_or(u32::MAX) })
            }
        },
    }
}

/// Where the part that begins at `start` ends: before the next line that begins with `---` and a blank. A part of directives and
/// comments only goes on with what follows, which they are about.
fn part(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let mut begin = start;
    let mut content = None;
    loop {
        let line = &bytes[begin..];
        let length = memchr::memchr(b'\n', line).map_or(line.len(), |at| at + 1);
        if begin > start && is_marker(line) && content != Some(Content::Directive) {
            return begin;
        }
        content = content_of(&line[..length], content);
        begin += length;
        if begin >= bytes.len() {
            return bytes.len();
        }
    }
}

/// What a part has had so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Content {
    Directive,
    Other,
}

fn content_of(line: &[u8], before: Option<Content>) -> Option<Content> {
    match (line.first(), before) {
        (Some(b'.'), _) if line.starts_with(b"...") => None,
        (_, Some(Content::Other)) => before,
        (Some(b'%'), _) => Some(Content::Directive),
        (Some(b'#' | b'\n' | b'\r'), _) => before,
        _ => Some(Content::Other),
    }
}

fn is_marker(line: &[u8]) -> bool {
    line.starts_with(b"---") && matches!(line.get(3), None | Some(b' ' | b'\t' | b'\r' | b'\n'))
}

fn lines(text: &str) -> u32 {
    u32::try_from(memchr::memchr_iter(b'\n', text.as_bytes()).count()).unwrap_or(u32::MAX)
}
