//! Brings shipments to one node: see what is there, send what is not, check, name.

use crate::archive::Archive;
use crate::containerd::{self, Containerd, Unpacking};
use crate::docker::{self, Docker};
use crate::host::{Flow, Host};
use crate::probe::{Depth, Facts, Room};
use crate::session::{NodePrograms, Packing, Session};
use crate::snapshots::{Incoming, Snapshots};
use crate::tunnel::Tunnel;
use crate::{Connection, Error, Method, Rate, Result, Runtime, Shipment};
use larder_core::{Classify as _, Digest, Kind};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;
use tokio::sync::Semaphore;

/// How images are delivered.
#[derive(Clone)]
pub struct DeliverOptions {
    /// By which method; `None` is the best that a node offers.
    pub method: Option<Method>,
    /// What can be put on nodes, for the method that needs it.
    pub programs: Arc<NodePrograms>,
    /// The sender's registry, for the method that needs one.
    pub registry: Option<crate::Registry>,
    /// Attempts without progress before a node is given up.
    pub attempts: u32,
    /// Nodes at the same time.
    pub jobs: usize,
    /// At most so many bytes per second to all nodes together.
    pub limit: Option<Rate>,
    /// Only say what would be sent.
    pub dry_run: bool,
    /// Layers are unpacked on the node right away.
    pub unpack: bool,
    /// For which snapshotter; containerd's own choice where nothing is said.
    pub snapshotter: Option<String>,
    /// The clock.
    pub clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    /// Who is told how it goes.
    pub progress: larder_core::Progress,
}

/// What became of one image on one node.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Delivered {
    /// Which one.
    pub image: String,
    /// What it stands for.
    pub digest: Digest,
    /// How it is there.
    pub state: ImageState,
    /// Bytes of it that were missing.
    pub missing_bytes: u64,
}

/// How an image is on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ImageState {
    /// It was there, whole and under its names.
    Present,
    /// It is there now.
    Delivered,
    /// It would have been sent.
    Missing,
}

/// One attempt to bring everything to one node.
pub(crate) struct Attempt<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) shipments: &'a [Arc<Shipment>],
    pub(crate) options: &'a DeliverOptions,
    pub(crate) flow: &'a Flow,
    /// Tells deliveries of the same sender apart from those of others.
    pub(crate) owner: &'a str,
    pub(crate) packing: &'a Packing,
    /// Who may send now.
    pub(crate) slots: &'a Semaphore,
    /// Whether an attempt of the same delivery was here before.
    pub(crate) is_again: bool,
    /// Set when what arrives is kept on the node, whatever happens.
    pub(crate) keeps: &'a AtomicBool,
}

/// What a node lacks of one shipment.
struct Lack<'a> {
    shipment: &'a Arc<Shipment>,
    /// Blobs for containerd, contents of layers for Docker.
    digests: HashSet<Digest>,
    bytes: u64,
    is_named: bool,
}

