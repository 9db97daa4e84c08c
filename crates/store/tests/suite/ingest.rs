//! The way in: resumable, verified, one writer per digest.

use crate::world::{World, noise};
use larder_core::{Classify as _, Digest, Kind};
use larder_store::{Begin, BlobKind, Error, Ingest, Lease, Store};
use std::fs;

fn begin(store: &Store, digest: &Digest, size: u64, lease: &Lease) -> Ingest {
    match store.begin(digest, Some(size), lease).unwrap() {
        Begin::Ingest(ingest) => ingest,
        other => panic!("expected an ingest, found {other:?}"),
    }
}

#[test]
fn a_blob_appears_whole_when_it_is_committed() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let content = noise(1, 100_000);
    let digest = Digest::of(&content);
    let mut ingest = begin(&store, &digest, 100_000, &lease);
    for piece in content.chunks(7_777) {
        ingest.write(piece).unwrap();
    }
    assert!(!store.contains(&digest).unwrap());
    assert!(!world.blob_path(&digest).exists());
    let blob = ingest.commit(BlobKind::Layer).unwrap();
    assert_eq!((blob.digest(), blob.size()), (&digest, 100_000));
    assert_eq!(fs::read(blob.path()).unwrap(), content);
    assert!(store.contains(&digest).unwrap());
    assert_eq!(store.read(&digest, 100_000).unwrap().unwrap(), content);
    assert!(world.files("ingest").is_empty());
    assert!(matches!(store.begin(&digest, Some(100_000), &lease).unwrap(), Begin::Exists(_)));
    assert_eq!(store.missing(&[Digest::of(b"1"), digest, Digest::of(b"2")]).unwrap().len(), 2);
}

#[test]
fn an_interrupted_ingest_continues_where_it_stopped() {
    let world = World::new();
    let content = noise(2, 1_000_000);
    let digest = Digest::of(&content);
    {
        let store = world.open();
        let lease = store.lease("test").unwrap();
        begin(&store, &digest, 1_000_000, &lease).write(&content[..600_000]).unwrap();
    }
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let mut ingest = begin(&store, &digest, 1_000_000, &lease);
    assert_eq!(ingest.offset(), 600_000);
    let refused = ingest.write(&content[600_000..]).unwrap_err();
    assert!(matches!(refused, Error::NotReplayed { offset: 600_000, .. }), "{refused}");
    let mut replayed = Vec::new();
    ingest.replay(&mut |bytes| replayed.extend_from_slice(bytes)).unwrap();
    assert!(replayed == content[..600_000]);
    ingest.write(&content[600_000..]).unwrap();
    ingest.commit(BlobKind::Layer).unwrap();
    assert!(store.read(&digest, u64::MAX).unwrap().unwrap() == content);
}

#[test]
fn committing_unreplayed_bytes_is_refused_and_keeps_them() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let content = noise(3, 1_000);
    let digest = Digest::of(&content);
    begin(&store, &digest, 1_000, &lease).write(&content).unwrap();
    let error = begin(&store, &digest, 1_000, &lease).commit(BlobKind::Other).unwrap_err();
    assert!(matches!(error, Error::NotReplayed { .. }), "{error}");
    let mut ingest = begin(&store, &digest, 1_000, &lease);
    ingest.replay(&mut |_| {}).unwrap();
    ingest.commit(BlobKind::Other).unwrap();
}

#[test]
fn wrong_bytes_are_refused_and_not_kept() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = Digest::of(b"right");
    let mut ingest = begin(&store, &digest, 5, &lease);
    ingest.write(b"wrong").unwrap();
    let error = ingest.commit(BlobKind::Other).unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt);
    assert!(matches!(error, Error::Corrupt { resumed: 0, .. }), "{error}");
    assert!(!world.blob_path(&digest).exists());
    assert!(world.files("ingest").is_empty());
    assert_eq!(begin(&store, &digest, 5, &lease).offset(), 0);
}

#[test]
fn a_bad_kept_prefix_is_told_apart_from_bad_bytes() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = Digest::of(b"right");
    begin(&store, &digest, 5, &lease).write(b"wro").unwrap();
    let mut ingest = begin(&store, &digest, 5, &lease);
    ingest.replay(&mut |_| {}).unwrap();
    ingest.write(b"ht").unwrap();
    let error = ingest.commit(BlobKind::Other).unwrap_err();
    assert!(matches!(error, Error::Corrupt { resumed: 3, .. }), "{error}");
}

