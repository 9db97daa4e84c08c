//! `larder nodes`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::Result;

mod add;
mod check;
mod list;
mod mirror;
mod trust;

/// The machines that images and packages are brought to
#[derive(Debug, clap::Args)]
#[command(arg_required_else_help = true, subcommand_required = true, after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  larder nodes add worker-1 root@10.0.0.11 --label role=worker
  larder nodes trust --node worker-1
  larder nodes check";

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(visible_alias = "ls")]
    List(list::Args),
    Check(check::Args),
    Add(Box<add::Args>),
    Trust(trust::Args),
    Mirror(mirror::Args),
}

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    match &args.verb {
        Verb::List(args) => list::run(args, invocation),
        Verb::Check(args) => check::run(args, invocation),
        Verb::Add(args) => add::run(args, invocation),
        Verb::Mirror(args) => mirror::run(args, invocation),
        Verb::Trust(args) => trust::run(args, invocation),
    }
}
