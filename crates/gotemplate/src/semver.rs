//! Versions and ranges of versions as Go's `github.com/Masterminds/semver` 3 reads and compares them: what `semver`,
//! `semverCompare`, `kubeVersion` and the versions of dependencies mean.

use std::cmp::Ordering;
use std::fmt;

/// A version; `v1` and `1.2` are read as well, leading zeros too (`NewVersion`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The first number.
    pub major: u64,
    /// The second number, 0 if there is none.
    pub minor: u64,
    /// The third number, 0 if there is none.
    pub patch: u64,
    /// Behind `-`; empty if there is none.
    pub prerelease: String,
    /// Behind `+`; empty if there is none.
    pub metadata: String,
    /// As it was written.
    pub original: String,
}

/// Ranges, of which one must fit: `>=1.2 <2 || ^3.1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraints(Vec<Vec<Constraint>>);

/// Why a text is no version or no range, in the words of the library.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a version at all.
    #[error("invalid semantic version")]
    Version,
    /// A number beyond 64 bits.
    #[error("error parsing version segment: strconv.ParseUint: parsing {0:?}: value out of range")]
    Number(String),
    /// A number of the prerelease with a leading zero.
    #[error("version segment starts with 0")]
    LeadingZero,
    /// Not a range.
    #[error("improper constraint: {0:?}")]
    Constraint(String),
    /// A range with a version in it that is none.
    #[error("constraint parser error")]
    ConstraintVersion,
}

impl Version {
    /// Reads a version.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (parts, rest) = Parts::read(text, |c| c.is_ascii_digit()).ok_or(Error::Version)?;
        if !rest.is_empty() {
            return Err(Error::Version);
        }
        let number = |text: &str| match text {
            "" => Ok(0),
            text => text.parse().map_err(|_| Error::Number(text.to_owned())),
        };
        let leads =
            |part: &str| part.len() > 1 && part.starts_with('0') && part.bytes().all(|b| b.is_ascii_digit());
        if parts.prerelease.split('.').any(leads) {
            return Err(Error::LeadingZero);
        }
        Ok(Self {
            major: number(parts.major)?,
            minor: number(parts.minor)?,
            patch: number(parts.patch)?,
            prerelease: parts.prerelease.to_owned(),
            metadata: parts.metadata.to_owned(),
            original: text.to_owned(),
        })
    }

    /// The order of semver: a prerelease comes before its version, and what is behind `+` does not count.
    pub fn compare(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| {
            match (self.prerelease.as_str(), other.prerelease.as_str()) {
                ("", "") => Ordering::Equal,
                ("", _) => Ordering::Greater,
                (_, "") => Ordering::Less,
                (own, other) => compare_prereleases(own, other),
            }
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)?;
        for (sign, part) in [('-', &self.prerelease), ('+', &self.metadata)] {
            if !part.is_empty() {
                write!(f, "{sign}{part}")?;
            }
        }
        Ok(())
    }
}

impl Constraints {
    /// Reads ranges with `||` between them.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = rewrite_ranges(text);
        text.split("||").map(constraints_of).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a version is in one of the ranges. A prerelease is only in those that name one.
    pub fn check(&self, version: &Version) -> bool {
        self.0.iter().any(|all| {
            let prereleases = all.iter().any(|one| !one.version.prerelease.is_empty());
            let out = !version.prerelease.is_empty() && !prereleases;
            !out && all.iter().all(|one| one.check(version))
        })
    }
}

/// One condition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Constraint {
    operator: Operator,
    version: Version,
    /// A part was left out or is `x`.
    dirty: bool,
    minor_dirty: bool,
    patch_dirty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    /// `=`, or nothing
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterEqual,
    LessEqual,
    /// `~`
    Tilde,
    /// `^`
    Caret,
}

