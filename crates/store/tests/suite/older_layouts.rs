//! Stores of older layouts are opened, and nothing of them is lost.

use crate::world::{World, put_named, reference};
use larder_core::Tier;
use larder_store::{Area, BeginDerived, DerivedKey, MountRecord, Outcome, Served, Store};
use std::fs;
use std::time::Duration;

/// One of everything that the older layouts knew.
fn populate(world: &World) -> (Store, MountRecord) {
    let store = world.open();
    let image = put_named(&store, "a/b:1", &[b"x"]);
    put_named(&store, "localhost:5000/team/app:2", &[b"y", b"z"]);
    store.pin(&reference("a/b:1"), true).unwrap();
    store.admit(&image.descriptor.digest, "signed").unwrap();
    let mount = MountRecord {
        dir: "/mnt".into(),
        identity: Some(b"known".to_vec()),
        manifest: image.descriptor.digest,
        driver: "overlay".into(),
        writable: None,
        extra: vec!["/x".into()],
    };
    store.add_mount(&mount).unwrap();
    let key = DerivedKey::new(Area::Layers, "a.tar");
    let BeginDerived::Build(building) = store.begin_derived(&key).unwrap() else { panic!() };
    fs::write(building.path(), b"derived").unwrap();
    building.commit(7, None).unwrap();
    store.use_derived(&key, &image.descriptor.digest).unwrap();
    let latency = Duration::from_millis(3);
    store.record(&[Served { tier: Tier::Registry, bytes: 10, latency, outcome: Outcome::Hit }]).unwrap();
    store.flush().unwrap();
    (store, mount)
}

/// Turns the store back into one of an older layout.
fn age(world: &World, version: u32) {
    let (new, old) = (world.home.join("larder.db"), world.home.join("old.db"));
    let database = rusqlite::Connection::open(&old).unwrap();
    database.execute_batch("PRAGMA journal_mode=WAL").unwrap();
    database.execute_batch(VERSION_2).unwrap();
    database.execute("ATTACH ?1 AS new", [new.to_str().unwrap()]).unwrap();
    for (table, columns) in TABLES_2 {
        database
            .execute_batch(&format!("INSERT INTO main.{table} ({columns}) SELECT {columns} FROM new.{table}"))
            .unwrap();
    }
    database.execute("DELETE FROM main.facts WHERE key = 'layout'", []).unwrap();
    if version == 1 {
        database
            .execute_batch(
                "CREATE TABLE old (
                     dir BLOB PRIMARY KEY, manifest BLOB NOT NULL, driver TEXT NOT NULL, writable TEXT, extra BLOB NOT NULL
                 ) WITHOUT ROWID;
                 INSERT INTO old SELECT dir, manifest, driver, writable, extra FROM main.mounts;
                 DROP TABLE main.mounts; ALTER TABLE old RENAME TO mounts;",
            )
            .unwrap();
    }
    database.execute_batch("DETACH new").unwrap();
    database.pragma_update(None, "application_id", 0x6c61_7264).unwrap();
    database.pragma_update(None, "user_version", version).unwrap();
    drop(database);
    for side in ["larder.db-wal", "larder.db-shm"] {
        let _ = fs::remove_file(world.home.join(side));
    }
    fs::rename(old, new).unwrap();
    let index = world.home.join("index.yaml");
    let text = fs::read_to_string(&index).unwrap();
    fs::write(index, text.replace("  pushed: false\n", "")).unwrap();
}

#[test]
fn stores_of_both_older_layouts_keep_everything() {
    for version in [1, 2] {
        let world = World::new();
        let (store, mut mount) = populate(&world);
        let (names, derived) = (store.names().unwrap(), store.derived_list().unwrap());
        let stats = store.stats().unwrap();
        drop(store);
        age(&world, version);

        let store = world.open();
        if version == 1 {
            mount.identity = None;
        }
        assert_eq!(store.mounts().unwrap(), [mount]);
        assert_eq!(store.names().unwrap(), names);
        assert!(!names[0].pushed);
        assert_eq!(store.derived_list().unwrap(), derived);
        assert_eq!(store.stats().unwrap().tiers, stats.tiers);
        let digest = names[0].descriptor.digest;
        assert!(store.admitted(&digest).unwrap().is_some());
        let repositories: Vec<_> =
            store.repositories(None, 9).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(repositories, ["docker.io/a/b", "localhost:5000/team/app"]);
        assert!(store.holds(&"docker.io/a/b".parse().unwrap(), &digest).unwrap());
        let report = store.verify(&mut |_| {}).unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(
            schema(&world),
            schema(&{
                let fresh = World::new();
                fresh.open();
                fresh
            })
        );
    }
}

