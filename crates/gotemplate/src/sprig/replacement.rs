//! What stands for a match (`Regexp.Expand`).

use super::runes;

/// `Regexp.Expand`: `$1`, `${1}`, `$name` and `$$` in `template` stand for the groups of a match.
pub(crate) fn expand(
    template: &[u8],
    names: &[String],
    group: impl Fn(usize) -> Option<Vec<u8>>,
    out: &mut Vec<u8>,
) {
    let mut rest = template;
    while let Some(at) = memchr::memchr(b'$', rest) {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(b"$") {
            out.push(b'$');
            rest = after;
            continue;
        }
        let Some((name, after)) = reference(rest) else {
            out.push(b'$');
            continue;
        };
        rest = after;
        let digits =
            !name.is_empty() && name.iter().all(u8::is_ascii_digit) && (name.len() == 1 || name[0] != b'0');
        let found = if digits && name.len() < 9 {
            std::str::from_utf8(name).ok().and_then(|digits| digits.parse().ok()).and_then(&group)
        } else {
            let named = names.iter().enumerate().filter(|(_, other)| other.as_bytes() == name);
            named.filter_map(|(index, _)| group(index)).next()
        };
        out.extend_from_slice(&found.unwrap_or_default());
    }
    out.extend_from_slice(rest);
}

/// The name after a `$`, and what follows it.
fn reference(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (braced, text) = text.strip_prefix(b"{").map_or((false, text), |text| (true, text));
    let word =
        runes::split(text).take_while(|(rune, _)| rune.is_alphabetic() || rune.is_numeric() || *rune == '_');
    let length: usize = word.map(|(_, bytes)| bytes.len()).sum();
    let (name, rest) = text.split_at(length);
    if name.is_empty() {
        return None;
    }
    Some((name, if braced { rest.strip_prefix(b"}")? } else { rest }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_stand_for_groups() {
        let names = ["".to_owned(), "word".to_owned()];
        let mut out = Vec::new();
        expand(
            b"$1x ${1}x $word $$ $ ${word} $2.",
            &names,
            |index| (index == 1).then(|| b"A".to_vec()),
            &mut out,
        );
        assert_eq!(String::from_utf8_lossy(&out), " Ax A $ $ A .");
    }
}
