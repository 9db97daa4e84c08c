//! Things made from blobs — unpacked layers, disk images — that can be made again, and so need not survive a power cut.

use crate::database::{Durability, Key, Nanos, Stored, stored_size};
use crate::{Error, Result, Store, layout, lock};
use larder_core::Digest;
use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A part of the store where derived things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Area {
    /// `layers/`: what mounts need.
    Layers,
    /// `disks/`: disk images.
    Disks,
}

/// Names a derived thing. The name says everything that the content depends on, so that equal names mean equal content.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DerivedKey {
    /// Where.
    pub area: Area,
    /// `[A-Za-z0-9._-]+`, at most 200 characters, not starting with a dot.
    pub name: String,
}

/// A derived thing that is there and may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Derived {
    key: DerivedKey,
    path: PathBuf,
    size: u64,
    checksum: Option<Digest>,
}

/// What [`Store::begin_derived`] found.
#[derive(Debug)]
pub enum BeginDerived {
    /// It is there already.
    Exists(Derived),
    /// Another process or thread is making it. Ask again later.
    Busy,
    /// It is ours to make.
    Build(Building),
}

/// Exclusive right to make one derived thing. Dropped without [`Building::commit`], what was made is removed.
#[derive(Debug)]
pub struct Building {
    store: Store,
    key: DerivedKey,
    path: PathBuf,
    _lock: lock::Held,
}

/// What the store knows about a derived thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DerivedRow {
    /// Its name.
    pub key: DerivedKey,
    /// Bytes it takes.
    pub size: u64,
    /// What its content hashes to, where it is one file and somebody computed that.
    pub checksum: Option<Digest>,
    /// `false` if the machine was restarted since: it will be made again.
    pub trusted: bool,
    /// When it was made.
    pub created: SystemTime,
    /// When it was last used, to the minute.
    pub last_used: SystemTime,
    /// The manifests that use it.
    pub manifests: Vec<Digest>,
}

