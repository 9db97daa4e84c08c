//! Damaged blobs are set aside, so that good ones can take their place.

use crate::database::Durability;
use crate::{Error, Result, Store, blob, layout, lock};
use larder_core::Digest;
use std::fs;
use std::io;
use std::path::PathBuf;

impl Store {
    /// Moves the file of a blob to `quarantine/` and forgets the blob; names that need it stay, so that it can be fetched
    /// again. Returns where the file is now. `Err` of [`Error::Absent`] if there is no file; the row is dropped all the same.
    pub fn quarantine(&self, digest: &Digest) -> Result<PathBuf> {
        let _no_commit = lock::sweep(&self.layout)?;
        let (from, to) = (self.layout.blob(digest), self.layout.quarantine(digest));
        // The row first: a row never outlives its bytes.
        self.database.write("set a blob aside", Durability::Process, |db| blob::forget(db, digest))?;
        match fs::rename(&from, &to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Absent { digest: *digest });
            }
            Err(error) => return Err(Error::io("rename", from)(error)),
        }
        layout::sync_directory(&self.layout.blobs(digest.algorithm()))?;
        Ok(to)
    }
}
