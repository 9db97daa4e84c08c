//! `larder package pin` and `larder package unpin`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::Result;
use larder_engine::Wish;

/// Keep packages, whatever a clean-up is told
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  larder package pin kubelet@1.33.4", after_long_help = DOCUMENT)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) what: What,
}

/// Let clean-ups take packages again
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  larder package unpin kubelet", after_long_help = DOCUMENT)]
pub(crate) struct UnpinArgs {
    #[command(flatten)]
    pub(super) what: What,
}

/// Which packages.
#[derive(Debug, clap::Args)]
pub(crate) struct What {
    /// Packages: NAME, NAME@VERSION
    #[arg(value_name = "NAME[@VERSION]", required = true)]
    wishes: Vec<Wish>,

    /// Only for this architecture
    #[arg(long, value_name = "ARCH", value_parser = super::architecture)]
    arch: Option<String>,
}

const DOCUMENT: &str = "\
Examples:
  larder package pin kubelet@1.33.4
  larder package unpin kubelet

JSON:
  {\"packages\": [as in `larder package list`]}";

pub(crate) fn run(what: &What, pinned: bool, invocation: &Invocation) -> Result<Exit> {
    let rows = invocation.engine()?.pin_packages(&what.wishes, what.arch.as_deref(), pinned)?;
    let word = if pinned { "pinned" } else { "unpinned" };
    invocation.done(&serde_json::json!({ "packages": rows }), || {
        rows.iter().map(|row| format!("{} {word}\n", row.title())).collect()
    })?;
    Ok(Exit::Done)
}
