//! Kills, cuts, full disks, and many at once.

use super::world;
use larder_core::Compression;
use larder_testkit::{Fault, FaultRegistry, Home, ImageBuilder, Random, Rule, Tmpfs, eventually};
use rustix::process::Signal;
use std::time::Duration;

const SIZE: usize = 8 << 20;

fn large(seed: u64) -> (FaultRegistry, larder_testkit::Image, String) {
    let registry = FaultRegistry::start();
    let image = ImageBuilder::new(seed).random_layers(1, SIZE, Compression::None).build();
    image.push(&registry, "app", Some("1"));
    let reference = registry.reference("app:1").to_string();
    (registry, image, reference)
}

#[test]
fn a_killed_pull_continues_where_it_stopped() {
    let (registry, image, reference) = large(80);
    let layer = &image.layers[0];
    registry.fault(Rule::blob(&layer.digest).first(1).fault(Fault::Stall(5 << 20)));
    let home = Home::new().unwrap();
    let pull = home.larder(["pull", &reference]).spawn().unwrap();
    let ingest = home.store().join("ingest");
    let arrived = || {
        let files = std::fs::read_dir(&ingest).ok()?;
        files.filter_map(|file| file.ok()?.metadata().ok()).any(|meta| meta.len() >= 4 << 20).then_some(())
    };
    eventually("most of the layer arrives", Duration::from_secs(20), arrived);
    pull.kill().unwrap();
    let before = registry.bytes_sent(&layer.digest);
    home.run(["pull", &reference]).success();
    let again = registry.bytes_sent(&layer.digest) - before;
    let size = layer.blob.len() as u64;
    assert!(again <= size - (4 << 20), "{again} of {size} bytes were fetched again");
    home.run(["verify"]).success();
}

#[test]
fn resets_cost_what_they_cut_and_nothing_more() {
    let (registry, image, reference) = large(81);
    let layer = &image.layers[0];
    let hits = registry.fault(Rule::blob(&layer.digest).fault(Fault::Reset(200_000)));
    let home = Home::new().unwrap();
    home.run(["pull", &reference]).success();
    assert!(hits.count() >= 40, "only {} resets", hits.count());
    let (sent, size) = (registry.bytes_sent(&layer.digest), layer.blob.len() as u64);
    assert!(sent <= size + hits.count() * 200_000, "{sent} bytes for {size}");
    home.run(["verify"]).success();
}

#[test]
fn two_processes_download_once() {
    let (registry, image, reference) = large(82);
    let layer = &image.layers[0];
    registry.fault(Rule::blob(&layer.digest).fault(Fault::Throttle(16 << 20)));
    let home = Home::new().unwrap();
    let pulls: Vec<_> = (0..3).map(|_| home.larder(["pull", &reference]).spawn().unwrap()).collect();
    for pull in pulls {
        pull.wait().unwrap().success();
    }
    assert_eq!(registry.bytes_sent(&layer.digest), layer.blob.len() as u64);
}

#[test]
fn kills_lose_nothing_and_leave_nothing_unverified() {
    let registry = FaultRegistry::start();
    let home = Home::new().unwrap();
    let mut random = Random::new(83);
    let references: Vec<String> = (0..4)
        .map(|seed| {
            let name = format!("app{seed}");
            let image = ImageBuilder::new(83 + seed).random_layers(3, 1 << 20, Compression::Gzip).build();
            image.push(&registry, &name, Some("1"));
            registry.reference(&format!("{name}:1")).to_string()
        })
        .collect();
    for _ in 0..25 {
        let one = home.larder([
            "pull",
            &references[random.below(4) as usize],
            &references[random.below(4) as usize],
        ]);
        let two = home.larder(["pull", &references[random.below(4) as usize]]);
        let three = home.larder(["gc"]);
        let running = [one.spawn().unwrap(), two.spawn().unwrap(), three.spawn().unwrap()];
        std::thread::sleep(Duration::from_millis(random.below(60)));
        for process in running {
            process.kill().unwrap();
        }
    }
    home.run(["verify"]).success();
    let mut all = vec!["pull".to_owned()];
    all.extend(references);
    home.run(&all).success();
    home.run(["verify"]).success();
    home.run(["gc"]).success();
    assert_eq!(home.run(["list", "-o", "json"]).success().text().matches("\"reference\"").count(), 4);
}

#[test]
fn a_full_disk_is_said_and_survived() {
    let (_registry, image, reference) = large(84);
    let disk = Tmpfs::mount(6 << 20).unwrap();
    let home = Home::with_store_at(&disk.path().join("store")).unwrap();
    let full = home.run(["pull", &reference]);
    full.fails_with(6);
    assert!(full.error_text().contains("space"), "{}", full.describe());
    let blob = home.store().join("blobs/sha256").join(image.layers[0].digest.hex());
    assert!(!blob.exists(), "half a blob is visible");
    disk.resize(64 << 20).unwrap();
    home.run(["pull", &reference]).success();
    home.run(["verify"]).success();
}

#[test]
fn a_terminal_interrupt_leaves_a_resumable_state() {
    let (registry, image, reference) = large(85);
    let layer = &image.layers[0];
    registry.fault(Rule::blob(&layer.digest).first(1).fault(Fault::Stall(5 << 20)));
    let home = Home::new().unwrap();
    let mut pull = home.larder(["pull", &reference]).spawn().unwrap();
    let ingest = home.store().join("ingest");
    let arrived = || {
        let files = std::fs::read_dir(&ingest).ok()?;
        files.filter_map(|file| file.ok()?.metadata().ok()).any(|meta| meta.len() >= 4 << 20).then_some(())
    };
    eventually("most of the layer arrives", Duration::from_secs(20), arrived);
    pull.signal(Signal::INT).unwrap();
    let outcome = pull.wait().unwrap();
    assert_eq!(outcome.code(), Some(130), "{}", outcome.describe());
    let before = registry.bytes_sent(&layer.digest);
    home.run(["pull", &reference]).success();
    assert!(registry.bytes_sent(&layer.digest) - before < layer.blob.len() as u64 - (3 << 20));
}

#[test]
fn quota_and_age_remove_the_least_recently_used() {
    let (registry, home, _, reference) = world(86);
    let other = super::image(87);
    registry.push(&other, "second", Some("1")).unwrap();
    let second = registry.reference("second:1").to_string();
    home.run(["pull", &reference, &second]).success();
    home.run(["pin", &reference]).success();
    let dry = home.run(["gc", "--quota", "1", "--dry-run"]);
    dry.success();
    assert!(dry.text().contains("second"), "{}", dry.describe());
    assert!(home.run(["list"]).success().text().contains("second"));
    home.run(["gc", "--quota", "1"]).success();
    let left = home.run(["list"]);
    left.success();
    assert!(left.text().contains("team/app") && !left.text().contains("second"), "{}", left.describe());
}
