//! Files of the store that say what the database says are written again from it.

use crate::{Damaged, Error, Result, Store, index, layout};
use std::fmt;
use std::path::Path;

impl Store {
    /// Writes a damaged `oci-layout`, `index.json` or `index.yaml` again. Returns whether that made it whole; the database has no
    /// second copy to be written from. What was changed in the audit log stays as it is, and is an error.
    pub fn restore(&self, file: &Path) -> Result<bool> {
        if file == self.layout.oci_layout() {
            layout::replace(file, layout::OCI_LAYOUT.as_bytes())?;
            return Ok(true);
        }
        if file == self.layout.index_json() || file == self.layout.index_yaml() {
            index::invalidate(self)?;
            self.flush()?;
            return Ok(true);
        }
        if file.starts_with(self.layout.audit()) {
            return Err(Error::Evidence { path: file.to_owned() });
        }
        Ok(false)
    }
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blob(digest) => write!(f, "blob {digest}"),
            Self::Derived(key) => write!(f, "{}/{}", key.area.as_str(), key.name),
            Self::File(path) => write!(f, "{}", path.display()),
        }
    }
}
