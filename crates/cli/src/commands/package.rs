//! `larder package`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::Result;
use larder_core::Platform;
use larder_engine::package_architecture;

mod add;
mod clean;
mod ensure;
mod info;
mod install;
mod list;
mod pin;
mod remove;
mod search;
mod stats;
mod verify;

/// The tools that nodes need, each fetched once and verified
///
/// Whatever a project publishes, the store keeps NAME-VERSION-ARCH.tar.zst, the same bytes everywhere. Upstream checksums
/// are always compared, signatures where there are keys, and what a release was when it was first seen is remembered.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, arg_required_else_help = true, subcommand_required = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  larder package add containerd@2.1.4 runc cni-plugins
  larder package ensure kubelet@1.34.1 --node role=worker
  larder package install containerd runc --node all";

#[derive(Debug, clap::Subcommand)]
enum Verb {
    #[command(visible_alias = "ls")]
    List(list::Args),
    Search(search::Args),
    Info(info::Args),
    Add(add::Args),
    Ensure(ensure::Args),
    Install(install::Args),
    #[command(visible_alias = "rm")]
    Remove(remove::Args),
    Pin(pin::Args),
    Unpin(pin::UnpinArgs),
    Stats(stats::Args),
    Clean(clean::Args),
    Verify(verify::Args),
}

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    match &args.verb {
        Verb::List(args) => list::run(args, invocation),
        Verb::Search(args) => search::run(args, invocation),
        Verb::Info(args) => info::run(args, invocation),
        Verb::Add(args) => add::run(args, invocation),
        Verb::Ensure(args) => ensure::run(args, invocation),
        Verb::Install(args) => install::run(args, invocation),
        Verb::Remove(args) => remove::run(args, invocation),
        Verb::Pin(args) => pin::run(&args.what, true, invocation),
        Verb::Unpin(args) => pin::run(&args.what, false, invocation),
        Verb::Stats(_) => stats::run(invocation),
        Verb::Clean(args) => clean::run(args, invocation),
        Verb::Verify(_) => verify::run(invocation),
    }
}

/// This machine's architecture.
fn native() -> String {
    Platform::host().architecture
}

/// Those that were given, or this machine's.
fn architectures(given: &[String]) -> Vec<String> {
    match given {
        [] => vec![native()],
        given => given.to_vec(),
    }
}

/// Reads an architecture from the command line.
fn architecture(text: &str) -> Result<String, String> {
    package_architecture(text).map_err(|error| error.to_string())
}
