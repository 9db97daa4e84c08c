//! Docker's engine behaves like containerd.

use super::{World, image, leftovers, nodes};
use larder_core::Compression;
use larder_testkit::nodes::{Engine, Node, Plan};
use larder_testkit::{Image, ImageBuilder, Layer, Random, busybox};

fn world() -> World {
    let world = World::new(&[Plan::new("d", Engine::Docker)]);
    world.prime();
    world
}

#[track_caller]
fn assert_docker_runs(node: &Node, name: &str, image: &Image) {
    let id = node.docker(["image", "inspect", "--format", "{{.Id}}", name]).unwrap().text();
    assert_eq!(id.trim(), image.blobs[0].0.digest.to_string(), "the config says which image it is");
    let said =
        node.docker(["run", "--rm", "--network", "none", name, "/bin/busybox", "echo", "it runs"]).unwrap();
    assert_eq!(said.text(), "it runs\n");
}

#[test]
fn images_come_whole_update_by_the_layer_and_are_not_sent_twice() {
    let world = world();
    let node = &world.fleet[0];
    let mut random = Random::new(800);
    let base = busybox(Compression::Gzip).unwrap();
    let middle = Layer::random(&mut random, 2_000_000, Compression::Gzip);
    for (method, compression) in ["thin", "archive", "agent"].into_iter().zip([
        Compression::Gzip,
        Compression::None,
        Compression::Zstd,
    ]) {
        let mut top = || Layer::random(&mut random, 300_000, compression);
        let image =
            |top: Layer| ImageBuilder::new(1).layer(base.clone()).layer(middle.clone()).layer(top).build();
        let first = image(top());
        let name = world.add(&first, &format!("team/{method}:1"));
        let said = world.delivered(&[&name, "--node", "d", "--method", method]);
        assert_eq!(said[0]["images"][0]["state"], "delivered");
        assert_docker_runs(node, &name, &first);

        let second = image(top());
        let name = world.add(&second, &format!("team/{method}:2"));
        let before = world.sent();
        world.delivered(&[&name, "--node", "d", "--method", method]);
        let sent = world.sent() - before;
        assert!(sent < 600_000, "{method}: {sent} bytes for a layer of 300,000");
        assert_docker_runs(node, &name, &second);

        let before = world.sent();
        let said = world.delivered(&[&name, "--node", "d", "--method", method]);
        assert_eq!(said[0]["images"][0]["state"], "present");
        assert!(world.sent() - before < 60_000);
        assert_eq!(leftovers(node), [""; 0], "{method}");
    }
}

#[test]
fn a_cut_is_survived() {
    let world = world();
    let image = image(810, 1, 1_000_000);
    let name = world.add(&image, "cut:1");
    world.links[0].cut_at_each(&[1_500, 60_000, 900_000]);
    let said = nodes(world.deliver(&[&name, "--node", "d"]).success());
    assert!(said[0]["attempts"].as_u64().unwrap() > 1);
    assert_docker_runs(&world.fleet[0], &name, &image);
    assert_eq!(leftovers(&world.fleet[0]), [""; 0]);
}

#[test]
fn images_that_cannot_be_listed_are_not_taken_for_missing() {
    let world = world();
    let (node, image) = (&world.fleet[0], image(880, 1, 1_000_000));
    let name = world.add(&image, "listed:1");
    world.delivered(&[&name, "--node", "d"]);
    super::sabotage(node, "docker", "inspect", "it is not in the mood");
    let before = world.sent();
    let outcome = world.deliver(&[&name, "--node", "d", "--retries", "1"]);
    let text = outcome.fails_with(6).error_text();
    assert!(text.contains("does not answer") && text.contains("not in the mood"), "{text}");
    assert!(world.sent() - before < 100_000, "it was sent again");
    super::repair(node, "docker");
    assert_eq!(world.delivered(&[&name, "--node", "d"])[0]["images"][0]["state"], "present");
}
