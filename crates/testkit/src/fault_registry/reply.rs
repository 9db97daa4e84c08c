//! What the registry means to answer, before faults.

use bytes::Bytes;
use serde_json::json;

/// A response.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Body,
}

/// The content of a response.
#[derive(Debug, Clone)]
pub(crate) enum Body {
    Bytes(Bytes),
    /// One byte over and over; `None` is for ever.
    Repeated(u8, Option<u64>),
}

impl Reply {
    pub(crate) fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Body::Bytes(Bytes::new()) }
    }

    /// An error as the distribution-spec wants it ("Error Codes").
    pub(crate) fn error(status: u16, code: &str, message: &str) -> Self {
        let body = json!({ "errors": [{ "code": code, "message": message }] });
        Self::new(status).body("application/json", body.to_string())
    }

    #[must_use]
    pub(crate) fn body(mut self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.set("Content-Type", content_type);
        self.body = Body::Bytes(body.into());
        self
    }

    #[must_use]
    pub(crate) fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.set(name, value);
        self
    }

    /// Sets a header, in place of others of that name.
    pub(crate) fn set(&mut self, name: &str, value: impl Into<String>) {
        self.unset(name);
        self.headers.push((name.to_owned(), value.into()));
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.headers.retain(|(have, _)| !have.eq_ignore_ascii_case(name));
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Body {
    /// Its length; `None` where there is no end.
    pub(crate) fn len(&self) -> Option<u64> {
        match self {
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Repeated(_, len) => *len,
        }
    }

    /// At most `limit` bytes from `offset`; empty at the end.
    pub(crate) fn piece(&self, offset: u64, limit: usize) -> Bytes {
        match self {
            Self::Bytes(bytes) => {
                let start = (offset as usize).min(bytes.len());
                bytes.slice(start..(start + limit).min(bytes.len()))
            }
            Self::Repeated(byte, len) => {
                let left = len.map_or(u64::MAX, |len| len.saturating_sub(offset));
                vec![*byte; limit.min(usize::try_from(left).unwrap_or(usize::MAX))].into()
            }
        }
    }
}
