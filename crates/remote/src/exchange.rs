//! One request and its answer: connections, the dialer guard, redirects, bounded bodies.
//!
//! Redirects are followed here and not by the HTTP client, because every hop is a new question: may we go there at all, and
//! with what? Once a request has left the origin it was meant for, it carries nothing private, and nothing is added again.

use crate::auth::Authorization;
use crate::backoff::retry_after;
use crate::failure::{Failure, complaint};
use crate::guard::Trust;
use crate::hosts::Tls;
use crate::transport::{Transport, blame};
use crate::{Config, Error, Result, redact};
use bytes::{Bytes, BytesMut};
use larder_core::Secret;
use reqwest::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, StatusCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use url::Url;

/// The hosts that the user named for a registry.
#[derive(Debug, Clone, Default)]
pub(crate) struct Named {
    pub(crate) hosts: Vec<(Url, Arc<Tls>, Option<Duration>)>,
    pub(crate) realm_hosts: Vec<String>,
}

impl Named {
    /// The host as configured: the very origin if there is one, else another port of the same host.
    fn find(&self, url: &Url) -> Option<&(Url, Arc<Tls>, Option<Duration>)> {
        let same = |(named, ..): &&(Url, Arc<Tls>, Option<Duration>)| named.host() == url.host();
        self.hosts
            .iter()
            .filter(same)
            .find(|(named, ..)| named.origin() == url.origin())
            .or_else(|| self.hosts.iter().find(same))
    }
}

/// What a request carries.
pub(crate) enum Payload {
    Bytes(Bytes),
    /// A body of known length; `moved` counts what has been handed to the connection.
    Stream {
        body: reqwest::Body,
        length: u64,
        moved: Arc<AtomicU64>,
    },
}

/// A request to be sent.
pub(crate) struct Request<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    /// Sent to every hop.
    pub(crate) headers: HeaderMap,
    /// Sent to the first origin only.
    pub(crate) private: HeaderMap,
    /// Sent to the first origin only.
    pub(crate) authorization: Option<&'a Authorization>,
    pub(crate) payload: Option<Payload>,
    pub(crate) named: &'a Named,
    /// The registry to log in to when this is refused.
    pub(crate) login: Option<String>,
}

pub(crate) struct Exchange {
    pub(crate) config: Arc<Config>,
    pub(crate) transport: Transport,
}

