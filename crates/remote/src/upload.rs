//! Pushing one blob (distribution spec, "Pushing blobs"): in one piece if it is small, in parts otherwise; after an
//! interruption it goes on where the registry says it stopped.

use crate::backoff::Attempts;
use crate::client::Action;
use crate::exchange::{Payload, Response};
use crate::hosts::Endpoint;
use crate::repo::{Call, Repo};
use crate::{Error, Result, redact};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream;
use larder_core::{Classify, Descriptor, Digest, Event, Kind, Progress};
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncReadExt};
use url::Url;

/// Content that can be read from any offset, as often as a push needs it.
#[async_trait]
pub trait BlobOpener: Send + Sync {
    /// A reader of everything from `offset` on.
    async fn open_at(&self, offset: u64) -> std::io::Result<Box<dyn AsyncRead + Send + Unpin>>;
}

/// What a request carries, ready to be opened for every attempt.
pub(crate) enum Body<'a> {
    None,
    Bytes(Bytes),
    Part { opener: &'a dyn BlobOpener, digest: Digest, offset: u64, length: u64 },
}

/// Where a reader's error waits until the connection that starved on it has failed.
#[derive(Clone)]
pub(crate) struct Trouble {
    digest: Digest,
    error: Arc<Mutex<Option<std::io::Error>>>,
}

impl Trouble {
    pub(crate) fn take(&self) -> Option<Error> {
        let source = self.error.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some(Error::Source { digest: self.digest, source })
    }
}

/// How much is read from a source at once.
const READ: usize = 256 << 10;
/// Blobs up to this size are pushed in one request.
const SMALL: u64 = 1 << 20;
/// The largest smallest part that a registry can demand.
const LARGEST_MINIMUM: u64 = 1 << 30;

impl Body<'_> {
    pub(crate) async fn open(&self) -> Result<Option<(Payload, Trouble)>> {
        match self {
            Self::None => Ok(None),
            Self::Bytes(bytes) => {
                let trouble = Trouble { digest: Digest::of(b""), error: Arc::default() };
                Ok(Some((Payload::Bytes(bytes.clone()), trouble)))
            }
            Self::Part { opener, digest, offset, length } => {
                let source = |source| Error::Source { digest: *digest, source };
                let reader = opener.open_at(*offset).await.map_err(source)?;
                let trouble = Trouble { digest: *digest, error: Arc::default() };
                let moved = Arc::new(AtomicU64::new(0));
                let state = (reader, *length, moved.clone(), trouble.error.clone());
                let pieces = stream::unfold(state, |(mut reader, left, moved, error)| async move {
                    if left == 0 {
                        return None;
                    }
                    let mut piece = BytesMut::with_capacity(READ.min(usize::try_from(left).unwrap_or(READ)));
                    let outcome = (&mut reader).take(left).read_buf(&mut piece).await;
                    let failed = match outcome {
                        Ok(0) => std::io::Error::from(std::io::ErrorKind::UnexpectedEof),
                        Ok(count) => {
                            moved.fetch_add(count as u64, Ordering::Relaxed);
                            return Some((Ok(piece.freeze()), (reader, left - count as u64, moved, error)));
                        }
                        Err(failed) => failed,
                    };
                    let echo = std::io::Error::from(failed.kind());
                    *error.lock().unwrap_or_else(PoisonError::into_inner) = Some(failed);
                    Some((Err(echo), (reader, 0, moved, error)))
                });
                let body = reqwest::Body::wrap_stream(pieces);
                Ok(Some((Payload::Stream { body, length: *length, moved }, trouble)))
            }
        }
    }
}

struct Upload<'a> {
    repo: &'a Repo,
    descriptor: &'a Descriptor,
    source: &'a dyn BlobOpener,
    progress: &'a Progress,
    session: Option<Session>,
    /// The furthest offset any registry has confirmed; beyond it is progress.
    furthest: u64,
    /// The registry does not take parts.
    whole: bool,
}

struct Session {
    endpoint: Arc<Endpoint>,
    location: Url,
    offset: u64,
    /// The smallest part that the registry takes.
    minimum: u64,
    /// Something went wrong: ask before going on.
    unsure: bool,
}

impl Repo {
    /// Pushes a blob, unless the registry has it. Bytes are reported as [`Event::BlobAdvanced`] once the registry has
    /// confirmed them, each once.
    pub async fn push_blob(
        &self,
        descriptor: &Descriptor,
        source: &dyn BlobOpener,
        progress: &Progress,
    ) -> Result<()> {
        let mut upload =
            Upload { repo: self, descriptor, source, progress, session: None, furthest: 0, whole: false };
        let mut attempts: Attempts = self.attempts();
        let what = format!("push of {} to {}/{}", descriptor.digest, self.registry(), self.repository());
        loop {
            let before = upload.furthest;
            let error = match Box::pin(upload.run()).await {
                Ok(()) => return Ok(()),
                Err(error) => upload.judge(error)?,
            };
            let progress = upload.furthest > before;
            attempts.wait(&what, error, progress).await?;
        }
    }
}

