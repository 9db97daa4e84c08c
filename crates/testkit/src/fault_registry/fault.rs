//! The script: which request goes wrong, when, and how.

use super::http::Head;
use bytes::Bytes;
use larder_core::Digest;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// One way to go wrong. Offsets count bytes of the body of one response, from 0.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Fault {
    // --- instead of the answer (the request has no effect)
    /// This status with an error document.
    Status(u16),
    /// This very answer.
    Answer {
        /// Status code.
        status: u16,
        /// Headers; `Content-Length` is added.
        headers: Vec<(String, String)>,
        /// Body.
        body: Bytes,
    },
    /// 200 and a login page, as captive portals and broken proxies answer.
    Html,
    /// The request is read, and nothing ever comes back.
    Silence,
    /// These bytes in place of an HTTP answer, then the end of the connection.
    Garbage(Bytes),
    /// A redirect. In `location`, `{host}` is `127.0.0.1:PORT`, `{path}` the path, `{query}` the query with its `?`, and
    /// `{digest}` the digest in the path.
    Redirect {
        /// 301, 302, 303, 307, 308.
        status: u16,
        /// The template.
        location: String,
    },
    /// So many redirects to itself (a `hop` in the query) before the answer; `u32::MAX` is a loop.
    RedirectChain(u32),
    /// A redirect to a signed URL of this registry's storage (`/storage/DIGEST?key=…`), which answers without credentials,
    /// at most `uses` times, until [`super::FaultRegistry::expire_signed_urls`]; then 403.
    SignedRedirect {
        /// The host to send clients to; `None` is this registry. `localhost:PORT` is the same server by another name.
        host: Option<String>,
        /// How often one URL works.
        uses: u32,
    },

    // --- before the answer
    /// Waits before it answers.
    Delay(Duration),
    /// The request is answered as if it had no `Range`: 200 and everything.
    IgnoreRange,
    /// The 206 is for a range that starts so many bytes later (earlier where negative), with a truthful `Content-Range`.
    WrongRange(i64),
    /// Reads so many bytes of the request's body, keeps them, and resets the connection.
    ResetRequest(u64),
    /// Reads so many bytes of the request's body, keeps them, and reads no more.
    StallRequest(u64),

    // --- another answer
    /// Another status, all else the same.
    StatusOnly(u16),
    /// Sets a header (`None`: removes it): a lying `Docker-Content-Digest`, a wrong `Content-Type`, an `ETag` that changes.
    Header(String, Option<String>),
    /// `Location` points at another authority (`host:port`).
    LocationHost(String),
    /// One byte of the body is flipped; the length stays. Beyond the end, the last one.
    WrongByte(u64),
    /// Another body.
    Body(Bytes),
    /// So many bytes of white space as the body: a manifest of 100 MB.
    HugeBody(u64),
    /// The last so many bytes are missing, and `Content-Length` agrees.
    ShortBody(u64),
    /// So many bytes more, and `Content-Length` agrees.
    LongBody(u64),
    /// A body that never ends, chunked.
    EndlessBody,
    /// Compresses the body and says so in `Content-Encoding: gzip`, asked or not, as meddling proxies do.
    Gzip,

    // --- on the wire
    /// No `Content-Length`; the end of the connection is the end of the body.
    NoContentLength,
    /// `Transfer-Encoding: chunked`, no `Content-Length`.
    Chunked,
    /// So many bytes per second.
    Throttle(u64),
    /// After so many bytes nothing more comes, and the connection stays.
    Stall(u64),
    /// After exactly so many bytes the connection is reset (RST). The header has the right length. On every request: each
    /// gets no further than this.
    Reset(u64),
    /// After so many bytes the connection ends in good order (FIN), though the header promised more.
    Cut(u64),
}

/// Which requests get which faults. Counting starts when the rule is added.
#[derive(Debug, Clone)]
pub struct Rule {
    methods: String,
    path: String,
    from: u64,
    count: u64,
    ranged: Option<bool>,
    before_auth: bool,
    faults: Vec<Fault>,
}

/// A rule in force; tells how often it struck.
#[derive(Debug, Clone)]
pub struct Hits(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    seen: AtomicU64,
    hits: AtomicU64,
}

/// A rule with its counters.
#[derive(Debug)]
pub(crate) struct ActiveRule {
    rule: Rule,
    counters: Arc<Counters>,
}

impl Rule {
    /// Requests with one of `methods` (`GET`, `GET|HEAD`, `*`) whose path matches `path`, where `*` stands for any characters,
    /// slashes too. Every such request, until narrowed.
    pub fn on(methods: &str, path: &str) -> Self {
        Self {
            methods: methods.into(),
            path: path.into(),
            from: 1,
            count: u64::MAX,
            ranged: None,
            before_auth: false,
            faults: Vec::new(),
        }
    }

    /// GET of any blob.
    pub fn blobs() -> Self {
        Self::on("GET", "/v2/*/blobs/sha*")
    }

