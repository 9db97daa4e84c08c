//! What a user asks for: `NAME`, `NAME@VERSION`, `NAME@latest`.

use crate::{Error, Result, Version};
use std::fmt;
use std::str::FromStr;

/// A package, and perhaps which version of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The name of the package.
    pub name: String,
    /// Which version.
    pub selector: Selector,
}

/// Which version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selector {
    /// Whatever is there; the latest one where nothing is.
    Any,
    /// What its project calls the latest one.
    Latest,
    /// This one; one of two numbers (`1.33`) is the newest of its series.
    Version(Version),
}

impl FromStr for Wish {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, version) = text.split_once('@').map_or((text, None), |(name, rest)| (name, Some(rest)));
        if !is_name(name) {
            return Err(Error::Name { text: name.chars().take(100).collect() });
        }
        let selector = match version {
            None => Selector::Any,
            Some("latest" | "stable") => Selector::Latest,
            Some(version) => Selector::Version(version.parse()?),
        };
        Ok(Self { name: name.to_owned(), selector })
    }
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.selector {
            Selector::Any => f.pad(&self.name),
            Selector::Latest => write!(f, "{}@latest", self.name),
            Selector::Version(version) => write!(f, "{}@{version}", self.name),
        }
    }
}

/// Whether it can be the name of a package: it becomes part of paths.
pub(crate) fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.'))
}

/// Whether it can be the name of an architecture.
pub(crate) fn is_architecture(name: &str) -> bool {
    (1..=32).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes() {
        let wish = |text: &str| text.parse::<Wish>();
        assert_eq!(wish("runc").unwrap().selector, Selector::Any);
        assert_eq!(wish("runc@latest").unwrap().selector, Selector::Latest);
        assert_eq!(wish("runc@v1.3.0").unwrap(), wish("runc@1.3.0").unwrap());
        assert_eq!(wish("kubectl@v1.33.4").unwrap().to_string(), "kubectl@1.33.4");
        for bad in ["", "@1", "../x@1", "a/b", "Runc", "a b", "a@", "a@..", "-a", "a\u{e4}"] {
            assert!(wish(bad).is_err(), "{bad}");
        }
    }
}
