//! `bench serve`: a registry that is asked by many, larder beside Debian's docker-registry on the same content, and beside
//! `sendfile(2)` over the same files.

mod content;
mod contestant;
mod floor;
mod load;
mod push;
mod table;
mod through;

pub(super) use floor::{Arguments as FloorArguments, run as floor};

use super::disk::{self, Disk};
use super::pull::command_line;
use super::{directory, report};
use crate::larder::{Larder, Profile};
use crate::marker::{Mode, settle_part};
use crate::program;
use crate::workspace::root;
use anyhow::Result;
use content::{Content, blob_path, tag_path};
use contestant::Contestant;
use load::{Load, Served, Until};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often everything is measured.
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// How many seconds each measurement takes.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Only the measurements whose name contains one of these words: blobs, manifests, push, crowd,
    /// first, through.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measure this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    larder: Option<PathBuf>,
    /// Print the tables, and leave docs/benchmarks.md as it is.
    #[arg(long)]
    no_write: bool,
}

/// One measurement of one server.
#[derive(Debug, Clone, Copy)]
struct Point {
    bytes_per_second: f64,
    requests_per_second: f64,
    middle: Duration,
    slow: Duration,
    cpu_seconds: f64,
    bytes: f64,
    requests: f64,
}

impl From<Served> for Point {
    fn from(served: Served) -> Self {
        Self {
            bytes_per_second: served.bytes_per_second(),
            requests_per_second: served.requests_per_second(),
            middle: served.quantile(0.5),
            slow: served.quantile(0.99),
            cpu_seconds: served.sampled,
            bytes: served.bytes as f64,
            requests: served.latencies.len() as f64,
        }
    }
}

/// Something that many ask for at once.
struct Scenario {
    name: String,
    kind: &'static str,
    clients: usize,
    paths: Vec<String>,
    /// Points of all rounds: larder, docker-registry, and the ceiling where there is one.
    points: [Vec<Point>; 3],
}

/// Who is measured, in the order of [`Scenario::points`].
const LARDER: usize = 0;
const REGISTRY: usize = 1;
const FLOOR: usize = 2;

/// What holds with 500 clients at once.
#[derive(Debug, Default)]
struct Crowd {
    peaks: [Vec<u64>; 2],
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let binary = match &arguments.larder {
        Some(binary) => binary.clone(),
        None => Larder::build(Profile::Release)?,
    };
    let scratch = directory()?;
    let disk = Disk::fresh(&scratch, 16 << 30)?;
    let wanted = |kind: &str| {
        arguments.only.is_empty() || arguments.only.iter().any(|word| kind.contains(word.as_str()))
    };
    let load = report::load();
    let larder = Larder::new(binary, disk.path().join("larder"));
    let registry = disk.path().join("registry");
    let content = Content::new();
    println!("pushing");
    fill(&content, &larder, &registry)?;

    let mut scenarios: Vec<Scenario> =
        scenarios(&content).into_iter().filter(|scenario| wanted(scenario.kind)).collect();
    let mut pushes = if wanted("push") { push::all() } else { Vec::new() };
    let (mut crowd, mut first) = (Crowd::default(), Vec::new());
    for round in 1..=arguments.rounds.max(1) {
        println!("round {round}");
        measure(&mut scenarios, &content, &larder, &registry, Duration::from_secs_f64(arguments.seconds))?;
        push::measure(&mut pushes, round.into(), &larder, &registry)?;
        if wanted("crowd") {
            crowd.measure(&content, &larder, &registry, Duration::from_secs_f64(arguments.seconds))?;
        }
        if wanted("first") {
            first.push(first_read(&content, &larder)?);
        }
    }
    let through = match wanted("through") {
        true => through::rounds(&disk, &larder, arguments.rounds.max(1))?,
        false => Vec::new(),
    };

    let facts = format!(
        "`cargo xtask {}` at commit {}; {}; load before the run {load}{}; {}; every server on the same fresh ext4 with \
         a journal in a loop file on {}; {} rounds of {} s for each figure, servers in turn; medians.\n",
        command_line(std::env::args().skip(1)),
        report::commit(),
        report::machine(),
        preference(),
        program::version("docker-registry").replace("github.com/docker/distribution ", ""),
        disk::kind(&scratch),
        arguments.rounds.max(1),
        arguments.seconds,
    );
    let body = format!("{facts}\n{}", table::tables(&scenarios, &pushes, &crowd, &first, &through));
    println!("\n{body}");
    if !arguments.no_write && arguments.only.is_empty() {
        settle_part(&root().join("docs/benchmarks.md"), "serve", &body, Mode::Write)?;
    }
    Ok(())
}

