//! Both drivers show what `unpack` writes, and that is what the layers mean.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use larder_core::{Classify as _, Compression, Kind};
use larder_materialize::{Access, ErofsDriver, Error, Mounts, OverlayDriver, mount_points, unmount};
use larder_testkit::{Ignore, ImageBuilder, ListedKind, Listing, Member, Random, TarBuilder};
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use support::World;

const NOTHING: Ignore = Ignore {
    mtime: false,
    directory_mtime: false,
    nanoseconds: false,
    owner: false,
    xattrs: false,
    root: false,
};

fn everything() -> Vec<u8> {
    let capability = b"\x01\0\0\x02\0\x20\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let long = format!("usr/{}/{}", "d".repeat(250), "f".repeat(255));
    let mut tar = TarBuilder::new()
        .member(&Member::directory("./").mode(0o711).owner(3, 4).mtime(1_600_000_000, 7))
        .member(&Member::directory("usr").xattr("user.dir", b"of a directory"))
        .member(&Member::file("usr/su", b"setuid").mode(0o4755).mtime(1_500_000_000, 123_456_789))
        .member(&Member::file("usr/ping", b"capable").xattr("security.capability", capability))
        .member(&Member::file("usr/far", b"owner").owner(100_000, 4_000_000_000))
        .member(&Member::file("usr/old", b"before 1970").mtime(-5, 500_000_000))
        .member(
            &Member::file("usr/acl", b"")
                .mode(0o640)
                .xattr("user.a", b"1")
                .xattr("user.b", [0u8, 255, 0])
                .xattr("trusted.t", b"t"),
        )
        .member(&Member::file(&long, b"long"))
        .member(&Member::file(b"usr/not\xffutf8\x01\n", b"bytes"))
        .member(&Member::directory("tmp").mode(0o1777))
        .symlink("bin", "usr/bin")
        .symlink("usr/dangling", "/no/such/thing")
        .symlink("usr/long-link", "t/".repeat(2000))
        .member(
            &Member { link: b"su".to_vec(), mode: 0o777, ..Member::new(b'2', "usr/owned-link") }
                .owner(7, 8)
                .mtime(5, 6),
        )
        .hard_link("usr/su-too", "usr/su")
        .hard_link("usr/link-too", "usr/owned-link")
        .char_device("dev/null", 1, 3)
        .block_device("dev/disk", 259, 70_000)
        .fifo("run/pipe")
        .file("empty", b"")
        .file("block", [b'x'; 512])
        .file("page", [b'y'; 4096])
        .file("odd", vec![b'z'; 100_001])
        .sparse("sparse", 1 << 20, &[(4096, &[1; 4096]), (512 << 10, b"tail end")])
        .sparse("hole", 1 << 30, &[])
        .sparse("crooked", 70_000, &[(100, b"a"), (33_333, b"b")])
        .file("implicit/parents/of/this", b"x");
    // Large enough for several directory blocks of either size, with names on both sides of the dots.
    for number in 0..400 {
        tar = tar
            .file(format!("many/!{number:03}"), b"")
            .file(format!("many/{}{number}", "n".repeat(number % 200)), number.to_string());
    }
    tar.build()
}

#[test]
fn one_layer_with_everything() {
    let world = World::new();
    let listing = world.assert_agreement(&world.image(&[everything()]), NOTHING);
    let get = |path: &str| listing.get(path).unwrap_or_else(|| panic!("{path} is missing"));
    assert_eq!((get("").mode, get("").uid, get("").gid, get("").mtime), (0o711, 3, 4, (1_600_000_000, 7)));
    assert_eq!((get("usr/su").mode, get("usr/su").links), (0o4755, 2));
    assert_eq!(get("usr/su").mtime, (1_500_000_000, 123_456_789));
    assert_eq!(get("usr/su-too").same_as.as_deref(), Some("usr/su".as_ref()));
    assert_eq!((get("usr/owned-link").uid, get("usr/owned-link").mtime), (7, (5, 6)));
    assert_eq!(get("usr/link-too").kind, ListedKind::Symlink("su".into()));
    assert_eq!((get("usr/far").uid, get("usr/far").gid), (100_000, 4_000_000_000));
    assert_eq!(get("usr/old").mtime, (-5, 500_000_000));
    assert_eq!(get("usr/ping").xattrs.len(), 1);
    assert_eq!(get("usr/acl").xattrs.len(), 3);
    assert_eq!(get("usr").xattrs.len(), 1);
    assert_eq!(get("tmp").mode, 0o1777);
    assert_eq!(get("dev/null").kind, ListedKind::CharDevice(1, 3));
    assert_eq!(get("dev/disk").kind, ListedKind::BlockDevice(259, 70_000));
    assert_eq!(get("run/pipe").kind, ListedKind::Fifo);
    assert_eq!((get("implicit/parents").mode, get("implicit/parents").uid), (0o755, 0));
    let ListedKind::File { size, .. } = get("hole").kind else { panic!() };
    assert_eq!(size, 1 << 30);
    assert_eq!(listing.paths().iter().filter(|path| path.starts_with("many/")).count(), 800);
}

