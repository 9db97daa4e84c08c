//! Snapshots of containerd, made of layers that `larder-node` unpacks while they arrive.
//!
//! containerd unpacks with one thread, and after everything arrived. A snapshot that is there under the chain id of its layers it takes
//! as it is (`rootfs/apply.go` and `pkg/unpack/unpacker.go` look for it first). So the layers are unpacked here, as its own differ
//! does it (`diff/apply/apply_linux.go` writes into the upper directory, too), verified, and committed by its `ctr`. What is
//! unusual in any way is left to containerd.

use crate::archive::Archive;
use crate::containerd::{Containerd, Unpacking};
use crate::host::{Flow, Input};
use crate::probe::Facts;
use crate::session::Session;
use crate::{Result, Shipment, ShippedImage};
use larder_agent::{PackedLayer, Unpack};
use larder_core::Digest;
use std::collections::HashSet;

const SNAPSHOTS: &str = include_str!("snapshots.sh");
/// Only of this one it is known how its snapshots lie on the disk.
const SNAPSHOTTER: &str = "overlayfs";

/// A containerd whose snapshots can be made.
pub(crate) struct Snapshots<'a> {
    session: &'a Session<'a>,
    runtime: &'a Containerd<'a>,
    unpacking: &'a Unpacking,
    platform: larder_core::Platform,
    /// Where the snapshotter keeps them.
    root: &'a str,
}

/// An image on its way.
pub(crate) struct Incoming<'a> {
    pub(crate) shipment: &'a Shipment,
    /// Its name until it is whole.
    pub(crate) name: &'a str,
    /// The blobs that the node lacks.
    pub(crate) send: &'a HashSet<Digest>,
}

/// What a node has of an image's snapshots.
struct Base {
    /// So many of the lowest layers.
    count: usize,
    /// The directories of these, the nearest first.
    lowers: Vec<String>,
    /// Those of them that a delivery made which did not come to its end. Only a label keeps them.
    held: Vec<Digest>,
}

impl<'a> Snapshots<'a> {
    /// `None` where containerd has to unpack by itself, or nobody shall.
    pub(crate) fn of(
        session: &'a Session<'a>,
        runtime: &'a Containerd<'a>,
        facts: &'a Facts,
        unpacking: &'a Unpacking,
    ) -> Option<Self> {
        let is_usual = unpacking.snapshotter.as_deref().is_none_or(|name| name == SNAPSHOTTER);
        if unpacking.is_off || !is_usual {
            return None;
        }
        let root = &facts.rooms.get("unpacked")?.directory;
        Some(Self { session, runtime, unpacking, platform: facts.platform(), root })
    }

    /// Imports an image, and unpacks its layers while they arrive, as far as they can be unpacked here.
    pub(crate) async fn import(&self, incoming: &Incoming<'_>, flow: &Flow, is_new: bool) -> Result<()> {
        let Incoming { shipment, name, send } = *incoming;
        let archive = |send: &HashSet<Digest>| Archive::layout(shipment, name, &self.platform, send);
        let chains = shipment.best_for(&self.platform).map(chains).unwrap_or_default();
        let Some(mut base) = self.look(&chains).await? else {
            return self.runtime.import(&archive(send), flow, is_new, self.unpacking).await;
        };
        if self.begin(shipment, &base, send).await? {
            let packed = Unpacking { is_off: true, ..Unpacking::default() };
            self.runtime.import(&archive(send), flow, is_new, &packed).await?;
            if let Some(directories) = self.session.unpacked().await? {
                self.commit(&chains, base.count, &directories).await?;
                base.held.extend(&chains[base.count..]);
            }
            // Nothing is left to bring, and where all went well nothing to unpack.
            self.runtime.import(&archive(&HashSet::new()), flow, is_new, self.unpacking).await?;
        } else {
            self.runtime.import(&archive(send), flow, is_new, self.unpacking).await?;
        }
        // The image holds them now.
        self.free(&base.held).await
    }

    /// Begins to unpack the layers without a snapshot. False where that is containerd's: it cannot be done here, or not all of them
    /// are sent.
    async fn begin(&self, shipment: &Shipment, base: &Base, send: &HashSet<Digest>) -> Result<bool> {
        let layers = shipment.best_for(&self.platform).map_or(&[][..], |image| &image.layers);
        let missing = layers.get(base.count..).unwrap_or_default();
        if missing.is_empty() || missing.iter().any(|(blob, _)| !send.contains(blob)) {
            return Ok(false);
        }
        let layers =
            missing.iter().map(|(blob, diff_id)| PackedLayer { blob: *blob, diff_id: *diff_id }).collect();
        let directory = format!("{}/larder-node", self.root);
        self.session.unpack(Unpack { directory, lowers: base.lowers.clone(), layers }).await
    }

    /// Which snapshots are there. Tidies up after deliveries that were killed. `None` where something is unusual.
    async fn look(&self, chains: &[Digest]) -> Result<Option<Base>> {
        let chains: Vec<String> = chains.iter().map(Digest::to_string).collect();
        let Some(answer) = self.run("look", &chains).await? else { return Ok(None) };
        let mut base = Base { count: 0, lowers: Vec::new(), held: Vec::new() };
        for line in answer.lines() {
            match line.split_once(' ') {
                Some(("lower", path)) => base.lowers.push(path.to_owned()),
                Some(("held", chain)) => base.held.extend(chain.parse::<Digest>()),
                Some(("have", count)) => base.count = count.parse().unwrap_or_default(),
                _ => {}
            }
        }
        let is_partial = base.count > 0 && base.count < chains.len();
        Ok((!is_partial || base.lowers.len() == base.count).then_some(base))
    }

    /// Makes snapshots of directories.
    async fn commit(&self, chains: &[Digest], from: usize, directories: &[String]) -> Result<()> {
        let mut words = Vec::new();
        for (at, directory) in (from..chains.len()).zip(directories) {
            let parent = at.checked_sub(1).map_or("-".to_owned(), |below| chains[below].to_string());
            words.extend([chains[at].to_string(), parent, directory.clone()]);
        }
        self.run("commit", &words).await.map(drop)
    }

    /// Gives snapshots up that an image holds.
    async fn free(&self, chains: &[Digest]) -> Result<()> {
        if chains.is_empty() {
            return Ok(());
        }
        let chains: Vec<String> = chains.iter().map(Digest::to_string).collect();
        // What is not done now is done by the next delivery.
        self.run("free", &chains).await.map(drop)
    }

    async fn run(&self, mode: &str, words: &[String]) -> Result<Option<String>> {
        let node = self.runtime.host.node();
        let mut argv = vec!["sh", "-c", SNAPSHOTS, "larder", mode];
        argv.extend([&*self.runtime.socket, &node.namespace, &node.directory, self.root]);
        argv.extend(words.iter().map(String::as_str));
        self.ask(&argv).await
    }

    /// What a script says, if it comes to its end.
    async fn ask(&self, argv: &[&str]) -> Result<Option<String>> {
        let output = self.runtime.host.run(argv, Input::Bytes(b"")).await?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.code == Some(0) && said.lines().last() == Some("end")).then_some(said))
    }
}

/// What snapshots are called after: each layer's digest, with all those below (OCI image-spec, config.md, "Layer ChainID").
fn chains(image: &ShippedImage) -> Vec<Digest> {
    let mut chains: Vec<Digest> = Vec::with_capacity(image.layers.len());
    for (_, diff_id) in &image.layers {
        chains.push(match chains.last() {
            None => *diff_id,
            Some(below) => Digest::of(format!("{below} {diff_id}").as_bytes()),
        });
    }
    chains
}
