//! The world of one case: repositories and content nobody else uses, and a client.

use super::Target;
use super::document::Document;
use super::reply::Reply;
use crate::{Random, RawRequest};
use anyhow::{Context as _, Result};
use larder_core::{Algorithm, Digest, Hasher};
use std::cell::RefCell;
use std::collections::BTreeMap;

/// One case's client.
pub(super) struct Trial<'a> {
    target: &'a Target,
    /// The repository most cases need.
    pub(super) repository: String,
    random: RefCell<Random>,
    observed: &'a Observed,
}

/// What was wrong with any answer of the run, by the id of the case that asks.
#[derive(Debug, Default)]
pub(super) struct Observed(RefCell<BTreeMap<&'static str, Vec<String>>>);

impl<'a> Trial<'a> {
    pub(super) fn new(target: &'a Target, case: &'static str, observed: &'a Observed) -> Self {
        let salt = Digest::of(format!("{} {case}", target.seed).as_bytes());
        let salt = u64::from_be_bytes(*salt.as_bytes().first_chunk().expect("a digest has 32 bytes"));
        let repository = format!("{}/{case}", target.prefix);
        Self { target, repository, random: RefCell::new(Random::new(salt)), observed }
    }

    /// A second repository.
    pub(super) fn other(&self) -> String {
        format!("{}-other", self.repository)
    }

    /// The first component of all repositories.
    pub(super) fn prefix(&self) -> &str {
        &self.target.prefix
    }

    /// `HOST:PORT`.
    pub(super) fn address(&self) -> &str {
        &self.target.address
    }

    /// What every request has as `Authorization`.
    pub(super) fn authorization(&self) -> Option<&str> {
        self.target.authorization.as_deref()
    }

    /// What was seen so far, in answers to any case.
    pub(super) fn observed(&self, rule: &'static str) -> Vec<String> {
        self.observed.0.borrow().get(rule).cloned().unwrap_or_default()
    }

    /// Bytes never seen before.
    pub(super) fn bytes(&self, length: usize) -> Vec<u8> {
        self.random.borrow_mut().bytes(length)
    }

    /// A number never seen before, to make documents different.
    pub(super) fn nonce(&self) -> u64 {
        self.random.borrow_mut().next_u64()
    }

    /// A request of a path, or of a URL on this registry.
    pub(super) fn request(&self, method: &str, location: &str) -> RawRequest {
        let url = match location.starts_with("http://") {
            true => location.to_owned(),
            false => format!("http://{}{location}", self.target.address),
        };
        let request = RawRequest::new(method, &url);
        match &self.target.authorization {
            Some(value) => request.header("Authorization", value),
            None => request,
        }
    }

    /// A request below a repository: `manifests/1`, `blobs/sha256:…`. “The client SHOULD include an `Accept` header indicating
    /// which manifest content types it supports.”
    pub(super) fn within(&self, method: &str, repository: &str, rest: &str) -> RawRequest {
        let request = self.request(method, &format!("/v2/{repository}/{rest}"));
        match matches!(method, "GET" | "HEAD") && rest.starts_with("manifests/") {
            true => request.header("Accept", ACCEPT),
            false => request,
        }
    }

    /// A request below this case's own repository.
    pub(super) fn here(&self, method: &str, rest: &str) -> RawRequest {
        self.within(method, &self.repository, rest)
    }

    /// Sends it, and looks at what every answer has to be like.
    pub(super) fn send(&self, request: &RawRequest) -> Reply {
        let reply = Reply { request: request.line(), response: request.send() };
        for (rule, wrong) in super::general::judge(&reply) {
            self.observed.0.borrow_mut().entry(rule).or_default().push(wrong);
        }
        reply
    }

    /// GET below this case's own repository.
    pub(super) fn get(&self, rest: &str) -> Reply {
        self.send(&self.here("GET", rest))
    }

    /// HEAD below this case's own repository.
    pub(super) fn head(&self, rest: &str) -> Reply {
        self.send(&self.here("HEAD", rest))
    }

    /// Opens an upload and returns where to go on.
    pub(super) fn begin(&self, repository: &str) -> Result<String> {
        let begun = self.send(&self.within("POST", repository, "blobs/uploads/"));
        self.location(begun.is(202)?)
    }

    /// The `Location` of an answer, as a URL or a path.
    pub(super) fn location(&self, reply: &Reply) -> Result<String> {
        Ok(reply.has("Location")?.to_owned())
    }

    /// Insists that the `Location` of an answer gives this content.
    pub(super) fn leads_to(&self, reply: &Reply, content: &[u8]) -> Result<()> {
        let location = self.location(reply)?;
        let found = self.send(&self.request("GET", &location).header("Accept", ACCEPT));
        found.is(200).and_then(|found| found.holds(content)).context("the Location of a push")?;
        Ok(())
    }

    /// Pushes a blob with POST and PUT.
    pub(super) fn push_blob(&self, repository: &str, content: &[u8]) -> Result<Digest> {
        let digest = Digest::of(content);
        self.push_blob_as(repository, content, &digest)?;
        Ok(digest)
    }

    pub(super) fn push_blob_as(&self, repository: &str, content: &[u8], digest: &Digest) -> Result<Reply> {
        let location = self.begin(repository)?;
        let put = self.send(&self.request("PUT", &closing(&location, digest)).body(content));
        put.is(201).context("a blob could not be pushed")?;
        Ok(put)
    }

    /// Pushes a blob never seen before into this case's own repository.
    pub(super) fn new_blob(&self, length: usize) -> Result<(Digest, Vec<u8>)> {
        let content = self.bytes(length);
        Ok((self.push_blob(&self.repository, &content)?, content))
    }

    /// Sends a manifest under a tag or digest, whatever comes of it.
    pub(super) fn put(&self, repository: &str, selector: &str, document: &Document) -> Reply {
        let rest = format!("manifests/{selector}");
        let request = self.within("PUT", repository, &rest).header("Content-Type", document.media_type);
        self.send(&request.body(document.bytes.clone()))
    }

    /// Pushes a manifest under a tag or digest.
    pub(super) fn push(&self, repository: &str, selector: &str, document: &Document) -> Result<Reply> {
        let put = self.put(repository, selector, document);
        put.is(201).context("a manifest could not be pushed")?;
        Ok(put)
    }

    /// Pushes an image never seen before, blobs and all, into this case's own repository.
    pub(super) fn new_image(&self, selector: &str) -> Result<Document> {
        let image = Document::image(self, &self.repository)?;
        self.push(&self.repository, selector, &image)?;
        Ok(image)
    }
}

/// What clients accept today.
const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, application/vnd.docker.distribution.manifest.list.v2+json, */*;q=0.1";

/// `location?digest=…`, whatever the location has already.
pub(super) fn closing(location: &str, digest: impl std::fmt::Display) -> String {
    let separator = if location.contains('?') { '&' } else { '?' };
    format!("{location}{separator}digest={digest}")
}

pub(super) fn sha512(content: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(content);
    hasher.finish()
}
