//! The patterns of `.Files.Glob` (github.com/gobwas/glob with `/` as separator): `*` and `?` stop at `/`, `**` does not, `[!a]`
//! negates, `{a,b}` chooses.

/// A pattern for paths.
#[derive(Debug, Clone)]
pub(crate) struct Glob(Vec<Part>);

#[derive(Debug, Clone)]
enum Part {
    Text(Vec<char>),
    /// `*`
    Any,
    /// `**`
    Super,
    /// `?`
    One,
    /// `[abc]`, `[a-z]`; the flag negates. Matches `/`, too.
    Class(bool, Vec<(char, char)>),
    /// `{a,b}`
    Choice(Vec<Vec<Part>>),
}

impl Glob {
    /// Helm takes `**` where a pattern cannot be read, which is every file.
    pub(crate) fn new(pattern: &str) -> Self {
        let characters: Vec<char> = pattern.chars().collect();
        let mut parser = Parser { characters: &characters, at: 0, depth: 0 };
        let parts = parser.sequence();
        Self(parts.unwrap_or_else(|| vec![Part::Super]))
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        let path: Vec<char> = path.chars().collect();
        let mut budget = BUDGET;
        ends(&self.0, &path, 0, &mut budget).contains(&path.len())
    }
}

struct Parser<'a> {
    characters: &'a [char],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn next(&mut self) -> Option<char> {
        let c = self.characters.get(self.at).copied();
        self.at += usize::from(c.is_some());
        c
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.characters.get(self.at) == Some(&wanted);
        self.at += usize::from(found);
        found
    }

    /// Up to the end of the pattern or of the alternative. `None` if it is malformed.
    fn sequence(&mut self) -> Option<Vec<Part>> {
        let mut parts = Vec::new();
        while let Some(c) = self.next() {
            match c {
                '}' | ',' if self.depth > 0 => {
                    self.at -= 1;
                    return Some(parts);
                }
                '*' => parts.push(if self.take('*') { Part::Super } else { Part::Any }),
                '?' => parts.push(Part::One),
                '[' => parts.push(self.class()?),
                '{' => parts.push(self.choice()?),
                c => {
                    let c = if c == '\\' { self.next()? } else { c };
                    match parts.last_mut() {
                        Some(Part::Text(text)) => text.push(c),
                        _ => parts.push(Part::Text(vec![c])),
                    }
                }
            }
        }
        Some(parts)
    }

    fn choice(&mut self) -> Option<Part> {
        self.depth += 1;
        if self.depth > DEPTH {
            return None;
        }
        let mut choices = Vec::new();
        loop {
            choices.push(self.sequence()?);
            match self.next() {
                Some(',') => {}
                Some('}') => break,
                // The end of the pattern ends the choice, too.
                _ => break,
            }
        }
        self.depth -= 1;
        Some(Part::Choice(choices))
    }

    fn class(&mut self) -> Option<Part> {
        let negated = self.take('!');
        let first = self.next()?;
        if self.take('-') {
            let last = self.next()?;
            return (self.take(']') && last >= first).then(|| Part::Class(negated, vec![(first, last)]));
        }
        let mut characters = vec![(first, first)];
        if first == ']' {
            return None;
        }
        loop {
            match self.next()? {
                ']' => return Some(Part::Class(negated, characters)),
                '\\' => {
                    let c = self.next()?;
                    characters.push((c, c));
                }
                c => characters.push((c, c)),
            }
        }
    }
}

/// Every position at which a match of `parts` from `start` can end.
fn ends(parts: &[Part], path: &[char], start: usize, budget: &mut usize) -> Vec<usize> {
    let mut positions = vec![start];
    for part in parts {
        let mut next = Vec::new();
        for at in positions {
            let Some(left) = budget.checked_sub(1) else { return Vec::new() };
            *budget = left;
            let rest = &path[at..];
            match part {
                Part::Text(text) => {
                    if rest.starts_with(text) {
                        next.push(at + text.len());
                    }
                }
                Part::One => next.extend(rest.first().filter(|c| **c != '/').map(|_| at + 1)),
                Part::Class(negated, ranges) => {
                    let fits =
                        |c: &&char| ranges.iter().any(|(low, high)| (low..=high).contains(c)) != *negated;
                    next.extend(rest.first().filter(fits).map(|_| at + 1));
                }
                Part::Any => {
                    let end = rest.iter().position(|c| *c == '/').unwrap_or(rest.len());
                    next.extend(at..=at + end);
                }
                Part::Super => next.extend(at..=path.len()),
                Part::Choice(choices) => {
                    for choice in choices {
                        next.extend(ends(choice, path, at, budget));
                    }
                }
            }
        }
        next.sort_unstable();
        next.dedup();
        positions = next;
    }
    positions
}

/// Choices within choices.
const DEPTH: usize = 16;
/// Steps of one match; no path that a chart has comes near it.
const BUDGET: usize = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_gobwas() {
        let cases = [
            ("dashboards/*.json", "dashboards/a.json", true),
            ("dashboards/*.json", "dashboards/x/a.json", false),
            ("dashboards/**.json", "dashboards/x/a.json", true),
            ("**", "a/b/c", true),
            ("*", "a/b", false),
            ("{a,b}/*", "b/x", true),
            ("{a,b}/*", "c/x", false),
            ("*.{yaml,yml}", "x.yml", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[abc]x", "cx", true),
            ("[!abc]x", "dx", true),
            ("a\\*c", "a*c", true),
            ("a,b", "a,b", true),
            ("[", "anything/at/all", true),
            ("{a,{b,c}}d", "cd", true),
            ("", "", true),
            ("", "a", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(Glob::new(pattern).matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn many_stars_end() {
        assert!(!Glob::new(&"**a".repeat(40)).matches(&"a".repeat(30)));
    }
}
