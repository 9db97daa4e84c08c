//! `larder remove`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::Result;
use larder_core::Reference;

/// Remove names or writable layers from the store
///
/// The bytes of images go with the next `larder gc`, unless another name, a mount or a running pull needs them. All names
/// are looked up first: if one is missing, none is removed. What was written to a writable layer is gone at once.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Images
    #[arg(value_name = "REF", required_unless_present = "writable")]
    references: Vec<Reference>,

    /// Writable layers of `larder mount --writable`; may be given several times
    #[arg(long, value_name = "NAME", conflicts_with = "references")]
    writable: Vec<String>,
}

const EXAMPLES: &str = "\
Examples:
  larder remove debian:11 debian:10
  larder remove debian:11 && larder gc
  larder remove --writable work";

const DOCUMENT: &str = "\
JSON:
  {\"removed\": [REF | NAME]}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    if !args.writable.is_empty() {
        invocation.engine()?.remove_writable(&args.writable)?;
        invocation.done(&serde_json::json!({ "removed": args.writable }), || {
            args.writable.iter().map(|name| format!("writable layer {name} removed\n")).collect()
        })?;
        return Ok(Exit::Done);
    }
    invocation.engine()?.remove(&args.references)?;
    invocation.done(&serde_json::json!({ "removed": args.references }), || {
        args.references.iter().map(|reference| format!("{} removed\n", reference.familiar())).collect()
    })?;
    Ok(Exit::Done)
}
