//! Collection: a policy chooses names, a mark finds what lives, a sweep removes the rest. Choosing and marking are pure and
//! stand in `mark.rs`; this is the part with locks and files.

use crate::database::{Durability, Key, Nanos};
use crate::graph::{Graph, Put, Thing};
use crate::layout::{self, digest_of_blob, digest_of_part, name_of_building};
use crate::lock::{self, Claim};
use crate::mark::{Candidate, Limits, Reach, expendable, mark};
use crate::{Area, DerivedKey, Error, MountRecord, Result, Store};
use crate::{blob, cached, derived, document, lease, mount, name, repository};
use larder_core::{Algorithm, Reference, RepositoryName};
use rusqlite::{Connection, Transaction, params};
use std::collections::HashSet;
use std::fs::{self, DirEntry, File};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// What a collection may remove.
pub struct GcPlan<'a> {
    /// Report only; nothing is touched.
    pub dry_run: bool,
    /// Remove names, least recently used first, until blobs, derived things and packages take at most so many bytes. Packages count,
    /// but none of them goes: what is used of them only their index knows.
    pub quota_bytes: Option<u64>,
    /// Remove names that were not used for so long.
    pub max_age: Option<Duration>,
    /// Remove names, least recently used first, until at most so many are left.
    pub max_count: Option<usize>,
    /// Whether a recorded mount is still there, or cannot be ruled out to be. Called with locks held: it must not use the
    /// store, and should be quick. What it looks at must not be older than the call: a mount can be new and its lease gone.
    pub is_mounted: &'a dyn Fn(&MountRecord) -> bool,
    /// Remove interrupted downloads and uploads that did not grow for so long. `None` keeps them all.
    pub remove_partials_older_than: Option<Duration>,
    /// How long a pushed blob waits for the manifest that needs it.
    pub upload_grace: Duration,
}

/// What a collection removed, or would remove.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Names that the policy removed, least recently used first.
    pub names: Vec<Reference>,
    /// Cached entries that the policy removed, repository and selector, least recently used first.
    pub cached: Vec<(RepositoryName, String)>,
    /// Blobs removed.
    pub blobs: u64,
    /// Bytes of them.
    pub blob_bytes: u64,
    /// Derived things removed.
    pub derived: u64,
    /// Bytes of them.
    pub derived_bytes: u64,
    /// Interrupted downloads removed.
    pub partials: u64,
    /// Bytes of them.
    pub partial_bytes: u64,
    /// Interrupted uploads removed.
    pub uploads: u64,
    /// Bytes of them.
    pub upload_bytes: u64,
    /// All bytes removed.
    pub freed_bytes: u64,
    /// Bytes of the packages that stay.
    pub package_bytes: u64,
    /// Bytes of the blobs, derived things and packages that stay.
    pub kept_bytes: u64,
}

impl<'a> GcPlan<'a> {
    /// A plan without limits: removes only what nothing needs.
    pub fn new(is_mounted: &'a dyn Fn(&MountRecord) -> bool) -> Self {
        Self {
            dry_run: false,
            quota_bytes: None,
            max_age: None,
            max_count: None,
            is_mounted,
            remove_partials_older_than: None,
            upload_grace: UPLOAD_GRACE,
        }
    }
}

impl Store {
    /// Removes what nothing needs. Roots are names, live leases, and mounts that are still there; what is reachable from
    /// one of them stays. Safe at any time, from any process: whatever is put under a lease before this looks is kept, and
    /// whatever is put under one later is looked up anew by [`Store::begin`].
    pub fn gc(&self, plan: &GcPlan<'_>) -> Result<GcReport> {
        let package_bytes = self.shelf().archives()?.iter().map(|file| file.size).sum();
        if plan.dry_run {
            let _no_sweep = lock::commit(&self.layout)?;
            let survey =
                self.database.snapshot("survey the store", |db| self.survey(db, plan, package_bytes))?;
            return self.sweep(plan, survey);
        }
        let report = {
            let _no_commit = lock::sweep(&self.layout)?;
            // INVARIANT: rows are gone for good, even after a power cut, before the first byte goes. A crash in between leaves
            // files without rows, which the next collection removes.
            let survey = self.database.write("collect", Durability::Disk, |db| {
                let survey = self.survey(db, plan, package_bytes)?;
                self.forget_dead(db, &survey)?;
                Ok(survey)
            })?;
            // Other tools must not be led to blobs that are about to go.
            self.flush()?;
            self.sweep(plan, survey)
        };
        // A failure here would come again, and be told, with the next write.
        let _ = self.database.checkpoint();
        report
    }

