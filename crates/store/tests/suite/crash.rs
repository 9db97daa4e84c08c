//! Processes that are killed at any moment leave a store that is whole.

use crate::world::{World, never_mounted, noise, put_image, put_named, reference};
use larder_core::Digest;
use larder_store::{Area, Begin, BeginDerived, BlobKind, DerivedKey, GcPlan, Options, Store};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Tells this program that it is the child, and in which store to work.
const CHILD: &str = "LARDER_STORE_TEST_CHILD";

/// Not a test by itself: what the child does until it is killed.
#[test]
fn child() {
    #[expect(clippy::disallowed_methods, reason = "how the parent talks to the child")]
    let Some(task) = std::env::var_os(CHILD) else { return };
    let task = task.into_string().unwrap();
    let (task, home) = task.split_once(' ').unwrap();
    let options = Options { boot_id: "first".into(), clock: Arc::new(SystemTime::now) };
    let store = Store::open(Path::new(home), options).unwrap();
    match task {
        "lease" => hold_a_lease(&store),
        "work" => work(&store),
        "begin" => begin_something(&store),
        other => panic!("unknown task {other}"),
    }
}

fn spawn(task: &str, home: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash::child", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{task} {}", home.display()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

fn wait_for(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(60), "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn hold_a_lease(store: &Store) {
    let lease = store.lease("child").unwrap();
    put_image(store, &lease, &[b"leased by the child"]);
    fs::write(store.home().join("rw/ready"), b"").unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn the_lease_of_a_killed_process_ends() {
    let world = World::new();
    let store = world.open();
    let child = spawn("lease", &world.home);
    wait_for("the child", || world.home.join("rw/ready").exists());
    assert_eq!(store.gc(&GcPlan::new(&never_mounted)).unwrap().blobs, 0);
    assert_eq!(world.files("leases").len(), 1);
    kill(child);
    assert_eq!(store.gc(&GcPlan::new(&never_mounted)).unwrap().blobs, 3);
    assert!(world.files("leases").is_empty());
}

fn begin_something(store: &Store) {
    let lease = store.lease("child").unwrap();
    let Begin::Ingest(mut ingest) = store.begin(&Digest::of(b"1234"), Some(4), &lease).unwrap() else {
        panic!()
    };
    ingest.write(b"12").unwrap();
    let BeginDerived::Build(building) = store.begin_derived(&DerivedKey::new(Area::Layers, "x")).unwrap()
    else {
        panic!()
    };
    fs::write(building.path(), b"half").unwrap();
    fs::write(store.home().join("rw/ready"), b"").unwrap();
    std::thread::sleep(Duration::from_secs(600));
}

#[test]
fn what_another_process_does_is_busy_until_it_dies() {
    let world = World::new();
    let store = world.open();
    let child = spawn("begin", &world.home);
    wait_for("the child", || world.home.join("rw/ready").exists());
    let lease = store.lease("test").unwrap();
    let (digest, key) = (Digest::of(b"1234"), DerivedKey::new(Area::Layers, "x"));
    assert!(matches!(store.begin(&digest, Some(4), &lease).unwrap(), Begin::Busy));
    assert!(matches!(store.begin_derived(&key).unwrap(), BeginDerived::Busy));
    kill(child);
    let Begin::Ingest(mut ingest) = store.begin(&digest, Some(4), &lease).unwrap() else { panic!() };
    assert_eq!(ingest.offset(), 2, "what the dead one wrote is kept");
    ingest.replay(&mut |_| {}).unwrap();
    ingest.write(b"34").unwrap();
    ingest.commit(BlobKind::Other).unwrap();
    let BeginDerived::Build(building) = store.begin_derived(&key).unwrap() else { panic!() };
    assert!(!building.path().exists(), "what the dead one made is gone");
}

/// Everything the store does, over and over, in two threads, with names that say what must be there.
fn work(store: &Store) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            loop {
                let _ = store.gc(&GcPlan::new(&never_mounted));
            }
        });
        for round in u64::from(std::process::id()) * 1_000.. {
            let lease = store.lease("work").unwrap();
            let big = noise(round, 200_000);
            if let Begin::Ingest(mut ingest) = store.begin(&Digest::of(&big), Some(200_000), &lease).unwrap()
            {
                ingest.replay(&mut |_| {}).unwrap();
                for piece in big[ingest.offset() as usize..].chunks(10_000) {
                    ingest.write(piece).unwrap();
                }
                ingest.commit(BlobKind::Layer).unwrap();
            }
            let image = put_image(store, &lease, &[b"shared", &round.to_le_bytes()]);
            store.set_name(&reference(&format!("work:{}", round % 7)), &image.descriptor).unwrap();
            let key = DerivedKey::new(Area::Layers, format!("{}.tar", round % 5));
            if let BeginDerived::Build(building) = store.begin_derived(&key).unwrap() {
                fs::write(building.path(), &big).unwrap();
                building.commit(200_000, Some(Digest::of(&big))).unwrap();
            }
            store.use_derived(&key, &image.descriptor.digest).unwrap();
            store.flush().unwrap();
            if round % 3 == 0 {
                store.remove_name(&reference(&format!("work:{}", (round + 1) % 7))).unwrap();
            }
        }
    });
}

#[test]
fn killed_at_any_moment_the_store_is_whole() {
    let world = World::new();
    let kept = put_named(&world.open(), "kept:1", &[b"shared", b"kept"]);
    let mut delays = noise(u64::from(std::process::id()), 64).into_iter();
    let mut worked = 0;
    for round in 0..32 {
        let before = progress(&world.home);
        let child = spawn("work", &world.home);
        // From the middle of opening to some dozens of rounds.
        let delay = Duration::from_millis(u64::from(delays.next().unwrap()) + 5);
        if round % 4 != 0 {
            wait_for("the child to work", || progress(&world.home) != before);
            worked += 1;
        }
        std::thread::sleep(delay);
        kill(child);
        let store = world.open();
        let report = store.verify(&mut |_| {}).unwrap();
        assert!(report.is_clean(), "round {round}: {report:#?}");
        for name in store.names().unwrap() {
            let document = store.document(&name.descriptor.digest).unwrap().expect("a name has a document");
            for child in document.manifest().children() {
                assert!(store.blob(&child.digest).unwrap().is_some(), "round {round}: {}", name.reference);
            }
        }
        assert_eq!(store.missing(&kept.digests()).unwrap(), []);
    }
    assert!(worked > 20);
    let store = world.open();
    store.gc(&GcPlan::new(&never_mounted)).unwrap();
    let left = store.stats().unwrap();
    let needed = store.names().unwrap().len() as u64;
    assert!(left.blobs <= needed * 4, "{left:?} for {needed} names");
    assert!(world.files("leases").is_empty());
    assert!(store.verify(&mut |_| {}).unwrap().is_clean());
}

/// Changes when somebody gives a name.
fn progress(home: &Path) -> Option<(PathBuf, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let path = home.join("index.json");
    let inode = fs::metadata(&path).ok()?.ino();
    Some((path, inode))
}
