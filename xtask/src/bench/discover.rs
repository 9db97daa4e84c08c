//! `bench discover`: how complete and how exact discovery is, and how fast.

#[path = "../../../crates/discover/tests/corpus/measure.rs"]
mod measure;

use super::{directory, report};
use crate::larder::{Larder, Profile};
use crate::marker::{Mode, settle_part};
use crate::workspace::{Workspace, root};
use anyhow::{Context, Result, ensure};
use measure::Measure;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// How many manifests.
    #[arg(long, default_value_t = 2000)]
    manifests: usize,
    /// How many charts.
    #[arg(long, default_value_t = 50)]
    charts: usize,
    /// Charts from this directory, in the order of their names, and not those of the tests over and over.
    #[arg(long, value_name = "DIR")]
    charts_from: Option<PathBuf>,
    /// How often; the median counts.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Measure this binary instead of building one.
    #[arg(long, value_name = "FILE")]
    larder: Option<PathBuf>,
    /// Print the table, and leave docs/benchmarks.md as it is.
    #[arg(long)]
    no_write: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let binary = match &arguments.larder {
        Some(binary) => binary.clone(),
        None => Larder::build(Profile::Release)?,
    };
    let load = report::load();
    let corpus = root().join("crates/discover/tests/corpus");
    let measure = Measure::of(&corpus);
    println!("{measure}");

    let place = tempfile::tempdir_in(directory()?).context("no temporary directory")?;
    let charts = charts(arguments)?;
    let all = place.path().join("all");
    let manifests = write_manifests(&corpus, &all.join("manifests"), arguments.manifests)?;
    for (at, chart) in charts.iter().enumerate() {
        let copied = all.join(format!("charts/{at:03}"));
        std::fs::create_dir_all(copied.parent().context("it is in charts/")?)?;
        let status = Command::new("cp").arg("-rL").arg(chart).arg(&copied).status()?;
        ensure!(status.success(), "cannot copy {}", chart.display());
    }
    let larder = Larder::new(&binary, place.path().join("home"));
    let mut whole = Vec::new();
    let mut images = 0;
    for _ in 0..arguments.rounds.max(1) {
        let mut command = larder.command(["discover", "--quiet", "--output", "images"]);
        let (took, output) = time(command.arg(&all))?;
        images = output.iter().filter(|byte| **byte == b'\n').count();
        ensure!(images > 0, "nothing was found");
        whole.push(took);
    }
    let whole = middle(&whole);

    let helm = Workspace::read()?.target.join("helm/helm-3.10.1");
    let beside = helm.is_file().then(|| ratios(&helm, &larder, &charts, arguments.rounds)).transpose()?;
    let beside = match &beside {
        Some(ratios) if !ratios.is_empty() => {
            let mut sorted: Vec<f64> = ratios.iter().map(Ratio::times).collect();
            sorted.sort_by(f64::total_cmp);
            let slow = ratios.iter().filter(|chart| chart.times() < AIM);
            let slow: Vec<String> =
                slow.map(|chart| format!("{} ({:.1}×)", chart.name, chart.times())).collect();
            let sum = |pick: fn(&Ratio) -> f64| ratios.iter().map(pick).sum::<f64>() * 1e3;
            format!(
                "| `helm template` of Helm 3.10.1, a process for each of {} charts | {:.0} ms | |\n\
                 | `larder render`, a process for each of them | {:.0} ms | |\n\n\
                 For each chart, larder is **{:.1}×** as fast as Helm in the median, {:.1}× in the worst case (aim: {AIM}×). \
                 Below the aim: {}.\n",
                ratios.len(),
                sum(|chart| chart.helm),
                sum(|chart| chart.larder),
                sorted[sorted.len() / 2],
                sorted[0],
                if slow.is_empty() { "none".to_owned() } else { slow.join(", ") },
            )
        }
        _ => "\nHelm is not installed here (`cargo xtask test` installs it), so nothing was measured beside it.\n".into(),
    };
    let charts_of = match arguments.charts_from {
        Some(_) => "public ones",
        None => "those of the tests, over and over",
    };
    let body = format!(
        "`cargo xtask bench discover{}` at commit {}; {}; load before the run {load}; whole processes, medians of {} rounds.\n\n\
         | | median | aim |\n|---|---|---|\n\
         | `larder discover` of {} manifests in as many files ({:.1} MB) and {} charts ({charts_of}): {images} images | {:.0} ms | 1,000 ms |\n\
         {beside}\n\
         Of {} labelled references in the corpus of manifests, {:.1} % are found (aim: 100 %); of what is called likely or \
         certain, {:.1} % is one (aim: 99 %).\n",
        if arguments.charts_from.is_some() { " --charts-from DIR" } else { "" },
        report::commit(),
        report::machine(),
        arguments.rounds,
        arguments.manifests,
        manifests as f64 / 1e6,
        charts.len(),
        whole * 1e3,
        measure.labelled,
        measure.recall() * 100.0,
        measure.precision() * 100.0,
    );
    println!("\n{body}");
    if !arguments.no_write {
        settle_part(&root().join("docs/benchmarks.md"), "discover", &body, Mode::Write)?;
    }
    Ok(())
}

