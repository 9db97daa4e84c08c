//! What tags and digests stood for upstream: the memory of a pull-through cache. The images may be here in part.

use crate::database::{Durability, Key, Nanos};
use crate::name::{descriptor_at, text_of};
use crate::{Error, Result, Store, repository};
use larder_core::{Descriptor, Digest, RepositoryName};
use rusqlite::{OptionalExtension as _, Row, Transaction, params};
use std::time::SystemTime;

/// What a tag or a digest of a repository stood for when upstream was asked last. Its document is in the store; the rest of the
/// image may come later. To a collection it is a name: what it reaches stays, until a policy gives it up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// Where.
    pub repository: RepositoryName,
    /// A tag or a digest.
    pub selector: String,
    /// What it stands for.
    pub descriptor: Descriptor,
    /// When upstream last said so.
    pub checked: SystemTime,
    /// When it was last used.
    pub used: SystemTime,
}

impl Store {
    /// What a tag or digest stood for: one indexed look-up.
    pub fn cached(&self, repository: &RepositoryName, selector: &str) -> Result<Option<Cached>> {
        self.database.read("look up a cached entry", |db| {
            db.prepare_cached(
                "SELECT repository, selector, descriptor, checked, used FROM cached
                 WHERE repository = ?1 AND selector = ?2",
            )?
            .query_row(params![repository.to_string(), selector], from_row)
            .optional()
        })
    }

    /// Remembers what upstream has just said. Refused with [`Error::Absent`] if the store does not hold the document.
    ///
    /// The repository holds what the entry stands for. What is below it is not held yet, even if the store has it: see
    /// [`Store::note_upstream`]; but what was released there before is so no more.
    pub fn set_cached(
        &self,
        repository: &RepositoryName,
        selector: &str,
        descriptor: &Descriptor,
    ) -> Result<()> {
        let (repository, now) = (repository.to_string(), self.now());
        let key = Key::from(&descriptor.digest);
        let held = self.database.write("remember a cached entry", Durability::Process, |db| {
            if !db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([key])? {
                return Ok(false);
            }
            db.prepare_cached(
                "INSERT OR REPLACE INTO cached (repository, selector, digest, descriptor, checked, used)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?5)",
            )?
            .execute(params![repository, selector, key, text_of(descriptor), now])?;
            repository::restore_below(db, &repository, &descriptor.digest)?;
            Ok(true)
        })?;
        if held { Ok(()) } else { Err(Error::Absent { digest: descriptor.digest }) }
    }

    /// Notes that upstream confirmed an entry just now. `false` if there is none.
    pub fn confirm_cached(&self, repository: &RepositoryName, selector: &str) -> Result<bool> {
        let now = self.now();
        self.database.write("confirm a cached entry", Durability::Process, |db| {
            db.prepare_cached("UPDATE cached SET checked = ?3 WHERE repository = ?1 AND selector = ?2")?
                .execute(params![repository.to_string(), selector, now])
                .map(|count| count > 0)
        })
    }

    /// Notes that entries are used now, in one transaction. Whoever uses a digest uses the entries of the repository that stand
    /// for it, and those of the indexes that list it: clients ask for a tag once and for what it stands for ever after.
    pub fn touch_cached(&self, entries: &[(RepositoryName, String)]) -> Result<()> {
        if entries.is_empty() {
            return Ok(());
        }
        let now = self.now();
        self.database.write("note a use", Durability::Process, |db| {
            let mut touch =
                db.prepare_cached("UPDATE cached SET used = ?3 WHERE repository = ?1 AND selector = ?2")?;
            let mut touch_by_digest = db.prepare_cached(
                "UPDATE cached SET used = ?3 WHERE repository = ?1 AND (digest = ?2 OR digest IN
                 (SELECT parent FROM edges WHERE child = ?2 AND relation = 0))",
            )?;
            for (repository, selector) in entries {
                match selector.parse::<Digest>() {
                    Ok(digest) => {
                        touch_by_digest.execute(params![repository.to_string(), Key::from(&digest), now])?
                    }
                    Err(_) => touch.execute(params![repository.to_string(), selector, now])?,
                };
            }
            Ok(())
        })
    }

    /// Forgets an entry. `false` if there is none.
    pub fn remove_cached(&self, repository: &RepositoryName, selector: &str) -> Result<bool> {
        self.database.write("forget a cached entry", Durability::Process, |db| {
            remove(db, &repository.to_string(), selector)
        })
    }

    /// All entries, sorted by repository and selector.
    pub fn all_cached(&self) -> Result<Vec<Cached>> {
        self.database.read("list cached entries", |db| {
            db.prepare_cached(
                "SELECT repository, selector, descriptor, checked, used FROM cached ORDER BY repository, selector",
            )?
            .query_map([], from_row)?
            .collect()
        })
    }

    /// Notes that upstream has just let anybody read a repository.
    pub fn note_public(&self, repository: &RepositoryName) -> Result<()> {
        let now = self.now();
        self.database.write("note a public repository", Durability::Process, |db| {
            db.prepare_cached("INSERT OR REPLACE INTO public (repository, since) VALUES (?1, ?2)")?
                .execute(params![repository.to_string(), now])?;
            Ok(())
        })
    }

    /// When upstream last let anybody read a repository.
    pub fn public_since(&self, repository: &RepositoryName) -> Result<Option<SystemTime>> {
        self.database.read("look up a public repository", |db| {
            db.prepare_cached("SELECT since FROM public WHERE repository = ?1")?
                .query_row([repository.to_string()], |row| row.get::<_, Nanos>(0))
                .optional()
                .map(|since| since.map(SystemTime::from))
        })
    }

    /// Notes that upstream does not let everybody read a repository.
    pub fn forget_public(&self, repository: &RepositoryName) -> Result<()> {
        self.database.write("forget a public repository", Durability::Disk, |db| {
            db.prepare_cached("DELETE FROM public WHERE repository = ?1")?
                .execute([repository.to_string()])?;
            Ok(())
        })
    }
}

fn from_row(row: &Row<'_>) -> rusqlite::Result<Cached> {
    Ok(Cached {
        repository: repository::at(row, 0)?,
        selector: row.get(1)?,
        descriptor: descriptor_at(row, 2)?,
        checked: row.get::<_, Nanos>(3)?.into(),
        used: row.get::<_, Nanos>(4)?.into(),
    })
}

pub(crate) fn remove(db: &Transaction<'_>, repository: &str, selector: &str) -> rusqlite::Result<bool> {
    db.prepare_cached("DELETE FROM cached WHERE repository = ?1 AND selector = ?2")?
        .execute([repository, selector])
        .map(|count| count > 0)
}

/// Drops the entries that stand for a document that is gone for good.
pub(crate) fn forget(db: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM cached WHERE digest = ?1")?.execute([Key::from(digest)])?;
    Ok(())
}
