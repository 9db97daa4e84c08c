//! `larder man`: for those who make packages.

use crate::args::Cli;
use crate::exit::Exit;
use anyhow::{Context, Result};
use clap::CommandFactory;
use std::path::PathBuf;

/// Write the man pages into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  larder man ./man && man ./man/larder-pull.1")]
pub(crate) struct Args {
    /// Made when it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let failed = || format!("cannot write man pages into {}", args.dir.display());
    std::fs::create_dir_all(&args.dir).with_context(failed)?;
    clap_mangen::generate_to(Cli::command(), &args.dir).with_context(failed)?;
    Ok(Exit::Done)
}
