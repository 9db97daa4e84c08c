//! `tag`, `remove`, `pin`: names.

use crate::{Engine, Error, Result};
use larder_core::Reference;

impl Engine {
    /// Gives an image in the store another name. An existing name moves.
    pub fn tag(&self, source: &Reference, target: &Reference) -> Result<()> {
        let before = self.before(std::slice::from_ref(target));
        let tagged = self.move_name(source, target);
        self.audit_names("tag", &before, &tagged);
        tagged
    }

    fn move_name(&self, source: &Reference, target: &Reference) -> Result<()> {
        let lease = self.lease("tag")?;
        let root = self.root(source)?;
        let failed = |source| Error::Store { action: format!("cannot tag {target}"), source };
        lease.add(&[root.digest]).map_err(failed)?;
        self.name(target, &root)?;
        self.store().flush().map_err(failed)
    }

    /// Removes names. The bytes go with the next gc, unless another name, a mount or a running pull needs them.
    /// All names are checked before the first is removed.
    pub fn remove(&self, references: &[Reference]) -> Result<()> {
        let before = self.before(references);
        let removed = self.remove_names(references);
        self.audit_names("remove", &before, &removed);
        removed
    }

    fn remove_names(&self, references: &[Reference]) -> Result<()> {
        for reference in references {
            let failed = |source| Error::Store { action: format!("cannot look up {reference}"), source };
            if self.store().name(reference).map_err(failed)?.is_none() {
                // A digest without a name is held by other names only.
                let similar = match reference.digest() {
                    None => self.similar(reference),
                    Some(digest) => {
                        let names = self.store().names_of(digest).map_err(failed)?;
                        names.iter().map(Reference::familiar).collect()
                    }
                };
                return Err(Error::NoName { reference: reference.familiar(), similar });
            }
        }
        for reference in references {
            let failed = |source| Error::Store { action: format!("cannot remove {reference}"), source };
            self.store().remove_name(reference).map_err(failed)?;
        }
        self.store()
            .flush()
            .map_err(|source| Error::Store { action: "cannot write index.json".into(), source })
    }

    /// Pins a name: no policy removes it.
    pub fn pin(&self, reference: &Reference, pinned: bool) -> Result<()> {
        let before = self.before(std::slice::from_ref(reference));
        let done = self.set_pin(reference, pinned);
        self.audit_names(if pinned { "pin" } else { "unpin" }, &before, &done);
        done
    }

    fn set_pin(&self, reference: &Reference, pinned: bool) -> Result<()> {
        let failed = |source| Error::Store { action: format!("cannot pin {reference}"), source };
        if !self.store().pin(reference, pinned).map_err(failed)? {
            let similar = self.similar(reference);
            return Err(Error::NoName { reference: reference.familiar(), similar });
        }
        // The index is what a pin is known from if the database is lost.
        self.store()
            .flush()
            .map_err(|source| Error::Store { action: "cannot write index.json".into(), source })
    }
}
