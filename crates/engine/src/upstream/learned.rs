//! What manifests said about the blobs they name.

use super::lately::Lately;
use larder_core::{Descriptor, Digest, Document, RepositoryName};
use std::time::{Duration, SystemTime};

/// Sizes and types of blobs, learned from manifests that passed by: a blob is asked for by its digest alone, and what a
/// manifest says about it beats what a server says. Per repository: one that lies deceives nobody but its own readers.
pub(super) struct Learned(Lately<(RepositoryName, Digest), Descriptor>);

const MOST: usize = 32_768;

impl Learned {
    pub(super) fn new() -> Self {
        Self(Lately::new(MOST))
    }

    pub(super) fn learn(&self, repository: &RepositoryName, document: &Document, now: SystemTime) {
        for child in document.manifest().children() {
            if !child.media_type.is_manifest() && !child.media_type.is_index() {
                self.0.put((repository.clone(), child.digest), child.clone(), now);
            }
        }
    }

    pub(super) fn about(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        now: SystemTime,
    ) -> Option<Descriptor> {
        // Never too old: a digest stands for one content.
        self.0.get(&(repository.clone(), *digest), now, Duration::MAX)
    }
}
