//! Deliveries that are disturbed at random, and what has to hold afterwards.

use super::{Engine, Fleet, Link, Node, Plan};
use crate::{FaultRegistry, Home, Image, ImageBuilder, Layer, Outcome, Random, busybox};
use anyhow::{Context as _, Result, bail, ensure};
use larder_core::{Compression, Digest};
use std::fmt;
use std::time::{Duration, Instant};

/// Nodes with small disks behind links that break, and a sender that is killed.
#[derive(Debug)]
pub struct Trial {
    home: Home,
    images: Vec<(String, Image)>,
    links: Vec<Link>,
    fleet: Fleet,
    tally: Tally,
    // Names lead there as long as it runs.
    _registry: FaultRegistry,
}

/// What happened so far.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    /// Deliveries that were begun.
    pub deliveries: u32,
    /// Those that ended well by one command, whatever was done to them.
    pub at_once: u32,
    /// Those that a second command, after the disturbance, ended well: the sender was killed, or a disk was full.
    pub again: u32,
    /// Those that were disturbed but neither killed nor on a full disk, and still needed a second command; what they said.
    pub given_up: Vec<String>,
    /// Connections that broke, at the byte.
    pub cuts: u64,
    /// Senders that were killed.
    pub killed: u32,
    /// Nodes that were switched off and on.
    pub reboots: u32,
    /// Engines and sessions that were killed on nodes.
    pub node_kills: u32,
    /// Disks that were full.
    pub full: u32,
    /// Blobs on nodes that were hashed; all were what their name says.
    pub hashed: u64,
}

/// What is done to one delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    Cuts,
    KillSender,
    Reboot,
    KillEngine,
    KillSessions,
    FullDisk,
    Outage,
}

const TROUBLES: [Trouble; 12] = [
    Trouble::None,
    Trouble::Cuts,
    Trouble::Cuts,
    Trouble::Cuts,
    Trouble::Cuts,
    Trouble::KillSender,
    Trouble::KillSender,
    Trouble::Reboot,
    Trouble::KillEngine,
    Trouble::KillSessions,
    Trouble::FullDisk,
    Trouble::Outage,
];
const NODES: usize = 2;
const IMAGES: u64 = 6;
const DISK_BYTES: u64 = 160 << 20;
/// So that trouble comes in the middle of a transfer.
const LINE: u64 = 16 << 20;
const CONTENT: &str = "/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256";

impl Trial {
    /// Starts nodes, and fills a store. `random` decides about sizes.
    pub fn start(home: Home, random: &mut Random) -> Result<Self> {
        let plans: Vec<Plan> = (1..=NODES)
            .map(|at| Plan::new(&format!("node-{at}"), Engine::Containerd).disk(DISK_BYTES))
            .collect();
        let fleet = Fleet::with(&plans)?;
        let links: Vec<Link> = fleet.nodes().iter().map(Link::to).collect::<Result<_>>()?;
        let entries: String = links.iter().zip(fleet.nodes()).map(|(link, node)| link.entry(node)).collect();
        fleet.write_inventory(&entries)?;
        let home = home.with_node_binary()?.env("LARDER_IDLE_TIMEOUT", "6s");
        let registry = FaultRegistry::start();
        let base = busybox(Compression::Gzip)?;
        let shared = Layer::random(random, 1 << 20, Compression::Gzip);
        let mut images = Vec::new();
        for number in 0..IMAGES {
            let mut image = ImageBuilder::new(number).layer(base.clone());
            if number % 2 == 0 {
                image = image.layer(shared.clone());
            }
            let size = 100_000 + random.below(3 << 20) as usize;
            let compression = *random.pick(&[Compression::Gzip, Compression::Zstd, Compression::None]);
            let image = image.layer(Layer::random(random, size, compression)).build();
            image.push(&registry, "soak/app", Some(&number.to_string()));
            let name = registry.reference(&format!("soak/app:{number}")).to_string();
            let pulled = home.larder(["pull", "--quiet", &name]).run();
            ensure!(pulled.code() == Some(0), "{}", pulled.describe());
            images.push((name, image));
        }
        for link in &links {
            link.rate(Some(LINE));
        }
        Ok(Self { home, images, links, fleet, tally: Tally::default(), _registry: registry })
    }

