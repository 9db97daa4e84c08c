//! The order of keys: go-yaml 2.4, `sorter.go`. Numbers inside of keys count as numbers, letters come last.

use std::cmp::Ordering;

/// Sorts entries by key. The order is not transitive (`08` < `0b` < `1?` < `08`): Go's result then changes from run to run, and the
/// sort must be one that copes.
pub(super) fn sort<T>(entries: Vec<(String, T)>) -> Vec<(String, T)> {
    let entries = entries.into_iter().map(|(key, value)| (key.chars().collect(), (key, value))).collect();
    merge_sort(entries).into_iter().map(|(_, entry)| entry).collect()
}

/// `keyList.Less`, for texts.
fn less(a: &[char], b: &[char]) -> bool {
    for at in 0..a.len().min(b.len()) {
        if a[at] == b[at] {
            continue;
        }
        let (a_letter, b_letter) = (a[at].is_alphabetic(), b[at].is_alphabetic());
        if a_letter && b_letter {
            return a[at] < b[at];
        }
        if a_letter || b_letter {
            return b_letter;
        }
        // Behind a digit that is not 0, a 0 is not a leading one.
        let before = a[..at]
            .iter()
            .rev()
            .take_while(|character| character.is_ascii_digit())
            .any(|character| *character != '0');
        let start = i64::from((a[at] == '0' || b[at] == '0') && before);
        let (a_number, a_end) = number(a, at, start);
        let (b_number, b_end) = number(b, at, start);
        return match (a_number.cmp(&b_number), a_end.cmp(&b_end)) {
            (Ordering::Equal, Ordering::Equal) => a[at] < b[at],
            (Ordering::Equal, order) | (order, _) => order == Ordering::Less,
        };
    }
    a.len() < b.len()
}

/// The number at `at`. Digits of other scripts count as how far they are from `0`, as in the original.
fn number(text: &[char], at: usize, start: i64) -> (i64, usize) {
    let mut value = start;
    let mut end = at;
    while let Some(character) = text.get(end).filter(|character| is_digit(**character)) {
        value = value.wrapping_mul(10).wrapping_add(i64::from(u32::from(*character)) - i64::from(b'0'));
        end += 1;
    }
    (value, end)
}

/// `unicode.IsDigit`: decimal digits of any script.
fn is_digit(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_digit();
    }
    let code = u32::from(character);
    let block = ZEROS.partition_point(|zero| *zero <= code);
    block > 0 && code - ZEROS[block - 1] < 10
}

type Keyed<T> = (Vec<char>, T);

fn merge_sort<T>(mut entries: Vec<Keyed<T>>) -> Vec<Keyed<T>> {
    if entries.len() < 2 {
        return entries;
    }
    let right = merge_sort(entries.split_off(entries.len() / 2));
    let left = merge_sort(entries);
    let mut sorted = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    loop {
        let next = match (left.peek(), right.peek()) {
            (Some(a), Some(b)) if less(&b.0, &a.0) => right.next(),
            (Some(_), _) => left.next(),
            (None, _) => right.next(),
        };
        match next {
            Some(entry) => sorted.push(entry),
            None => return sorted,
        }
    }
}

/// The zeros of all scripts (Unicode, category Nd); nine digits follow each.
#[rustfmt::skip] // a table
const ZEROS: [u32; 66] = [
    0x0030, 0x0660, 0x06f0, 0x07c0, 0x0966, 0x09e6, 0x0a66, 0x0ae6, 0x0b66, 0x0be6, 0x0c66, 0x0ce6, 0x0d66, 0x0de6,
    0x0e50, 0x0ed0, 0x0f20, 0x1040, 0x1090, 0x17e0, 0x1810, 0x1946, 0x19d0, 0x1a80, 0x1a90, 0x1b50, 0x1bb0, 0x1c40,
    0x1c50, 0xa620, 0xa8d0, 0xa900, 0xa9d0, 0xa9f0, 0xaa50, 0xabf0, 0xff10, 0x104a0, 0x10d30, 0x11066, 0x110f0,
    0x11136, 0x111d0, 0x112f0, 0x11450, 0x114d0, 0x11650, 0x116c0, 0x11730, 0x118e0, 0x11950, 0x11c50, 0x11d50,
    0x11da0, 0x16a60, 0x16ac0, 0x16b50, 0x1d7ce, 0x1d7d8, 0x1d7e2, 0x1d7ec, 0x1d7f6, 0x1e140, 0x1e2f0, 0x1e950,
    0x1fbf0,
];

#[cfg(test)]
mod tests {
    use super::sort;

    #[test]
    fn numbers_count_and_letters_come_last() {
        let keys = ["a10", "a2", "a", "b", "1", "-x", "_x", "A", "a01", "a1", "10", "9", "a-b", "ab"];
        let sorted = sort(keys.map(|key| (key.to_owned(), ())).to_vec());
        let sorted: Vec<&str> = sorted.iter().map(|(key, ())| key.as_str()).collect();
        assert_eq!(
            sorted,
            ["-x", "_x", "1", "9", "10", "A", "a", "a-b", "a1", "a01", "a2", "a10", "ab", "b"]
        );
    }
}
