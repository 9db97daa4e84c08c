//! Documents as people and programs write nearly all of them: block maps and lists, scalars on a line of their own, texts over
//! several lines. They are read here, line by line, in a fraction of the time that all of YAML takes.
//!
//! INVARIANT: what is read here gives the nodes that the parser of all of YAML gives, with the same places. Whatever is not
//! certain to (anchors, tags, tabs, `?`, flow collections over several lines, errors of any kind) is not read here.

use super::builder::Document;
use super::inline::{self, Part};
use super::node::Style;
use std::borrow::Cow;

/// Reads a document, or gives up: `None`, and `document` is not to be used any more.
pub(super) fn read(text: &str, document: &mut Document<'_>) -> Option<()> {
    if !inline::is_harmless(text) {
        return None;
    }
    let mut reader = Reader { text, at: 0, number: 0, current: None, document };
    reader.start()?;
    reader.collection(0)?;
    reader.current.is_none().then_some(())
}

struct Reader<'t, 'd, 'l> {
    text: &'t str,
    /// Where the next line begins.
    at: usize,
    /// Lines before it.
    number: u32,
    /// The line to be read; `None` at the end.
    current: Option<Line<'t>>,
    document: &'d mut Document<'l>,
}

/// A line that is neither blank nor a comment, or what is left of one.
#[derive(Clone, Copy)]
pub(super) struct Line<'t> {
    /// From 0.
    pub(super) number: u32,
    /// Where `text` begins, from 0.
    pub(super) column: usize,
    /// Without what stands before it and without its end.
    pub(super) text: &'t str,
}

impl<'t> Line<'t> {
    /// The line behind `at` and blanks; `None` if only a comment follows.
    fn behind(self, at: usize) -> Option<Self> {
        let text = self.text[at..].trim_start_matches(' ');
        let column = self.column + self.text.len() - text.len();
        (!text.is_empty() && !text.starts_with('#')).then_some(Self { text, column, ..self })
    }

    fn is_entry(self) -> bool {
        self.text == "-" || self.text.starts_with("- ")
    }
}

