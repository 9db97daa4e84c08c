//! Push, copy, and the things that travel along.

use super::{image, world};
use larder_core::Compression;
use larder_testkit::tools::{Skopeo, SkopeoCopy};
use larder_testkit::{DockerRegistry, FaultRegistry, Home, Image, ImageBuilder, Tmpfs, signature_tag};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

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
fn what_is_attached_later_comes_with_the_next_pull() {
    let registry = FaultRegistry::start();
    let image = image(48);
    image.push(&registry, "app", Some("1"));
    let home = Home::new().unwrap();
    let source = registry.reference("app:1").to_string();
    let pull = |wanted: bool| {
        let larder = home.larder(["pull", "-o", "json", &source]).env("LARDER_ATTACHED", wanted.to_string());
        let report = larder.run().success().json().unwrap();
        let pulled = &report["images"][0]["pulled"];
        (pulled["attached"].as_u64().unwrap(), pulled["up_to_date"].as_bool().unwrap())
    };
    assert_eq!(pull(true), (0, false));
    assert_eq!(pull(true), (0, true));
    let bill = Image::referrer(&image.descriptor, "application/spdx+json", "{\"spdx\":1}");
    bill.push(&registry, "app", None);
    let signature = Image::cosign_signature(&image.descriptor, "c2ln");
    signature.push(&registry, "app", Some(&signature_tag(&image.digest())));
    assert_eq!(pull(false), (0, true));
    assert_eq!(pull(true), (2, false));
    assert_eq!(pull(true), (2, true));
    home.run(["gc"]).success();
    for digest in [bill.digest(), signature.digest()] {
        assert!(home.store().join("blobs/sha256").join(digest.hex()).exists(), "{digest} was collected");
    }
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
    let through = FaultRegistry::start();
    from.up();
    let passing = Home::new().unwrap();
    let target = format!("docker://{}", through.reference("app:1"));
    passing.run(["copy", &format!("docker://{source}"), &target]).success();
    assert!(
        through.manifest("app", &signature_tag(&image.digest())).is_some(),
        "the signature stayed behind"
    );
    let left = passing.run(["list", "--all", "-o", "json"]);
    assert_eq!(left.success().text().matches("\"reference\"").count(), 0, "a copy leaves names behind");
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
fn copies_into_one_layout_do_not_lose_each_other() {
    let (_registry, home, image, reference) = world(45);
    home.run(["pull", &reference]).success();
    let tags: Vec<String> = (0..6).map(|number| format!("v{number}")).collect();
    let targets: Vec<String> = tags.iter().map(|tag| format!("oci:layout:{tag}")).collect();
    let start = |target: &String| home.larder(["copy", &reference, target]).spawn().unwrap();
    let running: Vec<_> = targets.iter().map(start).collect();
    for one in running {
        one.wait().unwrap().success();
    }
    let layout = home.path().join("layout");
    let index = std::fs::read(layout.join("index.json")).unwrap();
    let index: larder_core::Index = serde_json::from_slice(&index).unwrap();
    let name = |entry: &larder_core::Descriptor| {
        assert_eq!(entry.digest, image.digest());
        entry.annotations["org.opencontainers.image.ref.name"].clone()
    };
    let mut names: Vec<String> = index.manifests.iter().map(name).collect();
    names.sort();
    assert_eq!(names, tags);
    for folder in [layout.clone(), layout.join("blobs/sha256")] {
        for file in std::fs::read_dir(folder).unwrap() {
            let name = file.unwrap().file_name().to_string_lossy().into_owned();
            assert!(!name.ends_with(".part"), "{name} was left");
        }
    }
    home.run(["copy", "oci:layout:v3", "localhost/back:1"]).success();
}

#[test]
fn archives_written_at_once_are_each_whole() {
    let (_registry, home, _, reference) = world(46);
    home.run(["pull", &reference]).success();
    let start = |_| home.larder(["copy", &reference, "oci-archive:one.tar:x"]).spawn().unwrap();
    let running: Vec<_> = (0..4).map(start).collect();
    for one in running {
        one.wait().unwrap().success();
    }
    home.run(["copy", "oci-archive:one.tar:x", "localhost/back:1"]).success();
}

#[test]
fn a_full_destination_is_not_taken_for_damage() {
    let (_registry, home, _, reference) = world(48);
    home.run(["pull", &reference]).success();
    let disk = Tmpfs::mount(64 << 10).unwrap();
    let at = disk.path().display();
    for place in
        [format!("docker-archive:{at}/d.tar"), format!("oci-archive:{at}/o.tar:x"), format!("oci:{at}")]
    {
        let outcome = home.run(["copy", &reference, &place]);
        outcome.fails_with(6);
        assert!(outcome.error_text().contains("cannot write"), "{}", outcome.describe());
        for name in ["d.tar", "o.tar", "index.json"] {
            assert!(!disk.path().join(name).exists(), "half of {name} was left");
        }
        let parts = std::fs::read_dir(disk.path()).unwrap();
        let parts =
            parts.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(".part"));
        assert_eq!(parts.count(), 0);
    }
}