    /// Finds out what lives. Files that cannot be examined count as in use.
    fn survey(&self, db: &Connection, plan: &GcPlan<'_>, package_bytes: u64) -> rusqlite::Result<Survey> {
        let mut graph = Graph::load(db, &self.options.boot_id)?;
        let leases = self.survey_leases(db, &mut graph)?;
        let mounts = survey_mounts(db, plan, &self.options.boot_id, &mut graph, &leases)?;

        // Who uses an image right now protects its names; what was put here stays too, but protects no other name of it.
        let users = || leases.roots.iter().chain(&mounts.roots).copied();
        let used = mark(&graph.edges, users());
        let put: Vec<u32> =
            graph.put.iter().filter(|put| self.is_wanted(put, plan)).map(|put| put.node).collect();
        let roots = || users().chain(put.iter().copied());
        let held = mark(&graph.edges, roots());
        let used_directly: HashSet<u32> = users().filter(|node| graph.is_manifest(*node)).collect();
        let mut reach = Reach::new(&graph.edges);
        let mut in_use = |node: u32| {
            used[node as usize]
                || !used_directly.is_empty()
                    && reach.from(node).iter().any(|node| used_directly.contains(node))
        };
        let names = graph.names.iter().map(|name| (name.node, name.used, name.protected));
        let cached = graph.cached.iter().map(|entry| (entry.node, entry.used, false));
        let names: Vec<Candidate> = names
            .chain(cached)
            .map(|(node, used, protected)| Candidate { node, used, protected: protected || in_use(node) })
            .collect();
        let limits = Limits {
            oldest_use: plan.max_age.map(|age| self.ago(age)),
            count: plan.max_count,
            bytes: plan.quota_bytes.map(|quota| quota.saturating_sub(package_bytes)),
        };
        let removed = expendable(&graph.edges, &graph.sizes(), &held, &names, &limits);
        let gone: HashSet<usize> = removed.iter().copied().collect();
        let kept = names.iter().enumerate().filter(|(at, _)| !gone.contains(at)).map(|(_, name)| name.node);
        let live = mark(&graph.edges, roots().chain(kept));
        Ok(Survey { graph, live, removed, package_bytes, dead_leases: leases.dead, dead_mounts: mounts.dead })
    }

    /// A manifest that was put here stays; a blob waits for one.
    fn is_wanted(&self, put: &Put, plan: &GcPlan<'_>) -> bool {
        put.manifest || put.added >= self.ago(plan.upload_grace)
    }

    fn ago(&self, age: Duration) -> i64 {
        self.now().0.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
    }

