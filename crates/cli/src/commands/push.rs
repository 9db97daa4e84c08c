//! `larder push`.

use crate::credentials::Given;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::words::{count, size, took};
use anyhow::Result;
use larder_core::{Platform, Reference};
use larder_engine::PushOptions;

/// Send an image from the store to a registry
///
/// Blobs that are there are not sent again. Manifests follow their blobs, so that nobody ever sees half an image.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// The image in the store
    #[arg(value_name = "SRC")]
    source: Reference,

    /// The name it gets, with its registry [default: SRC]
    #[arg(value_name = "DST")]
    target: Option<Reference>,

    /// Send only this platform's image, not the index
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    /// Leave signatures and other attached artifacts behind
    #[arg(long)]
    no_attached: bool,

    #[command(flatten)]
    credentials: Given,
}

const EXAMPLES: &str = "\
Examples:
  larder push registry.example/team/app:1
  larder push debian:12 localhost:5000/debian:12";

const DOCUMENT: &str = "\
JSON:
  {\"reference\", \"digest\", \"sent\", \"sent_bytes\", \"present\", \"attached\"}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let (source, target) = (args.source.clone(), args.target.clone().unwrap_or_else(|| args.source.clone()));
    let options = PushOptions {
        platform: args.platform.clone(),
        attached: args.no_attached.then_some(false),
        auth: args.credentials.auth()?,
    };
    let engine = invocation.engine()?;
    let pushed = invocation.wait(async move { engine.push(&source, &target, &options).await })??;
    invocation.terminal.finish();
    invocation.done(&pushed, || {
        let (sent, present) = (count(pushed.sent, "blob"), pushed.present);
        let attached = match pushed.attached {
            0 => String::new(),
            number => format!(", {}", count(number, "attached artifact")),
        };
        format!(
            "{} pushed: {}, {sent} sent ({}), {present} there already{attached}, in {}\n",
            pushed.reference.familiar(),
            pushed.digest.short(),
            size(pushed.sent_bytes),
            took(pushed.elapsed)
        )
    })?;
    Ok(Exit::Done)
}
