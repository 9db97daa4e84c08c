//! Repositories: which of them holds what. Bytes are stored once, but whoever may read one repository must not read another
//! through it.

use crate::cached;
use crate::database::{Durability, Key, Nanos, Stored};
use crate::name::{self, repository_in};
use crate::view::{self, has_released, holds};
use crate::{Error, Result, Store, index};
use larder_core::{Descriptor, Digest, Reference, RepositoryName, Tag};
use rusqlite::types::Type;
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::collections::HashSet;

/// As what something was put into a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HeldKind {
    /// A manifest or an index: kept until it is released, with all it points at.
    Manifest,
    /// Anything else: kept as long as a manifest points at it, and at first for [`GcPlan::upload_grace`](crate::GcPlan).
    Blob,
}

impl Store {
    /// Records that something was put into a repository: it can be read there from now on, even if it was released before.
    /// Survives a power cut once it returns. Refused with [`Error::Absent`] if the store does not hold the bytes: put them
    /// under a lease before, and keep it until this returns.
    ///
    /// What a manifest points at does not become readable by this: naming a digest must not be enough to read it. See
    /// [`Store::hold_below`].
    pub fn hold(&self, repository: &RepositoryName, digest: &Digest, kind: HeldKind) -> Result<()> {
        let (repository, now) = (repository.to_string(), self.now());
        let known = self.database.write("put something into a repository", Durability::Disk, |db| {
            if !db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([Key::from(digest)])? {
                return Ok(false);
            }
            hold(db, &repository, digest, kind, now.0)?;
            Ok(true)
        })?;
        if known { Ok(()) } else { Err(Error::Absent { digest: *digest }) }
    }

    /// Puts into a repository by themselves those of the things below a manifest that it holds already, by whatever way, so that
    /// they stay readable there when that way is gone. What it does not hold stays unreadable: a manifest that was pushed
    /// opens nothing that it names.
    pub fn hold_below(&self, repository: &RepositoryName, manifest: &Digest) -> Result<()> {
        let (repository, now) = (repository.to_string(), self.now());
        self.database.write("put parts into a repository", Durability::Process, |db| {
            let mut below =
                db.prepare_cached("SELECT child FROM edges WHERE parent = ?1 AND relation = 0")?;
            let mut own = db
                .prepare_cached("SELECT 1 FROM held WHERE repository = ?1 AND digest = ?2 AND removed = 0")?;
            let mut seen = HashSet::from([*manifest]);
            let mut open = vec![*manifest];
            while let Some(parent) = open.pop() {
                let children = below
                    .query_map([Key::from(&parent)], |row| row.get::<_, Stored>(0))?
                    .collect::<rusqlite::Result<Vec<_>>>()?;
                for Stored(child) in children {
                    if !seen.insert(child) || !holds(db, &repository, &child)? {
                        continue;
                    }
                    if !own.exists(params![repository, Key::from(&child)])? {
                        hold(db, &repository, &child, HeldKind::Blob, now.0)?;
                    }
                    open.push(child);
                }
            }
            Ok(())
        })
    }

