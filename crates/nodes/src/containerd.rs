//! containerd on a node, by its own `ctr`.

use crate::archive::Archive;
use crate::host::{Flow, Host, Input};
use crate::probe::Facts;
use crate::{Node, Result, Shipment};
use larder_core::Digest;
use std::collections::HashSet;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Names under this host are those of images that are not whole yet. `.invalid` belongs to nobody (RFC 6761).
pub(crate) const INCOMING: &str = "incoming.larder.invalid/";
/// An image that is not whole after so long is left over.
const ABANDONED: Duration = Duration::from_secs(2 * 3600);
/// Feeds a program with a file and then with its own input. Arguments: the file, the program.
const CHAIN: &str = "file=$1; shift; cat -- \"$file\" - | \"$@\"";

/// `ctr` with the socket and the namespace of a node.
pub(crate) struct Containerd<'a> {
    pub(crate) host: Host<'a>,
    pub(crate) socket: String,
}

/// How images get into containerd.
#[derive(Debug, Clone, Default)]
pub(crate) struct Unpacking {
    /// Layers stay packed until a container needs them.
    pub(crate) is_off: bool,
    /// For which snapshotter; containerd's own choice where nothing is said.
    pub(crate) snapshotter: Option<String>,
}

impl Unpacking {
    /// What an import is told.
    fn words(&self, is_new: bool) -> Vec<&str> {
        match self.is_off {
            true => vec!["--no-unpack"],
            false => self.choice(is_new),
        }
    }

    /// Version 2 and later unpack for a snapshotter of choice only where `ctr` itself does the work.
    fn choice(&self, is_new: bool) -> Vec<&str> {
        match &self.snapshotter {
            Some(snapshotter) if is_new => vec!["--local", "--snapshotter", snapshotter],
            Some(snapshotter) => vec!["--snapshotter", snapshotter],
            None => Vec::new(),
        }
    }
}

