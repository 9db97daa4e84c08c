//! `larder list`.

use crate::args::Format;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::table::Table;
use crate::words::{ago, size};
use anyhow::Result;
use larder_core::{Digest, Reference};
use larder_engine::{Row, WritableLayer};
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

    /// The writable layers of `larder mount --writable` instead of the images
    #[arg(long, conflicts_with = "all")]
    writable: bool,

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
    \"last_used\"}]}
  with --writable: {\"writable\": [{\"name\", \"image\", \"mounted\"}]}";

#[derive(Serialize)]
struct Document<'a> {
    images: &'a [Row],
}

#[derive(Serialize)]
struct WritableDocument<'a> {
    writable: &'a [WritableLayer],
}

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    if args.writable {
        return list_writable(args, invocation);
    }
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

fn list_writable(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let mut layers = invocation.engine()?.writable_layers()?;
    if let Some(text) = &args.filter {
        layers.retain(|layer| layer.name.contains(text.as_str()));
    }
    if invocation.global.quiet && invocation.global.output == Format::Text {
        let names: String = layers.iter().map(|layer| format!("{}\n", layer.name)).collect();
        return crate::invocation::print(names.as_bytes()).map(|()| Exit::Done);
    }
    invocation.answer(&WritableDocument { writable: &layers }, || {
        let mut table = Table::new(&["NAME", "IMAGE", "MOUNTED"]);
        for layer in &layers {
            let digest = |digest: &Digest| if args.no_trunc { digest.to_string() } else { digest.short() };
            let place = layer.mounted.as_ref().map(|place| place.display().to_string());
            table.row([
                layer.name.clone(),
                layer.image.as_ref().map(digest).unwrap_or_default(),
                place.unwrap_or_default(),
            ]);
        }
        table.to_string()
    })?;
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
