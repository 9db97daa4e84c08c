//! What is mounted from the store, so that it is not collected underneath.

use crate::database::{Durability, Key, Stored};
use crate::{Result, Store};
use larder_core::Digest;
use rusqlite::{Connection, Transaction, params};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// A mount made from the store. The manifest, all it points at and what was derived for it live while the directory is
/// mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRecord {
    /// Where.
    pub dir: PathBuf,
    /// Which image.
    pub manifest: Digest,
    /// How: the word of the driver.
    pub driver: String,
    /// The writable layer, by its name under `rw/`.
    pub writable: Option<String>,
    /// Further files and directories the mount needs; derived things among them live as long as it.
    pub extra: Vec<PathBuf>,
}

impl Store {
    /// Records a mount, replacing an earlier record of the same directory. Hold a lease on the manifest from before this call
    /// until the directory is mounted: a collection drops records of directories that are not mounted and not leased.
    pub fn add_mount(&self, mount: &MountRecord) -> Result<()> {
        let extra = mount.extra.iter().map(|path| path.as_os_str().as_bytes()).collect::<Vec<_>>().join(&0);
        self.database.write("record a mount", Durability::Process, |db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO mounts (dir, manifest, driver, writable, extra) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                mount.dir.as_os_str().as_bytes(),
                Key::from(&mount.manifest),
                mount.driver,
                mount.writable,
                extra
            ])?;
            Ok(())
        })
    }

    /// All recorded mounts, sorted by directory.
    pub fn mounts(&self) -> Result<Vec<MountRecord>> {
        self.database.read("list mounts", list)
    }

    /// Drops the record of a mount. `false` if there is none.
    pub fn remove_mount(&self, dir: &Path) -> Result<bool> {
        self.database.write("drop a mount", Durability::Process, |db| forget(db, dir))
    }
}

pub(crate) fn list(db: &Connection) -> rusqlite::Result<Vec<MountRecord>> {
    db.prepare_cached("SELECT dir, manifest, driver, writable, extra FROM mounts ORDER BY dir")?
        .query_map([], |row| {
            let Stored(manifest) = row.get(1)?;
            let extra: Vec<u8> = row.get(4)?;
            Ok(MountRecord {
                dir: OsString::from_vec(row.get(0)?).into(),
                manifest,
                driver: row.get(2)?,
                writable: row.get(3)?,
                // A path contains no zero byte.
                extra: extra
                    .split(|byte| *byte == 0)
                    .filter(|path| !path.is_empty())
                    .map(|path| OsStr::from_bytes(path).into())
                    .collect(),
            })
        })?
        .collect()
}

pub(crate) fn forget(db: &Transaction<'_>, dir: &Path) -> rusqlite::Result<bool> {
    db.prepare_cached("DELETE FROM mounts WHERE dir = ?1")?
        .execute([dir.as_os_str().as_bytes()])
        .map(|count| count > 0)
}
