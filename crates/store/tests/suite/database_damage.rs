//! A damaged database is found, whatever was damaged, and made again from what is left.

use crate::world::{World, never_mounted, noise, put_image, put_json, put_named, reference};
use larder_core::{Classify as _, Descriptor, Digest, Kind, MediaType, Tier};
use larder_store::{
    Area, BeginDerived, BlobKind, Damaged, DerivedKey, Error, GcPlan, HeldKind, MountRecord, Outcome,
    Repaired, Served, Store, VerifyReport,
};
use rusqlite::types::Value;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

fn verify(store: &Store) -> VerifyReport {
    store.verify(&mut |_| {}).unwrap()
}

/// At least one row in every table.
fn populate(world: &World) -> Store {
    let store = world.open();
    let image = put_named(&store, "a:1", &[b"first layer", b"second layer"]);
    put_named(&store, "b:1", &[b"first layer", b"third layer"]);
    store.pin(&reference("b:1"), true).unwrap();
    store.admit(&image.descriptor.digest, "test").unwrap();
    store.record_expanded(&image.layers[0], 10_000).unwrap();
    let lease = store.lease("test").unwrap();
    let empty = Descriptor::of(MediaType::OCI_EMPTY, b"{}");
    store.put(b"{}", BlobKind::Config, &lease).unwrap();
    let artifact = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": "x/y",
        "config": empty, "layers": [], "subject": image.descriptor,
    });
    put_json(&store, &lease, &artifact);
    // What the document does not say itself is said by the name.
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{}]}}"#,
        serde_json::to_string(&image.descriptor).unwrap()
    );
    let index = larder_core::Document::parse(index.into_bytes(), Some(&MediaType::DOCKER_INDEX)).unwrap();
    store.put_document(&index, &lease).unwrap();
    store.set_name(&reference("multi:1"), &index.descriptor()).unwrap();
    let pushed = put_image(&store, &lease, &[b"pushed"]);
    store.hold(&"localhost/team/app".parse().unwrap(), &pushed.layers[0], HeldKind::Blob).unwrap();
    store.set_pushed(&reference("localhost/team/app:1"), &pushed.descriptor).unwrap();
    let proxied = "ghcr.io/x/y".parse().unwrap();
    store.set_cached(&proxied, "1", &image.descriptor).unwrap();
    store.note_public(&proxied).unwrap();
    let key = DerivedKey::new(Area::Layers, "a.tar");
    let BeginDerived::Build(building) = store.begin_derived(&key).unwrap() else { panic!() };
    fs::write(building.path(), b"derived content").unwrap();
    building.commit(15, Some(Digest::of(b"derived content"))).unwrap();
    store.use_derived(&key, &image.descriptor.digest).unwrap();
    store
        .add_mount(&MountRecord {
            dir: "/mnt".into(),
            identity: Some(b"known".to_vec()),
            manifest: image.descriptor.digest,
            driver: "erofs".into(),
            writable: None,
            extra: vec!["/x".into()],
        })
        .unwrap();
    let latency = Duration::from_millis(3);
    store.record(&[Served { tier: Tier::Registry, bytes: 10, latency, outcome: Outcome::Hit }]).unwrap();
    store.gc(&GcPlan::new(&|_| true)).unwrap();
    // As if this process had died with the lease.
    let rows = [
        "INSERT INTO leases (id, purpose, created) VALUES ('1-1-1', 'x', 1)",
        "INSERT INTO leased_blobs (lease, digest) SELECT '1-1-1', digest FROM blobs LIMIT 1",
        "INSERT INTO leased_derived (lease, area, name) VALUES ('1-1-1', 0, 'a.tar')",
    ];
    rows.iter().for_each(|row| assert_eq!(world.sql(true).execute(row, []).unwrap(), 1));
    store.flush().unwrap();
    store
}

const TABLES: [&str; 16] = [
    "facts",
    "blobs",
    "edges",
    "names",
    "held",
    "cached",
    "public",
    "leases",
    "leased_blobs",
    "leased_derived",
    "derived",
    "derived_uses",
    "mounts",
    "verdicts",
    "served",
    "latencies",
];

