//! `bench discover`: how complete and how exact discovery is, and how fast.

#[path = "../../../crates/discover/tests/corpus/measure.rs"]
mod measure;

use super::report;
use anyhow::{Context, Result};
use larder_discover::manifest::{Rules, Scanner};
use measure::Measure;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many manifests.
    #[arg(long, default_value_t = 2000)]
    manifests: usize,
    /// How often they are read; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let corpus = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/discover/tests/corpus"));
    println!("{}", Measure::of(&corpus));
    let manifests = manifests(&corpus, arguments.manifests)?;
    let bytes: usize = manifests.iter().map(String::len).sum();
    let scanner = Scanner::new(Rules::built_in());
    for threads in [1, 2] {
        let mut times = Vec::new();
        let mut finds = 0;
        for _ in 0..arguments.rounds.max(1) {
            let start = Instant::now();
            finds = scan(&scanner, &manifests, threads);
            times.push(start.elapsed());
        }
        let median = Duration::from_secs_f64(report::median(times.iter().map(Duration::as_secs_f64)));
        println!(
            "{} manifests, {:.1} MB, {finds} finds, {threads} threads: {:.0} ms",
            manifests.len(),
            bytes as f64 / 1e6,
            median.as_secs_f64() * 1e3
        );
    }
    Ok(())
}

fn scan(scanner: &Scanner, manifests: &[String], threads: usize) -> usize {
    let part = manifests.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let parts = manifests.chunks(part);
        let workers: Vec<_> = parts
            .map(|part| {
                scope.spawn(|| {
                    part.iter().map(|text| scanner.scan("m", text.as_bytes()).finds.len()).sum::<usize>()
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().expect("the scanner does not panic")).sum()
    })
}

/// The documents of the corpus, over and over.
fn manifests(corpus: &Path, count: usize) -> Result<Vec<String>> {
    let mut documents = Vec::new();
    let directory = std::fs::read_dir(corpus).with_context(|| format!("cannot read {}", corpus.display()))?;
    let mut files: Vec<PathBuf> = directory.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "yaml")) {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        documents.extend(text.split("\n---\n").map(str::to_owned));
    }
    Ok(documents.into_iter().cycle().take(count).collect())
}