    /// What happened so far.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// One delivery of some images to all nodes by some method, disturbed in some way. Errors where a name stands for something
    /// that is not whole, where a blob is wrong, or where a second command after the disturbance does not end well.
    pub fn delivery(&mut self, methods: &[&str], random: &mut Random) -> Result<()> {
        let number = self.tally.deliveries;
        self.tally.deliveries += 1;
        let mut chosen: Vec<usize> = (0..self.images.len()).collect();
        random.shuffle(&mut chosen);
        chosen.truncate(1 + random.below(3) as usize);
        let (method, trouble) = (*random.pick(methods), *random.pick(&TROUBLES));
        let outcome = self.disturbed(&chosen, method, trouble, random);
        let outcome = outcome.with_context(|| format!("delivery {number} by {method} under {trouble:?}"))?;
        self.check_names()
            .with_context(|| format!("after delivery {number} by {method} under {trouble:?}"))?;
        match outcome.code() {
            Some(0) => self.tally.at_once += 1,
            _ => {
                if !matches!(trouble, Trouble::KillSender | Trouble::FullDisk) {
                    self.tally.given_up.push(format!("{trouble:?}, {method}: {}", outcome.describe()));
                }
                let again = self.command(&chosen, method).run();
                ensure!(
                    again.code() == Some(0),
                    "delivery {number} by {method} under {trouble:?} does not end well even undisturbed: {}\n{}",
                    again.describe(),
                    self.fleet.nodes().iter().map(Node::words).collect::<String>()
                );
                self.tally.again += 1;
            }
        }
        self.check(&chosen).with_context(|| format!("delivery {number} by {method} under {trouble:?}"))?;
        self.make_room(random)
    }

    fn command(&self, chosen: &[usize], method: &str) -> crate::Larder {
        let inventory = self.fleet.inventory();
        let inventory = inventory.to_string_lossy().into_owned();
        let mut args =
            vec!["deliver", "--inventory", &inventory, "--node", "all", "--retries", "8", "--method", method];
        args.extend(chosen.iter().map(|at| self.images[*at].0.as_str()));
        self.home.larder(args).limit(Duration::from_secs(180))
    }

    /// Runs a delivery while trouble comes; afterwards there is none.
    fn disturbed(
        &mut self,
        chosen: &[usize],
        method: &str,
        trouble: Trouble,
        random: &mut Random,
    ) -> Result<Outcome> {
        let at = random.below(NODES as u64) as usize;
        let cuts = self.links.iter().map(Link::cuts).sum::<u64>();
        if trouble == Trouble::Cuts {
            for link in &self.links {
                let positions: Vec<u64> = (0..=random.below(4)).map(|_| position(random)).collect();
                link.cut_at_each(&positions);
            }
        }
        let mut running = self.command(chosen, method).spawn()?;
        let strike = Duration::from_millis(random.below(900));
        let start = Instant::now();
        while running.is_running()? && start.elapsed() < strike {
            std::thread::sleep(Duration::from_millis(2));
        }
        match trouble {
            Trouble::None | Trouble::Cuts => {}
            Trouble::KillSender => {
                self.tally.killed += 1;
                return running.kill();
            }
            Trouble::Reboot => {
                self.tally.reboots += 1;
                self.fleet[at].reboot()?;
            }
            Trouble::KillEngine => {
                self.tally.node_kills += 1;
                self.fleet[at].run(["pkill", "-KILL", "-x", "containerd"])?;
            }
            Trouble::KillSessions => {
                self.tally.node_kills += 1;
                // Not what keeps the daemons of a node: in its words is the directory of all nodes.
                let pattern = *random.pick(&["sshd: root", "^ctr ", "/bin/larder-node-"]);
                self.fleet[at].run(["pkill", "-KILL", "-f", pattern])?;
            }
            Trouble::FullDisk => {
                self.tally.full += 1;
                self.fleet[at].fill_disk(random.below(2 << 20))?;
            }
            Trouble::Outage => {
                self.links[at].down();
                std::thread::sleep(Duration::from_millis(random.below(2000)));
                self.links[at].up();
            }
        }
        let outcome = running.wait();
        if trouble == Trouble::FullDisk {
            self.fleet[at].free_disk()?;
        }
        for link in &self.links {
            link.cut_at_each(&[]);
        }
        // A delivery that had ended before does not wait for the engine; who looks at what it left has to.
        self.fleet[at].wait_until_ready()?;
        self.tally.cuts += self.links.iter().map(Link::cuts).sum::<u64>() - cuts;
        outcome
    }

