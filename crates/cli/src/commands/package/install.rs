//! `larder package install`.

use super::ensure::{self, Sending};
use crate::exit::Exit;
use crate::fleet;
use crate::invocation::Invocation;
use anyhow::Result;
use larder_engine::Wish;

/// Install packages on nodes, where their projects' instructions say
///
/// The archive goes to the node as with `ensure`, is unpacked beside the versions that are there, and one link is switched:
/// all files change at the same moment. The version before is kept, and --rollback goes back to it, or to the files that
/// were there before larder. Services are not restarted.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Packages: NAME, NAME@VERSION, NAME@latest
    #[arg(value_name = "NAME[@VERSION]", required = true)]
    wishes: Vec<Wish>,

    /// Refuse what has no signature, or none that can be verified, also if it is here already
    #[arg(long)]
    require_signature: bool,

    /// Go back to the version before
    #[arg(long, conflicts_with = "require_signature")]
    rollback: bool,

    #[command(flatten)]
    sending: Sending,
}

const EXAMPLES: &str = "\
Examples:
  larder package install containerd runc cni-plugins --node all
  larder package install kubelet@1.33.4 --node role=worker
  larder package install kubelet --rollback --node role=worker";

const DOCUMENT: &str = "\
JSON:
  {\"nodes\": [{\"node\", \"address\", \"architecture\", \"sent\", \"attempts\", \"elapsed\", and one of:
    \"packages\": [{\"title\", \"path\", \"was_there\", \"installed\": {\"base\", \"current\", \"previous\",
      \"state\": \"present\" | \"installed\"}}],
    \"returned\": [{\"base\", \"current\", \"previous\", \"state\": \"returned\"}],
    \"failure\": {\"message\", \"kind\", \"hints\": []}}]}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let Args { wishes, require_signature, rollback, sending } = args;
    if !rollback {
        let report = sending.place(wishes, *require_signature, true, invocation)?;
        return ensure::tell(&report, invocation);
    }
    let engine = invocation.engine()?;
    let fleet = sending.nodes.fleet(engine.config(), invocation)?;
    let (wishes, jobs) = (wishes.clone(), fleet::at_once(invocation));
    let report = invocation.wait(async move { engine.roll_back_packages(&wishes, &fleet, jobs).await })??;
    ensure::tell(&report, invocation)
}