/// Every value of every row.
fn dump(world: &World) -> Vec<Vec<Value>> {
    let database = world.sql(true);
    let mut all = Vec::new();
    for table in TABLES {
        let mut query = database.prepare(&format!("SELECT * FROM {table} NOT INDEXED")).unwrap();
        let columns = query.column_count();
        let rows = query
            .query_map([], |row| (0..columns).map(|at| row.get(at)).collect::<rusqlite::Result<Vec<Value>>>())
            .unwrap()
            .collect::<rusqlite::Result<Vec<_>>>()
            .unwrap();
        assert!(!rows.is_empty(), "{table} is empty");
        all.extend(rows);
    }
    all
}

/// The database and its log, to be written back.
struct Files(Vec<(PathBuf, Option<Vec<u8>>)>);

impl Files {
    fn read(world: &World) -> Self {
        let names =
            ["larder.db", "larder.db-wal", "larder.db-shm", "index.json", "index.yaml", "layers/a.tar"];
        Self(
            names
                .map(|name| world.home.join(name))
                .into_iter()
                .map(|path| (path.clone(), fs::read(path).ok()))
                .collect(),
        )
    }

    fn restore(&self, but: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut change = Some(change);
        for (path, content) in &self.0 {
            let _ = fs::remove_file(path);
            let mut content = content.clone();
            if path.file_name().unwrap() == but {
                change.take().unwrap()(content.as_mut().unwrap());
            }
            // SQLite makes its shared memory anew.
            if let Some(content) = content.filter(|_| !path.ends_with("larder.db-shm")) {
                fs::write(path, content).unwrap();
            }
        }
    }

    fn content(&self, name: &str) -> Vec<u8> {
        self.0.iter().find(|(path, _)| path.ends_with(name)).unwrap().1.clone().unwrap()
    }
}

/// Opens a store that may be damaged, repairs what is found, and says whether anything was.
fn repair(world: &World, context: &str) -> bool {
    let (store, repaired) = Store::repair(&world.home, world.options("first")).unwrap_or_else(|error| {
        panic!("{context}: {}", larder_core::report(&error));
    });
    let mut found = repaired != Repaired::Nothing;
    for damage in verify(&store).damage {
        found = true;
        if let Damaged::File(path) = &damage.what {
            store.restore(path).unwrap_or_else(|error| {
                panic!("{context}: {damage:?}: {}", larder_core::report(&error));
            });
        }
    }
    let report = verify(&store);
    assert!(report.is_clean(), "{context}: {report:?}");
    let names = store.names().unwrap();
    let flags: Vec<_> =
        names.iter().map(|name| (name.reference.familiar(), name.pinned, name.pushed)).collect();
    let expected = [("a:1", false, false), ("b:1", true, false), ("multi:1", false, false)]
        .into_iter()
        .map(|(name, pinned, pushed)| (name.to_owned(), pinned, pushed))
        .chain([("localhost/team/app:1".to_owned(), false, true)]);
    assert_eq!(flags, expected.collect::<Vec<_>>(), "{context}");
    for name in &names {
        let document = store.document(&name.descriptor.digest).unwrap().unwrap();
        assert_eq!(document.media_type(), &name.descriptor.media_type, "{context}");
    }
    // Whatever was lost, a collection removes nothing that a name needs.
    store.gc(&GcPlan::new(&|_| true)).unwrap();
    for name in names {
        let mut open = vec![name.descriptor.digest];
        while let Some(digest) = open.pop() {
            assert!(store.contains(&digest).unwrap(), "{context}: {digest} of {}", name.reference);
            if let Ok(Some(document)) = store.document(&digest) {
                open.extend(document.manifest().children().iter().map(|child| child.digest));
            }
        }
    }
    let report = verify(&store);
    assert!(report.is_clean(), "{context}: {report:?}");
    found
}

