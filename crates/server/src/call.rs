//! One request on its way through the server.

use crate::answer::Refusal;
use crate::route::Query;
use crate::server::Shared;
use crate::socket::Stretches;
use crate::{Action, Asked, Caller, Selector, Trouble};
use bytes::Bytes;
use http::header::{HeaderMap, HeaderName};
use http::{Method, StatusCode};
use hyper::body::Incoming;
use larder_core::{Digest, RepositoryName, Tag};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request whose caller is known and may do what it asks.
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) method: Method,
    pub(crate) query: Query,
    pub(crate) raw_query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) caller: Caller,
    pub(crate) body: Incoming,
    /// There if this connection sends files by itself.
    pub(crate) stretches: Option<Stretches>,
    /// `http` or `https`, and the host the client asked, for absolute links.
    pub(crate) origin: String,
    /// How long the body was waited for, and how much of it arrived meanwhile: for clients that send next to nothing.
    pub(crate) pace: (Duration, u64),
}

/// The repository a call is about.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) name: RepositoryName,
    /// As the client wrote it, for links back.
    pub(crate) path: String,
}

impl Call {
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// `/v2/PATH/rest`, with the namespace the client gave.
    pub(crate) fn link(&self, target: &Target, rest: &str) -> String {
        match self.query.value("ns") {
            Some(namespace) => {
                let joint = if rest.contains('?') { '&' } else { '?' };
                format!("/v2/{}/{rest}{joint}ns={namespace}", target.path)
            }
            None => format!("/v2/{}/{rest}", target.path),
        }
    }

    /// Asks the upstream whether the caller may read here, where there is one.
    pub(crate) async fn authorize(
        &self,
        target: &Target,
        about: Option<&Selector>,
        unknown: &'static str,
    ) -> Result<(), Box<Refusal>> {
        let Some(upstream) = self.shared.upstream(&target.name) else { return Ok(()) };
        upstream
            .authorize(&target.name, about, &self.caller)
            .await
            .map_err(|trouble| self.refuse(&trouble, target, unknown))
    }

    pub(crate) fn refuse(&self, trouble: &Trouble, target: &Target, unknown: &'static str) -> Box<Refusal> {
        // Who is known here cannot do better by logging in here again.
        let anew = self.caller.name.is_none() || !self.shared.access.has_accounts();
        if trouble.wants_credential && anew {
            let asked =
                Asked { repository: Some(&target.name), path: Some(&target.path), action: Action::Pull };
            return unauthorized(&self.shared, &asked, &self.origin).because(trouble.message.clone());
        }
        Refusal::trouble(trouble, unknown)
    }

    /// The next piece of the request's body. A client that sends nothing, or next to nothing, for too long is cut off.
    pub(crate) async fn next_piece(&mut self) -> Result<Option<Bytes>, Box<Refusal>> {
        use hyper::body::Body as _;
        let (stall, slowest) = (self.shared.settings.stall_timeout, self.shared.settings.slowest_bytes);
        let late = || {
            let message = "the body did not arrive in time";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "BLOB_UPLOAD_INVALID", message)
        };
        loop {
            let frame = std::future::poll_fn(|cx| Pin::new(&mut self.body).poll_frame(cx));
            let asked = Instant::now();
            let frame = tokio::time::timeout(stall, frame).await.map_err(|_| late())?;
            let (waited, moved) = &mut self.pace;
            *waited += asked.elapsed();
            if let Some(Ok(frame)) = &frame {
                *moved += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
            if *waited > stall {
                if *moved < slowest {
                    return Err(late());
                }
                (*waited, *moved) = (Duration::ZERO, 0);
            }
            match frame {
                None => return Ok(None),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => return Ok(Some(data)),
                    Err(_trailers) => {}
                },
                Some(Err(error)) => {
                    return Err(Refusal::invalid("BLOB_UPLOAD_INVALID", "the body broke off")
                        .because(larder_core::report(&error)));
                }
            }
        }
    }
}

/// 401, and how to do better.
pub(crate) fn unauthorized(shared: &Shared, asked: &Asked<'_>, origin: &str) -> Box<Refusal> {
    let refusal = Refusal::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", "authentication is required");
    shared
        .access
        .challenges(asked, origin)
        .iter()
        .fold(refusal, |refusal, challenge| refusal.header(http::header::WWW_AUTHENTICATE, challenge))
}

/// A tag or a digest, as it stands in a path.
pub(crate) fn selector(text: &str) -> Result<Selector, Box<Refusal>> {
    if text.contains(':') {
        return Ok(Selector::Digest(digest(text)?));
    }
    let tag = Tag::new(text);
    tag.map(Selector::Tag).map_err(|error| Refusal::invalid("MANIFEST_INVALID", error.to_string()))
}

pub(crate) fn digest(text: &str) -> Result<Digest, Box<Refusal>> {
    text.parse().map_err(|error: larder_core::Error| Refusal::invalid("DIGEST_INVALID", error.to_string()))
}

/// Runs what blocks (file and database writes) off the threads that serve connections.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, larder_store::Error> + Send + 'static,
) -> Result<T, Box<Refusal>> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => Ok(outcome?),
        Err(_) => Err(Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", "the server failed")
            .because("a task panicked")),
    }
}
