//! `larder pin` and `larder unpin`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::Result;
use larder_core::Reference;

/// Pin images: no policy of gc and prune removes them
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Images
    #[arg(value_name = "REF", required = true)]
    pub(crate) references: Vec<Reference>,
}

/// Unpin images: policies of gc and prune may remove them again
#[derive(Debug, clap::Args)]
#[command(after_help = UNPIN_EXAMPLES, after_long_help = format!("{UNPIN_EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct UnpinArgs {
    /// Images
    #[arg(value_name = "REF", required = true)]
    pub(crate) references: Vec<Reference>,
}

const EXAMPLES: &str = "\
Examples:
  larder pin registry.example/base:stable";

const UNPIN_EXAMPLES: &str = "\
Examples:
  larder unpin registry.example/base:stable";

const DOCUMENT: &str = "\
JSON:
  {\"images\": [{\"reference\", \"pinned\"}]}";

pub(crate) fn run(references: &[Reference], pinned: bool, invocation: &Invocation) -> Result<Exit> {
    let engine = invocation.engine()?;
    for reference in references {
        engine.pin(reference, pinned)?;
    }
    let images: Vec<_> = references
        .iter()
        .map(|reference| serde_json::json!({ "reference": reference, "pinned": pinned }))
        .collect();
    invocation.done(&serde_json::json!({ "images": images }), || {
        let state = if pinned { "pinned" } else { "not pinned any more" };
        references.iter().map(|reference| format!("{} is {state}\n", reference.familiar())).collect()
    })?;
    Ok(Exit::Done)
}
