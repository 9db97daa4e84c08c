//! `preheat`: bring sets of images to sets of nodes, or leave the nodes as they were.

mod plan;
mod run;
mod state;

use crate::lock::Lock;
use crate::{DeliverRequest, Engine, Error, Failure, Result};
use larder_core::{Digest, Platform, Reference};
use larder_nodes::{ASKED, Convoy, DeliverOptions, Fleet, Inventory, Node, Selector, Shipment, SshOptions};
pub use plan::PreheatSet;
use run::Run;
pub use state::{NodePhase, PreheatPhase, PreheatState, PreheatedNode, Preheats};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// What to preheat.
pub struct PreheatRequest {
    /// Which nodes get which images.
    pub loads: Vec<PreheatLoad>,
    /// The nodes there are.
    pub inventory: Inventory,
    /// How they are reached.
    pub ssh: SshOptions,
    /// The namespace of containerd, if it is not that of the inventory.
    pub namespace: Option<String>,
    /// For which platforms; empty means those of the lock files, or the configured ones.
    pub platforms: Vec<Platform>,
    /// How images are delivered.
    pub options: DeliverOptions,
    /// What came stays where not all came.
    pub keep: bool,
    /// If one node fails, all go back.
    pub all_or_nothing: bool,
}

/// Images for nodes.
#[derive(Debug, Clone, Default)]
pub struct PreheatLoad {
    /// Which nodes.
    pub nodes: Vec<Selector>,
    /// Images by name.
    pub references: Vec<Reference>,
    /// Images by digest.
    pub lock: Option<Lock>,
}

/// One node of a plan.
struct Share {
    node: Node,
    selector: String,
    names: Vec<Reference>,
}

impl Engine {
    /// Brings all nodes their images. A node that does not get all of them is made what it was before, or kept as it is. An
    /// interrupted preheat of the same images to the same nodes is continued.
    ///
    /// `begun` is told its name, as soon as it has one.
    ///
    /// # Errors
    /// When an image cannot be had, the same preheat is running, or what happens cannot be written down. What one node lacks in
    /// the end is in the report.
    pub async fn preheat(
        &self,
        request: PreheatRequest,
        begun: impl FnOnce(&str) + Send,
    ) -> Result<PreheatState> {
        let lock = merged(&request.loads)?;
        let shares = shares(&request)?;
        let mut options = request.options.clone();
        let run = self.begin(&request, &shares, lock.as_ref())?;
        begun(run.id());
        let (watcher, shown) = (run.clone(), request.options.progress.clone());
        options.progress = Arc::new(move |event| {
            watcher.watch(&event);
            shown(event);
        });
        let ticker = run.clone();
        let ticking = Ticking(tokio::spawn(async move { ticker.tick().await }));
        let fleet = fleet(&request.ssh, &shares, request.namespace.as_deref())?;
        let lease = self.lease("preheat")?;
        let mut references: Vec<Reference> =
            request.loads.iter().flat_map(|load| load.references.clone()).collect();
        references.sort();
        references.dedup();
        let wanted = DeliverRequest {
            references,
            lock,
            platforms: request.platforms.clone(),
            fleet: fleet.clone(),
            options: options.clone(),
        };
        let shipments = tokio::select! {
            shipments = self.shipments(&wanted, &lease) => shipments,
            () = run.cancelled() => Err(Error::Cancelled { id: run.id().to_owned() }),
        };
        let shipments = match shipments {
            Ok(shipments) => shipments,
            Err(error) => return self.give_up(&run, &fleet, &options, error).await,
        };
        let _registry = self.lend_for(&mut options, &shipments).await?;
        run.record(|state| state.phase = PreheatPhase::Sending)?;
        let convoy = Convoy::new(&options);
        let loads = Arc::new(loads(&shares, &shipments));
        let brought = fleet.each(ASKED.max(options.jobs), |fleet, node| {
            let (run, loads, options, convoy) = (run.clone(), loads.clone(), options.clone(), convoy.clone());
            async move {
                let shipments = loads.get(node.name()).map(Vec::as_slice).unwrap_or_default();
                run.bring(&fleet, &node, shipments, &options, &convoy).await
            }
        });
        brought.await.into_iter().collect::<Result<()>>()?;
        end(&run, &fleet, &request, &options).await?;
        drop(ticking);
        let state = run.state().clone();
        Ok(state)
    }

