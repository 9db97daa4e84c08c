//! `larder preheat`.

use crate::commands::deliver::Way;
use crate::commands::discover;
use crate::exit::Exit;
use crate::fleet::{self, Delivery, Nodes};
use crate::invocation::{self, Invocation};
use crate::problem::Usage;
use crate::sources::Reading;
use anyhow::{Context as _, Result};
use larder_core::Reference;
use larder_engine::nodes::{DeliverOptions, Pattern};
use larder_engine::{Config, Engine, Lock, PreheatLoad, PreheatRequest, PreheatSet, PreheatState, Sureness};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::SystemTime;

mod background;
mod cancel;
mod report;
mod rollback;
mod status;
mod watch;

/// Bring sets of images to sets of nodes, or leave the nodes as they were
///
/// Like `larder deliver`, for a whole cluster: which nodes get which images is in a plan, or in flags. A node that does not
/// get all of its images is made what it was before: images that came go, names that moved go back. An interrupted preheat
/// is continued by the same command; `larder preheat rollback` takes it back.
#[derive(Debug, clap::Args)]
#[command(
    after_help = EXAMPLES,
    after_long_help = format!("{EXAMPLES}\n\n{PLAN}\n\n{}", report::DOCUMENT),
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Option<Verb>,

    #[command(flatten)]
    order: Order,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    Status(status::Args),
    Watch(watch::Args),
    Cancel(cancel::Args),
    Rollback(rollback::Args),
}

#[derive(Debug, clap::Args)]
struct Order {
    /// Images: [REGISTRY/]REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "REF", required_unless_present_any = ["plan", "lock", "sources"])]
    references: Vec<Reference>,

    /// Which nodes get which images, in a file
    #[arg(long, value_name = "FILE", conflicts_with_all = ["references", "lock", "sources", "matching", "selectors"])]
    plan: Option<PathBuf>,

    /// The images of this lock file, by their digests
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,

    /// The images that this asks for: a file, a directory, a chart with its own values, as for `larder discover`; may be given several
    /// times. For other values, make a lock file: `larder lock CHART --values FILE`
    #[arg(long = "source", value_name = "SOURCE")]
    sources: Vec<String>,

    /// Of the lock file and the sources only images with such names, as in */kube-*; may be given several times
    #[arg(long = "match", value_name = "PATTERN")]
    matching: Vec<String>,

    #[command(flatten)]
    nodes: Nodes,

    /// Go on by itself, and return: `larder preheat watch` shows how it goes
    #[arg(long)]
    background: bool,

    /// This is what goes on by itself
    #[arg(long, hide = true, conflicts_with = "background")]
    detached: bool,

    /// Leave what came on nodes that did not get all images
    #[arg(long)]
    keep: bool,

    /// If one node fails, make all nodes what they were before
    #[arg(long, conflicts_with = "keep")]
    all_or_nothing: bool,

    /// How, as for `larder deliver` [default: the best that a node offers]
    #[arg(long, value_enum, value_name = "METHOD")]
    method: Option<Way>,

    #[command(flatten)]
    delivery: Delivery,
}

const EXAMPLES: &str = "\
Examples:
  larder preheat --lock larder.lock --node all
  larder preheat --lock larder.lock --match '*/kube-*' --node role=control-plane
  larder preheat --plan preheat.yaml --background --limit-rate 20MB
  larder preheat watch
  larder preheat rollback 20260131120000-3f2a01";

const PLAN: &str = "\
A plan is a list; paths in it start where it is:
  - nodes: [role=worker]             # as for --node
    lock: larder.lock                # any of lock, sources, images
    sources: [./manifests]
    match: ['registry.k8s.io/*']     # of lock and sources only these
  - nodes: [all]
    images: [debian:12]";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    match &args.verb {
        Some(Verb::Status(args)) => status::run(args, invocation),
        Some(Verb::Watch(args)) => watch::run(args, invocation),
        Some(Verb::Cancel(args)) => cancel::run(args, invocation),
        Some(Verb::Rollback(args)) => rollback::run(args, invocation),
        None if args.order.background => background::run(invocation),
        None => preheat(&args.order, invocation),
    }
}

