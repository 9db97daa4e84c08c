//! `bench`: figures, taken on real input in one run beside the peers and the floor, as ratios into docs/benchmarks.md.

mod deliver;
mod discover;
mod disk;
mod floor;
mod gc;
mod lookup;
mod peer;
mod pull;
mod report;
mod serve;
mod stock;
mod usage;

use crate::workspace::{Workspace, cargo};
use crate::{enclosure, packages, program};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    bench: Bench,
    /// Set on the command that runs inside the enclosure.
    #[arg(long, hide = true, global = true)]
    inside: bool,
    /// Set on the command that is built for release.
    #[arg(long, hide = true, global = true)]
    optimized: bool,
}

#[derive(Debug, clap::Subcommand)]
enum Bench {
    /// From the command to a usable root file system: larder, containerd, buildah, skopeo with umoci, and the floor.
    Pull(pull::Arguments),
    /// What it costs to find out that there is nothing to do: a warm pull, and `is_cached` in a store of 10,000 images.
    Lookup(lookup::Arguments),
    /// Finding images in manifests: precision and recall over the labelled corpus, and 2,000 manifests.
    Discover(discover::Arguments),
    /// Images to 1, 3 and 10 nodes over SSH, beside `skopeo copy | ssh ctr import`.
    Deliver(deliver::Arguments),
    /// Collecting half of a store of 10,000 blobs.
    Gc(gc::Arguments),
    /// Serving: blobs, manifests and cold images through larder and through docker-registry, beside bare `sendfile`.
    Serve(serve::Arguments),
    /// Only the floor; used by `pull`.
    #[command(hide = true)]
    Floor(floor::Arguments),
    /// Only the ceiling; used by `serve`.
    #[command(hide = true)]
    ServeFloor(serve::FloorArguments),
}

pub(crate) fn run(arguments: Arguments) -> Result<()> {
    if !arguments.optimized {
        return optimized();
    }
    // Nothing of it needs other programs or a network.
    if let Bench::Discover(discover) = &arguments.bench {
        return discover::run(discover);
    }
    if !arguments.inside {
        packages::require(packages::FOR_BENCH)?;
        return enclosure::enter();
    }
    match arguments.bench {
        Bench::Pull(pull) => pull::run(&pull),
        Bench::Lookup(lookup) => lookup::run(&lookup),
        Bench::Discover(_) => unreachable!("it ran before the enclosure"),
        Bench::Deliver(deliver) => deliver::run(&deliver),
        Bench::Gc(gc) => gc::run(&gc),
        Bench::Serve(serve) => serve::run(&serve),
        Bench::Floor(floor) => floor::run(&floor),
        Bench::ServeFloor(floor) => serve::floor(&floor),
    }
}

/// Builds larder and this program for release and hands over: what is measured in process must be optimized too.
fn optimized() -> Result<()> {
    let mut build = cargo();
    build.args([
        "build",
        "--release",
        "--workspace",
        "--bin",
        "larder",
        "--bin",
        "larder-node",
        "--bin",
        "xtask",
    ]);
    program::run(&mut build)?;
    let this = Workspace::read()?.target.join("release/xtask");
    let mut again = Command::new(this);
    program::run(again.args(std::env::args_os().skip(1)).arg("--optimized"))
}

/// A promise about a time, and whether it was kept in this run.
struct Claim {
    what: &'static str,
    took: Duration,
    aim: Duration,
}

impl Claim {
    fn new(what: &'static str, times: &[Duration], aim: Duration) -> Self {
        let took = Duration::from_secs_f64(report::median(times.iter().map(Duration::as_secs_f64)));
        Self { what, took, aim }
    }

    fn print(&self) {
        let verdict = if self.took <= self.aim { "kept" } else { "NOT KEPT" };
        println!("{}: {:.3?}, aim {:?}: {verdict}", self.what, self.took, self.aim);
    }
}

/// Where benchmarks keep what they build.
fn directory() -> Result<PathBuf> {
    let directory = Workspace::read()?.target.join("bench");
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    Ok(directory)
}
