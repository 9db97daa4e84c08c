//! Layers made to get out, and somebody who moves directories about while they are written.

#![expect(clippy::unwrap_used, reason = "a test that fails says where")]

mod support;

use larder_core::Classify as _;
use larder_core::Kind;
use larder_materialize::{Access, unmount};
use larder_testkit::{Ignore, Listing, Member, TarBuilder};
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use support::World;

/// Something outside that must not change.
struct Canary {
    before: Listing,
    dir: std::path::PathBuf,
}

impl Canary {
    fn new(world: &World) -> Self {
        let dir = world.path("canary");
        fs::create_dir_all(dir.join("sub")).unwrap();
        for name in ["file", "sub/file", "f0", "f1", "x"] {
            fs::write(dir.join(name), b"alive").unwrap();
        }
        Self { before: Listing::of(&dir).unwrap(), dir }
    }

    #[track_caller]
    fn assert_alive(&self, what: &str) {
        let differences = self.before.differences(&Listing::of(&self.dir).unwrap(), Ignore::default());
        assert!(differences.is_empty(), "{what} got out:\n{}", differences.join("\n"));
    }

    fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }
}

#[test]
fn no_layer_gets_out() {
    let world = World::new();
    let canary = Canary::new(&world);
    let up = "../".repeat(20);
    let outside = canary.path("");
    let outside = outside.trim_end_matches('/');
    let relative = outside.trim_start_matches('/');
    let tar = TarBuilder::new;
    let link = || tar().symlink("link", outside);
    let cases: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("a path with dots", vec![tar().file("../canary/file", b"x").build()]),
        ("a path with dots inside", vec![tar().file("a/../../canary/file", b"x").build()]),
        ("a path with many dots", vec![tar().file(format!("{up}{relative}/file"), b"x").build()]),
        ("an absolute path", vec![tar().file(canary.path("file"), b"x").build()]),
        ("through a link of the same layer", vec![link().file("link/file", b"x").build()]),
        ("through a link of a lower layer", vec![link().build(), tar().file("link/file", b"x").build()]),
        (
            "through a relative link",
            vec![tar().symlink("link", format!("{up}{relative}")).file("link/sub/file", b"x").build()],
        ),
        (
            "through a chain of links",
            vec![
                tar()
                    .symlink("a", "b")
                    .symlink("b", "c/..")
                    .symlink("c", outside)
                    .file("a/file", b"x")
                    .build(),
            ],
        ),
        (
            "a directory over a link",
            vec![link().member(&Member::directory("link/sub").mode(0o777).owner(9, 9)).build()],
        ),
        (
            "a directory named like a link",
            vec![link().member(&Member::directory("link/").mode(0o777)).build()],
        ),
        ("a whiteout behind a link", vec![link().build(), tar().whiteout("link/file").build()]),
        ("an opaque directory behind a link", vec![link().build(), tar().opaque("link").build()]),
        ("a whiteout of dots", vec![tar().file(".wh...", b"").build()]),
        ("a whiteout of a path with dots", vec![tar().file("../canary/.wh.file", b"").build()]),
        ("a hard link out by dots", vec![tar().hard_link("steal", "../canary/file").build()]),
        ("a hard link out by an absolute path", vec![tar().hard_link("steal", canary.path("file")).build()]),
        ("a hard link out by a link", vec![link().hard_link("steal", "link/file").build()]),
        (
            "a hard link to a link, then written",
            vec![tar().symlink("l", canary.path("file")).hard_link("h", "l").file("h", b"x").build()],
        ),
        (
            "a file over a link",
            vec![tar().symlink("l", canary.path("file")).build(), tar().file("l", b"x").build()],
        ),
        (
            "attributes over a link",
            vec![
                tar().symlink("l", canary.path("file")).hard_link("h", "l").build(),
                tar().member(&Member::file("h", b"").mode(0o4777).owner(7, 7).xattr("user.x", b"y")).build(),
            ],
        ),
        ("a device behind a link", vec![link().char_device("link/null", 1, 3).build()]),
        ("a link behind a link", vec![link().symlink("link/file", "/etc/shadow").build()]),
        ("the root as a link", vec![tar().symlink("./", outside).file("file", b"x").build()]),
        ("the root as a file", vec![tar().file("./", b"x").build()]),
        (
            "forged marks",
            vec![
                tar()
                    .member(
                        &Member::directory("d").xattr("trusted.overlay.redirect", format!("/{up}{relative}")),
                    )
                    .file("d/file", b"x")
                    .build(),
            ],
        ),
    ];
    for (number, (what, tars)) in cases.iter().enumerate() {
        let image = world.image(tars);
        let name = format!("out-{number}");
        if world.unpack(&image, &name).is_ok() {
            Listing::of(&world.path(&name)).unwrap();
        } else {
            assert!(!world.path(&name).exists(), "{what}: the failure left something");
        }
        canary.assert_alive(what);
        for driver in world.drivers() {
            let dir = world.path("m");
            if let Ok(rootfs) = driver.prepare(&image.0, &image.1) {
                let access = Access::Writable(format!("w{number}-{}", driver.driver()));
                driver.mount(&rootfs, &dir, access).unwrap();
                unmount(&world.store, &dir).unwrap();
            }
            canary.assert_alive(what);
        }
    }
}

