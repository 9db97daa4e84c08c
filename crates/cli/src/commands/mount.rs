//! `larder mount`.

use crate::credentials::Given;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::words::took;
use anyhow::{Context, Result};
use clap::ValueEnum;
use larder_core::{Platform, Reference};
use larder_engine::{MountRequest, Mounted, PullPolicy};
use serde::Serialize;
use std::path::PathBuf;

/// Mount an image as a file tree
///
/// Read-only, or with a named writable layer on top that outlives the mount. An image that is not in the store is
/// pulled first, and unpacked while it arrives. --driver chooses how; `larder doctor` says what this kernel can.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// The image
    #[arg(value_name = "REF")]
    reference: Reference,

    /// An empty directory; made when it does not exist, but not its parents
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Take changes, into the writable layer of this name; it is made when it does not exist
    #[arg(long, value_name = "NAME", value_parser = writable_name)]
    writable: Option<String>,

    /// For this platform, os/arch[/variant] [default: this machine's]
    #[arg(long, value_name = "PLATFORM")]
    platform: Option<Platform>,

    /// Whether a registry is asked first
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    pull: Pull,

    #[command(flatten)]
    credentials: Given,
}

const EXAMPLES: &str = "\
Examples:
  larder mount debian:12 /mnt/debian
  larder mount debian:12 /mnt/work --writable build-7 && chroot /mnt/work
  larder mount debian:12 /mnt/debian --pull never --driver overlay";

const DOCUMENT: &str = "\
JSON:
  {\"dir\", \"digest\", \"driver\": \"erofs\" | \"overlay\", \"writable\": NAME | null, \"pulled\": null or as in
   `larder pull`, \"elapsed\"}";

/// Whether a registry is asked before an image is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Pull {
    /// Only when the store does not have the image whole
    #[default]
    Missing,
    /// Always: the tag may have moved
    Always,
    /// Never: what is not here is an error
    Never,
}

impl From<Pull> for PullPolicy {
    fn from(pull: Pull) -> Self {
        match pull {
            Pull::Missing => Self::Missing,
            Pull::Always => Self::Always,
            Pull::Never => Self::Never,
        }
    }
}

fn writable_name(text: &str) -> Result<String, String> {
    match larder_engine::check_writable_name(text) {
        Ok(()) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    mounted: &'a Mounted,
    elapsed: u64,
}

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let dir =
        std::path::absolute(&args.dir).with_context(|| format!("cannot find {}", args.dir.display()))?;
    let request = MountRequest {
        reference: args.reference.clone(),
        dir,
        platform: args.platform.clone(),
        writable: args.writable.clone(),
        // --driver is part of the configuration in force.
        driver: None,
        pull: args.pull.into(),
        auth: args.credentials.auth()?,
    };
    let engine = invocation.engine()?;
    let mounted = invocation.wait(async move { engine.mount(&request).await })??;
    invocation.terminal.finish();
    let document = Document { mounted: &mounted, elapsed: mounted.elapsed.as_millis() as u64 };
    invocation.done(&document, || {
        let access = match &mounted.writable {
            Some(name) => format!("writable, changes go to {name}"),
            None => "read-only".into(),
        };
        let (name, dir, took) = (args.reference.familiar(), mounted.dir.display(), took(mounted.elapsed));
        format!(
            "{name} mounted at {dir}: {}, {access}, {}, in {took}\n",
            mounted.digest.short(),
            mounted.driver
        )
    })?;
    Ok(Exit::Done)
}
