//! `larder verify`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::problem::Problem;
use crate::words::{count, size};
use anyhow::Result;
use larder_engine::{Damaged, Verified};
use serde::Serialize;

/// Hash everything in the store again, and compare database, index and files
///
/// With --repair, damaged blobs are moved to quarantine/ and fetched again from where their images came from; damaged
/// unpacked layers and indexes are removed and made again when they are needed. A damaged or lost database is made
/// again from what is left of it, the blobs, and index.json. Ends with exit code 5 while anything is damaged.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Set aside what is damaged, and fetch or make it again
    #[arg(long)]
    repair: bool,
}

const EXAMPLES: &str = "\
Examples:
  larder verify
  larder verify --repair";

const DOCUMENT: &str = "\
JSON:
  {\"whole\", \"blobs\", \"derived\", \"bytes\", \"damaged\": [{\"what\", \"problem\", \"part_of\": [REF],
    \"repaired\", \"failure\": {\"message\", \"kind\", \"hints\"}}]}";

#[derive(Serialize)]
struct Document<'a> {
    whole: bool,
    #[serde(flatten)]
    verified: &'a Verified,
}

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let engine = if args.repair { invocation.repairing_engine()? } else { invocation.engine()? };
    let (repair, mut count_one) = (args.repair, invocation.terminal.counter("checked"));
    let verified = invocation.wait(async move { engine.verify(repair, &mut |_| count_one()).await })??;
    invocation.terminal.finish();
    let whole = verified.is_whole();
    invocation.answer(&Document { whole, verified: &verified }, || show(&verified))?;
    for damaged in &verified.damaged {
        if let Some(failure) = &damaged.failure {
            let message = format!("cannot repair {}: {}", damaged.what, failure.message);
            invocation.terminal.complain(&Problem::new(
                &message,
                Exit::of(failure.kind),
                failure.hints.clone(),
            ));
        }
    }
    if !whole && !args.repair {
        invocation.terminal.note("hint: larder verify --repair sets it aside and fetches it again");
    }
    Ok(if whole { Exit::Done } else { Exit::Corrupt })
}

fn show(verified: &Verified) -> String {
    let mut text: String = verified.damaged.iter().map(line).collect();
    let (blobs, derived) =
        (count(verified.blobs as usize, "blob"), count(verified.derived as usize, "derived thing"));
    let checked = format!("{blobs} and {derived} checked, {}", size(verified.bytes));
    let repaired = verified.damaged.iter().filter(|damaged| damaged.repaired).count();
    text.push_str(&match verified.damaged.len() {
        0 => format!("the store is whole: {checked}\n"),
        damaged if damaged == repaired => {
            format!("the store is whole again: {checked}, {damaged} repaired\n")
        }
        damaged => format!("the store is damaged: {checked}, {damaged} damaged, {repaired} repaired\n"),
    });
    text
}

fn line(damaged: &Damaged) -> String {
    let mut names =
        damaged.part_of.iter().take(3).map(larder_core::Reference::familiar).collect::<Vec<_>>().join(", ");
    if let Some(more) = damaged.part_of.len().checked_sub(3).filter(|more| *more > 0) {
        names.push_str(&format!(" and {}", count(more, "other")));
    }
    let part_of = if names.is_empty() { String::new() } else { format!(" (part of {names})") };
    let state = if damaged.repaired { "repaired" } else { "damaged" };
    crate::words::plain(&format!("{state}: {}: {}{part_of}", damaged.what, damaged.problem))
        .replace('\n', "\\n")
        + "\n"
}
