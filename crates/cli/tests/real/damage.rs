//! A flipped bit anywhere is found, and what can be fetched again is repaired.

use super::world;
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
    flip(&home.store().join("blobs/sha256").join(image.layers[0].digest.hex()));
    for command in
        [["unpack", &reference, "out"], ["mount", &reference, "m"], ["copy", &reference, "oci:layout"]]
    {
        home.run(command).fails_with(5);
    }
    assert!(!home.path().join("layout/index.json").exists());
}
