//! `larder unpack`.

use super::mount::Pull;
use crate::credentials::Given;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::words::size;
use anyhow::{Context, Result};
use larder_core::{Platform, Reference};
use larder_engine::UnpackRequest;
use std::path::PathBuf;

/// Write the file tree of an image into a directory
///
/// All layers merged, with owners, modes, times, hard links and extended attributes. Needs no mount. Without root,
/// files belong to the caller and devices are left out; what was left out is listed.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "REF")]
    reference: Reference,

    /// An empty directory; made when it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// For this platform, os/arch[/variant] [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    /// Give all files to the caller, not to the owners in the image [default without root]
    #[arg(long)]
    no_owner: bool,

    /// Whether a registry is asked first
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pull: Pull,

    #[command(flatten)]
    credentials: Given,
}

const EXAMPLES: &str = "\
Examples:
  larder unpack debian:12 ./rootfs
  larder unpack debian:12 ./rootfs --platform linux/arm64 --no-owner";

const DOCUMENT: &str = "\
JSON:
  {\"dir\", \"digest\", \"entries\", \"bytes\", \"skipped\": [TEXT]}";

/// More lines than this are for programs: the JSON has them all.
const SHOWN: usize = 20;

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let dir =
        std::path::absolute(&args.dir).with_context(|| format!("cannot find {}", args.dir.display()))?;
    let request = UnpackRequest {
        reference: args.reference.clone(),
        dir,
        platform: args.platform.clone(),
        pull: args.pull.into(),
        auth: args.credentials.auth()?,
        keep_owner: invocation.environment.is_root() && !args.no_owner,
    };
    let engine = invocation.engine()?;
    let unpacked = invocation.wait(async move { engine.unpack(&request).await })??;
    invocation.terminal.finish();
    for skipped in unpacked.skipped.iter().take(SHOWN) {
        invocation.terminal.warn(skipped);
    }
    if let Some(more) = unpacked.skipped.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        invocation.terminal.warn(&format!("{more} more were left out; --output json lists all"));
    }
    invocation.done(&unpacked, || {
        let (name, dir) = (args.reference.familiar(), unpacked.dir.display());
        let (entries, bytes) = (unpacked.entries, size(unpacked.bytes));
        format!("{name} unpacked into {dir}: {}, {entries} entries, {bytes}\n", unpacked.digest.short())
    })?;
    Ok(Exit::Done)
}