impl Upload<'_> {
    /// Decides whether an error is a reason to go on, and from where.
    fn judge(&mut self, error: Error) -> Result<Error> {
        let Some(session) = &mut self.session else {
            return if error.is_passing() { Ok(error) } else { Err(error) };
        };
        session.unsure = true;
        if error.is_passing() {
            return Ok(error);
        }
        match error.status().map(|status| status.as_u16()) {
            // Out of step: the registry knows how far it is.
            Some(416) => Ok(error),
            // It lost the session.
            Some(404) => {
                self.session = None;
                Ok(error)
            }
            Some(400 | 405 | 411 | 413 | 501) if !self.whole && session.offset < self.descriptor.size => {
                self.session = None;
                self.whole = true;
                Ok(error)
            }
            _ => Err(error),
        }
    }

    async fn run(&mut self) -> Result<()> {
        if self.session.as_ref().is_some_and(|session| session.unsure) {
            self.recover().await?;
        }
        if self.session.is_none() && self.begin().await? {
            return Ok(());
        }
        let size = self.descriptor.size;
        loop {
            let Some(session) = &self.session else { return Ok(()) };
            let left = size - session.offset;
            let one = session.offset == 0 && (size <= SMALL || self.whole);
            if left == 0 || one {
                return self.finish(left).await;
            }
            let part = self.repo.config().push_chunk.max(session.minimum).max(1).min(left);
            self.push_part(if self.whole { left } else { part }).await?;
        }
    }

    /// Starts a session. `true`: the registry has the blob already.
    async fn begin(&mut self) -> Result<bool> {
        let (repo, digest) = (self.repo, self.descriptor.digest);
        let begun = repo
            .round(Action::Push, &|endpoint| {
                Box::pin(async move {
                    match repo.has_blob_at(&endpoint, &digest, repo.pull_scope()).await {
                        Ok(_) => return Ok((endpoint, None)),
                        // A repository that does not exist yet may answer anything; the upload itself will tell.
                        Err(error)
                            if matches!(error.kind(), Kind::NotFound | Kind::Denied)
                                && error.status().is_some() => {}
                        Err(error) => return Err(error),
                    }
                    let url = endpoint.url(&repo.path("blobs/uploads/"));
                    let call = Call {
                        body: Body::Bytes(Bytes::new()),
                        ..Call::new(Method::POST, url, repo.push_scope())
                    };
                    let response = repo.call(&endpoint, &call).await?.accept(&[201, 202]).await?;
                    Ok((endpoint, Some(response)))
                })
            })
            .await?;
        let (endpoint, response) = match begun {
            (_, None) => return Ok(true),
            (endpoint, Some(response)) => (endpoint, response),
        };
        if response.status().as_u16() == 201 {
            return Ok(true);
        }
        let location = location(&response)?;
        let minimum = response.header("oci-chunk-min-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        response.dismiss().await;
        let minimum = std::cmp::min(minimum, LARGEST_MINIMUM);
        self.session = Some(Session { endpoint, location, offset: 0, minimum, unsure: false });
        Ok(false)
    }

    async fn push_part(&mut self, length: u64) -> Result<()> {
        let Some(session) = &self.session else { return Ok(()) };
        let (start, end) = (session.offset, session.offset + length);
        let mut headers = octets();
        let range = format!("{start}-{}", end - 1);
        headers.insert(CONTENT_RANGE, HeaderValue::try_from(range).expect("numbers fit into a header"));
        let call = Call {
            headers,
            body: self.part(start, length),
            ..Call::new(Method::PATCH, session.location.clone(), self.repo.push_scope())
        };
        let response = self.repo.call(&session.endpoint, &call).await?.accept(&[201, 202, 204]).await?;
        let taken = taken(&response).filter(|taken| (start..=end).contains(taken)).unwrap_or(end);
        let next = location(&response);
        if taken == start {
            let what = redact::url(&response.url);
            return Err(Error::Protocol { what, reason: "the registry took nothing of what it was sent" });
        }
        response.dismiss().await;
        if let Some(session) = &mut self.session {
            // Some registries name the location once and for all.
            session.location = next.unwrap_or_else(|_| session.location.clone());
            session.offset = taken;
        }
        self.advance(taken);
        Ok(())
    }

    /// Closes the session with the last `left` bytes.
    async fn finish(&mut self, left: u64) -> Result<()> {
        let Some(session) = &self.session else { return Ok(()) };
        let mut url = session.location.clone();
        url.query_pairs_mut().append_pair("digest", &self.descriptor.digest.to_string());
        let body = if left == 0 { Body::Bytes(Bytes::new()) } else { self.part(session.offset, left) };
        let call = Call { headers: octets(), body, ..Call::new(Method::PUT, url, self.repo.push_scope()) };
        let response = self.repo.call(&session.endpoint, &call).await?.accept(&[201, 204]).await?;
        if let Some(actual) =
            response.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok())
            && actual != self.descriptor.digest
            && actual.algorithm() == self.descriptor.digest.algorithm()
        {
            return Err(Error::mismatch(redact::url(&response.url), self.descriptor.digest, actual));
        }
        response.dismiss().await;
        self.advance(self.descriptor.size);
        Ok(())
    }

    /// Asks the registry how far it is.
    async fn recover(&mut self) -> Result<()> {
        let Some(session) = &self.session else { return Ok(()) };
        let call = Call::new(Method::GET, session.location.clone(), self.repo.push_scope());
        let response = self.repo.call(&session.endpoint, &call).await?;
        if !matches!(response.status().as_u16(), 200 | 202 | 204) {
            let error = response.failure().await;
            if error.is_passing() {
                return Err(error);
            }
            // The session is gone; the next begin finds out whether it was finished.
            self.session = None;
            return Ok(());
        }
        let offset = taken(&response).unwrap_or(0);
        let next = location(&response).ok();
        response.dismiss().await;
        if offset > self.descriptor.size {
            self.session = None;
            return Ok(());
        }
        if let Some(session) = &mut self.session {
            session.offset = offset;
            session.unsure = false;
            session.location = next.unwrap_or_else(|| session.location.clone());
        }
        self.advance(offset);
        Ok(())
    }

    fn part(&self, offset: u64, length: u64) -> Body<'_> {
        Body::Part { opener: self.source, digest: self.descriptor.digest, offset, length }
    }

    fn advance(&mut self, offset: u64) {
        if let Some(bytes) = offset.checked_sub(self.furthest).filter(|bytes| *bytes > 0) {
            self.furthest = offset;
            (self.progress)(Event::BlobAdvanced { digest: self.descriptor.digest, bytes });
        }
    }
}

