//! What can go wrong between here and a registry.

use crate::failure::Failure;
use larder_core::{Classify, Digest, Kind};
use reqwest::StatusCode;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Errors of this crate, one variant per operation. URLs in them are redacted: no user information, and query values only
/// where the key is known to be harmless.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The HTTP client could not be made ready.
    #[error("cannot set up the connection to {host}")]
    Setup {
        /// For whom.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The name of the host does not resolve.
    #[error("cannot find the host {host}")]
    UnknownHost {
        /// Which.
        host: String,
        /// What the resolver said.
        #[source]
        source: reqwest::Error,
    },
    /// No connection.
    #[error("cannot connect to {host}")]
    Connect {
        /// To whom.
        host: String,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A connection, but no agreement on TLS.
    #[error("cannot establish a trusted TLS connection to {host}")]
    Tls {
        /// With whom.
        host: String,
        /// Where a certificate authority for the host would be looked for.
        certs_dir: Option<PathBuf>,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// Nothing arrived for too long.
    #[error("{what}: no byte for {} s", after.as_secs_f32())]
    Stalled {
        /// The URL.
        what: String,
        /// The configured limit.
        after: Duration,
    },
    /// Bytes arrive, but slower than the configured minimum.
    #[error("{what}: slower than {rate} bytes per second")]
    Slow {
        /// The URL.
        what: String,
        /// The configured minimum.
        rate: u64,
    },
    /// The connection broke while a request or an answer was under way.
    #[error("{what}: the connection was interrupted")]
    Interrupted {
        /// The URL.
        what: String,
        /// How.
        #[source]
        source: reqwest::Error,
    },
    /// A server pointed to an address it has no business pointing to, or configuration forbids the address.
    #[error("refused to connect to {host}: {address} is {why}")]
    Refused {
        /// The host in the URL.
        host: String,
        /// What it resolved to.
        address: IpAddr,
        /// Which rule.
        why: &'static str,
    },
    /// A registry asked to send credentials somewhere they may not go.
    #[error("{host} asks for authentication at {realm}, which is refused: {reason}")]
    Realm {
        /// Who asked.
        host: String,
        /// Where it points.
        realm: String,
        /// Which rule.
        reason: &'static str,
    },
    /// A redirect that is not followed.
    #[error("{url}: redirect refused: {reason}")]
    Redirect {
        /// Who answered with the redirect.
        url: String,
        /// Which rule.
        reason: &'static str,
    },
    /// A server answered with an error status.
    #[error("{0}")]
    Status(Box<Failure>),
    /// A token server answered something that is not a token.
    #[error("no usable token from {realm}: {reason}")]
    Token {
        /// The token server.
        realm: String,
        /// What is wrong.
        reason: &'static str,
    },
    /// A manifest, index or list that cannot be accepted.
    #[error("{what} is not acceptable")]
    Document {
        /// Its URL.
        what: String,
        /// Why.
        #[source]
        source: larder_core::Error,
    },
    /// Bytes that do not hash to their name.
    #[error("{what}: expected {expected}, got {actual}")]
    Mismatch {
        /// The URL.
        what: String,
        /// What was asked for.
        expected: Box<Digest>,
        /// What came.
        actual: Box<Digest>,
    },
    /// An answer that is larger than it may be.
    #[error("{what}: more than the limit of {limit} bytes")]
    TooLarge {
        /// The URL.
        what: String,
        /// The limit.
        limit: u64,
    },
    /// A blob that is shorter or longer than its descriptor says.
    #[error("{what}: expected {expected} bytes, the server has {found}")]
    Length {
        /// The URL.
        what: String,
        /// From the descriptor.
        expected: u64,
        /// From the server; for an endless body, one more than expected.
        found: u64,
    },
    /// A file became another one while it was being fetched.
    #[error("{what} changed while it was being fetched")]
    Changed {
        /// The URL.
        what: String,
    },
    /// The server sent another part of a blob than the one asked for.
    #[error("{what}: asked for the bytes from {expected}, got {found:?}")]
    WrongRange {
        /// The URL.
        what: String,
        /// First byte asked for.
        expected: u64,
        /// The `Content-Range` that came.
        found: String,
    },
    /// A caller's range that does not lie inside the blob.
    #[error("{length} bytes at {start} do not lie inside {digest} of {size} bytes")]
    OutOfRange {
        /// The blob.
        digest: Digest,
        /// Its size.
        size: u64,
        /// First byte asked for.
        start: u64,
        /// How many.
        length: u64,
    },
    /// HTML came where content was asked for.
    #[error("{url} answered with a web page instead of content")]
    WebPage {
        /// The URL.
        url: String,
    },
    /// Something on the way compressed the bytes, so they cannot hash to their name.
    #[error("{url}: the answer has the content encoding {encoding:?}, which changes its bytes")]
    Encoded {
        /// The URL.
        url: String,
        /// The header.
        encoding: String,
    },
    /// An answer lacks what the protocol demands of it.
    #[error("{what}: {reason}")]
    Protocol {
        /// The URL.
        what: String,
        /// What is missing or wrong.
        reason: &'static str,
    },
    /// No configured host may do this.
    #[error("no host configured for {registry} may {action}")]
    NoHost {
        /// The registry.
        registry: String,
        /// `pull`, `resolve` or `push`.
        action: &'static str,
    },
    /// A hosts file that cannot be understood.
    #[error("invalid {}: {reason}", path.display())]
    Hosts {
        /// The file.
        path: PathBuf,
        /// Which rule.
        reason: String,
    },
    /// A file of the configuration that cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A certificate or key that cannot be used.
    #[error("{} holds no usable certificate or key", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// A proxy that cannot be used.
    #[error("the configured proxy cannot be used")]
    Proxy(#[source] reqwest::Error),
    /// A credential file that cannot be understood.
    #[error("invalid credential file {}: {reason}", path.display())]
    CredentialFile {
        /// The file.
        path: PathBuf,
        /// What is wrong. Never contains content of the file.
        reason: &'static str,
    },
    /// A credential file that cannot be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A credential helper that failed.
    #[error("credential helper {program}: {reason}")]
    Helper {
        /// Its name.
        program: String,
        /// What happened. Never contains what the helper printed on its standard output.
        reason: String,
    },
    /// The content to push could not be read.
    #[error("cannot read {digest} to push it")]
    Source {
        /// Which blob.
        digest: Digest,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

impl Error {
    pub(crate) fn mismatch(what: String, expected: Digest, actual: Digest) -> Self {
        Self::Mismatch { what, expected: Box::new(expected), actual: Box::new(actual) }
    }

    /// Whether the same request may succeed a moment later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Self::UnknownHost { .. }
            | Self::Connect { .. }
            | Self::Stalled { .. }
            | Self::Slow { .. }
            | Self::Interrupted { .. } => true,
            Self::Status(failure) => {
                matches!(failure.status.as_u16(), 408 | 425 | 429 | 500 | 502 | 503 | 504)
            }
            _ => false,
        }
    }

    /// Whether the host itself seems to be out of order, so that the next one should be preferred for a while.
    pub(crate) fn blames_host(&self) -> bool {
        matches!(
            self,
            Self::UnknownHost { .. }
                | Self::Connect { .. }
                | Self::Tls { .. }
                | Self::Stalled { .. }
                | Self::Slow { .. }
        )
    }

    /// The status of the answer, where one came.
    pub(crate) fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Status(failure) => Some(failure.status),
            _ => None,
        }
    }
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::UnknownHost { .. }
            | Self::Connect { .. }
            | Self::Stalled { .. }
            | Self::Slow { .. }
            | Self::Interrupted { .. }
            | Self::Helper { .. }
            | Self::WebPage { .. }
            | Self::Changed { .. }
            | Self::Read { .. }
            | Self::Write { .. }
            | Self::Source { .. } => Kind::Unavailable,
            Self::Tls { .. } | Self::Refused { .. } | Self::Realm { .. } | Self::Redirect { .. } => {
                Kind::Denied
            }
            Self::Status(failure) => match failure.status.as_u16() {
                401 | 403 | 407 => Kind::Denied,
                404 | 410 => Kind::NotFound,
                409 | 412 | 423 => Kind::Conflict,
                405 | 501 | 505 => Kind::Unsupported,
                408 | 425 | 429 | 500..=599 => Kind::Unavailable,
                _ => Kind::Invalid,
            },
            Self::Document { source, .. } => source.kind(),
            Self::Mismatch { .. } | Self::Length { .. } | Self::WrongRange { .. } | Self::Encoded { .. } => {
                Kind::Corrupt
            }
            Self::NoHost { .. } => Kind::Unsupported,
            Self::Token { .. }
            | Self::TooLarge { .. }
            | Self::OutOfRange { .. }
            | Self::Protocol { .. }
            | Self::Hosts { .. }
            | Self::Certificate { .. }
            | Self::Proxy(_)
            | Self::CredentialFile { .. } => Kind::Invalid,
            Self::Setup { .. } => Kind::Internal,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::UnknownHost { host, .. } => {
                vec![format!("check the spelling of {host:?}, and that the name server is reachable")]
            }
            Self::Connect { host, .. } => vec![format!(
                "check that {host} is up and reachable from here; a mirror may be configured in certs.d/{host}/hosts.toml"
            )],
            Self::Tls { host, certs_dir, source } => {
                // The TLS library is not linked here by name, so its words have to do.
                let words = larder_core::report(source).to_ascii_lowercase();
                if words.contains("expired") {
                    return vec![format!(
                        "the certificate of {host} is no longer valid: who runs {host} has to renew it; or the clock here is wrong"
                    )];
                } else if words.contains("not valid yet") || words.contains("notvalidyet") {
                    return vec![format!(
                        "the certificate of {host} is not valid yet, or the clock here is wrong"
                    )];
                } else if words.contains("not valid for name") || words.contains("notvalidforname") {
                    return vec![format!(
                        "the certificate of {host} is for another name: use the name that it is for, or check who answers there"
                    )];
                }
                let dir =
                    certs_dir.as_ref().map_or_else(|| "certs.d".into(), |dir| dir.display().to_string());
                vec![
                    format!(
                        "if {host} has a private certificate authority, put its certificate into {dir}/{host}/ca.crt"
                    ),
                    format!(
                        "if {host} speaks plain http or cannot be verified, list it as an insecure registry"
                    ),
                ]
            }
            Self::Refused { address, .. } => {
                vec![format!("if this is intended, add a network that contains {address} to allow_networks")]
            }
            Self::Realm { realm, .. } => {
                let host = url::Url::parse(realm).ok().and_then(|url| url.host_str().map(str::to_owned));
                host.map(|host| {
                    format!("if {host} is the right token server, add it to the allowed realm hosts")
                })
                .into_iter()
                .collect()
            }
            Self::Status(failure) => failure.hints(),
            Self::WebPage { .. } => {
                vec!["a proxy or a login page may stand between here and the registry".into()]
            }
            Self::Encoded { .. } => {
                vec!["a proxy that compresses stands between here and the registry; turn that off".into()]
            }
            Self::Slow { .. } => vec!["lower the minimum rate if the line is really that slow".into()],
            Self::Helper { program, .. } => {
                vec![format!(
                    "run `{program} list` to see whether the helper works, or log in again without it"
                )]
            }
            _ => Vec::new(),
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(failure) => failure.retry_after,
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(status: u16) -> Error {
        Error::Status(Box::new(Failure {
            method: "GET".into(),
            url: "https://r.example/v2/a/manifests/1".into(),
            status: StatusCode::from_u16(status).unwrap(),
            code: Some("DENIED".into()),
            message: "no".into(),
            retry_after: None,
            login: Some("r.example".into()),
            foreign: false,
        }))
    }

    #[test]
    fn statuses_have_kinds_and_hints() {
        let table = [
            (401, Kind::Denied),
            (403, Kind::Denied),
            (404, Kind::NotFound),
            (405, Kind::Unsupported),
            (400, Kind::Invalid),
            (409, Kind::Conflict),
            (429, Kind::Unavailable),
            (503, Kind::Unavailable),
        ];
        for (status, kind) in table {
            assert_eq!(failure(status).kind(), kind, "{status}");
        }
        assert_eq!(failure(401).hints()[0], "larder login r.example");
        assert!(failure(403).to_string().contains("403 Forbidden (DENIED: no)"));
        assert!(failure(503).is_passing() && !failure(404).is_passing());
    }
}
