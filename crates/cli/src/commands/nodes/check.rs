//! `larder nodes check`.

use crate::exit::Exit;
use crate::fleet::Nodes;
use crate::invocation::Invocation;
use crate::problem::Problem;
use crate::table::Table;
use crate::words::size;
use anyhow::Result;
use larder_core::Kind;
use larder_engine::nodes::{ASKED, Depth, Facts, Node};
use larder_engine::{Error, Failure, Selector};

/// Ask nodes whether they can be reached, and what they have
///
/// Without --node, all nodes of the inventory are asked. Nothing is changed there.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    nodes: Nodes,
}

const EXAMPLES: &str = "\
Examples:
  larder nodes check
  larder nodes check --node worker-*

JSON:
  {\"nodes\": [{\"node\", \"address\", \"facts\": {…} or \"failure\": {\"message\", \"kind\", \"hints\": []}}]}";

#[derive(serde::Serialize)]
struct Checked {
    node: String,
    address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    facts: Option<Facts>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
}

pub(super) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let config = invocation.settings()?.config;
    let every = Nodes { selectors: vec!["all".parse::<Selector>()?], ..args.nodes.clone() };
    let nodes = if args.nodes.selectors.is_empty() { &every } else { &args.nodes };
    let fleet = nodes.fleet(&config, invocation)?;
    // Nobody is sent anything: those that do not answer are not to hold up the others.
    let jobs = invocation.global.jobs.unwrap_or(ASKED);
    let answers = invocation.wait(async move { fleet.probe(Depth::Full, jobs).await })?;
    let checked: Vec<Checked> = answers.into_iter().map(|(node, facts)| judge(&node, facts)).collect();
    invocation.answer(&serde_json::json!({ "nodes": checked }), || table(&checked))?;
    for failure in checked.iter().filter_map(|node| node.failure.as_ref()) {
        let problem = Problem::new(&failure.message, Exit::of(failure.kind), failure.hints.clone());
        invocation.terminal.complain(&problem);
    }
    Ok(Exit::of_all(checked.iter().filter_map(|node| Some(node.failure.as_ref()?.kind))))
}

fn judge(node: &Node, facts: larder_engine::nodes::Result<Facts>) -> Checked {
    let (facts, failure) = match facts {
        Ok(facts) => {
            let failure = facts.runtime(node.name()).err().map(|error| Failure::from(&Error::from(error)));
            (Some(facts), failure)
        }
        Err(error) => (None, Some(Failure::from(&Error::from(error)))),
    };
    Checked { node: node.name().to_owned(), address: node.address(), facts, failure }
}

fn table(checked: &[Checked]) -> String {
    let mut table = Table::new(&["NODE", "STATE", "ARCHITECTURE", "RUNTIME", ">IMAGES", ">FREE"]);
    for node in checked {
        let state = match node.failure.as_ref().map(|failure| failure.kind) {
            None => "ok".to_owned(),
            Some(Kind::Unavailable) => "unreachable".to_owned(),
            Some(kind) => kind.to_string(),
        };
        let Some(facts) = &node.facts else {
            table.row([node.node.as_str(), &state, "-", "-", "-", "-"]);
            continue;
        };
        let runtime = facts.runtime.map_or_else(|| "-".to_owned(), |it| format!("{it} {}", facts.version));
        let images = facts.images.len() + facts.docker.len();
        let room = facts.rooms.get("content").or_else(|| facts.rooms.get("spool"));
        let free = room.map_or_else(|| "-".to_owned(), |room| size(room.bytes));
        let architecture = facts.architecture.clone();
        table.row([node.node.clone(), state, architecture, runtime, images.to_string(), free]);
    }
    table.to_string()
}
