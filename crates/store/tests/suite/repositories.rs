//! Who may read what: bytes are shared between repositories, and nothing else.

use crate::world::{Image, World, never_mounted, put_image, put_json, put_named, reference};
use larder_core::{Descriptor, Digest, MediaType, RepositoryName};
use larder_store::{BlobKind, Error, GcPlan, HeldKind, Lease, Store};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn repository(text: &str) -> RepositoryName {
    text.parse().unwrap()
}

/// Puts an image into a repository as a client would push it, with a tag.
fn push(store: &Store, lease: &Lease, name: &str, contents: &[&[u8]]) -> Image {
    let image = put_image(store, lease, contents);
    let name = reference(name);
    let into = repository(&name.name());
    for digest in image.layers.iter().chain([&image.config]) {
        store.hold(&into, digest, HeldKind::Blob).unwrap();
    }
    store.set_pushed(&name, &image.descriptor).unwrap();
    image
}

fn collect(store: &Store) -> larder_store::GcReport {
    store.gc(&GcPlan::new(&never_mounted)).unwrap()
}

/// An artifact that says it is about `subject`.
fn attach(store: &Store, lease: &Lease, subject: &Descriptor, kind: &str) -> Descriptor {
    let empty = Descriptor::of(MediaType::OCI_EMPTY, b"{}");
    store.put(b"{}", BlobKind::Config, lease).unwrap();
    let artifact = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_MANIFEST, "artifactType": kind,
        "config": empty, "layers": [empty], "subject": subject, "annotations": {"by": "me"},
    });
    put_json(store, lease, &artifact).descriptor()
}

fn index_of(store: &Store, lease: &Lease, children: &[&Descriptor]) -> Descriptor {
    let index = serde_json::json!({
        "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": children,
    });
    put_json(store, lease, &index).descriptor()
}

#[test]
fn a_blob_is_read_only_through_a_repository_that_holds_it() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let (a, b) = (repository("localhost/team/a"), repository("localhost/team/b"));
    let secret = push(&store, &lease, "localhost/team/a:1", &[b"secret"]);
    push(&store, &lease, "localhost/team/b:1", &[b"open"]);
    for digest in secret.digests() {
        assert!(store.holds(&a, &digest).unwrap());
        assert!(!store.holds(&b, &digest).unwrap(), "knowing a digest is enough to read it");
    }
    assert!(!store.holds(&repository("localhost/team"), &secret.config).unwrap());
    assert!(!store.holds(&repository("localhost/team/a/x"), &secret.config).unwrap());

    // What was pulled under a name is held by the repository of the name, without having been put there.
    let pulled = put_named(&store, "docker.io/library/c:1", &[b"pulled"]);
    let c = repository("docker.io/library/c");
    assert!(pulled.digests().iter().all(|digest| store.holds(&c, digest).unwrap()));
    assert!(!pulled.digests().iter().any(|digest| store.holds(&a, digest).unwrap()));
    store.remove_name(&reference("docker.io/library/c:1")).unwrap();
    assert!(!pulled.digests().iter().any(|digest| store.holds(&c, digest).unwrap()));
}

#[test]
fn what_was_removed_from_one_repository_stays_gone_there_whatever_others_do() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let (a, b) = (repository("localhost/team/a"), repository("localhost/team/b"));
    let image = push(&store, &lease, "localhost/team/a:1", &[b"shared"]);
    push(&store, &lease, "localhost/team/b:1", &[b"shared"]);
    let layer = image.layers[0];

    assert!(store.release(&a, &layer).unwrap());
    assert!(!store.release(&a, &layer).unwrap(), "it was gone already");
    assert!(
        !store.holds(&a, &layer).unwrap(),
        "the manifest that needs it is still there, but it was removed"
    );
    assert!(store.holds(&b, &layer).unwrap());

    // B touches, uploads, holds and releases it; nothing of that is about A.
    store.touch(&[layer]).unwrap();
    store.hold(&b, &layer, HeldKind::Blob).unwrap();
    store.set_pushed(&reference("localhost/team/b:2"), &image.descriptor).unwrap();
    assert!(!store.holds(&a, &layer).unwrap());
    collect(&store);
    assert!(!world.open().holds(&a, &layer).unwrap());
    store.release(&b, &layer).unwrap();
    assert!(!store.holds(&a, &layer).unwrap() && !store.holds(&b, &layer).unwrap());

    // Put there again.
    store.hold(&a, &layer, HeldKind::Blob).unwrap();
    assert!(store.holds(&a, &layer).unwrap());
    assert!(!store.holds(&b, &layer).unwrap());
}

