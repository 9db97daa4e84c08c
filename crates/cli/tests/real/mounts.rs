//! Mounts and unpacked trees.

use super::world;
use larder_testkit::{Home, Ignore, Image, Listing};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn both_drivers_and_unpack_give_the_same_tree() {
    let (_registry, home, _, reference) = world(60);
    home.run(["unpack", &reference, "plain"]).success();
    let plain = Listing::of(&home.path().join("plain")).unwrap();
    for driver in ["erofs", "overlay"] {
        home.run(["mount", "--driver", driver, &reference, driver]).success();
        let mounted = Listing::of(&home.path().join(driver));
        home.run(["unmount", driver]).success();
        mounted.unwrap().assert_same(&plain, Ignore::default());
    }
}

#[test]
fn a_writable_layer_outlives_the_mount_and_never_touches_the_image() {
    let (_registry, home, _, reference) = world(61);
    home.run(["mount", "--writable", "work", &reference, "m"]).success();
    std::fs::write(home.path().join("m/new"), "kept").unwrap();
    std::fs::remove_dir_all(home.path().join("m/usr")).unwrap();
    home.run(["unmount", "m"]).success();
    home.run(["mount", "--writable", "work", &reference, "m"]).success();
    let kept = std::fs::read_to_string(home.path().join("m/new"));
    let usr = home.path().join("m/usr").exists();
    home.run(["unmount", "m"]).success();
    assert_eq!((kept.unwrap().as_str(), usr), ("kept", false));
    home.run(["mount", &reference, "m"]).success();
    let usr = home.path().join("m/usr").exists();
    let refused = std::fs::write(home.path().join("m/x"), "").is_err();
    home.run(["unmount", "m"]).success();
    assert!(usr && refused, "a plain mount is read-only and whole");
}

