//! `bench pull`: how long it takes from a command to a root file system in which programs run.

use super::directory;
use super::disk::{self, Disk};
use super::floor::{self, Way};
use super::peer::Peer;
use super::report::{self, Runs};
use super::usage::{Usage, measure};
use crate::image::Recipe;
use crate::larder::{Larder, Profile};
use crate::marker::{Mode, settle_part};
use crate::program;
use crate::suite;
use crate::workspace::root;
use anyhow::{Context, Result, bail};
use larder_testkit::DockerRegistry;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often each tool starts from nothing.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Also measure the containerd and ctr in this directory; may be given several times.
    #[arg(long, value_name = "DIR")]
    containerd: Vec<PathBuf>,
    /// Also measure the containerd of another Debian suite, fetched from this machine's own mirror; for example `sid`.
    #[arg(long, value_name = "SUITE")]
    containerd_suite: Vec<String>,
    /// Which image.
    #[arg(long, value_enum, default_value_t = Choice::Debian)]
    image: Choice,
    /// Measure this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    larder: Option<PathBuf>,
    /// Only the tools whose name contains one of these words.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Where the loop file with the file system lies.
    #[arg(long, value_name = "DIR")]
    scratch: Option<PathBuf>,
    /// Print the table, and leave docs/benchmarks.md as it is.
    #[arg(long)]
    no_write: bool,
}

/// The images that are measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Choice {
    /// Debian with Python, nginx and a Java runtime: several layers.
    Debian,
    /// The same base under one layer of 2 GB.
    Large,
}

const DEBIAN: Recipe = Recipe {
    name: "debian",
    version: 2,
    variant: "minbase",
    packages: &[&["python3"], &["nginx"], &["default-jre-headless"]],
};
const LARGE: Recipe = Recipe {
    name: "large",
    version: 2,
    variant: "minbase",
    packages: &[&["ghc", "rustc", "default-jdk-headless", "libboost-dev", "nodejs"]],
};

impl Choice {
    fn recipe(self) -> Recipe {
        match self {
            Self::Debian => DEBIAN,
            Self::Large => LARGE,
        }
    }

    /// A program in the image, and arguments with which it succeeds.
    fn proof(self) -> &'static [&'static str] {
        match self {
            Self::Debian => &["/usr/bin/python3", "-c", "import json, ssl"],
            Self::Large => &["/usr/bin/node", "-e", "require('crypto')"],
        }
    }

    fn disk_bytes(self) -> u64 {
        match self {
            Self::Debian => 4 << 30,
            Self::Large => 16 << 30,
        }
    }

    /// The marked part of docs/benchmarks.md.
    fn part(self) -> &'static str {
        match self {
            Self::Debian => "pull",
            Self::Large => "pull-large",
        }
    }
}

/// What stays the same over all rounds.
struct Bench {
    choice: Choice,
    scratch: PathBuf,
    registry: DockerRegistry,
    reference: String,
    layers: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let directory = directory()?;
    let peers = peers(arguments, &directory)?;
    let image = arguments.image.recipe().build(&directory)?;
    let registry = DockerRegistry::start().context("docker-registry does not start")?;
    let reference = format!("{}/bench/{}:1", registry.address(), image.tag);
    image.push(&reference)?;
    let layers = image.layers()?;
    let scratch = arguments.scratch.clone().unwrap_or_else(|| directory.clone());
    let bench = Bench { choice: arguments.image, scratch, registry, reference, layers };
    let load = report::load();
    let (runs, floors) = bench.rounds(arguments.rounds.max(1), &peers)?;

    let facts = bench.facts(&load)?;
    let (table, verdict) = (report::table(&runs, &floors), report::verdict(&runs, &floors));
    println!("\n{facts}\n{table}\n{verdict}");
    let raw: Vec<_> = runs.iter().chain(&floors).map(Runs::raw).collect();
    let file = directory.join(format!("{}.json", bench.choice.part()));
    std::fs::write(&file, serde_json::to_string_pretty(&raw)?)?;
    println!("all runs: {}", file.display());
    if !arguments.no_write {
        let body = format!("{facts}\n{table}\n{verdict}");
        settle_part(&root().join("docs/benchmarks.md"), bench.choice.part(), &body, Mode::Write)?;
    }
    Ok(())
}