impl Attempt<'_> {
    /// Brings everything there. What is said of the images is what was there before and is there now.
    pub(crate) async fn run(&self, started: impl FnOnce(u64)) -> Result<(Option<Method>, Vec<Delivered>)> {
        let node = self.connection.node();
        let facts = Facts::of(self.connection, Depth::Brief).await?;
        let runtime = facts.runtime(node.name())?;
        let lacks = self.lacks(&facts, runtime)?;
        let missing: u64 = lacks.iter().map(|lack| lack.bytes).sum();
        started(missing);
        let mut method = None;
        if !self.options.dry_run && lacks.iter().any(|lack| !lack.is_whole()) {
            let _slot = self.slots.acquire().await;
            let facts = self.check_room(missing).await?;
            // While others were served, the node may have collected garbage.
            let lacks = self.lacks(&facts, runtime)?;
            method = Some(self.bring(&facts, runtime, &lacks).await?);
        } else if self.is_again
            && !self.options.dry_run
            && matches!(self.options.method, None | Some(Method::Agent))
            && let Some(session) = self.session(&facts).await?
        {
            // An earlier attempt was cut off after the import, before it could give up what it had spooled.
            session.release(self.shipments).await?;
            method = Some(Method::Agent);
        }
        if !self.options.dry_run && runtime == Runtime::Containerd {
            tidy(self.connection, &facts, self.shipments, self.options, self.owner).await?;
        }
        let delivered = lacks.iter().map(|lack| Delivered {
            image: lack.shipment.name().to_string(),
            digest: *lack.shipment.digest(),
            state: match (lack.is_whole(), self.options.dry_run) {
                (true, _) => ImageState::Present,
                (false, false) => ImageState::Delivered,
                (false, true) => ImageState::Missing,
            },
            missing_bytes: lack.bytes,
        });
        let delivered = delivered.collect();
        Ok((method, delivered))
    }

    /// Brings what is missing, by the method that was asked for or the best that the node offers.
    async fn bring(&self, facts: &Facts, runtime: Runtime, lacks: &[Lack<'_>]) -> Result<Method> {
        let node = self.connection.node();
        if self.options.method == Some(Method::Tunnel) {
            if runtime == Runtime::Docker {
                return Err(Error::Unsupported {
                    node: node.name().into(),
                    reason: "Docker pulls only under the name of the registry that it pulls from".into(),
                    hint: "use another --method",
                });
            }
            self.keeps.store(true, Ordering::Relaxed);
            self.pull_by_containerd(facts, lacks).await?;
            return Ok(Method::Tunnel);
        }
        let session = match self.options.method {
            None | Some(Method::Agent) => self.session(facts).await?,
            Some(_) => None,
        };
        let is_kept = session.is_some() || self.options.method == Some(Method::Archive);
        self.keeps.store(is_kept, Ordering::Relaxed);
        let host = session.as_ref().map_or(Host::Ssh(self.connection), Host::Agent);
        match runtime {
            Runtime::Containerd => self.fill_containerd(host, facts, lacks).await?,
            Runtime::Docker => self.fill_docker(host, facts, lacks).await?,
        }
        match session {
            Some(session) => session.release(self.shipments).await.map(|()| Method::Agent),
            None => Ok(self.options.method.unwrap_or(Method::Thin)),
        }
    }

    /// A session with `larder-node`; `None` if there is no program for the node, and nobody insists.
    async fn session(&self, facts: &Facts) -> Result<Option<Session<'_>>> {
        let (programs, insists) = (&self.options.programs, self.options.method.is_some());
        if !insists && !programs.has(&facts.architecture) {
            return Ok(None);
        }
        if !facts.root {
            let (node, program) = (self.connection.node().name().to_owned(), "larder-node".to_owned());
            let said = "the user is not root and cannot become it by `sudo -n`".to_owned();
            return if insists { Err(Error::Forbidden { node, program, said }) } else { Ok(None) };
        }
        match Session::start(self.connection, programs, self.owner, self.packing).await {
            Ok(session) => Ok(Some(session)),
            // It does not run there, or cannot be put there: others do without.
            Err(error) if !insists && error.kind() == Kind::Unsupported => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn lacks(&self, facts: &Facts, runtime: Runtime) -> Result<Vec<Lack<'_>>> {
        let mut lacks = Vec::with_capacity(self.shipments.len());
        // A blob that several images share is sent with the first.
        let mut counted = HashSet::new();
        for shipment in self.shipments {
            if !shipment.fits(&facts.platform()) {
                return Err(self.unfit(shipment, facts));
            }
            let lack = match runtime {
                Runtime::Containerd => {
                    let digests = containerd::lacking(shipment, facts);
                    let fresh = shipment.pieces().iter().filter(|piece| {
                        digests.contains(piece.blob.digest()) && counted.insert(*piece.blob.digest())
                    });
                    let bytes = fresh.map(|piece| piece.blob.size()).sum();
                    let is_named =
                        shipment.names().iter().all(|name| containerd::flaw(shipment, name, facts).is_none());
                    Lack { shipment, digests, bytes, is_named }
                }
                Runtime::Docker => {
                    let image = self.docker_image(shipment, facts)?;
                    let digests = docker::lacking(image, &facts.docker);
                    let blobs = image.layers.iter().filter(|(_, diff_id)| digests.contains(diff_id));
                    let blobs: HashSet<Digest> = blobs.map(|(blob, _)| *blob).collect();
                    let fresh = shipment.pieces().iter().filter(|piece| {
                        blobs.contains(piece.blob.digest()) && counted.insert(*piece.blob.digest())
                    });
                    let bytes = fresh.map(|piece| piece.blob.size()).sum();
                    let is_named = docker::flaw(shipment, image, facts).is_none();
                    Lack { shipment, digests, bytes, is_named }
                }
            };
            lacks.push(lack);
        }
        Ok(lacks)
    }

    fn docker_image<'a>(&self, shipment: &'a Shipment, facts: &Facts) -> Result<&'a crate::ShippedImage> {
        docker::image(shipment, facts).ok_or_else(|| self.unfit(shipment, facts))
    }

    fn unfit(&self, shipment: &Shipment, facts: &Facts) -> Error {
        let (image, platform) = (shipment.name().familiar(), facts.platform());
        Error::Unsupported {
            node: self.connection.node().name().into(),
            reason: format!("it is of {platform}, and {image} is not here for that"),
            hint: "deliver with --platform and that of the node; several may be given",
        }
    }

    /// Refuses what cannot fit before anything is sent.
    async fn check_room(&self, missing: u64) -> Result<Facts> {
        let node = self.connection.node();
        let facts = Facts::of(self.connection, Depth::Full).await?;
        // Packed once in the content store, and before that in a spool or a file; unpacked layers are about three times as large.
        let is_kept = matches!(self.options.method, None | Some(Method::Agent | Method::Archive));
        let spooled = if is_kept { missing } else { 0 };
        let unpacked = if self.options.unpack { missing.saturating_mul(3) } else { 0 };
        // By device: what is on one disk has to fit there together.
        let mut disks: HashMap<u64, (&Room, u64)> = HashMap::new();
        for (name, needed) in [("spool", spooled), ("content", missing), ("unpacked", unpacked)] {
            if let Some(room) = facts.rooms.get(name) {
                let disk = disks.entry(room.device).or_insert((room, 0));
                *disk = (room, disk.1.saturating_add(needed));
            }
        }
        if let Some((room, needed)) = disks.into_values().find(|(room, needed)| room.bytes < *needed) {
            let (directory, free) = (room.directory.clone(), room.bytes);
            return Err(Error::Full { node: node.name().into(), directory, free, needed });
        }
        Ok(facts)
    }

    async fn pull_by_containerd(&self, facts: &Facts, lacks: &[Lack<'_>]) -> Result<()> {
        let node = self.connection.node();
        let registry = self.options.registry.as_ref().ok_or_else(|| Error::Unsupported {
            node: node.name().into(),
            reason: "there is no registry to pull from".into(),
            hint: "",
        })?;
        let runtime =
            Containerd { host: Host::Ssh(self.connection), socket: containerd::socket(facts, node)? };
        let unpacking = self.unpacking();
        let is_new = containerd::is_new(facts);
        let tunnel = Tunnel::open(self.connection, registry, self.flow).await?;
        let pulled = async {
            for lack in lacks.iter().filter(|lack| !lack.is_whole()) {
                for name in lack.shipment.names() {
                    runtime.pull(&name, &tunnel.hosts_dir, is_new, &unpacking).await?;
                }
            }
            Ok(())
        };
        let pulled = pulled.await;
        let closed = tunnel.close(self.connection).await;
        pulled.and(closed)?;
        self.verify_containerd().await
    }

    fn unpacking(&self) -> Unpacking {
        Unpacking { is_off: !self.options.unpack, snapshotter: self.options.snapshotter.clone() }
    }

    async fn verify_containerd(&self) -> Result<()> {
        let after = Facts::of(self.connection, Depth::Brief).await?;
        self.verify(|shipment| {
            shipment.names().iter().find_map(|name| containerd::flaw(shipment, name, &after))
        })
    }

    async fn fill_containerd(&self, host: Host<'_>, facts: &Facts, lacks: &[Lack<'_>]) -> Result<()> {
        let node = self.connection.node();
        let runtime = Containerd { host, socket: containerd::socket(facts, node)? };
        let is_new = containerd::is_new(facts);
        let now = (self.options.clock)();
        let unpacking = self.unpacking();
        let snapshots = match host {
            Host::Agent(session) => Snapshots::of(session, &runtime, facts, &unpacking),
            Host::Ssh(_) => None,
        };
        let mut here: HashSet<Digest> = HashSet::new();
        let mut incoming = Vec::new();
        for lack in lacks.iter().filter(|lack| !lack.is_whole()) {
            let name = Containerd::incoming(lack.shipment.digest(), now, self.owner);
            let send: HashSet<Digest> = lack.digests.difference(&here).copied().collect();
            let archive = || Archive::layout(lack.shipment, &name, &facts.platform(), &send);
            match (self.options.method, &snapshots) {
                (Some(Method::Archive), _) => {
                    let (archive, rest) = archive().split();
                    let path = self.upload(&archive, lack.shipment.digest()).await?;
                    let imported = runtime.import_file(&path, &rest, is_new, &unpacking).await;
                    self.discard(&path).await?;
                    imported?;
                }
                (_, Some(snapshots)) => {
                    let incoming = Incoming { shipment: lack.shipment, name: &name, send: &send };
                    snapshots.import(&incoming, self.flow, is_new).await?;
                }
                (_, None) => runtime.import(&archive(), self.flow, is_new, &unpacking).await?,
            }
            here.extend(send);
            incoming.push((lack.shipment, name));
        }
        let after = Facts::of(self.connection, Depth::Brief).await?;
        for (shipment, name) in &incoming {
            if let Some(problem) = containerd::flaw(shipment, name, &after) {
                runtime.remove(std::slice::from_ref(name)).await?;
                let image = shipment.name().familiar();
                return Err(Error::NotThere { node: node.name().into(), image, problem });
            }
            runtime.name(name, &shipment.names()).await?;
        }
        let names: Vec<String> = incoming.into_iter().map(|(_, name)| name).collect();
        runtime.remove(&names).await?;
        self.verify_containerd().await
    }

    async fn fill_docker(&self, host: Host<'_>, facts: &Facts, lacks: &[Lack<'_>]) -> Result<()> {
        let node = self.connection.node();
        let runtime = Docker { host, socket: containerd::socket(facts, node)? };
        let mut present = facts.docker.clone();
        for lack in lacks.iter().filter(|lack| !lack.is_whole()) {
            let image = self.docker_image(lack.shipment, facts)?;
            let names = docker::names(lack.shipment.name());
            if present.iter().any(|present| present.id == image.config) {
                for name in &names {
                    runtime.name(&image.config, name).await?;
                }
                continue;
            }
            let archive = Archive::docker(lack.shipment, image, &names, &docker::lacking(image, &present))?;
            match self.options.method {
                Some(Method::Archive) => {
                    let path = self.upload(&archive, lack.shipment.digest()).await?;
                    let loaded = runtime.load_file(&path).await;
                    self.discard(&path).await?;
                    loaded?;
                }
                _ => runtime.load(&archive, self.flow).await?,
            }
            let layers = image.layers.iter().map(|(_, diff_id)| *diff_id).collect();
            present.push(crate::DockerImage { id: image.config, tags: names, layers });
        }
        let after = Facts::of(self.connection, Depth::Brief).await?;
        self.verify(|shipment| match docker::image(shipment, &after) {
            Some(image) => docker::flaw(shipment, image, &after),
            None => Some("it is for another platform".into()),
        })
    }

    fn verify(&self, flaw: impl Fn(&Shipment) -> Option<String>) -> Result<()> {
        for shipment in self.shipments {
            if let Some(problem) = flaw(shipment) {
                let (node, image) = (self.connection.node().name().into(), shipment.name().familiar());
                return Err(Error::NotThere { node, image, problem });
            }
        }
        Ok(())
    }
}

