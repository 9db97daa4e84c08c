//! Garbage collection: what goes, what stays, and that nothing goes while somebody relies on it.

use crate::world::{Image, World, never_mounted, noise, put_image, put_named, reference};
use larder_core::Digest;
use larder_store::{Begin, BlobKind, GcPlan, GcReport, MountRecord, Store};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

fn collect(store: &Store) -> GcReport {
    store.gc(&GcPlan::new(&never_mounted)).unwrap()
}

fn is_whole(store: &Store, image: &Image) -> bool {
    store.missing(&image.digests()).unwrap().is_empty()
}

#[test]
fn removes_what_nothing_needs_and_nothing_else() {
    let world = World::new();
    let store = world.open();
    let kept = put_named(&store, "kept:1", &[b"shared", b"kept"]);
    let gone = put_named(&store, "gone:1", &[b"shared", b"gone"]);
    store.remove_name(&reference("gone:1")).unwrap();

    let plan = GcPlan { dry_run: true, ..GcPlan::new(&never_mounted) };
    let predicted = store.gc(&plan).unwrap();
    assert!(is_whole(&store, &gone), "a dry run touches nothing");
    assert!(store.stats().unwrap().last_gc.is_none());
    let report = collect(&store);
    assert_eq!(report, predicted);
    assert_eq!(report.blobs, 3, "manifest, config and the layer of its own");
    assert!(report.blob_bytes > 0 && report.freed_bytes == report.blob_bytes);
    assert!(is_whole(&store, &kept));
    assert_eq!(store.missing(&gone.digests()).unwrap().len(), 3);
    assert!(!world.blob_path(&gone.config).exists());
    assert_eq!(report.kept_bytes, store.stats().unwrap().unique_bytes);
    assert_eq!(collect(&store).freed_bytes, 0);
    assert!(store.stats().unwrap().last_gc.is_some());
    assert!(store.verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn files_without_rows_go_too() {
    let world = World::new();
    let store = world.open();
    put_named(&store, "kept:1", &[b"kept"]);
    fs::write(world.blob_path(&Digest::of(b"orphan")), b"orphan").unwrap();
    fs::write(world.home.join("layers/orphan.tar"), b"orphan").unwrap();
    fs::create_dir_all(world.home.join("layers/.half.building/etc")).unwrap();
    fs::write(world.home.join("layers/.half.lock"), b"").unwrap();
    fs::write(world.home.join(".index.json.1-1"), b"half").unwrap();
    fs::write(world.home.join("blobs/sha256/README"), b"not ours").unwrap();
    let report = collect(&store);
    assert_eq!((report.blobs, report.blob_bytes), (1, 6));
    assert_eq!((report.derived, report.derived_bytes), (1, 6));
    assert_eq!(world.files("layers"), [""; 0]);
    assert!(!world.home.join(".index.json.1-1").exists());
    assert!(world.home.join("blobs/sha256/README").exists());
}

#[test]
fn a_lease_keeps_what_it_names_and_all_below() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("pull").unwrap();
    let image = put_image(&store, &lease, &[b"x"]);
    let other = world.open();
    collect(&other);
    assert!(is_whole(&store, &image));

    // Only the manifest is under this one.
    let second = other.lease("mount").unwrap();
    second.add(&[image.descriptor.digest]).unwrap();
    drop(lease);
    collect(&store);
    assert!(is_whole(&store, &image));
    let copy = second.clone();
    drop(second);
    collect(&store);
    assert!(is_whole(&store, &image), "a clone is the same lease");
    drop(copy);
    assert!(world.files("leases").is_empty());
    collect(&store);
    assert_eq!(store.stats().unwrap().blobs, 0);
}

#[test]
fn a_lease_on_something_that_comes_later_counts() {
    let world = World::new();
    let (store, other) = (world.open(), world.open());
    let lease = store.lease("wait").unwrap();
    lease.add(&[Digest::of(b"later")]).unwrap();
    {
        let theirs = other.lease("pull").unwrap();
        other.put(b"later", BlobKind::Other, &theirs).unwrap();
    }
    collect(&other);
    assert!(store.contains(&Digest::of(b"later")).unwrap());
}

#[test]
fn mounts_keep_their_image_as_long_as_they_are_mounted() {
    let world = World::new();
    let store = world.open();
    let image = put_named(&store, "a:1", &[b"x"]);
    let record = MountRecord {
        dir: "/mnt/a b\u{e9}".into(),
        identity: None,
        manifest: image.descriptor.digest,
        driver: "erofs".into(),
        writable: Some("w".into()),
        extra: vec!["/x".into(), "/y z".into()],
    };
    store.add_mount(&record).unwrap();
    assert_eq!(store.mounts().unwrap(), std::slice::from_ref(&record));
    store.remove_name(&reference("a:1")).unwrap();
    let mounted = |found: &MountRecord| *found == record;
    store.gc(&GcPlan::new(&mounted)).unwrap();
    assert!(is_whole(&store, &image));

    // About to be mounted: a lease stands in.
    let lease = store.lease("mount").unwrap();
    lease.add(&[image.descriptor.digest]).unwrap();
    collect(&store);
    assert_eq!(store.mounts().unwrap().len(), 1);
    drop(lease);
    collect(&store);
    assert!(store.mounts().unwrap().is_empty());
    assert!(!is_whole(&store, &image));

    store.add_mount(&record).unwrap();
    assert!(store.remove_mount(&record).unwrap());
    assert!(!store.remove_mount(&record).unwrap());
}

/// Four images, used in the order c, a, d, b; each about as large as the others.
fn four(world: &World, store: &Store) -> Vec<Image> {
    let images = ["a:1", "b:1", "c:1", "d:1"]
        .iter()
        .zip(0..)
        .map(|(name, seed)| put_named(store, name, &[&noise(seed, 50_000)]))
        .collect::<Vec<_>>();
    for at in [2, 0, 3, 1] {
        world.pass(100);
        store.touch(&[images[at].descriptor.digest]).unwrap();
    }
    images
}

fn removed(report: &GcReport) -> Vec<String> {
    report.names.iter().map(|name| name.familiar()).collect()
}

#[test]
fn a_quota_removes_the_least_recently_used_first() {
    let world = World::new();
    let store = world.open();
    let images = four(&world, &store);
    let quota = |bytes| GcPlan { quota_bytes: Some(bytes), ..GcPlan::new(&never_mounted) };
    assert!(removed(&store.gc(&quota(300_000)).unwrap()).is_empty());
    let plan = GcPlan { dry_run: true, ..quota(120_000) };
    let predicted = store.gc(&plan).unwrap();
    let report = store.gc(&quota(120_000)).unwrap();
    assert_eq!(removed(&report), ["c:1", "a:1"]);
    assert_eq!(report, predicted);
    assert!(report.kept_bytes <= 120_000);
    assert!(is_whole(&store, &images[1]) && is_whole(&store, &images[3]));
    let names: Vec<_> = store.names().unwrap().iter().map(|name| name.reference.familiar()).collect();
    assert_eq!(names, ["b:1", "d:1"]);
    let index = fs::read_to_string(world.home.join("index.json")).unwrap();
    assert!(!index.contains("a:1") && index.contains("b:1"), "{index}");
}

#[test]
fn mounts_at_the_same_path_are_told_apart() {
    let world = World::new();
    let store = world.open();
    let (one, two) = (put_named(&store, "a:1", &[b"x"]), put_named(&store, "b:1", &[b"y"]));
    let record = |identity: &[u8], image: &Image| MountRecord {
        dir: "/mnt".into(),
        identity: Some(identity.to_vec()),
        manifest: image.descriptor.digest,
        driver: "erofs".into(),
        writable: None,
        extra: Vec::new(),
    };
    let (first, second) = (record(b"1", &one), record(b"2", &two));
    store.add_mount(&first).unwrap();
    store.add_mount(&second).unwrap();
    for name in ["a:1", "b:1"] {
        store.remove_name(&reference(name)).unwrap();
    }
    store.gc(&GcPlan::new(&|_| true)).unwrap();
    assert!(is_whole(&store, &one) && is_whole(&store, &two));
    store.gc(&GcPlan::new(&|mount| *mount == first)).unwrap();
    assert_eq!(store.mounts().unwrap(), std::slice::from_ref(&first));
    assert!(is_whole(&store, &one) && !is_whole(&store, &two));

    // No mount outlives the kernel that made it, whatever can be seen.
    let store = world.open_after_boot("second");
    store.gc(&GcPlan::new(&|_| true)).unwrap();
    assert!(store.mounts().unwrap().is_empty());
}

#[test]
fn pinned_leased_and_mounted_names_are_passed_over() {
    let world = World::new();
    let store = world.open();
    let images = four(&world, &store);
    store.pin(&reference("c:1"), true).unwrap();
    let lease = store.lease("run").unwrap();
    lease.add(&[images[0].descriptor.digest]).unwrap();
    let record = MountRecord {
        dir: "/mnt".into(),
        identity: None,
        manifest: images[3].descriptor.digest,
        driver: "overlay".into(),
        writable: None,
        extra: Vec::new(),
    };
    store.add_mount(&record).unwrap();
    let plan = GcPlan { quota_bytes: Some(1), ..GcPlan::new(&|_| true) };
    assert_eq!(removed(&store.gc(&plan).unwrap()), ["b:1"]);
    for at in [0, 2, 3] {
        assert!(is_whole(&store, &images[at]));
    }
}

#[test]
fn age_and_number_of_names_are_limited() {
    let world = World::new();
    let store = world.open();
    four(&world, &store);
    // Used 300, 200, 100 and 0 seconds ago.
    let plan = GcPlan { max_age: Some(Duration::from_secs(250)), ..GcPlan::new(&never_mounted) };
    assert_eq!(removed(&store.gc(&plan).unwrap()), ["c:1"]);
    let plan = GcPlan { max_count: Some(1), ..GcPlan::new(&never_mounted) };
    assert_eq!(removed(&store.gc(&plan).unwrap()), ["a:1", "d:1"]);
    assert_eq!(store.names().unwrap().len(), 1);
}

#[test]
fn old_partial_downloads_go_when_asked() {
    let world = World::new();
    let store = world.open();
    let partial = |content: &[u8]| {
        let lease = store.lease("pull").unwrap();
        match store.begin(&Digest::of(content), None, &lease).unwrap() {
            Begin::Ingest(mut ingest) => ingest.write(&content[..3]).unwrap(),
            other => panic!("{other:?}"),
        }
    };
    partial(b"old one");
    partial(b"new one");
    let path = world.part_path(&Digest::of(b"old one"));
    let old = SystemTime::now() - Duration::from_secs(7_200);
    fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    assert_eq!(collect(&store).partials, 0);
    let limit = Some(Duration::from_secs(3_600));
    let plan = GcPlan { remove_partials_older_than: limit, ..GcPlan::new(&never_mounted) };
    // Somebody is about to go on with it.
    let lease = store.lease("retry").unwrap();
    lease.add(&[Digest::of(b"old one")]).unwrap();
    assert_eq!(store.gc(&plan).unwrap().partials, 0);
    drop(lease);
    let report = store.gc(&plan).unwrap();
    assert_eq!((report.partials, report.partial_bytes), (1, 3));
    assert_eq!(world.files("ingest").len(), 1);
}

/// A collection has deleted the row of a blob and is about to remove its file when somebody wants the blob: what is found on
/// the disk must not be relied on before the collection is through.
#[test]
fn a_collection_on_its_way_is_waited_for() {
    let world = World::new();
    let store = world.open();
    let digest = Digest::of(b"doomed");
    fs::write(world.blob_path(&digest), b"doomed").unwrap();
    put_named(&store, "a:1", &[b"x"]);
    let sweep = fs::File::options().write(true).open(world.home.join("store.lock")).unwrap();
    sweep.lock().unwrap();
    std::thread::scope(|scope| {
        let begin = scope.spawn(|| {
            let lease = store.lease("pull").unwrap();
            matches!(store.begin(&digest, Some(6), &lease).unwrap(), Begin::Ingest(_))
        });
        std::thread::sleep(Duration::from_millis(200));
        fs::remove_file(world.blob_path(&digest)).unwrap();
        sweep.unlock().unwrap();
        assert!(begin.join().unwrap(), "it is not there any more");
    });
    assert!(!store.contains(&digest).unwrap());
}

/// Threads ingest, name, check and unname while collections run without pause, in their own handles.
#[test]
fn nothing_in_use_is_ever_collected() {
    let world = World::new();
    let store = world.open();
    let pinned = put_named(&store, "pinned:1", &[b"base", b"pinned"]);
    store.pin(&reference("pinned:1"), true).unwrap();
    let mounted = put_named(&store, "mounted:1", &[b"base", b"mounted"]);
    store
        .add_mount(&MountRecord {
            dir: "/mnt".into(),
            identity: None,
            manifest: mounted.descriptor.digest,
            driver: "erofs".into(),
            writable: None,
            extra: Vec::new(),
        })
        .unwrap();
    store.remove_name(&reference("mounted:1")).unwrap();

    let done = AtomicBool::new(false);
    let (rounds, collected) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..3u64)
            .map(|worker| {
                let world = &world;
                scope.spawn(move || {
                    let store = world.open();
                    let name = format!("worker:{worker}");
                    for round in 0..40 {
                        let lease = store.lease("pull").unwrap();
                        // The base is shared by all and collected and brought back all the time.
                        let own = noise(worker * 1_000 + round, 3_000);
                        let image = put_image(&store, &lease, &[b"common", &own]);
                        assert!(is_whole(&store, &image), "under a lease");
                        store.set_name(&reference(&name), &image.descriptor).unwrap();
                        drop(lease);
                        for digest in image.digests() {
                            let blob = store.blob(&digest).unwrap().expect("it has a name");
                            assert_eq!(fs::metadata(blob.path()).unwrap().len(), blob.size());
                        }
                        if round % 2 == 1 {
                            store.remove_name(&reference(&name)).unwrap();
                        }
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            scope.spawn(|| {
                let store = world.open();
                while !done.load(Ordering::Relaxed) {
                    let report = store.gc(&GcPlan::new(&|_| true)).unwrap();
                    rounds.fetch_add(1, Ordering::Relaxed);
                    collected.fetch_add(report.blobs as usize, Ordering::Relaxed);
                }
            });
        }
        let results: Vec<_> = workers.into_iter().map(|worker| worker.join()).collect();
        done.store(true, Ordering::Relaxed);
        results.into_iter().for_each(|result| result.unwrap());
    });
    assert!(rounds.into_inner() > 10);
    assert!(collected.into_inner() > 100, "the collections had something to do");
    assert!(is_whole(&store, &pinned) && is_whole(&store, &mounted));
    store.gc(&GcPlan::new(&|_| true)).unwrap();
    assert_eq!(store.stats().unwrap().blobs, 8 - 1, "two images that share a base");
    let report = store.verify(&mut |_| {}).unwrap();
    assert!(report.is_clean(), "{report:?}");
}

#[test]
fn packages_count_for_the_quota_and_what_their_downloads_left_goes() {
    let world = World::new();
    let store = world.open();
    let images = four(&world, &store);
    let shelf = store.packages().unwrap();
    let archive = shelf.archive("tool", "1.0", "amd64").unwrap();
    fs::create_dir(archive.parent().unwrap()).unwrap();
    fs::write(&archive, noise(7, 180_000)).unwrap();
    let part = shelf.part(&Digest::of(b"tool")).unwrap();
    fs::write(part.path(), noise(8, 1000)).unwrap();
    let stats = store.stats().unwrap();
    assert_eq!((stats.packages, stats.package_bytes, stats.partial_bytes), (1, 180_000, 1000));
    assert_eq!(stats.stored_bytes, stats.unique_bytes + stats.derived_bytes + 181_000);

    let plan = GcPlan {
        quota_bytes: Some(300_000),
        remove_partials_older_than: Some(Duration::ZERO),
        ..GcPlan::new(&never_mounted)
    };
    let report = store.gc(&plan).unwrap();
    assert_eq!(removed(&report), ["c:1", "a:1"], "120,000 are left to the images");
    assert_eq!((report.package_bytes, report.partials), (180_000, 0), "somebody is at the part");
    assert!(report.kept_bytes <= 300_000 && archive.exists());
    assert!(is_whole(&store, &images[1]) && is_whole(&store, &images[3]));
    let path = part.path().to_owned();
    drop(part);
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
    fs::File::options().write(true).open(&path).unwrap().set_modified(past).unwrap();
    let report = store.gc(&plan).unwrap();
    assert_eq!((report.partials, report.partial_bytes), (1, 1000));
    assert!(!path.exists());
}