/// The tools, larder first.
fn peers(arguments: &Arguments, directory: &Path) -> Result<Vec<Peer>> {
    let binary = match &arguments.larder {
        Some(binary) => binary.clone(),
        None => Larder::build(Profile::Release)?,
    };
    let mut peers = vec![Peer::Larder { binary }];
    for extra in &arguments.containerd {
        peers.push(Peer::containerd(Some(extra))?);
    }
    for name in &arguments.containerd_suite {
        peers.push(Peer::containerd(Some(&suite::containerd(name, directory)?))?);
    }
    peers.extend([Peer::containerd(None)?, Peer::Buildah, Peer::Skopeo]);
    if !arguments.only.is_empty() {
        peers.retain(|peer| arguments.only.iter().any(|word| peer.name().contains(word)));
    }
    if peers.is_empty() {
        bail!("no tool has one of the words {} in its name", arguments.only.join(", "));
    }
    Ok(peers)
}

impl Bench {
    /// Everyone in turn, and again: what else the machine does then falls on all alike.
    fn rounds(&self, rounds: u32, peers: &[Peer]) -> Result<(Vec<Runs>, Vec<Runs>)> {
        let named = |name: String| Runs { name, ..Runs::default() };
        let mut runs: Vec<Runs> = peers.iter().map(|peer| named(peer.name())).collect();
        let ways = Way::all();
        // For each way: without and with the compressed bytes written too.
        let mut tried: Vec<[Runs; 2]> = ways.iter().map(|_| Default::default()).collect();
        for round in 0..rounds as usize {
            for turn in 0..peers.len() {
                let at = (round + turn) % peers.len();
                print!("round {} of {rounds}: {} … ", round + 1, runs[at].name);
                flush();
                self.one(&peers[at], &mut runs[at])
                    .with_context(|| format!("measuring {}", peers[at].name()))?;
            }
            for (way, tried) in ways.iter().zip(&mut tried) {
                for (keep_blobs, tried) in [false, true].into_iter().zip(tried) {
                    let usage = self.floor(*way, keep_blobs)?;
                    tried.cold.push(usage);
                }
            }
            println!("round {} of {rounds}: floor", round + 1);
        }
        let fastest = |kept: usize, name: &str| {
            let wall = |runs: &Runs| report::median(runs.cold.iter().map(|usage| usage.wall.as_secs_f64()));
            let best =
                (0..tried.len()).min_by(|a, b| wall(&tried[*a][kept]).total_cmp(&wall(&tried[*b][kept])));
            best.map(|at| Runs {
                name: format!("{name} ({})", format!("{:?}", ways[at]).to_lowercase()),
                cold: tried[at][kept].cold.clone(),
                ..Runs::default()
            })
        };
        let floors = [fastest(0, "floor"), fastest(1, "floor with the compressed layers written too")];
        Ok((runs, floors.into_iter().flatten().collect()))
    }

    /// One tool, from nothing, on a disk of its own.
    fn one(&self, peer: &Peer, runs: &mut Runs) -> Result<()> {
        let disk = Disk::fresh(&self.scratch, self.choice.disk_bytes())?;
        let mut session = peer.start(disk.path())?;
        self.settle(&peer.programs())?;
        let daemons = session.daemons();
        let received = || {
            // The registry writes its log line after the last byte is out.
            std::thread::sleep(Duration::from_millis(100));
            bytes_sent(&self.registry)
        };
        let mut rootfs = PathBuf::new();
        let cold = measure(&daemons, received, || {
            rootfs = session.rootfs(&self.reference)?;
            Ok(())
        })?;
        self.prove(&rootfs)?;
        println!("{:.2} s", cold.wall.as_secs_f64());
        runs.cold.push(cold);
        let warm = measure(&daemons, received, || {
            rootfs = session.rootfs(&self.reference)?;
            Ok(())
        })?;
        self.prove(&rootfs)?;
        runs.warm.push(warm);
        for _ in 0..5 {
            let start = Instant::now();
            session.pull(&self.reference)?;
            runs.again.push(start.elapsed());
        }
        drop(session);
        Ok(())
    }

    fn floor(&self, way: Way, keep_blobs: bool) -> Result<Usage> {
        let disk = Disk::fresh(&self.scratch, self.choice.disk_bytes())?;
        self.settle(&[])?;
        let mut command = floor::command(way, keep_blobs, disk.path(), &self.layers)?;
        measure(&[], || 0, || program::output(&mut command).map(drop))
    }

