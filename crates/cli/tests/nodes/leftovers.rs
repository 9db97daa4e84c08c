//! Nothing stays behind.

use super::{METHODS, World, assert_runs, image, leftovers, names, repair, sabotage};
use larder_testkit::eventually;
use larder_testkit::nodes::{Engine, Plan};
use std::time::Duration;

#[test]
fn a_killed_sender_leaves_what_the_next_run_removes() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let (node, link) = (&world.fleet[0], &world.links[0]);
    world.prime();
    for (seed, method) in (600..).zip(METHODS) {
        let killed = image(seed, 2, 2_000_000);
        let name = world.add(&killed, &format!("left/{method}:1"));
        link.rate(Some(3 << 20));
        let before = link.sent();
        let sender = world.delivery(&[&name, "--node", "worker-1", "--method", method]).spawn().unwrap();
        eventually("the blobs flow", Duration::from_secs(60), || {
            (link.sent() - before > 2_500_000).then_some(())
        });
        sender.kill().unwrap();
        link.rate(None);
        // ssh notices that nobody is there any more, and so do the programs on the node.
        eventually("nothing of it runs on the node", Duration::from_secs(30), || {
            let processes = node.run(["ps", "-e", "-o", "args="]).unwrap().text();
            let ours = |line: &str| {
                line.contains("larder-node/bin/") || line.starts_with("ctr ") || line.contains("sftp-server")
            };
            (!processes.lines().any(ours)).then_some(())
        });
        // What was under way when the sender died may have been the rest of it.
        if names(node).contains(&name) {
            let checked = node.ctr(["images", "check", &format!("name=={name}")]).unwrap().text();
            assert!(checked.contains(" complete ("), "{method}: it is named, and not whole: {checked}");
        }
        // On this machine: sockets and their like go with the next run.
        world.delivered(&[&name, "--node", "worker-1", "--method", method]);
        assert_runs(node, &name, &killed);
        assert_eq!(leftovers(node), [""; 0], "{method}");
        let here = std::fs::read_dir(world.home.path().join("tmp")).unwrap().flatten();
        let here: Vec<_> = here.map(|entry| entry.file_name()).collect();
        assert!(here.is_empty(), "{method}: {here:?}");
    }
}

#[test]
fn a_failed_delivery_leaves_no_name_and_a_refused_one_no_file() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let (node, link) = (&world.fleet[0], &world.links[0]);
    world.prime();
    for (seed, method) in (610..).zip(METHODS) {
        let image = image(seed, 1, 1_000_000);
        let name = world.add(&image, &format!("fails/{method}:1"));
        link.rate(Some(2 << 20));
        let before = link.sent();
        let args = [&name, "--node", "worker-1", "--method", method, "--retries", "1"];
        let delivery = world.delivery(&args).spawn().unwrap();
        eventually("the blobs flow", Duration::from_secs(60), || {
            (link.sent() - before > 500_000).then_some(())
        });
        link.down();
        let outcome = delivery.wait().unwrap();
        assert_ne!(outcome.code(), Some(0), "{method}: {}", outcome.describe());
        link.rate(None);
        link.up();
        assert!(!names(node).contains(&name), "{method}");
        // Another image's delivery may remove them as well as the same one's.
        world.delivered(&[&name, "--node", "worker-1", "--method", method]);
        assert_eq!(leftovers(node), [""; 0], "{method}");
    }
}

#[test]
fn what_leads_back_to_a_dead_sender_goes_with_the_next_delivery() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let (node, link) = (&world.fleet[0], &world.links[0]);
    let image = image(620, 1, 1_000_000);
    let name = world.add(&image, "back:1");
    let args = [&name, "--node", "worker-1", "--method", "tunnel"];
    let ways = || {
        let found = std::fs::read_dir(node.file("/var/lib/larder-node")).into_iter().flatten().flatten();
        found.filter(|entry| entry.file_name().to_string_lossy().starts_with("tunnel-")).count()
    };
    link.rate(Some(1 << 20));
    let sender = world.delivery(&args).spawn().unwrap();
    eventually("there is a way back", Duration::from_secs(60), || (ways() == 1).then_some(()));
    sender.kill().unwrap();
    link.cut();
    link.rate(None);
    // sshd notices that its client is gone.
    eventually("nobody listens", Duration::from_secs(30), || {
        let listens = |line: &str| line.contains(": 0100007F:") && line.contains(" 0A ");
        let listening = node.run(["cat", "/proc/net/tcp"]).unwrap().text();
        (!listening.lines().any(listens)).then_some(())
    });
    assert_eq!(ways(), 1);
    world.delivered(&args);
    assert_eq!(ways(), 0);
    assert_runs(node, &name, &image);
}

#[test]
fn a_delivery_that_fails_for_good_takes_its_names_away() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let node = &world.fleet[0];
    world.prime();
    for (seed, method) in (630..).zip(["agent", "thin", "archive"]) {
        let image = image(seed, 1, 100_000);
        let name = world.add(&image, &format!("forbidden/{method}:1"));
        sabotage(node, "ctr", "tag", "permission denied");
        let outcome = world.deliver(&[&name, "--node", "worker-1", "--method", method]);
        assert!(outcome.error_text().contains("may not do that"), "{}", outcome.describe());
        repair(node, "ctr");
        let left: Vec<String> = names(node).into_iter().filter(|name| name.contains("larder")).collect();
        assert_eq!(left, [""; 0], "{method}");
        world.delivered(&[&name, "--node", "worker-1", "--method", method]);
        assert_runs(node, &name, &image);
        assert_eq!(leftovers(node), [""; 0], "{method}");
    }
}

#[test]
fn names_of_images_on_their_way_stay_while_their_sender_is_there() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let node = &world.fleet[0];
    let image = image(640, 0, 0);
    let name = world.add(&image, "shared:1");
    world.delivered(&[&name, "--node", "worker-1"]);
    let hex: String = image.digest().hex().chars().take(32).collect();
    let incoming = format!("incoming.larder.invalid/{hex}:t1-OtherSender");
    node.ctr(["images", "tag", &name, &incoming]).unwrap();
    let other = node.command(["sh", "-c", "sleep 1000; :", "larder-held-OtherSender"]).unwrap();
    let other = other.spawn().unwrap();
    eventually("the other sender is there", Duration::from_secs(30), || {
        node.run(["ps", "-e", "-o", "args="]).unwrap().text().contains("larder-held-Other").then_some(())
    });
    let again = world.add(&image, "shared:2");
    world.delivered(&[&again, "--node", "worker-1"]);
    assert!(names(node).contains(&incoming), "it is another sender's");
    node.run(["pkill", "-f", "larder-held-OtherSender"]).unwrap();
    drop(other);
    world.delivered(&[&again, "--node", "worker-1"]);
    assert!(!names(node).contains(&incoming), "its sender is gone");
}