    /// Takes back what a preheat did, one that was interrupted or one that is over. What somebody else changed since stays.
    ///
    /// # Errors
    /// When there is no such preheat, it is running, or its nodes are not in the inventory any more.
    pub async fn roll_back_preheat(
        &self,
        id: &str,
        inventory: Option<Inventory>,
        ssh: SshOptions,
        options: &DeliverOptions,
    ) -> Result<PreheatState> {
        let preheats = Preheats::of(&self.config().home);
        let state = preheats.read(id)?;
        let hold = preheats.hold(id)?;
        let inventory = match inventory {
            Some(inventory) => inventory,
            None => Inventory::read(&state.inventory)?,
        };
        let mut shares = Vec::with_capacity(state.nodes.len());
        for entry in &state.nodes {
            let selected = inventory.select(&[entry.selector.parse()?])?;
            let node = selected.into_iter().find(|node| node.name() == entry.node);
            let gone = || larder_nodes::Error::NoNode {
                selector: entry.node.clone(),
                inventory: inventory.path().to_owned(),
                known: Vec::new(),
            };
            shares.push(Share {
                node: node.ok_or_else(gone)?,
                selector: entry.selector.clone(),
                names: Vec::new(),
            });
        }
        let fleet = fleet(&ssh, &shares, state.namespace.as_deref())?;
        let run = Run::new(preheats, state, hold)?;
        run.record(|state| state.phase = PreheatPhase::RollingBack)?;
        let taken = fleet.each(options.jobs, |fleet, node| {
            let run = run.clone();
            async move { run.take_back(&fleet, &node).await }
        });
        taken.await.into_iter().collect::<Result<()>>()?;
        run.finish(PreheatPhase::RolledBack, options)?;
        let state = run.state().clone();
        Ok(state)
    }

    /// Goes on with what was interrupted, or begins.
    fn begin(&self, request: &PreheatRequest, shares: &[Share], lock: Option<&Lock>) -> Result<Arc<Run>> {
        let preheats = Preheats::of(&self.config().home);
        let plan = plan_of(request, shares, lock);
        let now = (request.options.clock)();
        preheats.prune()?;
        let known = preheats.all()?;
        if let Some(running) = known.iter().find(|state| state.plan == plan && preheats.is_running(&state.id))
        {
            return Err(Error::Running { id: running.id.clone() });
        }
        let (mut state, hold) = match known
            .into_iter()
            .rev()
            .find(|state| state.plan == plan && state.is_open())
        {
            Some(state) => {
                let hold = preheats.hold(&state.id)?;
                // Somebody may have gone on in between.
                (preheats.read(&state.id)?, hold)
            }
            None => {
                let started = now.duration_since(UNIX_EPOCH).unwrap_or_default();
                let id = format!(
                    "{}-{}",
                    crate::Timestamp(now)
                        .to_string()
                        .chars()
                        .filter(char::is_ascii_digit)
                        .take(14)
                        .collect::<String>(),
                    &plan[..6]
                );
                let hold = preheats.hold(&id)?;
                (PreheatState::new(id, plan, started.as_secs(), request.inventory.path().to_owned()), hold)
            }
        };
        state.phase = PreheatPhase::Preparing;
        state.ended = None;
        state.failure = None;
        state.namespace.clone_from(&request.namespace);
        let known = std::mem::take(&mut state.nodes);
        state.nodes = shares
            .iter()
            .map(|share| PreheatedNode {
                node: share.node.name().to_owned(),
                address: share.node.address(),
                selector: share.selector.clone(),
                phase: NodePhase::Waiting,
                images: share.names.len(),
                delivered: Vec::new(),
                missing: 0,
                sent: 0,
                attempts: 0,
                elapsed: 0,
                before: known
                    .iter()
                    .find(|entry| entry.node == share.node.name())
                    .and_then(|entry| entry.before.clone()),
                rolled_back: None,
                failure: None,
                stuck: None,
            })
            .collect();
        Run::new(preheats, state, hold)
    }

    /// The images cannot be had. What an interrupted run brought goes, too.
    async fn give_up(
        &self,
        run: &Arc<Run>,
        fleet: &Fleet,
        options: &DeliverOptions,
        error: Error,
    ) -> Result<PreheatState> {
        take_back(run, fleet, options, |_| true).await?;
        let phase = if run.is_cancelled() { PreheatPhase::Cancelled } else { PreheatPhase::Failed };
        run.record(|state| state.failure = Some(Failure::from(&error)))?;
        run.finish(phase, options)?;
        Err(error)
    }
}

/// Writes progress for as long as it lives.
struct Ticking(tokio::task::JoinHandle<()>);

