//! Names: what references stand for.

use crate::database::{Durability, Key, Nanos};
use crate::{Error, Result, Store, index, repository};
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
    /// Whether it was pushed into this store, which may be the only one that has it: no policy may remove it.
    pub pushed: bool,
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
    ///
    /// Its repository holds what the name stands for, and all below it, even what was released there before.
    pub fn set_name(&self, reference: &Reference, descriptor: &Descriptor) -> Result<()> {
        let now = self.now();
        let held = self.database.write("set a name", Durability::Disk, |db| {
            if !set(db, reference, descriptor, now, false)? {
                return Ok(false);
            }
            repository::restore_below(db, repository_in(&reference.to_string()), &descriptor.digest)?;
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

/// Writes the row of a name. `false` if the store does not hold what it should stand for.
pub(crate) fn set(
    db: &Transaction<'_>,
    reference: &Reference,
    descriptor: &Descriptor,
    now: Nanos,
    pushed: bool,
) -> rusqlite::Result<bool> {
    let key = Key::from(&descriptor.digest);
    if !db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([key])? {
        return Ok(false);
    }
    let (name, text) = (reference.to_string(), text_of(descriptor));
    let same = db
        .prepare_cached(
            "UPDATE names SET checked = ?3, used = ?3 WHERE reference = ?1 AND descriptor = ?2 AND pushed >= ?4",
        )?
        .execute(params![name, text, now, pushed])?;
    if same == 0 {
        // Once pushed it stays so, whoever moves it.
        db.prepare_cached(
            "INSERT INTO names (reference, digest, descriptor, updated, checked, used, pinned, repository, pushed)
             VALUES (?1, ?2, ?3, ?4, ?4, ?4, 0, ?5, ?6) ON CONFLICT (reference) DO UPDATE
             SET digest = ?2, descriptor = ?3, updated = ?4, checked = ?4, used = ?4, pushed = max(pushed, ?6)",
        )?
        .execute(params![name, key, text, now, repository_in(&name), pushed])?;
        index::changed(db)?;
    }
    Ok(true)
}

/// FORMAT: a descriptor in a row is JSON.
pub(crate) fn text_of(descriptor: &Descriptor) -> String {
    serde_json::to_string(descriptor).expect("a descriptor is plain strings and numbers")
}

/// The other way.
pub(crate) fn descriptor_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Descriptor> {
    let text = row.get_ref(column)?.as_str()?;
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error)))
}

/// The repository of a reference that is written in full.
pub(crate) fn repository_in(reference: &str) -> &str {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    }
}

pub(crate) fn forget(db: &Transaction<'_>, reference: &str) -> rusqlite::Result<bool> {
    let count = db.prepare_cached("DELETE FROM names WHERE reference = ?1")?.execute([reference])?;
    if count > 0 {
        index::changed(db)?;
    }
    Ok(count > 0)
}

/// A row that is not what was written is an error, not another name.
pub(crate) fn from_row(row: &Row<'_>) -> rusqlite::Result<Name> {
    if !row.get::<_, bool>(7)? {
        let problem = "a name has another sum than its row says";
        return Err(rusqlite::Error::FromSqlConversionFailure(7, Type::Integer, problem.into()));
    }
    Ok(Name {
        reference: reference_at(row, 0)?,
        descriptor: descriptor_at(row, 1)?,
        updated: row.get::<_, Nanos>(2)?.into(),
        checked: row.get::<_, Nanos>(3)?.into(),
        last_used: row.get::<_, Nanos>(4)?.into(),
        pinned: row.get(5)?,
        pushed: row.get(6)?,
    })
}

pub(crate) fn reference_at(row: &Row<'_>, column: usize) -> rusqlite::Result<Reference> {
    let text: String = row.get(column)?;
    text.parse().map_err(|error: larder_core::Error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    })
}

/// To be read with [`from_row`].
macro_rules! names {
    ($rest:literal) => {
        concat!(
            "SELECT reference, descriptor, updated, checked, used, pinned, pushed, sum IS larder_sum('names', reference, ",
            "digest, descriptor, updated, checked, used, pinned, repository, pushed) FROM names ",
            $rest
        )
    };
}
const ONE: &str = names!("WHERE reference = ?1");
pub(crate) const ALL: &str = names!("ORDER BY reference");