/// Flips bits all over a file, wherever there is something. Each is found, or is where nothing is read from any more. Every so
/// many are repaired too.
fn flip_all_over(world: &World, name: &str, stride: usize, repair_each: usize) {
    let files = Files::read(world);
    let original = dump(world);
    let (mut refused, mut found, mut unused) = (0, 0, 0);
    let content = files.content(name);
    let used = (0..content.len()).filter(|at| content[*at] != 0 || at % 64 == 0);
    for (round, at) in used.step_by(stride).enumerate() {
        let bit = round % 8;
        let context = format!("bit {bit} of byte {at} of {name}");
        let flip = |content: &mut Vec<u8>| content[at] ^= 1 << bit;
        files.restore(name, flip);
        match Store::open(&world.home, world.options("first")) {
            Err(error) => {
                let report = larder_core::report(&error);
                assert_eq!(error.kind(), Kind::Corrupt, "{context}: {report}");
                assert!(report.contains("larder.db"), "{context}: {report}");
                assert!(error.hints()[0].contains("larder verify --repair"), "{context}: {report}");
                refused += 1;
            }
            Ok(store) => match store.verify(&mut |_| {}) {
                Ok(report) if report.is_clean() => {
                    assert!(dump(world) == original, "{context}: nothing was found, but rows have changed");
                    unused += 1;
                }
                Ok(_) => found += 1,
                Err(error) => panic!("{context}: {}", larder_core::report(&error)),
            },
        }
        if round % repair_each == 0 {
            files.restore(name, flip);
            repair(world, &context);
        }
    }
    files.restore("", |_| {});
    assert!(refused + found > 100, "{refused} refused, {found} found, {unused} in unused places");
}

#[test]
fn a_flipped_bit_anywhere_in_the_database_is_found() {
    let world = World::new();
    drop(populate(&world));
    let database = world.sql(true);
    database.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);").unwrap();
    drop(database);
    flip_all_over(&world, "larder.db", 31, 9);
}

#[test]
fn a_flipped_bit_anywhere_in_the_log_is_found() {
    let world = World::new();
    drop(populate(&world));
    flip_all_over(&world, "larder.db-wal", 13, 29);
}

/// Wrong values in sound pages: only the sums can tell.
#[test]
fn a_changed_row_is_found_in_every_table_and_made_again() {
    let world = World::new();
    drop(populate(&world));
    let files = Files::read(&world);
    for (table, change) in [
        ("facts", "value = value + 1 WHERE key = 'names'"),
        ("facts", "value = value + 1 WHERE key = 'collected'"),
        ("blobs", "size = size + 1"),
        ("blobs", "used = used + 1"),
        ("blobs", "expanded = 7 WHERE expanded IS NOT NULL"),
        ("edges", "relation = 0 WHERE relation = 1"),
        ("edges", "child = zeroblob(33) WHERE child = (SELECT child FROM edges ORDER BY child LIMIT 1)"),
        ("names", "descriptor = replace(descriptor, '2', '3')"),
        ("names", "descriptor = 'no JSON'"),
        ("names", "pinned = 1 - pinned"),
        ("names", "reference = reference || 'x'"),
        ("names", "used = 0"),
        ("held", "removed = 1"),
        ("cached", "selector = 'other'"),
        ("public", "since = since + 1"),
        ("leases", "purpose = 'y'"),
        ("leased_blobs", "digest = zeroblob(33)"),
        ("leased_derived", "area = 1"),
        ("derived", "boot = 'other'"),
        ("derived_uses", "manifest = zeroblob(33)"),
        ("mounts", "driver = 'other'"),
        ("verdicts", "reason = 'other'"),
        ("served", "count = 2"),
        ("latencies", "bucket = 1"),
    ] {
        files.restore("", |_| {});
        let store = world.open();
        let count = world.sql(false).execute(&format!("UPDATE {table} SET {change}"), []).unwrap();
        let report = verify(&store);
        let text = format!("{report:?}");
        assert!(
            text.contains(&format!("in {table}")) && text.contains("larder.db"),
            "{table}: {change}: {text}"
        );
        assert!(count > 0);
        drop(store);
        assert!(repair(&world, &format!("{table}: {change}")));
    }
}

#[test]
fn other_tables_and_another_head_are_found_and_put_right() {
    let world = World::new();
    drop(populate(&world));
    let files = Files::read(&world);
    for change in [
        "DROP INDEX names_by_digest",
        "DROP TABLE verdicts",
        "CREATE TABLE stranger (x)",
        "CREATE INDEX stranger ON blobs (used)",
        "PRAGMA application_id = 1",
        "PRAGMA journal_mode = DELETE",
        "DELETE FROM facts WHERE key = 'layout'",
    ] {
        files.restore("", |_| {});
        world.sql(true).execute_batch(change).unwrap();
        assert!(repair(&world, change), "{change}");
    }
}

