//! Only what a node lacks travels.

use super::{METHODS, World, assert_runs, image};
use larder_core::Compression;
use larder_testkit::nodes::{Engine, Plan};
use larder_testkit::{ImageBuilder, Layer, Random, busybox};
use std::time::{Duration, Instant};

/// What a delivery may cost beside the blobs: the handshake, questions and answers, manifests.
const TALK: u64 = 200_000;

fn of(layers: &[&Layer]) -> larder_testkit::Image {
    layers.iter().fold(ImageBuilder::new(1), |image, layer| image.layer((*layer).clone())).build()
}

#[test]
fn an_update_sends_the_changed_layer_and_a_second_time_sends_nothing() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let node = &world.fleet[0];
    world.prime();
    let mut random = Random::new(200);
    let base = busybox(Compression::Gzip).unwrap();
    let mut layer = |size| Layer::random(&mut random, size, Compression::Gzip);
    let (middle, mut top) = (layer(3_000_000), layer(400_000));
    let name = world.add(&of(&[&base, &middle, &top]), "app:0");
    world.delivered(&[&name, "--node", "worker-1"]);
    for method in METHODS {
        top = layer(400_000);
        let image = of(&[&base, &middle, &top]);
        let name = world.add(&image, &format!("app:{method}"));
        let before = world.sent();
        let said = world.delivered(&[&name, "--node", "worker-1", "--method", method]);
        let sent = world.sent() - before;
        let missing = image
            .blobs
            .iter()
            .filter(|(blob, _)| blob.size < 500_000)
            .map(|(blob, _)| blob.size)
            .sum::<u64>();
        assert_eq!(said[0]["images"][0]["missing_bytes"], missing, "{method}: {said:?}");
        assert!(sent < missing * 105 / 100 + TALK, "{method}: {sent} bytes for {missing} that were missing");
        assert_runs(node, &name, &image);

        let before = world.sent();
        let start = Instant::now();
        let said = world.delivered(&[&name, "--node", "worker-1", "--method", method]);
        let (sent, took) = (world.sent() - before, start.elapsed());
        assert_eq!(said[0]["images"][0]["state"], "present");
        assert_eq!(said[0]["sent"], 0);
        assert!(sent < 50_000, "{method}: {sent} bytes to say that nothing is missing");
        assert!(took < Duration::from_secs(10), "{took:?}");
    }
}

#[test]
fn what_images_share_is_sent_once() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let mut random = Random::new(210);
    let shared = Layer::random(&mut random, 2_000_000, Compression::Gzip);
    let images: Vec<_> = (0..4)
        .map(|_| {
            of(&[
                &busybox(Compression::Gzip).unwrap(),
                &shared,
                &Layer::random(&mut random, 50_000, Compression::Gzip),
            ])
        })
        .collect();
    let names: Vec<String> =
        images.iter().zip(0..).map(|(image, at)| world.add(image, &format!("shared:{at}"))).collect();
    let list = world.home.write("list", names.join("\n")).unwrap();
    let before = world.sent();
    world.delivered(&["--from-file", list.to_str().unwrap(), "--node", "worker-1", "--method", "thin"]);
    let sent = world.sent() - before;
    assert!(sent < 2_000_000 + 1_300_000 + 4 * 60_000 + TALK, "{sent}");
    for (name, image) in names.iter().zip(&images) {
        assert_runs(&world.fleet[0], name, image);
    }
}

#[test]
fn a_dry_run_says_what_is_missing_and_sends_nothing() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let image = image(220, 1, 1_000_000);
    let name = world.add(&image, "dry:1");
    let said = world.delivered(&[&name, "--node", "worker-1", "--dry-run"]);
    assert_eq!(said[0]["images"][0]["state"], "missing");
    assert_eq!(
        said[0]["images"][0]["missing_bytes"],
        image.blobs.iter().map(|(blob, _)| blob.size).sum::<u64>()
    );
    assert!(world.sent() < 100_000, "{}", world.sent());
    assert_eq!(super::names(&world.fleet[0]), [""; 0]);
}
