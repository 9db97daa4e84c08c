//! `larder completions`.

use crate::args::Cli;
use crate::exit::Exit;
use crate::invocation;
use anyhow::Result;
use clap::CommandFactory;
use clap_complete::Shell;

/// Print what makes a shell complete larder's arguments
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// The shell
    shell: Shell,
}

const EXAMPLES: &str = "\
Examples:
  larder completions bash > /etc/bash_completion.d/larder
  larder completions zsh > \"${fpath[1]}/_larder\"
  larder completions fish > ~/.config/fish/completions/larder.fish";

pub(crate) fn run(args: &Args) -> Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "larder", &mut script);
    invocation::print(&script)?;
    Ok(Exit::Done)
}
