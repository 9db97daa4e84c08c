//! Which nodes are meant.

use crate::inventory::Keys;
use crate::{Error, Node, Result, word};
use std::fmt;
use std::str::FromStr;

/// `all`, a name, a pattern (`worker-*`), a label (`role=worker`), or an SSH destination (`user@host[:port]`, or a host of
/// `~/.ssh/config`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector {
    text: String,
    meaning: Meaning,
}

/// The word for all nodes.
pub(crate) const ALL: &str = "all";

#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    All,
    Label(String, String),
    Name,
    Pattern,
}

impl Selector {
    /// Whether a node of the inventory is meant.
    pub fn means(&self, node: &Node) -> bool {
        match &self.meaning {
            Meaning::All => true,
            Meaning::Label(key, value) => node.labels().get(key).is_some_and(|found| glob(value, found)),
            Meaning::Name => node.name() == self.text,
            Meaning::Pattern => glob(&self.text, node.name()),
        }
    }

    /// What is known of a node that is in no inventory, where the selector can be an SSH destination.
    pub(crate) fn destination(&self) -> Option<Keys> {
        match self.meaning {
            Meaning::Name => destination(&self.text).ok(),
            _ => None,
        }
    }
}

/// `[user@]host[:port]`, with an IPv6 address in brackets where there is a port.
pub(crate) fn destination(text: &str) -> Result<Keys> {
    let (user, rest) = match text.rsplit_once('@') {
        Some((user, rest)) => (Some(word::user(user)?), rest),
        None => (None, text),
    };
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => match rest.split_once(':') {
            Some((host, port)) if !port.contains(':') => (host, Some(port)),
            _ => (rest, None),
        },
    };
    let port = port.map(|port| {
        let reason = "it is not a number from 1 to 65535";
        let wrong = || Error::Word { what: "port", value: port.to_owned(), reason };
        port.parse().ok().filter(|port| *port > 0).ok_or_else(wrong)
    });
    Ok(Keys { host: Some(word::host(host)?), port: port.transpose()?, user, ..Keys::default() })
}

impl FromStr for Selector {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let meaning = if text == ALL {
            Meaning::All
        } else if let Some((key, value)) = text.split_once('=') {
            let value = value.to_owned();
            Meaning::Label(word::name("label", key)?, value)
        } else if text.contains(['*', '?']) {
            Meaning::Pattern
        } else {
            destination(text)?;
            Meaning::Name
        };
        Ok(Self { text: text.to_owned(), meaning })
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A text in which `*` is any number of characters and `?` is one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern(String);

impl Pattern {
    /// Every text is one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether it means this.
    pub fn fits(&self, text: &str) -> bool {
        glob(&self.0, text)
    }
}

/// `*` is any number of characters, `?` is one. Linear: only the last star is ever tried again.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
    let (mut p, mut t) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations() {
        let keys = |text: &str| destination(text).map(|keys| (keys.user, keys.host.unwrap(), keys.port));
        assert_eq!(keys("a@b:22").unwrap(), (Some("a".into()), "b".into(), Some(22)));
        assert_eq!(keys("a@b.c@h").unwrap(), (Some("a@b.c".into()), "h".into(), None));
        assert_eq!(keys("[fe80::1]:2222").unwrap(), (None, "fe80::1".into(), Some(2222)));
        assert_eq!(keys("fe80::1").unwrap(), (None, "fe80::1".into(), None));
        for bad in ["a@b:0", "a@b:x", "@b", "a@", "-x", "a@-b", "a;b@c", "a@b c"] {
            assert!(keys(bad).is_err(), "{bad}");
            assert!(bad.parse::<Selector>().is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("a*c", "abc", true),
            ("a*c", "abcb", false),
            ("*-1", "a-1-1", true),
            ("a?", "ab", true),
            ("a?", "a", false),
        ] {
            assert_eq!(glob(pattern, text), expected, "{pattern} {text}");
        }
    }
}
