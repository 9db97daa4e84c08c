//! What stands in one line: keys, plain and quoted texts, small flow collections. `None` is always "not certain".

use super::block::Line;
use super::builder::Document;
use super::node::Style;
use std::borrow::Cow;

/// Whether there are only characters that YAML has no opinion of.
pub(super) fn is_harmless(text: &str) -> bool {
    let is_fine = |byte: u8| byte >= b' ' && byte != 0x7f || byte == b'\n' || byte == b'\t';
    let controls = text.bytes().fold(false, |any, byte| any | !is_fine(byte));
    let is_odd = |character: char| {
        matches!(
            character,
            '\u{80}'..='\u{a0}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}'
        )
    };
    !controls && (text.is_ascii() || !text.chars().any(is_odd))
}

/// Whether only blanks or a comment follow.
pub(super) fn is_end(rest: &str) -> bool {
    let trimmed = rest.trim_start_matches(' ');
    trimmed.is_empty() || trimmed.len() < rest.len() && trimmed.starts_with('#')
}

/// A key and where what follows its colon begins.
pub(super) struct Key<'t> {
    pub(super) text: Cow<'t, str>,
    pub(super) style: Style,
    pub(super) end: usize,
}

/// The key that a line begins with; `Some(None)` if there is certainly none.
pub(super) fn key(line: &str) -> Option<Option<Key<'_>>> {
    let bytes = line.as_bytes();
    let (text, style, end) = match bytes.first()? {
        quote @ (b'"' | b'\'') => {
            let Some(end) = quote_end(&line[1..], *quote)? else { return Some(None) };
            let after = &line[end + 2..];
            if !after.starts_with(':') {
                // A blank before the colon may stand there.
                return if after.trim_start_matches(' ').starts_with(':') { None } else { Some(None) };
            }
            (unquoted(&line[1..=end], *quote)?, style_of(*quote), end + 2)
        }
        b'[' | b'{' => return if line.contains("]:") || line.contains("}:") { None } else { Some(None) },
        b'|' | b'>' => return Some(None),
        _ => {
            if !begins_plain(line) {
                return None;
            }
            let mut found = None;
            for at in memchr::memchr2_iter(b':', b'#', bytes) {
                let ends = matches!(bytes.get(at + 1), None | Some(b' '));
                if bytes[at] == b':' && ends || bytes[at] == b'#' && bytes[at - 1] == b' ' {
                    found = Some(at).filter(|at| bytes[*at] == b':');
                    break;
                }
            }
            let Some(end) = found else { return Some(None) };
            (Cow::Borrowed(&line[..end]), Style::Plain, end)
        }
    };
    let follows = matches!(bytes.get(end + 1), None | Some(b' '));
    let is_odd = text == "<<" || text.ends_with(' ') || text.contains('\t') || !text.is_ascii();
    (follows && !is_odd && end < KEY_BYTES).then_some(Some(Key { text, style, end: end + 1 }))
}

/// Whether a plain scalar can begin like this. It may be the dash of a list, too.
pub(super) fn begins_plain(line: &str) -> bool {
    match line.as_bytes() {
        [b'-', next, ..] => *next != b' ',
        [first, ..] => !b"-?:,[]{}#&*!|>'\"%@`\t".contains(first),
        [] => false,
    }
}

/// A line of a plain scalar.
pub(super) struct Part<'t> {
    pub(super) text: &'t str,
    /// Whether a comment ends it.
    pub(super) is_last: bool,
}

pub(super) fn plain(line: &str) -> Option<Part<'_>> {
    let bytes = line.as_bytes();
    for at in memchr::memchr3_iter(b':', b'#', b'\t', bytes) {
        match bytes[at] {
            b':' if !matches!(bytes.get(at + 1), None | Some(b' ')) => {}
            b'#' if at == 0 || bytes[at - 1] == b' ' => {
                return Some(Part { text: line[..at].trim_end_matches(' '), is_last: true });
            }
            b'#' => {}
            _ => return None,
        }
    }
    Some(Part { text: line.trim_end_matches(' '), is_last: false })
}

