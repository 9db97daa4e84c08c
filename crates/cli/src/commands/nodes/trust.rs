//! `larder nodes trust`.

use crate::exit::Exit;
use crate::fleet::Nodes;
use crate::invocation::Invocation;
use crate::problem::Problem;
use crate::table::Table;
use anyhow::{Context, Result};
use larder_engine::nodes::{self, ASKED, HostKeys, Node};
use larder_engine::{Error, Failure, Turn, replace_file};
use std::io::ErrorKind;
use std::path::Path;

/// Show a node's host keys, and record them
///
/// Without --accept, the keys that the node shows are printed and nothing is recorded: anybody in between could show some.
/// Compare a fingerprint with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` says on the node itself, then
/// give it with --accept. What is recorded is in HOME/known_hosts.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    nodes: Nodes,

    /// Record the key that has this fingerprint (SHA256:…)
    #[arg(long, value_name = "FINGERPRINT")]
    accept: Option<String>,

    /// Record whatever key it shows, without comparing: only on a network where nobody can be in between
    #[arg(long, conflicts_with = "accept")]
    accept_any: bool,

    /// Also where another key was recorded before: the machine was installed again
    #[arg(long)]
    replace: bool,
}

const EXAMPLES: &str = "\
Examples:
  larder nodes trust --node worker-1
  larder nodes trust --node worker-1 --accept SHA256:Vh0p…

JSON:
  {\"nodes\": [{\"node\", \"keys\": [{\"type\", \"fingerprint\", \"recorded\"}] or
    \"failure\": {\"message\", \"kind\", \"hints\": []}}]}";

/// The host keys of a node, or why they are not known.
type Answer = (Node, nodes::Result<HostKeys>);

#[derive(serde::Serialize)]
struct Shown {
    node: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    keys: Option<HostKeys>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

pub(super) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let config = invocation.settings()?.config;
    let fleet = args.nodes.fleet(&config, invocation)?;
    let jobs = invocation.global.jobs.unwrap_or(ASKED);
    let answers = invocation.wait(async move { fleet.host_keys(jobs).await })?;
    let shown = match args.accept_any || args.accept.is_some() {
        true => record(args, &config.home.join("known_hosts"), answers)?,
        false => answers,
    };
    let shown: Vec<Shown> = shown.into_iter().map(|(node, keys)| Shown::of(&node, keys)).collect();
    invocation.done(&serde_json::json!({ "nodes": shown }), || table(&shown))?;
    for failure in shown.iter().filter_map(|node| node.failure.as_ref()) {
        let problem = Problem::new(&failure.message, Exit::of(failure.kind), failure.hints.clone());
        invocation.terminal.complain(&problem);
    }
    Ok(Exit::of_all(shown.iter().filter_map(|node| Some(node.failure.as_ref()?.kind))))
}

/// Records what is accepted of each node; what is wrong with one is no reason not to record another's.
fn record(args: &Args, path: &Path, answers: Vec<Answer>) -> Result<Vec<Answer>> {
    let _turn = Turn::at(path)?;
    let before = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut known = before.clone();
    let mut recorded = Vec::with_capacity(answers.len());
    for (node, keys) in answers {
        let keys = keys.and_then(|mut keys| {
            known = keys.recorded_in(&known, args.accept.as_deref(), args.replace)?;
            Ok(keys)
        });
        recorded.push((node, keys));
    }
    if known != before {
        replace_file(path, known.as_bytes())?;
    }
    Ok(recorded)
}

impl Shown {
    fn of(node: &Node, keys: nodes::Result<HostKeys>) -> Self {
        let (keys, failure) = match keys {
            Ok(keys) => (Some(keys), None),
            Err(error) => (None, Some(Failure::from(&Error::from(error)))),
        };
        Self { node: node.name().to_owned(), keys, failure }
    }
}

fn table(shown: &[Shown]) -> String {
    let mut table = Table::new(&["NODE", "TYPE", "FINGERPRINT", "RECORDED"]);
    for node in shown {
        let Some(keys) = &node.keys else {
            table.row([node.node.as_str(), "-", "-", "-"]);
            continue;
        };
        for key in keys.keys() {
            let recorded = if key.recorded { "yes" } else { "no" };
            table.row([node.node.as_str(), &key.kind, &key.fingerprint, recorded]);
        }
    }
    table.to_string()
}
