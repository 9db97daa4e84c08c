//! What one repository shows: the question whether it holds a digest, and the ways to an answer.

use crate::database::{Key, Stored};
use larder_core::Digest;
use rusqlite::{CachedStatement, Connection, params};
use std::collections::HashSet;

/// Whether a repository holds a digest, see [`Store::holds`](crate::Store::holds).
pub(crate) fn holds(db: &Connection, repository: &str, digest: &Digest) -> rusqlite::Result<bool> {
    let mut view = View::of(db, repository)?;
    match view.standing(digest)? {
        Standing::Released => return Ok(false),
        Standing::Root | Standing::Held => return Ok(true),
        Standing::Unknown => {}
    }
    view.reaches(digest)
}

/// Whether something in a repository reaches a digest, so that it is not collected: also what a cached entry stands for.
pub(crate) fn keeps(db: &Connection, repository: &str, digest: &Digest) -> rusqlite::Result<bool> {
    let mut view = View { follows_cached: true, ..View::of(db, repository)? };
    match view.standing(digest)? {
        Standing::Root => Ok(true),
        _ => view.reaches(digest),
    }
}

/// Whether anything was removed from a repository.
pub(crate) fn has_released(db: &Connection, repository: &str) -> rusqlite::Result<bool> {
    // The planner takes the primary key for as good, and reads everything that the repository ever held.
    db.prepare_cached("SELECT 1 FROM held INDEXED BY held_removed WHERE repository = ?1 AND removed = 1")?
        .exists([repository])
}

/// One repository.
struct View<'a> {
    db: &'a Connection,
    repository: &'a str,
    standing: CachedStatement<'a>,
    /// Whether anything was removed from it. Most questions are answered before this is worth a look.
    has_released: bool,
    /// Whether what a cached entry stands for leads on to what it names.
    follows_cached: bool,
}

/// What a digest is to a repository by itself.
enum Standing {
    /// It was removed, and hides what is reachable through it.
    Released,
    /// A name given on this machine: what it reaches is held.
    Root,
    /// Pushed, a cached entry, or known to be there upstream: nothing follows from it.
    Held,
    /// Nothing.
    Unknown,
}

impl<'a> View<'a> {
    fn of(db: &'a Connection, repository: &'a str) -> rusqlite::Result<Self> {
        // This is asked with nearly every request. With `min` or `LIMIT` in it, SQLite would prepare it anew each time.
        let standing = db.prepare_cached(
            "SELECT (SELECT kind + ?3 * removed FROM held WHERE repository = ?1 AND digest = ?2),
                 EXISTS (SELECT 1 FROM names WHERE digest = ?2 AND repository = ?1 AND pushed = 0),
                 EXISTS (SELECT 1 FROM names WHERE digest = ?2 AND repository = ?1),
                 EXISTS (SELECT 1 FROM cached WHERE digest = ?2 AND repository = ?1)",
        )?;
        Ok(Self { db, repository, standing, has_released: true, follows_cached: false })
    }

    /// Whether something in the repository leads to a digest.
    fn reaches(&mut self, digest: &Digest) -> rusqlite::Result<bool> {
        // A layer may be shared by ten thousand images, and a repository may have ten thousand tags, but seldom both: look
        // from both ends in turns, each time a little farther, until one of them is through.
        let mut budget = 64;
        self.has_released = has_released(self.db, self.repository)?;
        loop {
            if let Some(held) = self.look_up(digest, budget)? {
                return Ok(held);
            }
            if let Some(held) = self.look_down(digest, budget)? {
                return Ok(held);
            }
            budget *= 8;
        }
    }

