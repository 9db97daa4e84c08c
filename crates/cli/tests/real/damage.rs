//! A flipped bit anywhere is found, and what can be fetched again is repaired.

use super::world;
use larder_testkit::{DockerRegistry, FaultRegistry};
use std::path::{Path, PathBuf};

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn every_file_of_a_store() {
    let (_registry, home, _, reference) = world(100);
    home.run(["pull", &reference]).success();
    home.run(["mount", &reference, "m"]).success();
    home.run(["unmount", "m"]).success();
    home.run(["verify"]).success();
    let store = home.store().to_owned();
    let content = |path: &PathBuf| {
        let name = path.strip_prefix(&store).unwrap().to_string_lossy().into_owned();
        let kept = ["blobs/", "layers/", "disks/"].iter().any(|area| name.starts_with(area));
        kept || ["oci-layout", "index.json", "index.yaml"].contains(&name.as_str())
    };
    let victims: Vec<PathBuf> = files(&store).into_iter().filter(content).collect();
    assert!(victims.len() >= 11, "{victims:?}");
    for victim in victims {
        flip(&victim);
        let found = home.run(["verify"]);
        found.fails_with(5);
        let name = victim.file_name().unwrap().to_string_lossy().into_owned();
        let named = found.text() + &found.error_text();
        assert!(
            named.contains(name.trim_end_matches(".part")),
            "{} is not named: {}",
            victim.display(),
            found.describe()
        );
        home.run(["verify", "--repair"]).success();
        home.run(["verify"]).success();
        home.run(["mount", &reference, "m"]).success();
        home.run(["unmount", "m"]).success();
    }
}

#[test]
fn a_lost_database_is_made_again() {
    let (_registry, home, _, reference) = world(103);
    home.run(["pull", &reference]).success();
    home.run(["pin", &reference]).success();
    let database = home.store().join("larder.db");
    for is_there in [false, true] {
        if is_there {
            std::fs::write(&database, "x".repeat(20_000)).unwrap();
        } else {
            std::fs::remove_file(&database).unwrap();
        }
        for command in [&["list"] as &[&str], &["pull", &reference], &["gc"], &["verify"]] {
            let outcome = home.run(command);
            outcome.fails_with(5);
            let said = outcome.error_text();
            assert!(said.contains(database.to_str().unwrap()), "{}", outcome.describe());
            assert!(said.contains("larder verify --repair"), "{}", outcome.describe());
        }
        let repaired = home.run(["verify", "--repair"]);
        repaired.success();
        assert!(repaired.text().contains("larder.db"), "{}", repaired.describe());
        assert_eq!(home.store().join("quarantine/larder.db").exists(), is_there);
        home.run(["verify"]).success();
        let listed = home.run(["list", "--output", "json"]);
        listed.success();
        assert!(listed.text().contains("\"pinned\": true") || listed.text().contains("\"pinned\":true"));
        home.run(["mount", &reference, "m"]).success();
        home.run(["unmount", "m"]).success();
        home.run(["gc"]).success();
        home.run(["verify"]).success();
    }
}

#[test]
fn damage_that_cannot_be_repaired_is_said() {
    let (registry, home, image, reference) = world(101);
    home.run(["pull", &reference]).success();
    drop(registry);
    let blob = home.store().join("blobs/sha256").join(image.layers[0].digest.hex());
    flip(&blob);
    let outcome = home.larder(["verify", "--repair"]).env("LARDER_ATTEMPTS", "1").run();
    assert!(outcome.code() != Some(0), "{}", outcome.describe());
    assert!(!blob.exists(), "the damaged blob is still served");
    assert_eq!(std::fs::read_dir(home.store().join("quarantine")).unwrap().count(), 1);
}

#[test]
fn a_damaged_blob_is_never_given_out() {
    let (_registry, home, image, reference) = world(102);
    home.run(["pull", &reference]).success();
    let (real, watched) = (DockerRegistry::start().unwrap(), FaultRegistry::start());
    // A gzip layer, a zstd layer, and a plain one.
    for layer in &image.layers {
        let name = layer.digest.to_string();
        let blob = home.store().join("blobs/sha256").join(layer.digest.hex());
        let whole = std::fs::read(&blob).unwrap();
        flip(&blob);
        // Later, the other layers are unpacked in the store, and their blobs not needed.
        if layer.digest == image.layers[0].digest {
            for command in [["unpack", &reference, "out"], ["mount", &reference, "m"]] {
                home.run(command).fails_with(5);
            }
        }
        // A repository that has the blob already would not be sent it.
        let fresh = format!("team/{}", layer.digest.short());
        let target = format!("{fresh}:1");
        let (far, near) = (real.reference(&target).to_string(), watched.reference(&target).to_string());
        for command in [
            ["copy", &reference, "oci:layout:x"],
            ["copy", &reference, "oci-archive:a.tar:x"],
            ["copy", &reference, "docker-archive:d.tar"],
            ["push", &reference, &far],
            ["push", &reference, &near],
        ] {
            let outcome = home.run(command);
            outcome.fails_with(5);
            let said = outcome.error_text();
            assert!(
                said.contains(&name) && said.contains("larder verify --repair"),
                "{}",
                outcome.describe()
            );
        }
        assert!(watched.blob(&fresh, &layer.digest).is_none(), "a registry was given {name}");
        std::fs::write(&blob, whole).unwrap();
    }
    assert!(!home.path().join("layout/index.json").exists());
    for place in [home.path().to_owned(), home.path().join("layout/blobs/sha256")] {
        for file in std::fs::read_dir(place).unwrap() {
            let name = file.unwrap().file_name().to_string_lossy().into_owned();
            assert!(!name.ends_with(".tar") && !name.ends_with(".part"), "{name} was left");
        }
    }
    // Whole again, it goes everywhere.
    home.run(["copy", &reference, "oci:layout:x"]).success();
    home.run(["copy", &reference, "docker-archive:d.tar"]).success();
    home.run(["push", &reference, &real.reference("far/app:1").to_string()]).success();
}

#[test]
fn a_damaged_blob_at_the_destination_is_replaced() {
    let (_registry, home, image, reference) = world(103);
    home.run(["pull", &reference]).success();
    home.run(["copy", &reference, "oci:layout:x"]).success();
    let blob = home.path().join("layout/blobs/sha256").join(image.layers[0].digest.hex());
    let whole = std::fs::read(&blob).unwrap();
    flip(&blob);
    home.run(["copy", &reference, "oci:layout:x"]).success();
    assert!(std::fs::read(&blob).unwrap() == whole, "the damaged file was trusted for its length");
}
