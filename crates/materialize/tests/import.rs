//! Importing layers: whole and verified, or not at all; once, however many ask.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use larder_core::{Classify as _, Compression, Digest, Kind};
use larder_materialize::{Error, ImportBegin, LayerImport, Materializer as _, Scans};
use larder_rootfs::{Layer, Limits};
use larder_testkit::{ImageBuilder, Packing, Random, TarBuilder, Tmpfs, eventually, pack};
use std::fs;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;
use support::World;

fn some_tar(seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let mut tar = TarBuilder::new().directory("d");
    for number in 0..50 {
        tar = tar.file(format!("d/f{number}"), random.text(random.clone().below(100_000) as usize));
    }
    tar.build()
}

fn begin(world: &World, diff_id: &Digest) -> LayerImport {
    match LayerImport::begin(&world.store, diff_id, &world.limits).unwrap() {
        ImportBegin::Import(import) => import,
        other => panic!("{other:?}"),
    }
}

/// Gives a few bytes at a time, as a network does.
struct Trickle<R>(R);

impl<R: Read> Read for Trickle<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(1000);
        self.0.read(&mut buffer[..length])
    }
}

#[test]
fn every_packing_gives_the_same_raw_tar() {
    for (compression, pieces) in
        [(Compression::None, 1), (Compression::Gzip, 1), (Compression::Gzip, 5), (Compression::Zstd, 3)]
    {
        let world = World::new();
        let tar = some_tar(1);
        let diff_id = Digest::of(&tar);
        let blob = pack(&tar, Packing { compression, pieces, level: 3 });
        // Labels lie: the bytes decide.
        let layer = begin(&world, &diff_id).run(Trickle(&*blob), Some(Compression::Zstd)).unwrap();
        assert_eq!(layer.members.unwrap(), Layer::read(&mut Cursor::new(&tar), &world.limits).unwrap());
        let [row] = &world.store.derived_list().unwrap()[..] else { panic!() };
        assert_eq!(row.key.name, format!("sha256-{}.tar", diff_id.hex()));
        assert_eq!((row.size, row.checksum), (tar.len() as u64, Some(diff_id)));
        let path = world.path("home/layers").join(&row.key.name);
        assert!(fs::read(path).unwrap() == tar);
        assert!(matches!(
            LayerImport::begin(&world.store, &diff_id, &world.limits).unwrap(),
            ImportBegin::Exists
        ));
    }
}

#[test]
fn what_is_wrong_leaves_nothing() {
    let tar = some_tar(2);
    let good = pack(&tar, Compression::Gzip);
    let mut bent = good.to_vec();
    bent[good.len() / 2] ^= 0x10;
    let mut garbage = tar.clone();
    garbage[512..1024].fill(0xff);
    let cases: [(&str, Vec<u8>, Digest, Kind); 6] = [
        ("another layer", good.to_vec(), Digest::of(b"another"), Kind::Corrupt),
        ("cut off", good[..good.len() - 100].to_vec(), Digest::of(&tar), Kind::Corrupt),
        ("bent", bent, Digest::of(&tar), Kind::Corrupt),
        ("something behind it", [&good[..], b"garbage"].concat(), Digest::of(&tar), Kind::Corrupt),
        ("no tar", pack(&garbage, Compression::Zstd).to_vec(), Digest::of(&garbage), Kind::Invalid),
        (
            "half a tar",
            pack(&tar[..tar.len() / 2], Compression::Gzip).to_vec(),
            Digest::of(&tar[..tar.len() / 2]),
            Kind::Invalid,
        ),
    ];
    for (what, blob, diff_id, kind) in cases {
        let world = World::new();
        let error = begin(&world, &diff_id).run(&*blob, None).unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {}", larder_core::report(&error));
        assert_nothing_left(&world);
    }
    let world = World::new();
    let broken = (&good[..1000]).chain(Broken);
    let error = begin(&world, &Digest::of(&tar)).run(broken, None).unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{}", larder_core::report(&error));
    assert!(larder_core::report(&error).contains("the network is gone"));
    assert_nothing_left(&world);
}

struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::other("the network is gone"))
    }
}

#[track_caller]
fn assert_nothing_left(world: &World) {
    assert!(world.store.derived_list().unwrap().is_empty());
    let left: Vec<_> =
        fs::read_dir(world.path("home/layers")).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_bomb_is_stopped_early() {
    let world = World::new();
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let tar = TarBuilder::new().file("zeros", vec![0; 64 << 20]).build();
    let diff_id = Digest::of(&tar);
    let ImportBegin::Import(import) = LayerImport::begin(&world.store, &diff_id, &limits).unwrap() else {
        panic!()
    };
    let error = import.run(&*pack(&tar, Compression::Gzip), None).unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error}");
    assert!(larder_core::report(&error).contains("limit"), "{}", larder_core::report(&error));
    assert_nothing_left(&world);
}

#[test]
fn a_scan_in_memory_is_used() {
    let world = World::new();
    let tar = some_tar(3);
    let image = world.image(std::slice::from_ref(&tar));
    let scans = Scans::default();
    let diff_id = image.0.layers[0].diff_id;
    let layer = begin(&world, &diff_id).run(&*tar, None).unwrap();
    scans.put(diff_id, layer.members.unwrap());
    let driver =
        larder_materialize::ErofsDriver::new(world.store.clone(), world.limits.clone()).with_scans(scans);
    // The raw tar cannot be read any more, and need not be.
    let path = world.path("home/layers").join(format!("sha256-{}.tar", diff_id.hex()));
    fs::write(&path, vec![0xff; tar.len()]).unwrap();
    driver.prepare(&image.0, &image.1).unwrap();
}

