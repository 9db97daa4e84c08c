//! `larder nodes add`.

use crate::exit::Exit;
use crate::fleet::Nodes;
use crate::invocation::Invocation;
use crate::problem::Usage;
use anyhow::Result;
use larder_engine::nodes::{Keys, Rate, RuntimeChoice};
use larder_engine::{Turn, replace_file};
use std::path::PathBuf;

/// Add a node to the inventory
///
/// What was written there by hand, comments included, stays as it is. The node's host key has to be known: by
/// ~/.ssh/known_hosts, or by `larder nodes trust`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// What it is called
    #[arg(value_name = "NAME")]
    name: String,

    /// Where it is: [user@]host[:port], or a host of ~/.ssh/config [default: the name]
    #[arg(value_name = "DESTINATION")]
    destination: Option<String>,

    /// The file of the private key [default: what ssh takes]
    #[arg(long, value_name = "FILE")]
    key: Option<String>,

    /// Over this host: [user@]host[:port]; several separated by commas
    #[arg(long, value_name = "HOST")]
    jump: Option<String>,

    /// A label by which it is selected, as in role=worker; may be given several times
    #[arg(long = "label", value_name = "KEY=VALUE")]
    labels: Vec<String>,

    /// What runs containers there [default: auto]
    #[arg(long, value_enum, value_name = "RUNTIME")]
    runtime: Option<Choice>,

    /// At most so many bytes per second, as in 20MB
    #[arg(long, value_name = "RATE", value_parser = str::parse::<Rate>)]
    bandwidth: Option<Rate>,

    /// The file that says which nodes there are [default: $LARDER_INVENTORY, else HOME/nodes.yaml]
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Choice {
    Auto,
    Containerd,
    Docker,
}

const EXAMPLES: &str = "\
Examples:
  larder nodes add worker-1 root@10.0.0.11 --label role=worker
  larder nodes add worker-2 10.0.0.12:2222 --key ~/.ssh/fleet --jump admin@bastion";

pub(super) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let config = invocation.settings()?.config;
    let nodes = Nodes { selectors: Vec::new(), inventory: args.inventory.clone() };
    let _turn = Turn::at(nodes.inventory(&config)?.path())?;
    // Read again: others may have added theirs meanwhile.
    let inventory = nodes.inventory(&config)?;
    let mut keys = match &args.destination {
        Some(destination) => Keys::of_destination(destination)?,
        None => Keys::default(),
    };
    keys.key.clone_from(&args.key);
    keys.jump.clone_from(&args.jump);
    keys.bandwidth = args.bandwidth;
    keys.runtime = args.runtime.map(|choice| match choice {
        Choice::Auto => RuntimeChoice::Auto,
        Choice::Containerd => RuntimeChoice::Containerd,
        Choice::Docker => RuntimeChoice::Docker,
    });
    for label in &args.labels {
        let (key, value) = label
            .split_once('=')
            .ok_or_else(|| Usage::new(format!("--label {label:?}: expected KEY=VALUE")))?;
        keys.labels.insert(key.to_owned(), value.to_owned());
    }
    let text = inventory.with(&args.name, &keys)?;
    let path = inventory.path();
    replace_file(path, text.as_bytes())?;
    invocation.done(&serde_json::json!({ "inventory": path, "node": args.name }), || {
        format!("{} is now in {}\n", args.name, path.display())
    })?;
    Ok(Exit::Done)
}
