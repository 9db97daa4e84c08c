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
    match args::Cli::try_parse_from(&arguments) {
        Ok(cli) => invocation::run(cli).into(),
        Err(error) => invocation::refuse(&error, &arguments).into(),
    }
}