fn schema(world: &World) -> Vec<(String, String)> {
    world
        .sql(true)
        .prepare("SELECT name, sql FROM sqlite_schema ORDER BY name")
        .unwrap()
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .collect::<rusqlite::Result<_>>()
        .unwrap()
}

const TABLES_2: &[(&str, &str)] = &[
    ("facts", "key, value"),
    ("blobs", "digest, size, kind, media_type, expanded, created, used"),
    ("edges", "parent, child, relation"),
    ("names", "reference, digest, descriptor, updated, checked, used, pinned"),
    ("derived", "area, name, size, checksum, boot, created, used"),
    ("derived_uses", "area, name, manifest"),
    ("mounts", "dir, identity, boot, manifest, driver, writable, extra"),
    ("verdicts", "digest, reason, decided"),
    ("served", "tier, outcome, count, bytes"),
    ("latencies", "tier, bucket, count"),
];

const VERSION_2: &str = "
CREATE TABLE facts (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE blobs (
    digest BLOB PRIMARY KEY, size INTEGER NOT NULL, kind INTEGER NOT NULL, media_type TEXT,
    expanded INTEGER, created INTEGER NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID;

-- relation 0: parent is a document and names child. relation 1: child is a document attached to parent, its subject.
CREATE TABLE edges (
    parent BLOB NOT NULL, child BLOB NOT NULL, relation INTEGER NOT NULL, PRIMARY KEY (parent, child, relation)
) WITHOUT ROWID;
CREATE INDEX edges_by_child ON edges (child, relation);

CREATE TABLE names (
    reference TEXT PRIMARY KEY, digest BLOB NOT NULL, descriptor TEXT NOT NULL, updated INTEGER NOT NULL,
    checked INTEGER NOT NULL, used INTEGER NOT NULL, pinned INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX names_by_digest ON names (digest);

CREATE TABLE leases (id TEXT PRIMARY KEY, purpose TEXT NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE leased_blobs (lease TEXT NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (lease, digest)) WITHOUT ROWID;
CREATE TABLE leased_derived (
    lease TEXT NOT NULL, area INTEGER NOT NULL, name TEXT NOT NULL, PRIMARY KEY (lease, area, name)
) WITHOUT ROWID;

CREATE TABLE derived (
    area INTEGER NOT NULL, name TEXT NOT NULL, size INTEGER NOT NULL, checksum BLOB, boot TEXT NOT NULL,
    created INTEGER NOT NULL, used INTEGER NOT NULL, PRIMARY KEY (area, name)
) WITHOUT ROWID;
CREATE TABLE derived_uses (
    area INTEGER NOT NULL, name TEXT NOT NULL, manifest BLOB NOT NULL, PRIMARY KEY (area, name, manifest)
) WITHOUT ROWID;

CREATE TABLE mounts (
    dir BLOB NOT NULL, identity BLOB NOT NULL, boot TEXT NOT NULL, manifest BLOB NOT NULL, driver TEXT NOT NULL,
    writable TEXT, extra BLOB NOT NULL, PRIMARY KEY (dir, identity)
) WITHOUT ROWID;
CREATE TABLE verdicts (digest BLOB PRIMARY KEY, reason TEXT NOT NULL, decided INTEGER NOT NULL) WITHOUT ROWID;

CREATE TABLE served (
    tier TEXT NOT NULL, outcome TEXT NOT NULL, count INTEGER NOT NULL, bytes INTEGER NOT NULL,
    PRIMARY KEY (tier, outcome)
) WITHOUT ROWID;
CREATE TABLE latencies (
    tier TEXT NOT NULL, bucket INTEGER NOT NULL, count INTEGER NOT NULL, PRIMARY KEY (tier, bucket)
) WITHOUT ROWID;
";
