//! The runes of a text and their cases (Go's `unicode`): one U+FFFD for each byte that is not UTF-8, where Rust's lossy conversion
//! gives one for several, and one rune for each, where Rust's cases give several.

use crate::text::Text;

pub(crate) use crate::rune::first;

/// The runes of `text`, as `range` over a Go string gives them.
pub(crate) fn of(text: &[u8]) -> impl Iterator<Item = char> + '_ {
    split(text).map(|(rune, _)| rune)
}

/// The runes of `text`, each with its bytes.
pub(crate) fn split(text: &[u8]) -> impl Iterator<Item = (char, &[u8])> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        let (rune, size) = first(rest)?;
        let (bytes, after) = rest.split_at(size);
        rest = after;
        Some((rune, bytes))
    })
}

/// `text` with every rune mapped (`strings.Map`).
pub(crate) fn map(text: &[u8], mapping: impl FnMut(char) -> char) -> Text {
    of(text).map(mapping).collect::<String>().into()
}

/// `unicode.ToUpper`: one rune for one rune, so `ß` stays.
pub(crate) fn to_upper(rune: char) -> char {
    let mut upper = rune.to_uppercase();
    match (upper.next(), upper.next()) {
        (Some(upper), None) => upper,
        _ => rune,
    }
}

/// `unicode.ToLower`.
pub(crate) fn to_lower(rune: char) -> char {
    rune.to_lowercase().next().unwrap_or(rune)
}

/// `unicode.ToTitle`: upper case but for the digraphs that have a case of their own, and Georgian, which has none.
pub(crate) fn to_title(rune: char) -> char {
    match rune {
        '\u{1C4}'..='\u{1C6}' => '\u{1C5}',
        '\u{1C7}'..='\u{1C9}' => '\u{1C8}',
        '\u{1CA}'..='\u{1CC}' => '\u{1CB}',
        '\u{1F1}'..='\u{1F3}' => '\u{1F2}',
        '\u{10D0}'..='\u{10FF}' => rune,
        _ => to_upper(rune),
    }
}

/// `unicode.IsTitle`, of the digraphs.
pub(crate) fn is_title(rune: char) -> bool {
    matches!(rune, '\u{1C5}' | '\u{1C8}' | '\u{1CB}' | '\u{1F2}')
}

/// `unicode.IsPunct`, as far as Sprig meets it: ASCII and the blocks of general and CJK punctuation.
pub(crate) fn is_punctuation(rune: char) -> bool {
    match rune {
        '$' | '+' | '<' | '=' | '>' | '^' | '`' | '|' | '~' => false,
        '\u{A1}' | '\u{A7}' | '\u{AB}' | '\u{B6}' | '\u{B7}' | '\u{BB}' | '\u{BF}' => true,
        '\u{2010}'..='\u{2027}' | '\u{2030}'..='\u{205E}' => !matches!(rune, '\u{2044}' | '\u{2052}'),
        '\u{3001}'..='\u{3003}' | '\u{3008}'..='\u{3011}' | '\u{3014}'..='\u{301F}' => true,
        _ => rune.is_ascii_punctuation(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_that_is_not_utf8_is_one_rune() {
        let runes: Vec<char> = of(b"a\xe2\x82z\xff").collect();
        assert_eq!(runes, ['a', '\u{FFFD}', '\u{FFFD}', 'z', '\u{FFFD}']);
        assert_eq!(of("aé€😀".as_bytes()).collect::<String>(), "aé€😀");
    }

    #[test]
    fn letters_map_one_to_one() {
        assert_eq!(map("straße".as_bytes(), to_upper), Text::from("STRAßE"));
        assert_eq!(to_lower('İ'), 'i');
        assert_eq!(to_title('ǆ'), 'ǅ');
    }
}