#[test]
fn one_import_at_a_time() {
    let world = World::new();
    let tar = some_tar(4);
    let diff_id = Digest::of(&tar);
    let first = begin(&world, &diff_id);
    assert!(matches!(LayerImport::begin(&world.store, &diff_id, &world.limits).unwrap(), ImportBegin::Busy));
    drop(first);
    begin(&world, &diff_id).run(&*tar, None).unwrap();
}

#[test]
fn many_threads_prepare_one_image_once() {
    let world = World::new();
    let tars: Vec<_> = (0..4).map(some_tar).collect();
    let image = world.image(&tars);
    for driver in world.drivers() {
        let rootfs: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> =
                (0..8).map(|_| scope.spawn(|| driver.prepare(&image.0, &image.1).unwrap())).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let made = |rows: &[larder_store::DerivedRow]| {
            rows.iter().map(|row| (row.key.clone(), row.created)).collect::<Vec<_>>()
        };
        let before = made(&world.store.derived_list().unwrap());
        for one in &rootfs {
            assert_eq!(one.keys(), rootfs[0].keys());
        }
        driver.prepare(&image.0, &image.1).unwrap();
        assert_eq!(made(&world.store.derived_list().unwrap()), before, "nothing was made again");
    }
    for area in ["layers", "disks"] {
        for entry in fs::read_dir(world.path("home").join(area)).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(!name.to_string_lossy().starts_with('.'), "{name:?} was left behind");
        }
    }
}

#[test]
fn several_processes_prepare_one_image() {
    let world = World::new();
    let image = world.put(&image_for_children());
    let children: Vec<Child> = (0..3).map(|_| spawn("prepare", &world.path("home"))).collect();
    for driver in world.drivers() {
        driver.prepare(&image.0, &image.1).unwrap();
    }
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    world.assert_agreement(&image, larder_testkit::Ignore::default());
}

#[test]
fn a_killed_import_is_not_trusted() {
    let world = World::new();
    let tar = some_tar(7);
    let diff_id = Digest::of(&tar);
    let mut child = spawn("import", &world.path("home"));
    let growing = || {
        fs::read_dir(world.path("home/layers"))
            .unwrap()
            .filter_map(Result::ok)
            .any(|entry| entry.metadata().is_ok_and(|metadata| metadata.len() >= 256 << 10))
    };
    eventually("the import is half done", Duration::from_secs(30), || growing().then_some(()));
    assert!(matches!(LayerImport::begin(&world.store, &diff_id, &world.limits).unwrap(), ImportBegin::Busy));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(world.store.derived_list().unwrap().is_empty());
    let layer = begin(&world, &diff_id).run(&*tar, None).unwrap();
    assert_eq!(layer.members.unwrap().entries().len(), 51);
}

fn image_for_children() -> larder_testkit::Image {
    ImageBuilder::new(5).tar(some_tar(5), Compression::Gzip).tar(some_tar(6), Compression::Zstd).build()
}

/// Runs this very program again, for one job.
fn spawn(job: &str, home: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture"])
        .env("LARDER_TEST_JOB", job)
        .env("LARDER_TEST_HOME", home)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[test]
fn child() {
    #[expect(clippy::disallowed_methods, reason = "how this test program talks to itself")]
    let job = |name| std::env::var_os(name);
    let (Some(what), Some(home)) = (job("LARDER_TEST_JOB"), job("LARDER_TEST_HOME")) else { return };
    let store = support::open_store(&PathBuf::from(home));
    let limits = Limits::default();
    if what == "import" {
        let tar = some_tar(7);
        let ImportBegin::Import(import) = LayerImport::begin(&store, &Digest::of(&tar), &limits).unwrap()
        else {
            panic!()
        };
        let _ = import.run((&tar[..tar.len() / 2]).chain(Stuck), None);
        return;
    }
    let built = image_for_children();
    let admitted = store.admitted(&built.digest()).unwrap().unwrap();
    let layers = built.layers.iter().map(|layer| larder_materialize::LayerSource {
        blob: layer.digest,
        media_type: layer.media_type(larder_testkit::Family::Oci),
        diff_id: layer.diff_id,
    });
    let image = larder_materialize::ImageSource { manifest: built.digest(), layers: layers.collect() };
    larder_materialize::OverlayDriver::new(store.clone(), limits.clone()).prepare(&image, &admitted).unwrap();
    larder_materialize::ErofsDriver::new(store, limits).prepare(&image, &admitted).unwrap();
}

struct Stuck;

impl Read for Stuck {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        thread::sleep(Duration::from_secs(600));
        Ok(0)
    }
}

#[test]
fn a_missing_blob_is_named() {
    let world = World::new();
    let mut image = world.image(&[some_tar(8)]);
    image.0.layers[0].blob = support::no_digest();
    for driver in world.drivers() {
        let error = driver.prepare(&image.0, &image.1).unwrap_err();
        assert!(
            matches!(&error, Error::MissingBlob { digest } if *digest == support::no_digest()),
            "{error}"
        );
        assert_eq!(error.kind(), Kind::NotFound);
    }
}

#[test]
fn a_full_disk_is_survived() {
    let room = Tmpfs::mount(8 << 20).unwrap();
    let store = support::open_store(&room.path().join("home"));
    let tar = TarBuilder::new().file("large", Random::new(9).bytes(24 << 20)).build();
    let diff_id = Digest::of(&tar);
    let import = || match LayerImport::begin(&store, &diff_id, &Limits::default()).unwrap() {
        ImportBegin::Import(import) => import.run(&*tar, None),
        other => panic!("{other:?}"),
    };
    let error = import().unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{}", larder_core::report(&error));
    assert!(room.free().unwrap() > 4 << 20, "what was written is gone again");
    assert!(store.derived_list().unwrap().is_empty());
    room.resize(64 << 20).unwrap();
    import().unwrap();
}