impl Store {
    /// A derived thing, if it is there and can be trusted: it was made since the machine started, because nothing was done to
    /// make it survive a power cut. Notes the use. While a lease is held through this handle the thing is under it, so it
    /// stays at least until the lease ends.
    pub fn derived(&self, key: &DerivedKey) -> Result<Option<Derived>> {
        key.check()?;
        let now = self.now();
        let row = match self.held_leases().as_slice() {
            [] => self.database.read("look up a derived thing", |db| self.lookup(db, key))?,
            leases => self.database.write("use a derived thing", Durability::Process, |db| {
                let row = self.lookup(db, key)?;
                if row.is_some() {
                    leases.iter().try_for_each(|lease| hold(db, &lease.id, key))?;
                }
                Ok(row)
            })?,
        };
        let Some((size, checksum, used)) = row else { return Ok(None) };
        let path = self.layout.derived(key.area, &key.name);
        match fs::symlink_metadata(&path) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.database.write("drop a vanished thing", Durability::Process, |db| {
                    // Looked at again while nobody can write: a row seen now was written after its file.
                    if !path.exists() {
                        forget(db, key)?;
                    }
                    Ok(())
                })?;
                return Ok(None);
            }
            Err(error) => return Err(Error::io("read", path)(error)),
        }
        // A write per use would cost more than the use.
        if now.0.saturating_sub(used.0) >= USE_RESOLUTION.as_nanos() as i64 {
            self.database.write("note a use", Durability::Process, |db| {
                db.prepare_cached("UPDATE derived SET used = ?3 WHERE area = ?1 AND name = ?2")?
                    .execute(params![key.area.code(), key.name, now])
            })?;
        }
        Ok(Some(Derived { key: key.clone(), path, size, checksum }))
    }

    /// Starts making a derived thing. What is there but cannot be trusted is removed first.
    pub fn begin_derived(&self, key: &DerivedKey) -> Result<BeginDerived> {
        if let Some(derived) = self.derived(key)? {
            return Ok(BeginDerived::Exists(derived));
        }
        let lock_path = self.layout.building_lock(key.area, &key.name);
        let Some(lock) = lock::try_own(&lock_path).map_err(Error::io("open", &lock_path))? else {
            return Ok(BeginDerived::Busy);
        };
        // Whoever made it until now may have finished.
        if let Some(derived) = self.derived(key)? {
            layout::remove(&lock_path)?;
            return Ok(BeginDerived::Exists(derived));
        }
        let path = self.layout.building(key.area, &key.name);
        let building = Building { store: self.clone(), key: key.clone(), path, _lock: lock };
        // The row goes before the bytes, so that a half-removed thing is never trusted.
        self.database.write("drop an outdated thing", Durability::Process, |db| forget_row(db, key))?;
        layout::remove(&self.layout.derived(key.area, &key.name))?;
        layout::remove(&building.path)?;
        Ok(BeginDerived::Build(building))
    }

    /// Keeps a derived thing as long as `manifest` lives, or is mounted.
    pub fn use_derived(&self, key: &DerivedKey, manifest: &Digest) -> Result<()> {
        key.check()?;
        let used = self.database.write("use a derived thing", Durability::Process, |db| {
            db.prepare_cached(
                "INSERT INTO derived_uses (area, name, manifest)
                 SELECT area, name, ?3 FROM derived WHERE area = ?1 AND name = ?2 ON CONFLICT DO NOTHING",
            )?
            .execute(params![key.area.code(), key.name, Key::from(manifest)])?;
            db.prepare_cached("SELECT 1 FROM derived WHERE area = ?1 AND name = ?2")?
                .exists(params![key.area.code(), key.name])
        })?;
        if used { Ok(()) } else { Err(Error::NotDerived { name: key.to_string() }) }
    }

    /// Everything derived, sorted by area and name.
    pub fn derived_list(&self) -> Result<Vec<DerivedRow>> {
        self.database.snapshot("list derived things", |db| {
            let mut uses = db.prepare_cached(
                "SELECT manifest FROM derived_uses WHERE area = ?1 AND name = ?2 ORDER BY manifest",
            )?;
            db.prepare_cached(
                "SELECT area, name, size, checksum, boot, created, used FROM derived ORDER BY area, name",
            )?
            .query_map([], |row| {
                let key = DerivedKey { area: Area::from_code(row.get(0)?), name: row.get(1)? };
                let manifests = uses
                    .query_map(params![key.area.code(), key.name], |row| row.get::<_, Stored>(0))?
                    .map(|digest| digest.map(|Stored(digest)| digest))
                    .collect::<rusqlite::Result<_>>()?;
                Ok(DerivedRow {
                    key,
                    size: row.get(2)?,
                    checksum: row.get::<_, Option<Stored>>(3)?.map(|Stored(digest)| digest),
                    trusted: row.get::<_, String>(4)? == self.options.boot_id,
                    created: row.get::<_, Nanos>(5)?.into(),
                    last_used: row.get::<_, Nanos>(6)?.into(),
                    manifests,
                })
            })?
            .collect()
        })
    }

    /// Removes a derived thing, whoever uses it; a mount of it must be gone. `false` if it is not there.
    pub fn remove_derived(&self, key: &DerivedKey) -> Result<bool> {
        key.check()?;
        let _no_commit = lock::sweep(&self.layout)?;
        let known =
            self.database.write("remove a derived thing", Durability::Process, |db| forget(db, key))?;
        layout::remove(&self.layout.derived(key.area, &key.name))?;
        Ok(known)
    }

    fn lookup(
        &self,
        db: &Connection,
        key: &DerivedKey,
    ) -> rusqlite::Result<Option<(u64, Option<Digest>, Nanos)>> {
        db.prepare_cached(
            "SELECT size, checksum, used FROM derived WHERE area = ?1 AND name = ?2 AND boot = ?3",
        )?
        .query_row(params![key.area.code(), key.name, self.options.boot_id], |row| {
            let checksum = row.get::<_, Option<Stored>>(1)?.map(|Stored(digest)| digest);
            Ok((row.get(0)?, checksum, row.get(2)?))
        })
        .optional()
    }
}

impl Building {
    /// Where to make it: nothing is there yet; create a file or a directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is being made.
    pub fn key(&self) -> &DerivedKey {
        &self.key
    }

