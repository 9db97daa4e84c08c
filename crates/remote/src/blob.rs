//! The bytes of a blob, through whatever happens on the way.

use crate::backoff::Attempts;
use crate::client::Action;
use crate::hosts::{Endpoint, authority};
use crate::pace::Pace;
use crate::part::{Open, Part};
use crate::repo::{Call, Repo};
use crate::{Error, Result, redact};
use bytes::{Buf, Bytes, BytesMut};
use larder_core::{Classify, Descriptor, Digest, Kind};
use reqwest::Method;
use reqwest::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use tokio::time::Instant;

/// The bytes of a blob from some offset to its end.
///
/// When the connection breaks, stalls, ends early or crawls, or when the server refuses to go on, it connects again — asking
/// the registry anew, so that expired redirects and tokens are replaced, and another mirror if this one is in trouble — and
/// continues at the byte where it stopped. Only attempts that bring no byte count against [`Config::attempts`], so any number
/// of interruptions costs at most one range each. Memory stays bounded by one piece of the network's size.
///
/// [`Config::attempts`]: crate::Config::attempts
pub struct BlobStream {
    repo: Repo,
    /// What has not been handed out yet.
    part: Part,
    open: Option<Open>,
    /// Why the connection is to be given up before the next piece.
    pending: Option<Error>,
    pace: Pace,
    attempts: Attempts,
    /// Whether this stream has handed out anything.
    moved: bool,
    /// Bytes handed out since the last failure.
    since: u64,
    received: u64,
    connections: u32,
    host: String,
}

impl Repo {
    /// Streams a blob from `offset` on. The stream ends exactly at the descriptor's size; the caller checks the digest.
    pub async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream> {
        let length =
            descriptor.size.checked_sub(offset).ok_or_else(|| out_of_range(descriptor, offset, 0))?;
        BlobStream::start(self, descriptor, offset, length).await
    }

    /// Streams `length` bytes of a blob from `start` on.
    pub async fn blob_part(&self, descriptor: &Descriptor, start: u64, length: u64) -> Result<BlobStream> {
        if start.checked_add(length).is_none_or(|end| end > descriptor.size) {
            return Err(out_of_range(descriptor, start, length));
        }
        BlobStream::start(self, descriptor, start, length).await
    }

    /// `length` bytes of a blob from `start` on, in pieces; for fetching with several connections at once. They are all in
    /// memory.
    pub async fn blob_range(&self, descriptor: &Descriptor, start: u64, length: u64) -> Result<Vec<Bytes>> {
        let mut stream = self.blob_part(descriptor, start, length).await?;
        let (mut pieces, mut small) = (Vec::new(), BytesMut::new());
        while let Some(chunk) = stream.next().await? {
            // Large pieces stay as they came. Small ones are put together: each would keep a buffer of the connection.
            if chunk.len() < SMALL {
                small.extend_from_slice(&chunk);
            }
            if !small.is_empty() && (chunk.len() >= SMALL || small.len() >= 4 * SMALL) {
                pieces.push(small.split().freeze());
            }
            if chunk.len() >= SMALL {
                pieces.push(chunk);
            }
        }
        if !small.is_empty() {
            pieces.push(small.freeze());
        }
        Ok(pieces)
    }

    /// The size of a blob, if the registry has it in this repository.
    pub async fn has_blob(&self, digest: &Digest) -> Result<Option<u64>> {
        let what = format!("{}/{}@{digest}", self.registry(), self.repository());
        let digest = *digest;
        self.persist(&what, Action::Pull, &|endpoint| {
            Box::pin(async move {
                match self.has_blob_at(&endpoint, &digest, self.pull_scope()).await {
                    // A mirror that lacks it says nothing about the registry.
                    Err(error) if error.kind() == Kind::NotFound && endpoint.upstream => Ok(None),
                    outcome => outcome.map(Some),
                }
            })
        })
        .await
    }

    /// The size of a blob at one endpoint.
    pub(crate) async fn has_blob_at(
        &self,
        endpoint: &Endpoint,
        digest: &Digest,
        need: String,
    ) -> Result<u64> {
        let url = endpoint.url(&self.path(&format!("blobs/{digest}")));
        let response = self.call(endpoint, &Call::new(Method::HEAD, url.clone(), need.clone())).await?;
        match response.status().as_u16() {
            200 => {
                if let Some(size) = response.length() {
                    return Ok(size);
                }
            }
            // Some registries refuse HEAD for blobs that they serve; so do signed URLs made for GET.
            400 | 401 | 403 | 405 | 501 => {}
            _ => return Err(response.failure().await),
        }
        let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-0"))]);
        let response = self.call(endpoint, &Call { headers, ..Call::new(Method::GET, url, need) }).await?;
        let what = redact::url(&response.url);
        let response = response.accept(&[200, 206, 416]).await?;
        let total = match response.status().as_u16() {
            200 => response.length(),
            _ => response
                .header(CONTENT_RANGE.as_str())
                .and_then(|range| range.rsplit_once('/')?.1.parse().ok()),
        };
        total.ok_or(Error::Protocol { what, reason: "the answer does not say how large the blob is" })
    }
}

