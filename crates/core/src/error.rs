//! One classification for every error of the workspace, so that exit codes, retries and hints have a single source.

use std::fmt;
use std::time::Duration;

/// What an error means to the caller, whatever crate it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The thing does not exist where it was looked for.
    NotFound,
    /// The caller may not have it, or must authenticate.
    Denied,
    /// The input is malformed; the same call can never succeed.
    Invalid,
    /// Bytes do not hash to their name, or a stored thing is damaged.
    Corrupt,
    /// It exists already, or is in use.
    Conflict,
    /// A passing condition: the network, a busy server, a full disk. Trying later may help.
    Unavailable,
    /// This host or this version cannot do it.
    Unsupported,
    /// A bug in larder.
    Internal,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::NotFound,
        Self::Denied,
        Self::Invalid,
        Self::Corrupt,
        Self::Conflict,
        Self::Unavailable,
        Self::Unsupported,
        Self::Internal,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotFound => "not found",
            Self::Denied => "denied",
            Self::Invalid => "invalid",
            Self::Corrupt => "corrupt",
            Self::Conflict => "conflict",
            Self::Unavailable => "unavailable",
            Self::Unsupported => "unsupported",
            Self::Internal => "internal",
        })
    }
}

/// Implemented by the error enum of every crate.
pub trait Classify: std::error::Error {
    /// What the error means.
    fn kind(&self) -> Kind;

    /// What the user may do next, one sentence each, most useful first.
    fn hints(&self) -> Vec<String> {
        Vec::new()
    }

    /// How long the other side asked to be left alone.
    fn retry_after(&self) -> Option<Duration> {
        None
    }
}

/// Joins an error and its sources with `: `. Every `Display` of the workspace leaves its source out, so nothing is said twice.
pub fn report(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Errors of this crate: always malformed input.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A digest that is not `sha256:` and 64, or `sha512:` and 128, lower-case hexadecimal digits.
    #[error("invalid digest {0:?}: expected sha256:<64 hex digits> or sha512:<128 hex digits>, lower case")]
    Digest(String),
    /// An image reference that does not follow the distribution grammar.
    #[error("invalid image reference {input:?}: {reason}")]
    Reference {
        /// What was given.
        input: String,
        /// The rule it breaks.
        reason: &'static str,
    },
    /// A platform that is not `os/architecture[/variant]`.
    #[error("invalid platform {0:?}: expected os/architecture[/variant], for example linux/arm64")]
    Platform(String),
    /// A manifest, index or config that cannot be what it says it is.
    #[error("invalid {what}: {reason}")]
    Document {
        /// `manifest`, `index` or `image config`.
        what: &'static str,
        /// The rule it breaks.
        reason: String,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read list")]
    struct Outer(#[source] Error);

    #[test]
    fn report_walks_the_chain_once() {
        let text = report(&Outer(Error::Platform("x".into())));
        assert!(text.starts_with("cannot read list: invalid platform \"x\""), "{text}");
    }
}