    fn survey_leases(&self, db: &Connection, graph: &mut Graph) -> rusqlite::Result<Leases> {
        let mut leases = Leases::default();
        let mut query = db.prepare_cached(
            "SELECT id FROM leases UNION SELECT lease FROM leased_blobs UNION SELECT lease FROM leased_derived",
        )?;
        let mut blobs = db.prepare_cached("SELECT digest FROM leased_blobs WHERE lease = ?1")?;
        let mut derived = db.prepare_cached("SELECT area, name FROM leased_derived WHERE lease = ?1")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let id: String = row.get(0)?;
            if let Ok(Claim::Free(_) | Claim::Gone) = lock::claim(&self.layout.lease(&id)) {
                leases.dead.push(id);
                continue;
            }
            let mut rows = blobs.query([&id])?;
            while let Some(row) = rows.next()? {
                leases.roots.push(graph.intern(row.get_ref(0)?.as_blob()?)?);
            }
            let mut rows = derived.query([&id])?;
            while let Some(row) = rows.next()? {
                let key = DerivedKey { area: Area::from_code(row.get(0)?), name: row.get(1)? };
                leases.roots.extend(graph.derived(&key));
            }
        }
        Ok(leases)
    }

    fn forget_dead(&self, db: &Transaction<'_>, survey: &Survey) -> rusqlite::Result<()> {
        for reference in survey.removed_names() {
            name::forget(db, &reference.to_string())?;
        }
        for (repository, selector) in survey.removed_cached() {
            cached::remove(db, &repository.to_string(), selector)?;
        }
        for id in &survey.dead_leases {
            lease::forget(db, id)?;
        }
        for mount in &survey.dead_mounts {
            mount::forget(db, mount)?;
        }
        let mut unuse = db.prepare_cached("DELETE FROM derived_uses WHERE manifest = ?1")?;
        for (thing, live) in survey.graph.things.iter().zip(&survey.live) {
            match thing {
                _ if *live => {}
                Thing::Blob { digest, .. } => {
                    let key = Key::from(digest);
                    blob::forget(db, digest)?;
                    repository::forget(db, digest)?;
                    document::disconnect(db, key.as_bytes())?;
                    unuse.execute([key])?;
                }
                Thing::Derived { key, .. } => {
                    derived::forget(db, key)?;
                }
            }
        }
        db.execute(
            "INSERT OR REPLACE INTO facts (key, value) VALUES ('collected', ?1)",
            params![self.now()],
        )?;
        Ok(())
    }

    /// Removes the files of what does not live. Goes on after a failure, and reports the first one.
    fn sweep(&self, plan: &GcPlan<'_>, survey: Survey) -> Result<GcReport> {
        let mut sweep = Sweep { store: self, plan, survey, report: GcReport::default(), failed: None };
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            sweep.directory(&self.layout.blobs(algorithm), |sweep, name, entry| {
                sweep.blob(algorithm, name, entry)
            });
        }
        for area in Area::ALL {
            sweep.directory(&self.layout.area(area), |sweep, name, entry| sweep.derived(area, name, entry));
        }
        sweep.directory(&self.layout.ingest(), Sweep::partial);
        sweep.directory(&self.layout.uploads(), Sweep::upload);
        if !plan.dry_run {
            sweep.directory(&self.layout.leases(), Sweep::lease);
            let _no_flush = lock::layout(&self.layout)?;
            sweep.directory(self.layout.home(), |_, name, entry| {
                if layout::is_temporary(name) { layout::remove(&entry.path()) } else { Ok(()) }
            });
        }
        let Sweep { survey, mut report, failed, .. } = sweep;
        if let Some(error) = failed {
            return Err(error);
        }
        report.names = survey.removed_names().cloned().collect();
        report.cached = survey
            .removed_cached()
            .map(|(repository, selector)| (repository.clone(), selector.into()))
            .collect();
        if let Some(age) = plan.remove_partials_older_than {
            let before = SystemTime::from(Nanos(self.ago(age)));
            let parts = self.shelf().sweep_parts(before, plan.dry_run)?;
            report.partials += parts.iter().filter(|part| part.size > 0).count() as u64;
            report.partial_bytes += parts.iter().map(|part| part.size).sum::<u64>();
        }
        report.package_bytes = survey.package_bytes;
        report.freed_bytes =
            report.blob_bytes + report.derived_bytes + report.partial_bytes + report.upload_bytes;
        let sizes = survey.graph.sizes();
        let kept = sizes.iter().zip(&survey.live).filter(|(_, live)| **live).map(|(size, _)| size);
        report.kept_bytes = kept.sum::<u64>() + survey.package_bytes;
        Ok(report)
    }
}

