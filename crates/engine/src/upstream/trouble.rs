//! What a failure means to a caller of the server.

use larder_core::{Classify, Kind, report};
use larder_server::Trouble;

/// What an upstream said, where it did not say yes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// This credential may not.
    Denied,
    /// There is no such thing.
    NotFound,
    /// Nothing that counts: it cannot be reached, is in trouble, or talks nonsense. Never to be taken for one of the others.
    None,
}

/// The registry's own word. What failed on the way to it (TLS, a token server that is missing, a redirect that leads
/// nowhere) is not its word.
pub(super) fn word(error: &larder_remote::Error) -> Word {
    match error {
        larder_remote::Error::Status(failure) => match failure.status() {
            401 | 403 | 407 => Word::Denied,
            404 | 410 => Word::NotFound,
            _ => Word::None,
        },
        _ => Word::None,
    }
}

/// `what` was asked and `error` came.
pub(super) fn remote(what: &str, error: &larder_remote::Error, anonymous: bool) -> Trouble {
    let kind = match word(error) {
        Word::Denied => Kind::Denied,
        Word::NotFound => Kind::NotFound,
        Word::None if error.kind() == Kind::Corrupt => Kind::Corrupt,
        Word::None => Kind::Unavailable,
    };
    Trouble {
        kind,
        message: format!("{what}: {}", report(error)),
        wants_credential: anonymous && kind == Kind::Denied,
        retry_after: error.retry_after(),
    }
}

/// The store failed. It never says that something does not exist: that would be taken for the upstream's word.
pub(super) fn store(error: &larder_store::Error) -> Trouble {
    let kind = match error.kind() {
        Kind::NotFound | Kind::Denied => Kind::Internal,
        kind => kind,
    };
    plain(kind, report(error))
}

pub(super) fn plain(kind: Kind, message: impl Into<String>) -> Trouble {
    Trouble { kind, message: message.into(), wants_credential: false, retry_after: None }
}

/// A task of ours panicked.
pub(super) fn lost(what: &str) -> Trouble {
    plain(Kind::Internal, format!("the task for {what} ended unexpectedly"))
}