#[test]
fn holes_stay_holes() {
    let world = World::new();
    let image = world.image(&[everything()]);
    world.unpack(&image, "out").unwrap();
    for (name, blocks) in [("hole", 0), ("sparse", 32)] {
        let metadata = fs::metadata(world.path("out").join(name)).unwrap();
        assert!(metadata.blocks() <= blocks, "{name} takes {} blocks", metadata.blocks());
    }
}

#[test]
fn later_layers_hide_replace_and_add() {
    let world = World::new();
    let base = TarBuilder::new()
        .member(&Member::directory("etc").mode(0o750).owner(1, 2).mtime(1_600_000_000, 0))
        .file("etc/keep", b"1")
        .file("etc/remove", b"1")
        .file("etc/replace", b"old")
        .directory("dir")
        .file("dir/a", b"1")
        .file("dir/sub/b", b"1")
        .directory("opaque")
        .file("opaque/lower", b"1")
        .directory("reborn")
        .file("reborn/lower", b"1")
        .file("becomes-dir", b"1")
        .file("becomes-link", b"1")
        .directory("becomes-file")
        .file("becomes-file/x", b"1")
        .file("one", b"linked")
        .hard_link("two", "one")
        .symlink("lib", "usr/lib")
        .directory("usr/lib")
        .member(&Member::directory("tmp").mode(0o1777).xattr("user.x", b"y"))
        .build();
    let middle = TarBuilder::new()
        .whiteout("etc/remove")
        .file("etc/replace", b"new")
        .whiteout("dir")
        .file("opaque/upper", b"2")
        .opaque("opaque")
        .whiteout("reborn")
        .file("reborn/upper", b"2")
        .directory("becomes-dir")
        .file("becomes-dir/x", b"2")
        .symlink("becomes-link", "etc")
        .file("becomes-file", b"2")
        .file("two", b"not linked any more")
        .file("tmp/implicit", b"2")
        .build();
    let top = TarBuilder::new()
        .file("dir/again", b"3")
        .whiteout("never/was/here")
        .whiteout("opaque/upper")
        .file("lib/through-a-link", b"3")
        .hard_link("three", "one")
        .whiteout("etc/keep")
        .file("etc/implicit-parent", b"3")
        .build();
    for count in 1..=3 {
        let image = world.image(&[base.clone(), middle.clone(), top.clone()][..count]);
        // overlayfs counts the links of the layer a file comes from.
        let listing = {
            let unpacked = format!("links-{count}");
            world.unpack(&image, &unpacked).unwrap();
            Listing::of(&world.path(&unpacked)).unwrap()
        };
        assert_agreement_but_links(&world, &image, &listing);
        if count < 3 {
            continue;
        }
        let has = |path: &str| listing.get(path).is_some();
        for path in [
            "etc/remove",
            "etc/keep",
            "dir/a",
            "dir/sub",
            "opaque/lower",
            "opaque/upper",
            "reborn/lower",
            "becomes-file/x",
        ] {
            assert!(!has(path), "{path} is hidden");
        }
        for path in
            ["dir/again", "reborn/upper", "becomes-dir/x", "usr/lib/through-a-link", "etc/implicit-parent"]
        {
            assert!(has(path), "{path} is there");
        }
        assert_eq!(listing.get("three").unwrap().same_as.as_deref(), Some("one".as_ref()));
        assert!(listing.get("two").unwrap().same_as.is_none());
        let etc = listing.get("etc").unwrap();
        assert_eq!((etc.mode, etc.uid, etc.gid), (0o750, 1, 2), "an implicit parent keeps what it had");
        assert_eq!((listing.get("tmp").unwrap().mode, listing.get("tmp").unwrap().xattrs.len()), (0o1777, 1));
    }
}

