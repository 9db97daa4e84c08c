//! `larder unmount`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::{Context, Result};
use std::path::PathBuf;

/// Unmount what `larder mount` has mounted
///
/// A writable layer stays, to be mounted again under its name.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Directories
    #[arg(value_name = "DIR", required = true)]
    dirs: Vec<PathBuf>,
}

const EXAMPLES: &str = "\
Examples:
  larder unmount /mnt/debian";

const DOCUMENT: &str = "\
JSON:
  {\"unmounted\": [DIR]}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let engine = invocation.engine()?;
    let mut unmounted = Vec::new();
    for dir in &args.dirs {
        let dir = std::path::absolute(dir).with_context(|| format!("cannot find {}", dir.display()))?;
        engine.unmount(&dir)?;
        unmounted.push(dir.display().to_string());
    }
    invocation.done(&serde_json::json!({ "unmounted": unmounted }), || {
        unmounted.iter().map(|dir| format!("{dir} unmounted\n")).collect()
    })?;
    Ok(Exit::Done)
}
