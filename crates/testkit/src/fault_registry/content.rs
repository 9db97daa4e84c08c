//! What the registry holds: blobs, manifests and tags per repository.

use bytes::Bytes;
use larder_core::{Algorithm, Descriptor, Digest, Hasher, MediaType};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// All repositories. Blob bytes are shared; whether a repository has a blob is its own affair, as in real registries.
#[derive(Debug, Default)]
pub(crate) struct Content {
    pub(crate) bytes: HashMap<Digest, Bytes>,
    pub(crate) repositories: BTreeMap<String, Contained>,
    pub(crate) uploads: HashMap<String, Upload>,
    /// By their whole path.
    pub(crate) files: BTreeMap<String, Bytes>,
    next_upload: u64,
}

/// One repository.
#[derive(Debug, Default)]
pub(crate) struct Contained {
    pub(crate) blobs: BTreeSet<Digest>,
    pub(crate) manifests: BTreeMap<Digest, (MediaType, Bytes)>,
    pub(crate) tags: BTreeMap<String, Digest>,
}

/// A blob on its way in.
#[derive(Debug, Default)]
pub(crate) struct Upload {
    pub(crate) repository: String,
    pub(crate) bytes: Vec<u8>,
}

impl Content {
    pub(crate) fn repository(&mut self, name: &str) -> &mut Contained {
        self.repositories.entry(name.to_owned()).or_default()
    }

    pub(crate) fn put_blob(&mut self, repository: &str, digest: Digest, bytes: Bytes) {
        self.bytes.insert(digest, bytes);
        self.repository(repository).blobs.insert(digest);
    }

    pub(crate) fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        self.repositories.get(repository)?.blobs.get(digest)?;
        self.bytes.get(digest).cloned()
    }

    pub(crate) fn manifest(&self, repository: &str, selector: &str) -> Option<(Digest, MediaType, Bytes)> {
        let repository = self.repositories.get(repository)?;
        let digest = match selector.parse() {
            Ok(digest) => digest,
            Err(_) => *repository.tags.get(selector)?,
        };
        let (media_type, bytes) = repository.manifests.get(&digest)?;
        Some((digest, media_type.clone(), bytes.clone()))
    }

    /// Descriptors of the manifests of `repository` whose `subject` is `subject`, as the referrers API lists them.
    pub(crate) fn referrers(&self, repository: &str, subject: &Digest) -> Vec<Descriptor> {
        let Some(repository) = self.repositories.get(repository) else { return Vec::new() };
        let attached = |(digest, (media_type, raw)): (&Digest, &(MediaType, Bytes))| {
            let document: serde_json::Value = serde_json::from_slice(raw).ok()?;
            if document["subject"]["digest"].as_str()? != subject.to_string() {
                return None;
            }
            let mut descriptor = Descriptor::new(media_type.clone(), *digest, raw.len() as u64);
            let config = document["config"]["mediaType"].as_str();
            descriptor.artifact_type = document["artifactType"].as_str().or(config).map(str::to_owned);
            descriptor.annotations =
                serde_json::from_value(document["annotations"].clone()).unwrap_or_default();
            Some(descriptor)
        };
        repository.manifests.iter().filter_map(attached).collect()
    }

    pub(crate) fn begin_upload(&mut self, repository: &str) -> String {
        self.next_upload += 1;
        let id = format!("00000000-0000-4000-8000-{:012x}", self.next_upload);
        self.uploads.insert(id.clone(), Upload { repository: repository.to_owned(), bytes: Vec::new() });
        id
    }
}

/// The digest of `bytes` by the algorithm of `like`.
pub(crate) fn digest_as(like: Algorithm, bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(like);
    hasher.update(bytes);
    hasher.finish()
}