fn preheat(order: &Order, invocation: &Invocation) -> Result<Exit> {
    if order.detached {
        background::detach();
    }
    let engine = invocation.engine()?;
    let inventory = order.nodes.inventory(engine.config())?;
    let loads = order.sets()?.into_iter().map(|set| load(set, invocation)).collect::<Result<_>>()?;
    let request = PreheatRequest {
        loads,
        inventory,
        ssh: fleet::ssh_options(engine.config(), invocation),
        namespace: order.delivery.namespace.clone(),
        platforms: order.delivery.platforms.clone(),
        options: DeliverOptions {
            attempts: order.delivery.retries,
            limit: order.delivery.limit_rate,
            unpack: !order.delivery.no_unpack,
            ..options(engine.config(), order.method, invocation)
        },
        keep: order.keep,
        all_or_nothing: order.all_or_nothing,
    };
    let name = Arc::new(OnceLock::new());
    let (told, detached) = (name.clone(), order.detached);
    let ended = go(engine, request, invocation, move |id| {
        let _ = told.set(id.to_owned());
        if detached {
            // Who started this waits for it. Nobody else reads it.
            let _ = invocation::print(format!("{id}\n").as_bytes());
        }
    });
    invocation.terminal.finish();
    match (ended, name.get()) {
        (Ok(state), _) if detached => Ok(report::exit(&state)),
        (Ok(state), _) => report::tell(&state, invocation),
        (Err(error), Some(id)) if error.is::<crate::problem::Interrupted>() => {
            let advice =
                format!("the same command goes on; `larder preheat rollback {id}` takes back what came");
            invocation.terminal.note(&advice);
            Err(error)
        }
        (Err(error), _) => Err(error),
    }
}

fn go(
    engine: Engine,
    request: PreheatRequest,
    invocation: &Invocation,
    begun: impl FnOnce(&str) + Send + 'static,
) -> Result<PreheatState> {
    Ok(invocation.wait(async move { engine.preheat(request, begun).await })??)
}

/// How images are delivered where nothing is said.
fn options(config: &Config, method: Option<Way>, invocation: &Invocation) -> DeliverOptions {
    DeliverOptions {
        method: method.map(Way::method),
        programs: Arc::new(fleet::node_programs(None, config, method == Some(Way::Agent))),
        registry: None,
        attempts: 6,
        jobs: fleet::at_once(invocation),
        limit: None,
        dry_run: false,
        unpack: true,
        snapshotter: None,
        clock: Arc::new(SystemTime::now),
        progress: invocation.terminal.progress(),
    }
}

impl Order {
    fn sets(&self) -> Result<Vec<PreheatSet>> {
        if let Some(plan) = &self.plan {
            return Ok(PreheatSet::read_plan(plan)?);
        }
        if self.nodes.selectors.is_empty() {
            return Err(Usage::new("which nodes? --node is missing")
                .hint(
                    "--node all is all of the inventory; --plan says in a file which nodes get which images",
                )
                .into());
        }
        if !self.matching.is_empty() && self.lock.is_none() && self.sources.is_empty() {
            return Err(Usage::new("--match is for the images of --lock and --source").into());
        }
        Ok(vec![PreheatSet {
            nodes: self.nodes.selectors.clone(),
            images: self.references.clone(),
            lock: self.lock.clone(),
            sources: self.sources.clone(),
            matching: self.matching.iter().map(Pattern::new).collect(),
        }])
    }
}

/// The images of a set, read from where it says.
fn load(set: PreheatSet, invocation: &Invocation) -> Result<PreheatLoad> {
    let mut lock = set.lock.as_deref().map(Lock::read).transpose()?;
    if let Some(lock) = &mut lock {
        lock.images.retain(|locked| set.means(&locked.image));
    }
    let mut references = set.images.clone();
    if !set.sources.is_empty() {
        let reading = Reading::default();
        let options = reading.survey_options().context("the built-in rules are fine")?;
        let discovery = discover::discover(&set.sources, &reading.rendering, &options, false, invocation)?;
        // Half of the images of a cluster are no cluster.
        if discover::told(&discovery, invocation) != Exit::Done {
            return Err(
                Usage::new(format!("cannot preheat what is not known: {}", set.sources.join(", "))).into()
            );
        }
        let found = discovery.at_least(Sureness::Likely).map(|asked| asked.image.clone());
        references.extend(found.filter(|image| set.means(image)));
    }
    if references.is_empty() && lock.as_ref().is_none_or(|lock| lock.images.is_empty()) {
        let nodes: Vec<String> = set.nodes.iter().map(ToString::to_string).collect();
        return Err(Usage::new(format!("there are no images for {}", nodes.join(", "))).into());
    }
    Ok(PreheatLoad { nodes: set.nodes, references, lock })
}