#[test]
fn too_many_bytes_are_refused_at_once() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = Digest::of(b"12345");
    let mut ingest = begin(&store, &digest, 5, &lease);
    ingest.write(b"1234").unwrap();
    let error = ingest.write(b"56").unwrap_err();
    assert!(matches!(error, Error::TooLong { size: 5, .. }), "{error}");
    assert_eq!(error.kind(), Kind::Corrupt);
    assert_eq!(fs::metadata(world.part_path(&digest)).unwrap().len(), 4);
    ingest.write(b"5").unwrap();
    ingest.commit(BlobKind::Other).unwrap();
}

#[test]
fn too_few_bytes_are_kept_for_the_rest() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = Digest::of(b"12345");
    let mut ingest = begin(&store, &digest, 5, &lease);
    ingest.write(b"123").unwrap();
    let error = ingest.commit(BlobKind::Other).unwrap_err();
    assert!(matches!(error, Error::TooShort { size: 5, actual: 3, .. }), "{error}");
    assert_eq!(begin(&store, &digest, 5, &lease).offset(), 3);
    // A part that is longer than the blob can be is of no use.
    fs::write(world.part_path(&digest), b"123456").unwrap();
    assert_eq!(begin(&store, &digest, 5, &lease).offset(), 0);
}

#[test]
fn reset_and_discard() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = Digest::of(b"12345");
    begin(&store, &digest, 5, &lease).write(b"xx").unwrap();
    let mut ingest = begin(&store, &digest, 5, &lease);
    ingest.reset().unwrap();
    assert_eq!(ingest.offset(), 0);
    ingest.write(b"123").unwrap();
    drop(ingest);
    assert_eq!(begin(&store, &digest, 5, &lease).offset(), 3);
    begin(&store, &digest, 5, &lease).discard().unwrap();
    assert!(world.files("ingest").is_empty());
}

#[test]
fn sizes_may_be_unknown_and_blobs_empty() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = Digest::of(b"abc");
    let Begin::Ingest(mut ingest) = store.begin(&digest, None, &lease).unwrap() else { panic!() };
    ingest.write(b"abc").unwrap();
    ingest.commit(BlobKind::Other).unwrap();
    let empty = store.put(b"", BlobKind::Other, &lease).unwrap();
    assert_eq!(empty.size(), 0);
    assert_eq!(store.read(&Digest::of(b""), 0).unwrap().unwrap(), b"");
    assert!(world.files("ingest").is_empty());
}

#[test]
fn sha512_has_its_own_directory() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let mut hasher = larder_core::Hasher::new(larder_core::Algorithm::Sha512);
    hasher.update(b"abc");
    let digest = hasher.finish();
    let mut ingest = begin(&store, &digest, 3, &lease);
    ingest.write(b"abc").unwrap();
    ingest.commit(BlobKind::Other).unwrap();
    assert_eq!(world.files("blobs/sha512"), [digest.hex()]);
    assert_eq!(store.read(&digest, 9).unwrap().unwrap(), b"abc");
    assert!(store.verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_whole_file_without_row_is_taken_over() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = Digest::of(b"whole");
    fs::write(world.blob_path(&digest), b"whole").unwrap();
    assert!(!store.contains(&digest).unwrap());
    let Begin::Exists(blob) = store.begin(&digest, Some(5), &lease).unwrap() else { panic!() };
    assert_eq!(blob.size(), 5);
    assert!(store.contains(&digest).unwrap());
    assert!(world.files("ingest").is_empty());
}

#[test]
fn a_damaged_file_without_row_is_set_aside() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = Digest::of(b"whole");
    fs::write(world.blob_path(&digest), b"whale").unwrap();
    let mut ingest = begin(&store, &digest, 5, &lease);
    assert!(!world.blob_path(&digest).exists());
    assert_eq!(world.files("quarantine").len(), 1);
    ingest.write(b"whole").unwrap();
    ingest.commit(BlobKind::Other).unwrap();
    assert!(store.verify(&mut |_| {}).unwrap().is_clean());
}

