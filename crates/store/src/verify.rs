//! Verification: everything is read, and everything that is said twice is compared.

use crate::blob::{self, BlobKind};
use crate::database::{Durability, Stored};
use crate::document::{self, Edge, Relation};
use crate::graph::Graph;
use crate::layout::{self, digest_of_blob};
use crate::{AuditLog, DerivedKey, Error, Result, Store, integrity, lock, rebuild};
use larder_core::{Algorithm, Digest, Document, Hasher, MANIFEST_LIMIT, MediaType, Reference};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

/// What a verification found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Blobs that were read.
    pub blobs: u64,
    /// Derived things that were read.
    pub derived: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// What is wrong. Empty if all is well.
    pub damage: Vec<Damage>,
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// With what.
    pub what: Damaged,
    /// What is wrong, as the rest of a sentence that starts with it.
    pub problem: String,
    /// The images that need it: names, and what is cached from upstreams.
    pub part_of: Vec<Reference>,
}

/// What a [`Damage`] is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Damaged {
    /// A blob: [`Store::quarantine`] it and fetch it again.
    Blob(Digest),
    /// A derived thing: [`Store::remove_derived`] it, and it will be made again.
    Derived(DerivedKey),
    /// A file of the store itself.
    File(PathBuf),
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty()
    }
}

impl Store {
    /// Reads everything and compares: blobs with their names, derived things with their checksums, rows with their sums and with
    /// files, documents with edges, names with the index files; SQLite checks the database. `progress` hears of every blob that was read.
    ///
    /// Others may use the store meanwhile. Nothing is changed, except that an index that is behind is written. A whole blob
    /// without row is no damage: that is what a crash leaves, and the next use or collection settles it.
    pub fn verify(&self, progress: &mut dyn FnMut(&Digest)) -> Result<VerifyReport> {
        let mut verify = Verify { store: self, report: VerifyReport::default() };
        verify.database()?;
        verify.marker()?;
        let rows = verify.ask(|| self.database.snapshot("list blobs", Rows::load))?.unwrap_or_default();
        verify.blobs(&rows, progress)?;
        verify.documents(&rows)?;
        verify.names(&rows)?;
        verify.index()?;
        verify.derived()?;
        verify.audit();
        verify.assign()?;
        Ok(verify.report)
    }
}

/// What the database says about blobs.
#[derive(Default)]
struct Rows {
    blobs: BTreeMap<Digest, Row>,
    /// By the document that says so.
    edges: BTreeMap<Digest, BTreeSet<Edge>>,
    verdicts: Vec<Digest>,
}

struct Row {
    size: u64,
    kind: BlobKind,
    media_type: Option<String>,
}

impl Rows {
    fn load(db: &Connection) -> rusqlite::Result<Self> {
        let mut rows = Self::default();
        let mut query = db.prepare_cached("SELECT digest, size, kind, media_type FROM blobs")?;
        let mut found = query.query([])?;
        while let Some(row) = found.next()? {
            let Stored(digest) = row.get(0)?;
            let kind = BlobKind::from_code(row.get(2)?);
            rows.blobs.insert(digest, Row { size: row.get(1)?, kind, media_type: row.get(3)? });
        }
        let mut query = db.prepare_cached("SELECT parent, child, relation FROM edges")?;
        let mut found = query.query([])?;
        while let Some(row) = found.next()? {
            let (Stored(parent), Stored(child)) = (row.get(0)?, row.get(1)?);
            let relation = Relation::from_code(row.get(2)?);
            let owner = match relation {
                Relation::Child => parent,
                Relation::Referrer => child,
            };
            rows.edges.entry(owner).or_default().insert(Edge { parent, child, relation });
        }
        rows.verdicts = db
            .prepare_cached("SELECT digest FROM verdicts")?
            .query_map([], |row| row.get::<_, Stored>(0).map(|Stored(digest)| digest))?
            .collect::<rusqlite::Result<_>>()?;
        Ok(rows)
    }
}

struct Verify<'a> {
    store: &'a Store,
    report: VerifyReport,
}