    /// Puts the thing in its place. `size` is what it takes on disk, in bytes; `checksum` is what a single file hashes to,
    /// checked by [`Store::verify`]. The thing is under every lease held through this handle of the store.
    pub fn commit(self, size: u64, checksum: Option<Digest>) -> Result<Derived> {
        let (store, key) = (&self.store, &self.key);
        let path = store.layout.derived(key.area, &key.name);
        let now = store.now();
        let leases = store.held_leases();
        // A sweep between the rename and the row would take it for an orphan.
        let _no_sweep = lock::commit(&store.layout)?;
        fs::rename(&self.path, &path).map_err(Error::io("rename", &self.path))?;
        store.database.write("record a derived thing", Durability::Process, |db| {
            db.prepare_cached(
                "INSERT OR REPLACE INTO derived (area, name, size, checksum, boot, created, used)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?6)",
            )?
            .execute(params![
                key.area.code(),
                key.name,
                stored_size(size),
                checksum.as_ref().map(Key::from),
                store.options.boot_id,
                now
            ])?;
            leases.iter().try_for_each(|lease| hold(db, &lease.id, key))
        })?;
        Ok(Derived { key: key.clone(), path, size, checksum })
    }
}

impl Drop for Building {
    fn drop(&mut self) {
        // The lock is still ours, so are both paths. After a commit the first one is gone already.
        let _ = layout::remove(&self.path);
        let _ = layout::remove(&self.store.layout.building_lock(self.key.area, &self.key.name));
    }
}

impl Derived {
    /// Its name.
    pub fn key(&self) -> &DerivedKey {
        &self.key
    }

    /// The file or directory. Never write there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Bytes it takes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// What its content hashes to, where that is known.
    pub fn checksum(&self) -> Option<&Digest> {
        self.checksum.as_ref()
    }
}

impl DerivedKey {
    /// A key. The name is checked where the key is used.
    pub fn new(area: Area, name: impl Into<String>) -> Self {
        Self { area, name: name.into() }
    }

    fn check(&self) -> Result<()> {
        let ok = (1..=200).contains(&self.name.len())
            && !self.name.starts_with('.')
            && self.name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
        if ok { Ok(()) } else { Err(Error::DerivedName { name: self.name.chars().take(200).collect() }) }
    }
}

impl std::fmt::Display for DerivedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.area.as_str(), self.name)
    }
}

impl Area {
    pub(crate) const ALL: [Self; 2] = [Self::Layers, Self::Disks];

    /// The name of the directory.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Layers => "layers",
            Self::Disks => "disks",
        }
    }

    /// FORMAT: the number in a row.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Layers => 0,
            Self::Disks => 1,
        }
    }

    pub(crate) fn from_code(code: u8) -> Self {
        if code == 1 { Self::Disks } else { Self::Layers }
    }
}

/// Drops everything known about a derived thing. `false` if nothing was.
pub(crate) fn forget(db: &Transaction<'_>, key: &DerivedKey) -> rusqlite::Result<bool> {
    db.prepare_cached("DELETE FROM derived_uses WHERE area = ?1 AND name = ?2")?
        .execute(params![key.area.code(), key.name])?;
    forget_row(db, key)
}

/// Drops the row but remembers who uses the thing, which is about to be made again.
fn forget_row(db: &Transaction<'_>, key: &DerivedKey) -> rusqlite::Result<bool> {
    db.prepare_cached("DELETE FROM leased_derived WHERE area = ?1 AND name = ?2")?
        .execute(params![key.area.code(), key.name])?;
    db.prepare_cached("DELETE FROM derived WHERE area = ?1 AND name = ?2")?
        .execute(params![key.area.code(), key.name])
        .map(|count| count > 0)
}

fn hold(db: &Transaction<'_>, lease: &str, key: &DerivedKey) -> rusqlite::Result<()> {
    db.prepare_cached("INSERT OR IGNORE INTO leased_derived (lease, area, name) VALUES (?1, ?2, ?3)")?
        .execute(params![lease, key.area.code(), key.name])?;
    Ok(())
}

/// Last use of derived things is noted at most this often.
const USE_RESOLUTION: Duration = Duration::from_secs(60);
