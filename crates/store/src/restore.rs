//! Files of the store that can be made again from what else is there.

use crate::database::Durability;
use crate::rebuild::{self, Files};
use crate::salvage::{nothing, salvage};
use crate::{Damaged, Error, Options, Result, Store, index, layout, lock};
use std::fmt;
use std::path::{Path, PathBuf};

/// What [`Store::repair`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repaired {
    /// Nothing: the database can be opened.
    Nothing,
    /// The database was built anew.
    Rebuilt {
        /// Where the old one is now, if there was one.
        aside: Option<PathBuf>,
    },
}

impl Store {
    /// Opens a store whose database may be damaged or gone. Where [`Store::open`] would not open it, the database is moved to
    /// `quarantine/` and a new one built: from its own rows, as far as they can be read and are sound; from the blobs, which are
    /// hashed; and from `index.json` and `index.yaml`. Refused with [`Error::InUse`] while others have the store open.
    ///
    /// What only the lost rows knew is lost: when things were used, counters, and what was pushed without a tag.
    pub fn repair(home: &Path, options: Options) -> Result<(Self, Repaired)> {
        match Self::open(home, options.clone()) {
            Ok(store) => return Ok((store, Repaired::Nothing)),
            Err(error) if error.is_broken_database() => {}
            Err(error) => return Err(error),
        }
        let layout = layout::Layout::new(home);
        let aside = {
            let Some(_replace) = lock::replace_database(&layout)? else {
                return Err(Error::InUse { path: layout.database() });
            };
            let _no_commit = lock::sweep(&layout)?;
            let _alone = lock::layout(&layout)?;
            rebuild::beside(&layout, (options.clock)().into())?
        };
        Ok((Self::open(home, options)?, Repaired::Rebuilt { aside }))
    }

    /// Makes a damaged file of the store again: `oci-layout`, `index.json` and `index.yaml` from the database; the database from
    /// its sound rows, the blobs, and the index files, like [`Store::repair`]. Returns whether that made it whole.
    /// What was changed in the audit log stays as it is, and is an error.
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
        if self.layout.database_files().iter().any(|known| known == file) {
            self.restore_database()?;
            return Ok(true);
        }
        if file.starts_with(self.layout.audit()) {
            return Err(Error::Evidence { path: file.to_owned() });
        }
        Ok(false)
    }

    fn restore_database(&self) -> Result<()> {
        {
            let _no_commit = lock::sweep(&self.layout)?;
            match self.restore_in_place() {
                Err(error) if error.is_broken_database() => {
                    self.database.replace(|| rebuild::beside(&self.layout, self.now()).map(drop))?;
                }
                done => done?,
            }
        }
        // What is wrong with the log is gone with it.
        self.database.use_log()?;
        self.database.checkpoint()?;
        self.flush()
    }

    /// Others may go on using the store: to them it is one large transaction.
    fn restore_in_place(&self) -> Result<()> {
        let rows = self.database.read("read sound rows", |db| Ok(salvage(db))).unwrap_or_else(|_| nothing());
        let files = Files::look(&self.layout, &rows)?;
        let now = self.now();
        self.database.write("build the tables again", Durability::Disk, |db| {
            // A log that cannot be read is not trusted.
            let log_is_sound = matches!(rebuild::log_problem(&self.layout), Ok(None));
            rebuild::in_place(db, &self.layout, &files, log_is_sound, now)
        })
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