pub(super) fn style_of(quote: u8) -> Style {
    if quote == b'"' { Style::DoubleQuoted } else { Style::SingleQuoted }
}

/// Where a quoted text ends; `Some(None)` if not in this line.
pub(super) fn quote_end(text: &str, quote: u8) -> Option<Option<usize>> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        let Some(found) = memchr::memchr3(quote, b'\\', b'\t', &bytes[at..]) else { return Some(None) };
        at += found;
        match (bytes[at], bytes.get(at + 1)) {
            (b'\t', _) => return None,
            (b'\\', _) if quote == b'\'' => at += 1,
            (b'\\', Some(_)) => at += 2,
            (b'\\', None) => return None,
            (_, Some(b'\'')) if quote == b'\'' => at += 2,
            _ => return Some(Some(at)),
        }
    }
}

/// The text between quotes, within a line.
pub(super) fn unquoted(text: &str, quote: u8) -> Option<Cow<'_, str>> {
    if quote == b'\'' {
        return Some(if text.contains('\'') { text.replace("''", "'").into() } else { text.into() });
    }
    if !text.contains('\\') {
        return Some(text.into());
    }
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        plain.push(match character {
            '\\' => match characters.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                same @ ('"' | '\\') => same,
                _ => return None,
            },
            character => character,
        });
    }
    Some(plain.into())
}

/// A flow collection that a line begins with. Gives its end.
pub(super) fn flow(line: Line<'_>, depth: usize, document: &mut Document<'_>) -> Option<usize> {
    // Looked at once: what stands in the collection can be as much as there is in a file.
    line.text.is_ascii().then(|| flow_item(line, 0, depth, document)).flatten()
}

/// A flow collection, or what stands in one.
fn flow_item(line: Line<'_>, at: usize, depth: usize, document: &mut Document<'_>) -> Option<usize> {
    if depth > FLOW_DEPTH {
        return None;
    }
    let bytes = line.text.as_bytes();
    let column = line.column + at;
    let blanks = |at: usize| at + bytes[at..].iter().take_while(|byte| **byte == b' ').count();
    let (end, is_map) = match bytes.get(at)? {
        b'[' => (b']', false),
        b'{' => (b'}', true),
        _ => return flow_scalar(line, at, document),
    };
    if is_map {
        document.begin_map(line.number, column)?;
    } else {
        document.begin_list(line.number, column)?;
    }
    let mut at = blanks(at + 1);
    while *bytes.get(at)? != end {
        if is_map {
            at = flow_scalar(line, at, document)?;
            if bytes.get(at..at + 2)? != b": " {
                return None;
            }
            at = blanks(at + 1);
        }
        at = blanks(flow_item(line, at, depth + 1, document)?);
        match bytes.get(at)? {
            b',' => at = blanks(at + 1),
            byte if *byte == end => {}
            _ => return None,
        }
    }
    document.close()?;
    Some(at + 1)
}

fn flow_scalar(line: Line<'_>, at: usize, document: &mut Document<'_>) -> Option<usize> {
    let (rest, column) = (&line.text[at..], line.column + at);
    match rest.as_bytes() {
        [quote @ (b'"' | b'\''), ..] => {
            let end = quote_end(&rest[1..], *quote)??;
            let text = unquoted(&rest[1..=end], *quote)?;
            document.scalar(text, style_of(*quote), line.number, column)?;
            Some(at + end + 2)
        }
        [first, ..] if first.is_ascii_alphanumeric() || b"_/.".contains(first) => {
            let is_part = |byte: &&u8| byte.is_ascii_alphanumeric() || b"_-./+=@$%^&*()~;<>".contains(byte);
            let end = rest.bytes().take_while(|byte| is_part(&byte)).count();
            let text = &rest[..end];
            if text == "<<" {
                return None;
            }
            document.scalar(text.into(), Style::Plain, line.number, column)?;
            Some(at + end)
        }
        _ => None,
    }
}

/// The parser of all of YAML takes no key that is longer than 1024 characters.
const KEY_BYTES: usize = 512;
const FLOW_DEPTH: usize = 16;
