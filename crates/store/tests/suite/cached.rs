//! What is remembered of upstreams.

use crate::world::{World, never_mounted, put_image, put_named};
use larder_core::RepositoryName;
use larder_store::GcPlan;
use std::time::Duration;

fn repository(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

#[test]
fn cached_entries_are_given_up_like_names() {
    let world = World::new();
    let store = world.open();
    let (a, b) = (repository("docker.io/library/a"), repository("ghcr.io/b/b"));
    let lease = store.lease("fetch").unwrap();
    let first = put_image(&store, &lease, &[b"first"]);
    let second = put_image(&store, &lease, &[b"second"]);
    store.set_cached(&a, "1", &first.descriptor).unwrap();
    assert!(store.names().unwrap().is_empty(), "nobody named it");
    store.flush().unwrap();
    assert!(!std::fs::read_to_string(world.home.join("index.json")).unwrap().contains("library/a"));
    let entry = store.cached(&a, "1").unwrap().unwrap();
    assert_eq!((&entry.repository, entry.selector.as_str()), (&a, "1"));
    assert_eq!(entry.descriptor, first.descriptor);
    assert_eq!(entry.checked, entry.used);
    assert!(store.cached(&b, "1").unwrap().is_none());
    assert!(!store.holds(&a, &first.layers[0]).unwrap(), "to be named by a cached manifest is not enough");
    assert!(store.note_upstream(&a, &first.layers[0]).unwrap());
    assert!(store.holds(&a, &first.layers[0]).unwrap());
    assert!(!store.note_upstream(&b, &first.layers[0]).unwrap(), "nothing there keeps it");
    assert!(store.holds(&b, &first.layers[0]).unwrap());

    world.pass(10);
    store.set_cached(&b, "latest", &second.descriptor).unwrap();
    put_named(&store, "named:1", &[b"named"]);
    world.pass(10);
    assert!(store.confirm_cached(&a, "1").unwrap());
    assert!(!store.confirm_cached(&b, "1").unwrap());
    store.touch_cached(&[(a.clone(), "1".into()), (b.clone(), "nothing".into())]).unwrap();
    let entry = store.cached(&a, "1").unwrap().unwrap();
    assert_eq!(entry.used, entry.checked);
    assert_eq!(store.all_cached().unwrap().len(), 2);
    assert_eq!(store.stats().unwrap().cached, 2);

    drop(lease);
    let mut plan = GcPlan { max_count: Some(1), dry_run: true, ..GcPlan::new(&never_mounted) };
    let predicted = store.gc(&plan).unwrap();
    plan.dry_run = false;
    let report = store.gc(&plan).unwrap();
    assert_eq!(report, predicted);
    assert_eq!(report.cached, [(b.clone(), "latest".to_owned())]);
    assert_eq!(report.names.len(), 1, "both were used longer ago");
    assert!(store.contains(&first.layers[0]).unwrap() && !store.contains(&second.layers[0]).unwrap());
    assert!(store.cached(&b, "latest").unwrap().is_none());

    // Under a lease it stays whatever the policy says.
    let lease = store.lease("serve").unwrap();
    lease.add(&[first.descriptor.digest]).unwrap();
    plan.max_count = Some(0);
    assert!(store.gc(&plan).unwrap().cached.is_empty());
    drop(lease);
    assert!(store.remove_cached(&a, "1").unwrap());
    assert!(!store.remove_cached(&a, "1").unwrap());
    assert!(store.gc(&plan).unwrap().blobs > 0);
    assert!(!store.holds(&a, &first.descriptor.digest).unwrap());
}

#[test]
fn damage_to_cached_images_says_where_they_came_from() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("fetch").unwrap();
    let image = put_image(&store, &lease, &[b"x"]);
    let a = repository("ghcr.io/a/b");
    for selector in ["1", &image.descriptor.digest.to_string()] {
        store.set_cached(&a, selector, &image.descriptor).unwrap();
    }
    std::fs::write(world.blob_path(&image.layers[0]), b"damaged").unwrap();
    let report = store.verify(&mut |_| {}).unwrap();
    let from: Vec<_> = report.damage[0].part_of.iter().map(ToString::to_string).collect();
    assert_eq!(from, ["ghcr.io/a/b:1".to_owned(), format!("ghcr.io/a/b@{}", image.descriptor.digest)]);
}

#[test]
fn public_repositories_are_remembered_until_upstream_says_otherwise() {
    let world = World::new();
    let store = world.open();
    let (a, b) = (repository("docker.io/library/a"), repository("docker.io/library/b"));
    assert_eq!(store.public_since(&a).unwrap(), None);
    store.note_public(&a).unwrap();
    let first = store.public_since(&a).unwrap().unwrap();
    world.pass(10);
    store.note_public(&a).unwrap();
    assert_eq!(world.open().public_since(&a).unwrap(), Some(first + Duration::from_secs(10)));
    assert_eq!(store.public_since(&b).unwrap(), None);
    store.forget_public(&a).unwrap();
    assert_eq!(store.public_since(&a).unwrap(), None);
}
