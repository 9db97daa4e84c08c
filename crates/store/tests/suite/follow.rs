//! Reading a blob while it is written.

use crate::world::{World, noise};
use larder_core::Digest;
use larder_store::{Begin, BlobKind, Ingest, Lease, Store};
use std::io::Read as _;
use std::thread;
use std::time::Duration;

const SIZE: u64 = 1_000_000;

fn begin(store: &Store, digest: &Digest, lease: &Lease) -> Ingest {
    match store.begin(digest, Some(SIZE), lease).unwrap() {
        Begin::Ingest(ingest) => ingest,
        other => panic!("expected an ingest, found {other:?}"),
    }
}

#[test]
fn a_follower_sees_kept_and_new_bytes_and_ends_with_the_verified_blob() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let content = noise(60, SIZE as usize);
    let digest = Digest::of(&content);
    begin(&store, &digest, &lease).write(&content[..400_000]).unwrap();
    let mut ingest = begin(&store, &digest, &lease);
    let mut follower = ingest.follow().unwrap();
    let reader = thread::spawn(move || {
        let mut seen = Vec::new();
        follower.read_to_end(&mut seen).map(|_| seen)
    });
    ingest.replay(&mut |_| {}).unwrap();
    for piece in content[400_000..].chunks(50_000) {
        ingest.write(piece).unwrap();
        thread::sleep(Duration::from_millis(1));
    }
    assert!(!reader.is_finished(), "the end came before the bytes were verified");
    ingest.commit(BlobKind::Layer).unwrap();
    assert_eq!(reader.join().unwrap().unwrap(), content);
}

#[test]
fn a_follower_of_what_fails_gets_an_error_and_not_an_end() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let content = noise(61, SIZE as usize);
    let digest = Digest::of(&content);
    let follow = |ingest: &mut Ingest| {
        let mut follower = ingest.follow().unwrap();
        thread::spawn(move || follower.read_to_end(&mut Vec::new()))
    };
    let mut dropped = begin(&store, &digest, &lease);
    let reader = follow(&mut dropped);
    dropped.write(&content[..10]).unwrap();
    drop(dropped);
    assert!(reader.join().unwrap().is_err(), "an abandoned blob ended well");

    let mut wrong = begin(&store, &digest, &lease);
    wrong.reset().unwrap();
    let reader = follow(&mut wrong);
    wrong.write(&noise(62, SIZE as usize)).unwrap();
    wrong.commit(BlobKind::Layer).unwrap_err();
    assert!(reader.join().unwrap().is_err(), "wrong bytes ended well");

    let mut reset = begin(&store, &digest, &lease);
    let reader = follow(&mut reset);
    reset.write(&content[..10]).unwrap();
    reset.reset().unwrap();
    assert!(reader.join().unwrap().is_err(), "a blob that began again ended well");
}
