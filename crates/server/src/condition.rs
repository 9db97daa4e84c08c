//! Conditional requests (RFC 9110 §13). The entity tag of whatever has a digest is the digest, in quotes.

use crate::answer::Refusal;
use http::StatusCode;
use http::header::{self, HeaderMap, HeaderName};
use larder_core::Digest;

/// What a client wants to be so before anything is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    matching: Option<String>,
    differing: Option<String>,
}

/// What to do about something that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Perform,
    /// `GET` and `HEAD`: 304.
    Unchanged,
    Failed,
}

impl Conditions {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let all = |name: HeaderName| {
            let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
            Some(values.collect::<Vec<_>>().join(",")).filter(|joined| !joined.is_empty())
        };
        Self { matching: all(header::IF_MATCH), differing: all(header::IF_NONE_MATCH) }
    }

    /// Whether a request that changes things may, where this is what it changes (§13.1.1, §13.1.2).
    pub(crate) fn allow(&self, current: Option<&Digest>) -> bool {
        self.matches(current) && self.differs(current)
    }

    /// For a request that reads (§13.2.2).
    pub(crate) fn verdict(&self, digest: &Digest) -> Verdict {
        match (self.matches(Some(digest)), self.differs(Some(digest))) {
            (false, _) => Verdict::Failed,
            (true, false) => Verdict::Unchanged,
            (true, true) => Verdict::Perform,
        }
    }

    fn matches(&self, current: Option<&Digest>) -> bool {
        // Compared strongly: a weak tag matches nothing.
        self.matching.as_deref().is_none_or(|wanted| names(wanted, current, ""))
    }

    fn differs(&self, current: Option<&Digest>) -> bool {
        self.differing.as_deref().is_none_or(|unwanted| !names(unwanted, current, "W/"))
    }
}

/// 412.
pub(crate) fn failed() -> Box<Refusal> {
    let message = "it is not as the request wants it to be";
    Refusal::new(StatusCode::PRECONDITION_FAILED, "UNSUPPORTED", message)
}

fn names(list: &str, current: Option<&Digest>, ignored: &str) -> bool {
    let Some(current) = current else { return false };
    let tag = format!("\"{current}\"");
    list.split(',')
        .map(str::trim)
        .any(|item| item == "*" || item.strip_prefix(ignored).unwrap_or(item) == tag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_those_of_the_rfc() {
        let (here, other) = (Digest::of(b"here"), Digest::of(b"other"));
        let (tag, weak) = (format!("\"{here}\""), format!("W/\"{here}\""));
        let conditions = |matching: Option<&str>, differing: Option<&str>| Conditions {
            matching: matching.map(str::to_owned),
            differing: differing.map(str::to_owned),
        };
        for (matching, differing, verdict) in [
            (None, None, Verdict::Perform),
            (Some(tag.as_str()), None, Verdict::Perform),
            (Some("*"), None, Verdict::Perform),
            (Some("\"x\""), None, Verdict::Failed),
            (Some(weak.as_str()), None, Verdict::Failed),
            (None, Some(tag.as_str()), Verdict::Unchanged),
            (None, Some(weak.as_str()), Verdict::Unchanged),
            (None, Some("*"), Verdict::Unchanged),
            (None, Some("\"x\", \"y\""), Verdict::Perform),
            (Some("\"x\""), Some(tag.as_str()), Verdict::Failed),
        ] {
            assert_eq!(conditions(matching, differing).verdict(&here), verdict, "{matching:?} {differing:?}");
        }
        assert!(conditions(Some(&tag), None).allow(Some(&here)));
        assert!(!conditions(Some(&tag), None).allow(Some(&other)));
        assert!(!conditions(Some("*"), None).allow(None));
        assert!(conditions(None, Some("*")).allow(None));
        assert!(!conditions(None, Some("*")).allow(Some(&other)));
    }
}