impl Constraint {
    fn check(&self, version: &Version) -> bool {
        let own = &self.version;
        let order = version.compare(own);
        match self.operator {
            Operator::Equal if self.dirty => self.tilde(version),
            Operator::Equal => order.is_eq(),
            Operator::NotEqual => self.not_equal(version),
            Operator::Less => order.is_lt(),
            Operator::GreaterEqual => order.is_ge(),
            Operator::Greater if !self.dirty || version.major != own.major => {
                if self.dirty {
                    version.major > own.major
                } else {
                    order.is_gt()
                }
            }
            Operator::Greater if self.minor_dirty => false,
            Operator::Greater if self.patch_dirty => version.minor > own.minor,
            Operator::Greater => order.is_gt(),
            Operator::LessEqual if !self.dirty => order.is_le(),
            Operator::LessEqual => {
                let above = version.major == own.major && version.minor > own.minor && !self.minor_dirty;
                version.major <= own.major && !above
            }
            Operator::Tilde => self.tilde(version),
            Operator::Caret => self.caret(version),
        }
    }

    fn not_equal(&self, version: &Version) -> bool {
        let own = &self.version;
        if self.dirty {
            if own.major != version.major || (own.minor != version.minor && !self.minor_dirty) {
                return true;
            }
            if self.minor_dirty {
                return false;
            }
            if self.patch_dirty {
                return (!version.prerelease.is_empty() || !own.prerelease.is_empty())
                    && compare_prereleases(&version.prerelease, &own.prerelease).is_ne();
            }
            if own.patch != version.patch {
                return true;
            }
        }
        version.compare(own).is_ne()
    }

    fn tilde(&self, version: &Version) -> bool {
        let own = &self.version;
        if version.compare(own).is_lt() {
            return false;
        }
        let is_zero = (own.major, own.minor, own.patch) == (0, 0, 0);
        if is_zero && !self.minor_dirty && !self.patch_dirty {
            return true;
        }
        version.major == own.major && (version.minor == own.minor || self.minor_dirty)
    }

    fn caret(&self, version: &Version) -> bool {
        let own = &self.version;
        if version.compare(own).is_lt() {
            return false;
        }
        if own.major > 0 || self.minor_dirty {
            return version.major == own.major;
        }
        if version.major > 0 {
            return false;
        }
        if own.minor > 0 || self.patch_dirty {
            return version.minor == own.minor;
        }
        version.minor == 0 && version.patch == own.patch
    }
}

/// A version or a pattern of versions in its parts.
#[derive(Debug, Clone, Copy, Default)]
struct Parts<'a> {
    major: &'a str,
    minor: &'a str,
    patch: &'a str,
    prerelease: &'a str,
    metadata: &'a str,
}

impl<'a> Parts<'a> {
    /// Reads as much as fits, and returns the rest.
    fn read(text: &'a str, is_number: fn(char) -> bool) -> Option<(Self, &'a str)> {
        let split = |text: &'a str| text.split_at(text.find(|c| !is_number(c)).unwrap_or(text.len()));
        let behind = |text: &'a str| {
            let (part, rest) = split(text.strip_prefix('.')?);
            (!part.is_empty()).then_some((part, rest))
        };
        let mut parts = Self::default();
        let mut rest = text.strip_prefix('v').unwrap_or(text);
        (parts.major, rest) = split(rest);
        if parts.major.is_empty() {
            return None;
        }
        if let Some(found) = behind(rest) {
            (parts.minor, rest) = found;
            if let Some(found) = behind(rest) {
                (parts.patch, rest) = found;
            }
        }
        if let Some(found) = rest.strip_prefix('-').and_then(identifiers) {
            (parts.prerelease, rest) = found;
        }
        if let Some(found) = rest.strip_prefix('+').and_then(identifiers) {
            (parts.metadata, rest) = found;
        }
        Some((parts, rest))
    }
}

/// Identifiers with dots between them, and the rest. None of them is empty.
fn identifiers(text: &str) -> Option<(&str, &str)> {
    let mut end = 0;
    loop {
        let from = if end == 0 { 0 } else { end + 1 };
        let length = text.get(from..)?;
        let length = length.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(length.len());
        if length == 0 {
            return (end > 0).then(|| text.split_at(end));
        }
        end = from + length;
        if !text[end..].starts_with('.') {
            return Some(text.split_at(end));
        }
    }
}