/// Removes what a delivery left that failed for good.
pub(crate) async fn tidy_up(
    connection: &Connection,
    shipments: &[Arc<Shipment>],
    options: &DeliverOptions,
    owner: &str,
) -> Result<()> {
    let facts = Facts::of(connection, Depth::Brief).await?;
    match facts.runtime(connection.node().name())? {
        Runtime::Containerd => tidy(connection, &facts, shipments, options, owner).await,
        Runtime::Docker => Ok(()),
    }
}

/// Removes the names and directories that deliveries left which were killed or failed. Last, since the blobs that the names hold
/// are counted on until the images have their own.
async fn tidy(
    connection: &Connection,
    before: &Facts,
    shipments: &[Arc<Shipment>],
    options: &DeliverOptions,
    owner: &str,
) -> Result<()> {
    let node = connection.node();
    let ours = format!("{}/tunnel-", node.directory);
    let left: Vec<&str> =
        before.left.iter().map(String::as_str).filter(|path| path.starts_with(&ours)).collect();
    if !left.is_empty() {
        let removed = connection.run(&[&["rm", "-rf", "--"], &left[..]].concat(), b"").await?;
        removed.success(node.name(), "rm")?;
    }
    let left = Containerd::leftovers(before, shipments, (options.clock)(), owner);
    let socket = containerd::socket(before, node)?;
    Containerd { host: Host::Ssh(connection), socket }.remove(&left).await
}

impl Lack<'_> {
    fn is_whole(&self) -> bool {
        self.is_named && self.digests.is_empty()
    }
}
