//! Push, copy, and the things that travel along.

use super::{image, world};
use larder_core::Compression;
use larder_testkit::tools::{Skopeo, SkopeoCopy};
use larder_testkit::{DockerRegistry, FaultRegistry, Home, Image, ImageBuilder, signature_tag};

#[test]
fn a_push_skips_what_is_there_and_mounts_what_is_near() {
    let (registry, home, image, reference) = world(40);
    home.run(["pull", &reference]).success();
    let moved = registry.reference("other/place:2").to_string();
    let pushed = home.run(["push", "-o", "json", &reference, &moved]).success().json().unwrap();
    assert_eq!(pushed["digest"], image.digest().to_string());
    assert_eq!(pushed["sent_bytes"], 0, "blobs of the same registry are mounted");
    let other = DockerRegistry::start().unwrap();
    let far = other.reference("app:1").to_string();
    let pushed = home.run(["push", "-o", "json", &reference, &far]).success().json().unwrap();
    assert!(pushed["sent_bytes"].as_u64().unwrap() > 0);
    let again = home.run(["push", "-o", "json", &reference, &far]).success().json().unwrap();
    assert_eq!(again["sent_bytes"], 0);
    assert_eq!(
        Skopeo::new().unwrap().inspect(&format!("docker://{far}")).unwrap()["Digest"],
        image.digest().to_string()
    );
}

#[test]
fn around_all_places_and_back_with_the_same_digest() {
    let (registry, home, image, reference) = world(41);
    let end = registry.reference("round/trip:1").to_string();
    let end = format!("docker://{end}");
    let start = format!("docker://{reference}");
    let places =
        [start.as_str(), "oci:layout:x", "oci-archive:a.tar:y", "localhost/kept:1", "oci:second", &end];
    for pair in places.windows(2) {
        home.run(["copy", pair[0], pair[1]]).success();
    }
    let seen = Skopeo::new().unwrap().inspect(&end).unwrap();
    assert_eq!(seen["Digest"], image.digest().to_string());
}

#[test]
fn docker_archives_both_ways() {
    let (registry, home, image, reference) = world(42);
    home.run(["pull", &reference]).success();
    home.run(["copy", &reference, "docker-archive:saved.tar"]).success();
    let skopeo = Skopeo::new().unwrap();
    let saved = format!("docker-archive:{}", home.path().join("saved.tar").display());
    let seen = skopeo.inspect(&saved).unwrap();
    assert_eq!(seen["Layers"].as_array().unwrap().len(), image.layers.len());
    home.run(["copy", "docker-archive:saved.tar", "localhost/loaded:1"]).success();
    home.run(["unpack", "localhost/loaded:1", "a"]).success();
    home.run(["unpack", &reference, "b"]).success();
    let list = |name: &str| larder_testkit::Listing::of(&home.path().join(name)).unwrap();
    list("a").assert_same(&list("b"), larder_testkit::Ignore::default());
    // What skopeo saves, we load.
    let made = home.path().join("skopeo.tar");
    let to = format!("docker-archive:{}:localhost/x:1", made.display());
    let plain = registry.reference("gzip:1").to_string();
    registry
        .push(&ImageBuilder::new(42).random_layers(2, 50_000, Compression::Gzip).build(), "gzip", Some("1"))
        .unwrap();
    home.run(["pull", &plain]).success();
    skopeo.copy(&format!("oci:{}:{plain}", home.store().display()), &to, &SkopeoCopy::default()).unwrap();
    home.run(["copy", &format!("docker-archive:{}", made.display()), "localhost/skopeo:1"]).success();
}

#[test]
fn signatures_and_other_referrers_travel_along() {
    let (from, to) = (FaultRegistry::start(), FaultRegistry::start());
    let image = image(43);
    image.push(&from, "app", Some("1"));
    let bill = Image::referrer(&image.descriptor, "application/spdx+json", "{\"spdx\":1}");
    bill.push(&from, "app", None);
    let signature = Image::cosign_signature(&image.descriptor, "c2ln");
    signature.push(&from, "app", Some(&signature_tag(&image.digest())));
    let home = Home::new().unwrap();
    let source = from.reference("app:1").to_string();
    let report = home.run(["pull", "-o", "json", &source]).success().json().unwrap();
    assert_eq!(report["images"][0]["pulled"]["attached"], 2);
    from.down();
    let target = to.reference("app:1").to_string();
    home.run(["push", &source, &target]).success();
    assert!(to.manifest("app", &bill.digest().to_string()).is_some(), "the bill of materials stayed behind");
    assert!(to.manifest("app", &signature_tag(&image.digest())).is_some(), "the signature stayed behind");
    let bare = FaultRegistry::start();
    home.run(["push", "--no-attached", &source, &bare.reference("app:1").to_string()]).success();
    assert!(bare.manifest("app", &bill.digest().to_string()).is_none());
}

#[test]
fn wrong_archives_are_refused_with_a_word() {
    let home = Home::new().unwrap();
    home.write("empty.tar", vec![0; 1024]).unwrap();
    home.write("zip.tar.gz", [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]).unwrap();
    for (place, word) in [
        ("oci:nowhere", "nowhere"),
        ("oci-archive:empty.tar", "oci-layout"),
        ("docker-archive:empty.tar", "manifest.json"),
        ("docker-archive:zip.tar.gz", "compressed"),
        ("s3://bucket/x", "transport"),
    ] {
        let outcome = home.run(["copy", place, "localhost/x:1"]);
        assert!(outcome.code() != Some(0));
        assert!(outcome.error_text().contains(word), "{place}: {}", outcome.describe());
    }
    assert_eq!(home.run(["list", "-o", "json"]).success().text().matches("reference").count(), 0);
}

#[test]
fn an_import_that_lies_stores_nothing() {
    let home = Home::new().unwrap();
    let image = image(44);
    let layout = home.path().join("layout");
    image.write_layout(&layout, Some("1")).unwrap();
    let blob = layout.join("blobs/sha256").join(image.layers[0].digest.hex());
    let mut bytes = std::fs::read(&blob).unwrap();
    bytes[1000] ^= 1;
    std::fs::write(&blob, bytes).unwrap();
    home.run(["copy", "oci:layout:1", "localhost/x:1"]).fails_with(5);
    home.run(["verify"]).success();
    home.run(["inspect", "localhost/x:1"]).fails_with(3);
}
