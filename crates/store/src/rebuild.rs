//! A database made from what is left: sound rows of the old one, the blobs, and the index files.

use crate::blob::{self, BlobKind};
use crate::database::{Key, Nanos, SIDES, checkpoint, connect, create_file, remove_with_sides, with_suffix};
use crate::document::{self, Edge};
use crate::index::{self, Entry};
use crate::layout::{self, Layout, digest_of_blob};
use crate::name::text_of;
use crate::salvage::{Rows, nothing, salvage};
use crate::verify::hash_all;
use crate::{Error, Result, repository, schema, wal};
use larder_core::{Algorithm, Digest, Document, Hasher, MANIFEST_LIMIT, MediaType};
use rusqlite::types::Value;
use rusqlite::{Transaction, params, params_from_iter};
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::PathBuf;

/// What the files of a store say. Nothing may be committed or collected while they are looked at and written down.
pub(crate) struct Files {
    /// Whole ones that no sound row knows.
    blobs: Vec<(Digest, u64)>,
    documents: Vec<(Digest, MediaType, Vec<Edge>)>,
    /// What documents say that their children are.
    kinds: Vec<(Digest, BlobKind)>,
    names: Vec<Entry>,
}

impl Files {
    /// Hashes the blobs that `rows` do not know, and reads all documents.
    pub(crate) fn look(layout: &Layout, rows: &[Rows]) -> Result<Self> {
        let names = index::entries(
            &fs::read(layout.index_json()).unwrap_or_default(),
            &String::from_utf8_lossy(&fs::read(layout.index_yaml()).unwrap_or_default()),
        );
        let known = known(rows);
        let blobs = whole(layout, &known)?;
        let mut files = Self { blobs, documents: Vec::new(), kinds: Vec::new(), names };
        files.read_documents(layout, known)?;
        Ok(files)
    }

    /// From the names downwards, since a document may not say itself what it is; then the rest.
    fn read_documents(&mut self, layout: &Layout, known: HashMap<Digest, Option<MediaType>>) -> Result<()> {
        let named =
            self.names.iter().map(|name| (name.descriptor.digest, Some(name.descriptor.media_type.clone())));
        let mut open: Vec<(Digest, Option<MediaType>)> =
            self.blobs.iter().map(|(digest, _)| (*digest, None)).chain(known).chain(named).collect();
        let mut seen = HashSet::new();
        while let Some((digest, media_type)) = open.pop() {
            if !seen.insert(digest) {
                continue;
            }
            let Some(raw) = read_json(layout, &digest)? else { continue };
            let Ok(document) = Document::parse(raw, media_type.as_ref()) else { continue };
            for child in document.manifest().children() {
                if let Some(kind) = BlobKind::of(&child.media_type) {
                    self.kinds.push((child.digest, kind));
                } else {
                    open.push((child.digest, Some(child.media_type.clone())));
                }
            }
            let edges = document::edges_of(&digest, &document);
            self.documents.push((digest, document.media_type().clone(), edges));
        }
        Ok(())
    }

    /// Fills empty tables.
    fn write(
        &self,
        db: &Transaction<'_>,
        layout: &Layout,
        rows: &[Rows],
        now: Nanos,
    ) -> rusqlite::Result<()> {
        for Rows { table, rows, .. } in rows {
            let places = vec!["?"; table.columns.len()].join(", ");
            let mut insert = db.prepare(&format!(
                "INSERT OR IGNORE INTO {} ({}) VALUES ({places})",
                table.name,
                table.column_names()
            ))?;
            for row in rows {
                insert.execute(params_from_iter(row))?;
            }
        }
        for (digest, size) in &self.blobs {
            blob::remember_new(db, &blob::at(layout, digest, *size), BlobKind::Other, now)?;
        }
        for (digest, media_type, edges) in &self.documents {
            let key = Key::from(digest);
            db.prepare_cached(
                "UPDATE blobs SET kind = ?2, media_type = coalesce(media_type, ?3) WHERE digest = ?1",
            )?
            .execute(params![key, BlobKind::Manifest.code(), media_type.as_str()])?;
            document::disconnect(db, key.as_bytes())?;
            document::connect(db, edges)?;
        }
        let mut classify = db.prepare("UPDATE blobs SET kind = ?2 WHERE digest = ?1 AND kind = ?3")?;
        for (digest, kind) in &self.kinds {
            classify.execute(params![Key::from(digest), kind.code(), BlobKind::Other.code()])?;
        }
        let is_complete = |name: &str| rows.iter().any(|rows| rows.table.name == name && rows.complete);
        if !is_complete("names") {
            self.write_names(db, now)?;
        }
        if !is_complete("held") || !is_complete("names") {
            repository::hold_again(db, now)?;
        }
        // The index files follow from the names, and not the other way round any more.
        db.execute_batch(
            "INSERT OR IGNORE INTO facts (key, value) VALUES ('names', 1);
             INSERT OR REPLACE INTO facts (key, value) VALUES ('index', 0);
             UPDATE facts SET value = value + 1 WHERE key = 'names';",
        )
    }

    fn write_names(&self, db: &Transaction<'_>, now: Nanos) -> rusqlite::Result<()> {
        // Upstream is asked before one of them counts as fresh.
        let mut insert = db.prepare(
            "INSERT OR IGNORE INTO names
             (reference, digest, descriptor, updated, checked, used, pinned, repository, pushed)
             VALUES (?1, ?2, ?3, ?4, 0, ?4, ?5, ?6, ?7)",
        )?;
        for name in &self.names {
            let Entry { reference, descriptor, pinned, pushed } = name;
            let key = Key::from(&descriptor.digest);
            insert.execute(params![
                reference.to_string(),
                key,
                text_of(descriptor),
                now,
                pinned,
                reference.name(),
                pushed
            ])?;
        }
        Ok(())
    }
}