#[track_caller]
fn assert_agreement_but_links(
    world: &World,
    image: &(larder_materialize::ImageSource, larder_store::Admitted),
    unpacked: &Listing,
) {
    for driver in world.drivers() {
        let word = driver.driver();
        let dir = world.path(&format!("{word}-{}", image.0.manifest.short()));
        let rootfs = driver.prepare(&image.0, &image.1).unwrap();
        assert!(driver.is_materialized(&image.0.manifest).unwrap());
        driver.mount(&rootfs, &dir, Access::ReadOnly).unwrap();
        let (mut left, mut right) = (unpacked.clone(), Listing::of(&dir).unwrap());
        if word == larder_materialize::Driver::Overlay {
            for listed in left.entries.values_mut().chain(right.entries.values_mut()) {
                (listed.links, listed.same_as) = (1, None);
            }
        }
        let differences = left.differences(&right, NOTHING);
        assert!(differences.is_empty(), "{word} differs from unpack:\n{}", differences.join("\n"));
        unmount(&world.store, &dir).unwrap();
    }
}

#[test]
fn random_layers_agree() {
    for seed in 0..10 {
        let world = World::new();
        let mut random = Random::new(seed);
        let tars: Vec<Vec<u8>> = (0..5).map(|_| random_layer(&mut random)).collect();
        for count in [1, 3, 5] {
            let image = world.image(&tars[..count]);
            let name = format!("out-{count}");
            world
                .unpack(&image, &name)
                .unwrap_or_else(|error| panic!("seed {seed}: {}", larder_core::report(&error)));
            let listing = Listing::of(&world.path(&name)).unwrap();
            assert_agreement_but_links(&world, &image, &listing);
        }
    }
}

fn random_layer(random: &mut Random) -> Vec<u8> {
    let names = ["a", "b", "c", "!d"];
    let mut tar = TarBuilder::new();
    let path = |random: &mut Random| {
        let depth = 1 + random.below(3) as usize;
        (0..depth).map(|_| *random.pick(&names)).collect::<Vec<_>>().join("/")
    };
    let mut files: Vec<String> = Vec::new();
    for _ in 0..random.within(1..12) {
        let name = path(random);
        // A path through a file of the same layer is refused; that is not what is compared here.
        let clash = |file: &String| {
            name.starts_with(&format!("{file}/")) || file.starts_with(&format!("{name}/")) || *file == name
        };
        if files.iter().any(clash) {
            continue;
        }
        let member = |member: Member| {
            member
                .mode(0o600 + u32::from(name.len() as u8))
                .owner(name.len() as u64, 0)
                .mtime(1_000_000 + name.len() as i64, 5)
        };
        tar = match random.below(9) {
            0..=2 => {
                files.push(name.clone());
                let size = random.below(3000) as usize;
                tar.member(&member(Member::file(&name, random.bytes(size))))
            }
            3 => tar.member(&member(Member::directory(&name)).xattr("user.x", name.as_bytes())),
            4 | 5 => tar.whiteout(&name),
            6 => tar.opaque(&name),
            7 => {
                files.push(name.clone());
                tar.fifo(&name)
            }
            _ => {
                files.push(name.clone());
                let target = format!("{name}-first");
                tar.file(&target, b"shared").hard_link(&name, &target)
            }
        };
    }
    tar.build()
}

#[test]
fn many_layers() {
    let world = World::new();
    for count in [60, 130] {
        let tars: Vec<Vec<u8>> = (0..count)
            .map(|number| {
                let mut tar = TarBuilder::new()
                    .directory(format!("d{number}"))
                    .file(format!("d{number}/f"), number.to_string())
                    .file("shared/last", number.to_string());
                if number > 0 {
                    tar = tar.whiteout(&format!("shared/of-{}", number - 1));
                }
                tar.file(format!("shared/of-{number}"), b"").build()
            })
            .collect();
        let listing = world.assert_agreement(&world.image(&tars), NOTHING);
        assert_eq!(listing.paths().len(), count * 2 + 3);
    }
}

#[test]
fn an_image_without_layers_is_an_empty_directory() {
    let world = World::new();
    let listing = world.assert_agreement(&world.image(&[]), NOTHING);
    assert_eq!(listing.paths().len(), 0);
}

