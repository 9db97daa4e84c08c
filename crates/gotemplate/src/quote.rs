//! Go's quoted texts and characters (`strconv/quote.go`).

use crate::rune;

/// `strconv.Quote`: in double quotes, with what does not print escaped.
pub(crate) fn quote(bytes: &[u8]) -> String {
    quoted(bytes, '"', false)
}

/// `strconv.QuoteToASCII`
pub(crate) fn quote_ascii(bytes: &[u8]) -> String {
    quoted(bytes, '"', true)
}

/// `strconv.QuoteRune` and `strconv.QuoteRuneToASCII`
pub(crate) fn quote_rune(character: char, ascii: bool) -> String {
    let mut out = String::from("'");
    escape(&mut out, character, '\'', ascii);
    out.push('\'');
    out
}

/// `strconv.CanBackquote`: one line, valid UTF-8, nothing that does not show, and no backquote.
pub(crate) fn can_backquote(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| {
        text.chars().all(|c| !matches!(c, '\u{feff}' | '`' | '\u{7f}') && (c >= ' ' || c == '\t'))
    })
}

/// `strconv.Unquote` of a text in double quotes or backquotes; `None` if it is not well formed.
pub(crate) fn unquote(literal: &[u8]) -> Option<Vec<u8>> {
    let (&mark, rest) = literal.split_first()?;
    let (&end, mut inner) = rest.split_last()?;
    if mark != end {
        return None;
    }
    if mark == b'`' {
        return (!inner.contains(&b'`'))
            .then(|| inner.iter().copied().filter(|byte| *byte != b'\r').collect());
    }
    if !inner.iter().any(|byte| matches!(byte, b'\\' | b'\n') || *byte == mark) {
        return Some(inner.to_vec());
    }
    let mut out = Vec::with_capacity(inner.len());
    while !inner.is_empty() {
        if inner[0] == mark || inner[0] == b'\n' {
            return None;
        }
        let (piece, length) = unquote_char(inner, mark)?;
        match piece {
            Piece::Byte(byte) => out.push(byte),
            Piece::Rune(character) if inner[0] == b'\\' => {
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
            Piece::Rune(_) => out.extend_from_slice(&inner[..length]),
        }
        inner = &inner[length..];
    }
    Some(out)
}

/// What an escape stands for: `\xff` and `\377` are bytes, all others are characters.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Piece {
    Byte(u8),
    Rune(char),
}

/// `strconv.UnquoteChar`: the first character or escape, and its length.
pub(crate) fn unquote_char(bytes: &[u8], mark: u8) -> Option<(Piece, usize)> {
    let (character, length) = rune::first(bytes)?;
    if bytes[0] == mark && (mark == b'\'' || mark == b'"') {
        return None;
    }
    if character != '\\' {
        return Some((Piece::Rune(character), length));
    }
    let number = |digits: usize, from: usize, radix: u32| {
        let text = std::str::from_utf8(bytes.get(from..from + digits)?).ok()?;
        if !text.bytes().all(|byte| char::from(byte).is_digit(radix)) {
            return None;
        }
        u32::from_str_radix(text, radix).ok()
    };
    let simple = |byte: u8| Some((Piece::Rune(char::from(byte)), 2));
    match bytes.get(1)? {
        b'a' => simple(7),
        b'b' => simple(8),
        b'f' => simple(12),
        b'n' => simple(b'\n'),
        b'r' => simple(b'\r'),
        b't' => simple(b'\t'),
        b'v' => simple(11),
        b'\\' => simple(b'\\'),
        b'x' => Some((Piece::Byte(u8::try_from(number(2, 2, 16)?).ok()?), 4)),
        b'u' => Some((Piece::Rune(char::from_u32(number(4, 2, 16)?)?), 6)),
        b'U' => Some((Piece::Rune(char::from_u32(number(8, 2, 16)?)?), 10)),
        b'0'..=b'7' => Some((Piece::Byte(u8::try_from(number(3, 1, 8)?).ok()?), 4)),
        byte @ (b'\'' | b'"') if *byte == mark => simple(*byte),
        _ => None,
    }
}

fn quoted(bytes: &[u8], mark: char, ascii: bool) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push(mark);
    let mut rest = bytes;
    while let Some((character, length)) = rune::first(rest) {
        if length == 1 && character == char::REPLACEMENT_CHARACTER {
            out.push_str(&format!("\\x{:02x}", rest[0]));
        } else {
            escape(&mut out, character, mark, ascii);
        }
        rest = &rest[length..];
    }
    out.push(mark);
    out
}

fn escape(out: &mut String, character: char, mark: char, ascii: bool) {
    match character {
        '\\' => out.push_str("\\\\"),
        _ if character == mark => out.extend(['\\', mark]),
        _ if character.is_ascii() && rune::is_print(character) => out.push(character),
        '\x07' => out.push_str("\\a"),
        '\x08' => out.push_str("\\b"),
        '\x0c' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\x0b' => out.push_str("\\v"),
        _ if !ascii && rune::is_print(character) => out.push(character),
        '\0'..' ' | '\x7f' => out.push_str(&format!("\\x{:02x}", u32::from(character))),
        '\u{10000}'.. => out.push_str(&format!("\\U{:08x}", u32::from(character))),
        _ => out.push_str(&format!("\\u{:04x}", u32::from(character))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_unquotes_to_the_same() {
        for text in [
            "",
            "a\"b\\c`d'",
            "\u{7}\u{8}\u{b}\u{c}\n\r\t\0\u{7f}",
            "äöü \u{200b} \u{1f600} \u{ad}",
            "\u{fffd}",
        ] {
            assert_eq!(unquote(quote(text.as_bytes()).as_bytes()).as_deref(), Some(text.as_bytes()));
            assert_eq!(unquote(quote_ascii(text.as_bytes()).as_bytes()).as_deref(), Some(text.as_bytes()));
        }
        assert_eq!(quote(b"\xff\xc3("), "\"\\xff\\xc3(\"");
        assert_eq!(quote_ascii("ä\u{1f600}".as_bytes()), "\"\\u00e4\\U0001f600\"");
        assert_eq!(quote("\u{200b}".as_bytes()), "\"\\u200b\"");
    }

    #[test]
    fn escapes_of_go_are_known_and_no_others() {
        assert_eq!(unquote(br#""\x41\101\u00e4\U0001F600\t""#).as_deref(), Some("AAä😀\t".as_bytes()));
        for wrong in
            [r#""\'""#, r#""\400""#, r#""\x4""#, r#""\ud800""#, r#""\q""#, "\"a", "\"", "", "\"a\nb\""]
        {
            assert_eq!(unquote(wrong.as_bytes()), None, "{wrong}");
        }
        assert_eq!(unquote(b"`a\\n\r\nb`").as_deref(), Some(&b"a\\n\nb"[..]));
    }
}
