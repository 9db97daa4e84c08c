//! `larder nodes trust`.

use crate::exit::Exit;
use crate::fleet::{self, Nodes};
use crate::invocation::Invocation;
use crate::table::Table;
use anyhow::{Context, Result};
use larder_engine::replace_file;
use std::io::ErrorKind;

/// Show a node's host keys, and record them
///
/// Without --accept, the keys that the node shows are printed and nothing is recorded: anybody in between could show some.
/// Compare a fingerprint with what `ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub` says on the node itself, then
/// give it with --accept. What is recorded is in HOME/known_hosts.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    nodes: Nodes,

    /// Record the key that has this fingerprint (SHA256:…)
    #[arg(long, value_name = "FINGERPRINT")]
    accept: Option<String>,

    /// Record whatever key it shows, without comparing: only on a network where nobody can be in between
    #[arg(long, conflicts_with = "accept")]
    accept_any: bool,

    /// Also where another key was recorded before: the machine was installed again
    #[arg(long)]
    replace: bool,
}

const EXAMPLES: &str = "\
Examples:
  larder nodes trust --node worker-1
  larder nodes trust --node worker-1 --accept SHA256:Vh0p…

JSON:
  {\"nodes\": [{\"node\", \"keys\": [{\"type\", \"fingerprint\", \"recorded\"}]}]}";

pub(super) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let config = invocation.settings()?.config;
    let fleet = args.nodes.fleet(&config, invocation)?;
    let path = config.home.join("known_hosts");
    let mut known = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
    };
    let jobs = fleet::at_once(invocation);
    let answers = invocation.wait(async move { fleet.host_keys(jobs).await })?;
    let mut shown = Vec::with_capacity(answers.len());
    for (node, keys) in answers {
        let mut keys = keys?;
        if args.accept_any || args.accept.is_some() {
            known = keys.recorded_in(&known, args.accept.as_deref(), args.replace)?;
        }
        shown.push((node, keys));
    }
    if args.accept_any || args.accept.is_some() {
        std::fs::create_dir_all(&config.home)
            .with_context(|| format!("cannot create {}", config.home.display()))?;
        replace_file(&path, known.as_bytes())?;
    }
    let nodes: Vec<_> =
        shown.iter().map(|(node, keys)| serde_json::json!({ "node": node.name(), "keys": keys })).collect();
    invocation.done(&serde_json::json!({ "nodes": nodes }), || {
        let mut table = Table::new(&["NODE", "TYPE", "FINGERPRINT", "RECORDED"]);
        for (node, keys) in &shown {
            for key in keys.keys() {
                let recorded = if key.recorded { "yes" } else { "no" };
                table.row([node.name(), &key.kind, &key.fingerprint, recorded]);
            }
        }
        table.to_string()
    })?;
    Ok(Exit::Done)
}
