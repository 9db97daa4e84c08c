//! The inventory and the host keys, changed by commands.

use super::World;
use larder_testkit::nodes::{Engine, Plan};
use larder_testkit::{Home, Running};

#[test]
fn nodes_that_are_added_at_the_same_time_are_all_there() {
    let home = Home::new().unwrap();
    let added: Vec<Running> = (0..12)
        .map(|at| home.larder(["nodes", "add", &format!("n{at}"), &format!("10.0.0.{at}")]).spawn().unwrap())
        .collect();
    for added in added {
        added.wait().unwrap().success();
    }
    let listed = home.run(["nodes", "list", "--output", "json"]);
    assert_eq!(listed.success().json().unwrap()["nodes"].as_array().unwrap().len(), 12);
}

#[test]
fn host_keys_are_recorded_of_the_nodes_that_answer_and_the_others_are_named() {
    let plans = ["up", "down"].map(|name| Plan::new(name, Engine::None));
    let world = World::new(&plans);
    world.links[1].down();
    let inventory = world.fleet.inventory();
    let args = ["nodes", "trust", "--inventory", inventory.to_str().unwrap(), "--node", "all"];
    let outcome = world.home.larder(args.iter().chain(&["--accept-any", "--output", "json"])).run();
    let said = outcome.fails_with(6).json().unwrap();
    assert_eq!(said["nodes"][0]["keys"][0]["recorded"], true, "{said}");
    assert_eq!(said["nodes"][1]["failure"]["kind"], "unavailable", "{said}");
    let known = world.home.store().join("known_hosts");
    let known = std::fs::read_to_string(&known).unwrap_or_else(|error| panic!("{known:?}: {error}"));
    assert!(known.contains(world.fleet[0].host_key()), "{known}");
}