/// Whether the kernel prefers this run to other work of the machine (sched(7), "The autogroup feature").
fn preference() -> String {
    let text = std::fs::read_to_string("/proc/self/autogroup").unwrap_or_default();
    match text.trim().rsplit_once(' ') {
        Some((_, nice)) if nice != "0" => {
            format!(", with this run before all other work (autogroup nice {nice})")
        }
        _ => String::new(),
    }
}

fn fill(content: &Content, larder: &Larder, registry: &std::path::Path) -> Result<()> {
    for server in [Contestant::larder(larder, None)?, Contestant::registry(registry, None)?] {
        content.push(server.address)?;
    }
    program::output(&mut Command::new("sync"))?;
    Ok(())
}

fn scenarios(content: &Content) -> Vec<Scenario> {
    let small: Vec<String> = content.small.iter().map(blob_path).collect();
    let large = vec![blob_path(&content.large)];
    let tags: Vec<String> = (0..content.images.len()).map(|number| tag_path(&number.to_string())).collect();
    let digests: Vec<String> =
        content.images.iter().map(|image| tag_path(&image.descriptor.digest.to_string())).collect();
    let mut all = Vec::new();
    for (what, kind, paths) in [
        ("blobs of 1 MB", "blobs", &small),
        ("a blob of 500 MB", "blobs", &large),
        ("manifests by tag", "manifests", &tags),
        ("manifests by digest", "manifests", &digests),
    ] {
        for clients in [1, 10, 100] {
            let who = if clients == 1 { "1 client".to_owned() } else { format!("{clients} clients") };
            all.push(Scenario {
                name: format!("{what}, {who}"),
                kind,
                clients,
                paths: paths.clone(),
                points: Default::default(),
            });
        }
    }
    all
}

/// Every scenario once with every server, in turn.
fn measure(
    scenarios: &mut [Scenario],
    content: &Content,
    larder: &Larder,
    registry: &std::path::Path,
    time: Duration,
) -> Result<()> {
    if scenarios.is_empty() {
        return Ok(());
    }
    let servers = [
        Contestant::larder(larder, None)?,
        Contestant::registry(registry, None)?,
        Contestant::floor(&larder.home().join("blobs/sha256"))?,
    ];
    for server in &servers[..FLOOR] {
        content.check(server.address)?;
    }
    for scenario in scenarios {
        for (number, server) in servers.iter().enumerate() {
            if number == FLOOR && scenario.kind != "blobs" {
                continue;
            }
            let load = Load {
                address: server.address,
                clients: scenario.clients,
                paths: scenario.paths.clone(),
                until: Until::Elapsed(time),
            };
            scenario.points[number].push(load.run(|| server.cpu_seconds())?.into());
        }
    }
    Ok(())
}

impl Crowd {
    /// 500 clients that read the large blob at once, from servers that have just started.
    fn measure(
        &mut self,
        content: &Content,
        larder: &Larder,
        registry: &std::path::Path,
        time: Duration,
    ) -> Result<()> {
        for (number, peaks) in self.peaks.iter_mut().enumerate() {
            let server = match number {
                LARDER => Contestant::larder(larder, None)?,
                _ => Contestant::registry(registry, None)?,
            };
            let paths = vec![blob_path(&content.large)];
            let load = Load { address: server.address, clients: CROWD, paths, until: Until::Elapsed(time) };
            load.run(|| Ok(0.0))?;
            peaks.push(server.peak_bytes()?);
        }
        Ok(())
    }
}

/// The time of the first read of the large blob since the start, and of the second.
fn first_read(content: &Content, larder: &Larder) -> Result<(Duration, Duration)> {
    let server = Contestant::larder(larder, None)?;
    let read = || -> Result<Duration> {
        let paths = vec![blob_path(&content.large)];
        let load = Load { address: server.address, clients: 1, paths, until: Until::Done };
        Ok(load.run(|| Ok(0.0))?.wall)
    };
    Ok((read()?, read()?))
}

const CROWD: usize = 500;
