//! A file from a URL that the user named: a release, through whatever happens on the way.

use crate::backoff::{Attempts, Manners};
use crate::client::Client;
use crate::exchange::{Named, Request, Response};
use crate::hosts::authority;
use crate::pace::Pace;
use crate::part::content_range;
use crate::{Error, Result, redact};
use bytes::{Buf, Bytes};
use larder_core::{Classify, Kind};
use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, ETAG, HeaderMap, HeaderValue, IF_RANGE, LAST_MODIFIED, RANGE};
use std::sync::Arc;
use tokio::time::Instant;
use url::Url;

/// What is asked for.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Where it is. What it redirects to is asked for anew each time, because such URLs expire.
    pub url: String,
    /// Bytes that are here already.
    pub offset: u64,
    /// What the server called the version that they are of ([`Download::validator`]). Without one, the caller vouches that what
    /// comes can only be the rest of them: it knows what the whole hashes to.
    pub validator: Option<String>,
    /// The most that is taken, in bytes.
    pub limit: u64,
}

/// The bytes of a file.
///
/// When the connection breaks, stalls, ends early or crawls, it asks the original URL again for the rest (RFC 9110 §14,
/// `Range` with `If-Range`). Only attempts that bring no byte count against [`Config::attempts`]. What is not the rest of
/// what came before is [`Error::Changed`]. No credentials are sent to anybody. That the bytes are the right ones is for the reader
/// to check.
///
/// [`Config::attempts`]: crate::Config::attempts
pub struct Download {
    client: Client,
    url: Url,
    named: Named,
    limit: u64,
    at: u64,
    total: Option<u64>,
    validator: Option<String>,
    open: Option<Open>,
    pending: Option<Error>,
    pace: Pace,
    attempts: Attempts,
    moved: bool,
    since: u64,
    host: String,
    connections: u32,
}

struct Open {
    response: Response,
    /// Bytes to throw away, because the server began at the beginning.
    skip: u64,
}

impl Client {
    /// Asks for a file. Where the server cannot go on at `wanted.offset`, or has another version, [`Download::offset`] is 0 and
    /// what is there has to be dropped.
    ///
    /// The host is one that the user named, so it may be on a private network; where it redirects to may not, unless that is
    /// allowed.
    ///
    /// # Errors
    /// `Invalid` when it is no URL or the file is larger than the limit, `NotFound`, `Denied` or `Unavailable` by the server's
    /// answer; a web page is `Unavailable`.
    pub async fn download(&self, wanted: &Wanted) -> Result<Download> {
        let url: Url = wanted.url.parse().map_err(|_| Error::Redirect {
            url: wanted.url.chars().take(200).collect(),
            reason: "it is not a URL",
        })?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Error::Redirect { url: redact::url(&url), reason: "it is neither http nor https" });
        }
        let manners = Manners { attempts: self.config().attempts, longest_wait: None };
        let mut download = Download {
            attempts: Attempts::new(self.config().clone(), self.patience().clone(), manners),
            named: Named { hosts: vec![(url.clone(), Arc::default(), None)], realm_hosts: Vec::new() },
            host: authority(&url),
            client: self.clone(),
            url,
            limit: wanted.limit,
            at: wanted.offset,
            total: None,
            validator: wanted.validator.clone(),
            open: None,
            pending: None,
            pace: Pace::default(),
            moved: false,
            since: 0,
            connections: 0,
        };
        download.reopen(true).await?;
        Ok(download)
    }
}