#[test]
fn links_are_followed_inside_only() {
    let world = World::new();
    let canary = Canary::new(&world);
    let image = world.image(&[
        TarBuilder::new().symlink("link", canary.path("")).build(),
        TarBuilder::new().file("link/file", b"inside").build(),
    ]);
    let listing = world.assert_agreement(&image, Ignore::default());
    let inside = format!("{}/file", canary.path("").trim_matches('/'));
    assert!(listing.get(&inside).is_some(), "{listing}");
    canary.assert_alive("a link");
}

#[test]
fn somebody_moves_directories_about() {
    let world = World::new();
    let canary = Canary::new(&world);
    let mut tar = TarBuilder::new();
    for number in 0..60 {
        tar = tar
            .member(&Member::directory(format!("d{number}")).mode(0o777))
            .member(&Member::directory(format!("d{number}/sub")).mode(0o777));
        for file in 0..12 {
            tar = tar
                .member(
                    &Member::file(format!("d{number}/sub/f{file}"), b"written")
                        .mode(0o777)
                        .owner(1, 1)
                        .xattr("user.x", b"y"),
                )
                .hard_link(format!("d{number}/h{file}"), format!("d{number}/sub/f{file}"))
                .fifo(format!("d{number}/p{file}"));
        }
    }
    let image = world.image(&[tar.build()]);
    for round in 0..6 {
        let name = format!("out-{round}");
        let target = world.path(&name);
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    number = (number + 1) % 60;
                    for below in ["", "/sub"] {
                        swap(&target.join(format!("d{number}{below}")), &canary.dir, number);
                    }
                    let pipe = target.join(format!("d{number}/p3"));
                    if fs::remove_file(&pipe).is_ok() {
                        let _ = symlink(canary.dir.join("file"), &pipe);
                    }
                }
            });
            // It may fail, and it may succeed between two moves; what counts is what happens outside.
            let _ = world.unpack(&image, &name);
            stop.store(true, Ordering::Relaxed);
        });
        canary.assert_alive("a moved directory");
    }
}

fn swap(path: &Path, canary: &Path, number: usize) {
    let aside = path.with_extension("aside");
    if fs::rename(path, &aside).is_ok() {
        let _ = symlink(if number.is_multiple_of(2) { canary.to_owned() } else { canary.join("sub") }, path);
        thread::yield_now();
        let _ = fs::remove_file(path);
        if number.is_multiple_of(3) {
            let _ = fs::rename(&aside, path);
        }
    }
}

#[test]
fn targets_that_are_refused_stay_as_they_are() {
    let world = World::new();
    let canary = Canary::new(&world);
    let image = world.image(&[TarBuilder::new().file("file", b"x").build()]);
    symlink(&canary.dir, world.path("link")).unwrap();
    fs::create_dir(world.path("empty")).unwrap();
    symlink(world.path("empty"), world.path("link-to-empty")).unwrap();
    for name in ["canary", "link", "link-to-empty", "canary/file"] {
        let error = world.unpack(&image, name).unwrap_err();
        assert_eq!(error.kind(), Kind::Conflict, "{name}: {error}");
    }
    canary.assert_alive("a refused target");
    assert_eq!(fs::read_dir(world.path("empty")).unwrap().count(), 0);
    world.unpack(&image, "empty").unwrap();
}

#[test]
fn a_failure_takes_back_what_was_written() {
    let world = World::new();
    let missing = world.image(&[
        TarBuilder::new().file("a", b"x").build(),
        TarBuilder::new().hard_link("b", "nowhere").build(),
    ]);
    fs::create_dir(world.path("given")).unwrap();
    for (name, stays) in [("given", true), ("new", false)] {
        world.unpack(&missing, name).unwrap_err();
        assert_eq!(world.path(name).exists(), stays);
    }
    assert_eq!(fs::read_dir(world.path("given")).unwrap().count(), 0);
}

#[test]
fn depth_costs_no_handles() {
    let world = World::new();
    let mut deep = String::new();
    let mut tar = TarBuilder::new();
    for _ in 0..2000 {
        deep.push_str("d/");
    }
    tar = tar
        .file(format!("{deep}f"), b"deep")
        .hard_link(format!("{deep}g"), format!("{deep}f"))
        .file("d/z", b"after");
    let image = world.image(&[tar.build()]);
    let report = world.unpack(&image, "out").unwrap();
    assert_eq!(report.entries, 2003);
    let mut at = world.path("out");
    assert_eq!(fs::read(at.join("d/z")).unwrap(), b"after");
    at.push(&deep);
    assert_eq!(fs::read(at.join("f")).unwrap(), b"deep");
    for driver in world.drivers() {
        let rootfs = driver.prepare(&image.0, &image.1).unwrap();
        let dir = world.path("m");
        driver.mount(&rootfs, &dir, Access::ReadOnly).unwrap();
        assert_eq!(fs::read(dir.join(&deep).join("g")).unwrap(), b"deep");
        unmount(&world.store, &dir).unwrap();
    }
}

#[test]
fn without_privilege_owners_can_be_ignored() {
    let world = World::new();
    let image =
        world.image(&[TarBuilder::new().member(&Member::file("f", b"x").owner(12, 34).mode(0o4755)).build()]);
    let options = larder_materialize::UnpackOptions { owner: larder_materialize::Owner::Ignore };
    let report = larder_materialize::unpack(
        &world.store,
        &image.0,
        &image.1,
        &world.path("out"),
        &world.limits,
        &options,
    )
    .unwrap();
    assert_eq!((report.entries, report.bytes, report.skipped.len()), (1, 1, 0));
    let listing = Listing::of(&world.path("out")).unwrap();
    let file = listing.get("f").unwrap();
    assert_eq!((file.uid, file.gid, file.mode), (0, 0, 0o4755));
}
