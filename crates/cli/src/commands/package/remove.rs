//! `larder package remove`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::Result;
use larder_engine::Wish;

/// Remove packages from the store
///
/// Without a version, all versions go; without an architecture, all architectures. What a release was when it was first seen
/// is remembered, so that one that changes later is found out; --forget gives that up.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Packages: NAME, NAME@VERSION
    #[arg(value_name = "NAME[@VERSION]", required = true)]
    wishes: Vec<Wish>,

    /// Only for this architecture
    #[arg(long, value_name = "ARCH", value_parser = super::architecture)]
    arch: Option<String>,

    /// Also forget what they hashed to when they were first seen
    #[arg(long)]
    forget: bool,
}

const EXAMPLES: &str = "\
Examples:
  larder package remove helm@3.17.0
  larder package remove kubelet --arch arm64";

const DOCUMENT: &str = "\
JSON:
  {\"removed\": [as in `larder package list`]}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let removed = invocation.engine()?.remove_packages(&args.wishes, args.arch.as_deref(), args.forget)?;
    invocation.done(&serde_json::json!({ "removed": removed }), || {
        removed.iter().map(|row| format!("{} removed\n", row.title())).collect()
    })?;
    Ok(Exit::Done)
}