#[test]
fn the_same_layer_twice() {
    let world = World::new();
    let [a, b] = [
        TarBuilder::new().file("f", b"a").file("only-a", b"").build(),
        TarBuilder::new().file("f", b"b").whiteout("only-a").build(),
    ];
    let listing = world.assert_agreement(&world.image(&[a.clone(), b.clone(), a.clone()]), NOTHING);
    assert_eq!(listing.paths(), ["f", "only-a"]);
    let listing = world.assert_agreement(&world.image(&[b.clone(), a, b]), NOTHING);
    assert_eq!(listing.paths(), ["f"]);
}

#[test]
fn a_raw_layer_is_not_stored_twice() {
    let world = World::new();
    let tar = TarBuilder::new().file("f", b"raw").sparse("s", 10_000, &[(777, b"crooked")]).build();
    let image = world.put(&ImageBuilder::new(1).tar(tar, Compression::None).build());
    assert!(image.0.layers[0].is_raw());
    world.assert_agreement(&image, NOTHING);
    let derived = world.store.derived_list().unwrap();
    let tars: Vec<_> = derived.iter().filter(|row| row.key.name.ends_with(".tar")).collect();
    assert!(tars.is_empty(), "{tars:?}");
}

#[test]
fn changes_outlive_the_mount() {
    let world = World::new();
    let image = world.image(&[everything(), TarBuilder::new().file("second/layer", b"2").build()]);
    let other = world.image(&[TarBuilder::new().file("x", b"").build()]);
    for driver in world.drivers() {
        let name = format!("rw-{}", driver.driver());
        let access = || Access::Writable(name.clone());
        let dir = world.path(&name);
        let rootfs = driver.prepare(&image.0, &image.1).unwrap();
        let record = driver.mount(&rootfs, &dir, access()).unwrap();
        assert_eq!(record.writable.as_deref(), Some(&*name));
        let root = fs::metadata(&dir).unwrap();
        assert_eq!(
            (root.mode() & 0o7777, root.uid(), root.gid()),
            (0o711, 3, 4),
            "the root keeps its attributes"
        );
        assert_eq!(fs::read(dir.join("second/layer")).unwrap(), b"2");
        fs::write(dir.join("usr/su"), b"changed").unwrap();
        fs::write(dir.join("new"), b"new").unwrap();
        fs::remove_file(dir.join("odd")).unwrap();
        fs::remove_dir_all(dir.join("many")).unwrap();
        fs::rename(dir.join("page"), dir.join("usr/page")).unwrap();
        // Only the mount itself is there: the image beneath was detached.
        let below: Vec<_> =
            mount_points().unwrap().into_iter().filter(|at| at.starts_with(world.path("home"))).collect();
        assert!(below.is_empty(), "{below:?}");
        let error = driver.mount(&rootfs, &world.path("second"), access()).unwrap_err();
        assert!(matches!(error, Error::Writable { .. }), "{error}");
        unmount(&world.store, &dir).unwrap();
        driver.mount(&rootfs, &dir, access()).unwrap();
        assert_eq!(fs::read(dir.join("usr/su")).unwrap(), b"changed");
        assert_eq!(fs::read(dir.join("new")).unwrap(), b"new");
        assert!(!dir.join("odd").exists() && !dir.join("many").exists() && !dir.join("page").exists());
        assert_eq!(fs::read(dir.join("usr/page")).unwrap(), [b'y'; 4096]);
        unmount(&world.store, &dir).unwrap();
        let foreign = driver.prepare(&other.0, &other.1).unwrap();
        let error = driver.mount(&foreign, &dir, access()).unwrap_err();
        assert!(
            matches!(&error, Error::Writable { problem, .. } if problem.contains("belongs to")),
            "{error}"
        );
        assert!(!dir.exists());
        for bad in ["", ".", "../x", "a/b", "-x", &"n".repeat(129)] {
            let error = driver.mount(&rootfs, &dir, Access::Writable(bad.into())).unwrap_err();
            assert!(matches!(error, Error::WritableName { .. }), "{bad:?}: {error}");
        }
    }
}

