//! A place in the log that was noted.

use larder_core::Digest;
use std::fmt;
use std::str::FromStr;

/// A record and its hash, as `SEQUENCE:HASH`: whoever knows it can tell later whether anything up to it was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditMark {
    /// The number of the record.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}

/// The text is not a place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected SEQUENCE:HASH, as `larder audit verify` prints it")]
pub struct NotAMark;

impl fmt::Display for AuditMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.sequence, self.hash.hex())
    }
}

impl FromStr for AuditMark {
    type Err = NotAMark;

    fn from_str(text: &str) -> Result<Self, NotAMark> {
        let (sequence, hash) = text.split_once(':').ok_or(NotAMark)?;
        let sequence = sequence.parse().map_err(|_| NotAMark)?;
        Ok(Self { sequence, hash: super::line::digest(hash).ok_or(NotAMark)? })
    }
}

impl serde::Serialize for AuditMark {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
