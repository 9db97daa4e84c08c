//! Names: what references stand for.

use crate::database::{Durability, Key, Nanos};
use crate::{Error, Result, Store, index};
use larder_core::{Descriptor, Digest, Reference};
use rusqlite::types::Type;
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use std::time::SystemTime;

/// A name and what it stands for. Everything reachable from it stays in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Name {
    /// The name.
    pub reference: Reference,
    /// What it stands for.
    pub descriptor: Descriptor,
    /// When it was given this meaning.
    pub updated: SystemTime,
    /// When upstream last said the same.
    pub checked: SystemTime,
    /// When it was last used.
    pub last_used: SystemTime,
    /// Whether no policy may remove it.
    pub pinned: bool,
}

impl Store {
    /// What a name stands for: one indexed lookup.
    pub fn name(&self, reference: &Reference) -> Result<Option<Name>> {
        self.database.read("look up a name", |db| {
            db.prepare_cached(ONE)?.query_row([reference.to_string()], from_row).optional()
        })
    }

    /// All names, sorted by reference.
    pub fn names(&self) -> Result<Vec<Name>> {
        self.database.read("list names", |db| db.prepare_cached(ALL)?.query_map([], from_row)?.collect())
    }

    /// The names that stand for `digest` itself, sorted.
    pub fn names_of(&self, digest: &Digest) -> Result<Vec<Reference>> {
        self.database.read("look up names", |db| {
            db.prepare_cached("SELECT reference FROM names WHERE digest = ?1 ORDER BY reference")?
                .query_map([Key::from(digest)], |row| reference_at(row, 0))?
                .collect()
        })
    }

    /// Gives a name its meaning. Survives a power cut once it returns. The index files follow with the next
    /// [`Store::flush`]. Refused with [`Error::Absent`] if the store does not hold what it should stand for.
    pub fn set_name(&self, reference: &Reference, descriptor: &Descriptor) -> Result<()> {
        let now = self.now();
        let text = serde_json::to_string(descriptor).expect("a descriptor is plain strings and numbers");
        let key = Key::from(&descriptor.digest);
        let held = self.database.write("set a name", Durability::Disk, |db| {
            if !db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([key])? {
                return Ok(false);
            }
            let name = reference.to_string();
            let same = db
                .prepare_cached(
                    "UPDATE names SET checked = ?3, used = ?3 WHERE reference = ?1 AND descriptor = ?2",
                )?
                .execute(params![name, text, now])?;
            if same == 0 {
                db.prepare_cached(
                    "INSERT INTO names (reference, digest, descriptor, updated, checked, used, pinned)
                     VALUES (?1, ?2, ?3, ?4, ?4, ?4, 0) ON CONFLICT (reference) DO UPDATE
                     SET digest = ?2, descriptor = ?3, updated = ?4, checked = ?4, used = ?4",
                )?
                .execute(params![name, key, text, now])?;
                index::changed(db)?;
            }
            Ok(true)
        })?;
        if held { Ok(()) } else { Err(Error::Absent { digest: descriptor.digest }) }
    }

    /// Notes that upstream confirmed the name just now. `false` if there is no such name.
    pub fn confirm_name(&self, reference: &Reference) -> Result<bool> {
        let now = self.now();
        self.database.write("confirm a name", Durability::Process, |db| {
            db.prepare_cached("UPDATE names SET checked = ?2 WHERE reference = ?1")?
                .execute(params![reference.to_string(), now])
                .map(|count| count > 0)
        })
    }

    /// Removes a name; what it stood for goes with the next collection. `false` if there is no such name.
    pub fn remove_name(&self, reference: &Reference) -> Result<bool> {
        self.database.write("remove a name", Durability::Disk, |db| forget(db, &reference.to_string()))
    }

    /// Protects a name from every policy, or stops protecting it. `false` if there is no such name.
    pub fn pin(&self, reference: &Reference, pinned: bool) -> Result<bool> {
        self.database.write("pin a name", Durability::Disk, |db| {
            let count = db
                .prepare_cached("UPDATE names SET pinned = ?2 WHERE reference = ?1")?
                .execute(params![reference.to_string(), pinned])?;
            if count > 0 {
                index::changed(db)?;
            }
            Ok(count > 0)
        })
    }
}

pub(crate) fn forget(db: &Transaction<'_>, reference: &str) -> rusqlite::Result<bool> {
    let count = db.prepare_cached("DELETE FROM names WHERE reference = ?1")?.execute([reference])?;
    if count > 0 {
        index::changed(db)?;
    }
    Ok(count > 0)
}

pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Name> {
    let descriptor: String = row.get(1)?;
    let descriptor = serde_json::from_str(&descriptor)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error)))?;
    Ok(Name {
        reference: reference_at(row, 0)?,
        descriptor,
        updated: row.get::<_, Nanos>(2)?.into(),
        checked: row.get::<_, Nanos>(3)?.into(),
        last_used: row.get::<_, Nanos>(4)?.into(),
        pinned: row.get(5)?,
    })
}

pub(crate) fn reference_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Reference> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error: larder_core::Error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

const ONE: &str =
    "SELECT reference, descriptor, updated, checked, used, pinned FROM names WHERE reference = ?1";
/// To be read with [`from_row`].
pub(crate) const ALL: &str =
    "SELECT reference, descriptor, updated, checked, used, pinned FROM names ORDER BY reference";