#[test]
fn names_that_were_only_in_a_lost_log_come_back_from_the_index() {
    let world = World::new();
    let store = populate(&world);
    world.sql(true).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    put_named(&store, "late:1", &[b"late"]);
    store.flush().unwrap();
    drop(store);
    let log = world.home.join("larder.db-wal");
    let mut content = fs::read(&log).unwrap();
    content[40] ^= 1;
    fs::write(&log, content).unwrap();
    let _ = fs::remove_file(world.home.join("larder.db-shm"));
    let store = world.open();
    assert!(store.name(&reference("late:1")).unwrap().is_none(), "SQLite says nothing");
    let report = verify(&store);
    assert!(matches!(&report.damage[0].what, Damaged::File(path) if *path == log), "{report:?}");
    assert!(store.restore(&log).unwrap());
    let late = store.name(&reference("late:1")).unwrap().unwrap();
    assert!(store.document(&late.descriptor.digest).unwrap().is_some());
    assert!(verify(&store).is_clean());
}

#[test]
fn a_head_that_forbids_writing_and_lost_blobs_without_names_are_damage() {
    let world = World::new();
    drop(populate(&world));
    world.sql(true).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    let database = world.home.join("larder.db");
    let mut content = fs::read(&database).unwrap();
    content[18] = 6;
    fs::write(&database, content).unwrap();
    let error = Store::open(&world.home, world.options("first")).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    assert!(repair(&world, "a head that forbids writing"));

    let world = World::new();
    let lease = world.open().lease("test").unwrap();
    world.open().put(b"blob", BlobKind::Other, &lease).unwrap();
    drop(lease);
    fs::remove_file(world.home.join("larder.db")).unwrap();
    let error = Store::open(&world.home, world.options("first")).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    let (store, _) = Store::repair(&world.home, world.options("first")).unwrap();
    assert!(store.contains(&Digest::of(b"blob")).unwrap());
}

/// What a document is may be said by another one only.
#[test]
fn documents_are_what_their_parents_call_them_when_the_database_is_lost() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let raw = br#"{"schemaVersion":2, "manifests":[]}"#.to_vec();
    let inner = larder_core::Document::parse(raw, Some(&MediaType::DOCKER_INDEX)).unwrap();
    store.put_document(&inner, &lease).unwrap();
    let outer = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": [inner.descriptor()],
    });
    let outer = put_json(&store, &lease, &outer);
    store.set_name(&reference("nested:1"), &outer.descriptor()).unwrap();
    store.flush().unwrap();
    drop(lease);
    drop(store);
    fs::remove_file(world.home.join("larder.db")).unwrap();
    let (store, repaired) = Store::repair(&world.home, world.options("first")).unwrap();
    assert_eq!(repaired, Repaired::Rebuilt { aside: None });
    let found = store.document(&inner.digest()).unwrap().unwrap();
    assert_eq!(found.media_type(), &MediaType::DOCKER_INDEX);
    assert!(verify(&store).is_clean());
}

