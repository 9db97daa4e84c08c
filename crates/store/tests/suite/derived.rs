//! Things that can be made again.

use crate::world::{World, never_mounted, put_named, reference};
use larder_core::{Classify as _, Digest, Kind};
use larder_store::{Area, BeginDerived, Building, Derived, DerivedKey, GcPlan, MountRecord, Store};
use std::fs;

fn key(name: &str) -> DerivedKey {
    DerivedKey { area: Area::Layers, name: name.into() }
}

fn begin(store: &Store, name: &str) -> Building {
    match store.begin_derived(&key(name)).unwrap() {
        BeginDerived::Build(building) => building,
        other => panic!("expected to build, found {other:?}"),
    }
}

fn make(store: &Store, name: &str, content: &[u8]) -> Derived {
    let building = begin(store, name);
    fs::write(building.path(), content).unwrap();
    building.commit(content.len() as u64, Some(Digest::of(content))).unwrap()
}

#[test]
fn is_made_once_and_found() {
    let world = World::new();
    let (store, other) = (world.open(), world.open());
    assert!(store.derived(&key("a.tar")).unwrap().is_none());
    let building = begin(&store, "a.tar");
    assert!(!building.path().exists());
    assert!(matches!(other.begin_derived(&key("a.tar")).unwrap(), BeginDerived::Busy));
    fs::write(building.path(), b"content").unwrap();
    assert!(other.derived(&key("a.tar")).unwrap().is_none(), "not before it is complete");
    building.commit(7, None).unwrap();
    let found = other.derived(&key("a.tar")).unwrap().unwrap();
    assert_eq!((found.size(), found.path()), (7, world.home.join("layers/a.tar").as_path()));
    assert!(matches!(other.begin_derived(&key("a.tar")).unwrap(), BeginDerived::Exists(_)));
    assert_eq!(world.files("layers"), ["a.tar"]);
}

#[test]
fn directories_and_disks_work_alike() {
    let world = World::new();
    let store = world.open();
    let key = DerivedKey::new(Area::Disks, "x.ext4");
    let BeginDerived::Build(building) = store.begin_derived(&key).unwrap() else { panic!() };
    fs::create_dir(building.path()).unwrap();
    fs::write(building.path().join("inside"), b"x").unwrap();
    building.commit(1, None).unwrap();
    assert!(world.home.join("disks/x.ext4/inside").exists());
    assert!(store.remove_derived(&key).unwrap());
    assert!(!world.home.join("disks/x.ext4").exists());
    assert!(!store.remove_derived(&key).unwrap());
}

#[test]
fn what_is_given_up_leaves_nothing() {
    let world = World::new();
    let store = world.open();
    let building = begin(&store, "a.tar");
    fs::create_dir_all(building.path().join("x/y")).unwrap();
    drop(building);
    assert!(world.files("layers").is_empty());
    make(&store, "a.tar", b"second try");
}

#[test]
fn after_a_restart_of_the_machine_it_is_made_again() {
    let world = World::new();
    let image = put_named(&world.open(), "a:1", &[b"x"]);
    let store = world.open();
    make(&store, "a.tar", b"before");
    store.use_derived(&key("a.tar"), &image.descriptor.digest).unwrap();
    drop(store);
    let store = world.open_after_boot("second");
    assert!(store.derived(&key("a.tar")).unwrap().is_none());
    assert!(!store.derived_list().unwrap()[0].trusted);
    let building = begin(&store, "a.tar");
    assert!(!world.home.join("layers/a.tar").exists());
    fs::write(building.path(), b"after").unwrap();
    building.commit(5, None).unwrap();
    let found = store.derived(&key("a.tar")).unwrap().unwrap();
    assert_eq!(fs::read(found.path()).unwrap(), b"after");
    let row = store.derived_list().unwrap().remove(0);
    assert!(row.trusted);
    assert_eq!(row.manifests, [image.descriptor.digest], "who uses it is still known");
}

#[test]
fn a_crash_before_the_row_is_no_harm() {
    let world = World::new();
    let store = world.open();
    fs::write(world.home.join("layers/a.tar"), b"who knows").unwrap();
    assert!(store.derived(&key("a.tar")).unwrap().is_none());
    let made = make(&store, "a.tar", b"made");
    assert_eq!(fs::read(made.path()).unwrap(), b"made");
    fs::remove_file(made.path()).unwrap();
    assert!(store.derived(&key("a.tar")).unwrap().is_none(), "vanished");
    make(&store, "a.tar", b"made");
}

