//! Mounts and unpacked trees.

use super::world;
use larder_testkit::{Ignore, Listing};

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
    home.run(["gc"]).success();
    assert!(!blob.exists(), "gc kept what nothing needs");
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
