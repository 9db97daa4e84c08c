//! Versions of tools: with or without `v`, one and the same.

use crate::{Error, Result};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

/// A version as files are named after it: without a leading `v`, only characters that are safe in a path and in a URL.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(String);

impl Version {
    /// With a leading `v`, as most projects tag their releases.
    pub fn tag(&self) -> String {
        format!("v{}", self.0)
    }

    /// Without a leading `v`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first two numbers: `1.33` of `1.33.4`.
    pub fn minor(&self) -> String {
        self.0.split('.').take(2).collect::<Vec<_>>().join(".")
    }

    /// Whether it has only two numbers, so that it may stand for the newest of a series.
    pub fn is_series(&self) -> bool {
        self.0.split('.').count() == 2 && self.0.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let bare = text.strip_prefix(['v', 'V']).unwrap_or(text);
        let ok = (1..=64).contains(&bare.len())
            && bare.starts_with(|c: char| c.is_ascii_digit())
            && bare
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+' | b'_' | b'~'));
        match ok {
            true => Ok(Self(bare.to_owned())),
            false => Err(Error::Version { text: text.chars().take(100).collect() }),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Ord for Version {
    /// As Semantic Versioning orders them (§11), numbers beyond the third included; build metadata and names break ties.
    fn cmp(&self, other: &Self) -> Ordering {
        let parts = |text: &str| {
            let release = text.split('+').next().unwrap_or_default();
            let (numbers, before) = release.split_once('-').map_or((release, None), |(n, b)| (n, Some(b)));
            (numbers.to_owned(), before.map(str::to_owned))
        };
        let ((a, a_before), (b, b_before)) = (parts(&self.0), parts(&other.0));
        words(&a, &b)
            .then_with(|| match (&a_before, &b_before) {
                (None, None) => Ordering::Equal,
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(a), Some(b)) => words(a, b),
            })
            .then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl serde::Serialize for Version {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Version {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str> as serde::Deserialize>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Numbers as numbers, and before words.
fn words(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    #[test]
    fn a_version_is_the_same_with_and_without_v() {
        assert_eq!(version("v1.33.4"), version("1.33.4"));
        assert_eq!((version("2.1.0").tag().as_str(), version("v2.1.0").as_str()), ("v2.1.0", "2.1.0"));
        assert_eq!(version("v1.33.4-rc.1+k3s1").minor(), "1.33");
        assert!(
            version("1.33").is_series() && !version("1.33.0").is_series() && !version("1.33-rc").is_series()
        );
    }

    #[test]
    fn what_could_leave_a_path_or_a_url_is_no_version() {
        for text in
            ["", "v", "vv1", "../1", "1/2", "1 2", "1?x", "1#", "1%2e", "latest", ".1", "1\n", "1\u{e9}"]
        {
            assert!(text.parse::<Version>().is_err(), "{text:?}");
        }
        assert!("1".repeat(65).parse::<Version>().is_err());
    }

    #[test]
    fn newer_versions_are_greater() {
        let order =
            ["1.9.0", "1.10.0-rc.1", "1.10.0-rc.2", "1.10.0-rc.10", "1.10.0", "1.10.0.1", "1.33.4", "2.0"];
        for pair in order.windows(2) {
            assert!(version(pair[0]) < version(pair[1]), "{pair:?}");
        }
    }
}