#[test]
fn pushed_names_move_together_or_not_at_all() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let first = push(&store, &lease, "localhost/a:1", &[b"x"]);
    let second = put_image(&store, &lease, &[b"y"]);
    let names = ["localhost/a:1", "localhost/a:2"].map(reference);
    let expected = first.descriptor.digest;
    let unchanged = |at: usize, now: Option<&Digest>| at > 0 || now == Some(&expected);

    let refused =
        store.set_pushed_if(&names, &second.descriptor, |at, now| at == 0 || now.is_some()).unwrap();
    assert_eq!(refused, None, "the second name stands for nothing yet");
    assert_eq!(store.name(&names[0]).unwrap().unwrap().descriptor.digest, expected);
    assert!(!store.holds(&repository("localhost/a"), &second.descriptor.digest).unwrap());

    // Of several who expect the same, one succeeds.
    let won = std::thread::scope(|scope| {
        let move_them = || store.set_pushed_if(&names, &second.descriptor, unchanged).unwrap();
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(move_them)).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(won, [vec![Some(expected), None]]);
    for name in &names {
        assert_eq!(store.name(name).unwrap().unwrap().descriptor.digest, second.descriptor.digest);
    }
    assert!(store.holds(&repository("localhost/a"), &second.descriptor.digest).unwrap());
}

#[test]
fn deleting_a_manifest_takes_the_tags_of_its_repository_and_no_others() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let (a, b) = (repository("localhost/a"), repository("localhost/b"));
    let image = push(&store, &lease, "localhost/a:1", &[b"x"]);
    push(&store, &lease, "localhost/a:other", &[b"y"]);
    push(&store, &lease, "localhost/b:1", &[b"x"]);
    store.set_pushed(&reference("localhost/a:2"), &image.descriptor).unwrap();
    store.set_cached(&a, "3", &image.descriptor).unwrap();
    store.set_cached(&b, "3", &image.descriptor).unwrap();
    store.set_cached(&a, &image.descriptor.digest.to_string(), &image.descriptor).unwrap();
    let tags = |of: &RepositoryName| -> Vec<String> {
        store.tags(of, None, 99).unwrap().iter().map(ToString::to_string).collect()
    };
    assert_eq!(tags(&a), ["1", "2", "3", "other"]);

    assert!(store.release(&a, &image.descriptor.digest).unwrap());
    assert_eq!(tags(&a), ["other"]);
    assert_eq!(tags(&b), ["1", "3"]);
    assert!(!store.holds(&a, &image.descriptor.digest).unwrap());
    assert!(store.holds(&b, &image.descriptor.digest).unwrap());
    assert!(store.holds(&a, &image.config).unwrap(), "blobs are deleted one by one");
    store.flush().unwrap();
    let index = std::fs::read_to_string(world.home.join("index.json")).unwrap();
    assert!(!index.contains("localhost/a:1") && index.contains("localhost/b:1"));

    store.set_pushed(&reference("localhost/a:1"), &image.descriptor).unwrap();
    assert!(store.holds(&a, &image.descriptor.digest).unwrap(), "it was pushed again");
    assert_eq!(tags(&a), ["1", "other"]);
}

#[test]
fn deleting_an_index_leaves_the_children_that_were_pushed_themselves() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let a = repository("localhost/a");
    let pushed = push(&store, &lease, "localhost/a:amd64", &[b"x"]);
    store.remove_name(&reference("localhost/a:amd64")).unwrap();
    let brought = put_image(&store, &lease, &[b"y"]);
    let index = index_of(&store, &lease, &[&pushed.descriptor, &brought.descriptor]);
    store.set_name(&reference("localhost/a:1"), &index).unwrap();
    assert!(store.holds(&a, &brought.layers[0]).unwrap());

    store.release(&a, &index.digest).unwrap();
    assert!(pushed.digests().iter().all(|digest| store.holds(&a, digest).unwrap()));
    assert!(!brought.digests().iter().any(|digest| store.holds(&a, digest).unwrap()));
    drop(lease);
    collect(&store);
    assert!(store.missing(&pushed.digests()).unwrap().is_empty());
    assert_eq!(store.missing(&brought.digests()).unwrap().len(), 3);
}