/// Makes all tables anew inside the database. An error, and nothing changed, if the file is too damaged for that.
pub(crate) fn in_place(
    db: &Transaction<'_>,
    layout: &Layout,
    files: &Files,
    log_is_sound: bool,
    now: Nanos,
) -> rusqlite::Result<()> {
    let mut rows = salvage(db);
    doubt(&mut rows, log_is_sound);
    let tables: Vec<String> = db
        .prepare(
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'",
        )?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    for table in tables {
        db.execute_batch(&format!("DROP TABLE \"{}\"", table.replace('"', "\"\"")))?;
    }
    schema::declare(db)?;
    files.write(db, layout, &rows, now)?;
    schema::stamp(db)?;
    let verdict: String = db.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    let corrupt = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(corrupt, Some(verdict)))
}

/// Builds another database, sets the old one aside with its side files, and puts the new one in its place. Nobody may have the
/// old one open. Returns where it is now, if there was one.
pub(crate) fn beside(layout: &Layout, now: Nanos) -> Result<Option<PathBuf>> {
    let log_is_sound = log_problem(layout)?.is_none();
    let mut rows = match connect(&layout.database()) {
        Ok(old) => salvage(&old),
        Err(_) => nothing(),
    };
    doubt(&mut rows, log_is_sound);
    let files = Files::look(layout, &rows)?;
    let path = layout.new_database();
    remove_with_sides(&path)?;
    create_file(&path)?;
    let failed = |source| Error::Database { operation: "build the tables again", path: path.clone(), source };
    {
        let mut new = connect(&path)?;
        new.pragma_update(None, "synchronous", "FULL").map_err(failed)?;
        schema::create(&mut new, |db| {
            db.execute_batch("DELETE FROM facts")?;
            files.write(db, layout, &rows, now)
        })
        .map_err(failed)?;
        checkpoint(&new).map_err(failed)?;
    }
    let aside = layout.aside("larder.db");
    let mut found = None;
    for (old, side) in layout.database_files().iter().zip(SIDES) {
        let to = with_suffix(&aside, side);
        match fs::rename(old, &to) {
            Ok(()) if side.is_empty() => found = Some(to),
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("rename", old)(error)),
        }
    }
    // Cut off here, the store has no database, and the next repair makes one.
    fs::rename(&path, layout.database()).map_err(Error::io("rename", &path))?;
    layout::sync_directory(layout.home())?;
    remove_with_sides(&path)?;
    Ok(found)
}

/// What is wrong with the log. Call it where nobody writes.
pub(crate) fn log_problem(layout: &Layout) -> Result<Option<&'static str>> {
    let [_, path, _] = layout.database_files();
    match fs::read(&path) {
        Ok(log) => Ok(wal::problem(&log)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io("read", path)(error)),
    }
}

/// After lost transactions, rows may be sound and yet not the latest: what other files say is added.
fn doubt(rows: &mut [Rows], log_is_sound: bool) {
    rows.iter_mut().for_each(|rows| rows.complete &= log_is_sound);
}

/// The blobs of sound rows, and what documents among them were called.
fn known(rows: &[Rows]) -> HashMap<Digest, Option<MediaType>> {
    let blobs = rows.iter().filter(|rows| rows.table.name == "blobs").flat_map(|rows| &rows.rows);
    let entry = |row: &Vec<Value>| {
        let Some(Value::Blob(key)) = row.first() else { return None };
        let media_type = match row.get(3) {
            Some(Value::Text(text)) => Some(MediaType::new(text)),
            _ => None,
        };
        Some((Key::digest(key)?, media_type))
    };
    blobs.filter_map(entry).collect()
}

/// Files that hash to their names, besides those that are known. Damaged ones are left to the verification.
fn whole(layout: &Layout, known: &HashMap<Digest, Option<MediaType>>) -> Result<Vec<(Digest, u64)>> {
    let mut digests = Vec::new();
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let directory = layout.blobs(algorithm);
        for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
            let name = entry.map_err(Error::io("list", &directory))?.file_name();
            let digest = name.to_str().and_then(|name| digest_of_blob(algorithm, name));
            digests.extend(digest.filter(|digest| !known.contains_key(digest)));
        }
    }
    let paths: Vec<PathBuf> = digests.iter().map(|digest| layout.blob(digest)).collect();
    let hashers: Vec<Hasher> = digests.iter().map(|digest| Hasher::new(digest.algorithm())).collect();
    let mut whole = Vec::new();
    hash_all(&paths, &hashers, |at, result| {
        if let Ok((actual, length)) = result
            && actual == digests[at]
        {
            whole.push((actual, length));
        }
    });
    whole.sort_unstable();
    Ok(whole)
}

/// The bytes of a blob that may be a document; `None` if it cannot be one, or is not whole.
fn read_json(layout: &Layout, digest: &Digest) -> Result<Option<Vec<u8>>> {
    let path = layout.blob(digest);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path)(error)),
    };
    let mut raw = Vec::new();
    let failed = || Error::io("read", &path);
    (&file).take(1).read_to_end(&mut raw).map_err(failed())?;
    if raw != b"{" {
        return Ok(None);
    }
    (&file).take(MANIFEST_LIMIT).read_to_end(&mut raw).map_err(failed())?;
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(&raw);
    Ok((hasher.finish() == *digest).then_some(raw))
}
