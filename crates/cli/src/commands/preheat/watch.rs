//! `larder preheat watch`.

use super::report;
use super::status::Shown;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::problem::Usage;
use anyhow::Result;
use larder_engine::{PreheatState, Preheats};
use std::collections::HashMap;
use std::time::Duration;

/// Follow a preheat to its end
///
/// Shows how far it is whenever that changes, and at its end its report. The exit code is that of the preheat.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Which one [default: the one that runs, or the latest]
    #[arg(value_name = "ID")]
    id: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  larder preheat watch
  larder preheat watch 20260131120000-3f2a01 --output json

JSON:
  what `larder preheat` prints, at the end";

/// How often it is looked at.
const TICK: Duration = Duration::from_millis(500);

pub(super) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let preheats = Preheats::of(&invocation.settings()?.config.home);
    let id = match &args.id {
        Some(id) => preheats.read(id)?.id,
        None => latest(&preheats)?,
    };
    let mut told: HashMap<String, String> = HashMap::new();
    loop {
        let shown = Shown::of(&preheats, preheats.read(&id)?);
        if !shown.running && !shown.state.phase.is_final() {
            report::complain(&shown.state, invocation);
            return Err(anyhow::Error::from(larder_engine::Error::NotRunning { id }));
        }
        if !shown.running {
            return report::tell(&shown.state, invocation);
        }
        for (node, line) in lines(&shown.state) {
            if told.get(&node) != Some(&line) {
                invocation.terminal.note(&format!("{node}: {line}"));
                told.insert(node, line);
            }
        }
        std::thread::sleep(TICK);
    }
}

fn latest(preheats: &Preheats) -> Result<String> {
    let all = preheats.all()?;
    let running = all.iter().rev().find(|state| preheats.is_running(&state.id));
    let found = running.or(all.last()).map(|state| state.id.clone());
    found.ok_or_else(|| Usage::new("there is no preheat").into())
}

fn lines(state: &PreheatState) -> Vec<(String, String)> {
    let of_all = (state.id.clone(), state.phase.as_str().to_owned());
    let nodes = state.nodes.iter().map(|node| {
        let line = format!("{}, {}", node.phase.as_str(), report::sent(node));
        (node.node.clone(), line)
    });
    std::iter::once(of_all).chain(nodes).collect()
}
