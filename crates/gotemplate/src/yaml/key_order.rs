//! The order of keys: go-yaml 2.4, `sorter.go`. Numbers inside of keys count as numbers, letters come last.

use std::cmp::Ordering;

/// Sorts entries by key. The order is not transitive for numbers beyond 64 bits, which is why the sort is one that copes.
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

fn number(text: &[char], at: usize, start: i64) -> (i64, usize) {
    let digits = text[at..].iter().map_while(|character| character.to_digit(10));
    let (value, count) = digits.fold((start, 0), |(value, count), digit| {
        (value.wrapping_mul(10).wrapping_add(i64::from(digit)), count + 1)
    });
    (value, at + count)
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
