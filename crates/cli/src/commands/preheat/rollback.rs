//! `larder preheat rollback`.

use super::{options, report};
use crate::exit::Exit;
use crate::fleet::{self, Nodes};
use crate::invocation::Invocation;
use anyhow::Result;
use std::path::PathBuf;

/// Make the nodes of a preheat what they were before it
///
/// For one that was interrupted, could not reach a node, or is over. Names that came are removed, names that moved go back;
/// what somebody else changed since stays. After a preheat that went well, what an old name stood for is there only as long
/// as something else on the node needs it.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Which one
    #[arg(value_name = "ID")]
    id: String,

    /// The file that says which nodes there are [default: the one of the preheat]
    #[arg(long, value_name = "FILE")]
    inventory: Option<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  larder preheat rollback 20260131120000-3f2a01

JSON:
  what `larder preheat` prints";

pub(super) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let engine = invocation.engine()?;
    let ssh = fleet::ssh_options(engine.config(), invocation);
    let nodes = Nodes { selectors: Vec::new(), inventory: args.inventory.clone() };
    let inventory = args.inventory.as_ref().map(|_| nodes.inventory(engine.config())).transpose()?;
    let (id, options) = (args.id.clone(), options(engine.config(), None, invocation));
    let state =
        invocation.wait(async move { engine.roll_back_preheat(&id, inventory, ssh, &options).await })??;
    invocation.terminal.finish();
    report::tell(&state, invocation)
}
