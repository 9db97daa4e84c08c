//! `larder deliver`.

use super::pull;
use crate::exit::Exit;
use crate::fleet::{self, Delivery, Nodes};
use crate::invocation::Invocation;
use crate::problem::Problem;
use crate::table::Table;
use crate::words::{count, size, took};
use anyhow::Result;
use larder_core::Reference;
use larder_engine::nodes::{DeliverOptions, ImageState, Method};
use larder_engine::{DeliverReport, DeliverRequest, Lock, NodeOutcome};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Bring images to nodes over SSH
///
/// Each node is asked what it has, and gets only what it lacks, under the original names and digests; afterwards it is
/// asked again. An image is visible on a node only when it is whole. Images that are not in the store are pulled first.
/// An interrupted delivery is continued by the same command. If one node fails, the others go on; the summary names it
/// and the exit code is not 0.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Images: [REGISTRY/]REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "REF", required_unless_present_any = ["from_file", "lock"])]
    references: Vec<Reference>,

    /// Also those listed in this file: one per line, # starts a comment, - is standard input
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    /// Also those of this lock file, by their digests
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,

    #[command(flatten)]
    nodes: Nodes,

    /// How: agent keeps what arrived on the node, thin goes straight into the runtime's import, tunnel lets the node
    /// pull through the connection, archive is a file by SFTP [default: the best that a node offers]
    #[arg(long, value_enum, value_name = "METHOD")]
    method: Option<Way>,

    /// The larder-node to put on nodes [default: larder-node-ARCH in `node_binaries`, or beside larder]
    #[arg(long, value_name = "FILE")]
    node_binary: Option<PathBuf>,

    #[command(flatten)]
    delivery: Delivery,

    /// Only say what would be sent
    #[arg(long)]
    dry_run: bool,

    /// Unpack for this snapshotter [default: that of containerd]
    #[arg(long, value_name = "NAME", conflicts_with = "no_unpack")]
    snapshotter: Option<String>,
}

/// The methods, as arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Way {
    Agent,
    Thin,
    Tunnel,
    Archive,
}

const EXAMPLES: &str = "\
Examples:
  larder deliver debian:12 --node worker-1,worker-2
  larder deliver --lock larder.lock --node role=worker --limit-rate 20MB
  larder deliver registry.example/app:1 --node root@10.0.0.7:2222 --dry-run";

const DOCUMENT: &str = "\
JSON:
  {\"nodes\": [{\"node\", \"address\", \"method\", \"sent\", \"attempts\", \"elapsed\", and one of:
    \"images\": [{\"image\", \"digest\", \"state\": \"present\" | \"delivered\" | \"missing\", \"missing_bytes\"}],
    \"failure\": {\"message\", \"kind\", \"hints\": []}}]}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let references = pull::listed(&args.references, args.from_file.as_deref(), args.lock.is_some())?;
    let lock = args.lock.as_deref().map(Lock::read).transpose()?;
    let engine = invocation.engine()?;
    let fleet = args.nodes.fleet(engine.config(), invocation)?;
    let fleet = match &args.delivery.namespace {
        Some(namespace) => fleet.in_namespace(namespace)?,
        None => fleet,
    };
    let options = DeliverOptions {
        method: args.method.map(Way::method),
        programs: Arc::new(fleet::node_programs(
            args.node_binary.clone(),
            engine.config(),
            args.method == Some(Way::Agent),
        )),
        registry: None,
        attempts: args.delivery.retries,
        jobs: fleet::at_once(invocation),
        limit: args.delivery.limit_rate,
        dry_run: args.dry_run,
        unpack: !args.delivery.no_unpack,
        snapshotter: args.snapshotter.clone(),
        clock: Arc::new(SystemTime::now),
        progress: invocation.terminal.progress(),
    };
    let request =
        DeliverRequest { references, lock, platforms: args.delivery.platforms.clone(), fleet, options };
    let report = invocation.wait(async move { engine.deliver(request).await })??;
    invocation.terminal.finish();
    tell(&report, invocation)
}

/// Shows a report, and what became of it all.
pub(super) fn tell(report: &DeliverReport, invocation: &Invocation) -> Result<Exit> {
    invocation.done(report, || table(report))?;
    for (node, failure) in report.failures() {
        let message = match failure.message.starts_with(node) {
            true => failure.message.clone(),
            false => format!("{node}: {}", failure.message),
        };
        invocation.terminal.complain(&Problem::new(&message, Exit::of(failure.kind), failure.hints.clone()));
    }
    let failed = report.failures().count();
    if failed > 0 {
        let names: Vec<&str> = report.failures().map(|(node, _)| node).collect();
        let all = count(report.nodes.len(), "node");
        invocation.terminal.note(&format!("{failed} of {all} failed: {}", names.join(", ")));
    }
    Ok(Exit::of_all(report.failures().map(|(_, failure)| failure.kind)))
}

fn table(report: &DeliverReport) -> String {
    let mut table = Table::new(&["NODE", "STATE", ">IMAGES", ">SENT", ">TIME", "METHOD", ">ATTEMPTS"]);
    for node in &report.nodes {
        let elapsed = took(Duration::from_millis(node.elapsed));
        let (state, images) = state(node);
        let method = node.method.map_or_else(|| "-".to_owned(), |method| method.to_string());
        let attempts = node.attempts.to_string();
        table.row([node.node.clone(), state, images, size(node.sent), elapsed, method, attempts]);
    }
    table.to_string()
}

fn state(node: &NodeOutcome) -> (String, String) {
    let Some(images) = &node.images else { return ("failed".into(), "-".into()) };
    let missing: u64 = images.iter().map(|image| image.missing_bytes).sum();
    let state = |wanted: ImageState| images.iter().filter(|image| image.state == wanted).count();
    let words = match (state(ImageState::Missing), state(ImageState::Delivered)) {
        (0, 0) => "up to date".to_owned(),
        (0, new) => format!("{new} delivered"),
        (absent, _) => format!("{absent} would be sent, {}", size(missing)),
    };
    (words, images.len().to_string())
}

impl Way {
    pub(super) fn method(self) -> Method {
        match self {
            Self::Agent => Method::Agent,
            Self::Thin => Method::Thin,
            Self::Tunnel => Method::Tunnel,
            Self::Archive => Method::Archive,
        }
    }
}
