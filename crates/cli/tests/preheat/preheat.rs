//! Whole clusters get their images, or are left as they were.

use super::{image, outcome, run};
use larder_testkit::nodes::{Engine, Fleet, Node, Plan};
use larder_testkit::{FaultRegistry, Home, Image, Running, eventually};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// A registry with `shop/web:1` and `shop/db:1`, and a home.
fn world() -> (FaultRegistry, Home, Image, Image) {
    let registry = FaultRegistry::start();
    let (web, db) = (image(10), image(11));
    web.push(&registry, "shop/web", Some("1"));
    db.push(&registry, "shop/db", Some("1"));
    (registry, Home::new().unwrap(), web, db)
}

fn name(registry: &FaultRegistry, image: &str) -> String {
    registry.reference(image).to_string()
}

/// The names of a containerd node, and what each stands for.
fn names(node: &Node) -> BTreeMap<String, String> {
    let listed = node.ctr(["images", "ls"]).unwrap().text();
    let rows =
        listed.lines().skip(1).map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    rows.map(|row| (row[0].clone(), row[2].clone())).collect()
}

fn content(node: &Node) -> Vec<String> {
    let listed = node.ctr(["content", "ls", "-q"]).unwrap().text();
    let mut digests: Vec<String> = listed.lines().map(str::to_owned).collect();
    digests.sort();
    digests
}

/// The tags of a Docker node, and their images.
fn tags(node: &Node) -> BTreeMap<String, String> {
    let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
    let listed = node.docker(["image", "ls", "--no-trunc", "--format", format]).unwrap().text();
    listed
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .collect()
}

#[track_caller]
fn is_whole(node: &Node, name: &str) {
    let checked = node.ctr(["images", "check", &format!("name=={name}")]).unwrap().text();
    assert!(checked.contains("complete (") && !checked.contains("incomplete"), "{name}: {checked}");
}

fn phases(report: &Value) -> Vec<&str> {
    report["nodes"].as_array().unwrap().iter().map(|node| node["phase"].as_str().unwrap()).collect()
}

/// Nodes with a runtime each, and a role.
fn fleet(roles: &[(&str, Engine)]) -> Fleet {
    let plans: Vec<Plan> = roles
        .iter()
        .enumerate()
        .map(|(at, (_, engine))| Plan::new(&format!("node-{}", at + 1), engine.clone()))
        .collect();
    let fleet = Fleet::with(&plans).unwrap();
    let entries: String = fleet
        .nodes()
        .iter()
        .zip(roles)
        .map(|(node, (role, _))| format!("{}  labels: {{ role: {role} }}\n", node.entry()))
        .collect();
    fleet.write_inventory(&entries).unwrap();
    fleet
}

/// Starts a preheat that takes a while.
fn start(home: &Home, fleet: &Fleet, args: &[&str]) -> Running {
    let args = ["preheat", "--limit-rate", "150KB", "--method", "thin"].iter().chain(args);
    home.larder(args).env("LARDER_INVENTORY", fleet.inventory()).spawn().unwrap()
}

/// The id of the only preheat, once bytes of it are on their way.
fn on_its_way(home: &Home, fleet: &Fleet) -> String {
    eventually("bytes are on their way", Duration::from_secs(60), || {
        let status = run(home, fleet, 0, &["preheat", "status"]);
        let preheats = status["preheats"].as_array()?;
        let state = preheats.iter().find(|state| state["running"] == true)?;
        (state["nodes"][0]["sent"].as_u64()? > 0).then(|| state["id"].as_str().unwrap().to_owned())
    })
}

