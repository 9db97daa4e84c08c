//! Many nodes, and many senders.

use super::{World, assert_runs, image, leftovers, names, nodes};
use larder_testkit::nodes::{Engine, Plan};
use larder_testkit::{Home, Running};

#[test]
fn one_node_that_fails_is_named_and_the_others_get_everything() {
    let plans: Vec<Plan> = (1..=3).map(|at| Plan::new(&format!("worker-{at}"), Engine::Containerd)).collect();
    let world = World::new(&plans);
    let image = image(400, 1, 100_000);
    let name = world.add(&image, "some:1");
    world.links[1].down();
    let outcome = world.deliver(&[&name, "--node", "all", "--retries", "2"]);
    assert_ne!(outcome.code(), Some(0), "{}", outcome.describe());
    let said = nodes(&outcome);
    assert!(said[1]["failure"]["message"].as_str().unwrap().contains("worker-2"), "{said:?}");
    assert!(
        said[1]["failure"]["kind"].is_string() && said[1].get("images").is_none_or(|v| v.is_null()),
        "{said:?}"
    );
    assert!(outcome.error_text().contains("worker-2") && !outcome.error_text().contains("worker-1"));
    for at in [0, 2] {
        assert_eq!(said[at]["images"][0]["state"], "delivered");
        assert_runs(&world.fleet[at], &name, &image);
    }
    assert_eq!(names(&world.fleet[1]), [""; 0]);

    // For people: the summary has a row for each.
    let inventory = world.fleet.inventory();
    let inventory = inventory.to_str().unwrap();
    let table =
        world.home.run(["deliver", "--inventory", inventory, &name, "--node", "all", "--retries", "1"]);
    assert_eq!(table.code(), outcome.code());
    let text = table.text();
    let row =
        |node: &str| text.lines().find(|line| line.starts_with(node)).unwrap_or_else(|| panic!("{text}"));
    assert!(row("worker-2").contains("failed") && row("worker-3").contains("up to date"), "{text}");
    assert!(table.error_text().contains("1 of 3 nodes failed: worker-2"), "{}", table.error_text());

    world.links[1].up();
    world.delivered(&[&name, "--node", "all"]);
    assert_runs(&world.fleet[1], &name, &image);
}

#[test]
fn senders_at_the_same_time_do_not_disturb_each_other() {
    let world = World::new(&[Plan::new("worker-1", Engine::Containerd)]);
    let (shared, other) = (image(410, 2, 400_000), image(411, 2, 400_000));
    let names = [world.add(&shared, "both:1"), world.add(&shared, "both:2"), world.add(&other, "other:1")];
    let delivery = |home: &Home, name: &str| -> Running {
        let inventory = world.fleet.inventory();
        let args = ["deliver", "--inventory", inventory.to_str().unwrap(), name, "--node", "worker-1"];
        home.larder(args).spawn().unwrap()
    };
    // Of one store, and of another machine's.
    let elsewhere = Home::new().unwrap().with_node_binary().unwrap();
    let mut running: Vec<Running> = names.iter().map(|name| delivery(&world.home, name)).collect();
    running.extend(names.iter().map(|name| delivery(&elsewhere, name)));
    for delivery in running {
        delivery.wait().unwrap().success();
    }
    for (name, image) in names.iter().zip([&shared, &shared, &other]) {
        assert_runs(&world.fleet[0], name, image);
    }
    assert_eq!(leftovers(&world.fleet[0]), [""; 0]);
}

#[test]
fn nodes_are_chosen_by_name_pattern_label_and_destination() {
    let plans: Vec<Plan> = ["web-1", "web-2", "db-1"].map(|name| Plan::new(name, Engine::Containerd)).into();
    let world = World::new(&plans);
    let entries: String = world
        .links
        .iter()
        .zip(world.fleet.nodes())
        .map(|(link, node)| {
            let role = node.name().split('-').next().unwrap();
            format!("{}  labels: {{ role: {role} }}\n", link.entry(node))
        })
        .collect();
    world.fleet.write_inventory(&entries).unwrap();
    let image = image(420, 0, 0);
    let name = world.add(&image, "chosen:1");
    let chosen = |selector: &str| -> Vec<String> {
        let said = world.delivered(&[&name, "--node", selector, "--dry-run"]);
        said.iter().map(|node| node["node"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(chosen("db-1"), ["db-1"]);
    assert_eq!(chosen("web-*"), ["web-1", "web-2"]);
    assert_eq!(chosen("role=db"), ["db-1"]);
    assert_eq!(chosen("all").len(), 3);
    assert_eq!(chosen("web-2,role=web").len(), 2, "each node once");
    let outcome = world.deliver(&[&name, "--node", "none-*"]);
    assert!(outcome.fails_with(3).error_text().contains("none-*"), "{}", outcome.describe());
}

#[test]
fn a_limit_is_for_all_nodes_together_by_every_method() {
    let plans: Vec<Plan> = (1..=3).map(|at| Plan::new(&format!("worker-{at}"), Engine::Containerd)).collect();
    let world = World::new(&plans);
    world.prime();
    for (seed, method) in (430..).zip(super::METHODS) {
        let image = image(seed, 1, 1_000_000);
        let name = world.add(&image, &format!("limited/{method}:1"));
        let start = std::time::Instant::now();
        let args = [&name, "--node", "all", "--method", method, "--limit-rate", "1MB"];
        let said = world.delivered(&args);
        let took = start.elapsed().as_secs_f64();
        assert!(took > 2.4, "{method}: three megabytes in {took} s");
        for said in said {
            let sent = said["sent"].as_u64().unwrap();
            assert!((1_000_000..2_500_000).contains(&sent), "{method}: {said}");
        }
    }
}