impl Containerd<'_> {
    /// A name for an image that is on its way, from which it is seen what it is, since when, and whose it is.
    pub(crate) fn incoming(digest: &Digest, now: SystemTime, owner: &str) -> String {
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        format!("{INCOMING}{}:t{seconds}-{owner}", short(digest))
    }

    /// Imports an archive that carries what is missing.
    pub(crate) async fn import(
        &self,
        archive: &Archive,
        flow: &Flow,
        is_new: bool,
        unpacking: &Unpacking,
    ) -> Result<()> {
        let mut words = vec!["images", "import"];
        words.extend(unpacking.words(is_new));
        words.push("-");
        self.run(&words, Input::Archive(archive, flow)).await.map(drop)
    }

    /// Imports an archive that lies on the node, and whose end is `rest`.
    pub(crate) async fn import_file(
        &self,
        path: &str,
        rest: &Archive,
        is_new: bool,
        unpacking: &Unpacking,
    ) -> Result<()> {
        let mut words = vec!["sh", "-c", CHAIN, "larder", path];
        words.extend(["ctr", "--address", &self.socket, "--namespace", &self.host.node().namespace]);
        words.extend(["images", "import"]);
        words.extend(unpacking.words(is_new));
        words.push("-");
        let output = self.host.run(&words, Input::Archive(rest, &Flow::free())).await?;
        output.success(self.host.node().name(), "ctr images import").map(drop)
    }

    /// Lets containerd pull an image by itself. `is_new` is version 2 or later, which otherwise wants what is known of all
    /// platforms.
    pub(crate) async fn pull(
        &self,
        name: &str,
        hosts_dir: &str,
        is_new: bool,
        unpacking: &Unpacking,
    ) -> Result<()> {
        let mut words = match unpacking.is_off {
            true => vec!["content", "fetch", "--hosts-dir", hosts_dir],
            false => vec!["images", "pull", "--hosts-dir", hosts_dir],
        };
        if is_new {
            words.push("--skip-metadata");
        }
        if !unpacking.is_off {
            words.extend(unpacking.choice(is_new));
        }
        words.push(name);
        self.run(&words, Input::Bytes(b"")).await.map(drop)
    }

    /// Gives an image that is whole its names.
    pub(crate) async fn name(&self, from: &str, names: &[String]) -> Result<()> {
        let mut words = vec!["images", "tag", "--force", from];
        words.extend(names.iter().map(String::as_str));
        self.run(&words, Input::Bytes(b"")).await.map(drop)
    }

    /// Removes names. Those that are not there are gone already.
    pub(crate) async fn remove(&self, names: &[String]) -> Result<()> {
        if names.is_empty() {
            return Ok(());
        }
        let mut words = vec!["images", "rm"];
        words.extend(names.iter().map(String::as_str));
        self.run(&words, Input::Bytes(b"")).await.map(drop)
    }

    /// Names that deliveries left which are over: of the same images, or too old to be still on their way; and those of this owner,
    /// who is done.
    pub(crate) fn leftovers(
        facts: &Facts,
        shipments: &[std::sync::Arc<Shipment>],
        now: SystemTime,
        owner: &str,
    ) -> Vec<String> {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let ours: HashSet<String> = shipments.iter().map(|shipment| short(shipment.digest())).collect();
        let left = facts.images.keys().filter(|name| {
            let Some((hex, since)) = name.strip_prefix(INCOMING).and_then(|rest| rest.split_once(":t"))
            else {
                return false;
            };
            let (since, of) = since.split_once('-').unwrap_or((since, ""));
            let since = since.parse().map_or(Duration::ZERO, Duration::from_secs);
            let is_over = of == owner || !facts.senders.contains(of);
            is_over && (ours.contains(hex) || now.saturating_sub(since) > ABANDONED)
        });
        left.cloned().collect()
    }

    async fn run(&self, words: &[&str], input: Input<'_>) -> Result<Vec<u8>> {
        let mut argv = vec!["ctr", "--address", &self.socket, "--namespace", &self.host.node().namespace];
        argv.extend(words);
        let output = self.host.run(&argv, input).await?;
        output.success(self.host.node().name(), &format!("ctr {} {}", words[0], words[1]))
    }
}

/// Enough of a digest for the name of an image on its way.
pub(crate) fn short(digest: &Digest) -> String {
    digest.hex().chars().take(32).collect()
}

/// Why an image of a node is not what was sent, if it is not.
pub(crate) fn flaw(shipment: &Shipment, name: &str, facts: &Facts) -> Option<String> {
    match facts.images.get(name) {
        None => return Some(format!("it has no {name}")),
        Some(found) if found != shipment.digest() => return Some(format!("{name} stands for {found} there")),
        Some(_) => {}
    }
    let platform = facts.platform();
    let documents = shipment.documents_for(&platform).map(larder_core::Document::digest);
    let pieces = shipment.pieces_for(&platform).map(|piece| *piece.blob.digest());
    let absent = documents.chain(pieces).filter(|digest| !facts.blobs.contains(digest)).count();
    (absent > 0).then(|| format!("{absent} of its blobs are missing"))
}

/// The blobs of an image that a node lacks.
pub(crate) fn lacking(shipment: &Shipment, facts: &Facts) -> HashSet<Digest> {
    let platform = facts.platform();
    let pieces = shipment.pieces_for(&platform).map(|piece| *piece.blob.digest());
    pieces.filter(|digest| !facts.blobs.contains(digest)).collect()
}

/// Whether it is version 2 or later, with other options. A version that is not known is taken for an old one.
pub(crate) fn is_new(facts: &Facts) -> bool {
    let major = facts.version.trim_start_matches('v').split('.').next();
    major.and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= 2)
}

/// Where the runtime of a node listens.
pub(crate) fn socket(facts: &Facts, node: &Node) -> Result<String> {
    facts.runtime(node.name()).map(|_| facts.socket.clone())
}
