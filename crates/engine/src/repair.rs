//! The second half of `verify --repair`: damaged things are set aside and brought again.

use crate::{Engine, Error, Result};
use larder_core::{Classify, Descriptor, Digest, Kind, Reference, RepositoryName};
use larder_fetch::Reader;
use larder_store::{Damage, Damaged};

impl Engine {
    /// Repairs one damage. Returns whether the thing is whole again.
    pub(crate) async fn repair(&self, damage: &Damage) -> Result<bool> {
        let failed = |source| Error::Store { action: format!("cannot repair {}", damage.what), source };
        match &damage.what {
            Damaged::Derived(key) => {
                // It is made again when somebody needs it.
                self.store().remove_derived(key).map_err(failed)?;
                Ok(true)
            }
            Damaged::File(path) => self.store().restore(path).map_err(failed),
            Damaged::Blob(digest) => {
                match self.store().quarantine(digest) {
                    Ok(_) => {}
                    Err(error) if error.kind() == Kind::NotFound => {}
                    Err(error) => return Err(failed(error)),
                }
                let mut last = Err(Error::NoBlob { digest: *digest });
                for reference in &damage.part_of {
                    last = self.refetch(digest, reference).await.map(|()| true);
                    if last.is_ok() {
                        break;
                    }
                }
                last
            }
        }
    }

    /// Fetches one blob again on behalf of an image that needs it.
    async fn refetch(&self, digest: &Digest, reference: &Reference) -> Result<()> {
        let lease = self.lease("repair")?;
        let scope = self.scope(reference, None, &lease)?;
        let failed = |source| Error::Store { action: format!("cannot look up {reference}"), source };
        let root = match self.store().name(reference).map_err(failed)? {
            Some(name) => name.descriptor,
            None => {
                let repository =
                    RepositoryName::new(reference.registry().clone(), reference.repository().clone());
                let cached = self.store().cached(&repository, &reference.selector()).map_err(failed)?;
                cached.ok_or(Error::NoBlob { digest: *digest })?.descriptor
            }
        };
        let descriptor = self.descriptor_below(&root, digest, 0)?;
        let fetcher = self.fetcher()?;
        if descriptor.media_type.is_manifest() || descriptor.media_type.is_index() {
            fetcher.document(&scope, &descriptor).await?;
        } else {
            fetcher.blob(&scope, &descriptor, Reader::None).await?;
        }
        if self.contains(digest)? { Ok(()) } else { Err(Error::NoBlob { digest: *digest }) }
    }

    /// How the documents that are still whole describe a blob.
    fn descriptor_below(&self, root: &Descriptor, wanted: &Digest, depth: u32) -> Result<Descriptor> {
        if root.digest == *wanted {
            return Ok(root.clone());
        }
        let absent = Error::NoBlob { digest: *wanted };
        if depth > 8 || !(root.media_type.is_manifest() || root.media_type.is_index()) {
            return Err(absent);
        }
        // A sibling may be the damaged one; it is repaired on its own.
        let document = match self.document(&root.digest) {
            Ok(Some(document)) => document,
            Ok(None) => return Err(absent),
            Err(error) if error.kind() == Kind::Corrupt => return Err(absent),
            Err(error) => return Err(error),
        };
        for child in document.manifest().children() {
            if let Ok(found) = self.descriptor_below(child, wanted, depth + 1) {
                return Ok(found);
            }
        }
        Err(absent)
    }
}
