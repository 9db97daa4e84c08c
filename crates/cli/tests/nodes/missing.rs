//! Only what a node lacks travels.

use super::{METHODS, World, assert_runs, image, repair, sabotage};
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

#[test]
fn what_cannot_be_listed_is_not_taken_for_missing() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let (node, link) = (&world.fleet[0], &world.links[0]);
    let image = image(280, 1, 1_000_000);
    let name = world.add(&image, "listed:1");
    world.delivered(&[&name, "--node", "worker-1"]);
    sabotage(node, "ctr", "content", "rpc error: it is not in the mood");
    let before = link.sent();
    let outcome = world.deliver(&[&name, "--node", "worker-1", "--retries", "1"]);
    let text = outcome.fails_with(6).error_text();
    assert!(text.contains("does not answer") && text.contains("not in the mood"), "{text}");
    assert!(link.sent() - before < 100_000, "it was sent again");
    repair(node, "ctr");
    let said = world.delivered(&[&name, "--node", "worker-1"]);
    assert_eq!(said[0]["images"][0]["state"], "present");
}

#[test]
fn what_is_for_another_system_is_not_sent() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let ours = image(290, 0, 0);
    let windows =
        ImageBuilder::new(291).platform("windows/amd64").random_layers(1, 1000, Compression::Gzip).build();
    let index = larder_testkit::IndexBuilder::new(larder_testkit::Family::Oci).image(&windows).image(&ours);
    let index = index.build();
    let reference = world.registry.reference("system:1").to_string();
    index.push(&world.registry, "system", Some("1"));
    let args = [&reference, "--node", "worker-1", "--platform", "windows/amd64"];
    let text = world.deliver(&args).error_text();
    assert!(text.contains("it is of linux/amd64"), "{text}");
    let args = [&reference, "--node", "worker-1", "--platform", "windows/amd64,linux/amd64"];
    let said = world.delivered(&args);
    assert_eq!(said[0]["images"][0]["state"], "delivered");
    assert_runs(&world.fleet[0], &reference, &index);
}
