//! `larder copy`.

use super::pull::selection;
use crate::credentials::Given;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::words::{count, size};
use anyhow::Result;
use larder_core::Platform;
use larder_engine::{CopyOptions, Place};

/// Copy an image between registries, archives, layouts and the store
///
/// Places: a plain REF is the store, docker://REF a registry, oci:DIR[:TAG] an OCI layout, oci-archive:FILE[:TAG] the
/// same in a tar, docker-archive:FILE[:REF] what `docker save` writes. The digest stays the same, except through a
/// docker-archive, which has no manifest of its own.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Where from
    #[arg(value_name = "SRC")]
    from: Place,

    /// Where to
    #[arg(value_name = "DST")]
    to: Place,

    /// Only this platform, os/arch[/variant]; may be given several times [default: all that the source has]
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<Platform>,

    /// All platforms of an index
    #[arg(long, conflicts_with = "platforms")]
    all_platforms: bool,

    /// Leave signatures and other attached artifacts behind
    #[arg(long)]
    no_attached: bool,

    #[command(flatten)]
    credentials: Given,
}

const EXAMPLES: &str = "\
Examples:
  larder copy docker://debian:12 oci:./debian:12
  larder copy docker://debian:12 docker://localhost:5000/debian:12
  larder copy docker-archive:app.tar registry.example/app:1
  larder copy debian:12 docker-archive:debian.tar:debian:12 --platform linux/arm64";

const DOCUMENT: &str = "\
JSON:
  {\"from\", \"to\", \"digest\", \"size\", \"sent_bytes\", \"attached\"}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let (from, to) = (args.from.clone(), args.to.clone());
    let options = CopyOptions {
        selection: selection(&args.platforms, args.all_platforms),
        attached: args.no_attached.then_some(false),
        auth: args.credentials.auth()?,
    };
    let engine = invocation.engine()?;
    let copied = invocation.wait(async move { engine.copy(&from, &to, &options).await })??;
    invocation.terminal.finish();
    invocation.done(&copied, || {
        let attached = match copied.attached {
            0 => String::new(),
            number => format!(", {}", count(number, "attached artifact")),
        };
        let (whole, written) = (size(copied.size), size(copied.sent_bytes));
        let digest = copied.digest.short();
        format!("{} copied to {}: {digest}, {whole}{attached}, {written} written\n", copied.from, copied.to)
    })?;
    Ok(Exit::Done)
}