#[test]
fn lives_as_long_as_a_manifest_that_uses_it() {
    let world = World::new();
    let store = world.open();
    let image = put_named(&store, "a:1", &[b"x"]);
    make(&store, "used.tar", b"used");
    make(&store, "unused.tar", b"unused");
    store.use_derived(&key("used.tar"), &image.descriptor.digest).unwrap();
    let missing = store.use_derived(&key("none.tar"), &image.descriptor.digest).unwrap_err();
    assert_eq!(missing.kind(), Kind::NotFound);
    let report = store.gc(&GcPlan::new(&never_mounted)).unwrap();
    assert_eq!((report.derived, report.derived_bytes), (1, 6));
    assert_eq!(world.files("layers"), ["used.tar"]);
    store.remove_name(&reference("a:1")).unwrap();
    store.gc(&GcPlan::new(&never_mounted)).unwrap();
    assert!(world.files("layers").is_empty());
    assert!(store.derived_list().unwrap().is_empty());
}

#[test]
fn what_is_made_or_found_under_a_lease_stays_until_it_ends() {
    let world = World::new();
    let store = world.open();
    make(&store, "found.tar", b"found");
    let lease = store.lease("pull").unwrap();
    make(&store, "made.tar", b"made");
    make(&store, "building.tar", b"x");
    store.remove_derived(&key("building.tar")).unwrap();
    let building = begin(&store, "building.tar");
    fs::write(building.path(), b"half").unwrap();
    assert!(store.derived(&key("found.tar")).unwrap().is_some());
    world.open().gc(&GcPlan::new(&never_mounted)).unwrap();
    assert_eq!(
        world.files("layers"),
        [".building.tar.building", ".building.tar.lock", "found.tar", "made.tar"]
    );
    drop((lease, building));
    world.open().gc(&GcPlan::new(&never_mounted)).unwrap();
    assert!(world.files("layers").is_empty());
}

#[test]
fn a_mount_keeps_what_it_needs_even_if_outdated() {
    let world = World::new();
    let store = world.open();
    let image = put_named(&store, "a:1", &[b"x"]);
    make(&store, "used.tar", b"used");
    make(&store, "extra.erofs", b"extra");
    make(&store, "other.tar", b"other");
    store.use_derived(&key("used.tar"), &image.descriptor.digest).unwrap();
    store.use_derived(&key("other.tar"), &Digest::of(b"another manifest")).unwrap();
    store
        .add_mount(&MountRecord {
            dir: "/mnt".into(),
            identity: None,
            manifest: image.descriptor.digest,
            driver: "erofs".into(),
            writable: None,
            extra: vec![world.home.join("layers/extra.erofs")],
        })
        .unwrap();
    store.remove_name(&reference("a:1")).unwrap();
    let store = world.open_after_boot("second");
    store.gc(&GcPlan::new(&|_| true)).unwrap();
    let kept = world.files("layers");
    assert!(kept.contains(&"used.tar".to_owned()), "{kept:?}");
    assert!(!kept.contains(&"other.tar".to_owned()), "{kept:?}");
    assert!(kept.contains(&"extra.erofs".to_owned()), "{kept:?}");
    store.gc(&GcPlan::new(&never_mounted)).unwrap();
    assert!(world.files("layers").is_empty());
}

#[test]
fn names_cannot_lead_elsewhere() {
    let world = World::new();
    let store = world.open();
    for name in ["", ".", "..", "../x", "a/b", ".hidden", "a b", "a\0", &"x".repeat(201)] {
        let error = store.begin_derived(&key(name)).unwrap_err();
        assert_eq!(error.kind(), Kind::Invalid, "{name:?}");
        assert_eq!(store.remove_derived(&key(name)).unwrap_err().kind(), Kind::Invalid);
    }
}

#[test]
fn last_use_is_noted_to_the_minute() {
    let world = World::new();
    let store = world.open();
    make(&store, "a.tar", b"x");
    let used = || store.derived_list().unwrap()[0].last_used;
    let first = used();
    world.pass(30);
    store.derived(&key("a.tar")).unwrap();
    assert_eq!(used(), first);
    world.pass(60);
    store.derived(&key("a.tar")).unwrap();
    assert!(used() > first);
}