/// Whoever pushes a manifest says what it names, and knows perhaps no more of it than the digest.
#[test]
fn a_pushed_manifest_opens_nothing_that_it_names() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let b = repository("localhost/b");
    let secret = push(&store, &lease, "localhost/a:1", &[b"secret"]);
    let index = index_of(&store, &lease, &[&secret.descriptor]);
    store.set_pushed(&reference("localhost/b:1"), &index).unwrap();
    store.set_pushed(&reference("localhost/b:2"), &secret.descriptor).unwrap();
    assert!(store.holds(&b, &index.digest).unwrap());
    assert!(!store.holds(&b, &secret.layers[0]).unwrap() && !store.holds(&b, &secret.config).unwrap());
    store.hold_below(&b, &index.digest).unwrap();
    assert!(!store.holds(&b, &secret.layers[0]).unwrap(), "only what was readable there stays readable");

    // What a name of the machine makes readable stays so for what was pushed over it.
    let tagged = put_image(&store, &lease, &[b"tagged"]);
    store.set_name(&reference("localhost/b:3"), &tagged.descriptor).unwrap();
    store.hold_below(&b, &tagged.descriptor.digest).unwrap();
    store.remove_name(&reference("localhost/b:3")).unwrap();
    assert!(store.holds(&b, &tagged.layers[0]).unwrap());
    assert!(!store.holds(&b, &tagged.descriptor.digest).unwrap());
}

#[test]
fn a_removed_child_hides_what_only_it_reaches() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let a = repository("docker.io/library/a");
    let (one, two) =
        (put_image(&store, &lease, &[b"x", b"both"]), put_image(&store, &lease, &[b"y", b"both"]));
    let index = index_of(&store, &lease, &[&one.descriptor, &two.descriptor]);
    store.set_name(&reference("a:1"), &index).unwrap();
    assert!(store.release(&a, &one.descriptor.digest).unwrap());
    assert!(!store.holds(&a, &one.layers[0]).unwrap());
    assert!(store.holds(&a, &one.layers[1]).unwrap(), "the other image has this layer too");
    assert!(store.holds(&a, &index.digest).unwrap());

    // The name is given its meaning again: somebody pulled.
    store.set_name(&reference("a:1"), &index).unwrap();
    assert!(one.digests().iter().all(|digest| store.holds(&a, digest).unwrap()));
}

#[test]
fn what_is_pushed_elsewhere_attaches_nothing_to_an_image() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let (a, b) = (repository("localhost/a"), repository("localhost/b"));
    let image = put_named(&store, "localhost/a:1", &[b"x"]);
    let subject = image.descriptor.digest;
    let signature = attach(&store, &lease, &image.descriptor, "application/x.signature");
    let listed = |of: &RepositoryName| store.referrers_in(of, &subject).unwrap();
    assert_eq!(listed(&a).len(), 1, "it was pulled together with the image");

    store.hold(&a, &signature.digest, HeldKind::Manifest).unwrap();
    let forged = attach(&store, &lease, &image.descriptor, "application/x.forged");
    store.hold(&b, &forged.digest, HeldKind::Manifest).unwrap();
    let found = listed(&a);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].digest, signature.digest);
    assert_eq!(found[0].artifact_type.as_deref(), Some("application/x.signature"));
    assert_eq!(found[0].annotations["by"], "me");
    assert!(!store.holds(&a, &forged.digest).unwrap());
    assert_eq!(listed(&b).len(), 1);
    store.release(&a, &signature.digest).unwrap();
    assert!(listed(&a).is_empty());
    // Both ways of looking agree: this repository is so large that the other end is tried.
    for number in 0..300 {
        store.set_name(&reference(&format!("localhost/b:t{number}")), &signature).unwrap();
    }
    assert!(!store.holds(&a, &forged.digest).unwrap());
    assert!(!store.holds(&b, &image.layers[0]).unwrap());
}