#[test]
fn a_mount_is_recorded_and_undone() {
    let world = World::new();
    let image = world.image(&[everything()]);
    for driver in world.drivers() {
        let rootfs = driver.prepare(&image.0, &image.1).unwrap();
        let dir = world.path("existing");
        fs::create_dir_all(&dir).unwrap();
        driver.mount(&rootfs, &dir, Access::ReadOnly).unwrap();
        assert_eq!(world.store.mounts().unwrap().len(), 1);
        assert!(fs::write(dir.join("x"), b"").is_err(), "read-only");
        let again = driver.mount(&rootfs, &dir, Access::ReadOnly).unwrap_err();
        assert_eq!(again.kind(), Kind::Conflict, "{again}");
        assert_eq!(world.store.mounts().unwrap().len(), 1, "the refused attempt left the record alone");
        assert!(matches!(driver.remove(&image.0.manifest).unwrap_err(), Error::InUse { .. }));
        let open = fs::File::open(dir.join("odd")).unwrap();
        assert_eq!(
            unmount(&world.store, &dir).unwrap_err().kind(),
            Kind::Conflict,
            "somebody has a file open"
        );
        drop(open);
        unmount(&world.store, &dir).unwrap();
        assert!(dir.exists(), "it was there before");
        assert!(matches!(unmount(&world.store, &dir).unwrap_err(), Error::NotMounted { .. }));
        // Gone behind our back, as after a restart.
        driver.mount(&rootfs, &dir, Access::ReadOnly).unwrap();
        rustix::mount::unmount(&dir, rustix::mount::UnmountFlags::empty()).unwrap();
        unmount(&world.store, &dir).unwrap();
        assert_eq!(world.store.mounts().unwrap().len(), 0);
        assert!(driver.remove(&image.0.manifest).unwrap());
        assert!(!driver.is_materialized(&image.0.manifest).unwrap());
        assert!(!driver.remove(&image.0.manifest).unwrap());
    }
}

#[test]
fn what_was_removed_is_made_again() {
    let world = World::new();
    let image = world.image(&[everything(), TarBuilder::new().file("usr/x", b"").build()]);
    world.assert_agreement(&image, NOTHING);
    for row in world.store.derived_list().unwrap() {
        world.store.remove_derived(&row.key).unwrap();
        for driver in world.drivers() {
            driver.prepare(&image.0, &image.1).unwrap();
        }
    }
    fs::remove_dir_all(world.path(&format!("unpacked-{}", image.0.manifest.short()))).unwrap();
    world.assert_agreement(&image, NOTHING);
}

#[test]
fn paths_too_long_for_a_mount_option() {
    let world = World::new();
    let home = world.path(&format!("{}/{}", "h".repeat(200), "a b,c:d\\e"));
    fs::create_dir_all(home.parent().unwrap()).unwrap();
    let store = support::open_store(&home);
    let lease = store.lease("test").unwrap();
    let inner = ImageBuilder::new(1)
        .tar(TarBuilder::new().file("f", b"1").build(), Compression::Gzip)
        .tar(TarBuilder::new().file("g", b"2").build(), Compression::Gzip)
        .build();
    for (_, bytes) in &inner.blobs {
        store.put(bytes, larder_store::BlobKind::Layer, &lease).unwrap();
    }
    store.put(inner.raw(), larder_store::BlobKind::Manifest, &lease).unwrap();
    let (image, _) = world.put(&inner);
    let admitted = store.admit(&image.manifest, "test").unwrap();
    let drivers: [Box<dyn larder_materialize::Materializer>; 2] = [
        Box::new(ErofsDriver::new(store.clone(), world.limits.clone())),
        Box::new(OverlayDriver::new(store.clone(), world.limits.clone())),
    ];
    for driver in drivers {
        let rootfs = driver.prepare(&image, &admitted).unwrap();
        for access in [Access::ReadOnly, Access::Writable(format!("w-{}", driver.driver()))] {
            let dir = world.path("m");
            driver.mount(&rootfs, &dir, access).unwrap();
            assert_eq!(fs::read(dir.join("f")).unwrap(), b"1");
            assert_eq!(fs::read(dir.join("g")).unwrap(), b"2");
            unmount(&store, &dir).unwrap();
        }
    }
}

#[test]
fn devices_work_and_modes_hold() {
    let world = World::new();
    let image = world.image(&[everything()]);
    for driver in world.drivers() {
        let rootfs = driver.prepare(&image.0, &image.1).unwrap();
        let dir = world.path("m");
        driver.mount(&rootfs, &dir, Access::ReadOnly).unwrap();
        let null = fs::metadata(dir.join("dev/null")).unwrap();
        assert!(null.file_type().is_char_device());
        assert_eq!(fs::read(dir.join("dev/null")).unwrap(), b"");
        assert_eq!(fs::metadata(dir.join("usr/su")).unwrap().permissions().mode() & 0o7777, 0o4755);
        unmount(&world.store, &dir).unwrap();
    }
}