    /// Cold means that the tool has nothing; not that its program and the registry's files must come from the disk.
    fn settle(&self, programs: &[PathBuf]) -> Result<()> {
        disk::drop_caches()?;
        for file in programs.iter().chain(&self.layers) {
            std::io::copy(&mut std::fs::File::open(file)?, &mut std::io::sink())?;
        }
        read_all(&self.registry.storage())
    }

    /// A program of the image runs in the root file system.
    fn prove(&self, rootfs: &Path) -> Result<()> {
        let mut chroot = Command::new("chroot");
        program::output(chroot.arg(rootfs).args(self.choice.proof()))
            .context("the root file system is not usable")?;
        Ok(())
    }

    /// What must be known to judge the figures.
    fn facts(&self, load: &str) -> Result<String> {
        let compressed: u64 =
            self.layers.iter().map(|file| file.metadata().map(|m| m.len())).sum::<std::io::Result<_>>()?;
        let mut count = Command::new("sh");
        count.args(["-c", "for f; do gzip -dc \"$f\" | tar -t; done | wc -l", "sh"]).args(&self.layers);
        let entries = program::output(&mut count)?;
        let mut size = Command::new("sh");
        size.args(["-c", "for f; do gzip -dc \"$f\"; done | wc -c", "sh"]).args(&self.layers);
        let unpacked: f64 = program::output(&mut size)?.trim().parse()?;
        Ok(format!(
            "`cargo xtask {}` at commit {}; {}; load before the run {load}.\n\n\
             Image: {} layers (gzip), {:.0} MB compressed, {:.0} MB unpacked, {} entries. File system of every run: a fresh \
             ext4 with a journal in a loop file on {}. Bytes from the network: response bodies, from the registry's log.\n",
            command_line(std::env::args().skip(1)),
            report::commit(),
            report::machine(),
            self.layers.len(),
            compressed as f64 / 1e6,
            unpacked / 1e6,
            entries.trim(),
            disk::kind(&self.scratch),
        ))
    }
}

/// The command that makes these figures again; where something lies on this machine is nobody's business.
pub(super) fn command_line(words: impl Iterator<Item = String>) -> String {
    let mut shown: Vec<String> = Vec::new();
    for word in words.filter(|word| !["--inside", "--optimized"].contains(&word.as_str())) {
        let (option, value) = word.split_once('=').unwrap_or((&word, ""));
        let kind = |option: &str| match option {
            "--containerd" | "--scratch" => Some("DIR"),
            "--larder" => Some("FILE"),
            _ => None,
        };
        match (kind(option), shown.last().and_then(|last| kind(last))) {
            (Some(kind), _) if !value.is_empty() => shown.push(format!("{option}={kind}")),
            (None, Some(kind)) => shown.push(kind.into()),
            _ => shown.push(word),
        }
    }
    shown.join(" ")
}

/// What the registry sent in answers so far: the size in its access log, in Apache's notation
/// (`… "GET /v2/… HTTP/1.1" 200 1234 "" "…"`).
pub(super) fn bytes_sent(registry: &DockerRegistry) -> u64 {
    let size = |line: &str| {
        let (_, rest) = line.split_once("\"GET ")?;
        let (_, rest) = rest.split_once("\" ")?;
        rest.split(' ').nth(1)?.parse::<u64>().ok()
    };
    registry.log().lines().filter_map(size).sum()
}

/// Brings every file of a directory into the page cache.
fn read_all(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory).with_context(|| directory.display().to_string())? {
        let path = entry?.path();
        if path.is_dir() {
            read_all(&path)?;
        } else {
            std::io::copy(&mut std::fs::File::open(&path)?, &mut std::io::sink())?;
        }
    }
    Ok(())
}

fn flush() {
    // A progress line that cannot be shown is no reason to stop measuring.
    let _ = std::io::Write::flush(&mut std::io::stdout());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shown_command_names_no_place() {
        let words = "bench pull --containerd /a/b --larder=/c --rounds 2 --scratch /d --inside --optimized";
        let shown = command_line(words.split(' ').map(str::to_owned));
        assert_eq!(shown, "bench pull --containerd DIR --larder=FILE --rounds 2 --scratch DIR");
    }
}