impl Verify<'_> {
    fn damage(&mut self, what: Damaged, problem: impl Into<String>) {
        self.report.damage.push(Damage { what, problem: problem.into(), part_of: Vec::new() });
    }

    /// A broken database is damage, not the end of the verification.
    fn ask<T>(&mut self, question: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        match question() {
            Ok(answer) => Ok(Some(answer)),
            Err(error) if error.is_broken_database() => {
                let what = Damaged::File(self.store.layout.database());
                self.damage(what, format!("is damaged: {}", larder_core::report(&error)));
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn database(&mut self) -> Result<()> {
        let store = self.store;
        let [path, log, _] = store.layout.database_files();
        // With the right to write, so that nobody else writes; first of all, since every write moves the log on.
        let problem = self.ask(|| {
            store.database.write("check the log", Durability::Process, |db| {
                db.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
                Ok(rebuild::log_problem(&store.layout))
            })
        })?;
        if let Some(problem) = problem.transpose()?.flatten() {
            self.damage(Damaged::File(log), problem);
        }
        let problems = self.ask(|| store.database.read("check the database", integrity::problems))?;
        for problem in problems.into_iter().flatten() {
            self.damage(Damaged::File(path.clone()), problem);
        }
        let wrong = self.ask(|| store.database.snapshot("check all rows", integrity::wrong_rows))?;
        for (table, count) in wrong.into_iter().flatten() {
            let rows = if count == 1 { "row" } else { "rows" };
            self.damage(Damaged::File(path.clone()), format!("has {count} damaged {rows} in {table}"));
        }
        Ok(())
    }

    fn marker(&mut self) -> Result<()> {
        let path = self.store.layout.oci_layout();
        self.compare(path, layout::OCI_LAYOUT.as_bytes())
    }

    fn compare(&mut self, path: PathBuf, expected: &[u8]) -> Result<()> {
        match fs::read(&path) {
            Ok(content) if content == expected => {}
            Ok(_) => self.damage(Damaged::File(path), "does not say what the database says"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.damage(Damaged::File(path), "is missing");
            }
            Err(error) => self.damage(Damaged::File(path), format!("cannot be read: {error}")),
        }
        Ok(())
    }

    fn index(&mut self) -> Result<()> {
        let store = self.store;
        let is_damaged = |damage: &Damage| matches!(&damage.what, Damaged::File(path) if store.layout.database_files().contains(path));
        if self.report.damage.iter().any(is_damaged) {
            // Names come back from the index files; they are not overwritten now.
            return Ok(());
        }
        // A name may be set at any moment; then the files are rightly behind, and we look again.
        for _ in 0..10 {
            if self.ask(|| store.flush())?.is_none() {
                return Ok(());
            }
            let _no_flush = lock::layout(&store.layout)?;
            let Some(index) = self.ask(|| store.expected_index())? else { return Ok(()) };
            if index.is_written() {
                self.compare(store.layout.index_json(), &index.json())?;
                return self.compare(store.layout.index_yaml(), index.yaml().as_bytes());
            }
        }
        Ok(())
    }

    fn blobs(&mut self, rows: &Rows, progress: &mut dyn FnMut(&Digest)) -> Result<()> {
        let mut all: BTreeSet<Digest> = rows.blobs.keys().copied().collect();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let directory = self.store.layout.blobs(algorithm);
            for entry in fs::read_dir(&directory).map_err(Error::io("list", &directory))? {
                let entry = entry.map_err(Error::io("list", &directory))?;
                let name = entry.file_name();
                match name.to_str().and_then(|name| digest_of_blob(algorithm, name)) {
                    Some(digest) => drop(all.insert(digest)),
                    None => self.damage(Damaged::File(entry.path()), "is not named after a digest"),
                }
            }
        }
        let work: Vec<(Digest, PathBuf)> =
            all.into_iter().map(|digest| (digest, self.store.layout.blob(&digest))).collect();
        let expected: Vec<Hasher> = work.iter().map(|(digest, _)| Hasher::new(digest.algorithm())).collect();
        let paths: Vec<_> = work.iter().map(|(_, path)| path.clone()).collect();
        let mut results = Vec::new();
        hash_all(&paths, &expected, |at, result| {
            progress(&work[at].0);
            results.push((at, result));
        });
        results.sort_by_key(|(at, _)| *at);
        for (at, result) in results {
            let digest = work[at].0;
            let row = rows.blobs.get(&digest);
            let problem = match result {
                Ok((actual, length)) => {
                    self.report.blobs += 1;
                    self.report.bytes += length;
                    if actual != digest {
                        format!("hashes to {actual}")
                    } else if let Some(row) = row
                        && row.size != length
                    {
                        format!("has {length} bytes, and the database says {}", row.size)
                    } else {
                        continue;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // It may have been collected since the list was made.
                    let store = self.store;
                    let known = self.ask(|| store.contains(&digest))?.unwrap_or(false);
                    if row.is_none() || !known {
                        continue;
                    }
                    "is missing".into()
                }
                Err(error) => format!("cannot be read: {error}"),
            };
            self.damage(Damaged::Blob(digest), problem);
        }
        Ok(())
    }

    fn documents(&mut self, rows: &Rows) -> Result<()> {
        let damaged: BTreeSet<Damaged> =
            self.report.damage.iter().map(|damage| damage.what.clone()).collect();
        let none = BTreeSet::new();
        for (digest, row) in &rows.blobs {
            if damaged.contains(&Damaged::Blob(*digest)) {
                continue;
            }
            let edges = rows.edges.get(digest).unwrap_or(&none);
            if row.kind != BlobKind::Manifest {
                if !edges.is_empty() {
                    let what = Damaged::File(self.store.layout.database());
                    self.damage(what, format!("has edges for {digest}, which is no document"));
                }
                continue;
            }
            // Read again rather than kept: documents are small, but there can be many.
            let raw = match self.store.read(digest, MANIFEST_LIMIT) {
                Ok(Some(raw)) => raw,
                Ok(None) | Err(Error::TooLarge { .. }) => continue,
                Err(error) if matches!(error, Error::Damaged { .. }) || error.is_broken_database() => {
                    continue;
                }
                Err(error) => return Err(error),
            };
            let media_type = row.media_type.as_deref().map(MediaType::new);
            let expected = match Document::parse(raw, media_type.as_ref()) {
                Ok(document) => document::edges_of(digest, &document),
                Err(error) if media_type.is_some() => {
                    let what = Damaged::File(self.store.layout.database());
                    self.damage(what, format!("is wrong about {digest}: {error}"));
                    continue;
                }
                Err(_) => Vec::new(),
            };
            if !expected.iter().eq(edges) {
                let what = Damaged::File(self.store.layout.database());
                self.damage(what, format!("has other edges for {digest} than the document says"));
            }
        }
        Ok(())
    }

    fn names(&mut self, rows: &Rows) -> Result<()> {
        let store = self.store;
        for name in self.ask(|| store.names())?.unwrap_or_default() {
            let digest = name.descriptor.digest;
            let size = rows.blobs.get(&digest).map(|row| row.size);
            if size.is_none() {
                // It may have been committed since the list was made.
                if !self.ask(|| store.contains(&digest))?.unwrap_or(true) {
                    self.damage(Damaged::Blob(digest), "is missing");
                }
            } else if size != Some(name.descriptor.size) {
                let what = Damaged::File(store.layout.database());
                self.damage(what, format!("has another size for {digest} than {} says", name.reference));
            }
            if !self.ask(|| store.names_of(&digest))?.unwrap_or_default().contains(&name.reference)
                && self.ask(|| store.name(&name.reference))?.flatten().is_some_and(|now| now == name)
            {
                let what = Damaged::File(store.layout.database());
                self.damage(what, format!("does not find {} by its digest", name.reference));
            }
        }
        for digest in &rows.verdicts {
            if !rows.blobs.contains_key(digest) {
                let what = Damaged::File(store.layout.database());
                self.damage(what, format!("has a verdict on {digest}, which the store does not hold"));
            }
        }
        Ok(())
    }

    fn derived(&mut self) -> Result<()> {
        let store = self.store;
        let mut rows = self.ask(|| store.derived_list())?.unwrap_or_default();
        // What is not trusted will be made again anyway.
        rows.retain(|row| row.trusted);
        let paths: Vec<PathBuf> =
            rows.iter().map(|row| store.layout.derived(row.key.area, &row.key.name)).collect();
        let (mut summed, mut sums) = (Vec::new(), Vec::new());
        for (row, path) in rows.iter().zip(&paths) {
            match (&row.checksum, fs::symlink_metadata(path)) {
                (Some(checksum), Ok(_)) => {
                    summed.push((row, path.clone()));
                    sums.push(Hasher::new(checksum.algorithm()));
                }
                (None, Ok(_)) => {}
                (_, Err(error)) if error.kind() == io::ErrorKind::NotFound => self.vanished(&row.key)?,
                (_, Err(error)) => {
                    self.damage(Damaged::Derived(row.key.clone()), format!("cannot be read: {error}"));
                }
            }
        }
        let paths: Vec<PathBuf> = summed.iter().map(|(_, path)| path.clone()).collect();
        let mut results = Vec::new();
        hash_all(&paths, &sums, |at, result| results.push((at, result)));
        results.sort_by_key(|(at, _)| *at);
        for (at, result) in results {
            let row = summed[at].0;
            match result {
                Ok((actual, length)) => {
                    self.report.derived += 1;
                    self.report.bytes += length;
                    if row.checksum != Some(actual) {
                        self.damage(Damaged::Derived(row.key.clone()), format!("hashes to {actual}"));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => self.vanished(&row.key)?,
                Err(error) => {
                    self.damage(Damaged::Derived(row.key.clone()), format!("cannot be read: {error}"));
                }
            }
        }
        Ok(())
    }

    /// What a crash leaves in the audit log is no damage.
    fn audit(&mut self) {
        match AuditLog::verify(self.store, None) {
            Ok(report) => {
                self.report.bytes += report.bytes;
                for finding in report.findings.into_iter().filter(|finding| finding.tampered) {
                    let line = finding.line.map(|line| format!("line {line} ")).unwrap_or_default();
                    self.damage(Damaged::File(finding.file), format!("{line}{}", finding.problem));
                }
            }
            Err(error) => {
                let what = Damaged::File(self.store.layout.audit());
                self.damage(what, format!("cannot be read: {}", larder_core::report(&error)));
            }
        }
    }

    /// Missing, unless it was collected since the list was made.
    fn vanished(&mut self, key: &DerivedKey) -> Result<()> {
        let store = self.store;
        let rows = self.ask(|| store.derived_list())?.unwrap_or_default();
        if rows.iter().any(|row| row.key == *key && row.trusted) {
            self.damage(Damaged::Derived(key.clone()), "is missing");
        }
        Ok(())
    }

    /// Finds out which names suffer.
    fn assign(&mut self) -> Result<()> {
        if self.report.damage.is_empty() {
            return Ok(());
        }
        let store = self.store;
        let graph = self.ask(|| {
            store.database.snapshot("read the graph", |db| Graph::load(db, &store.options.boot_id))
        })?;
        let Some(graph) = graph else { return Ok(()) };
        for damage in &mut self.report.damage {
            let node = match &damage.what {
                Damaged::Blob(digest) => graph.blob(digest),
                Damaged::Derived(key) => graph.derived(key),
                Damaged::File(_) => None,
            };
            damage.part_of = node.map(|node| graph.part_of(node)).unwrap_or_default();
        }
        Ok(())
    }
}

/// Hashes files on all processors; `each` is called on this thread, in any order.
pub(crate) fn hash_all(
    paths: &[PathBuf],
    hashers: &[Hasher],
    mut each: impl FnMut(usize, io::Result<(Digest, u64)>),
) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(paths.len());
    let next = AtomicUsize::new(0);
    let (sender, receiver) = mpsc::sync_channel(64);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let (Some(path), Some(hasher)) = (paths.get(at), hashers.get(at)) else { return };
                    let result = File::open(path).and_then(|mut file| {
                        let (hasher, length) = blob::hash(&mut file, hasher.clone(), |_| {})?;
                        Ok((hasher.finish(), length))
                    });
                    if sender.send((at, result)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        for (at, result) in receiver {
            each(at, result);
        }
    });
}