impl BlobStream {
    async fn start(repo: &Repo, descriptor: &Descriptor, at: u64, length: u64) -> Result<Self> {
        let mut stream = Self {
            attempts: repo.attempts(),
            repo: repo.clone(),
            part: Part { descriptor: descriptor.clone(), at, end: at + length },
            open: None,
            pending: None,
            pace: Pace::default(),
            moved: false,
            since: 0,
            received: 0,
            connections: 0,
            host: repo.registry().to_string(),
        };
        if length > 0 {
            stream.reopen().await?;
        }
        Ok(stream)
    }

    /// The next piece, or `None` at the end. Dropping the future loses nothing. After an error the stream may be asked again
    /// and tries afresh.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let left = self.part.end - self.part.at;
            if left == 0 && self.open.as_ref().is_none_or(|open| open.exact) {
                self.open = None;
                return Ok(None);
            }
            if let Some(error) = self.pending.take() {
                self.interrupted(error).await?;
            }
            if self.open.is_none() {
                self.reopen().await?;
            }
            let Some(open) = &mut self.open else { continue };
            let began = Instant::now();
            let outcome = open.response.chunk().await;
            let came = outcome.as_ref().ok().and_then(Option::as_ref).map_or(0, |chunk| chunk.len() as u64);
            self.received += came;
            let what = || redact::url(&open.response.url);
            let paced = self.pace.note(self.repo.config(), &what(), began.elapsed(), came);
            match outcome {
                Ok(Some(mut chunk)) => {
                    let skipped = open.skip.min(came);
                    open.skip -= skipped;
                    chunk.advance(skipped as usize);
                    if chunk.len() as u64 > left {
                        if !open.exact {
                            let size = self.part.descriptor.size;
                            let error =
                                Error::Length { what: what(), expected: size, found: size.saturating_add(1) };
                            self.give_up_host();
                            return Err(error);
                        }
                        // Asked for a part, got the whole: enough is enough.
                        chunk.truncate(left as usize);
                    }
                    self.part.at += chunk.len() as u64;
                    self.since += chunk.len() as u64;
                    self.moved |= self.since > 0;
                    self.pending = paced.err();
                    if !chunk.is_empty() {
                        return Ok(Some(chunk));
                    }
                }
                // All bytes are there; how the connection ended does not matter.
                _ if left == 0 => {
                    self.open = None;
                    return Ok(None);
                }
                Ok(None) => {
                    let (expected, found) = (self.part.descriptor.size, self.part.at);
                    self.pending = Some(Error::Length { what: what(), expected, found });
                }
                Err(error) => self.pending = Some(error),
            }
        }
    }

    /// Who serves the bytes at the moment: `host[:port]` of the registry, a mirror, or where one of them redirected to.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Bytes that came over the network so far, including those thrown away.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How often it connected so far.
    pub fn connections(&self) -> u32 {
        self.connections
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.part.at
    }

    /// Waits for the next attempt after a connection broke in the middle.
    async fn interrupted(&mut self, error: Error) -> Result<()> {
        let crawling = self.pace.is_crawling();
        let progress = std::mem::take(&mut self.since) > 0 && !crawling;
        let error = match self.repo.config().min_rate {
            Some(rate) if crawling => Error::Slow { what: self.what(), rate },
            _ => error,
        };
        if !progress || matches!(error, Error::Stalled { .. }) {
            self.give_up_host();
        }
        self.open = None;
        self.attempts.wait(&self.what(), error, progress).await
    }

    fn give_up_host(&mut self) {
        if let Some(endpoint) = self.open.take().and_then(|open| open.endpoint)
            && let Ok(hosts) = self.repo.hosts()
        {
            hosts.shun(endpoint);
        }
    }

    fn what(&self) -> String {
        format!("blob {} from {}", self.part.descriptor.digest, self.host)
    }

    async fn reopen(&mut self) -> Result<()> {
        loop {
            self.connections += 1;
            let began = Instant::now();
            let outcome = Box::pin(self.part.connect(&self.repo)).await;
            // An error here would only say once more what the next piece will.
            let _ = self.pace.note(self.repo.config(), &self.host, began.elapsed(), 0);
            let error = match outcome {
                Ok(open) => {
                    self.host = authority(&open.response.url);
                    self.open = Some(open);
                    return Ok(());
                }
                Err((error, left)) => error_or_retry(error, left, self.moved, self.attempts.fresh())?,
            };
            self.attempts.wait(&self.what(), error, false).await?;
        }
    }
}

/// Gives the error back as something to wait for, or as final.
///
/// What was refused or missing while the stream was already moving was there a moment ago: a signed URL or a token expired, a
/// replica lags behind. The same from another host than the registry's, once: the redirect may have been stale.
fn error_or_retry(error: Error, left: bool, moved: bool, fresh: bool) -> Result<Error> {
    let refused = error.status().is_some() && matches!(error.kind(), Kind::Denied | Kind::NotFound);
    if error.is_passing() || refused && (moved || left && fresh) { Ok(error) } else { Err(error) }
}

fn out_of_range(descriptor: &Descriptor, start: u64, length: u64) -> Error {
    Error::OutOfRange { digest: descriptor.digest, size: descriptor.size, start, length }
}

/// A piece of less than this is copied rather than kept.
const SMALL: usize = 32 << 10;
