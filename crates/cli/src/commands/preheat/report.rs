//! What became of a preheat, in words.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::problem::Problem;
use crate::table::Table;
use crate::words::{count, size, took};
use anyhow::Result;
use larder_engine::nodes::ImageState;
use larder_engine::{PreheatPhase, PreheatState, PreheatedNode};
use std::time::Duration;

pub(super) const DOCUMENT: &str = "\
JSON:
  {\"id\", \"plan\", \"phase\": \"preparing\" | \"sending\" | \"rolling-back\" | \"done\" | \"failed\" |
    \"cancelled\" | \"rolled-back\", \"started\", \"ended\", \"inventory\", \"namespace\", \"failure\", \"nodes\":
    [{\"node\", \"address\", \"phase\": \"waiting\" | \"sending\" | \"done\" | \"failed\" | \"kept\" |
      \"rolled-back\" | \"stuck\", \"images\", \"missing\", \"sent\", \"attempts\", \"elapsed\",
      \"delivered\": [{\"image\", \"digest\", \"state\": \"present\" | \"delivered\", \"missing_bytes\"}],
      \"before\": {\"runtime\", \"names\": [{\"name\", \"was\", \"becomes\", \"was_there\"}]},
      \"rolled_back\": {\"restored\": [], \"removed\": [], \"left\": []},
      \"failure\" and \"stuck\" (not as before): {\"message\", \"kind\", \"hints\": []}}]}";

/// Shows a report, and what became of it all.
pub(super) fn tell(state: &PreheatState, invocation: &Invocation) -> Result<Exit> {
    invocation.done(state, || table(state))?;
    complain(state, invocation);
    Ok(exit(state))
}

/// What went wrong.
pub(super) fn complain(state: &PreheatState, invocation: &Invocation) {
    for (node, failure) in state.failures() {
        let message = match failure.message.starts_with(node) {
            true => failure.message.clone(),
            false => format!("{node}: {}", failure.message),
        };
        invocation.terminal.complain(&Problem::new(&message, Exit::of(failure.kind), failure.hints.clone()));
    }
    if let Some(failure) = &state.failure {
        let problem = Problem::new(&failure.message, Exit::of(failure.kind), failure.hints.clone());
        invocation.terminal.complain(&problem);
    }
    let stuck = state.nodes.iter().filter(|node| node.stuck.is_some()).count();
    if stuck > 0 {
        let id = &state.id;
        let nodes = count(stuck, "node");
        invocation
            .terminal
            .note(&format!("{nodes} not as before: `larder preheat rollback {id}` tries again"));
    }
}

/// What it ends with.
pub(super) fn exit(state: &PreheatState) -> Exit {
    let nodes = state.failures().map(|(_, failure)| failure.kind);
    let exit = Exit::of_all(nodes.chain(state.failure.as_ref().map(|failure| failure.kind)));
    match state.phase {
        PreheatPhase::Done => exit,
        // What was asked for is that it goes back.
        PreheatPhase::RolledBack if state.nodes.iter().all(|node| node.stuck.is_none()) => Exit::Done,
        _ if exit == Exit::Done => Exit::Unavailable,
        _ => exit,
    }
}

/// A line for each node.
pub(super) fn table(state: &PreheatState) -> String {
    let mut table = Table::new(&["NODE", "STATE", ">IMAGES", ">NEW", ">SENT", ">TIME", "TAKEN BACK"]);
    for node in &state.nodes {
        let new = node.delivered.iter().filter(|image| image.state == ImageState::Delivered).count();
        table.row([
            node.node.clone(),
            node.phase.as_str().to_owned(),
            node.images.to_string(),
            if node.delivered.is_empty() { "-".to_owned() } else { new.to_string() },
            sent(node),
            took(Duration::from_millis(node.elapsed)),
            taken_back(node),
        ]);
    }
    table.to_string()
}

/// How far a node is.
pub(super) fn sent(node: &PreheatedNode) -> String {
    match node.missing > node.sent {
        true => format!("{} of {}", size(node.sent), size(node.missing)),
        false => size(node.sent),
    }
}

fn taken_back(node: &PreheatedNode) -> String {
    let Some(back) = &node.rolled_back else { return "-".into() };
    let mut words = Vec::new();
    let mut say = |names: &[String], what: &str| {
        if !names.is_empty() {
            words.push(format!("{} {what}", count(names.len(), "name")));
        }
    };
    say(&back.removed, "removed");
    say(&back.restored, "restored");
    say(&back.left, "left");
    if words.is_empty() { "nothing to do".into() } else { words.join(", ") }
}