    /// Notes that the upstream of a repository has something there: it can be read there from now on, even if it was released
    /// before. That alone keeps nothing from being collected; returned is whether something in the repository reaches it, so
    /// that it stays.
    ///
    /// What a cached manifest names is readable only after this was said of it: it may have come from another upstream, or for
    /// another repository, and naming a digest must not be enough to read it.
    pub fn note_upstream(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool> {
        let (repository, now) = (repository.to_string(), self.now());
        self.database.write("note what upstream has", Durability::Process, |db| {
            db.prepare_cached(
                "INSERT INTO held (repository, digest, kind, added, removed) VALUES (?1, ?2, ?3, ?4, 0)
                 ON CONFLICT (repository, digest) DO UPDATE
                 SET kind = CASE removed WHEN 1 THEN ?3 ELSE kind END, removed = 0",
            )?
            .execute(params![repository, Key::from(digest), UPSTREAM, now])?;
            view::keeps(db, &repository, digest)
        })
    }

    /// Whether a repository holds a digest: it was put there, is known to be there upstream, stands as a cached entry, or is
    /// reachable from a name that was given on this machine; and it was not released since. What clients pushed holds nothing
    /// but what they pushed. This is about who may read; whether the bytes are there is another question.
    ///
    /// What is attached to something counts as reachable from it, unless it was pushed: pushing into one repository attaches
    /// nothing to the images of others.
    ///
    /// A few indexed look-ups. Where an image has many relatives, it is looked for from both ends, and the shorter way counts.
    pub fn holds(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool> {
        let repository = repository.to_string();
        self.database.snapshot("look into a repository", |db| holds(db, &repository, digest))
    }

    /// Removes something from one repository; the others are as they were. It stays gone there, whatever else of the
    /// repository reaches it, until somebody puts it there again. Tags of the repository that stand for it go with it. The
    /// bytes go with the next collection that finds nobody needing them. `false` if the repository did not hold it.
    pub fn release(&self, repository: &RepositoryName, digest: &Digest) -> Result<bool> {
        let (repository, now) = (repository.to_string(), self.now());
        self.database.write("remove something from a repository", Durability::Disk, |db| {
            if !holds(db, &repository, digest)? {
                return Ok(false);
            }
            let key = Key::from(digest);
            db.prepare_cached(
                "INSERT INTO held (repository, digest, kind, added, removed) VALUES (?1, ?2, ?3, ?4, 1)
                 ON CONFLICT (repository, digest) DO UPDATE SET removed = 1",
            )?
            .execute(params![repository, key, HeldKind::Blob.code(), now])?;
            let names = db
                .prepare_cached("DELETE FROM names WHERE digest = ?2 AND repository = ?1")?
                .execute(params![repository, key])?;
            db.prepare_cached("DELETE FROM cached WHERE digest = ?2 AND repository = ?1")?
                .execute(params![repository, key])?;
            if names > 0 {
                index::changed(db)?;
            }
            Ok(true)
        })
    }

    /// The tags of a repository — names and cached ones — in the order of their bytes, after `after`, at most `limit`.
    pub fn tags(&self, repository: &RepositoryName, after: Option<&str>, limit: usize) -> Result<Vec<Tag>> {
        let repository = repository.to_string();
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let after = after.unwrap_or_default();
        self.database.snapshot("list tags", |db| {
            // Names are sorted, and ';' is the byte after ':'.
            let (first, end) = (format!("{repository}:{after}"), format!("{repository};"));
            let mut tags: Vec<String> = db
                .prepare_cached(
                    "SELECT substr(reference, length(?3) + 2) FROM names
                     WHERE reference > ?1 AND reference < ?2 AND instr(reference, '@') = 0 ORDER BY reference LIMIT ?4",
                )?
                .query_map(params![first, end, repository, limit], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            // Digests have a colon, tags have none.
            let cached = db
                .prepare_cached(
                    "SELECT selector FROM cached WHERE repository = ?1 AND selector > ?2 AND instr(selector, ':') = 0
                     ORDER BY selector LIMIT ?3",
                )?
                .query_map(params![repository, after, limit], |row| row.get(0))?
                .collect::<rusqlite::Result<Vec<String>>>()?;
            tags.extend(cached);
            tags.sort_unstable();
            tags.dedup();
            tags.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
            tags.iter().map(|tag| Tag::new(tag).map_err(|error| unreadable(0, error))).collect()
        })
    }

    /// The repositories that hold a manifest, in the order of their bytes, after `after`, at most `limit`.
    pub fn repositories(&self, after: Option<&str>, limit: usize) -> Result<Vec<RepositoryName>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut found: Vec<String> = Vec::new();
        self.database.snapshot("list repositories", |db| {
            let mut next = db.prepare_cached(
                "SELECT min(repository) FROM (
                     SELECT min(repository) AS repository FROM names WHERE repository > ?1
                     UNION ALL SELECT min(repository) FROM cached WHERE repository > ?1
                     UNION ALL SELECT min(repository) FROM held WHERE repository > ?1 AND kind = 0 AND removed = 0)",
            )?;
            let mut at = after.unwrap_or_default().to_owned();
            while i64::try_from(found.len()).is_ok_and(|count| count < limit) {
                let Some(repository) = next.query_row([&at], |row| row.get::<_, Option<String>>(0))? else {
                    break;
                };
                at.clone_from(&repository);
                found.push(repository);
            }
            found.iter().map(|text| text.parse().map_err(|error| unreadable(0, error))).collect()
        })
    }

    /// Some repositories that `digest` itself was put into, at most `limit`.
    pub fn holders(&self, digest: &Digest, limit: usize) -> Result<Vec<RepositoryName>> {
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        self.database.read("look for holders", |db| {
            db.prepare_cached(
                "SELECT repository FROM held WHERE digest = ?1 AND removed = 0 AND kind <> ?3 LIMIT ?2",
            )?
            .query_map(params![Key::from(digest), limit, UPSTREAM], |row| at(row, 0))?
            .collect()
        })
    }

    /// Whether anything was ever put into a repository, or is known of it.
    pub fn has_repository(&self, repository: &RepositoryName) -> Result<bool> {
        self.database.read("look for a repository", |db| {
            db.prepare_cached(
                "SELECT 1 FROM names WHERE repository = ?1 UNION ALL SELECT 1 FROM cached WHERE repository = ?1
                 UNION ALL SELECT 1 FROM held WHERE repository = ?1 LIMIT 1",
            )?
            .exists([repository.to_string()])
        })
    }

    /// What is attached to `subject` and held by the repository, as the distribution API lists it. Sorted by digest.
    pub fn referrers_in(&self, repository: &RepositoryName, subject: &Digest) -> Result<Vec<Descriptor>> {
        let text = repository.to_string();
        let mut attached = self.attached(subject)?;
        self.database.snapshot("look into a repository", |db| {
            let mut held = Vec::new();
            for digest in attached.drain(..) {
                if holds(db, &text, &digest)? {
                    held.push(digest);
                }
            }
            attached = held;
            Ok(())
        })?;
        self.describe(&attached)
    }

    /// Like [`Store::set_name`], for a name that was pushed: no policy removes it, and its repository holds the manifest.
    pub fn set_pushed(&self, reference: &Reference, descriptor: &Descriptor) -> Result<()> {
        self.set_pushed_if(std::slice::from_ref(reference), descriptor, |_, _| true).map(drop)
    }

    /// The same for several names of one repository at once, if what each (by its place) stands for now is acceptable. Returns
    /// what they stood for, or `None` if nothing was done. It is one transaction: either all of them move or none, and of several
    /// who expect the same, one succeeds.
    pub fn set_pushed_if(
        &self,
        references: &[Reference],
        descriptor: &Descriptor,
        acceptable: impl Fn(usize, Option<&Digest>) -> bool,
    ) -> Result<Option<Vec<Option<Digest>>>> {
        let now = self.now();
        let moved = self.database.write("set pushed names", Durability::Disk, |db| {
            let mut earlier = Vec::new();
            for (at, reference) in references.iter().enumerate() {
                let current = db
                    .prepare_cached("SELECT digest FROM names WHERE reference = ?1")?
                    .query_row([reference.to_string()], |row| {
                        row.get::<_, Stored>(0).map(|Stored(digest)| digest)
                    })
                    .optional()?;
                if !acceptable(at, current.as_ref()) {
                    return Ok(Moved::Unacceptable);
                }
                earlier.push(current);
            }
            for reference in references {
                // The first of them tells; then nothing was written yet.
                if !name::set(db, reference, descriptor, now, true)? {
                    return Ok(Moved::Absent);
                }
                let text = reference.to_string();
                hold(db, repository_in(&text), &descriptor.digest, HeldKind::Manifest, now.0)?;
            }
            Ok(Moved::From(earlier))
        })?;
        match moved {
            Moved::From(earlier) => Ok(Some(earlier)),
            Moved::Unacceptable => Ok(None),
            Moved::Absent => Err(Error::Absent { digest: descriptor.digest }),
        }
    }
}

enum Moved {
    From(Vec<Option<Digest>>),
    Unacceptable,
    Absent,
}

/// The repository in a row.
pub(crate) fn at(row: &rusqlite::Row<'_>, column: usize) -> rusqlite::Result<RepositoryName> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error| unreadable(column, error))
}

fn unreadable(column: usize, error: larder_core::Error) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
}