#[test]
fn a_damaged_name_is_an_error_and_never_another_image() {
    let world = World::new();
    let store = populate(&world);
    let name = store.name(&reference("a:1")).unwrap().unwrap();
    let other = store.name(&reference("b:1")).unwrap().unwrap();
    world
        .sql(false)
        .execute(
            "UPDATE names SET descriptor = replace(descriptor, ?1, ?2) WHERE reference LIKE '%/a:1'",
            [name.descriptor.digest.to_string(), other.descriptor.digest.to_string()],
        )
        .unwrap();
    let error = store.name(&reference("a:1")).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(error.hints()[0].contains("larder verify --repair"));
    assert!(store.name(&reference("b:1")).unwrap().is_some());
    // The second copy of the names is not overwritten with damaged ones.
    let before = fs::read(world.home.join("index.json")).unwrap();
    put_named(&store, "c:1", &[b"c"]);
    assert_eq!(store.flush().unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(fs::read(world.home.join("index.json")).unwrap(), before);
    let database = world.home.join("larder.db");
    assert!(store.restore(&database).unwrap());
    assert_eq!(store.name(&reference("a:1")).unwrap().unwrap().descriptor, name.descriptor);
    assert!(store.name(&reference("c:1")).unwrap().is_some(), "sound rows stay");
    assert!(fs::read_to_string(world.home.join("index.json")).unwrap().contains("c:1"));
    assert!(verify(&store).is_clean());
}

#[test]
fn rows_are_repaired_while_others_use_the_store() {
    let world = World::new();
    let (store, other) = (populate(&world), world.open());
    let lease = other.lease("pull").unwrap();
    let image = put_image(&other, &lease, &[b"meanwhile"]);
    world.sql(false).execute("UPDATE blobs SET used = 1", []).unwrap();
    store.restore(&world.home.join("larder.db")).unwrap();
    assert!(other.missing(&image.digests()).unwrap().is_empty());
    other.set_name(&reference("meanwhile:1"), &image.descriptor).unwrap();
    drop(lease);
    store.gc(&GcPlan::new(&never_mounted)).unwrap();
    assert!(store.missing(&image.digests()).unwrap().is_empty());
    assert!(verify(&other).is_clean());
}

#[test]
fn a_lost_database_is_never_taken_for_an_empty_store() {
    type Loss = fn(&World);
    let losses: [(&str, Loss); 5] = [
        ("deleted", |world| fs::remove_file(world.home.join("larder.db")).unwrap()),
        ("empty", |world| fs::write(world.home.join("larder.db"), b"").unwrap()),
        ("garbage", |world| fs::write(world.home.join("larder.db"), "x".repeat(9_000)).unwrap()),
        ("cut off", |world| {
            let file = fs::File::options().write(true).open(world.home.join("larder.db")).unwrap();
            file.set_len(8_192).unwrap();
        }),
        ("overwritten", |world| {
            let file = fs::File::options().write(true).open(world.home.join("larder.db")).unwrap();
            let length = file.metadata().unwrap().len() as usize;
            std::os::unix::fs::FileExt::write_all_at(&file, &noise(5, length - 4_096), 4_096).unwrap();
        }),
    ];
    for (what, lose) in losses {
        let world = World::new();
        drop(populate(&world));
        world.sql(true).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
        for side in ["larder.db-wal", "larder.db-shm"] {
            let _ = fs::remove_file(world.home.join(side));
        }
        lose(&world);
        let blobs = world.files("blobs/sha256");
        let index = fs::read(world.home.join("index.json")).unwrap();
        match Store::open(&world.home, world.options("first")) {
            Err(error) => {
                assert_eq!(error.kind(), Kind::Corrupt, "{what}: {error}");
                assert!(larder_core::report(&error).contains("larder.db"), "{what}: {error}");
                assert!(error.hints()[0].contains("larder verify --repair"), "{what}");
            }
            Ok(store) => {
                assert_eq!(what, "overwritten");
                assert!(!verify(&store).is_clean());
            }
        }
        assert_eq!(fs::read(world.home.join("index.json")).unwrap(), index, "{what}");
        assert_eq!(world.files("blobs/sha256"), blobs, "{what}");

        assert!(repair(&world, what));
        let aside = world.files("quarantine");
        assert_eq!(aside.iter().any(|name| name == "larder.db"), what != "deleted", "{what}: {aside:?}");
        let store = world.open();
        let app = "localhost/team/app".parse().unwrap();
        let pushed = store.name(&reference("localhost/team/app:1")).unwrap().unwrap().descriptor;
        let parts = store.document(&pushed.digest).unwrap().unwrap();
        let parts = parts.manifest().children().into_iter().map(|child| child.digest).chain([pushed.digest]);
        assert!(parts.into_iter().all(|digest| store.holds(&app, &digest).unwrap()), "{what}");
        assert_eq!(
            store
                .referrers(&store.name(&reference("a:1")).unwrap().unwrap().descriptor.digest)
                .unwrap()
                .len(),
            1
        );
        // Freshness is not invented.
        let name = store.name(&reference("a:1")).unwrap().unwrap();
        assert_eq!(name.checked, std::time::SystemTime::UNIX_EPOCH, "{what}");
        let stats = store.stats().unwrap();
        assert!(stats.layers >= 4 && stats.manifests >= 4, "{what}: {stats:?}");
    }
}

#[test]
fn a_database_that_is_in_use_is_not_replaced() {
    let world = World::new();
    let store = populate(&world);
    let kept = fs::read(world.home.join("larder.db")).unwrap();
    fs::write(world.home.join("larder.db"), "x".repeat(9_000)).unwrap();
    let error = Store::repair(&world.home, world.options("first")).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
    assert_eq!(error.kind(), Kind::Conflict);
    assert!(!error.hints().is_empty());
    assert!(world.files("quarantine").is_empty());
    drop(store);
    assert!(repair(&world, "not in use any more"));
    assert!(!kept.is_empty());
}
