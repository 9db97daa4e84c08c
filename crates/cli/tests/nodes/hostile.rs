//! Words from strangers, and hosts that are not who they were.

use super::{World, assert_runs, image, names};
use larder_testkit::nodes::{Engine, Plan};
use std::path::Path;

#[test]
fn unknown_and_changed_host_keys_are_refused() {
    let world = World::new(&[Plan::new("one", Engine::Containerd), Plan::new("other", Engine::None)]);
    let (node, link) = (&world.fleet[0], &world.links[0]);
    let image = image(700, 0, 0);
    let name = world.add(&image, "app:1");
    let known_hosts = |content: &str| {
        let file = world.home.write("known_hosts", content).unwrap();
        world.fleet.write_inventory(&node.entry_at(link.address(), &file)).unwrap();
    };
    let host = format!("[{}]:{}", link.address().ip(), link.address().port());

    known_hosts("");
    let outcome = world.deliver(&[&name, "--node", "one"]);
    let text = outcome.fails_with(4).error_text();
    assert!(
        text.contains("host key") && text.contains("not known") && text.contains("nodes trust"),
        "{text}"
    );

    known_hosts(&format!("{host} {}\n", world.fleet[1].host_key()));
    let outcome = world.deliver(&[&name, "--node", "one"]);
    let text = outcome.fails_with(4).error_text();
    assert!(text.contains("has changed"), "{text}");
    assert_eq!(names(node), [""; 0]);

    known_hosts(&format!("{host} {}\n", node.host_key()));
    world.delivered(&[&name, "--node", "one"]);
    assert_runs(node, &name, &image);
}

#[test]
fn a_key_that_does_not_open_is_refused_without_retries() {
    let world = World::new(&[Plan::new("one", Engine::Containerd)]);
    let image = image(710, 0, 0);
    let name = world.add(&image, "app:1");
    let stranger = world.home.path().join("stranger");
    larder_testkit::tools::tool("ssh-keygen")
        .unwrap()
        .args(["-q", "-t", "ed25519", "-N", "", "-f"])
        .arg(&stranger)
        .run()
        .unwrap();
    let entry = world.links[0].entry(&world.fleet[0]);
    let key = world.fleet.key();
    world.fleet.write_inventory(&entry.replace(key.to_str().unwrap(), stranger.to_str().unwrap())).unwrap();
    let outcome = world.deliver(&[&name, "--node", "one"]);
    let said = super::nodes(outcome.fails_with(4));
    assert_eq!(said[0]["attempts"], 1);
    assert!(outcome.error_text().contains("may not log in"), "{}", outcome.describe());
}

#[test]
fn nothing_in_an_inventory_is_executed_here_or_there() {
    let world = World::new(&[Plan::new("one", Engine::Containerd)]);
    let (node, link) = (&world.fleet[0], &world.links[0]);
    let image = image(720, 0, 0);
    let name = world.add(&image, "app:1");
    let marker = world.home.path().join("tmp/executed");
    // On the node as well: the same path can be written there.
    node.run([Path::new("mkdir"), Path::new("-p"), marker.parent().unwrap()]).unwrap().success();
    let touch = format!("touch {}", marker.display());
    let payloads = [
        format!("$({touch})"),
        format!("`{touch}`"),
        format!("x; {touch}; #"),
        format!("x' ; {touch} ; '"),
        format!("x\" ; {touch} ; \""),
        format!("-oProxyCommand={touch}"),
        format!("-oProxyCommand={}", touch.replace(' ', "${IFS}")),
        format!("x\n{touch}\n"),
        format!("x|{touch}|"),
    ];
    let good = [
        ("name", "one".to_owned()),
        ("host", link.address().ip().to_string()),
        ("port", link.address().port().to_string()),
        ("user", "root".to_owned()),
        ("key", node.key().display().to_string()),
        ("known_hosts", link.known_hosts().display().to_string()),
    ];
    let fields = [
        "name",
        "host",
        "user",
        "key",
        "known_hosts",
        "jump",
        "socket",
        "namespace",
        "directory",
        "runtime",
        "bandwidth",
        "label",
        "label-key",
    ];
    for field in fields {
        for payload in &payloads {
            let quoted = serde_json::to_string(payload).unwrap();
            let mut entry: Vec<String> = good
                .iter()
                .filter(|(key, _)| *key != field)
                .map(|(key, value)| {
                    format!(
                        "{key}: {}",
                        if *key == "port" { value.clone() } else { serde_json::to_string(value).unwrap() }
                    )
                })
                .collect();
            entry.push(match field {
                "label" => format!("labels: {{ role: {quoted} }}"),
                "label-key" => format!("labels: {{ {quoted}: x }}"),
                field => format!("{field}: {quoted}"),
            });
            world.fleet.write_inventory(&format!("- {{ {} }}\n", entry.join(", "))).unwrap();
            let outcome = world.deliver(&[&name, "--node", "all", "--retries", "1"]);
            let is_executed = marker.exists() || node.file(&marker).exists();
            assert!(!is_executed, "{field}: {payload:?} was executed\n{}", outcome.describe());
            // A word that is taken as it is may also work, as a label does.
            assert!(outcome.signal().is_none(), "{}", outcome.describe());
        }
    }
    // As arguments.
    for payload in &payloads {
        for args in [[name.as_str(), "--node", payload.as_str()], [payload.as_str(), "--node", "all"]] {
            let outcome = world.deliver(&args);
            assert_ne!(outcome.code(), Some(0), "{}", outcome.describe());
            assert!(!marker.exists() && !node.file(&marker).exists(), "{payload:?}\n{}", outcome.describe());
        }
    }
}

#[test]
fn strange_but_legal_words_work() {
    let world = World::new(&[Plan::new("one", Engine::Containerd)]);
    let (node, link) = (&world.fleet[0], &world.links[0]);
    let image = image(730, 0, 0);
    let name = world.add(&image, "app:1");
    let directory = world.home.path().join("a b %h $x 'q'");
    std::fs::create_dir(&directory).unwrap();
    let (key, known_hosts) = (directory.join("k"), directory.join("h"));
    std::fs::copy(node.key(), &key).unwrap();
    std::fs::copy(link.known_hosts(), &known_hosts).unwrap();
    let quoted = |path: &Path| serde_json::to_string(path.to_str().unwrap()).unwrap();
    let entry = format!(
        "- name: one\n  host: {}\n  port: {}\n  user: root\n  key: {}\n  known_hosts: {}\n",
        link.address().ip(),
        link.address().port(),
        quoted(&key),
        quoted(&known_hosts)
    );
    world.fleet.write_inventory(&entry).unwrap();
    world.delivered(&[&name, "--node", "one"]);
    assert_runs(node, &name, &image);
}
