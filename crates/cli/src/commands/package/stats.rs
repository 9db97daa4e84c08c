//! `larder package stats`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::table::Table;
use crate::words::{count, size};
use anyhow::Result;

/// Show how many packages there are, and what they take
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {}

const EXAMPLES: &str = "\
Examples:
  larder package stats --output json";

const DOCUMENT: &str = "\
JSON:
  {\"packages\", \"names\", \"size\", \"upstream_size\", \"unpacked_size\", \"partial_size\",
   \"architectures\": {ARCH: number}, \"pinned\"}";

pub(crate) fn run(invocation: &Invocation) -> Result<Exit> {
    let stats = invocation.engine()?.package_stats()?;
    invocation.answer(&stats, || {
        let mut table = Table::facts();
        let per: Vec<String> =
            stats.architectures.iter().map(|(name, number)| format!("{number} for {name}")).collect();
        table.row([
            "packages",
            &format!("{} of {}, {} pinned", stats.packages, count(stats.names, "tool"), stats.pinned),
        ]);
        table.row(["architectures", &per.join(", ")]);
        table.row(["archives", &size(stats.size)]);
        table.row(["as published", &size(stats.upstream_size)]);
        table.row(["unpacked", &size(stats.unpacked_size)]);
        table.row(["interrupted downloads", &size(stats.partial_size)]);
        table.to_string()
    })?;
    Ok(Exit::Done)
}
