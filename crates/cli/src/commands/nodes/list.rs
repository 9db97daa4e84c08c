//! `larder nodes list`.

use crate::exit::Exit;
use crate::fleet::Nodes;
use crate::invocation::Invocation;
use crate::table::Table;
use anyhow::Result;

/// Show the nodes of the inventory
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    nodes: Nodes,
}

const EXAMPLES: &str = "\
Examples:
  larder nodes list
  larder nodes list --node role=worker

JSON:
  {\"inventory\", \"nodes\": [{\"name\", \"host\", \"port\", \"user\", \"labels\": {}, …}]}";

pub(super) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let config = invocation.settings()?.config;
    let inventory = args.nodes.inventory(&config)?;
    let nodes = match args.nodes.selectors.is_empty() {
        true => inventory.nodes().to_vec(),
        false => inventory.select(&args.nodes.selectors)?,
    };
    let document = serde_json::json!({ "inventory": inventory.path(), "nodes": nodes });
    invocation.answer(&document, || {
        let mut table = Table::new(&["NODE", "ADDRESS", "LABELS"]);
        for node in &nodes {
            let labels: Vec<String> =
                node.labels().iter().map(|(key, value)| format!("{key}={value}")).collect();
            table.row([node.name().to_owned(), node.address(), labels.join(" ")]);
        }
        table.to_string()
    })?;
    if nodes.is_empty() {
        invocation
            .terminal
            .note(&format!("{} has no nodes; `larder nodes add` adds one", inventory.path().display()));
    }
    Ok(Exit::Done)
}
