//! `larder package ensure`.

use super::add::{self, Manner};
use super::architectures;
use crate::exit::Exit;
use crate::fleet::{self, Nodes};
use crate::invocation::Invocation;
use crate::problem::{Problem, Usage};
use crate::table::Table;
use crate::words::{count, size, took};
use anyhow::Result;
use larder_engine::nodes::{PlacementOptions, Rate};
use larder_engine::{NodePackages, PlacementRequest, PlacementsReport, Wish};
use std::time::Duration;

/// See to it that packages are in the store and, with --node, on nodes
///
/// On a node it is /usr/local/src/NAME/NAME-VERSION-ARCH.tar.zst, for the node's architecture. What is there is hashed there,
/// and only what is missing or different is sent; an interrupted transfer continues at the byte where it stopped. If one
/// node fails, the others go on; the summary names it and the exit code is not 0.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Packages: NAME, NAME@VERSION, NAME@latest
    #[arg(value_name = "NAME[@VERSION]", required = true)]
    wishes: Vec<Wish>,

    #[command(flatten)]
    manner: Manner,

    #[command(flatten)]
    sending: Sending,
}

/// To which nodes, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Sending {
    #[command(flatten)]
    pub(super) nodes: Nodes,

    /// At most so many bytes per second to all nodes together, as in 20MB
    #[arg(long, value_name = "RATE", value_parser = str::parse::<Rate>)]
    limit_rate: Option<Rate>,

    /// Attempts without progress before a node is given up
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    retries: u32,
}

const EXAMPLES: &str = "\
Examples:
  larder package ensure containerd runc cni-plugins
  larder package ensure kubelet@1.33.4 kubeadm@1.33.4 --node all
  larder package ensure helm --node root@10.0.0.7";

const DOCUMENT: &str = "\
JSON: without --node as `larder package add`, else
  {\"nodes\": [{\"node\", \"address\", \"architecture\", \"sent\", \"attempts\", \"elapsed\", and one of:
    \"packages\": [{\"title\", \"path\", \"was_there\"}], \"failure\": {\"message\", \"kind\", \"hints\": []}}]}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let Args { wishes, manner, sending } = args;
    if sending.nodes.selectors.is_empty() {
        let orders = add::orders(wishes, &architectures(&manner.arch), |order| {
            order.require_signature = manner.require_signature;
        });
        let report = add::fetch(orders, invocation)?;
        return add::tell(&report, invocation);
    }
    if !manner.arch.is_empty() {
        return Err(Usage::new("--arch and --node exclude each other: nodes get what fits them").into());
    }
    let report = sending.place(wishes, manner.require_signature, false, invocation)?;
    tell(&report, invocation)
}

impl Sending {
    /// Brings packages to the nodes.
    pub(super) fn place(
        &self,
        wishes: &[Wish],
        require_signature: bool,
        install: bool,
        invocation: &Invocation,
    ) -> Result<PlacementsReport> {
        let engine = invocation.engine()?;
        let fleet = self.nodes.fleet(engine.config(), invocation)?;
        let options = PlacementOptions {
            jobs: fleet::at_once(invocation),
            attempts: self.retries,
            limit: self.limit_rate,
            progress: invocation.terminal.progress(),
        };
        let request =
            PlacementRequest { wishes: wishes.to_vec(), require_signature, fleet, options, install };
        let report = invocation.wait(async move { engine.place_packages(request).await })??;
        invocation.terminal.finish();
        Ok(report)
    }
}

/// Shows what became of the nodes.
pub(super) fn tell(report: &PlacementsReport, invocation: &Invocation) -> Result<Exit> {
    invocation.done(report, || table(report))?;
    for (node, failure) in report.failures() {
        let message = match failure.message.starts_with(node) {
            true => failure.message.clone(),
            false => format!("{node}: {}", failure.message),
        };
        invocation.terminal.complain(&Problem::new(&message, Exit::of(failure.kind), failure.hints.clone()));
    }
    let names: Vec<&str> = report.failures().map(|(node, _)| node).collect();
    if !names.is_empty() {
        let all = count(report.nodes.len(), "node");
        invocation.terminal.note(&format!("{} of {all} failed: {}", names.len(), names.join(", ")));
    }
    Ok(Exit::of_all(report.failures().map(|(_, failure)| failure.kind)))
}

fn table(report: &PlacementsReport) -> String {
    let mut table = Table::new(&["NODE", "STATE", "ARCH", ">SENT", ">TIME"]);
    for node in &report.nodes {
        let elapsed = took(Duration::from_millis(node.elapsed));
        let architecture = node.architecture.clone().unwrap_or_default();
        table.row([node.node.clone(), state(node), architecture, size(node.sent), elapsed]);
    }
    table.to_string()
}

fn state(node: &NodePackages) -> String {
    if node.failure.is_some() {
        return "failed".into();
    }
    if let Some(returned) = &node.returned {
        let now =
            |current: &Option<String>| current.clone().unwrap_or_else(|| "what was there before".into());
        let all: Vec<String> = returned.iter().map(|installed| now(&installed.current)).collect();
        return format!("back to {}", all.join(", "));
    }
    let placed = node.packages.as_deref().unwrap_or_default();
    let sent = placed.iter().filter(|placed| !placed.was_there).count();
    let changed = placed
        .iter()
        .filter_map(|placed| placed.installed.as_ref())
        .filter(|installed| installed.state == larder_engine::nodes::State::Installed)
        .count();
    let installs = placed.iter().any(|placed| placed.installed.is_some());
    match (sent, changed) {
        (0, 0) => "up to date".into(),
        (sent, _) if !installs => format!("{} sent", count(sent, "package")),
        (sent, changed) => format!("{} sent, {changed} installed", count(sent, "package")),
    }
}
