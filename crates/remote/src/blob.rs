//! The bytes of a blob, through whatever happens on the way.

use crate::backoff::Attempts;
use crate::client::Action;
use crate::exchange::{Request, Response};
use crate::hosts::{Endpoint, authority};
use crate::repo::{Call, Repo};
use crate::{Error, Result, redact};
use bytes::{Buf, Bytes, BytesMut};
use larder_core::{Classify, Descriptor, Digest, Kind};
use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

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
    descriptor: Descriptor,
    /// The next byte to hand out.
    at: u64,
    /// One past the last byte to hand out.
    end: u64,
    open: Option<Open>,
    attempts: Attempts,
    /// Whether this stream has handed out anything.
    moved: bool,
    /// Bytes handed out since the last failure.
    since: u64,
    received: u64,
    connections: u32,
    host: String,
}

struct Open {
    response: Response,
    /// Bytes to throw away because the server sent the blob from its beginning.
    skip: u64,
    /// The server said how much it sends, and it is what was asked for: nothing can follow.
    exact: bool,
    /// Which endpoint, to be passed over if it brings nothing.
    endpoint: Option<usize>,
    pace: Pace,
}

/// Watches the rate while waiting for the network; a slow reader of the stream is not the network's fault.
struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Repo {
    /// Streams a blob from `offset` on. The stream ends exactly at the descriptor's size; the caller checks the digest.
    pub async fn blob(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream> {
        let length =
            descriptor.size.checked_sub(offset).ok_or_else(|| out_of_range(descriptor, offset, 0))?;
        BlobStream::start(self, descriptor, offset, length).await
    }

    /// `length` bytes of a blob from `start` on; for fetching with several connections at once. They are all in memory.
    pub async fn blob_range(&self, descriptor: &Descriptor, start: u64, length: u64) -> Result<Bytes> {
        if start.checked_add(length).is_none_or(|end| end > descriptor.size) {
            return Err(out_of_range(descriptor, start, length));
        }
        let mut stream = BlobStream::start(self, descriptor, start, length).await?;
        let mut body = BytesMut::new();
        while let Some(chunk) = stream.next().await? {
            body.extend_from_slice(&chunk);
        }
        Ok(body.freeze())
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
            descriptor: descriptor.clone(),
            at,
            end: at + length,
            open: None,
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

    /// The next piece, or `None` at the end. After an error the stream may be asked again and tries afresh.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let left = self.end - self.at;
            if left == 0 && self.open.as_ref().is_none_or(|open| open.exact) {
                self.open = None;
                return Ok(None);
            }
            if self.open.is_none() {
                self.reopen().await?;
            }
            let Some(open) = &mut self.open else { continue };
            let began = Instant::now();
            let outcome = open.response.chunk().await;
            let paced =
                open.pace.note(began.elapsed(), outcome.as_ref().ok().and_then(Option::as_ref), &self.repo);
            let error = match outcome {
                Ok(Some(mut chunk)) => {
                    self.received += chunk.len() as u64;
                    let skipped = open.skip.min(chunk.len() as u64);
                    open.skip -= skipped;
                    chunk.advance(skipped as usize);
                    if chunk.len() as u64 > left {
                        if open.exact {
                            // Asked for a part, got the whole: enough is enough.
                            chunk.truncate(left as usize);
                        } else {
                            let what = redact::url(&open.response.url);
                            let size = self.descriptor.size;
                            self.give_up_host();
                            return Err(Error::Length {
                                what,
                                expected: size,
                                found: size.saturating_add(1),
                            });
                        }
                    }
                    self.at += chunk.len() as u64;
                    self.since += chunk.len() as u64;
                    let slow = paced.err();
                    if !chunk.is_empty() {
                        self.moved = true;
                        if let Some(error) = slow {
                            self.interrupted(error).await?;
                        }
                        return Ok(Some(chunk));
                    }
                    match slow {
                        Some(error) => error,
                        None => continue,
                    }
                }
                // All bytes are there; how the connection ended does not matter.
                _ if left == 0 => {
                    self.open = None;
                    return Ok(None);
                }
                Ok(None) => Error::Length {
                    what: redact::url(&open.response.url),
                    expected: self.descriptor.size,
                    found: self.at,
                },
                Err(error) => error,
            };
            self.interrupted(error).await?;
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
        self.at
    }

    /// Waits for the next attempt after a connection broke in the middle.
    async fn interrupted(&mut self, error: Error) -> Result<()> {
        let slow = matches!(error, Error::Slow { .. });
        let progress = std::mem::take(&mut self.since) > 0 && !slow;
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
        format!("blob {} from {}", self.descriptor.digest, self.host)
    }

    async fn reopen(&mut self) -> Result<()> {
        loop {
            self.connections += 1;
            let error = match Box::pin(self.connect()).await {
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

    /// One round over the hosts, then over the descriptor's own URLs where that is allowed.
    async fn connect(&self) -> std::result::Result<Open, (Error, bool)> {
        let hosts = self.repo.hosts().map_err(|error| (error, false))?;
        let left = std::sync::atomic::AtomicBool::new(false);
        let note = &left;
        let outcome = self
            .repo
            .round(Action::Pull, &|endpoint| {
                let hosts = hosts.clone();
                Box::pin(async move {
                    let url = endpoint.url(&self.repo.path(&format!("blobs/{}", self.descriptor.digest)));
                    let call = Call {
                        headers: self.headers(),
                        ..Call::new(Method::GET, url, self.repo.pull_scope())
                    };
                    let response = self.repo.call(&endpoint, &call).await?;
                    note.store(response.left, std::sync::atomic::Ordering::Relaxed);
                    let mut open = self.check(response).await?;
                    open.endpoint = hosts.position_of(&endpoint);
                    Ok(open)
                })
            })
            .await;
        let mut error = match outcome {
            Ok(open) => return Ok(open),
            Err(error) => error,
        };
        if error.kind() == Kind::NotFound && !self.descriptor.urls.is_empty() {
            if self.repo.config().allow_foreign_urls {
                return self.connect_foreign(error).await.map_err(|error| (error, false));
            }
            if let Error::Status(failure) = &mut error {
                failure.foreign = true;
            }
        }
        Err((error, left.into_inner()))
    }

    /// Asks the hosts that the descriptor names: as a stranger, and never out of TLS.
    async fn connect_foreign(&self, mut error: Error) -> Result<Open> {
        let hosts = self.repo.hosts()?;
        let secure = hosts.named.hosts.iter().any(|(url, ..)| url.scheme() == "https");
        for text in self.descriptor.urls.iter().take(8) {
            let Ok(mut url) = text.parse::<Url>() else { continue };
            if !(url.scheme() == "https" || url.scheme() == "http" && !secure) || url.host().is_none() {
                continue;
            }
            if url.set_username("").is_err() || url.set_password(None).is_err() {
                continue;
            }
            let request = Request {
                method: Method::GET,
                url,
                headers: self.headers(),
                private: HeaderMap::new(),
                authorization: None,
                payload: None,
                named: &hosts.named,
                login: None,
            };
            let outcome = match self.repo.exchange().follow(request).await {
                Ok(response) => self.check(response).await,
                Err(failed) => Err(failed),
            };
            match outcome {
                Ok(open) => return Ok(open),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        let range = match (self.at, self.end) {
            (0, end) if end == self.descriptor.size => return headers,
            (at, end) if end == self.descriptor.size => format!("bytes={at}-"),
            (at, end) => format!("bytes={at}-{}", end - 1),
        };
        headers.insert(RANGE, HeaderValue::try_from(range).expect("numbers fit into a header"));
        headers
    }

    /// Whether the answer is the blob, or the part of it that was asked for.
    async fn check(&self, response: Response) -> Result<Open> {
        let response = response.accept(&[200, 206]).await?;
        let what = redact::url(&response.url);
        let size = self.descriptor.size;
        let length = response.length();
        response.refuse_encoding()?;
        let open = |response, skip, exact| Open {
            response,
            skip,
            exact,
            endpoint: None,
            pace: Pace { waited: Duration::ZERO, bytes: 0 },
        };
        if response.status().as_u16() == 206 {
            let found = response.header(CONTENT_RANGE.as_str()).unwrap_or_default().to_owned();
            let fits = content_range(&found).is_some_and(|(first, last, total)| {
                first == self.at && last < self.end && total.is_none_or(|total| total == size)
            });
            if !fits {
                return Err(Error::WrongRange { what, expected: self.at, found: redact::text(&found, 100) });
            }
            // A shorter part than asked for is allowed (RFC 9110 §15.3.7); the rest is asked for again.
            return Ok(open(
                response,
                0,
                length.is_some_and(|length| length <= self.end - self.at) || self.end < size,
            ));
        }
        if response.is_web_page() && length != Some(size) {
            return Err(Error::WebPage { url: what });
        }
        if let Some(found) = length.filter(|found| *found != size) {
            return Err(Error::Length { what, expected: size, found });
        }
        Ok(open(response, self.at, length.is_some() || self.end < size))
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

impl Pace {
    fn note(&mut self, waited: Duration, chunk: Option<&Bytes>, repo: &Repo) -> Result<()> {
        let config = repo.config();
        let Some(rate) = config.min_rate else { return Ok(()) };
        self.waited += waited;
        self.bytes += chunk.map_or(0, |chunk| chunk.len() as u64);
        if self.waited < config.idle_timeout {
            return Ok(());
        }
        let slow = (self.bytes as f64) < rate as f64 * self.waited.as_secs_f64();
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if slow {
            Err(Error::Slow { what: format!("{}/{}", repo.registry(), repo.repository()), rate })
        } else {
            Ok(())
        }
    }
}

/// Reads `bytes FIRST-LAST/TOTAL`, where the total may be `*`.
fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, last, total))
}

fn out_of_range(descriptor: &Descriptor, start: u64, length: u64) -> Error {
    Error::OutOfRange { digest: descriptor.digest, size: descriptor.size, start, length }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_content_ranges() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, 9, Some(10))));
        assert_eq!(content_range("bytes 0-0/*"), Some((0, 0, None)));
        for bad in [
            "",
            "bytes",
            "bytes 9-5/10",
            "bytes 5-10/10",
            "items 1-2/3",
            "bytes */10",
            "bytes -1-2/3",
            "bytes 1-2",
        ] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
