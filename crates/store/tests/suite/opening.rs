//! Opening: fresh, again, at the same time, and what is refused.

use crate::world::{World, put_named, reference};
use larder_core::{Classify as _, Kind};
use larder_store::{Error, Store};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;

#[test]
fn a_fresh_store_is_private_and_complete() {
    let world = World::new();
    let store = world.open();
    assert_eq!(store.home(), world.home);
    put_named(&store, "a/b:1", &[b"x"]);
    store.flush().unwrap();
    let mut open = vec![world.home.clone()];
    let mut files = 0;
    while let Some(directory) = open.pop() {
        assert_eq!(fs::metadata(&directory).unwrap().permissions().mode() & 0o777, 0o700, "{directory:?}");
        for entry in fs::read_dir(directory).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_dir() {
                open.push(entry.path());
            } else {
                files += 1;
                let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
                assert_eq!(mode, 0o600, "{:?}", entry.path());
            }
        }
    }
    assert!(files >= 9, "{files}");
    assert_eq!(fs::read(world.home.join("oci-layout")).unwrap(), br#"{"imageLayoutVersion":"1.0.0"}"#);
}

/// What a file system may leave of files that were written and not synced: the names, and nothing in them.
#[test]
fn files_that_a_power_cut_emptied_are_written_again() {
    let files = ["oci-layout", "index.json", "index.yaml"];
    let read = |world: &World| files.map(|name| fs::read(world.home.join(name)).unwrap());
    for named in [false, true] {
        let world = World::new();
        {
            let store = world.open();
            if named {
                put_named(&store, "a/b:1", &[b"x"]);
            }
            store.flush().unwrap();
        }
        let before = read(&world);
        for name in files {
            fs::write(world.home.join(name), b"").unwrap();
        }
        // And what a start that was cut off leaves.
        fs::write(world.home.join(".larder.db.new"), b"half a database").unwrap();
        let store = world.open();
        assert_eq!(read(&world), before);
        assert_eq!(store.names().unwrap().len(), usize::from(named));
        assert!(store.verify(&mut |_| {}).unwrap().is_clean());
    }
}

#[test]
fn a_start_that_was_cut_off_before_the_database_was_in_place_is_made_again() {
    let world = World::new();
    drop(world.open());
    for name in ["larder.db", "larder.db-wal", "larder.db-shm"] {
        let _ = fs::remove_file(world.home.join(name));
    }
    fs::write(world.home.join(".larder.db.new"), b"half a database").unwrap();
    fs::write(world.home.join(".larder.db.new-wal"), b"half a log").unwrap();
    let store = world.open();
    put_named(&store, "a/b:1", &[b"x"]);
    store.flush().unwrap();
    assert!(!world.home.join(".larder.db.new").exists());
    assert!(store.verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn many_open_a_new_store_at_once() {
    for _ in 0..10 {
        let world = World::new();
        let barrier = std::sync::Barrier::new(8);
        std::thread::scope(|scope| {
            for number in 0..8 {
                let (world, barrier) = (&world, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    put_named(&world.open(), &format!("a/b:{number}"), &[b"same"]);
                });
            }
        });
        let store = world.open();
        assert_eq!(store.names().unwrap().len(), 8);
        assert!(store.verify(&mut |_| {}).unwrap().is_clean());
    }
}

#[test]
fn a_newer_store_is_refused_and_left_alone() {
    let world = World::new();
    put_named(&world.open(), "a/b:1", &[b"x"]);
    let database = world.sql(true);
    database.pragma_update(None, "user_version", 99).unwrap();
    // A number that the store does not repeat was not written by any larder.
    let error = Store::open(&world.home, world.options("first")).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
    database.execute("UPDATE facts SET value = 99 WHERE key = 'layout'", []).unwrap();
    drop(database);
    let error = Store::open(&world.home, world.options("first")).unwrap_err();
    assert!(matches!(error, Error::Newer { found: 99, known: 3, .. }), "{error}");
    assert_eq!(error.kind(), Kind::Unsupported);
    assert!(!error.hints().is_empty());
}

#[test]
fn the_layout_of_somebody_else_is_refused() {
    let world = World::new();
    fs::create_dir_all(&world.home).unwrap();
    let index = br#"{"schemaVersion":2,"manifests":[{"mediaType":"a/b","digest":"sha256:0","size":1}]}"#;
    fs::write(world.home.join("index.json"), index).unwrap();
    let error = Store::open(&world.home, world.options("first")).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
    assert_eq!(fs::read(world.home.join("index.json")).unwrap(), index);

    // An empty one loses nothing.
    fs::write(world.home.join("index.json"), br#"{"schemaVersion":2,"manifests":[]}"#).unwrap();
    world.open();
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let world = World::new();
    fs::create_dir_all(&world.home).unwrap();
    fs::write(world.home.join("larder.db"), "x".repeat(5_000)).unwrap();
    let error = Store::open(&world.home, world.options("first")).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error}");
}

#[test]
fn an_index_that_a_crash_left_behind_is_written_when_opening() {
    let world = World::new();
    // No flush: as if the process had died here.
    put_named(&world.open(), "a/b:1", &[b"x"]);
    assert!(!fs::read_to_string(world.home.join("index.json")).unwrap().contains("a/b:1"));
    let store = world.open();
    assert!(fs::read_to_string(world.home.join("index.json")).unwrap().contains("a/b:1"));
    fs::remove_file(world.home.join("index.json")).unwrap();
    drop(store);
    let store = world.open();
    assert!(fs::read_to_string(world.home.join("index.json")).unwrap().contains("a/b:1"));
    assert!(store.name(&reference("a/b:1")).unwrap().is_some());
}

#[test]
fn a_home_that_cannot_be_made_says_so() {
    let world = World::new();
    fs::write(&world.home, "a file").unwrap();
    let error = Store::open(&world.home, world.options("first")).unwrap_err();
    assert_eq!(error.kind(), Kind::Conflict, "{error}");
}