struct Survey {
    graph: Graph,
    live: Vec<bool>,
    /// Positions in `graph.names` and, counted on from there, `graph.cached`.
    removed: Vec<usize>,
    package_bytes: u64,
    dead_leases: Vec<String>,
    dead_mounts: Vec<MountRecord>,
}

impl Survey {
    fn removed_names(&self) -> impl Iterator<Item = &Reference> {
        self.removed.iter().filter_map(|at| self.graph.names.get(*at)).map(|name| &name.reference)
    }

    fn removed_cached(&self) -> impl Iterator<Item = (&RepositoryName, &str)> {
        let names = self.graph.names.len();
        let entries = self.removed.iter().filter_map(move |at| self.graph.cached.get(at.checked_sub(names)?));
        entries.map(|entry| (&entry.repository, entry.selector.as_str()))
    }

    fn lives(&self, node: Option<u32>) -> bool {
        node.is_some_and(|node| self.live[node as usize])
    }
}

#[derive(Default)]
struct Leases {
    roots: Vec<u32>,
    dead: Vec<String>,
}

#[derive(Default)]
struct Mounts {
    roots: Vec<u32>,
    dead: Vec<MountRecord>,
}

fn survey_mounts(
    db: &Connection,
    plan: &GcPlan<'_>,
    boot_id: &str,
    graph: &mut Graph,
    leases: &Leases,
) -> rusqlite::Result<Mounts> {
    let leased = mark(&graph.edges, leases.roots.iter().copied());
    let mut mounts = Mounts::default();
    for row in mount::list(db)? {
        let past = row.is_of_another_boot(boot_id);
        let record = row.record;
        let node = graph.intern(Key::from(&record.manifest).as_bytes())?;
        // A leased one may be about to be mounted.
        let about_to = leased.get(node as usize).copied().unwrap_or(false);
        if !about_to && (past || !(plan.is_mounted)(&record)) {
            mounts.dead.push(record);
            continue;
        }
        mounts.roots.push(node);
        let outdated = graph.outdated.iter().filter(|(manifest, _)| *manifest == node);
        mounts.roots.extend(outdated.map(|(_, derived)| *derived));
        for path in record.extra {
            let area = path.parent().and_then(Path::file_name);
            let area = Area::ALL.into_iter().find(|known| area.is_some_and(|area| area == known.as_str()));
            if let (Some(area), Some(name)) = (area, path.file_name().and_then(|name| name.to_str())) {
                mounts.roots.extend(graph.derived(&DerivedKey::new(area, name)));
            }
        }
    }
    Ok(mounts)
}

/// One pass over the files of the store.
struct Sweep<'a> {
    store: &'a Store,
    plan: &'a GcPlan<'a>,
    survey: Survey,
    report: GcReport,
    failed: Option<Error>,
}

