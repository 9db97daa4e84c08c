//! Disks that are too small, and disks that fill.

use super::{METHODS, World, assert_runs, image, leftovers, names};
use larder_testkit::eventually;
use larder_testkit::nodes::{Engine, Plan};
use std::time::Duration;

#[test]
fn what_cannot_fit_is_refused_before_it_is_sent() {
    let world = World::new(&[Plan::new("small", Engine::Containerd).disk(64 << 20)]);
    world.prime();
    let image = image(500, 2, 12_000_000);
    let name = world.add(&image, "large:1");
    let there = names(&world.fleet[0]);
    for method in METHODS {
        let before = world.sent();
        let outcome = world.deliver(&[&name, "--node", "small", "--method", method]);
        assert_ne!(outcome.code(), Some(0));
        let text = outcome.error_text();
        assert!(text.contains(" free, and") && text.contains("small"), "{method}: {text}");
        let sent = world.sent() - before;
        assert!(sent < 200_000, "{method}: {sent} bytes were sent");
        assert_eq!(names(&world.fleet[0]), there, "{method}");
        assert_eq!(leftovers(&world.fleet[0]), [""; 0]);
    }
}

#[test]
fn a_disk_that_fills_fails_the_delivery_and_leaves_nothing_wrong() {
    let world = World::new(&[Plan::new("small", Engine::Containerd).disk(120 << 20)]);
    let (node, link) = (&world.fleet[0], &world.links[0]);
    world.prime();
    for (seed, method) in (510..).zip(METHODS) {
        let image = image(seed, 2, 4_000_000);
        let name = world.add(&image, &format!("fills/{method}:1"));
        link.rate(Some(5 << 20));
        let before = link.sent();
        let delivery = world
            .delivery(&[&name, "--node", "small", "--method", method, "--retries", "1"])
            .spawn()
            .unwrap();
        eventually("the blobs flow", Duration::from_secs(60), || {
            (link.sent() - before > 3_000_000).then_some(())
        });
        link.stall();
        node.fill_disk(500_000).unwrap();
        link.rate(None);
        link.resume();
        let outcome = delivery.wait().unwrap();
        assert_ne!(outcome.code(), Some(0), "{method}");
        let text = outcome.error_text();
        assert!(text.contains("small"), "{method}: {text}");
        assert!(text.contains("space") || text.contains(" free, and"), "{method}: {text}");
        assert!(!names(node).contains(&name), "{method}: it is named, and not whole");

        // With room again, the same command does it.
        node.free_disk().unwrap();
        world.delivered(&[&name, "--node", "small", "--method", method]);
        assert_runs(node, &name, &image);
        assert_eq!(leftovers(node), [""; 0], "{method}");
    }
}
