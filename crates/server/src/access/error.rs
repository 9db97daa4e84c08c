//! Why access control cannot be set up.

use larder_core::{Classify, Kind};
use std::path::PathBuf;

/// What is wrong with the settings of access control, or with the files they name. Never has a secret in it, nor a hash.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the message of each variant says what it is, its fields say of what")]
pub enum AccessError {
    #[error("access.{key}: {reason}")]
    Setting { key: String, reason: String },
    #[error("cannot read {}, the accounts of access.htpasswd", path.display())]
    Htpasswd { path: PathBuf, source: std::io::Error },
    #[error("{} line {line}: {reason}", path.display())]
    HtpasswdLine { path: PathBuf, line: usize, reason: &'static str },
    #[error("cannot read {}, the key of access.tokens", path.display())]
    ReadKey { path: PathBuf, source: std::io::Error },
    #[error("cannot create {}, the key of access.tokens", path.display())]
    CreateKey { path: PathBuf, source: std::io::Error },
    #[error("{} cannot sign tokens: {reason}", path.display())]
    UseKey { path: PathBuf, reason: &'static str },
    #[error("cannot read {}, the keys of {issuer}", path.display())]
    ReadKeys { path: PathBuf, issuer: String, source: std::io::Error },
    #[error("cannot use the keys of {issuer}: {reason}")]
    UseKeys { issuer: String, reason: &'static str },
    #[error("the system has no random numbers")]
    Random,
}

impl AccessError {
    pub(super) fn setting(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), reason: reason.into() }
    }
}

impl Classify for AccessError {
    fn kind(&self) -> Kind {
        match self {
            Self::Setting { .. }
            | Self::Htpasswd { .. }
            | Self::HtpasswdLine { .. }
            | Self::ReadKey { .. }
            | Self::UseKey { .. }
            | Self::ReadKeys { .. }
            | Self::UseKeys { .. } => Kind::Invalid,
            Self::CreateKey { .. } => Kind::Denied,
            Self::Random => Kind::Unsupported,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::Htpasswd { path, .. } => {
                let path = path.display();
                vec![format!("`htpasswd -Bc {path} NAME` creates the file with a first account")]
            }
            Self::HtpasswdLine { path, .. } => {
                let path = path.display();
                vec![format!(
                    "`htpasswd -B {path} NAME` writes an account as bcrypt, the only hash that is read"
                )]
            }
            Self::UseKey { .. } => {
                vec!["remove the file, and the next start makes a new key with the right mode".to_owned()]
            }
            _ => Vec::new(),
        }
    }
}
