//! Numbers for people.

use crate::world::{World, put_named};
use larder_core::{Digest, Tier};
use larder_store::{Area, BeginDerived, DerivedKey, Outcome, Served};
use std::fs;
use std::time::Duration;

#[test]
fn sizes_add_up() {
    let world = World::new();
    let store = world.open();
    let one = put_named(&store, "a:1", &[&[1; 10_000], &[2; 20_000]]);
    put_named(&store, "b:1", &[&[1; 10_000], &[3; 30_000]]);
    store.record_expanded(&one.layers[0], 40_960).unwrap();
    let BeginDerived::Build(building) = store.begin_derived(&DerivedKey::new(Area::Layers, "x.tar")).unwrap()
    else {
        panic!()
    };
    fs::write(building.path(), [0; 500]).unwrap();
    building.commit(500, None).unwrap();
    let lease = store.lease("test").unwrap();
    if let larder_store::Begin::Ingest(mut ingest) = store.begin(&Digest::of(b"x"), None, &lease).unwrap() {
        ingest.write(b"half").unwrap();
    }
    let stats = store.stats().unwrap();
    assert_eq!((stats.images, stats.manifests, stats.layers, stats.blobs), (2, 2, 3, 7));
    let layer = |digest: &Digest| store.blob(digest).unwrap().unwrap().size();
    assert_eq!(stats.total_bytes, stats.unique_bytes + layer(&one.layers[0]), "one layer is shared");
    assert_eq!((stats.derived_bytes, stats.partial_bytes), (500, 4));
    assert_eq!(stats.stored_bytes, stats.unique_bytes + 504);
    let ratio = stats.compression_ratio.unwrap();
    assert!((ratio - 40_960.0 / layer(&one.layers[0]) as f64).abs() < 1e-9);
    assert!(stats.free_bytes > 0);
    assert_eq!(stats.last_gc, None);
}

#[test]
fn latencies_are_remembered_per_tier() {
    let world = World::new();
    let served =
        |tier, millis, outcome| Served { tier, bytes: 10, latency: Duration::from_millis(millis), outcome };
    let mut all: Vec<_> = (1..=100).map(|millis| served(Tier::Registry, millis, Outcome::Hit)).collect();
    all.push(served(Tier::Registry, 9_999, Outcome::Error));
    all.push(served(Tier::Disk, 1, Outcome::Miss));
    world.open().record(&all[..50]).unwrap();
    world.open().record(&all[50..]).unwrap();
    world.open().record(&[]).unwrap();
    let tiers = world.open().stats().unwrap().tiers;
    assert_eq!(tiers.iter().map(|tier| tier.tier).collect::<Vec<_>>(), Tier::ALL);
    let registry = &tiers[3];
    assert_eq!((registry.hits, registry.misses, registry.errors, registry.bytes), (100, 0, 1, 1_010));
    for (found, expected) in [(registry.p50, 50), (registry.p95, 95), (registry.p99, 99)] {
        let (found, expected) = (found.unwrap(), Duration::from_millis(expected));
        assert!(found >= expected && found <= expected * 17 / 16, "{found:?}");
    }
    assert_eq!((tiers[1].hits, tiers[1].misses, tiers[1].p50), (0, 1, None));
}