fn hold(
    db: &Transaction<'_>,
    repository: &str,
    digest: &Digest,
    kind: HeldKind,
    now: i64,
) -> rusqlite::Result<()> {
    // What was put as a manifest stays one, also if somebody puts the same bytes as a blob.
    db.prepare_cached(
        "INSERT INTO held (repository, digest, kind, added, removed) VALUES (?1, ?2, ?3, ?4, 0)
         ON CONFLICT (repository, digest) DO UPDATE
         SET kind = CASE removed WHEN 1 THEN ?3 ELSE min(kind, ?3) END, added = ?4, removed = 0",
    )?
    .execute(params![repository, Key::from(digest), kind.code(), now])?;
    Ok(())
}

/// Where it was lost what repositories hold: an image that was pushed is in its repository with all its parts, since it could not
/// have been pushed otherwise.
pub(crate) fn hold_again(db: &Transaction<'_>, now: Nanos) -> rusqlite::Result<()> {
    let mut insert = db.prepare(
        "INSERT OR IGNORE INTO held (repository, digest, kind, added, removed) VALUES (?1, ?2, ?3, ?4, 0)",
    )?;
    let mut below = db.prepare("SELECT child FROM edges WHERE parent = ?1 AND relation = 0")?;
    let mut names = db.prepare("SELECT repository, digest FROM names WHERE pushed = 1")?;
    let mut rows = names.query([])?;
    while let Some(row) = rows.next()? {
        let (repository, Stored(root)) = (row.get::<_, String>(0)?, row.get(1)?);
        let mut seen = HashSet::from([root]);
        let mut open = vec![(root, HeldKind::Manifest)];
        while let Some((digest, kind)) = open.pop() {
            insert.execute(params![repository, Key::from(&digest), kind.code(), now])?;
            let children = below
                .query_map([Key::from(&digest)], |row| row.get(0).map(|Stored(child)| child))?
                .collect::<rusqlite::Result<Vec<_>>>()?;
            open.extend(
                children.into_iter().filter(|child| seen.insert(*child)).map(|child| (child, HeldKind::Blob)),
            );
        }
    }
    Ok(())
}

