//! Cuts, stalls, reboots, slow lines.

use super::{METHODS, World, assert_runs, image, leftovers, nodes};
use larder_testkit::nodes::{Engine, Plan, Trial};
use larder_testkit::{Home, Random, eventually};
use std::time::{Duration, Instant};

fn one() -> World {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    world.prime();
    world
}

#[test]
fn a_cut_at_any_byte_is_survived() {
    let world = one();
    for (seed, method) in (300..).zip(METHODS) {
        let image = image(seed, 2, 700_000);
        let name = world.add(&image, &format!("cut/{method}:1"));
        // In the greeting, the handshake, the questions, the blobs, the naming.
        let cuts = [5, 1_500, 9_000, 60_000, 700_000, 1_500_000, 2_400_000];
        world.links[0].cut_at_each(&cuts);
        let before = world.links[0].cuts();
        world.delivered(&[&name, "--node", "worker-1", "--method", method, "--retries", "8"]);
        assert!(world.links[0].cuts() - before >= 5, "{method}: {} cuts", world.links[0].cuts() - before);
        world.links[0].cut_at_each(&[]);
        assert_runs(&world.fleet[0], &name, &image);
        assert_eq!(leftovers(&world.fleet[0]), [""; 0], "{method}");
    }
}

#[test]
fn what_arrived_is_not_sent_again() {
    let world = one();
    for (seed, method) in (310..).zip(["agent", "archive"]) {
        let image = image(seed, 3, 3_000_000);
        let name = world.add(&image, &format!("resume/{method}:1"));
        world.links[0].cut_at_each(&[3_000_000, 3_000_000, 3_000_000]);
        let before = world.sent();
        world.delivered(&[&name, "--node", "worker-1", "--method", method]);
        let (sent, size) = (world.sent() - before, image.size());
        // Each cut costs at most what was on its way.
        let window = 1 << 20;
        let most = size * 105 / 100 + 3 * window + 3_500_000;
        assert!(sent < most, "{method}: {sent} bytes for {size}");
        assert_runs(&world.fleet[0], &name, &image);
    }
}

#[test]
fn the_next_run_goes_on_where_a_killed_one_stopped() {
    let world = one();
    for (seed, method) in (320..).zip(["agent", "archive"]) {
        let image = image(seed, 2, 4_000_000);
        let name = world.add(&image, &format!("killed/{method}:1"));
        let args = [&name, "--node", "worker-1", "--method", method];
        let link = &world.links[0];
        link.rate(Some(4 << 20));
        let before = link.sent();
        let sender = world.delivery(&args).spawn().unwrap();
        eventually("most of it arrives", Duration::from_secs(60), || {
            (link.sent() - before > 6_000_000).then_some(())
        });
        sender.kill().unwrap();
        link.rate(None);
        let before = world.sent();
        let said = world.delivered(&args);
        let sent = world.sent() - before;
        assert!(sent < image.size() - 3_000_000, "{method}: {sent} bytes again, of {}", image.size());
        let told = said[0]["sent"].as_u64().unwrap();
        assert!(told <= sent, "{method}: {told} bytes are said to have been sent, and {sent} were");
        assert_runs(&world.fleet[0], &name, &image);
        assert_eq!(leftovers(&world.fleet[0]), [""; 0]);
    }
}

#[test]
fn a_node_that_reboots_in_the_middle_is_waited_for() {
    let mut world = one();
    for (seed, method) in (330..).zip(["agent", "thin"]) {
        let image = image(seed, 2, 2_000_000);
        let name = world.add(&image, &format!("reboot/{method}:1"));
        let link = &world.links[0];
        link.rate(Some(2 << 20));
        let before = link.sent();
        let delivery = world.delivery(&[&name, "--node", "worker-1", "--method", method]).spawn().unwrap();
        eventually("the blobs flow", Duration::from_secs(60), || {
            (link.sent() - before > 2_500_000).then_some(())
        });
        world.fleet[0].reboot().unwrap();
        world.links[0].rate(None);
        let said = nodes(delivery.wait().unwrap().success());
        assert!(said[0]["attempts"].as_u64().unwrap() >= 2, "{said:?}");
        assert_runs(&world.fleet[0], &name, &image);
    }
}

#[test]
fn a_silent_connection_is_given_up_and_made_anew() {
    let world = one();
    let image = image(340, 1, 2_000_000);
    let name = world.add(&image, "silent:1");
    let link = &world.links[0];
    let before = link.sent();
    let connections = link.connections();
    link.rate(Some(4 << 20));
    let delivery = world.delivery(&[&name, "--node", "worker-1"]).spawn().unwrap();
    eventually("the blobs flow", Duration::from_secs(60), || (link.sent() - before > 600_000).then_some(()));
    link.stall();
    let start = Instant::now();
    eventually("it gives the connection up", Duration::from_secs(60), || {
        (link.connections() >= connections + 2).then_some(())
    });
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    link.rate(None);
    link.resume();
    delivery.wait().unwrap().success();
    assert_runs(&world.fleet[0], &name, &image);
}

#[test]
fn a_slow_node_does_not_hold_up_the_others() {
    let plans: Vec<Plan> = (1..=3).map(|at| Plan::new(&format!("worker-{at}"), Engine::Containerd)).collect();
    let world = World::new(&plans);
    world.prime();
    let image = image(350, 1, 1_500_000);
    let name = world.add(&image, "slow:1");
    world.links[0].rate(Some(300_000));
    let said = world.delivered(&[&name, "--node", "all"]);
    let took = |at: usize| said[at]["elapsed"].as_u64().unwrap();
    assert!(took(0) > 5_000, "{said:?}");
    assert!(took(1) < took(0) / 2 && took(2) < took(0) / 2, "{said:?}");
    for node in world.fleet.nodes() {
        assert_runs(node, &name, &image);
    }
}

#[test]
fn random_trouble_ends_well() {
    let mut random = Random::new(360);
    let mut trial = Trial::start(Home::new().unwrap(), &mut random).unwrap();
    for _ in 0..12 {
        trial.delivery(&METHODS, &mut random).unwrap();
    }
    assert!(trial.tally().given_up.is_empty(), "{:?}", trial.tally().given_up);
}