#[test]
fn a_layer_that_inflates_to_something_else_is_not_saved() {
    let registry = FaultRegistry::start();
    let honest = ImageBuilder::new(49).random_layers(1, 50_000, Compression::Gzip).build();
    let (_, config) = honest.blobs.iter().find(|(blob, _)| !blob.media_type.is_layer()).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(config).unwrap();
    config["rootfs"]["diff_ids"][0] = larder_core::Digest::of(b"something else").to_string().into();
    let config = config.to_string();
    let mut manifest: serde_json::Value = serde_json::from_slice(honest.raw()).unwrap();
    manifest["config"]["digest"] = larder_core::Digest::of(config.as_bytes()).to_string().into();
    manifest["config"]["size"] = config.len().into();
    honest.push(&registry, "app", None);
    registry.put_blob("app", config);
    let media_type = honest.descriptor.media_type.clone();
    registry.put_manifest("app", &media_type, manifest.to_string(), Some("1"));
    let home = Home::new().unwrap();
    let source = registry.reference("app:1").to_string();
    home.run(["pull", &source]).success();
    let outcome = home.run(["copy", &source, "docker-archive:d.tar"]);
    outcome.fails_with(5);
    assert!(outcome.error_text().contains("diff id"), "{}", outcome.describe());
    assert!(!home.path().join("d.tar").exists());
}

#[test]
fn pipes_and_devices_are_refused_at_once() {
    let home = Home::new().unwrap();
    let pipe = |path: &Path| {
        assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    };
    pipe(&home.path().join("pipe"));
    let layout = home.path().join("layout");
    let image = image(47);
    image.write_layout(&layout, Some("1")).unwrap();
    let blob = layout.join("blobs/sha256").join(image.layers[0].digest.hex());
    std::fs::remove_file(&blob).unwrap();
    pipe(&blob);
    std::fs::create_dir(home.path().join("saved")).unwrap();
    pipe(&home.path().join("saved/manifest.json"));
    for place in [
        "oci:pipe",
        "oci-archive:pipe",
        "docker-archive:pipe",
        "oci-archive:/dev/zero",
        "docker-archive:/dev/zero",
        "oci:layout:1",
        "docker-archive:saved",
    ] {
        let outcome = home.larder(["copy", place, "localhost/x:1"]).limit(Duration::from_secs(20)).run();
        outcome.fails_with(8);
        assert!(outcome.error_text().contains("regular file"), "{place}: {}", outcome.describe());
    }
}

#[test]
fn a_saved_directory_names_only_what_is_in_it() {
    let home = Home::new().unwrap();
    let config = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["DIFF"]}}"#;
    let layer = [0; 1024];
    let config = config.replace("DIFF", &larder_core::Digest::of(&layer).to_string());
    home.write("outside.json", &config).unwrap();
    home.write("outside.tar", layer).unwrap();
    home.write("saved/inside.json", &config).unwrap();
    home.write("saved/a/inside.tar", layer).unwrap();
    let absolute = home.path().join("outside.tar").display().to_string();
    for (config, layer, good) in [
        ("inside.json", "a/inside.tar", true),
        ("../outside.json", "a/inside.tar", false),
        ("inside.json", "../outside.tar", false),
        ("inside.json", "a/../../outside.tar", false),
        ("inside.json", &absolute, false),
    ] {
        let list = serde_json::json!([{ "Config": config, "RepoTags": [], "Layers": [layer] }]);
        home.write("saved/manifest.json", list.to_string()).unwrap();
        let outcome = home.run(["copy", "docker-archive:saved", "localhost/x:1"]);
        if good {
            outcome.success();
            home.run(["remove", "localhost/x:1"]).success();
        } else {
            outcome.fails_with(8);
            assert!(outcome.error_text().contains("not inside"), "{}", outcome.describe());
        }
    }
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
