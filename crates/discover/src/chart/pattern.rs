//! Shell patterns as Go's `path/filepath.Match` reads them: `*` and `?` stop at `/`, classes negate with `^`.

/// A pattern that can be matched: its syntax was checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// `*`: any number of characters but `/`.
    Any,
    /// `?`: one character but `/`.
    One,
    Character(char),
    /// `[a-z]`; the flag negates. A class matches `/`, too, as it does in Go.
    Class(bool, Vec<(char, char)>),
}

impl Pattern {
    /// `None` if the pattern is malformed (Go: `ErrBadPattern`).
    pub(crate) fn new(pattern: &str) -> Option<Self> {
        let mut characters = pattern.chars().peekable();
        let mut parts = Vec::new();
        while let Some(c) = characters.next() {
            parts.push(match c {
                '*' => Part::Any,
                '?' => Part::One,
                '\\' => Part::Character(characters.next()?),
                '[' => class(&mut characters)?,
                c => Part::Character(c),
            });
        }
        Some(Self(parts))
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        matches(&self.0, &name)
    }
}

type Characters<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn class(characters: &mut Characters<'_>) -> Option<Part> {
    let negated = characters.next_if_eq(&'^').is_some();
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && characters.next_if_eq(&']').is_some() {
            return Some(Part::Class(negated, ranges));
        }
        let low = class_character(characters)?;
        let high = match characters.next_if_eq(&'-') {
            Some(_) => class_character(characters)?,
            None => low,
        };
        ranges.push((low, high));
    }
}

/// One end of a range: not a bare `-` or `]`, and never the last character of the pattern.
fn class_character(characters: &mut Characters<'_>) -> Option<char> {
    let c = match characters.next()? {
        '-' | ']' => return None,
        '\\' => characters.next()?,
        c => c,
    };
    characters.peek().map(|_| c)
}

/// Goes back to the last `*` only: one that came before it need not take more than it did.
fn matches(parts: &[Part], name: &[char]) -> bool {
    let (mut part, mut at) = (0, 0);
    let mut retry = None;
    loop {
        let fits = match (parts.get(part), name.get(at)) {
            (None, None) => return true,
            (Some(Part::Any), _) => {
                retry = Some((part, at));
                part += 1;
                continue;
            }
            (Some(Part::One), Some(c)) => *c != '/',
            (Some(Part::Character(wanted)), Some(c)) => wanted == c,
            (Some(Part::Class(negated, ranges)), Some(c)) => {
                ranges.iter().any(|(low, high)| (low..=high).contains(&c)) != *negated
            }
            _ => false,
        };
        if fits {
            (part, at) = (part + 1, at + 1);
            continue;
        }
        match retry {
            Some((star, from)) if name.get(from).is_some_and(|c| *c != '/') => {
                retry = Some((star, from + 1));
                (part, at) = (star + 1, from + 1);
            }
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        // path/filepath/match_test.go has these and what Go says to them.
        let cases = [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxe/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "x", true),
            ("[x\\-]", "-", true),
            ("*x", "xxx", true),
        ];
        for (pattern, name, fits) in cases {
            assert_eq!(Pattern::new(pattern).unwrap().matches(name), fits, "{pattern} {name}");
        }
        for bad in ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a\\"] {
            assert_eq!(Pattern::new(bad), None, "{bad}");
        }
    }
}
