//! What clients asked, for assertions.

use super::fault::glob;
use larder_core::Digest;
use std::time::Instant;

/// One request, as it arrived, and how it was answered.
#[derive(Debug, Clone)]
pub struct Logged {
    /// Method.
    pub method: String,
    /// Path, without the query.
    pub path: String,
    /// The query, without `?`.
    pub query: String,
    /// Headers as sent.
    pub headers: Vec<(String, String)>,
    /// Which connection, counted from 1.
    pub connection: u64,
    /// When it arrived.
    pub at: Instant,
    /// Bytes of its body that were read.
    pub received: u64,
    /// Status of the answer; `None` as long as there is none.
    pub status: Option<u16>,
    /// Bytes of the answer's body that were sent.
    pub sent: u64,
    /// A fault struck it.
    pub faulted: bool,
}

impl Logged {
    /// A header's value; names in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The `Authorization` header.
    pub fn authorization(&self) -> Option<&str> {
        self.header("authorization")
    }

    /// The `Range` header.
    pub fn range(&self) -> Option<&str> {
        self.header("range")
    }

    /// The digest its path ends in.
    pub fn digest(&self) -> Option<Digest> {
        self.path.rsplit('/').next()?.parse().ok()
    }

    /// Whether it matches, by the rules of [`super::Rule::on`].
    pub fn matches(&self, methods: &str, path: &str) -> bool {
        (methods == "*" || methods.split('|').any(|method| method == self.method))
            && glob(path.as_bytes(), self.path.as_bytes())
    }
}