impl Drop for Ticking {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What happens when all nodes have or have not what they should.
async fn end(
    run: &Arc<Run>,
    fleet: &Fleet,
    request: &PreheatRequest,
    options: &DeliverOptions,
) -> Result<()> {
    let any = run.state().nodes.iter().any(|entry| entry.phase != NodePhase::Done);
    if any && !request.keep {
        run.record(|state| state.phase = PreheatPhase::RollingBack)?;
        let all = request.all_or_nothing || run.is_cancelled();
        take_back(run, fleet, options, |phase| all || phase != NodePhase::Done).await?;
    } else if any {
        run.record(|state| {
            let failed = state.nodes.iter_mut().filter(|entry| entry.phase == NodePhase::Failed);
            failed.filter(|entry| entry.before.is_some()).for_each(|entry| entry.phase = NodePhase::Kept);
        })?;
    }
    fleet
        .each(options.jobs, |fleet, node| {
            let run = run.clone();
            async move {
                let phase =
                    run.state().nodes.iter().find(|entry| entry.node == node.name()).map(|entry| entry.phase);
                if matches!(phase, Some(NodePhase::Done | NodePhase::Kept)) {
                    run.release(&fleet, &node).await;
                }
            }
        })
        .await;
    let phase = match (run.is_cancelled() && any, any) {
        (true, _) => PreheatPhase::Cancelled,
        (_, true) => PreheatPhase::Failed,
        (_, false) => PreheatPhase::Done,
    };
    run.finish(phase, options)
}

/// Makes nodes what they were before.
async fn take_back(
    run: &Arc<Run>,
    fleet: &Fleet,
    options: &DeliverOptions,
    which: impl Fn(NodePhase) -> bool,
) -> Result<()> {
    let chosen: Arc<Vec<String>> = {
        let state = run.state();
        let chosen = state.nodes.iter().filter(|entry| which(entry.phase)).map(|entry| entry.node.clone());
        Arc::new(chosen.collect())
    };
    let taken = fleet.each(options.jobs, |fleet, node| {
        let (run, chosen) = (run.clone(), chosen.clone());
        async move {
            match chosen.iter().any(|name| name == node.name()) {
                true => run.take_back(&fleet, &node).await,
                false => Ok(()),
            }
        }
    });
    taken.await.into_iter().collect()
}

/// The lock files of all sets in one.
fn merged(loads: &[PreheatLoad]) -> Result<Option<Lock>> {
    let mut all: Option<Lock> = None;
    for lock in loads.iter().filter_map(|load| load.lock.as_ref()) {
        let Some(all) = &mut all else {
            all = Some(lock.clone());
            continue;
        };
        for platform in &lock.platforms {
            if !all.platforms.contains(platform) {
                all.platforms.push(platform.clone());
            }
        }
        for locked in &lock.images {
            match all.images.iter().find(|other| other.image == locked.image) {
                Some(other) if other.digest == locked.digest => {}
                Some(other) => {
                    return Err(Error::OtherDigest {
                        image: Box::new(locked.image.clone()),
                        wanted: Box::new(other.digest),
                        stands_for: Box::new(locked.digest),
                    });
                }
                None => all.images.push(locked.clone()),
            }
        }
    }
    Ok(all)
}

/// What each node is to have.
fn shares(request: &PreheatRequest) -> Result<Vec<Share>> {
    let mut shares: Vec<Share> = Vec::new();
    for load in &request.loads {
        let locked = load.lock.iter().flat_map(|lock| lock.images.iter().map(|locked| &locked.image));
        let names: Vec<&Reference> = load.references.iter().chain(locked).collect();
        for selector in &load.nodes {
            for node in request.inventory.select(std::slice::from_ref(selector))? {
                let is_known = request.inventory.nodes().iter().any(|other| other.name() == node.name());
                let at = shares.iter().position(|share| share.node.name() == node.name());
                let at = at.unwrap_or_else(|| {
                    let selector = if is_known { node.name().to_owned() } else { selector.to_string() };
                    shares.push(Share { node, selector, names: Vec::new() });
                    shares.len() - 1
                });
                let share = &mut shares[at];
                share.names.extend(names.iter().map(|name| (*name).clone()));
                share.names.sort();
                share.names.dedup();
            }
        }
    }
    Ok(shares)
}

/// The shipments of each node, by its name.
fn loads(shares: &[Share], shipments: &[Arc<Shipment>]) -> BTreeMap<String, Vec<Arc<Shipment>>> {
    let of = |share: &Share| {
        let mut own: Vec<Arc<Shipment>> = Vec::new();
        for shipment in shipments {
            let is_meant = share.names.binary_search(shipment.name()).is_ok();
            if is_meant && own.iter().all(|other| other.name() != shipment.name()) {
                own.push(shipment.clone());
            }
        }
        own
    };
    shares.iter().map(|share| (share.node.name().to_owned(), of(share))).collect()
}

fn fleet(ssh: &SshOptions, shares: &[Share], namespace: Option<&str>) -> Result<Fleet> {
    let fleet = Fleet::new(ssh.clone(), shares.iter().map(|share| share.node.clone()).collect())?;
    Ok(match namespace {
        Some(namespace) => fleet.in_namespace(namespace)?,
        None => fleet,
    })
}

/// What is the same for the same images on the same nodes.
fn plan_of(request: &PreheatRequest, shares: &[Share], lock: Option<&Lock>) -> String {
    let digest = |name: &Reference| {
        let locked = lock.and_then(|lock| lock.images.iter().find(|locked| locked.image == *name));
        locked.map(|locked| locked.digest.to_string()).unwrap_or_default()
    };
    let mut words: Vec<String> = shares
        .iter()
        .map(|share| {
            let names: Vec<String> =
                share.names.iter().map(|name| format!("{name} {}", digest(name))).collect();
            format!("{}\n{}\n{}\n", share.node.name(), share.node.address(), names.join("\n"))
        })
        .collect();
    words.sort();
    words.push(request.namespace.clone().unwrap_or_default());
    words.extend(request.platforms.iter().map(ToString::to_string));
    Digest::of(words.join("\0").as_bytes()).hex()
}