impl Exchange {
    /// Sends a request and follows redirects of GET and HEAD.
    pub(crate) async fn follow(&self, request: Request<'_>) -> Result<Response> {
        let Request { method, mut url, headers, private, authorization, mut payload, named, mut login } =
            request;
        let first = url.origin();
        let mut left = false;
        let followed = matches!(method, Method::GET | Method::HEAD);
        for _ in 0..=self.config.max_redirects {
            let mut all = headers.clone();
            if !left {
                // `append` and not `insert`: a host's own headers may repeat.
                private.iter().for_each(|(name, value)| {
                    all.append(name, value.clone());
                });
                if let Some(authorization) =
                    authorization.filter(|authorization| !authorization.header.is_empty())
                {
                    all.insert(AUTHORIZATION, authorization.header.clone());
                }
            } else {
                login = None;
            }
            let inner = self.send(&method, &url, all, payload.take(), named).await?;
            let status = inner.status();
            if !matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                let secrets =
                    authorization.map(|authorization| authorization.secrets.clone()).unwrap_or_default();
                return Ok(Response {
                    inner,
                    url,
                    left,
                    method,
                    login,
                    secrets,
                    config: self.config.clone(),
                });
            }
            let refuse = |reason| Error::Redirect { url: redact::url(&url), reason };
            if !followed {
                return Err(refuse("only reads are redirected"));
            }
            let location = inner.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location
                .and_then(|location| url.join(location).ok())
                .ok_or_else(|| refuse("it leads nowhere"))?;
            let next = sane_redirect(&url, next).map_err(refuse)?;
            left |= next.origin() != first;
            url = next;
        }
        Err(Error::Redirect { url: redact::url(&url), reason: "too many in a row" })
    }

    async fn send(
        &self,
        method: &Method,
        url: &Url,
        mut headers: HeaderMap,
        payload: Option<Payload>,
        named: &Named,
    ) -> Result<reqwest::Response> {
        let known = named.find(url);
        let trust = if known.is_some() || crate::auth::realm::is_listed(url, &named.realm_hosts) {
            Trust::Named
        } else {
            Trust::Pointed
        };
        let client =
            self.transport.client(url, known.map(|(_, tls, dial)| (tls.clone(), *dial)), trust).await?;
        let mut moved = None;
        let mut request = reqwest::Request::new(method.clone(), url.clone());
        match payload {
            None => {}
            Some(Payload::Bytes(bytes)) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(bytes.len() as u64));
                *request.body_mut() = Some(bytes.into());
            }
            Some(Payload::Stream { body, length, moved: counter }) => {
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
                *request.body_mut() = Some(body);
                moved = Some((counter, length));
            }
        }
        *request.headers_mut() = headers;
        // Until the head of the answer there is no limit on the whole, but something has to move. When everything has been
        // sent, a registry may need its time to put a large blob where it belongs.
        let mut answer = std::pin::pin!(client.execute(request));
        let idle = self.config.idle_timeout;
        let sending = moved.as_ref().map(|(counter, length)| (counter.clone(), *length));
        let patience = if matches!(*method, Method::GET | Method::HEAD) { idle } else { idle * SETTLING };
        let (mut quiet, mut before) = (Duration::ZERO, 0);
        loop {
            match tokio::time::timeout(idle, &mut answer).await {
                Ok(outcome) => return outcome.map_err(|error| blame(error, url, &self.config)),
                Err(_) => quiet += idle,
            }
            let mut patience = patience;
            if let Some((counter, length)) = &sending {
                let now = counter.load(Ordering::Relaxed);
                if now != before {
                    (before, quiet) = (now, Duration::ZERO);
                }
                if now < *length {
                    patience = idle;
                }
            }
            if quiet >= patience {
                return Err(Error::Stalled { what: redact::url(url), after: patience });
            }
        }
    }
}

/// How many idle time-outs a registry may think about something that was sent to it.
const SETTLING: u32 = 10;

/// Where a redirect may lead.
fn sane_redirect(from: &Url, mut to: Url) -> std::result::Result<Url, &'static str> {
    match (from.scheme(), to.scheme()) {
        (_, "https") | ("http", "http") => {}
        ("https", "http") => return Err("it would leave TLS"),
        _ => return Err("it is neither an http nor an https URL"),
    }
    if to.host().is_none() {
        return Err("it has no host");
    }
    if !to.username().is_empty() || to.password().is_some() {
        return Err("it has user information in its URL");
    }
    to.set_fragment(None);
    Ok(to)
}

/// An answer whose body has not been read.
#[derive(Debug)]
pub(crate) struct Response {
    inner: reqwest::Response,
    /// Who answered, after redirects.
    pub(crate) url: Url,
    /// Whether another origin than the one asked answered.
    pub(crate) left: bool,
    method: Method,
    login: Option<String>,
    secrets: Vec<Secret>,
    config: Arc<Config>,
}

impl Response {
    pub(crate) fn status(&self) -> StatusCode {
        self.inner.status()
    }

