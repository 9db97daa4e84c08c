//! `larder package verify`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::words::{count, size};
use anyhow::Result;

/// Hash every archive again; damaged ones are taken out, to be fetched again when they are asked for
///
/// Ends with exit code 5 if anything was damaged.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {}

const EXAMPLES: &str = "\
Examples:
  larder package verify";

const DOCUMENT: &str = "\
JSON:
  {\"sound\", \"bytes\", \"damaged\": [{\"name\", \"version\", \"architecture\", \"problem\"}]}";

pub(crate) fn run(invocation: &Invocation) -> Result<Exit> {
    let verified = invocation.engine()?.verify_packages()?;
    let damaged = verified.damaged.iter().map(|damaged| {
        serde_json::json!({
            "name": damaged.entry.name, "version": damaged.entry.version,
            "architecture": damaged.entry.architecture, "problem": damaged.problem,
        })
    });
    let document = serde_json::json!({
        "sound": verified.sound, "bytes": verified.bytes, "damaged": damaged.collect::<Vec<_>>(),
    });
    invocation.answer(&document, || {
        let mut text: String = verified
            .damaged
            .iter()
            .map(|damaged| {
                format!("{} was damaged and is gone: {}\n", damaged.entry.title(), damaged.problem)
            })
            .collect();
        let (sound, bytes) = (count(verified.sound, "package"), size(verified.bytes));
        text.push_str(&format!("{sound} whole, {bytes} read, {} damaged\n", verified.damaged.len()));
        text
    })?;
    Ok(if verified.damaged.is_empty() { Exit::Done } else { Exit::Corrupt })
}
