//! Content descriptors (OCI image-spec, descriptor.md).

use crate::{Digest, MediaType, Platform};
use std::collections::BTreeMap;

/// Points at content: what it is, what it hashes to, how long it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    pub media_type: MediaType,
    /// What it hashes to.
    pub digest: Digest,
    /// Its exact length in bytes.
    pub size: u64,
    /// Where else it may be had; followed only where policy allows it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    /// Free-form facts.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// For children of an index: what they run on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// What kind of artifact the content is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
}

impl Descriptor {
    /// A descriptor with the three required fields.
    pub fn new(media_type: MediaType, digest: Digest, size: u64) -> Self {
        Self {
            media_type,
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
        }
    }

    /// Describes bytes at hand.
    pub fn of(media_type: MediaType, content: &[u8]) -> Self {
        Self::new(media_type, Digest::of(content), content.len() as u64)
    }
}
