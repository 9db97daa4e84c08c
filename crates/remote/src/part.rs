//! A part of a blob: how to ask for it, and whether what came is it.

use crate::client::{Action, Hosts};
use crate::exchange::{Request, Response};
use crate::repo::{Call, Repo};
use crate::{Error, Result, redact};
use larder_core::{Classify, Descriptor, Kind};
use reqwest::Method;
use reqwest::header::{ACCEPT_ENCODING, CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use url::Url;

/// The bytes `at..end` of a blob.
pub(crate) struct Part {
    pub(crate) descriptor: Descriptor,
    pub(crate) at: u64,
    pub(crate) end: u64,
}

/// An answer that is the part, once `skip` bytes have been thrown away.
pub(crate) struct Open {
    pub(crate) response: Response,
    /// Bytes before the part, because the server sent the blob from its beginning.
    pub(crate) skip: u64,
    /// Nothing that matters can follow: the server said how much it sends, or more than was asked for is no surprise.
    pub(crate) exact: bool,
    /// Which endpoint, to be passed over if it brings nothing.
    pub(crate) endpoint: Option<usize>,
}

impl Part {
    /// One round over the hosts, then over the descriptor's own URLs where that is allowed.
    ///
    /// An error comes with whether another host than the registry's had been asked.
    pub(crate) async fn connect(&self, repo: &Repo) -> std::result::Result<Open, (Error, bool)> {
        let hosts = repo.hosts().map_err(|error| (error, false))?;
        if self.is_slice()
            && let Some(open) = self.connect_shortcut(repo, &hosts).await
        {
            return Ok(open);
        }
        let left = std::sync::atomic::AtomicBool::new(false);
        let note = &left;
        let outcome = repo
            .round(Action::Pull, &|endpoint| {
                let hosts = hosts.clone();
                Box::pin(async move {
                    let url = endpoint.url(&repo.path(&format!("blobs/{}", self.descriptor.digest)));
                    let call =
                        Call { headers: self.headers(), ..Call::new(Method::GET, url, repo.pull_scope()) };
                    let response = repo.call(&endpoint, &call).await?;
                    note.store(response.left, std::sync::atomic::Ordering::Relaxed);
                    let mut open = self.check(response).await?;
                    open.endpoint = hosts.position_of(&endpoint);
                    if self.is_slice() && open.response.left {
                        repo.keep_shortcut(&self.descriptor.digest, &open.response.url);
                    }
                    Ok(open)
                })
            })
            .await;
        let mut error = match outcome {
            Ok(open) => return Ok(open),
            Err(error) => error,
        };
        if error.kind() == Kind::NotFound && !self.descriptor.urls.is_empty() {
            if repo.config().allow_foreign_urls {
                return self.connect_foreign(repo, error).await.map_err(|error| (error, false));
            }
            if let Error::Status(failure) = &mut error {
                failure.foreign = true;
            }
        }
        Err((error, left.into_inner()))
    }

    /// Asks the hosts that the descriptor names: as a stranger, and never out of TLS.
    async fn connect_foreign(&self, repo: &Repo, mut error: Error) -> Result<Open> {
        let hosts = repo.hosts()?;
        let secure = hosts.named.hosts.iter().any(|(url, ..)| url.scheme() == "https");
        for text in self.descriptor.urls.iter().take(8) {
            let Ok(mut url) = text.parse::<Url>() else { continue };
            if !(url.scheme() == "https" || url.scheme() == "http" && !secure) || url.host().is_none() {
                continue;
            }
            if url.set_username("").is_err() || url.set_password(None).is_err() {
                continue;
            }
            let outcome = self.ask_stranger(repo, &hosts, url).await;
            match outcome {
                Ok(open) => return Ok(open),
                Err(failed) => error = failed,
            }
        }
        Err(error)
    }

    /// Slices of one blob that are fetched side by side need not ask the registry each time: the place it redirected the
    /// first one to serves the others, until it does not.
    async fn connect_shortcut(&self, repo: &Repo, hosts: &Hosts) -> Option<Open> {
        let url = repo.shortcut(&self.descriptor.digest)?;
        match self.ask_stranger(repo, hosts, url).await {
            Ok(open) => Some(open),
            Err(_) => {
                repo.drop_shortcut(&self.descriptor.digest);
                None
            }
        }
    }

    /// A request with nothing private in it.
    async fn ask_stranger(&self, repo: &Repo, hosts: &Hosts, url: Url) -> Result<Open> {
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
        self.check(repo.exchange().follow(request).await?).await
    }

    fn is_slice(&self) -> bool {
        self.end < self.descriptor.size
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
        let open = |response, skip, exact| Open { response, skip, exact, endpoint: None };
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

/// Reads `bytes FIRST-LAST/TOTAL`, where the total may be `*`.
pub(crate) fn content_range(text: &str) -> Option<(u64, u64, Option<u64>)> {
    let (range, total) = text.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let total = match total.trim() {
        "*" => None,
        total => Some(total.parse().ok()?),
    };
    (first <= last && total.is_none_or(|total| last < total)).then_some((first, last, total))
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
