//! What must not depend on how full the store is. The limits are several times what an idle machine needs with optimization
//! off, so that only a change of the order of growth fails.

use crate::world::{World, never_mounted};
use larder_core::{Descriptor, Digest, MediaType, Reference};
use larder_store::{GcPlan, Store};
use rusqlite::params;
use std::fs;
use std::time::{Duration, Instant};

const MANY: u32 = 10_000;

/// Writes rows and files as the store would, without syncing each one.
fn fill(world: &World) -> Vec<(Reference, Descriptor)> {
    drop(world.open());
    let mut database = world.sql(true);
    let transaction = database.transaction().unwrap();
    let key = |digest: &Digest| [&[1], digest.as_bytes()].concat();
    let mut names = Vec::new();
    for number in 0..MANY {
        let content = number.to_le_bytes();
        let digest = Digest::of(&content);
        fs::write(world.blob_path(&digest), content).unwrap();
        transaction
            .execute("INSERT INTO blobs VALUES (?1, 4, 3, NULL, NULL, 0, 0)", params![key(&digest)])
            .unwrap();
        let reference: Reference = format!("registry.example.com/team/app{number}:1").parse().unwrap();
        let descriptor = Descriptor::new(MediaType::OCI_MANIFEST, digest, 4);
        let text = serde_json::to_string(&descriptor).unwrap();
        transaction
            .execute(
                "INSERT INTO names VALUES (?1, ?2, ?3, 0, 0, ?4, 0, ?5, 0)",
                params![reference.to_string(), key(&digest), text, number, reference.name()],
            )
            .unwrap();
        names.push((reference, descriptor));
    }
    transaction.execute("UPDATE facts SET value = 2 WHERE key = 'names'", []).unwrap();
    transaction.commit().unwrap();
    names
}

/// The best of several runs: what the code costs, without what the neighbours cost.
fn best(times: u32, mut work: impl FnMut()) -> Duration {
    (0..times)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .min()
        .unwrap()
}

/// Every image has a layer that all others have too, and one repository has a thousand tags.
#[test]
fn whether_a_repository_holds_something_is_known_soon() {
    let world = World::new();
    let names = fill(&world);
    let base = Digest::of(b"base");
    let mut database = world.sql(true);
    let transaction = database.transaction().unwrap();
    let key = |digest: &Digest| [&[1], digest.as_bytes()].concat();
    for (_, descriptor) in &names {
        transaction
            .execute("INSERT INTO edges VALUES (?1, ?2, 0)", params![key(&descriptor.digest), key(&base)])
            .unwrap();
    }
    for number in 0..1_000 {
        transaction
            .execute(
                "INSERT INTO cached VALUES ('ghcr.io/many/tags', ?1, ?2, '{}', 0, 0)",
                params![format!("t{number}"), key(&Digest::of(format!("{number}").as_bytes()))],
            )
            .unwrap();
    }
    transaction.commit().unwrap();
    let store = world.open();
    let (reference, descriptor) = &names[7_777];
    let own = reference.name().parse().unwrap();
    let (none, many) = ("ghcr.io/no/tags".parse().unwrap(), "ghcr.io/many/tags".parse().unwrap());
    let other = &names[1].1.digest;
    let cases = [
        ("an image", &own, &descriptor.digest, true),
        ("an image of others", &own, other, false),
        ("a layer that all have", &own, &base, true),
        ("a layer that all others have", &none, &base, false),
        ("a layer that all others have, among many tags", &many, &base, false),
    ];
    for (what, repository, digest, expected) in cases {
        let took = best(20, || assert_eq!(store.holds(repository, digest).unwrap(), expected, "{what}"));
        let limit = if what.contains("many") { 100_000 } else { 10_000 };
        assert!(took < Duration::from_micros(limit), "{what}: {took:?}");
    }
    let page = best(5, || assert_eq!(store.repositories(None, 100).unwrap().len(), 100));
    let tags = best(5, || assert_eq!(store.tags(&many, Some("t5"), 100).unwrap().len(), 100));
    assert!(page < Duration::from_millis(20) && tags < Duration::from_millis(5), "{page:?} {tags:?}");
}

#[test]
fn costs_do_not_grow_with_the_store() {
    let world = World::new();
    let names = fill(&world);
    let store = world.open();
    let (reference, descriptor) = &names[7_777];

    let open = best(20, || drop(world.open()));
    let contains = best(200, || assert!(store.contains(&descriptor.digest).unwrap()));
    // A name lookup must never read the index: it is not there.
    fs::rename(world.home.join("index.json"), world.home.join("rw/index.json")).unwrap();
    let name = best(200, || assert!(store.name(reference).unwrap().is_some()));
    fs::rename(world.home.join("rw/index.json"), world.home.join("index.json")).unwrap();
    let other = &names[1].1;
    let mut turn = false;
    let set_name = best(20, || {
        turn = !turn;
        store.set_name(reference, if turn { other } else { descriptor }).unwrap();
    });
    let touch = best(50, || store.touch(&[descriptor.digest]).unwrap());
    let lease = best(50, || drop(store.lease("test").unwrap()));
    let flush = best(1, || store.flush().unwrap());
    let stats = best(1, || assert_eq!(store.stats().unwrap().images, u64::from(MANY)));
    let keep = best(1, || assert_eq!(store.gc(&GcPlan::new(&never_mounted)).unwrap().blobs, 0));
    let half = GcPlan { quota_bytes: Some(u64::from(MANY) * 2), ..GcPlan::new(&never_mounted) };
    let sweep = best(1, || assert_eq!(store.gc(&half).unwrap().blobs, u64::from(MANY) / 2));
    let measured = format!(
        "open {open:?}, contains {contains:?}, name {name:?}, set_name {set_name:?}, touch {touch:?}, lease {lease:?}, \
         flush {flush:?}, stats {stats:?}, gc of nothing {keep:?}, gc of half {sweep:?}"
    );
    assert!(open < Duration::from_millis(3), "{measured}");
    assert!(contains < Duration::from_micros(100), "{measured}");
    assert!(name < Duration::from_micros(150), "{measured}");
    assert!(set_name < Duration::from_millis(20), "{measured}");
    assert!(keep < Duration::from_secs(1) && sweep < Duration::from_secs(2), "{measured}");
    assert!(Store::open(&world.home, world.options("first")).is_ok());
}
