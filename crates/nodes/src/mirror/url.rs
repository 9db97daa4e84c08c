//! Where a larder registry is.

use crate::{Error, Result};
use larder_core::Registry;
use std::fmt;
use std::str::FromStr;

/// `http://HOST[:PORT]` or `https://HOST[:PORT]`: nothing in it means anything to TOML, JSON or a shell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MirrorUrl {
    is_tls: bool,
    authority: String,
}

impl MirrorUrl {
    /// Whether it is https.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// `HOST[:PORT]`.
    pub fn authority(&self) -> &str {
        &self.authority
    }
}

impl FromStr for MirrorUrl {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let wrong = |reason| Error::Word { what: "address of a registry", value: text.to_owned(), reason };
        let (is_tls, rest) = match (text.strip_prefix("https://"), text.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(wrong("it does not start with http:// or https://")),
        };
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        if authority.contains('@') {
            return Err(wrong("credentials have no place in it"));
        }
        if authority.contains(['/', '?', '#']) {
            return Err(wrong("it has a path, and a mirror has none"));
        }
        Registry::new(authority).map_err(|_| wrong("that is no host with an optional port"))?;
        Ok(Self { is_tls, authority: authority.to_ascii_lowercase() })
    }
}

impl fmt::Display for MirrorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_registries() {
        for (text, shown) in [
            ("http://10.0.0.1:5000", "http://10.0.0.1:5000"),
            ("https://Larder.Example/", "https://larder.example"),
            ("http://[fd00::1]:5000", "http://[fd00::1]:5000"),
        ] {
            assert_eq!(text.parse::<MirrorUrl>().unwrap().to_string(), shown);
        }
        for bad in [
            "",
            "larder:5000",
            "ftp://a",
            "http://",
            "http://a/b",
            "http://a?b",
            "http://u:p@a",
            "http://a\"]",
            "http://a b",
            "http://a:99999",
        ] {
            assert!(bad.parse::<MirrorUrl>().is_err(), "{bad}");
        }
    }
}
