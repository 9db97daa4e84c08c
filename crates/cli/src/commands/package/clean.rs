//! `larder package clean`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::words::{count, size};
use anyhow::Result;
use larder_engine::{CleanPolicy, Span};

/// Remove packages by age or last use, and what nothing refers to
///
/// Always goes: entries whose archive is gone or broken, archives that the index does not know, downloads that nobody
/// continued for a week. Pinned packages stay.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Packages that were added so long ago, for example 90d
    #[arg(long, value_name = "SPAN")]
    older_than: Option<Span>,

    /// Packages that nobody asked for since so long
    #[arg(long, value_name = "SPAN")]
    unused_for: Option<Span>,

    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  larder package clean --unused-for 30d --dry-run
  larder package clean --older-than 90d";

const DOCUMENT: &str = "\
JSON:
  {\"dry_run\", \"packages\": [{\"name\", \"version\", \"architecture\", \"size\"}], \"orphans\": [FILE],
   \"freed\"}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let policy = CleanPolicy {
        older_than: args.older_than.map(|span| span.0),
        unused_for: args.unused_for.map(|span| span.0),
        dry_run: args.dry_run,
    };
    let cleaned = invocation.engine()?.clean_packages(&policy)?;
    let packages = cleaned.packages.iter().map(|entry| {
        serde_json::json!({
            "name": entry.name, "version": entry.version, "architecture": entry.architecture, "size": entry.size,
        })
    });
    let document = serde_json::json!({
        "dry_run": args.dry_run, "packages": packages.collect::<Vec<_>>(), "orphans": cleaned.orphans,
        "freed": cleaned.freed,
    });
    invocation.answer(&document, || {
        let verb = if args.dry_run { "would go" } else { "removed" };
        let mut text: String =
            cleaned.packages.iter().map(|entry| format!("{} {verb}\n", entry.title())).collect();
        for orphan in &cleaned.orphans {
            text.push_str(&format!("{} {verb}: the index does not know it\n", orphan.display()));
        }
        let (packages, freed) = (count(cleaned.packages.len(), "package"), size(cleaned.freed));
        text.push_str(&match args.dry_run {
            true => format!("{packages} would go, and {freed} be freed\n"),
            false => format!("{packages} removed, {freed} freed\n"),
        });
        text
    })?;
    Ok(Exit::Done)
}
