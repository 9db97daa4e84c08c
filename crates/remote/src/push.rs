//! Manifests, mounts and the referrers fallback: the writing side except for the bytes of blobs.

use crate::client::Action;
use crate::hosts::Endpoint;
use crate::referrers::{children, fallback_tag};
use crate::repo::{Call, Repo};
use crate::upload::{Body, location};
use crate::{Error, Result, redact};
use bytes::Bytes;
use larder_core::{Classify, Descriptor, Digest, Document, Kind, Manifest, MediaType, Repository, Tag};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};

impl Repo {
    /// Makes a blob of another repository of the same registry appear in this one. `false`: the registry will not do that,
    /// push it instead.
    pub async fn mount_blob(&self, digest: &Digest, from: &Repository) -> Result<bool> {
        let what = format!("mount of {digest} from {from} in {}/{}", self.registry(), self.repository());
        let digest = *digest;
        self.persist(&what, Action::Push, &|endpoint| {
            Box::pin(async move { self.mount_at(&endpoint, &digest, from).await })
        })
        .await
    }

    async fn mount_at(&self, endpoint: &Endpoint, digest: &Digest, from: &Repository) -> Result<bool> {
        let mut url = endpoint.url(&self.path("blobs/uploads/"));
        url.query_pairs_mut().append_pair("mount", &digest.to_string()).append_pair("from", from.as_str());
        let need = format!("{} repository:{}:pull", self.push_scope(), from.as_str());
        let call = Call { body: Body::Bytes(Bytes::new()), ..Call::new(Method::POST, url, need) };
        let response = self.call(endpoint, &call).await?.accept(&[201, 202]).await?;
        if response.status().as_u16() == 201 {
            response.dismiss().await;
            return Ok(true);
        }
        // The registry opened an upload instead. Leaving it open would leave rubbish behind.
        if let Ok(location) = location(&response) {
            response.dismiss().await;
            if let Ok(gone) =
                self.call(endpoint, &Call::new(Method::DELETE, location, self.push_scope())).await
            {
                gone.dismiss().await;
            }
        }
        Ok(false)
    }

    /// Pushes a document under its digest, and under `tag` if there is one. Everything it points at must be there already.
    /// A document that is attached to another one is also entered into the fallback list where the registry has no
    /// referrers API. Returns the digest under which the registry has it.
    pub async fn push_manifest(&self, document: &Document, tag: Option<&Tag>) -> Result<Digest> {
        let selector = tag.map_or_else(|| document.digest().to_string(), |tag| tag.as_str().to_owned());
        let what = format!("push of {}/{} {selector}", self.registry(), self.repository());
        let selector = selector.as_str();
        self.persist(&what, Action::Push, &|endpoint| {
            Box::pin(async move {
                let knows_subject = self.put_document(&endpoint, document, selector).await?;
                if let Some(subject) = document.manifest().subject().filter(|_| !knows_subject) {
                    self.enter_fallback(&endpoint, &subject.digest, document).await?;
                }
                Ok(())
            })
        })
        .await?;
        Ok(document.digest())
    }

    /// Returns whether the registry took note of the document's subject.
    async fn put_document(&self, endpoint: &Endpoint, document: &Document, selector: &str) -> Result<bool> {
        let media_type = HeaderValue::try_from(document.media_type().as_str()).map_err(|_| {
            Error::Protocol { what: selector.to_owned(), reason: "the media type cannot stand in a header" }
        })?;
        let call = Call {
            headers: HeaderMap::from_iter([(CONTENT_TYPE, media_type)]),
            body: Body::Bytes(Bytes::from(document.raw().to_vec())),
            ..Call::new(
                Method::PUT,
                endpoint.url(&self.path(&format!("manifests/{selector}"))),
                self.push_scope(),
            )
        };
        let response = self.call(endpoint, &call).await?.accept(&[200, 201, 202]).await?;
        let (expected, what) = (document.digest(), redact::url(&response.url));
        let knows_subject = response.header("oci-subject").is_some();
        let claimed = response.header("docker-content-digest").and_then(|text| text.parse::<Digest>().ok());
        response.dismiss().await;
        match claimed {
            Some(actual) if actual != expected && actual.algorithm() == expected.algorithm() => {
                Err(Error::mismatch(what, expected, actual))
            }
            _ => Ok(knows_subject),
        }
    }

    /// Adds `document` to the list of what is attached to `subject` (distribution spec, "Referrers Tag Schema").
    async fn enter_fallback(&self, endpoint: &Endpoint, subject: &Digest, document: &Document) -> Result<()> {
        let tag = fallback_tag(subject);
        let mut list = match self.manifest_at(endpoint, &tag).await {
            Ok(list) => children(&list),
            Err(error) if error.kind() == Kind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let mut entry = document.descriptor();
        if list.iter().any(|known| known.digest == entry.digest) {
            return Ok(());
        }
        describe(&mut entry, document.manifest());
        list.push(entry);
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_INDEX.as_str(),
            "manifests": list,
        });
        let what = || redact::url(&endpoint.base);
        let index = Document::parse(index.to_string().into_bytes(), Some(&MediaType::OCI_INDEX))
            .map_err(|source| Error::Document { what: what(), source })?;
        self.put_document(endpoint, &index, &tag).await.map(drop)
    }
}

/// What a list of referrers says about an entry beyond its descriptor.
fn describe(entry: &mut Descriptor, manifest: &Manifest) {
    let annotations = match manifest {
        Manifest::Image(image) | Manifest::Artifact(image) => {
            let config = image.config.media_type.as_str().to_owned();
            entry.artifact_type = image.artifact_type.clone().or(Some(config));
            &image.annotations
        }
        Manifest::Index(index) => {
            entry.artifact_type.clone_from(&index.artifact_type);
            &index.annotations
        }
    };
    entry.annotations = annotations.clone().unwrap_or_default();
}