/// How many times as fast as Helm each chart is to be.
const AIM: f64 = 5.0;

/// One chart, by both.
struct Ratio {
    name: String,
    helm: f64,
    larder: f64,
}

impl Ratio {
    fn times(&self) -> f64 {
        self.helm / self.larder
    }
}

/// Each chart that Helm can render, in turn.
fn ratios(helm: &Path, larder: &Larder, charts: &[PathBuf], rounds: usize) -> Result<Vec<Ratio>> {
    let mut ratios = Vec::new();
    for chart in charts {
        let (mut helm_times, mut larder_times) = (Vec::new(), Vec::new());
        let mut renders = true;
        for _ in 0..rounds.max(1) {
            let mut command = Command::new(helm);
            let (took, output) = time(command.args(["template", "name"]).arg(chart))?;
            renders &= !output.is_empty();
            helm_times.push(took);
            let mut command = larder.command(["render", "--quiet", "name"]);
            let (took, output) = time(command.arg(chart))?;
            renders &= !output.is_empty();
            larder_times.push(took);
            if !renders {
                break;
            }
        }
        if renders {
            let name = chart.file_name().unwrap_or_default().to_string_lossy().replace("__", "/");
            ratios.push(Ratio { name, helm: middle(&helm_times), larder: middle(&larder_times) });
        }
    }
    Ok(ratios)
}

/// How long a command takes, and what it prints. What it thinks of charts that lack values is not asked.
fn time(command: &mut Command) -> Result<(Duration, Vec<u8>)> {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).output().context("it does not start")?;
    Ok((start.elapsed(), output.stdout))
}

fn middle(times: &[Duration]) -> f64 {
    report::median(times.iter().map(Duration::as_secs_f64))
}

fn charts(arguments: &Arguments) -> Result<Vec<PathBuf>> {
    let own = root().join("crates/discover/tests/charts");
    let from = arguments.charts_from.as_ref().unwrap_or(&own);
    let directory = std::fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))?;
    let mut charts: Vec<PathBuf> = directory.filter_map(|entry| Some(entry.ok()?.path())).collect();
    charts.retain(|chart| chart.join("Chart.yaml").is_file());
    charts.sort();
    ensure!(!charts.is_empty(), "there is no chart in {}", from.display());
    Ok(match arguments.charts_from {
        Some(_) => charts.into_iter().take(arguments.charts).collect(),
        None => charts.into_iter().cycle().take(arguments.charts).collect(),
    })
}

/// The documents of the corpus, over and over, each in a file. Returns their bytes.
fn write_manifests(corpus: &Path, place: &Path, count: usize) -> Result<usize> {
    let mut documents = Vec::new();
    let directory = std::fs::read_dir(corpus).with_context(|| format!("cannot read {}", corpus.display()))?;
    let mut files: Vec<PathBuf> = directory.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "yaml")) {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        documents.extend(text.split("\n---\n").map(str::to_owned));
    }
    std::fs::create_dir_all(place)?;
    let mut bytes = 0;
    for (at, document) in documents.iter().cycle().take(count).enumerate() {
        bytes += document.len();
        std::fs::write(place.join(format!("{at:05}.yaml")), document)?;
    }
    Ok(bytes)
}
