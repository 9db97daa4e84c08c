//! `larder list`.

use crate::args::Format;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::table::Table;
use crate::words::{ago, size};
use anyhow::Result;
use larder_core::Reference;
use larder_engine::Row;
use serde::Serialize;
use std::time::SystemTime;

/// List the images in the store
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Only images whose name contains this
    #[arg(value_name = "TEXT")]
    filter: Option<String>,

    /// Also tags that only carry signatures and the like (sha256-….sig)
    #[arg(short, long)]
    all: bool,

    /// Whole digests and names, nothing shortened
    #[arg(long)]
    no_trunc: bool,
}

const EXAMPLES: &str = "\
Examples:
  larder list
  larder list debian --no-trunc
  larder list -q app | xargs -r larder remove   with --quiet: names only, one per line";

const DOCUMENT: &str = "\
JSON:
  {\"images\": [{\"reference\", \"digest\", \"platforms\": [{\"os\", \"architecture\", \"variant\"}], \"size\",
    \"kind\": \"image\" | \"index\" | \"artifact\" | \"damaged\", \"complete\", \"pinned\", \"cached\", \"updated\",
    \"last_used\"}]}";

#[derive(Serialize)]
struct Document<'a> {
    images: &'a [Row],
}

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let mut rows = invocation.engine()?.list(args.all)?;
    if let Some(text) = &args.filter {
        rows.retain(|row| row.reference.to_string().contains(text.as_str()));
    }
    if invocation.global.quiet && invocation.global.output == Format::Text {
        let names: String = rows.iter().map(|row| format!("{}\n", row.reference)).collect();
        return crate::invocation::print(names.as_bytes()).map(|()| Exit::Done);
    }
    invocation.answer(&Document { images: &rows }, || show(&rows, args.no_trunc))?;
    Ok(Exit::Done)
}

fn show(rows: &[Row], whole: bool) -> String {
    let now = SystemTime::now();
    let mut table = Table::new(&["NAME", "DIGEST", "PLATFORMS", ">SIZE", "UPDATED", "USED", "NOTES"]);
    for row in rows {
        let name = |reference: &Reference| if whole { reference.to_string() } else { shorten(reference) };
        let platforms: Vec<String> = row.platforms.iter().map(ToString::to_string).collect();
        let mut notes = Vec::new();
        if row.kind == "artifact" || row.kind == "damaged" {
            notes.push(row.kind);
        }
        if !row.complete && !row.cached && row.kind != "damaged" {
            notes.push("incomplete");
        }
        if row.cached {
            notes.push("cached");
        }
        if row.pinned {
            notes.push("pinned");
        }
        table.row([
            name(&row.reference),
            if whole { row.digest.to_string() } else { row.digest.short() },
            platforms.join(","),
            size(row.size),
            ago(row.updated, now),
            ago(row.last_used, now),
            notes.join(", "),
        ]);
    }
    table.to_string()
}

/// `debian:12`, `debian@sha256:0123456789ab…`.
fn shorten(reference: &Reference) -> String {
    let name = reference.familiar();
    match (name.split_once('@'), reference.digest()) {
        (Some((name, _)), Some(digest)) => {
            format!("{name}@{}:{}…", digest.algorithm().as_str(), digest.short())
        }
        _ => name,
    }
}
