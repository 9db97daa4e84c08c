//! The project's own commands: `cargo xtask test | demo | bench | soak | node-binary | check-layers | generate`.
//!
//! Everything a developer or a build machine runs is here, in one program that needs nothing but cargo and Debian.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to the person who runs it")]

mod bench;
mod demo;
mod enclosure;
mod generate;
mod helm;
mod image;
mod larder;
mod layers;
mod marker;
mod node_binary;
mod packages;
mod program;
mod relay;
mod soak;
mod stage;
mod suite;
mod test;
mod workspace;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own commands.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check everything: format, layers, generated files, lints, tests, doc tests. What `.ci/run` runs.
    Test(test::Arguments),
    /// Show the product on a fresh machine: a local registry, a real image, pull, mount, run, kill, resume.
    Demo(demo::Arguments),
    /// Measure, against the peers and against the floor; writes docs/benchmarks.md.
    Bench(bench::Arguments),
    /// Run one long trial of robustness.
    Soak(soak::Arguments),
    /// Build larder-node, the static program that is sent to nodes, for each architecture that can be built here.
    NodeBinary(node_binary::Arguments),
    /// Check the direction of dependencies, their owners, and the shape of the source.
    CheckLayers,
    /// Write the generated parts of the documentation.
    Generate(generate::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Test(arguments) => test::run(&arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench(arguments) => bench::run(arguments),
        Command::Soak(arguments) => soak::run(&arguments),
        Command::NodeBinary(arguments) => node_binary::run(&arguments),
        Command::CheckLayers => layers::run(),
        Command::Generate(arguments) => generate::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