#[test]
fn tags_and_repositories_come_in_pages() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let image = push(&store, &lease, "localhost/a/b:1", &[b"x"]);
    for tag in ["10", "2", "A", "_", "a", "z.z", "2-x"] {
        store.set_pushed(&reference(&format!("localhost/a/b:{tag}")), &image.descriptor).unwrap();
    }
    let b = repository("localhost/a/b");
    store.set_cached(&b, "2", &image.descriptor).unwrap();
    store.set_cached(&b, "3", &image.descriptor).unwrap();
    store.set_name(&b.pinned(image.descriptor.digest), &image.descriptor).unwrap();
    for name in ["localhost/a-b:1", "localhost/a/b-c:1", "localhost/a/b/c:1", "localhost/a/bc:1", "a:1"] {
        store.set_name(&reference(name), &image.descriptor).unwrap();
    }
    store.set_cached(&repository("ghcr.io/x/y"), "1", &image.descriptor).unwrap();
    store.hold(&repository("localhost/only"), &image.descriptor.digest, HeldKind::Manifest).unwrap();
    store.hold(&repository("localhost/blobs"), &image.config, HeldKind::Blob).unwrap();

    let tags = |after: Option<&str>, limit: usize| -> Vec<String> {
        store.tags(&b, after, limit).unwrap().iter().map(ToString::to_string).collect()
    };
    let all = ["1", "10", "2", "2-x", "3", "A", "_", "a", "z.z"];
    assert_eq!(tags(None, usize::MAX), all);
    assert_eq!(tags(Some("10"), 3), ["2", "2-x", "3"]);
    assert_eq!(tags(Some("2!"), 2), ["2-x", "3"], "a place between two tags");
    assert!(tags(None, 0).is_empty() && tags(Some("z.z"), 9).is_empty());
    assert!(store.tags(&repository("localhost/a"), None, 9).unwrap().is_empty());

    let repositories = |after: Option<&str>, limit: usize| -> Vec<String> {
        store.repositories(after, limit).unwrap().iter().map(ToString::to_string).collect()
    };
    let all = [
        "docker.io/library/a",
        "ghcr.io/x/y",
        "localhost/a-b",
        "localhost/a/b",
        "localhost/a/b-c",
        "localhost/a/b/c",
        "localhost/a/bc",
        "localhost/only",
    ];
    assert_eq!(repositories(None, usize::MAX), all);
    assert_eq!(repositories(Some("localhost/a-b"), 2), all[3..5]);
    assert!(repositories(None, 0).is_empty());
}

#[test]
fn what_is_not_there_cannot_be_held() {
    let world = World::new();
    let store = world.open();
    let (a, nothing) = (repository("localhost/a"), Digest::of(b"nothing"));
    let error = store.hold(&a, &nothing, HeldKind::Blob).unwrap_err();
    assert!(matches!(error, Error::Absent { .. }), "{error}");
    assert!(!store.holds(&a, &nothing).unwrap());
    assert!(!store.release(&a, &nothing).unwrap());
    let descriptor = Descriptor::new(MediaType::OCI_MANIFEST, nothing, 7);
    assert!(matches!(
        store.set_pushed(&reference("localhost/a:1"), &descriptor).unwrap_err(),
        Error::Absent { .. }
    ));
    assert!(matches!(store.set_cached(&a, "1", &descriptor).unwrap_err(), Error::Absent { .. }));
}

#[test]
fn no_policy_gives_up_what_was_pushed() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let tagged = push(&store, &lease, "localhost/a:1", &[b"tagged"]);
    let untagged = put_image(&store, &lease, &[b"untagged"]);
    store.hold(&repository("localhost/a"), &untagged.descriptor.digest, HeldKind::Manifest).unwrap();
    let pulled = put_named(&store, "pulled:1", &[b"tagged"]);
    put_named(&store, "localhost/a:moved", &[b"moved"]);
    push(&store, &lease, "localhost/a:moved", &[b"new"]);
    drop(lease);
    world.pass(1_000_000);
    let plan = GcPlan {
        quota_bytes: Some(1),
        max_age: Some(Duration::from_secs(1)),
        max_count: Some(0),
        ..GcPlan::new(&never_mounted)
    };
    let report = store.gc(&plan).unwrap();
    let names: Vec<_> = report.names.iter().map(|name| name.familiar()).collect();
    assert_eq!(names, ["pulled:1"], "a pulled name of the same image is no more than a name");
    assert!(store.missing(&tagged.digests()).unwrap().is_empty());
    assert!(store.missing(&untagged.digests()).unwrap().is_empty());
    assert_eq!(pulled.descriptor.digest, tagged.descriptor.digest);
    // A name that was pushed stays pushed when it is moved by hand.
    store.set_name(&reference("localhost/a:1"), &untagged.descriptor).unwrap();
    assert!(store.name(&reference("localhost/a:1")).unwrap().unwrap().pushed);
    assert!(store.verify(&mut |_| {}).unwrap().is_clean());

    // Until it is deleted.
    let a = repository("localhost/a");
    for descriptor in [&tagged.descriptor, &untagged.descriptor] {
        store.release(&a, &descriptor.digest).unwrap();
    }
    collect(&store);
    assert_eq!(store.missing(&tagged.digests()).unwrap().len(), 3);
    assert_eq!(store.missing(&untagged.digests()).unwrap().len(), 3);
    // Nothing is remembered about what is gone: whoever pushes it again starts anew.
    let rows: i64 =
        world.sql(true).query_row("SELECT count(*) FROM held WHERE removed", [], |row| row.get(0)).unwrap();
    assert_eq!(rows, 0);
}

