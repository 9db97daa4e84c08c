//! Verdicts: which content may be used, and why.

use crate::database::{Durability, Key};
use crate::{Error, Result, Store};
use larder_core::Digest;
use rusqlite::params;

/// Proof that policy let a digest through. Only [`Store::admit`] and [`Store::admitted`] make one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admitted {
    digest: Digest,
}

impl Admitted {
    /// What was let through.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

impl Store {
    /// Records that `digest` may be used, and why. The verdict lives as long as the blob. Refused with [`Error::Absent`] if
    /// the store does not hold the blob.
    pub fn admit(&self, digest: &Digest, reason: &str) -> Result<Admitted> {
        let now = self.now();
        let key = Key::from(digest);
        let held = self.database.write("record a verdict", Durability::Process, |db| {
            db.prepare_cached(
                "INSERT INTO verdicts (digest, reason, decided) SELECT digest, ?2, ?3 FROM blobs WHERE digest = ?1
                 ON CONFLICT (digest) DO UPDATE SET reason = ?2, decided = ?3",
            )?
            .execute(params![key, reason, now])
            .map(|count| count > 0)
        })?;
        if held { Ok(Admitted { digest: *digest }) } else { Err(Error::Absent { digest: *digest }) }
    }

    /// The proof, if `digest` was admitted.
    pub fn admitted(&self, digest: &Digest) -> Result<Option<Admitted>> {
        let found = self.database.read("look up a verdict", |db| {
            db.prepare_cached("SELECT 1 FROM verdicts WHERE digest = ?1")?.exists([Key::from(digest)])
        })?;
        Ok(found.then_some(Admitted { digest: *digest }))
    }
}