impl<'t> Reader<'t, '_, '_> {
    /// The next line as it is.
    fn raw(&mut self) -> Option<&'t str> {
        let rest = &self.text[self.at..];
        if rest.is_empty() {
            return None;
        }
        let end = memchr::memchr(b'\n', rest.as_bytes());
        self.at += end.map_or(rest.len(), |end| end + 1);
        self.number += 1;
        Some(&rest[..end.unwrap_or(rest.len())])
    }

    /// Goes to the first line with content, over a `---`.
    fn start(&mut self) -> Option<()> {
        let before = (self.at, self.number);
        loop {
            let line = self.raw()?;
            let text = line.trim_start_matches(' ');
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            match line.strip_prefix("---") {
                Some(rest) => {
                    let comment = rest.trim_start_matches(' ');
                    let is_bare =
                        comment.is_empty() || comment.len() < rest.len() && comment.starts_with('#');
                    if !is_bare {
                        return None;
                    }
                }
                None => (self.at, self.number) = before,
            }
            return self.next();
        }
    }

    /// Goes to the next line with content.
    fn next(&mut self) -> Option<()> {
        self.current = None;
        while let Some(line) = self.raw() {
            let text = line.trim_start_matches(' ');
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let column = line.len() - text.len();
            let is_marker = column == 0 && (text.starts_with("---") || text.starts_with("..."));
            if is_marker || text.starts_with(['\t', '%']) {
                return None;
            }
            self.current = Some(Line { number: self.number - 1, column, text });
            break;
        }
        Some(())
    }

    fn collection(&mut self, depth: usize) -> Option<()> {
        if depth > DEPTH {
            return None;
        }
        match self.current? {
            line if line.is_entry() => self.list(line, line, depth),
            line => self.map(line, depth),
        }
    }

    /// `place` is where the list is said to begin.
    fn list(&mut self, first: Line<'t>, place: Line<'t>, depth: usize) -> Option<()> {
        let column = first.column;
        self.document.begin_list(place.number, place.column)?;
        while let Some(line) = self.current {
            if line.column < column || line.column == column && !line.is_entry() {
                break;
            }
            if line.column > column {
                return None;
            }
            match line.behind(1) {
                Some(inner) => {
                    self.current = Some(inner);
                    if inner.is_entry() || inline::key(inner.text)?.is_some() {
                        self.collection(depth + 1)?;
                    } else {
                        self.value(inner, column, depth)?;
                    }
                }
                None => {
                    self.next()?;
                    if self.current?.column <= column {
                        return None;
                    }
                    self.collection(depth + 1)?;
                }
            }
        }
        self.document.close()
    }

    fn map(&mut self, first: Line<'t>, depth: usize) -> Option<()> {
        let column = first.column;
        self.document.begin_map(first.number, column)?;
        while let Some(line) = self.current {
            if line.column < column {
                break;
            }
            if line.column > column || line.is_entry() {
                return None;
            }
            let key = inline::key(line.text)??;
            self.document.scalar(key.text, key.style, line.number, column)?;
            if let Some(inner) = line.behind(key.end) {
                self.value(inner, column, depth)?;
                continue;
            }
            self.next()?;
            match self.current {
                Some(next) if next.column > column => self.collection(depth + 1)?,
                Some(next) if next.column == column && next.is_entry() => {
                    // The parser has it that such a list begins with its first item.
                    let place = next.behind(1)?;
                    self.list(next, place, depth + 1)?;
                }
                _ => self.document.scalar("".into(), Style::Plain, line.number, column + key.end - 1)?,
            }
        }
        self.document.close()
    }

    /// What stands in a line behind a key or a `-`, with the lines that belong to it. `parent` is the column of the map or list.
    fn value(&mut self, line: Line<'t>, parent: usize, depth: usize) -> Option<()> {
        match line.text.as_bytes() {
            [b'|' | b'>', ..] => self.block_scalar(line, parent),
            [quote @ (b'"' | b'\''), ..] => self.quoted(line, parent, *quote),
            [b'[' | b'{', ..] => {
                let end = inline::flow(line, depth, self.document)?;
                if !inline::is_end(&line.text[end..]) {
                    return None;
                }
                self.next()
            }
            _ if !line.is_entry() && inline::begins_plain(line.text) => self.plain(line, parent),
            _ => None,
        }
    }

    fn plain(&mut self, line: Line<'t>, parent: usize) -> Option<()> {
        let Part { text, mut is_last } = inline::plain(line.text)?;
        let mut folded = Cow::Borrowed(text);
        let mut blanks = 0;
        loop {
            let before = (self.at, self.number);
            let Some(more) = self.raw() else { break };
            let more_text = more.trim_start_matches(' ');
            if more_text.is_empty() {
                blanks += 1;
                continue;
            }
            if more.len() - more_text.len() <= parent {
                (self.at, self.number) = before;
                break;
            }
            if more_text.starts_with('#') {
                is_last = true;
                continue;
            }
            // What follows a comment belongs to nothing.
            if is_last || more_text.starts_with('\t') {
                return None;
            }
            let part = inline::plain(more_text)?;
            fold(folded.to_mut(), blanks);
            folded.to_mut().push_str(part.text);
            (blanks, is_last) = (0, part.is_last);
        }
        self.document.scalar(folded, Style::Plain, line.number, line.column)?;
        self.next()
    }

    fn quoted(&mut self, line: Line<'t>, parent: usize, quote: u8) -> Option<()> {
        let style = inline::style_of(quote);
        let first = &line.text[1..];
        if let Some(end) = inline::quote_end(first, quote)? {
            if !inline::is_end(&first[end + 1..]) {
                return None;
            }
            let text = inline::unquoted(&first[..end], quote)?;
            self.document.scalar(text, style, line.number, line.column)?;
            return self.next();
        }
        let mut folded = inline::unquoted(first.trim_end_matches(' '), quote)?.into_owned();
        let mut blanks = 0;
        loop {
            let more = self.raw()?;
            let text = more.trim_start_matches(' ');
            if text.is_empty() {
                blanks += 1;
                continue;
            }
            if more.len() - text.len() <= parent {
                return None;
            }
            fold(&mut folded, blanks);
            blanks = 0;
            match inline::quote_end(text, quote)? {
                None => folded.push_str(&inline::unquoted(text.trim_end_matches(' '), quote)?),
                Some(end) => {
                    folded.push_str(&inline::unquoted(&text[..end], quote)?);
                    if !inline::is_end(&text[end + 1..]) {
                        return None;
                    }
                    self.document.scalar(folded.into(), style, line.number, line.column)?;
                    return self.next();
                }
            }
        }
    }

    /// `|` or `>`.
    fn block_scalar(&mut self, line: Line<'t>, parent: usize) -> Option<()> {
        let is_folded = line.text.starts_with('>');
        let (strips, rest) = match line.text[1..].strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, &line.text[1..]),
        };
        if !inline::is_end(rest) {
            return None;
        }
        let mut text = String::new();
        let mut indent = None;
        let mut place = 0;
        let mut blanks = 0;
        loop {
            let before = (self.at, self.number);
            let Some(raw) = self.raw() else { break };
            let content = raw.trim_start_matches(' ');
            let column = raw.len() - content.len();
            match indent {
                // Blank lines before the first one may have more blanks than it, which is an error.
                None if content.is_empty() => {
                    if column > 0 {
                        return None;
                    }
                    blanks += 1;
                }
                Some(indent) if content.is_empty() && column <= indent => blanks += 1,
                _ => {
                    if column <= parent {
                        (self.at, self.number) = before;
                        break;
                    }
                    if indent.is_none() {
                        place = before.1;
                    }
                    let indent = *indent.get_or_insert(column);
                    // Without a line end in the text there is none in the scalar.
                    if column < indent || self.at == self.text.len() && !self.text.ends_with('\n') {
                        return None;
                    }
                    if is_folded {
                        if column > indent || content.is_empty() || content.starts_with('\t') {
                            return None;
                        }
                        if text.is_empty() {
                            text.extend(std::iter::repeat_n('\n', blanks));
                        } else {
                            fold(&mut text, blanks);
                        }
                        text.push_str(content);
                    } else {
                        text.extend(std::iter::repeat_n('\n', blanks));
                        text.push_str(&raw[indent..]);
                        text.push('\n');
                    }
                    blanks = 0;
                }
            }
        }
        let indent = indent?;
        match (is_folded, strips) {
            (true, false) => text.push('\n'),
            (false, true) => text.truncate(text.trim_end_matches('\n').len()),
            _ => {}
        }
        // Lines of blanks only at the end of the content are content, and cut off like blank ones in one case and not in the other.
        if text.ends_with("\n\n") || text.ends_with(' ') || text.ends_with(" \n") {
            return None;
        }
        let style = if is_folded { Style::Folded } else { Style::Literal };
        // The parser has it that they begin with their content.
        self.document.scalar(text.into(), style, place, indent)?;
        self.next()
    }
}

/// A line end between two lines, with blank lines between them.
fn fold(text: &mut String, blanks: usize) {
    if blanks == 0 {
        text.push(' ');
    } else {
        text.extend(std::iter::repeat_n('\n', blanks));
    }
}

/// Lists and maps inside of each other; the stack is not endless.
const DEPTH: usize = 64;
