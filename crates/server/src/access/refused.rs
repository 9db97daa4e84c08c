//! Why a caller is not let in.

use crate::Login;
use larder_core::{Classify, Kind};
use std::time::Duration;

/// Why a credential, or a request for a token, is refused. For logs and the audit log: never has a secret in it, and a client
/// learns the status only.
///
/// [`Kind::Denied`] is 401 with a challenge, [`Kind::Invalid`] 400, [`Kind::Unavailable`] 503 with [`Classify::retry_after`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Neither `Basic` nor `Bearer`, or not readable as such.
    #[error("the authorization header cannot be read: {0}")]
    Header(&'static str),
    /// No such account, or not its password.
    #[error("the name or the password is wrong")]
    Password {
        /// The account, if there is one of that name. A name that is no account may be a password typed into the wrong field.
        account: Option<String>,
    },
    /// A token that proves nothing here.
    #[error("the token is refused: {0}")]
    Token(&'static str),
    /// A certificate that TLS took and that names no account.
    #[error("the client certificate names no account: {0}")]
    Certificate(&'static str),
    /// Too many passwords are waiting to be checked.
    #[error("too many passwords are being checked")]
    Busy,
    /// The keys of an issuer cannot be had, so nobody knows whether the token is good.
    #[error("the keys of {issuer} are not available: {reason}")]
    Keys {
        /// Whose.
        issuer: String,
        /// What happened.
        reason: String,
    },
    /// A request for a token that cannot be answered.
    #[error("the token request is refused: {0}")]
    Request(&'static str),
}

impl Refused {
    /// How the caller tried to prove who it is.
    pub fn login(&self) -> Login {
        match self {
            Self::Header(_) | Self::Request(_) => Login::Anonymous,
            Self::Password { .. } | Self::Busy => Login::Password,
            Self::Token(_) | Self::Keys { .. } => Login::Token,
            Self::Certificate(_) => Login::Certificate,
        }
    }

    /// The account that somebody tried to be, if it exists.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Password { account } => account.as_deref(),
            _ => None,
        }
    }
}

impl Classify for Refused {
    fn kind(&self) -> Kind {
        match self {
            Self::Header(_) | Self::Password { .. } | Self::Token(_) | Self::Certificate(_) => Kind::Denied,
            Self::Busy | Self::Keys { .. } => Kind::Unavailable,
            Self::Request(_) => Kind::Invalid,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy => Some(Duration::from_secs(1)),
            Self::Keys { .. } => Some(Duration::from_secs(10)),
            _ => None,
        }
    }
}