/// Makes what was released readable again, from `digest` downwards.
pub(crate) fn restore_below(db: &Transaction<'_>, repository: &str, digest: &Digest) -> rusqlite::Result<()> {
    if !has_released(db, repository)? {
        return Ok(());
    }
    let mut restore =
        db.prepare_cached("DELETE FROM held WHERE repository = ?1 AND digest = ?2 AND removed = 1")?;
    let mut below = db.prepare_cached("SELECT child FROM edges WHERE parent = ?1 AND relation = 0")?;
    let mut seen = HashSet::from([*digest]);
    let mut open = vec![*digest];
    while let Some(digest) = open.pop() {
        let key = Key::from(&digest);
        restore.execute(params![repository, key])?;
        let mut rows = below.query([key])?;
        while let Some(row) = rows.next()? {
            let Stored(child) = row.get(0)?;
            if seen.insert(child) {
                open.push(child);
            }
        }
    }
    Ok(())
}

/// Drops what repositories know about a blob that is gone for good.
pub(crate) fn forget(db: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<()> {
    db.prepare_cached("DELETE FROM held WHERE digest = ?1")?.execute([Key::from(digest)])?;
    cached::forget(db, digest)
}

/// FORMAT: the kind of a row that says only that upstream has it there.
pub(crate) const UPSTREAM: u8 = 2;

impl HeldKind {
    /// FORMAT: the number in a row.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Manifest => 0,
            Self::Blob => 1,
        }
    }
}
