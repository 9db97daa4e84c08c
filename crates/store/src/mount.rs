//! What is mounted from the store, so that it is not collected underneath.

use crate::database::{Durability, Key, Stored};
use crate::{Result, Store};
use larder_core::Digest;
use rusqlite::{Connection, Transaction, params};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// A mount made from the store. The manifest, all it points at and what was derived for it live while the directory is
/// mounted.
///
/// Directory and identity together are the key: each mount namespace can have another mount at the same path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountRecord {
    /// Where it was mounted. It may have moved since.
    pub dir: PathBuf,
    /// What whoever mounted it recognises the mount by, wherever it is attached; the store does not look into it. It means
    /// nothing after a restart of the machine. `None` before the mount is made, and in records of older versions.
    pub identity: Option<Vec<u8>>,
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
    /// Records a mount, replacing an earlier record of the same directory and identity. Hold a lease on the manifest from before this call
    /// until the directory is mounted: a collection drops records of directories that are not mounted and not leased.
    pub fn add_mount(&self, mount: &MountRecord) -> Result<()> {
        let extra = mount.extra.iter().map(|path| path.as_os_str().as_bytes()).collect::<Vec<_>>().join(&0);
        self.database.write("record a mount", Durability::Process, |db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO mounts (dir, identity, boot, manifest, driver, writable, extra)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                mount.dir.as_os_str().as_bytes(),
                mount.identity.as_deref().unwrap_or_default(),
                self.options.boot_id,
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
        let rows = self.database.read("list mounts", list)?;
        Ok(rows.into_iter().map(|row| row.record).collect())
    }

    /// Drops the record of a mount, by its directory and identity. `false` if there is none.
    pub fn remove_mount(&self, mount: &MountRecord) -> Result<bool> {
        self.database.write("drop a mount", Durability::Process, |db| forget(db, mount))
    }
}

/// A record as it is stored.
pub(crate) struct Row {
    pub(crate) record: MountRecord,
    /// When the kernel was started that made the mount.
    boot: String,
}

impl Row {
    /// Whether the kernel that made the mount is known to run no more.
    pub(crate) fn is_of_another_boot(&self, boot_id: &str) -> bool {
        self.record.identity.is_some() && self.boot != boot_id
    }
}

pub(crate) fn list(db: &Connection) -> rusqlite::Result<Vec<Row>> {
    db.prepare_cached(
        "SELECT dir, identity, boot, manifest, driver, writable, extra FROM mounts ORDER BY dir, identity",
    )?
    .query_map([], |row| {
        let identity: Vec<u8> = row.get(1)?;
        let Stored(manifest) = row.get(3)?;
        let extra: Vec<u8> = row.get(6)?;
        let record = MountRecord {
            dir: OsString::from_vec(row.get(0)?).into(),
            identity: (!identity.is_empty()).then_some(identity),
            manifest,
            driver: row.get(4)?,
            writable: row.get(5)?,
            // A path contains no zero byte.
            extra: extra
                .split(|byte| *byte == 0)
                .filter(|path| !path.is_empty())
                .map(|path| OsStr::from_bytes(path).into())
                .collect(),
        };
        Ok(Row { record, boot: row.get(2)? })
    })?
    .collect()
}

pub(crate) fn forget(db: &Transaction<'_>, mount: &MountRecord) -> rusqlite::Result<bool> {
    db.prepare_cached("DELETE FROM mounts WHERE dir = ?1 AND identity = ?2")?
        .execute(params![mount.dir.as_os_str().as_bytes(), mount.identity.as_deref().unwrap_or_default()])
        .map(|count| count > 0)
}