#[test]
fn a_truncated_blob_is_an_error_to_read_and_replaced_by_the_next_ingest() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = *store.put(b"12345", BlobKind::Other, &lease).unwrap().digest();
    fs::write(world.blob_path(&digest), b"123").unwrap();
    assert_eq!(store.blob(&digest).unwrap_err().kind(), Kind::Corrupt);
    assert_eq!(store.read(&digest, 9).unwrap_err().kind(), Kind::Corrupt);
    store.put(b"12345", BlobKind::Other, &lease).unwrap();
    assert_eq!(store.read(&digest, 9).unwrap().unwrap(), b"12345");
}

#[test]
fn a_flipped_bit_is_never_served() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = *store.put(b"12345", BlobKind::Other, &lease).unwrap().digest();
    fs::write(world.blob_path(&digest), b"12344").unwrap();
    assert!(matches!(store.read(&digest, 9).unwrap_err(), Error::Damaged { .. }));
    assert_eq!(store.document(&digest).unwrap_err().kind(), Kind::Corrupt);
}

#[test]
fn a_vanished_file_is_absent_and_can_come_again() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = *store.put(b"12345", BlobKind::Other, &lease).unwrap().digest();
    fs::remove_file(world.blob_path(&digest)).unwrap();
    assert!(store.blob(&digest).unwrap().is_none());
    assert!(!store.contains(&digest).unwrap());
    store.put(b"12345", BlobKind::Other, &lease).unwrap();
    assert!(store.blob(&digest).unwrap().is_some());
}

#[test]
fn whole_reads_are_bounded() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = *store.put(b"12345", BlobKind::Other, &lease).unwrap().digest();
    let error = store.read(&digest, 4).unwrap_err();
    assert!(matches!(error, Error::TooLarge { size: 5, limit: 4, .. }), "{error}");
    assert!(store.read(&Digest::of(b"other"), 4).unwrap().is_none());
}

#[test]
fn the_second_to_begin_is_told_and_then_finds_it() {
    let world = World::new();
    let (first, second) = (world.open(), world.open());
    let lease = first.lease("test").unwrap();
    let other = second.lease("test").unwrap();
    let digest = Digest::of(b"12345");
    let mut ingest = begin(&first, &digest, 5, &lease);
    assert!(matches!(second.begin(&digest, Some(5), &other).unwrap(), Begin::Busy));
    assert!(matches!(first.begin(&digest, Some(5), &lease).unwrap(), Begin::Busy));
    ingest.write(b"12345").unwrap();
    ingest.commit(BlobKind::Other).unwrap();
    assert!(matches!(second.begin(&digest, Some(5), &other).unwrap(), Begin::Exists(_)));
}

#[test]
fn many_threads_write_each_blob_once() {
    let world = World::new();
    let contents: Vec<Vec<u8>> = (0..20).map(|seed| noise(seed, 20_000)).collect();
    let written = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let store = world.open();
                let lease = store.lease("test").unwrap();
                for content in &contents {
                    let digest = Digest::of(content);
                    loop {
                        match store.begin(&digest, Some(20_000), &lease).unwrap() {
                            Begin::Exists(_) => break,
                            Begin::Busy => std::thread::yield_now(),
                            Begin::Ingest(mut ingest) => {
                                ingest.reset().unwrap();
                                ingest.write(content).unwrap();
                                ingest.commit(BlobKind::Layer).unwrap();
                                written.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                            }
                        }
                    }
                }
            });
        }
    });
    assert_eq!(written.into_inner(), 20);
    assert!(world.open().verify(&mut |_| {}).unwrap().is_clean());
    assert!(world.files("ingest").is_empty());
}

#[test]
fn put_waits_for_the_one_who_writes() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let digest = Digest::of(b"12345");
    let mut ingest = begin(&store, &digest, 5, &lease);
    std::thread::scope(|scope| {
        let put = scope.spawn(|| store.put(b"12345", BlobKind::Other, &lease).unwrap());
        ingest.write(b"12").unwrap();
        drop(ingest);
        assert_eq!(put.join().unwrap().size(), 5);
    });
}