fn octets() -> HeaderMap {
    HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"))])
}

/// How many bytes the registry has, from `Range: 0-LAST`. Registries write `0-0` for nothing at all, too; taking it for nothing
/// costs one byte.
fn taken(response: &Response) -> Option<u64> {
    let text = response.header(RANGE.as_str())?.trim();
    let last: u64 = text.strip_prefix("bytes=").unwrap_or(text).strip_prefix("0-")?.parse().ok()?;
    if last == 0 { Some(0) } else { last.checked_add(1) }
}

/// Where the session goes on. Another host is possible; it will get nothing private. A registry behind a proxy that ends TLS
/// may believe it speaks plain http; on the same host, TLS is kept.
pub(crate) fn location(response: &Response) -> Result<Url> {
    let refuse = |reason| Error::Protocol { what: redact::url(&response.url), reason };
    let text =
        response.header(LOCATION.as_str()).ok_or_else(|| refuse("the answer has no upload location"))?;
    settle(&response.url, text).map_err(refuse)
}

fn settle(from: &Url, text: &str) -> std::result::Result<Url, &'static str> {
    let mut url = from.join(text).map_err(|_| "the upload location is not a URL")?;
    if from.scheme() == "https" && url.scheme() == "http" {
        if url.host() != from.host() || url.port().is_some_and(|port| from.port() != Some(port)) {
            return Err("the upload location would leave TLS");
        }
        url.set_scheme("https").map_err(|()| "the upload location is not a URL")?;
        url.set_port(from.port()).map_err(|()| "the upload location is not a URL")?;
    }
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("the upload location is neither an http nor an https URL");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the upload location has user information");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upload_locations() {
        let at = |from: &str, to: &str| settle(&from.parse().unwrap(), to).map(String::from);
        assert_eq!(at("https://r/v2/a/blobs/uploads/", "/u/1?_state=x").unwrap(), "https://r/u/1?_state=x");
        assert_eq!(at("https://r/v2/", "http://r/u").unwrap(), "https://r/u");
        assert_eq!(at("https://r:5000/v2/", "http://r:5000/u").unwrap(), "https://r:5000/u");
        assert_eq!(at("https://r/v2/", "https://store/u").unwrap(), "https://store/u");
        for bad in ["http://store/u", "http://r:8080/u", "ftp://r/u", "https://u:p@r/u", "https://"] {
            assert!(at("https://r/v2/", bad).is_err(), "{bad}");
        }
    }
}
