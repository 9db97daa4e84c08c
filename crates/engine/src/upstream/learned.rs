//! What manifests said about the blobs they name.

use super::lately::Lately;
use larder_core::{Descriptor, Digest, Document};
use std::time::{Duration, SystemTime};

/// Sizes and types of blobs, learned from manifests that passed by: a blob is asked for by its digest alone, and what a
/// manifest says about it beats what a server says.
pub(super) struct Learned(Lately<Digest, Descriptor>);

const MOST: usize = 32_768;

impl Learned {
    pub(super) fn new() -> Self {
        Self(Lately::new(MOST))
    }

    pub(super) fn learn(&self, document: &Document, now: SystemTime) {
        for child in document.manifest().children() {
            if !child.media_type.is_manifest() && !child.media_type.is_index() {
                self.0.put(child.digest, child.clone(), now);
            }
        }
    }

    pub(super) fn about(&self, digest: &Digest, now: SystemTime) -> Option<Descriptor> {
        // Never too old: a digest stands for one content.
        self.0.get(digest, now, Duration::MAX)
    }
}
