//! What is attached to a manifest (distribution spec, "Listing Referrers"), with the tag that stands in for the API.

use crate::client::Action;
use crate::hosts::Endpoint;
use crate::manifest::{accept_manifests, read_document};
use crate::page::{MOST_PAGES, next};
use crate::repo::{Call, Repo};
use crate::{Error, Result, redact};
use larder_core::{Classify, Descriptor, Digest, Document, Kind, Manifest};
use reqwest::Method;

/// Most referrers that are looked at; more than this is an attack on whoever has to verify them.
const MOST: usize = 10_000;

impl Repo {
    /// Descriptors of everything attached to `subject`, of one artifact type or of all. A registry without the API is asked
    /// for the fallback tag. None is an empty list.
    pub async fn referrers(&self, subject: &Digest, artifact_type: Option<&str>) -> Result<Vec<Descriptor>> {
        let what = format!("referrers of {}/{}@{subject}", self.registry(), self.repository());
        let subject = *subject;
        let mut found = self
            .persist(&what, Action::Resolve, &|endpoint| {
                Box::pin(async move { self.referrers_at(&endpoint, &subject, artifact_type).await })
            })
            .await?;
        // Filtering is optional for registries, and the fallback tag has everything.
        if let Some(wanted) = artifact_type {
            found.retain(|descriptor| descriptor.artifact_type.as_deref() == Some(wanted));
        }
        Ok(found)
    }

    async fn referrers_at(
        &self,
        endpoint: &Endpoint,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>> {
        let mut url = endpoint.url(&self.path(&format!("referrers/{subject}")));
        if let Some(wanted) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", wanted);
        }
        let mut found = Vec::new();
        for page in 0..MOST_PAGES {
            let what = redact::url(&url);
            let call = Call { headers: accept_manifests(), ..Call::new(Method::GET, url, self.pull_scope()) };
            let response = self.call(endpoint, &call).await?;
            if page == 0 && matches!(response.status().as_u16(), 404 | 405 | 501) && !response.left {
                response.dismiss().await;
                return match self.manifest_at(endpoint, &fallback_tag(subject)).await {
                    Ok(document) => Ok(children(&document)),
                    // Only the registry itself can say that there is nothing.
                    Err(error) if error.kind() == Kind::NotFound && endpoint.upstream => Ok(Vec::new()),
                    Err(error) => Err(error),
                };
            }
            let response = response.accept(&[200]).await?;
            let following = next(endpoint, &response)?;
            found.extend(children(&read_document(response, None).await?));
            if found.len() > MOST {
                return Err(Error::Protocol { what, reason: "more referrers than anybody could check" });
            }
            match following {
                Some(following) => url = following,
                None => return Ok(found),
            }
        }
        Err(Error::Protocol {
            what: redact::url(&endpoint.base),
            reason: "the list of referrers does not end",
        })
    }
}

/// The tag under which registries without the API keep the list; at most 64 characters of the hash, so that it is a tag.
pub(crate) fn fallback_tag(subject: &Digest) -> String {
    let hex = subject.hex();
    format!("{}-{}", subject.algorithm().as_str(), &hex[..64])
}

pub(crate) fn children(document: &Document) -> Vec<Descriptor> {
    match document.manifest() {
        Manifest::Index(index) => index.manifests.clone(),
        Manifest::Image(_) | Manifest::Artifact(_) => Vec::new(),
    }
}
