//! Deliveries to real nodes: networks, sshds, containerds and Docker engines of their own. Needs root.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod docker;
mod first;
mod full;
mod hostile;
mod interrupted;
mod inventory;
mod jump;
mod leftovers;
mod missing;
mod several;
mod unpacked;

use larder_core::Compression;
use larder_testkit::nodes::{Fleet, Link, Node, Plan};
use larder_testkit::{FaultRegistry, Home, Image, ImageBuilder, Larder, Outcome, busybox};
use serde_json::Value;

/// The methods, the best first.
const METHODS: [&str; 4] = ["agent", "thin", "tunnel", "archive"];

/// Nodes, each behind a link, and a sender with a registry to pull from.
struct World {
    home: Home,
    registry: FaultRegistry,
    links: Vec<Link>,
    fleet: Fleet,
}

impl World {
    fn new(plans: &[Plan]) -> Self {
        let fleet = Fleet::with(plans).unwrap();
        let links: Vec<Link> = fleet.nodes().iter().map(|node| Link::to(node).unwrap()).collect();
        let entries: String = links.iter().zip(fleet.nodes()).map(|(link, node)| link.entry(node)).collect();
        fleet.write_inventory(&entries).unwrap();
        // A dead connection is noticed soon.
        let home = Home::new().unwrap().with_node_binary().unwrap().env("LARDER_IDLE_TIMEOUT", "6s");
        Self { home, registry: FaultRegistry::start(), links, fleet }
    }

    /// Puts an image into the store; returns its name.
    fn add(&self, image: &Image, name: &str) -> String {
        let (repository, tag) = name.rsplit_once(':').unwrap();
        image.push(&self.registry, repository, Some(tag));
        let reference = self.registry.reference(name).to_string();
        self.home.run(["pull", "--quiet", &reference]).success();
        reference
    }

    /// A delivery by the links.
    fn delivery(&self, args: &[&str]) -> Larder {
        let inventory = self.fleet.inventory();
        let fixed = ["deliver", "--output", "json", "--inventory", inventory.to_str().unwrap()];
        self.home.larder(fixed.iter().chain(args))
    }

    fn deliver(&self, args: &[&str]) -> Outcome {
        self.delivery(args).run()
    }

    /// A delivery that does what it should; returns what it says of each node.
    #[track_caller]
    fn delivered(&self, args: &[&str]) -> Vec<Value> {
        nodes(self.deliver(args).success())
    }

    /// Brings larder-node to all nodes, so that what is counted and cut later are blobs.
    fn prime(&self) {
        let name = self.add(&image(1, 0, 0), "prime:1");
        self.delivered(&[&name, "--node", "all", "--method", "agent"]);
    }

    /// Bytes that the links passed to the nodes so far.
    fn sent(&self) -> u64 {
        self.links.iter().map(Link::sent).sum()
    }
}

/// What a delivery says of each node.
#[track_caller]
fn nodes(outcome: &Outcome) -> Vec<Value> {
    outcome.json().unwrap()["nodes"].as_array().unwrap().clone()
}

/// An image that runs, with further layers of incompressible bytes.
fn image(seed: u64, layers: usize, size: usize) -> Image {
    ImageBuilder::new(seed)
        .layer(busybox(Compression::Gzip).unwrap())
        .random_layers(layers, size, Compression::Gzip)
        .build()
}

/// Insists that an image is whole on a node, stands for the digest, and runs there.
#[track_caller]
fn assert_runs(node: &Node, name: &str, image: &Image) {
    assert_whole(node, name, image);
    let container = format!("c{}", container_number());
    let said = node.ctr(["run", "--rm", name, &container, "/bin/busybox", "echo", "it runs"]).unwrap();
    assert_eq!(said.text(), "it runs\n");
}

/// Insists that an image is whole and unpacked on a node, and stands for the digest.
#[track_caller]
fn assert_whole(node: &Node, name: &str, image: &Image) {
    let checked = node.ctr(["images", "check", &format!("name=={name}")]).unwrap().text();
    let line = checked.lines().find(|line| line.split_whitespace().next() == Some(name));
    let line = line.unwrap_or_else(|| panic!("{} has no {name}:\n{checked}", node.name()));
    assert!(line.contains(&image.digest().to_string()), "{line}");
    assert!(line.contains(" complete (") && line.trim_end().ends_with(" true"), "{line}");
}

/// Lets a program of a node fail where its arguments have this in them.
fn sabotage(node: &Node, program: &str, pattern: &str, says: &str) {
    let path = node.file(format!("/usr/local/bin/{program}"));
    let script = format!(
        "#!/bin/sh\ncase \" $* \" in *' {pattern} '*) echo '{says}' >&2; exit 1 ;; esac\nexec /usr/bin/{program} \"$@\"\n"
    );
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
}

/// Lets it do what it does again.
fn repair(node: &Node, program: &str) {
    std::fs::remove_file(node.file(format!("/usr/local/bin/{program}"))).unwrap();
}

fn container_number() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The names of the images on a node.
fn names(node: &Node) -> Vec<String> {
    node.ctr(["images", "list", "--quiet"]).unwrap().text().lines().map(str::to_owned).collect()
}

/// What larder left on a node: files that are not programs, and images on their way.
fn leftovers(node: &Node) -> Vec<String> {
    let places = ["/var/lib/larder-node", "/tmp", "/var/tmp", "/root", "/usr/local"];
    let found = node.run(["find"].iter().chain(&places).chain(&["-type", "f"])).unwrap().text();
    let known = [
        "/var/lib/larder-node/bin/",
        "/var/lib/larder-node/boot",
        "/root/.ssh/authorized_keys",
        // A containerd of another version is called by these.
        "/usr/local/bin/containerd",
        "/usr/local/bin/ctr",
    ];
    // What tells a node about the way back goes with the next delivery that finds nobody listening there.
    // Where the programs of the other version are, if that is a place of the node, too.
    let engine = match node.engine() {
        larder_testkit::nodes::Engine::ContainerdIn(programs) => programs.parent(),
        _ => None,
    };
    let is_known = |file: &str| {
        known.iter().any(|known| file.starts_with(known))
            || file.starts_with("/var/lib/larder-node/tunnel-")
            || engine.is_some_and(|engine| std::path::Path::new(file).starts_with(engine))
    };
    let files = found.lines().filter(|file| !is_known(file));
    let mut left: Vec<String> = files.map(str::to_owned).collect();
    if *node.engine() != larder_testkit::nodes::Engine::Docker {
        left.extend(names(node).into_iter().filter(|name| name.contains("larder")));
    }
    left
}