impl Sweep<'_> {
    fn directory(&mut self, path: &Path, mut visit: impl FnMut(&mut Self, &str, &DirEntry) -> Result<()>) {
        let result = fs::read_dir(path).map_err(Error::io("list", path)).and_then(|entries| {
            for entry in entries {
                let entry = entry.map_err(Error::io("list", path))?;
                // What we make has plain names; the rest is not ours to judge.
                let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
                if let Err(error) = visit(self, &name, &entry) {
                    self.failed.get_or_insert(error);
                }
            }
            Ok(())
        });
        if let Err(error) = result {
            self.failed.get_or_insert(error);
        }
    }

    /// A file under `blobs/`, with or without row.
    fn blob(&mut self, algorithm: Algorithm, name: &str, entry: &DirEntry) -> Result<()> {
        let Some(digest) = digest_of_blob(algorithm, name) else { return Ok(()) };
        let node = self.survey.graph.blob(&digest);
        if self.survey.lives(node) {
            return Ok(());
        }
        let bytes = size_of(entry)?;
        self.remove(&entry.path())?;
        self.report.blobs += 1;
        self.report.blob_bytes += bytes;
        Ok(())
    }

    fn derived(&mut self, area: Area, name: &str, entry: &DirEntry) -> Result<()> {
        if let Some(name) = name_of_building(name) {
            return self.abandoned(area, name);
        }
        let node = self.survey.graph.derived(&DerivedKey::new(area, name));
        if self.survey.lives(node) {
            return Ok(());
        }
        let bytes = match node.map(|node| &self.survey.graph.things[node as usize]) {
            Some(Thing::Derived { size, .. }) => *size,
            _ => size_of(entry)?,
        };
        self.remove(&entry.path())?;
        self.report.derived += 1;
        self.report.derived_bytes += bytes;
        Ok(())
    }

    /// What a process that died was making.
    fn abandoned(&self, area: Area, name: &str) -> Result<()> {
        let layout = &self.store.layout;
        let (lock_path, path) = (layout.building_lock(area, name), layout.building(area, name));
        if self.plan.dry_run {
            return Ok(());
        }
        if let Some(_ours) = lock::try_own(&lock_path).map_err(Error::io("open", &lock_path))? {
            layout::remove(&path)?;
            layout::remove(&lock_path)?;
        }
        Ok(())
    }

    fn partial(&mut self, name: &str, entry: &DirEntry) -> Result<()> {
        let Some(digest) = digest_of_part(name) else { return Ok(()) };
        let path = entry.path();
        let Claim::Free(file) = lock::claim(&path).map_err(Error::io("open", &path))? else { return Ok(()) };
        let (bytes, too_old) = self.rest(&file, &path)?;
        // A live lease on it means that somebody is about to go on.
        let node = self.survey.graph.blob(&digest);
        let complete = node.is_some_and(|node| {
            matches!(self.survey.graph.things[node as usize], Thing::Blob { size: Some(_), .. })
        });
        if complete || (too_old && !self.survey.lives(node)) {
            self.remove(&path)?;
            self.report.partials += 1;
            self.report.partial_bytes += bytes;
        }
        Ok(())
    }

    /// A file under `uploads/`.
    fn upload(&mut self, name: &str, entry: &DirEntry) -> Result<()> {
        let path = entry.path();
        if !layout::is_upload(name) {
            return Ok(());
        }
        let Claim::Free(file) = lock::claim(&path).map_err(Error::io("open", &path))? else { return Ok(()) };
        let (bytes, too_old) = self.rest(&file, &path)?;
        if too_old {
            self.remove(&path)?;
            self.report.uploads += 1;
            self.report.upload_bytes += bytes;
        }
        Ok(())
    }

    /// How long a part file is, and whether it has not grown for too long.
    fn rest(&self, file: &File, path: &Path) -> Result<(u64, bool)> {
        let metadata = file.metadata().map_err(Error::io("read", path))?;
        let modified = metadata.modified().map_err(Error::io("read", path))?;
        let age = self.store.now().0.saturating_sub(Nanos::from(modified).0);
        let limit = self.plan.remove_partials_older_than;
        let too_old = limit
            .is_some_and(|limit| i128::from(age) > i128::try_from(limit.as_nanos()).unwrap_or(i128::MAX));
        Ok((metadata.len(), too_old))
    }

    /// Live ones are locked, and one that is being taken is locked before it has a row.
    fn lease(&mut self, _: &str, entry: &DirEntry) -> Result<()> {
        let path = entry.path();
        match lock::claim(&path).map_err(Error::io("open", &path))? {
            Claim::Free(_ours) => layout::remove(&path),
            Claim::Owned | Claim::Gone => Ok(()),
        }
    }

    fn remove(&self, path: &Path) -> Result<()> {
        if self.plan.dry_run { Ok(()) } else { layout::remove(path) }
    }
}

/// A client that pushes has this long from its first blob to its manifest.
const UPLOAD_GRACE: Duration = Duration::from_secs(24 * 3600);

/// Zero if it is gone.
fn size_of(entry: &DirEntry) -> Result<u64> {
    match entry.metadata() {
        Ok(metadata) => Ok(metadata.len()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(Error::io("read", entry.path())(error)),
    }
}