/// `comparePrerelease`
fn compare_prereleases(own: &str, other: &str) -> Ordering {
    let (mut own, mut other) = (own.split('.'), other.split('.'));
    loop {
        let (own, other) = match (own.next(), other.next()) {
            (None, None) => return Ordering::Equal,
            (own, other) => (own.unwrap_or_default(), other.unwrap_or_default()),
        };
        let order = match (own.parse::<u64>(), other.parse::<u64>()) {
            _ if own == other => Ordering::Equal,
            _ if own.is_empty() => Ordering::Less,
            _ if other.is_empty() => Ordering::Greater,
            (Err(_), Err(_)) => own.cmp(other),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            // As in Go, equal numbers that are written differently are not equal.
            (Ok(own), Ok(other)) => {
                if own > other {
                    Ordering::Greater
                } else {
                    Ordering::Less
                }
            }
        };
        if order.is_ne() {
            return order;
        }
    }
}

/// `1.2 - 2.3` is `>= 1.2, <= 2.3`.
fn rewrite_ranges(text: &str) -> String {
    let mut result = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        match range_at(rest) {
            Some((low, high, after)) => {
                result.push_str(&format!(">= {low}, <= {high} "));
                rest = after;
            }
            None => {
                result.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    result
}

fn range_at(text: &str) -> Option<(&str, &str, &str)> {
    let begin = text.trim_ascii_start();
    let (_, after) = Parts::read(begin, is_pattern)?;
    let low = &begin[..begin.len() - after.len()];
    let blank = |text: &str| text.starts_with(|c: char| c.is_ascii_whitespace());
    let dash = after.trim_ascii_start().strip_prefix('-')?;
    if !blank(after) || !blank(dash) {
        return None;
    }
    let begin = dash.trim_ascii_start();
    let (_, after) = Parts::read(begin, is_pattern)?;
    Some((low, &begin[..begin.len() - after.len()], after.trim_ascii_start()))
}

fn constraints_of(segment: &str) -> Result<Vec<Constraint>, Error> {
    let improper = || Error::Constraint(segment.to_owned());
    let mut constraints = Vec::new();
    let mut rest = segment.trim_ascii_start();
    loop {
        let (operator, after) = operator(rest);
        let (parts, after) = Parts::read(after.trim_ascii_start(), is_pattern).ok_or_else(improper)?;
        constraints.push(constraint(operator, parts)?);
        let next = after.trim_ascii_start();
        if next.is_empty() {
            return Ok(constraints);
        }
        rest = match next.strip_prefix(',') {
            Some(next) => next.trim_ascii_start(),
            None if next.len() < after.len() => next,
            None => return Err(improper()),
        };
    }
}

fn operator(text: &str) -> (Operator, &str) {
    for (sign, operator) in [
        ("!=", Operator::NotEqual),
        (">=", Operator::GreaterEqual),
        ("=>", Operator::GreaterEqual),
        ("<=", Operator::LessEqual),
        ("=<", Operator::LessEqual),
        ("~>", Operator::Tilde),
        ("~", Operator::Tilde),
        ("^", Operator::Caret),
        ("=", Operator::Equal),
        (">", Operator::Greater),
        ("<", Operator::Less),
    ] {
        if let Some(rest) = text.strip_prefix(sign) {
            return (operator, rest);
        }
    }
    (Operator::Equal, text)
}

fn constraint(operator: Operator, parts: Parts<'_>) -> Result<Constraint, Error> {
    let is_open = |part: &str| matches!(part, "" | "x" | "X" | "*");
    let (mut numbers, mut minor_dirty, mut patch_dirty) =
        ((parts.major, parts.minor, parts.patch), false, false);
    let mut dirty = true;
    if is_open(parts.major) {
        numbers = ("0", "0", "0");
    } else if is_open(parts.minor) {
        minor_dirty = true;
        numbers = (parts.major, "0", "0");
    } else if is_open(parts.patch) {
        patch_dirty = true;
        numbers = (parts.major, parts.minor, "0");
    } else {
        dirty = false;
    }
    let (major, minor, patch) = numbers;
    let mut text = format!("{major}.{minor}.{patch}");
    if !parts.prerelease.is_empty() {
        text = format!("{text}-{}", parts.prerelease);
    }
    let version = Version::parse(&text).map_err(|_| Error::ConstraintVersion)?;
    Ok(Constraint { operator, version, dirty, minor_dirty, patch_dirty })
}

fn is_pattern(c: char) -> bool {
    c.is_ascii_digit() || matches!(c, 'x' | 'X' | '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn versions_are_read_loosely() {
        for (text, canonical) in [
            ("1.2.3", "1.2.3"),
            ("v1.2", "1.2.0"),
            ("1", "1.0.0"),
            ("01.2.3", "1.2.3"),
            ("v1.33.4-gke.1245000", "1.33.4-gke.1245000"),
            ("1.2.3-beta.1+b345", "1.2.3-beta.1+b345"),
            ("1.2-5", "1.2.0-5"),
        ] {
            assert_eq!(version(text).to_string(), canonical);
        }
        for bad in [
            "",
            "a",
            "1.2.3.4",
            "1.2.beta",
            "1.2.3-",
            "1.2.3+",
            "1..2",
            "1.2.3-a..b",
            " 1",
            "1.2.2147483648.1",
        ] {
            assert_eq!(Version::parse(bad), Err(Error::Version), "{bad}");
        }
        assert_eq!(Version::parse("1.2.3-01"), Err(Error::LeadingZero));
        assert!(matches!(Version::parse("1.2.99999999999999999999"), Err(Error::Number(_))));
    }

    #[test]
    fn versions_are_ordered_as_semver_says() {
        let ascending = [
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0-rc.1",
            "1.0.0",
            "1.0.1",
            "1.10.0",
        ];
        for pair in ascending.windows(2) {
            assert!(version(pair[0]).compare(&version(pair[1])).is_lt(), "{pair:?}");
        }
        assert!(version("1.0.0+a").compare(&version("1.0.0+b")).is_eq());
    }

    #[test]
    fn ranges_hold_what_they_hold_in_go() {
        // constraints_test.go
        let cases = [
            ("=2.0.0", "1.2.3", false),
            ("=2", "2.1.0", true),
            ("4.1", "4.1.0", true),
            ("!=4.1.0", "4.1.0", false),
            ("!=4.1", "4.1.3", false),
            ("!=4.x", "5.1.0", true),
            (">11", "11.1.0", false),
            (">11.1", "11.2.1", true),
            (">11.1", "11.1.1", false),
            (">1.1", "4.1.0", true),
            (">=11.1.2", "11.1.2", true),
            ("<2", "1.9", true),
            ("<=1.1", "1.1.5", true),
            ("<=1.1", "1.2.0", false),
            ("<=11", "11.99", true),
            ("<0.0.5", "0.1.0", false),
            ("~1.2.3", "1.2.9", true),
            ("~1.2.3", "1.3.0", false),
            ("~1", "1.9", true),
            ("~>1.2", "1.2.7", true),
            ("~0.0.0", "9.1", true),
            ("^1.2.3", "1.9.9", true),
            ("^0.2.3", "0.3.0", false),
            ("^0.0.3", "0.0.4", false),
            ("^0", "0.9", true),
            ("*", "4.5.6", true),
            ("*", "4.5.6-alpha", false),
            ("", "", false),
            (">=1.22.0-0", "v1.33.4-gke.1245000", true),
            (">=1.22.0", "v1.33.4-gke.1245000", false),
            (">= 1.19.0-0 < 2.0.0-0", "1.30.2", true),
            (">=1.2, <2 || ^3", "3.4", true),
            ("1.2 - 1.4.5", "1.4", true),
            ("1.2 - 1.4.5", "1.5", false),
            ("1.x", "1.4", true),
            ("1.2.x", "1.3.0", false),
        ];
        for (range, text, holds) in cases {
            let found = Constraints::parse(range)
                .is_ok_and(|range| Version::parse(text).is_ok_and(|version| range.check(&version)));
            assert_eq!(found, holds, "{range} {text}");
        }
        for bad in ["", ">= bar", "BAR >= 1.2.3", ">=>= 1.2", "1.2.3.4", ">1.2<3", ">= 1,, < 2", "1x"] {
            assert!(Constraints::parse(bad).is_err(), "{bad}");
        }
    }
}