    /// No name stands for something that is not whole, also in the middle.
    fn check_names(&self) -> Result<()> {
        for node in self.fleet.nodes() {
            let listed = node.run(["ctr", "--namespace", "k8s.io", "images", "check"])?;
            for line in listed.text().lines().skip(1).filter(|line| !line.contains("larder.invalid")) {
                ensure!(line.contains(" complete ("), "{}: {line}", node.name());
            }
        }
        Ok(())
    }

    /// The images are on all nodes under their names, every blob there hashes to its name, and nothing else is left.
    fn check(&mut self, chosen: &[usize]) -> Result<()> {
        for node in self.fleet.nodes() {
            let listed = node.ctr(["images", "check"])?.text();
            for at in chosen {
                let (name, image) = &self.images[*at];
                let line = listed.lines().find(|line| line.split_whitespace().next() == Some(name));
                let line = line.with_context(|| format!("{} has no {name}:\n{listed}", node.name()))?;
                ensure!(line.contains(&image.digest().to_string()), "{}: {line}", node.name());
                ensure!(
                    line.contains(" complete (") && line.trim_end().ends_with("true"),
                    "{}: {line}",
                    node.name()
                );
            }
            ensure!(
                !listed.contains("larder.invalid"),
                "{}: images on their way were left:\n{listed}",
                node.name()
            );
            let mut left = node
                .command(["find", "/var/lib/larder-node", "/tmp", "/var/tmp", "-type", "f"])?
                .outcome()?
                .text();
            // What tells a node about the way back goes with the next delivery that finds nobody listening there.
            let known = ["/larder-node/bin/", "/larder-node/boot", "/larder-node/tunnel-"];
            left = left
                .lines()
                .filter(|line| !known.iter().any(|known| line.contains(known)))
                .collect::<Vec<_>>()
                .join("\n");
            ensure!(left.is_empty(), "{}: files were left:\n{left}", node.name());
            self.tally.hashed += hash(node)?;
        }
        Ok(())
    }

    /// Removes some images, so that there is something to deliver.
    fn make_room(&self, random: &mut Random) -> Result<()> {
        for node in self.fleet.nodes() {
            let names = node.ctr(["images", "list", "--quiet"])?.text();
            let gone: Vec<&str> = names.lines().filter(|_| !random.one_in(4)).collect();
            if !gone.is_empty() {
                node.ctr(["images", "rm", "--sync"].into_iter().chain(gone))?;
            }
        }
        Ok(())
    }
}

/// Near the start, where hands are shaken, or anywhere.
fn position(random: &mut Random) -> u64 {
    match random.one_in(3) {
        true => random.below(12_000),
        false => random.below(5 << 20),
    }
}

/// Hashes every blob of containerd's content store; an error where one is not what its name says.
fn hash(node: &Node) -> Result<u64> {
    let mut count = 0;
    for entry in std::fs::read_dir(node.file(CONTENT)).context("no content store")? {
        let path = entry.context("cannot list the content store")?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        // Garbage is collected meanwhile.
        let Ok(content) = std::fs::read(&path) else { continue };
        if Digest::of(&content).hex() != name {
            bail!("{}: {name} has other content", node.name());
        }
        count += 1;
    }
    Ok(count)
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} deliveries: {} ended well by themselves, {} by a second command after a kill of the sender or a full disk, \
             {} gave up under other trouble; {} connections cut, {} senders killed, {} reboots, {} programs killed on nodes, \
             {} full disks; {} blobs hashed, none wrong",
            self.deliveries,
            self.at_once,
            self.again - self.given_up.len() as u32,
            self.given_up.len(),
            self.cuts,
            self.killed,
            self.reboots,
            self.node_kills,
            self.full,
            self.hashed
        )
    }
}