impl Download {
    /// The next piece, or `None` at the end. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Those of [`Client::download`], and [`Error::Changed`].
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(error) = self.pending.take() {
                self.interrupted(error).await?;
            }
            if self.open.is_none() {
                if self.total == Some(self.at) {
                    return Ok(None);
                }
                self.reopen(false).await?;
            }
            let Some(open) = &mut self.open else { continue };
            let began = Instant::now();
            let outcome = open.response.chunk().await;
            let came = outcome.as_ref().ok().and_then(Option::as_ref).map_or(0, |chunk| chunk.len() as u64);
            let what = redact::url(&open.response.url);
            let paced = self.pace.note(self.client.config(), &what, began.elapsed(), came);
            match outcome {
                Ok(Some(mut chunk)) => {
                    let skipped = open.skip.min(came);
                    open.skip -= skipped;
                    chunk.advance(skipped as usize);
                    let end = self.at + chunk.len() as u64;
                    if let Some(total) = self.total
                        && end > total
                    {
                        return Err(Error::Length { what, expected: total, found: end });
                    }
                    if end > self.limit {
                        return Err(Error::TooLarge { what, limit: self.limit });
                    }
                    self.at = end;
                    self.since += chunk.len() as u64;
                    self.moved |= self.since > 0;
                    self.pending = paced.err();
                    if !chunk.is_empty() {
                        return Ok(Some(chunk));
                    }
                }
                Ok(None) => {
                    let missing = open.skip > 0 || self.total.is_some_and(|total| total != self.at);
                    self.open = None;
                    if !missing {
                        self.total = Some(self.at);
                        return Ok(None);
                    }
                    let expected = self.total.unwrap_or(self.at + 1);
                    self.pending = Some(Error::Length { what, expected, found: self.at });
                }
                Err(error) => self.pending = Some(error),
            }
        }
    }

    /// The offset of the next byte.
    pub fn offset(&self) -> u64 {
        self.at
    }

    /// The length of the whole file, as far as the server said it.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    /// What the server calls this version: a strong entity tag, or the time of the last change.
    pub fn validator(&self) -> Option<&str> {
        self.validator.as_deref()
    }

    /// Who serves the bytes at the moment.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// How often it connected so far.
    pub fn connections(&self) -> u32 {
        self.connections
    }

    async fn interrupted(&mut self, error: Error) -> Result<()> {
        let crawling = self.pace.is_crawling();
        let progress = std::mem::take(&mut self.since) > 0 && !crawling;
        let what = redact::url(&self.url);
        let error = match self.client.config().min_rate {
            Some(rate) if crawling => Error::Slow { what: what.clone(), rate },
            _ => error,
        };
        self.open = None;
        self.attempts.wait(&what, error, progress).await
    }

    /// Asks the original URL. Only `first` may begin at another byte than the one that is wanted.
    async fn reopen(&mut self, first: bool) -> Result<()> {
        loop {
            self.connections += 1;
            let began = Instant::now();
            let outcome = Box::pin(self.connect(first)).await;
            // An error here would only say once more what the next piece will.
            let _ = self.pace.note(self.client.config(), &self.host, began.elapsed(), 0);
            let error = match outcome {
                Ok(open) => {
                    self.host = authority(&open.response.url);
                    self.open = Some(open);
                    return Ok(());
                }
                Err(error) => error,
            };
            let refused = error.status().is_some() && matches!(error.kind(), Kind::Denied | Kind::NotFound);
            // What was there a moment ago is there again when another signed URL is asked for.
            if !(error.is_passing() || refused && self.moved) {
                return Err(error);
            }
            self.attempts.wait(&redact::url(&self.url), error, false).await?;
        }
    }

    async fn connect(&mut self, first: bool) -> Result<Open> {
        let response = self.ask(self.at).await?;
        if response.status().as_u16() == 416 {
            // All of it is here, or what is here is not of this file.
            let total =
                response.header("content-range").and_then(|range| range.rsplit_once('/')?.1.parse().ok());
            if !first {
                return Err(Error::Changed { what: redact::url(&response.url) });
            }
            if total != Some(self.at) {
                self.at = 0;
            }
            response.dismiss().await;
            if self.at > 0 {
                self.total = total;
                return self.nothing_left().await;
            }
            let response = self.ask(0).await?;
            return self.check(response, first).await;
        }
        self.check(response, first).await
    }

    /// An answer without a byte for somebody who has them all: the last one again, to be thrown away.
    async fn nothing_left(&mut self) -> Result<Open> {
        let response = self.ask(self.at.saturating_sub(1)).await?.accept(&[200, 206]).await?;
        let skip = if response.status().as_u16() == 206 { 1 } else { self.at };
        Ok(Open { response, skip })
    }

    async fn ask(&self, at: u64) -> Result<Response> {
        let mut headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static("identity"))]);
        if at > 0 {
            let range = HeaderValue::try_from(format!("bytes={at}-")).expect("a number fits into a header");
            headers.insert(RANGE, range);
            if let Some(validator) = &self.validator
                && let Ok(validator) = HeaderValue::try_from(validator)
            {
                headers.insert(IF_RANGE, validator);
            }
        }
        let request = Request {
            method: Method::GET,
            url: self.url.clone(),
            headers,
            private: HeaderMap::new(),
            authorization: None,
            payload: None,
            named: &self.named,
            login: None,
        };
        self.client.exchange().follow(request).await
    }

    async fn check(&mut self, response: Response, first: bool) -> Result<Open> {
        let response = response.accept(&[200, 206]).await?;
        let what = redact::url(&response.url);
        response.refuse_encoding()?;
        if response.is_web_page() {
            return Err(Error::WebPage { url: what });
        }
        let validator = validator(&response);
        let same = self.validator.is_none() || validator.is_none() || self.validator == validator;
        let length = response.length();
        let mut skip = 0;
        let total = if response.status().as_u16() == 206 {
            let found = response.header("content-range").unwrap_or_default().to_owned();
            let range = content_range(&found);
            let Some((_, _, total)) = range.filter(|(start, _, _)| *start == self.at) else {
                return Err(Error::WrongRange { what, expected: self.at, found: redact::text(&found, 100) });
            };
            total
        } else {
            if first && self.at > 0 {
                self.at = 0;
            }
            skip = self.at;
            length
        };
        let other_length = self.total.zip(total).is_some_and(|(before, now)| before != now);
        if !first && (!same || other_length) {
            return Err(Error::Changed { what });
        }
        if total.is_some_and(|total| total > self.limit) {
            return Err(Error::TooLarge { what, limit: self.limit });
        }
        self.total = total.or(self.total);
        if validator.is_some() {
            self.validator = validator;
        }
        Ok(Open { response, skip })
    }
}

/// What `If-Range` takes: a strong entity tag, else the date of the last change (RFC 9110 §13.1.5).
fn validator(response: &Response) -> Option<String> {
    let header = |name: &str| response.header(name).filter(|value| value.len() <= 300).map(str::to_owned);
    header(ETAG.as_str()).filter(|tag| tag.starts_with('"')).or_else(|| header(LAST_MODIFIED.as_str()))
}