#[test]
fn a_writable_layer_is_listed_and_removed_but_not_while_it_is_mounted() {
    let (_registry, home, _, reference) = world(67);
    for name in ["work", "other"] {
        home.run(["mount", "--writable", name, &reference, "m"]).success();
        std::fs::write(home.path().join("m/new"), name).unwrap();
        home.run(["unmount", "m"]).success();
    }
    home.run(["mount", "--writable", "work", &reference, "m"]).success();
    let listed = home.run(["list", "--writable", "--output", "json"]).json().unwrap();
    let refused = home.run(["remove", "--writable", "work"]);
    let kept = std::fs::read_to_string(home.path().join("m/new"));
    home.run(["unmount", "m"]).success();
    let names: Vec<_> =
        listed["writable"].as_array().unwrap().iter().map(|layer| layer["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["other", "work"]);
    assert!(listed["writable"][0]["mounted"].is_null());
    assert_eq!(listed["writable"][1]["mounted"].as_str(), home.path().join("m").to_str());
    assert!(refused.error_text().contains("is mounted at"), "{}", refused.describe());
    assert_eq!(kept.unwrap(), "work");
    home.run(["remove", "--writable", "work", "--writable", "none"]).fails_with(3);
    home.run(["remove", "--writable", "work"]).success();
    let left: Vec<_> =
        std::fs::read_dir(home.store().join("rw")).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["other"]);
    home.run(["mount", "--writable", "work", &reference, "m"]).success();
    let new = home.path().join("m/new").exists();
    home.run(["unmount", "m"]).success();
    assert!(!new, "it starts anew");
}

#[test]
fn gc_spares_what_is_mounted() {
    let (_registry, home, image, reference) = world(62);
    home.run(["mount", &reference, "m"]).success();
    home.run(["remove", &reference]).success();
    home.run(["gc"]).success();
    let listing = Listing::of(&home.path().join("m"));
    let blob = home.store().join("blobs/sha256").join(image.layers[0].digest.hex());
    let spared = blob.exists();
    home.run(["unmount", "m"]).success();
    listing.unwrap();
    assert!(spared, "gc removed a layer of a mounted image");
    wait_until_collected(&home, "m", &blob);
}

/// Where the first layer of an image is, of which nothing but mounts is left.
fn only_mounted(home: &Home, image: &Image, reference: &str) -> PathBuf {
    home.run(["remove", reference]).success();
    home.run(["gc"]).success();
    home.store().join("blobs/sha256").join(image.layers[0].digest.hex())
}

/// Waits until the blob is collected. Other tests make mount namespaces, which have copies of all mounts for a while; and
/// where processes cannot be looked at, a mount is forgotten only by being unmounted.
fn wait_until_collected(home: &Home, dir: &str, blob: &Path) {
    let start = Instant::now();
    while blob.exists() {
        assert!(start.elapsed() < Duration::from_secs(60), "gc kept what nothing needs");
        home.run(["unmount", dir]);
        home.run(["gc"]).success();
    }
}

#[test]
fn gc_spares_what_is_mounted_where_it_cannot_be_seen() {
    for (seed, driver) in [(65, "erofs"), (66, "overlay")] {
        let (_registry, home, image, reference) = world(seed);
        let mut elsewhere = Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c"])
            .arg("\"$0\" --quiet mount --driver \"$1\" \"$2\" m && echo mounted && read _ && find m -type f -exec cat {} + >/dev/null")
            .args([env!("CARGO_BIN_EXE_larder"), driver, &reference])
            .env("LARDER_HOME", home.store())
            .current_dir(home.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(elsewhere.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "mounted\n");
        assert_eq!(std::fs::read_dir(home.path().join("m")).unwrap().count(), 0, "not in this namespace");
        let blob = only_mounted(&home, &image, &reference);
        let spared = blob.exists();
        let unmounted = home.run(["unmount", "m"]);
        home.run(["gc"]).success();
        let spared = spared && blob.exists();
        elsewhere.stdin.take().unwrap().write_all(b"\n").unwrap();
        let read = elsewhere.wait().unwrap();
        unmounted.fails_with(7);
        assert!(unmounted.error_text().contains("namespace"), "{}", unmounted.describe());
        assert!(read.success(), "{driver}: the mount cannot be read any more");
        assert!(spared, "{driver}: gc removed a layer of an image mounted in another namespace");
        wait_until_collected(&home, "m", &blob);
    }
}

#[test]
fn gc_spares_what_was_moved() {
    for (seed, driver) in [(67, "erofs"), (68, "overlay")] {
        let (_registry, home, image, reference) = world(seed);
        std::fs::create_dir(home.path().join("parent")).unwrap();
        home.run(["mount", "--driver", driver, &reference, "parent/m"]).success();
        std::fs::rename(home.path().join("parent"), home.path().join("moved")).unwrap();
        let blob = only_mounted(&home, &image, &reference);
        let (spared, listing) = (blob.exists(), Listing::of(&home.path().join("moved/m")));
        let done = Command::new("umount").arg(home.path().join("moved/m")).status().unwrap();
        assert!(done.success() && spared, "{driver}: gc removed a layer of a mount that was moved");
        listing.unwrap();
        wait_until_collected(&home, "parent/m", &blob);
    }
}

#[test]
fn unmount_leaves_the_mounts_of_others_alone() {
    for (seed, driver) in [(69, "erofs"), (70, "overlay")] {
        let (_registry, home, _, reference) = world(seed);
        let dir = home.path().join("m");
        std::fs::create_dir(&dir).unwrap();
        let tmpfs = || {
            let mut mount = Command::new("mount");
            assert!(mount.args(["-t", "tmpfs", "none"]).arg(&dir).status().unwrap().success());
            std::fs::write(dir.join("theirs"), "x").unwrap();
        };
        let umount = || Command::new("umount").arg(&dir).status().unwrap().success();
        // On top of ours.
        home.run(["mount", "--driver", driver, &reference, "m"]).success();
        tmpfs();
        let refused = home.run(["unmount", "m"]);
        assert!(dir.join("theirs").exists() && umount(), "{driver}: {}", refused.describe());
        refused.fails_with(7);
        home.run(["unmount", "m"]).success();
        // In place of ours; it may even get the same device number.
        home.run(["mount", "--driver", driver, &reference, "m"]).success();
        assert!(umount());
        tmpfs();
        let refused = home.run(["unmount", "m"]);
        assert!(dir.join("theirs").exists() && umount(), "{driver}: {}", refused.describe());
        refused.fails_with(7);
        assert!(refused.error_text().contains("tmpfs"), "{}", refused.describe());
    }
}

#[test]
fn a_moved_mount_is_unmounted_where_it_is() {
    let (_registry, home, _, reference) = world(71);
    std::fs::create_dir(home.path().join("parent")).unwrap();
    home.run(["mount", &reference, "parent/m"]).success();
    std::fs::rename(home.path().join("parent"), home.path().join("moved")).unwrap();
    std::fs::create_dir(home.path().join("parent")).unwrap();
    let refused = home.run(["unmount", "parent/m"]);
    home.run(["unmount", "moved/m"]).success();
    refused.fails_with(7);
    assert!(refused.error_text().contains("moved/m"), "{}", refused.describe());
    let left = std::fs::read_dir(home.path().join("moved/m")).map_or(0, Iterator::count);
    assert_eq!(left, 0, "it is not unmounted");
}

#[test]
fn wrong_places_are_refused() {
    let (_registry, home, _, reference) = world(63);
    home.write("full/file", "x").unwrap();
    let full = home.run(["mount", &reference, "full"]);
    assert!(full.code() != Some(0) && full.error_text().contains("full"), "{}", full.describe());
    let full = home.run(["unpack", &reference, "full"]);
    assert!(full.code() != Some(0), "{}", full.describe());
    assert_eq!(std::fs::read_to_string(home.path().join("full/file")).unwrap(), "x");
    let never = home.run(["mount", "--pull", "never", "localhost/none:1", "m"]);
    never.fails_with(3);
    assert!(never.error_text().contains("larder pull"), "{}", never.describe());
}

#[test]
fn mistakes_are_told_before_anything_is_pulled() {
    let (registry, home, _, reference) = world(64);
    home.write("full/file", "x").unwrap();
    let asked = registry.requests("GET", "/v2/") + registry.requests("HEAD", "/v2/");
    home.run(["mount", &reference, "m", "--writable", "../x"]).fails_with(2);
    home.run(["mount", &reference, "full"]).fails_with(7);
    home.run(["unpack", &reference, "full"]).fails_with(7);
    let missing = home.run(["mount", &reference, "no/such/parent"]);
    missing.fails_with(3);
    assert!(missing.error_text().contains("no/such"), "{}", missing.describe());
    assert!(!home.path().join("no").exists() && !home.path().join("m").exists());
    let blobs = std::fs::read_dir(home.store().join("blobs/sha256")).map_or(0, Iterator::count);
    assert_eq!(blobs, 0, "something was pulled for nothing");
    assert_eq!(registry.requests("GET", "/v2/") + registry.requests("HEAD", "/v2/"), asked);
}
