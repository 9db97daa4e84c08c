//! Reading a blob while it is written.

use crate::world::{World, noise};
use larder_core::Digest;
use larder_store::{Available, Begin, BlobKind, Ingest, Lease, Store};
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
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

/// Counts how often it was woken.
#[derive(Default)]
struct Bell(AtomicUsize);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    fn count(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

#[test]
fn any_number_follow_each_from_the_first_byte() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let content = noise(63, SIZE as usize);
    let digest = Digest::of(&content);
    let mut ingest = begin(&store, &digest, &lease);
    let mut first = ingest.follow().unwrap();
    ingest.write(&content[..300_000]).unwrap();
    let mut head = vec![0; 100_000];
    first.read_exact(&mut head).unwrap();
    // Asked of the ingest, of a follower, and of one that has read.
    let followers = [ingest.follow().unwrap(), first.again(), ingest.follow().unwrap().again()];
    let readers: Vec<_> = followers
        .into_iter()
        .map(|mut follower| {
            thread::spawn(move || {
                let mut seen = Vec::new();
                follower.read_to_end(&mut seen).map(|_| seen)
            })
        })
        .collect();
    ingest.write(&content[300_000..]).unwrap();
    ingest.commit(BlobKind::Layer).unwrap();
    for reader in readers {
        assert_eq!(reader.join().unwrap().unwrap(), content);
    }
    first.read_to_end(&mut head).unwrap();
    assert_eq!(head, content, "the others took nothing from the first one");
}

#[test]
fn waiting_needs_no_thread() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let content = noise(64, SIZE as usize);
    let digest = Digest::of(&content);
    let mut ingest = begin(&store, &digest, &lease);
    let (near, far) = (ingest.follow().unwrap(), ingest.follow().unwrap());
    let (near_bell, far_bell) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
    let (near_waker, far_waker) = (Waker::from(near_bell.clone()), Waker::from(far_bell.clone()));
    let (mut near_context, mut far_context) =
        (Context::from_waker(&near_waker), Context::from_waker(&far_waker));
    let available = |until, verified| Available { until, verified };

    let gone = near.again();
    assert!(gone.poll_available(0, &mut near_context).is_pending());
    let waiting = Arc::strong_count(&near_bell);
    drop(gone);
    assert_eq!(Arc::strong_count(&near_bell), waiting - 1, "who went away waits no longer");
    assert!(near.poll_available(0, &mut near_context).is_pending());
    assert!(far.poll_available(500_000, &mut far_context).is_pending());
    ingest.write(&content[..400_000]).unwrap();
    assert_eq!((near_bell.count(), far_bell.count()), (1, 0), "only who has something to read is woken");
    let Poll::Ready(Ok(found)) = near.poll_available(0, &mut near_context) else { panic!() };
    assert_eq!(found, available(400_000, false));
    let mut bytes = vec![0; 1_000];
    near.file().read_exact_at(&mut bytes, 399_000).unwrap();
    assert_eq!(bytes, content[399_000..400_000]);
    assert!(near.poll_available(400_000, &mut near_context).is_pending());
    // Who waits for several things at once asks again and again; one waker is enough.
    for _ in 0..5 {
        assert!(far.poll_available(999_999, &mut far_context).is_pending());
    }
    ingest.write(&content[400_000..]).unwrap();
    assert_eq!((near_bell.count(), far_bell.count()), (2, 1));
    // All bytes are there, but nobody has said that they are right.
    let Poll::Ready(Ok(found)) = far.poll_available(999_999, &mut far_context) else { panic!() };
    assert_eq!(found, available(SIZE, false));
    assert!(far.poll_available(SIZE, &mut far_context).is_pending());
    ingest.commit(BlobKind::Layer).unwrap();
    assert_eq!(far_bell.count(), 2);
    for follower in [&far, &near, &far.again()] {
        let Poll::Ready(Ok(found)) = follower.poll_available(SIZE, &mut far_context) else { panic!() };
        assert_eq!(found, available(SIZE, true));
    }
    // The file outlives the blob.
    store.quarantine(&digest).unwrap();
    std::fs::remove_dir_all(world.home.join("quarantine")).unwrap();
    near.file().read_exact_at(&mut bytes, 0).unwrap();
    assert_eq!(bytes, content[..1_000]);
}

#[test]
fn waiters_hear_of_every_bad_end() {
    let world = World::new();
    let store = world.open();
    let lease = store.lease("test").unwrap();
    let content = noise(65, SIZE as usize);
    let digest = Digest::of(&content);
    let ends: [&dyn Fn(Ingest); 3] =
        [&|ingest| drop(ingest), &|mut ingest| ingest.reset().unwrap(), &|ingest| ingest.discard().unwrap()];
    let bell = Arc::new(Bell::default());
    let waker = Waker::from(bell.clone());
    let mut context = Context::from_waker(&waker);
    for (at, end) in ends.into_iter().enumerate() {
        let mut ingest = begin(&store, &digest, &lease);
        let follower = ingest.follow().unwrap();
        assert!(follower.poll_available(SIZE, &mut context).is_pending());
        end(ingest);
        assert_eq!(bell.count(), at + 1);
        let Poll::Ready(Err(error)) = follower.poll_available(0, &mut context) else { panic!() };
        assert_eq!(error.kind(), ErrorKind::Other);
    }

    let mut wrong = begin(&store, &digest, &lease);
    let follower = wrong.follow().unwrap();
    wrong.write(&noise(66, SIZE as usize)).unwrap();
    assert!(follower.poll_available(SIZE, &mut context).is_pending());
    wrong.commit(BlobKind::Layer).unwrap_err();
    let Poll::Ready(Err(error)) = follower.poll_available(0, &mut context) else { panic!() };
    assert_eq!(error.kind(), ErrorKind::InvalidData, "wrong bytes are not the same as no bytes");

    // A follower that began again after a reset sees the new bytes only.
    let mut ingest = begin(&store, &digest, &lease);
    let stale = ingest.follow().unwrap();
    ingest.write(&noise(67, 10)).unwrap();
    ingest.reset().unwrap();
    let mut fresh = ingest.follow().unwrap();
    ingest.write(&content).unwrap();
    ingest.commit(BlobKind::Layer).unwrap();
    let mut seen = Vec::new();
    fresh.read_to_end(&mut seen).unwrap();
    assert_eq!(seen, content);
    assert!(matches!(stale.again().poll_available(0, &mut context), Poll::Ready(Err(_))));
}
