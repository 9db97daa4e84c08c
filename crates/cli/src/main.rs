#![doc = include_str!("../README.md")]

mod args;
mod commands;
mod credentials;
mod exit;
mod fleet;
mod invocation;
mod journal;
mod problem;
mod recipe;
mod settings;
mod sources;
mod table;
mod terminal;
mod words;

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    // On a node that has no larder-node for itself: nothing of the command, its environment or its threads is wanted there.
    if let [_, word, rest @ ..] = arguments.as_slice()
        && word == NODE_AGENT
    {
        return larder_agent::main(&[NODE_AGENT.into()], rest);
    }
    match args::Cli::try_parse_from(&arguments) {
        Ok(cli) => invocation::run(cli).into(),
        Err(error) => invocation::refuse(&error, &arguments).into(),
    }
}

/// Makes larder behave as larder-node; hidden, since nobody types it (`larder_nodes::agent::Form::Larder`).
const NODE_AGENT: &str = "node-agent";
