//! `larder prune`.

use super::gc::{DOCUMENT, collect};
use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::Result;
use larder_engine::{Policy, Span};

/// Remove images that were not used for a while, and what nothing needs after that
///
/// The same as `larder gc` with this age in place of the configured policy. Pinned and mounted images stay.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Not used for so long: 90s, 15m, 12h, 30d, 8w
    #[arg(long, value_name = "SPAN")]
    older_than: Span,

    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  larder prune --older-than 30d --dry-run
  larder prune --older-than 12h";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let policy = Policy { max_age: Some(args.older_than.0), ..Policy::default() };
    collect(&invocation.engine()?, &policy, args.dry_run, invocation)
}
