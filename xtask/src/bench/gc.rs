//! `bench gc`: how long it takes to find out what nothing needs, and to remove it.

use super::disk::{self, Disk};
use super::{Claim, directory, report, stock};
use crate::larder::{Larder, Profile};
use crate::marker::{Mode, settle_part};
use crate::program;
use crate::workspace::root;
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Blobs in the store.
    #[arg(long, default_value_t = 10_000)]
    blobs: u32,
    /// How often.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Measure this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    larder: Option<PathBuf>,
    /// Print the table, and leave docs/benchmarks.md as it is.
    #[arg(long)]
    no_write: bool,
}

/// A manifest, a config and eight layers.
const BLOBS_PER_IMAGE: u32 = 10;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let binary = match &arguments.larder {
        Some(binary) => binary.clone(),
        None => Larder::build(Profile::Release)?,
    };
    let scratch = directory()?;
    let disk = Disk::fresh(&scratch, 4 << 30)?;
    let images = arguments.blobs / BLOBS_PER_IMAGE;
    println!("filling a store with {} blobs", images * BLOBS_PER_IMAGE);
    let full = disk.path().join("full");
    {
        let engine = stock::open(&full)?;
        let store = engine.store();
        stock::fill(store, images, BLOBS_PER_IMAGE - 2)?;
        for number in 0..images / 2 {
            ensure!(store.remove_name(&stock::name(number)?)?, "image {number} has no name");
        }
        store.flush()?;
    }
    let load = report::load();
    let (mut dry, mut half, mut nothing) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..arguments.rounds.max(1) {
        let home = disk.path().join(format!("round{round}"));
        program::output(Command::new("cp").arg("-a").args([&full, &home]))?;
        disk::drop_caches()?;
        let larder = Larder::new(&binary, &home);
        // The first command reads the database from the disk; that is not what is measured.
        larder.json(["stats"])?;
        dry.push(time(&larder, &["gc", "--dry-run"])?);
        ensure!(blobs(&home)? == images * BLOBS_PER_IMAGE, "a dry run removed something");
        half.push(time(&larder, &["gc"])?);
        let left = (images - images / 2) * BLOBS_PER_IMAGE;
        ensure!(blobs(&home)? == left, "{} blobs are left instead of {left}", blobs(&home)?);
        nothing.push(time(&larder, &["gc"])?);
        std::fs::remove_dir_all(&home).with_context(|| home.display().to_string())?;
    }
    let middle = |times: &[Duration]| report::median(times.iter().map(Duration::as_secs_f64)) * 1e3;
    let body = format!(
        "`cargo xtask bench gc` at commit {}; {}; load before the run {load}; fresh ext4 with a journal in a loop file on \
         {}; whole processes, medians of {} rounds.\n\n\
         | in a store of {} blobs, {images} images | median | aim |\n|---|---|---|\n\
         | `larder gc --dry-run` where half may go | {:.0} ms | |\n\
         | `larder gc`: half goes | {:.0} ms | 1,000 ms |\n\
         | `larder gc`: nothing goes | {:.0} ms | |\n",
        report::commit(),
        report::machine(),
        disk::kind(&scratch),
        dry.len(),
        images * BLOBS_PER_IMAGE,
        middle(&dry),
        middle(&half),
        middle(&nothing),
    );
    println!("\n{body}");
    if !arguments.no_write {
        settle_part(&root().join("docs/benchmarks.md"), "gc", &body, Mode::Write)?;
    }
    Claim::new("gc", &half, Duration::from_secs(1)).print();
    Ok(())
}

fn time(larder: &Larder, arguments: &[&str]) -> Result<Duration> {
    let start = Instant::now();
    program::output(&mut larder.command(arguments))?;
    Ok(start.elapsed())
}

fn blobs(home: &Path) -> Result<u32> {
    Ok(std::fs::read_dir(home.join("blobs/sha256"))?.count() as u32)
}
