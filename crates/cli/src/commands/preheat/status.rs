//! `larder preheat status`.

use super::report;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::table::Table;
use crate::words::ago;
use anyhow::Result;
use larder_engine::{NodePhase, PreheatState, Preheats};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Show preheats, or how far one is
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Which one [default: all]
    #[arg(value_name = "ID")]
    id: Option<String>,
}

const EXAMPLES: &str = "\
Examples:
  larder preheat status
  larder preheat status 20260131120000-3f2a01

JSON:
  {\"preheats\": [{\"running\", and what `larder preheat` prints}]}, or one of them";

/// One preheat, and whether it runs.
#[derive(serde::Serialize)]
pub(super) struct Shown {
    pub(super) running: bool,
    #[serde(flatten)]
    pub(super) state: PreheatState,
}

impl Shown {
    pub(super) fn of(preheats: &Preheats, state: PreheatState) -> Self {
        // Who is over between the two looks has written that before.
        let running = preheats.is_running(&state.id);
        let state = if running { state } else { preheats.read(&state.id).unwrap_or(state) };
        Self { running, state }
    }

    /// How far it is, in a word.
    pub(super) fn word(&self) -> &'static str {
        match self.running || self.state.phase.is_final() {
            true => self.state.phase.as_str(),
            false => "interrupted",
        }
    }
}

pub(super) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let preheats = Preheats::of(&invocation.settings()?.config.home);
    if let Some(id) = &args.id {
        let shown = Shown::of(&preheats, preheats.read(id)?);
        let text = || format!("{}: {}\n{}", shown.state.id, shown.word(), report::table(&shown.state));
        invocation.answer(&shown, text)?;
        return Ok(Exit::Done);
    }
    let all: Vec<Shown> = preheats.all()?.into_iter().map(|state| Shown::of(&preheats, state)).collect();
    invocation.answer(&serde_json::json!({ "preheats": all }), || {
        let mut table = Table::new(&["ID", "STATE", "NODES", ">STARTED"]);
        let now = SystemTime::now();
        for shown in &all {
            let state = &shown.state;
            let done = state.nodes.iter().filter(|node| node.phase == NodePhase::Done).count();
            let started = UNIX_EPOCH + Duration::from_secs(state.started);
            let nodes = format!("{done} of {} done", state.nodes.len());
            table.row([state.id.clone(), shown.word().to_owned(), nodes, ago(started, now)]);
        }
        table.to_string()
    })?;
    Ok(Exit::Done)
}
