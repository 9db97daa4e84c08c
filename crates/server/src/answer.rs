//! Answers, good and bad.

use crate::body::Body;
use crate::{Freshness, Login, Refused, Trouble};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use larder_core::{Classify, Digest, Kind, report};
use std::time::Duration;

/// What is sent, and what is noted about it.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Body,
    pub(crate) note: Note,
}

/// For the record only.
#[derive(Debug, Default, Clone)]
pub(crate) struct Note {
    pub(crate) digest: Option<Digest>,
    pub(crate) before: Option<Digest>,
    pub(crate) freshness: Option<Freshness>,
    pub(crate) received: u64,
    pub(crate) reason: Option<String>,
    /// Who it turned out to be, where the request itself says so.
    pub(crate) login: Option<(Login, Option<String>)>,
}

impl Answer {
    pub(crate) fn new(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Body::empty(), note: Note::default() }
    }

    pub(crate) fn ok() -> Self {
        Self::new(StatusCode::OK)
    }

    /// A value that was checked to be printable, or is dropped: what cannot be written is not worth failing for.
    pub(crate) fn header(mut self, name: HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.append(name, value);
        }
        self
    }

    pub(crate) fn body(mut self, media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        self = self.header(header::CONTENT_TYPE, media_type).length(bytes.len() as u64);
        self.body = Body::bytes(bytes);
        self
    }

    pub(crate) fn json(self, value: &serde_json::Value) -> Self {
        self.body("application/json", value.to_string())
    }

    pub(crate) fn length(mut self, bytes: u64) -> Self {
        self.headers.insert(header::CONTENT_LENGTH, bytes.into());
        self
    }

    pub(crate) fn digest(mut self, digest: &Digest) -> Self {
        self.note.digest = Some(*digest);
        self.header(CONTENT_DIGEST, digest.to_string())
    }

    pub(crate) fn noting(mut self, note: impl FnOnce(&mut Note)) -> Self {
        note(&mut self.note);
        self
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// A request that is not done. Codes are those of the distribution specification where it has one. The message is for the
/// client and says nothing about this machine; the reason is for the log.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) headers: HeaderMap,
    pub(crate) note: Note,
}

/// The outcome of a request.
pub(crate) type Outcome = Result<Answer, Box<Refusal>>;

impl Refusal {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Box<Self> {
        Box::new(Self {
            status,
            code,
            message: message.into(),
            headers: HeaderMap::new(),
            note: Note::default(),
        })
    }

    pub(crate) fn invalid(code: &'static str, message: impl Into<String>) -> Box<Self> {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    pub(crate) fn absent(code: &'static str, message: impl Into<String>) -> Box<Self> {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub(crate) fn header(mut self: Box<Self>, name: HeaderName, value: &str) -> Box<Self> {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.append(name, value);
        }
        self
    }

    pub(crate) fn because(mut self: Box<Self>, reason: impl Into<String>) -> Box<Self> {
        self.note.reason = Some(reason.into());
        self
    }

    fn retry_after(self: Box<Self>, after: Option<Duration>) -> Box<Self> {
        let seconds = after.unwrap_or(Duration::from_secs(5)).as_secs().clamp(1, 3600);
        self.header(header::RETRY_AFTER, &seconds.to_string())
    }

    /// A credential that is not taken, or a question about one that cannot be answered.
    pub(crate) fn refused(refused: &Refused, denied: impl FnOnce() -> Box<Self>) -> Box<Self> {
        let refusal = match refused.kind() {
            Kind::Denied => denied(),
            Kind::Unavailable => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "UNAVAILABLE",
                "the credentials cannot be checked now",
            )
            .retry_after(refused.retry_after()),
            _ => Self::invalid("UNSUPPORTED", refused.to_string()),
        };
        refusal.because(report(refused))
    }

    /// Something in the store went wrong. What exactly is not for the client: paths and hosts stay here.
    pub(crate) fn store(error: &larder_store::Error) -> Box<Self> {
        let reason = report(error);
        let refusal = match error.kind() {
            _ if is_full(error) => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, "STORAGE_FULL", "the storage is full")
            }
            Kind::Unavailable | Kind::Conflict => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", "the storage is busy")
                    .retry_after(None)
            }
            Kind::Corrupt => Self::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                "UNKNOWN",
                "the stored content is damaged and is not served",
            ),
            _ => Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the storage failed"),
        };
        refusal.because(reason)
    }

    /// An upstream did not deliver. `unknown` is the code for what does not exist.
    pub(crate) fn trouble(trouble: &Trouble, unknown: &'static str) -> Box<Self> {
        let refusal = match trouble.kind {
            Kind::NotFound => Self::absent(unknown, "it exists neither here nor upstream"),
            Kind::Denied => Self::new(StatusCode::FORBIDDEN, "DENIED", "the upstream registry denies access"),
            Kind::Invalid => Self::invalid("UNSUPPORTED", "the upstream registry does not take this"),
            Kind::Corrupt => Self::new(
                StatusCode::BAD_GATEWAY,
                "UNKNOWN",
                "the upstream registry served content that does not match its digest",
            ),
            Kind::Unsupported => {
                Self::new(StatusCode::NOT_IMPLEMENTED, "UNSUPPORTED", "this is not supported")
            }
            Kind::Unavailable if trouble.retry_after.is_some() => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "TOOMANYREQUESTS",
                "the upstream registry asks to wait",
            )
            .retry_after(trouble.retry_after),
            Kind::Unavailable | Kind::Conflict => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "UNAVAILABLE",
                "the upstream registry cannot be reached",
            )
            .retry_after(None),
            Kind::Internal => Self::new(StatusCode::BAD_GATEWAY, "UNKNOWN", "the upstream registry failed"),
        };
        refusal.because(trouble.message.clone())
    }

    /// As the specification draws it: `{"errors":[{"code":…,"message":…}]}`.
    pub(crate) fn into_answer(self: Box<Self>) -> Answer {
        let errors = serde_json::json!({ "errors": [{ "code": self.code, "message": self.message }] });
        let reason = self.note.reason.clone().unwrap_or_else(|| self.message.clone());
        let mut answer = Answer { note: self.note, headers: self.headers, ..Answer::new(self.status) };
        answer.note.reason = Some(reason);
        answer.json(&errors)
    }
}

/// Whether the disk, or what we may use of it, is full.
pub(crate) fn is_full(error: &larder_store::Error) -> bool {
    let reason = report(error);
    // ENOSPC, EDQUOT, and how SQLite calls them.
    let words = ["No space left", "os error 28", "os error 122", "database or disk is full"];
    words.iter().any(|word| reason.contains(word))
}

impl From<larder_store::Error> for Box<Refusal> {
    fn from(error: larder_store::Error) -> Self {
        Refusal::store(&error)
    }
}

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
pub(crate) const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(crate) const NAMESPACE: HeaderName = HeaderName::from_static("oci-namespace");
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
pub(crate) const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
pub(crate) const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
pub(crate) const TAGGED: HeaderName = HeaderName::from_static("oci-tag");