    pub(crate) fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers().get(name).and_then(|value| value.to_str().ok())
    }

    /// The declared length of the body. Also set for HEAD.
    pub(crate) fn length(&self) -> Option<u64> {
        self.headers().get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
    }

    /// The next piece of the body.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>> {
        let idle = self.config.idle_timeout;
        match tokio::time::timeout(idle, self.inner.chunk()).await {
            Ok(Ok(chunk)) => Ok(chunk),
            Ok(Err(error)) => {
                Err(Error::Interrupted { what: redact::url(&self.url), source: error.without_url() })
            }
            Err(_) => Err(Error::Stalled { what: redact::url(&self.url), after: idle }),
        }
    }

    /// The whole body, as long as it is not larger than `limit`. What is larger is not read: a declared length is believed, an
    /// undeclared one is counted.
    pub(crate) async fn bytes(mut self, limit: u64) -> Result<Bytes> {
        let too_large = || Error::TooLarge { what: redact::url(&self.url), limit };
        if self.length().is_some_and(|length| length > limit) {
            return Err(too_large());
        }
        self.refuse_encoding()?;
        // Pieces that arrive one by one must not go on forever.
        let patience = self.config.idle_timeout.saturating_mul(4);
        let what = redact::url(&self.url);
        let read = async {
            let mut body = BytesMut::new();
            while let Some(chunk) = self.chunk().await? {
                if body.len() as u64 + chunk.len() as u64 > limit {
                    return Err(Error::TooLarge { what: redact::url(&self.url), limit });
                }
                body.extend_from_slice(&chunk);
            }
            Ok(body.freeze())
        };
        tokio::time::timeout(patience, read).await.unwrap_or(Err(Error::Stalled { what, after: patience }))
    }

    /// Content encodings change the bytes, and with them the digest.
    pub(crate) fn refuse_encoding(&self) -> Result<()> {
        match self.header("content-encoding") {
            None | Some("" | "identity") => Ok(()),
            Some(encoding) => {
                Err(Error::Encoded { url: redact::url(&self.url), encoding: redact::text(encoding, 60) })
            }
        }
    }

    pub(crate) fn is_web_page(&self) -> bool {
        let kind = self.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let kind = kind.split(';').next().unwrap_or_default().trim();
        kind.eq_ignore_ascii_case("text/html") || kind.eq_ignore_ascii_case("application/xhtml+xml")
    }

    /// Itself if its status is one of `statuses`, else the error it stands for.
    pub(crate) async fn accept(self, statuses: &[u16]) -> Result<Self> {
        if statuses.contains(&self.status().as_u16()) { Ok(self) } else { Err(self.failure().await) }
    }

    /// Reads and drops a short body, so that the connection can be used again.
    pub(crate) async fn dismiss(self) {
        let _ = self.bytes(FAILURE_LIMIT).await;
    }

    /// The error that an unexpected answer stands for.
    pub(crate) async fn failure(self) -> Error {
        let now = (self.config.clock)();
        let mut failure = Failure {
            method: self.method.to_string(),
            url: redact::url(&self.url),
            status: self.status(),
            code: None,
            message: String::new(),
            retry_after: self
                .headers()
                .get(RETRY_AFTER)
                .and_then(|value| value.to_str().ok())
                .and_then(|value| retry_after(value, now)),
            login: self.login.clone(),
            foreign: false,
        };
        let secrets = self.secrets.clone();
        let is_page = self.is_web_page();
        if self.method != Method::HEAD
            && !is_page
            && let Ok(body) = self.start(FAILURE_LIMIT).await
        {
            (failure.code, failure.message) = complaint(&body, &secrets);
        }
        Error::Status(Box::new(failure))
    }

    /// The first `limit` bytes of the body.
    async fn start(mut self, limit: u64) -> Result<BytesMut> {
        let patience = self.config.idle_timeout.min(Duration::from_secs(5));
        let mut body = BytesMut::new();
        let read = async {
            while (body.len() as u64) < limit
                && let Some(chunk) = self.chunk().await?
            {
                let room = (limit - body.len() as u64).min(chunk.len() as u64) as usize;
                body.extend_from_slice(&chunk[..room]);
            }
            Ok(())
        };
        match tokio::time::timeout(patience, read).await {
            Ok(outcome) => outcome.map(|()| body),
            Err(_) => Ok(body),
        }
    }
}

const FAILURE_LIMIT: u64 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_never_leave_tls_nor_carry_users() {
        let check = |from: &str, to: &str| sane_redirect(&from.parse().unwrap(), to.parse().unwrap()).is_ok();
        assert!(check("https://a", "https://b/x#frag"));
        assert!(check("http://a", "https://b/x"));
        assert!(check("http://a", "http://b/x"));
        assert!(!check("https://a", "http://a/x"));
        assert!(!check("https://a", "https://u:p@b/x"));
        assert!(!check("https://a", "file:///etc/passwd"));
        assert!(!check("http://a", "ftp://b/x"));
    }
}
