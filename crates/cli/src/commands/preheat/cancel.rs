//! `larder preheat cancel`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::Result;
use larder_engine::Preheats;

/// Stop a preheat that runs
///
/// Its nodes are made what they were before, unless it was started with --keep. Returns at once; `larder preheat watch`
/// waits for the end.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Which one
    #[arg(value_name = "ID")]
    id: String,
}

const EXAMPLES: &str = "\
Examples:
  larder preheat cancel 20260131120000-3f2a01

JSON:
  {\"id\"}";

pub(super) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    Preheats::of(&invocation.settings()?.config.home).cancel(&args.id)?;
    invocation.done(&serde_json::json!({ "id": args.id }), || format!("{} is stopping\n", args.id))?;
    Ok(Exit::Done)
}
