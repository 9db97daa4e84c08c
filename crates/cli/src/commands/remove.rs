//! `larder remove`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::Result;
use larder_core::Reference;

/// Remove names from the store
///
/// The bytes go with the next `larder gc`, unless another name, a mount or a running pull needs them. All names are
/// looked up first: if one is missing, none is removed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Images
    #[arg(value_name = "REF", required = true)]
    references: Vec<Reference>,
}

const EXAMPLES: &str = "\
Examples:
  larder remove debian:11 debian:10
  larder remove debian:11 && larder gc";

const DOCUMENT: &str = "\
JSON:
  {\"removed\": [REF]}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    invocation.engine()?.remove(&args.references)?;
    invocation.done(&serde_json::json!({ "removed": args.references }), || {
        args.references.iter().map(|reference| format!("{} removed\n", reference.familiar())).collect()
    })?;
    Ok(Exit::Done)
}