#[test]
fn a_pushed_blob_waits_for_its_manifest_and_not_for_ever() {
    let world = World::new();
    let store = world.open();
    let a = repository("localhost/a");
    let lease = store.lease("push").unwrap();
    let image = put_image(&store, &lease, &[b"x"]);
    store.hold(&a, &image.layers[0], HeldKind::Blob).unwrap();
    store.hold(&a, &image.config, HeldKind::Blob).unwrap();
    drop(lease);
    collect(&store);
    assert!(store.contains(&image.layers[0]).unwrap() && store.contains(&image.config).unwrap());
    assert!(!store.contains(&image.descriptor.digest).unwrap(), "nobody held this");

    world.pass(24 * 3600 - 10);
    let lease = store.lease("push").unwrap();
    let other = put_image(&store, &lease, &[b"x"]);
    assert_eq!(other.layers, image.layers);
    store.hold(&a, &image.layers[0], HeldKind::Blob).unwrap();
    store.release(&a, &image.config).unwrap();
    drop(lease);
    world.pass(20);
    collect(&store);
    assert!(store.contains(&image.layers[0]).unwrap(), "it was pushed again");
    assert!(!store.contains(&image.config).unwrap());
    let impatient = GcPlan { upload_grace: Duration::from_secs(5), ..GcPlan::new(&never_mounted) };
    store.gc(&impatient).unwrap();
    assert!(!store.contains(&image.layers[0]).unwrap());
    assert!(!store.holds(&a, &image.layers[0]).unwrap());
}

/// A digest with so many relatives that it is looked for from the other end.
#[test]
fn what_an_artifact_elsewhere_holds_is_not_readable_through_its_subject() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("push").unwrap();
    let (image, other) = (put_named(&store, "a:1", &[b"x"]), put_named(&store, "other:1", &[b"y"]));
    let (a, b) = (repository("docker.io/library/a"), repository("localhost/b"));
    let artifact = attach(&store, &lease, &image.descriptor, "application/x.forged");
    store.hold(&b, &artifact.digest, HeldKind::Manifest).unwrap();
    for number in 0..100 {
        attach(&store, &lease, &other.descriptor, &format!("application/x.{number}"));
    }
    let shared = Digest::of(b"{}");
    assert!(!store.holds(&a, &shared).unwrap());
    assert!(store.holds(&repository("docker.io/library/other"), &shared).unwrap());
    assert!(store.referrers_in(&a, &image.descriptor.digest).unwrap().is_empty());
}

/// Pushes run while collections run without pause: what was held once is there, until it is released.
#[test]
fn nothing_that_is_held_is_ever_collected() {
    let world = World::new();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..2u8)
            .map(|worker| {
                let world = &world;
                scope.spawn(move || {
                    let store = world.open();
                    let repository = repository(&format!("localhost/worker{worker}"));
                    for round in 0..30u8 {
                        let lease = store.lease("push").unwrap();
                        let image = put_image(&store, &lease, &[b"common", &[worker, round]]);
                        for digest in image.digests() {
                            let manifest = digest == image.descriptor.digest;
                            let kind = if manifest { HeldKind::Manifest } else { HeldKind::Blob };
                            store.hold(&repository, &digest, kind).unwrap();
                        }
                        drop(lease);
                        for digest in image.digests() {
                            assert!(store.holds(&repository, &digest).unwrap());
                            assert!(store.blob(&digest).unwrap().is_some(), "it is held");
                        }
                        for digest in image.digests() {
                            assert!(store.release(&repository, &digest).unwrap());
                        }
                        // Without a lease it may be gone, and then this says so.
                        let common = image.layers[0];
                        match store.hold(&repository, &common, HeldKind::Blob) {
                            Ok(()) => assert!(store.blob(&common).unwrap().is_some(), "it is held"),
                            Err(error) => assert!(matches!(error, Error::Absent { .. }), "{error}"),
                        }
                        store.release(&repository, &common).unwrap();
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            let store = world.open();
            while !done.load(Ordering::Relaxed) {
                collect(&store);
            }
        });
        let results: Vec<_> = workers.into_iter().map(std::thread::ScopedJoinHandle::join).collect();
        done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    let store = world.open();
    collect(&store);
    assert_eq!(store.stats().unwrap().blobs, 0);
    assert!(store.verify(&mut |_| {}).unwrap().is_clean());
}
