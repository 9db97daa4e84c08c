//! Names to digests, digests to documents (distribution spec, "Pulling manifests").

use crate::client::Action;
use crate::exchange::Response;
use crate::hosts::Endpoint;
use crate::repo::{Call, Repo};
use crate::{Error, Result, redact};
use larder_core::{Descriptor, Digest, Document, Hasher, MANIFEST_LIMIT, MediaType, Tag};
use reqwest::Method;
use reqwest::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};

impl Repo {
    /// What a tag or digest stands for now, without fetching it where the registry allows that.
    ///
    /// The digest of a tag is the registry's claim until the document has been fetched by that digest.
    pub async fn resolve(&self, selector: &str) -> Result<Descriptor> {
        let what = self.manifest_name(selector)?;
        let action = action(selector);
        self.persist(&what, action, &|endpoint| {
            Box::pin(async move { self.resolve_at(&endpoint, selector).await })
        })
        .await
    }

    /// The document behind a tag or digest. At most 4 MiB are read. With a digest, the bytes hash to it.
    pub async fn manifest(&self, selector: &str) -> Result<Document> {
        let what = self.manifest_name(selector)?;
        let action = action(selector);
        self.persist(&what, action, &|endpoint| {
            Box::pin(async move { self.manifest_at(&endpoint, selector).await })
        })
        .await
    }

    async fn resolve_at(&self, endpoint: &Endpoint, selector: &str) -> Result<Descriptor> {
        let response = self.call(endpoint, &self.manifest_call(Method::HEAD, endpoint, selector)).await?;
        match response.status().as_u16() {
            200 => {
                if let Some(descriptor) = describe(&response, selector)? {
                    return Ok(descriptor);
                }
            }
            // Some registries do not let everybody use HEAD, and none explains itself there.
            400 | 401 | 403 | 405 | 406 | 501 => {}
            _ => return Err(response.failure().await),
        }
        let document = self.manifest_at(endpoint, selector).await?;
        let mut descriptor = document.descriptor();
        if let Ok(digest) = selector.parse() {
            descriptor.digest = digest;
        }
        Ok(descriptor)
    }

    pub(crate) async fn manifest_at(&self, endpoint: &Endpoint, selector: &str) -> Result<Document> {
        let response = self.call(endpoint, &self.manifest_call(Method::GET, endpoint, selector)).await?;
        let response = response.accept(&[200]).await?;
        read_document(response, selector.parse().ok()).await
    }

    fn manifest_call(&self, method: Method, endpoint: &Endpoint, selector: &str) -> Call<'static> {
        let url = endpoint.url(&self.path(&format!("manifests/{selector}")));
        Call { headers: accept_manifests(), ..Call::new(method, url, self.pull_scope()) }
    }

    /// Checks that `selector` is a tag or a digest and nothing that could bend a URL, and names it for messages.
    fn manifest_name(&self, selector: &str) -> Result<String> {
        let what = format!("{}/{}", self.registry(), self.repository());
        let parsed = if selector.contains(':') {
            selector.parse::<Digest>().map(drop)
        } else {
            Tag::new(selector).map(drop)
        };
        parsed.map_err(|source| Error::Document { what: what.clone(), source })?;
        Ok(format!("{what} {selector}"))
    }
}

/// A mirror may be good enough for content that is named by its hash, and not for what a tag stands for.
fn action(selector: &str) -> Action {
    if selector.contains(':') { Action::Pull } else { Action::Resolve }
}

pub(crate) fn accept_manifests() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for media_type in MediaType::MANIFESTS {
        headers
            .append(ACCEPT, HeaderValue::try_from(media_type.as_str()).expect("media types are plain text"));
    }
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    headers
}

/// Reads a manifest or index, bounded and checked.
pub(crate) async fn read_document(response: Response, wanted: Option<Digest>) -> Result<Document> {
    let what = redact::url(&response.url);
    let declared = response.header(CONTENT_TYPE.as_str()).map(MediaType::new);
    if response.is_web_page() {
        return Err(Error::WebPage { url: what });
    }
    let raw = response.bytes(MANIFEST_LIMIT).await?;
    if let Some(expected) = wanted {
        let mut hasher = Hasher::new(expected.algorithm());
        hasher.update(&raw);
        let actual = hasher.finish();
        if actual != expected {
            return Err(Error::mismatch(what, expected, actual));
        }
    }
    Document::parse(&raw[..], declared.as_ref()).map_err(|source| Error::Document { what, source })
}

/// What the headers of a HEAD say, if they say enough.
fn describe(response: &Response, selector: &str) -> Result<Option<Descriptor>> {
    let media_type = response.header(CONTENT_TYPE.as_str()).map(MediaType::new);
    let claimed = response.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
    let (Some(media_type), Some(size)) = (media_type, response.length()) else { return Ok(None) };
    if !media_type.is_index() && !media_type.is_manifest() {
        return Ok(None);
    }
    if size > MANIFEST_LIMIT {
        return Err(Error::TooLarge { what: redact::url(&response.url), limit: MANIFEST_LIMIT });
    }
    let digest = match (selector.parse::<Digest>().ok(), claimed) {
        (Some(expected), Some(actual))
            if expected != actual && expected.algorithm() == actual.algorithm() =>
        {
            return Err(Error::mismatch(redact::url(&response.url), expected, actual));
        }
        (Some(expected), _) => expected,
        (None, Some(claimed)) => claimed,
        (None, None) => return Ok(None),
    };
    Ok((size > 0).then(|| Descriptor::new(media_type, digest, size)))
}
