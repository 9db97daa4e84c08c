//! Nodes behind other hosts.

use super::{World, assert_runs, image};
use larder_testkit::Outcome;
use larder_testkit::nodes::{Engine, Link, Node, Plan};

/// A host that can be logged in to, and a node that only it has the way to.
struct Behind {
    world: World,
    way: Link,
}

impl Behind {
    fn new() -> Self {
        let world = World::new(&[Plan::new("bastion", Engine::None), Plan::new("inner", Engine::Containerd)]);
        let (bastion, inner) = (&world.fleet[0], &world.fleet[1]);
        let way = Link::from_address(bastion.sender_address(), inner.socket_address()).unwrap();
        Self { world, way }
    }

    fn bastion(&self) -> &Node {
        &self.world.fleet[0]
    }

    fn inner(&self) -> &Node {
        &self.world.fleet[1]
    }

    /// An inventory of the inner node, whose file of host keys has these lines.
    fn inventory(&self, lines: &[String], jump: &str) {
        let known_hosts = self.world.home.write("hosts with a space", lines.join("\n")).unwrap();
        let entry = self.inner().entry_at(self.way.address(), &known_hosts);
        self.world.fleet.write_inventory(&format!("{entry}  jump: {jump}\n")).unwrap();
    }

    fn inner_key(&self) -> String {
        let way = self.way.address();
        format!("[{}]:{} {}", way.ip(), way.port(), self.inner().host_key())
    }

    fn bastion_key(&self) -> String {
        format!("{} {}", self.bastion().address(), self.bastion().host_key())
    }

    fn deliver(&self, name: &str) -> Outcome {
        self.world.deliver(&[name, "--node", "inner", "--retries", "1"])
    }
}

#[test]
fn a_node_behind_another_host_is_reached_and_both_host_keys_are_checked() {
    let behind = Behind::new();
    let image = image(740, 0, 0);
    let name = behind.world.add(&image, "app:1");
    let jump = format!("root@{}", behind.bastion().address());

    behind.inventory(&[behind.inner_key()], &jump);
    let outcome = behind.deliver(&name);
    let text = outcome.fails_with(4).error_text();
    let address = behind.bastion().address().to_string();
    assert!(
        text.contains(&format!("the host key of {address} is not known"))
            && text.contains(&format!("nodes trust --node {address}")),
        "{text}"
    );
    assert_eq!(behind.way.connections(), 0, "an unknown host was asked for the way");

    behind.inventory(&[behind.inner_key(), format!("{address} {}", behind.inner().host_key())], &jump);
    let outcome = behind.deliver(&name);
    let text = outcome.fails_with(4).error_text();
    assert!(text.contains(&format!("the host key of {address} has changed")), "{text}");
    assert_eq!(behind.way.connections(), 0, "a changed host was asked for the way");

    behind.inventory(&[behind.bastion_key()], &jump);
    let text = behind.deliver(&name).fails_with(4).error_text();
    assert!(text.contains("is not known") && text.contains("nodes trust --node inner"), "{text}");

    behind.inventory(&[behind.inner_key(), behind.bastion_key()], &jump);
    behind.deliver(&name).success();
    assert_runs(behind.inner(), &name, &image);
}

#[test]
fn several_hosts_on_the_way_are_checked_each() {
    let behind = Behind::new();
    let image = image(741, 0, 0);
    let name = behind.world.add(&image, "app:1");
    // The same host by another way is another host to whoever checks.
    let (bastion, again) = (behind.bastion().address(), Link::to(behind.bastion()).unwrap());
    let jump = format!("root@{},root@{bastion}", again.address());
    behind.inventory(&[behind.inner_key(), behind.bastion_key()], &jump);
    let text = behind.deliver(&name).fails_with(4).error_text();
    let first = format!("[{}]:{}", again.address().ip(), again.address().port());
    assert!(text.contains(&format!("the host key of {first} is not known")), "{text}");
    let first = format!("{first} {}", behind.bastion().host_key());
    behind.inventory(&[behind.inner_key(), behind.bastion_key(), first], &jump);
    behind.deliver(&name).success();
    assert_runs(behind.inner(), &name, &image);
}
