//! `bench lookup`: how long it takes to find out that there is nothing to do.

use super::disk::{self, Disk};
use super::{Claim, directory, report, stock};
use crate::larder::{Larder, Profile};
use crate::marker::{Mode, settle_part};
use crate::program;
use crate::workspace::root;
use anyhow::{Result, ensure};
use larder_core::{Compression, Platform, Reference};
use larder_engine::Engine;
use larder_fetch::Request;
use larder_testkit::{FaultRegistry, ImageBuilder, Random};
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Images in the store.
    #[arg(long, default_value_t = 10_000)]
    images: u32,
    /// Measure this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    larder: Option<PathBuf>,
    /// Print the table, and leave docs/benchmarks.md as it is.
    #[arg(long)]
    no_write: bool,
}

const PULLS: usize = 100;
const LOOKUPS: u64 = 20_000;
const LAYERS: u32 = 5;

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let binary = match &arguments.larder {
        Some(binary) => binary.clone(),
        None => Larder::build(Profile::Release)?,
    };
    let scratch = directory()?;
    let disk = Disk::fresh(&scratch, 4 << 30)?;
    let larder = Larder::new(binary, disk.path().join("larder"));
    println!("filling a store with {} images", arguments.images);
    let engine = stock::open(larder.home())?;
    stock::fill(engine.store(), arguments.images, LAYERS)?;

    let registry = FaultRegistry::start();
    let image = ImageBuilder::new(7).random_layers(LAYERS as usize, 1 << 20, Compression::Gzip).build();
    image.push(&registry, "bench/lookup", Some("1"));
    let reference = registry.reference("bench/lookup:1").to_string();
    let load = report::load();
    let pull = || -> Result<Duration> {
        let start = Instant::now();
        program::output(&mut larder.command(["pull", "--quiet", &reference]))?;
        Ok(start.elapsed())
    };
    pull()?;
    let sent = image.layers.iter().map(|layer| registry.bytes_sent(&layer.digest)).sum::<u64>();
    let pulls: Vec<Duration> = (0..PULLS).map(|_| pull()).collect::<Result<_>>()?;
    let asked = registry.count("GET|HEAD", "/v2/*/manifests/*");
    ensure!(asked > PULLS, "{asked} requests for the manifest in {PULLS} pulls: the registry was not asked");
    let again = image.layers.iter().map(|layer| registry.bytes_sent(&layer.digest)).sum::<u64>();
    ensure!(again == sent, "a pull with nothing to do fetched layers");
    let (present, absent) = lookups(&engine, arguments.images)?;

    let body = format!(
        "`cargo xtask bench lookup`{} at commit {}; {}; load before the run {load}; fresh ext4 in a loop file on {}.\n\n\
         | in a store of {} images with {LAYERS} layers each | median | 99th of 100 | slowest | aim |\n|---|---|---|---|---|\n\
         {}{}{}",
        if arguments.images == 10_000 { String::new() } else { format!(" with {} images", arguments.images) },
        report::commit(),
        report::machine(),
        disk::kind(&scratch),
        arguments.images,
        row("`larder pull` with nothing to do, whole process, registry asked", &pulls, "15 ms"),
        row("`is_cached`: it is", &present, "1 ms"),
        row("`is_cached`: it is not", &absent, "1 ms"),
    );
    println!("\n{body}");
    if !arguments.no_write {
        settle_part(&root().join("docs/benchmarks.md"), "lookup", &body, Mode::Write)?;
    }
    Claim::new("a pull with nothing to do", &pulls, Duration::from_millis(15)).print();
    Claim::new("is_cached", &present, Duration::from_millis(1)).print();
    Ok(())
}

/// Times of `is_cached` for images that are there and for names that are not, in random order.
fn lookups(engine: &Engine, images: u32) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let fetcher = engine.fetcher()?;
    let mut random = Random::new(7);
    let (mut present, mut absent) = (Vec::new(), Vec::new());
    for _ in 0..LOOKUPS {
        let number = random.below(u64::from(images) * 2) as u32;
        let reference: Reference = stock::name(number)?;
        let request = Request { reference, platform: Platform::host() };
        let start = Instant::now();
        let found = fetcher.is_cached(&request)?;
        let took = start.elapsed();
        ensure!(found == (number < images), "image {number} of {images}: {found}");
        (if found { &mut present } else { &mut absent }).push(took);
    }
    Ok((present, absent))
}

fn row(what: &str, times: &[Duration], aim: &str) -> String {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = |part: f64| sorted[((sorted.len() - 1) as f64 * part).round() as usize];
    format!("| {what} | {:.3?} | {:.3?} | {:.3?} | {aim} |\n", at(0.5), at(0.99), at(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_the_middle_and_the_end() {
        let times: Vec<Duration> = (1..=101).rev().map(Duration::from_millis).collect();
        assert_eq!(row("x", &times, "1 s"), "| x | 51.000ms | 100.000ms | 101.000ms | 1 s |\n");
    }
}
