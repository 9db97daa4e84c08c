//! `bench deliver`: images to 1, 3 and 10 nodes over SSH, larder's methods beside what people do today.

mod cost;
mod sample;
mod table;
mod way;

use super::pull::command_line;
use super::{directory, disk, report};
use crate::image::{Image, Recipe};
use crate::larder::{Larder, Profile};
use crate::marker::{Mode, settle_part};
use crate::workspace::root;
use anyhow::{Context, Result, ensure};
use cost::Cost;
use larder_testkit::DockerRegistry;
use larder_testkit::nodes::{Engine, Fleet, Plan};
use sample::Sample;
use std::path::{Path, PathBuf};
use way::Way;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How often everything is measured.
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// To how many nodes.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 3, 10])]
    nodes: Vec<usize>,
    /// Only the ways whose name contains one of these words: agent, thin, tunnel, archive, skopeo.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measure this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    larder: Option<PathBuf>,
    /// Print the tables, and leave docs/benchmarks.md as it is.
    #[arg(long)]
    no_write: bool,
}

/// Python on Debian: two layers, and on top a program of one's own.
const RECIPE: Recipe =
    Recipe { name: "app", version: 1, variant: "minbase", packages: &[&["python3", "nginx"]] };

/// All rounds of one way to so many nodes.
#[derive(Debug)]
struct Series {
    way: Way,
    nodes: usize,
    first: Vec<Cost>,
    update: Vec<Cost>,
    again: Vec<Cost>,
}

/// What stays the same over all rounds.
struct Bench {
    sample: Sample,
    larder: Larder,
    directory: tempfile::TempDir,
    /// Runs as long as this value lives.
    _registry: DockerRegistry,
}

pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let directory = directory()?;
    let binary = match &arguments.larder {
        Some(binary) => binary.clone(),
        None => Larder::build(Profile::Release)?,
    };
    let image = RECIPE.build(&directory)?;
    let load = report::load();
    let bench = Bench::prepare(&binary, &image, &directory)?;
    let mut ways = Way::all();
    if !arguments.only.is_empty() {
        ways.retain(|way| arguments.only.iter().any(|word| way.name().contains(word.as_str())));
    }
    let mut all = Vec::new();
    for &nodes in &arguments.nodes {
        let mut series: Vec<Series> = ways.iter().map(|way| Series::new(*way, nodes)).collect();
        for round in 0..arguments.rounds.max(1) as usize {
            for turn in 0..series.len() {
                let at = (round + turn) % series.len();
                println!("{nodes} nodes, round {}: {}", round + 1, series[at].way.name());
                bench.one(&mut series[at])?;
            }
        }
        all.extend(series);
    }
    let facts = format!(
        "`cargo xtask {}` at commit {}; {}; load before the run {load}.\n\n{}\n",
        command_line(std::env::args().skip(1)),
        report::commit(),
        report::machine(),
        bench.sample.describe(),
    );
    let body = format!("{facts}\n{}", table::tables(&all, &bench.sample));
    println!("\n{body}");
    if !arguments.no_write {
        settle_part(&root().join("docs/benchmarks.md"), "deliver", &body, Mode::Write)?;
    }
    Ok(())
}

impl Bench {
    fn prepare(binary: &Path, image: &Image, directory: &Path) -> Result<Self> {
        let registry = DockerRegistry::start().context("docker-registry does not start")?;
        let own = tempfile::Builder::new().prefix("deliver-").tempdir_in(directory)?;
        let sample = Sample::make(image, &registry.host(), own.path())?;
        let larder = Larder::new(binary, own.path().join("larder"));
        for name in sample.names() {
            crate::program::output(&mut larder.command(["pull", "--quiet", name]))?;
        }
        Ok(Self { sample, larder, directory: own, _registry: registry })
    }

    /// One way, to nodes that have nothing.
    fn one(&self, series: &mut Series) -> Result<()> {
        disk::drop_caches()?;
        let plans: Vec<Plan> = (1..=series.nodes)
            .map(|at| Plan::new(&format!("node-{at}"), Engine::Containerd).disk(DISK_BYTES))
            .collect();
        let fleet = Fleet::with(&plans)?;
        // A machine that was used before: its programs are in memory, and so is what is sent.
        self.sample.warm(self.larder.home())?;
        let deliver = |name: &str| {
            let commands = series.way.commands(&self.larder, &fleet, &self.sample, name)?;
            cost::measure(&fleet, commands, self.directory.path())
        };
        let first = deliver(&self.sample.first)?;
        self.sample.prove(&fleet, &self.sample.first)?;
        let update = deliver(&self.sample.second)?;
        self.sample.prove(&fleet, &self.sample.second)?;
        let again = deliver(&self.sample.second)?;
        println!("  {first}\n  {update}\n  {again}");
        ensure!(
            !series.way.is_larder() || again.to_nodes < 200_000 * series.nodes as u64,
            "{} bytes to say that nothing is missing",
            again.to_nodes
        );
        series.first.push(first);
        series.update.push(update);
        series.again.push(again);
        Ok(())
    }
}

impl Series {
    fn new(way: Way, nodes: usize) -> Self {
        Self { way, nodes, first: Vec::new(), update: Vec::new(), again: Vec::new() }
    }
}

/// In memory, and only as much as is used: ten nodes do not share one disk as they would not in life.
const DISK_BYTES: u64 = 4 << 30;
