//! `larder tag`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::Result;
use larder_core::Reference;

/// Give an image in the store another name
///
/// A name that exists already moves. The bytes are not copied.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "SRC")]
    source: Reference,

    /// The new name
    #[arg(value_name = "DST")]
    target: Reference,
}

const EXAMPLES: &str = "\
Examples:
  larder tag debian:12 registry.example/base:stable";

const DOCUMENT: &str = "\
JSON:
  {\"source\", \"target\"}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let Args { source, target } = args;
    invocation.engine()?.tag(source, target)?;
    invocation.done(&serde_json::json!({ "source": source, "target": target }), || {
        format!("{} is now also {}\n", source.familiar(), target.familiar())
    })?;
    Ok(Exit::Done)
}
