//! What can go wrong between here and a registry, or an API server.

mod kind;

use crate::failure::Failure;
use larder_core::Digest;
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
    /// A proxy that clusters cannot be reached through. What it is may be a secret.
    #[error("the configured proxy is no address")]
    ApiProxy,
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
    /// An API server of Kubernetes cannot be spoken to as its kubeconfig says.
    #[error("cannot set up the connection to the API server {host}")]
    ApiSetup {
        /// Which.
        host: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// No connection to an API server of Kubernetes.
    #[error("cannot connect to the API server {host}")]
    ApiConnect {
        /// Which.
        host: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// A connection to an API server of Kubernetes, but no agreement on TLS.
    #[error("cannot establish a trusted TLS connection to the API server {host}")]
    ApiTls {
        /// Which.
        host: String,
        /// Why.
        #[source]
        source: Cause,
    },
    /// The connection to an API server of Kubernetes broke.
    #[error("{what}: the connection to the API server was interrupted")]
    ApiInterrupted {
        /// The path.
        what: String,
        /// How.
        #[source]
        source: Cause,
    },
    /// An API server of Kubernetes answered with an error status.
    #[error("{what}: {status}: {}", if message.is_empty() { "the API server gives no reason" } else { message })]
    ApiStatus {
        /// The path.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What it says, if anything.
        message: String,
    },
    /// An API server of Kubernetes answered something else than was asked for.
    #[error("{what}: the answer of the API server cannot be understood")]
    ApiAnswer {
        /// The path.
        what: String,
        /// Why.
        #[source]
        source: serde_json::Error,
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

/// Why something failed, in the words of a library.
type Cause = Box<dyn std::error::Error + Send + Sync>;

impl Error {
    /// Whether an API server answered, though not with what was wanted: other paths may well be answered otherwise.
    pub fn is_answer(&self) -> bool {
        matches!(
            self,
            Self::ApiStatus { .. } | Self::ApiAnswer { .. } | Self::TooLarge { .. } | Self::Protocol { .. }
        )
    }

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
