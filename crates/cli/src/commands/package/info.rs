//! `larder package info`.

use super::architectures;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::table::Table;
use crate::words::{ago, size};
use anyhow::Result;
use larder_engine::{PackageRow, Wish};
use std::time::{Duration, SystemTime};

/// Show everything about a package: what is in the store, what was verified, and where its files go
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// NAME[@VERSION]
    #[arg(value_name = "NAME[@VERSION]")]
    wish: Wish,

    /// For this architecture [default: this machine's]
    #[arg(long, value_name = "ARCH", value_parser = super::architecture)]
    arch: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  larder package info kubelet
  larder package info runc@1.3.0 --arch arm64";

const DOCUMENT: &str = "\
JSON:
  {\"package\": as in `larder package list`, \"install\": [{\"from\", \"to\"}]}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let engine = invocation.engine()?;
    let architecture = &architectures(args.arch.as_slice())[0];
    let (row, installs) = engine.package(&args.wish, architecture)?;
    let document = serde_json::json!({
        "package": row,
        "install": installs.iter().map(|install| {
            serde_json::json!({ "from": install.from(), "to": install.to })
        }).collect::<Vec<_>>(),
    });
    invocation
        .answer(&document, || facts(&row, installs.iter().map(|install| (install.from(), &*install.to))))?;
    Ok(Exit::Done)
}

fn facts<'i>(row: &PackageRow, installs: impl Iterator<Item = (&'i str, &'i str)>) -> String {
    let mut table = Table::facts();
    let when = |seconds| ago(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), SystemTime::now());
    table.row(["package", &row.title()]);
    table.row(["source", &row.source]);
    table.row(["upstream", &format!("{}, {}", row.upstream, size(row.upstream_size))]);
    table.row(["archive", &row.archive.display().to_string()]);
    table.row(["digest", &format!("{}, {}", row.digest, size(row.size))]);
    table.row(["unpacked", &size(row.unpacked_size)]);
    for verified in &row.verified {
        table.row(["verified", verified]);
    }
    table.row(["cached", &when(row.cached)]);
    table.row(["used", &when(row.used)]);
    if row.pinned {
        table.row(["pinned", "yes"]);
    }
    for (from, to) in installs {
        table.row(["installs", &format!("{} to {to}", if from.is_empty() { "everything" } else { from })]);
    }
    table.to_string()
}