#[test]
fn only_what_was_admitted() {
    let world = World::new();
    let [a, b] = [world.image(&[everything()]), world.image(&[])];
    for driver in world.drivers() {
        let error = driver.prepare(&a.0, &b.1).unwrap_err();
        assert!(matches!(error, Error::NotAdmitted { .. }), "{error}");
        assert_eq!(error.kind(), Kind::Denied);
    }
    assert!(world.store.derived_list().unwrap().is_empty());
}

#[test]
fn a_probe_tries_both_and_leaves_nothing() {
    let world = World::new();
    let findings: Vec<_> = larder_materialize::probe(world.store.home()).collect();
    let usable: Vec<_> = findings.iter().map(|finding| (finding.driver.as_str(), finding.usable)).collect();
    assert_eq!(usable, [("erofs", true), ("overlay", true)], "{findings:?}");
    assert_eq!(fs::read_dir(world.path("home/rw")).unwrap().count(), 0);
    let missing: Vec<_> = larder_materialize::probe(&world.path("file/in/the/way")).collect();
    assert!(missing.iter().all(|finding| finding.usable), "directories are made: {missing:?}");
    fs::write(world.path("plain"), b"").unwrap();
    let blocked: Vec<_> = larder_materialize::probe(&world.path("plain")).collect();
    assert!(blocked.iter().all(|finding| !finding.usable && finding.why.contains("plain")), "{blocked:?}");
}

#[test]
fn a_store_in_memory() {
    let room = larder_testkit::Tmpfs::mount(64 << 20).unwrap();
    let store = support::open_store(room.path());
    let lease = store.lease("test").unwrap();
    let built = ImageBuilder::new(1).tar(everything(), Compression::Gzip).build();
    for (_, bytes) in &built.blobs {
        store.put(bytes, larder_store::BlobKind::Layer, &lease).unwrap();
    }
    store.put(built.raw(), larder_store::BlobKind::Manifest, &lease).unwrap();
    let world = World::new();
    let (image, _) = world.put(&built);
    let admitted = store.admit(&image.manifest, "test").unwrap();
    let dir = world.path("m");
    // Not every file system can hold a disk image that is mounted from its file; the probe must know.
    for finding in larder_materialize::probe(store.home()) {
        let driver: Box<dyn larder_materialize::Materializer> = match finding.driver {
            larder_materialize::Driver::Erofs => {
                Box::new(ErofsDriver::new(store.clone(), world.limits.clone()))
            }
            larder_materialize::Driver::Overlay => {
                Box::new(OverlayDriver::new(store.clone(), world.limits.clone()))
            }
        };
        let rootfs = driver.prepare(&image, &admitted).unwrap();
        match driver.mount(&rootfs, &dir, Access::ReadOnly) {
            Ok(_) => {
                assert!(finding.usable, "{finding:?}");
                assert_eq!(fs::read(dir.join("block")).unwrap(), [b'x'; 512]);
                unmount(&store, &dir).unwrap();
            }
            Err(error) => {
                assert!(!finding.usable, "{finding:?}: {error}");
                assert_eq!(error.kind(), Kind::Unsupported, "{error}");
                assert!(error.hints()[0].contains("overlay"), "{:?}", error.hints());
                assert!(!dir.exists() && store.mounts().unwrap().is_empty());
            }
        }
    }
}

#[test]
fn what_is_mounted_is_not_collected() {
    let mut world = World::new();
    let image = world.image(&[everything(), TarBuilder::new().file("dir/x", b"2").build()]);
    world.end_lease();
    for driver in world.drivers() {
        let dir = world.path("m");
        let rootfs = driver.prepare(&image.0, &image.1).unwrap();
        driver.mount(&rootfs, &dir, Access::ReadOnly).unwrap();
        drop(rootfs);
        let collect = || {
            let mounts = Mounts::look().unwrap();
            let is_mounted = |record: &_| mounts.may_have(record);
            world.store.gc(&larder_store::GcPlan::new(&is_mounted)).unwrap()
        };
        collect();
        assert_eq!(fs::read(dir.join("odd")).unwrap(), [b'z'; 100_001]);
        assert!(driver.is_materialized(&image.0.manifest).unwrap());
        assert!(world.store.contains(&image.0.manifest).unwrap());
        unmount(&world.store, &dir).unwrap();
        if driver.driver() == larder_materialize::Driver::Overlay {
            let report = collect();
            assert!(report.derived >= 3 && report.blobs >= 3, "{report:?}");
            assert!(world.store.derived_list().unwrap().is_empty());
        }
    }
}