#[test]
fn roles_get_their_images_and_a_second_cluster_costs_the_upstream_nothing() {
    let (registry, home, web, db) = world();
    let (one, two) = (("control", Engine::Containerd), ("worker", Engine::Containerd));
    let fleet = fleet(&[one.clone(), two.clone(), ("control-b", one.1), ("worker-b", two.1)]);
    let manifest = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  containers:\n  - {{name: a, image: \"{}\"}}\n  - {{name: b, image: \"{}\"}}\n",
        name(&registry, "shop/web:1"),
        name(&registry, "shop/db:1")
    );
    home.write("pod.yaml", &manifest).unwrap();
    home.larder(["lock", "pod.yaml"]).run().success();
    let plan = |control: &str, worker: &str| {
        let text = format!(
            "- nodes: [role={control}]\n  lock: larder.lock\n- nodes: [role={worker}]\n  sources: [pod.yaml]\n  match: ['*/shop/web']\n- nodes: [role={worker}]\n  lock: larder.lock\n  match: ['*/shop/web:*']\n"
        );
        home.write(&format!("{control}.yaml"), text).unwrap()
    };
    // A pattern that means nothing of the source is a mistake, not an empty cluster.
    let first = plan("control", "worker");
    assert_ne!(outcome(&home, &fleet, &["preheat", "--plan", first.to_str().unwrap()]).code(), Some(0));
    let text = std::fs::read_to_string(&first).unwrap().replace("'*/shop/web']", "'*/shop/web:?']");
    std::fs::write(&first, &text).unwrap();
    let report = run(&home, &fleet, 0, &["preheat", "--plan", first.to_str().unwrap()]);
    assert_eq!((report["phase"].as_str(), phases(&report)), (Some("done"), vec!["done", "done"]));
    let (full, bare) = (name(&registry, "shop/db:1"), name(&registry, "shop/web:1"));
    assert_eq!(names(&fleet[0])[&full], db.digest().to_string());
    assert_eq!(names(&fleet[0])[&bare], web.digest().to_string());
    assert_eq!(names(&fleet[1])[&bare], web.digest().to_string());
    assert!(!names(&fleet[1]).contains_key(&full));
    assert!(report["nodes"][0]["sent"].as_u64() > report["nodes"][1]["sent"].as_u64());

    // The same again: everything is there.
    let again = run(&home, &fleet, 0, &["preheat", "--plan", first.to_str().unwrap()]);
    assert_eq!(again["nodes"][0]["sent"], 0);
    assert!(
        again["nodes"][0]["delivered"].as_array().unwrap().iter().all(|image| image["state"] == "present")
    );

    // A second cluster: nothing of it comes from the upstream.
    assert!(registry.total_sent() > 0);
    registry.clear_log();
    let second = home
        .write("second.yaml", text.replace("control", "control-b").replace("worker", "worker-b"))
        .unwrap();
    let report = run(&home, &fleet, 0, &["preheat", "--plan", second.to_str().unwrap()]);
    assert_eq!(phases(&report), ["done", "done"]);
    assert_eq!((registry.total_sent(), registry.requests().len()), (0, 0));
    is_whole(&fleet[2], &full);
    is_whole(&fleet[3], &bare);
}

#[test]
fn one_node_that_fails_leaves_the_others_alone_or_takes_all_back() {
    let (registry, home, web, _) = world();
    let fleet = fleet(&[("worker", Engine::Containerd), ("broken", Engine::None)]);
    let (web_name, db_name) = (name(&registry, "shop/web:1"), name(&registry, "shop/db:1"));
    run(&home, &fleet, 0, &["deliver", &web_name, "--node", "node-1"]);
    // Nothing but the tag holds the old image.
    let by_digest = names(&fleet[0]).into_keys().find(|name| name.contains('@')).unwrap();
    fleet[0].ctr(["images", "rm", "--sync", &by_digest]).unwrap();
    let (before, content_before) = (names(&fleet[0]), content(&fleet[0]));
    let newer = image(12);
    newer.push(&registry, "shop/web", Some("1"));
    home.larder(["pull", &web_name]).run().success();

    let args = ["preheat", &web_name, &db_name, "--node", "all", "--all-or-nothing"];
    let told = outcome(&home, &fleet, &args);
    assert_ne!(told.code(), Some(0));
    let report = told.json().unwrap();
    assert_eq!(
        (report["phase"].as_str(), phases(&report)),
        (Some("failed"), vec!["rolled-back", "failed"]),
        "{report}"
    );
    let back = &report["nodes"][0]["rolled_back"];
    assert_eq!(back["restored"], serde_json::json!([web_name]));
    assert_eq!(back["removed"].as_array().unwrap().len(), 3, "{back}");
    assert!(
        report["nodes"][0]["delivered"].as_array().unwrap().iter().all(|image| image["state"] == "delivered")
    );
    assert_eq!(names(&fleet[0]), before);
    is_whole(&fleet[0], &web_name);
    assert_eq!(content(&fleet[0]), content_before);

    // Without it, the good node keeps what it got.
    let told = outcome(&home, &fleet, &["preheat", &web_name, &db_name, "--node", "all"]);
    assert_ne!(told.code(), Some(0));
    assert_eq!(phases(&told.json().unwrap()), ["done", "failed"]);
    let now = names(&fleet[0]);
    assert_eq!(now[&web_name], newer.digest().to_string());
    assert!(now.keys().all(|name| !name.contains("larder.invalid")), "{now:?}");
    let old = web.digest().to_string();
    assert!(!content(&fleet[0]).contains(&old), "what nothing names any more is kept");
    // What was done is taken back also afterwards, as far as it is there.
    let id = told.json().unwrap()["id"].as_str().unwrap().to_owned();
    let told = outcome(&home, &fleet, &["preheat", "rollback", &id]);
    assert_ne!(told.code(), Some(0));
    assert_eq!(phases(&told.json().unwrap())[0], "stuck");
    assert_eq!(names(&fleet[0])[&web_name], newer.digest().to_string());
}

#[test]
fn what_was_killed_is_taken_back_or_continued() {
    let (registry, home, web, _) = world();
    let fleet = fleet(&[("worker", Engine::Containerd)]);
    let (web_name, db_name) = (name(&registry, "shop/web:1"), name(&registry, "shop/db:1"));
    run(&home, &fleet, 0, &["deliver", &web_name, "--node", "all"]);
    let by_digest = names(&fleet[0]).into_keys().find(|name| name.contains('@')).unwrap();
    fleet[0].ctr(["images", "rm", "--sync", &by_digest]).unwrap();
    let (before, content_before) = (names(&fleet[0]), content(&fleet[0]));
    image(12).push(&registry, "shop/web", Some("1"));
    home.larder(["pull", &web_name, &db_name]).run().success();

    let args = [web_name.as_str(), &db_name, "--node", "all"];
    let running = start(&home, &fleet, &args);
    let id = on_its_way(&home, &fleet);
    // The same cannot run twice.
    let twice = outcome(&home, &fleet, &[&["preheat"], &args[..]].concat());
    assert_eq!(twice.code(), Some(7), "{}", twice.describe());
    running.kill().unwrap();
    let guards = |node: &Node| {
        names(node).into_keys().filter(|name| name.starts_with("rollback.larder.invalid/")).count()
    };
    assert_eq!(guards(&fleet[0]), 1);
    assert_eq!(run(&home, &fleet, 0, &["preheat", "status", &id])["running"], false);
    let report = run(&home, &fleet, 0, &["preheat", "rollback", &id]);
    assert_eq!(phases(&report), ["rolled-back"]);
    eventually("it is as before", Duration::from_secs(20), || {
        (names(&fleet[0]) == before && content(&fleet[0]) == content_before).then_some(())
    });
    assert_eq!(before[&web_name], web.digest().to_string());

    let running = start(&home, &fleet, &args);
    let id = on_its_way(&home, &fleet);
    running.kill().unwrap();
    let report = run(&home, &fleet, 0, &[&["preheat"], &args[..]].concat());
    assert_eq!((report["id"].as_str(), report["phase"].as_str()), (Some(id.as_str()), Some("done")));
    // What was there before is what was there before the first attempt.
    let noted = report["nodes"][0]["before"]["names"].as_array().unwrap();
    let noted = noted.iter().find(|entry| entry["name"] == web_name.as_str()).unwrap();
    assert_eq!(noted["was"], web.digest().to_string());
    assert_eq!(guards(&fleet[0]), 0);
    is_whole(&fleet[0], &web_name);
    is_whole(&fleet[0], &db_name);
}

#[test]
fn in_the_background_it_is_watched_and_cancelled_from_elsewhere() {
    let (registry, home, _, _) = world();
    let fleet = fleet(&[("worker", Engine::Containerd)]);
    let web_name = name(&registry, "shop/web:1");
    home.larder(["pull", &web_name]).run().success();
    let before = names(&fleet[0]);
    let args =
        ["preheat", &web_name, "--node", "all", "--background", "--limit-rate", "50KB", "--method", "thin"];
    let begun = run(&home, &fleet, 0, &args);
    let id = begun["id"].as_str().unwrap();
    assert_eq!(on_its_way(&home, &fleet), id);
    run(&home, &fleet, 0, &["preheat", "cancel", id]);
    let watched = outcome(&home, &fleet, &["preheat", "watch"]);
    assert_ne!(watched.code(), Some(0));
    let report = watched.json().unwrap();
    assert_eq!(
        (report["phase"].as_str(), phases(&report)),
        (Some("cancelled"), vec!["rolled-back"]),
        "{report}"
    );
    assert!(watched.error_text().contains("node-1: sending"), "{}", watched.error_text());
    assert_eq!(names(&fleet[0]), before);
    assert_ne!(outcome(&home, &fleet, &["preheat", "cancel", id]).code(), Some(0));
    // And one that goes well.
    let begun = run(&home, &fleet, 0, &args[..5]);
    let report = run(&home, &fleet, 0, &["preheat", "watch", begun["id"].as_str().unwrap()]);
    assert_eq!(report["phase"], "done");
    is_whole(&fleet[0], &web_name);
    // What cannot begin says so, with the code of its mistake.
    let wrong = outcome(&home, &fleet, &["preheat", &web_name, "--node", "nobody*", "--background"]);
    assert_eq!(wrong.code(), Some(3), "{}", wrong.describe());
}

#[test]
fn docker_nodes_are_taken_back_alike() {
    let (registry, home, _, _) = world();
    let fleet = fleet(&[("worker", Engine::Docker), ("broken", Engine::None)]);
    let (web_name, db_name) = (name(&registry, "shop/web:1"), name(&registry, "shop/db:1"));
    run(&home, &fleet, 0, &["deliver", &web_name, "--node", "node-1"]);
    let before = tags(&fleet[0]);
    assert_eq!(before.len(), 1);
    image(12).push(&registry, "shop/web", Some("1"));
    home.larder(["pull", &web_name]).run().success();
    let told = outcome(&home, &fleet, &["preheat", &web_name, &db_name, "--node", "all", "--all-or-nothing"]);
    let report = told.json().unwrap();
    assert_eq!(phases(&report), ["rolled-back", "failed"], "{report}");
    assert_eq!(report["nodes"][0]["rolled_back"]["restored"], serde_json::json!([web_name]));
    assert_eq!(tags(&fleet[0]), before);
    let all = fleet[0].docker(["image", "ls", "--all", "--quiet"]).unwrap().text();
    assert_eq!(all.lines().count(), 1, "{all}");
    let told = outcome(&home, &fleet, &["preheat", &web_name, &db_name, "--node", "all"]);
    assert_eq!(phases(&told.json().unwrap()), ["done", "failed"]);
    let now = tags(&fleet[0]);
    assert!(now.len() == 2 && now[&web_name] != before[&web_name], "{now:?}");
}
