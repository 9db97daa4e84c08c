//! Characters in bytes that are usually, and not always, UTF-8 (Go's `unicode/utf8`).

/// The first character and its length. What is not UTF-8 is U+FFFD of length one; at the end there is none.
#[inline]
pub(crate) fn first(bytes: &[u8]) -> Option<(char, usize)> {
    let byte = *bytes.first()?;
    if byte < 0x80 {
        return Some((char::from(byte), 1));
    }
    Some(beyond_ascii(bytes, byte))
}

fn beyond_ascii(bytes: &[u8], byte: u8) -> (char, usize) {
    let length = match byte {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return (char::REPLACEMENT_CHARACTER, 1),
    };
    let character = bytes.get(..length).and_then(|bytes| std::str::from_utf8(bytes).ok());
    match character.and_then(|text| text.chars().next()) {
        Some(character) => (character, length),
        None => (char::REPLACEMENT_CHARACTER, 1),
    }
}

/// How many characters there are.
pub(crate) fn count(bytes: &[u8]) -> usize {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.chars().count(),
        Err(_) => runes(bytes).count(),
    }
}

/// The characters and where each starts.
pub(crate) fn runes(bytes: &[u8]) -> impl Iterator<Item = (usize, char)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (character, length) = first(&bytes[at..])?;
        at += length;
        Some((at - length, character))
    })
}

/// Go's `strconv.IsPrint`: letters, marks, numbers, punctuation, symbols and the ASCII blank.
pub(crate) fn is_print(character: char) -> bool {
    if character.is_ascii() {
        return matches!(character, ' '..='~');
    }
    // Of all that follows the first character, the standard library escapes just what does not print.
    let text: String = ['a', character].iter().collect();
    text.escape_debug().eq(text.chars())
}

/// Go's `unicode.IsLetter`, `unicode.IsDigit` or the underscore.
pub(crate) fn is_alphanumeric(character: char) -> bool {
    character == '_'
        || if character.is_ascii() { character.is_ascii_alphanumeric() } else { character.is_alphanumeric() }
}