    fn standing(&mut self, digest: &Digest) -> rusqlite::Result<Standing> {
        let key = params![self.repository, Key::from(digest), REMOVED];
        let (held, given, named, cached): (Option<u8>, bool, bool, bool) =
            self.standing.query_row(key, |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?;
        Ok(match held {
            Some(REMOVED..) => Standing::Released,
            _ if given || cached && self.follows_cached => Standing::Root,
            None if !named && !cached => Standing::Unknown,
            _ => Standing::Held,
        })
    }

    /// From the digest to what points at it. `None` if it would take more than `budget` steps.
    fn look_up(&mut self, digest: &Digest, budget: usize) -> rusqlite::Result<Option<bool>> {
        let mut above = self.db.prepare_cached(
            "SELECT parent FROM edges WHERE child = ?1 AND relation = 0
             UNION ALL SELECT parent FROM edges WHERE child = ?1 AND relation = 1
                 AND NOT EXISTS (SELECT 1 FROM held WHERE digest = ?1)",
        )?;
        let mut walk = Walk::from([*digest], budget);
        while let Some(digest) = walk.open.pop() {
            let mut rows = above.query([Key::from(&digest)])?;
            while let Some(row) = rows.next()? {
                let Stored(parent) = row.get(0)?;
                if !walk.step() {
                    return Ok(None);
                }
                if !walk.seen.insert(parent) {
                    continue;
                }
                match self.standing(&parent)? {
                    Standing::Root => return Ok(Some(true)),
                    Standing::Released => {}
                    Standing::Held | Standing::Unknown => walk.open.push(parent),
                }
            }
        }
        Ok(Some(false))
    }

    /// From everything in the repository to the digest. `None` if it would take more than `budget` steps.
    fn look_down(&mut self, digest: &Digest, budget: usize) -> rusqlite::Result<Option<bool>> {
        let mut roots = self.db.prepare_cached(
            "SELECT digest FROM names WHERE repository = ?1 AND pushed = 0
             UNION ALL SELECT digest FROM cached WHERE repository = ?1 AND ?2",
        )?;
        let mut below = self.db.prepare_cached(
            "SELECT child FROM edges WHERE parent = ?1
             AND (relation = 0 OR NOT EXISTS (SELECT 1 FROM held WHERE held.digest = edges.child))",
        )?;
        let mut walk = Walk::from([], budget);
        let mut rows = roots.query(params![self.repository, self.follows_cached])?;
        while let Some(row) = rows.next()? {
            let Stored(root) = row.get(0)?;
            if !walk.step() {
                return Ok(None);
            }
            if walk.seen.insert(root) {
                walk.open.push(root);
            }
        }
        while let Some(parent) = walk.open.pop() {
            if self.has_released && matches!(self.standing(&parent)?, Standing::Released) {
                continue;
            }
            if parent == *digest {
                return Ok(Some(true));
            }
            let mut rows = below.query([Key::from(&parent)])?;
            while let Some(row) = rows.next()? {
                let Stored(child) = row.get(0)?;
                if !walk.step() {
                    return Ok(None);
                }
                if walk.seen.insert(child) {
                    walk.open.push(child);
                }
            }
        }
        Ok(Some(false))
    }
}

/// A walk that may not take for ever.
struct Walk {
    open: Vec<Digest>,
    seen: HashSet<Digest>,
    left: usize,
}

impl Walk {
    fn from(start: impl IntoIterator<Item = Digest>, budget: usize) -> Self {
        let open: Vec<Digest> = start.into_iter().collect();
        Self { seen: open.iter().copied().collect(), open, left: budget }
    }

    fn step(&mut self) -> bool {
        match self.left.checked_sub(1) {
            Some(left) => {
                self.left = left;
                true
            }
            None => false,
        }
    }
}

/// More than every kind.
const REMOVED: u8 = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{checksum, schema};
    use rusqlite::StatementStatus;

    #[test]
    fn the_question_is_prepared_once() {
        let mut db = Connection::open_in_memory().unwrap();
        checksum::register(&db).unwrap();
        let change = db.transaction().unwrap();
        schema::declare(&change).unwrap();
        change.commit().unwrap();
        for text in [b"one", b"two", b"two"] {
            assert!(!holds(&db, "localhost/app", &Digest::of(text)).unwrap());
        }
        let view = View::of(&db, "localhost/app").unwrap();
        assert_eq!(view.standing.get_status(StatementStatus::RePrepare), 0);
        assert_eq!(view.standing.get_status(StatementStatus::Run), 3);
    }
}