    /// GET of this blob, from the repository or the storage.
    pub fn blob(digest: &Digest) -> Self {
        Self::on("GET", &format!("*/{digest}"))
    }

    /// GET and HEAD of any manifest.
    pub fn manifests() -> Self {
        Self::on("GET|HEAD", "/v2/*/manifests/*")
    }

    /// The token endpoint.
    pub fn token() -> Self {
        Self::on("*", "/token")
    }

    /// Lists of tags.
    pub fn tags() -> Self {
        Self::on("GET", "/v2/*/tags/list")
    }

    /// Lists of referrers.
    pub fn referrers() -> Self {
        Self::on("GET", "/v2/*/referrers/*")
    }

    /// Everything about uploads of blobs.
    pub fn uploads() -> Self {
        Self::on("*", "/v2/*/blobs/uploads/*")
    }

    /// Only the `n`th matching request; the first is 1.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self { from: n, count: 1, ..self }
    }

    /// Only the first `n` matching requests.
    #[must_use]
    pub fn first(self, n: u64) -> Self {
        Self { from: 1, count: n, ..self }
    }

    /// The `n`th matching request and all later ones.
    #[must_use]
    pub fn from(self, n: u64) -> Self {
        Self { from: n, count: u64::MAX, ..self }
    }

    /// Only requests with a `Range` header, or only those without.
    #[must_use]
    pub fn ranged(self, ranged: bool) -> Self {
        Self { ranged: Some(ranged), ..self }
    }

    /// Strikes (and counts) requests without valid credentials too. Otherwise those get their 401 and do not count.
    #[must_use]
    pub fn before_auth(self) -> Self {
        Self { before_auth: true, ..self }
    }

    /// Adds a fault; several work together in the order given.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// Adds a status with headers and no further ado, for example `(429, &[("Retry-After", "1")])`.
    #[must_use]
    pub fn status(self, status: u16, headers: &[(&str, &str)]) -> Self {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.fault(Fault::Answer { status, headers, body: Bytes::new() })
    }

    fn matches(&self, head: &Head) -> bool {
        (self.methods == "*" || self.methods.split('|').any(|method| method == head.method))
            && self.ranged.is_none_or(|ranged| ranged == head.header("range").is_some())
            && glob(self.path.as_bytes(), head.path.as_bytes())
    }
}

impl ActiveRule {
    pub(crate) fn new(rule: Rule) -> (Self, Hits) {
        let counters = Arc::new(Counters::default());
        (Self { rule, counters: counters.clone() }, Hits(counters))
    }

    /// The faults for this request, which is counted.
    pub(crate) fn strike(&self, head: &Head, authorized: bool) -> &[Fault] {
        if !(authorized || self.rule.before_auth) || !self.rule.matches(head) {
            return &[];
        }
        let nth = self.counters.seen.fetch_add(1, Ordering::SeqCst) + 1;
        if nth < self.rule.from || nth - self.rule.from >= self.rule.count {
            return &[];
        }
        self.counters.hits.fetch_add(1, Ordering::SeqCst);
        &self.rule.faults
    }
}

impl Hits {
    /// How many requests the rule spoiled. A test that scripts a fault should check that it came to pass.
    pub fn count(&self) -> u64 {
        self.0.hits.load(Ordering::SeqCst)
    }

    /// How many requests matched the rule, spoiled or not.
    pub fn seen(&self) -> u64 {
        self.0.seen.load(Ordering::SeqCst)
    }
}

/// Whether `text` matches `pattern`, where `*` stands for any run of characters.
pub(crate) fn glob(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', rest)) => (0..=text.len()).any(|skip| glob(rest, &text[skip..])),
        Some((byte, rest)) => text.split_first().is_some_and(|(have, left)| have == byte && glob(rest, left)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, text, expected) in [
            ("/v2/*/blobs/*", "/v2/a/b/blobs/sha256:1", true),
            ("/v2/*/blobs/*", "/v2/a/manifests/1", false),
            ("*", "", true),
            ("a*c*e", "abcde", true),
            ("a*c", "abcd", false),
            ("", "x", false),
        ] {
            assert_eq!(glob(pattern.as_bytes(), text.as_bytes()), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn counts_only_what_matches() {
        let head = |method: &str, path: &str| Head {
            method: method.into(),
            path: path.into(),
            query: String::new(),
            headers: vec![],
        };
        let (rule, hits) = ActiveRule::new(Rule::blobs().nth(2).fault(Fault::Status(500)));
        let blob = head("GET", "/v2/a/blobs/sha256:1");
        assert!(rule.strike(&blob, true).is_empty());
        assert!(rule.strike(&head("HEAD", "/v2/a/blobs/sha256:1"), true).is_empty());
        assert!(rule.strike(&blob, false).is_empty(), "not authorized, not counted");
        assert_eq!(rule.strike(&blob, true).len(), 1);
        assert!(rule.strike(&blob, true).is_empty());
        assert_eq!((hits.count(), hits.seen()), (1, 3));
    }
}
