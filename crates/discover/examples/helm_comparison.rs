//! Renders charts with larder and with Helm and compares every text: `helm_comparison DIR [--only WORD] [--answers FILE]
//! [--show N] [--program yes]`. DIR has charts, unpacked, with their dependencies in `charts/`; each is rendered with its own
//! values and once more with each of its `ci/*values.yaml`. Exits with an error if a text is not that of Helm 4.2.3.
//!
//! `--manifests yes` also compares the documents in their order, wherever the texts are the same.
//!
//! `--program yes` also runs Helm 3.10.1 as a user would, with the charts' own values, and compares what is printed. What it says
//! otherwise is listed and no error: later Helms changed it.
//!
//! What Helm gives differently each time (keys, certificates, times, and checksums of them) is found by asking it twice; such
//! lines are not compared. `--answers` keeps what Helm said, so that the next comparison need not ask.

#![expect(clippy::print_stdout, reason = "a program for people")]

use anyhow::{Context as _, Result, bail};
use larder_core::report;
use larder_discover::chart::{
    Capabilities, Chart, Document, KubeVersion, Limits, Print, RenderOptions, Rendered, read_values,
};
use larder_testkit::tools::{Helm, HelmAnswer, HelmLibrary, HelmRequest};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Texts = BTreeMap<String, String>;

fn main() -> Result<()> {
    let arguments = Arguments::read()?;
    let cases = cases(&arguments.charts, &arguments.only)?;
    let helm = HelmLibrary::installed()?;
    let first = ask(&helm, &cases, &arguments.answers, 1)?;
    let mut results = Vec::new();
    for (case, answer) in cases.iter().zip(&first) {
        let start = Instant::now();
        let ours = render(case);
        results.push((ours, start.elapsed(), answer));
    }
    // Only where something is not the same it matters whether Helm itself says the same twice.
    let differing: Vec<usize> =
        (0..cases.len()).filter(|at| !is_same(&results[*at].0, results[*at].2)).collect();
    let again: Vec<Case> = differing.iter().map(|at| cases[*at].clone()).collect();
    let again = ask(&helm, &again, &arguments.answers, 2)?;
    let again: BTreeMap<usize, &HelmAnswer> = differing.into_iter().zip(&again).collect();
    let mut tally = Tally::default();
    for (at, case) in cases.iter().enumerate() {
        let (ours, took, theirs) = &results[at];
        let verdict = judge(ours, theirs, again.get(&at).copied());
        tally.add(case, verdict, *took, theirs.took, arguments.show);
    }
    let failed = tally.failed();
    tally.print("Helm 4.2.3 as a library");
    if arguments.manifests {
        manifests(&helm, &cases, arguments.show)?;
    }
    if arguments.program {
        program(&cases, arguments.show)?;
    }
    if failed > 0 { bail!("{failed} renderings are not those of Helm") } else { Ok(()) }
}

/// The documents that are no hooks, in order.
fn manifests(helm: &HelmLibrary, cases: &[Case], show: usize) -> Result<()> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for piece in cases.chunks(50) {
        let requests: Vec<HelmRequest> =
            piece.iter().map(|case| HelmRequest { manifest: true, ..case.request() }).collect();
        for (case, theirs) in piece.iter().zip(helm.render(&requests)?) {
            let ours = rendered(case, &Capabilities::default());
            let label = match (&ours, &theirs.texts, &theirs.manifest) {
                (Ok(ours), Ok(texts), _) if ours.texts != without_notes(texts) => "not compared: random",
                (Ok(ours), Ok(_), Some(manifest)) => {
                    let generic = ours.documents.iter().filter(|document| document.hook.is_none());
                    let text = |document: &Document| {
                        format!("---\n# Source: {}\n{}\n", document.source, document.text)
                    };
                    if generic.map(text).collect::<String>() == *manifest { "equal" } else { "different" }
                }
                (Err(_), Err(_), _) => "both fail",
                (Err(_), ..) => "only larder fails",
                _ => "only Helm fails",
            };
            let count = counts.entry(label).or_default();
            *count += 1;
            if matches!(label, "different" | "only larder fails" | "only Helm fails") && *count <= show {
                let why =
                    [ours.err(), theirs.texts.err()].into_iter().flatten().collect::<Vec<_>>().join(" | ");
                println!("documents {label}: {} {why}", case.name);
            }
        }
    }
    println!("documents in order:");
    counts.iter().for_each(|(label, count)| println!("{count:6} {label}"));
    Ok(())
}

fn rendered(case: &Case, capabilities: &Capabilities) -> Result<Rendered, String> {
    let said = |error: larder_discover::Error| report(&error);
    let limits = Limits { outside_links: true, ..Limits::default() };
    let chart = Chart::load(&case.chart, &limits).map_err(said)?;
    let mut options = RenderOptions {
        release: NAME.into(),
        namespace: NAMESPACE.into(),
        capabilities: capabilities.clone(),
        ..Default::default()
    };
    if let Some(path) = &case.values {
        let text = std::fs::read(path).map_err(|error| error.to_string())?;
        options.values = read_values(&path.display().to_string(), &text).map_err(said)?;
    }
    chart.render(&options).map_err(said)
}

/// What Helm 3.10.1 prints, beside what larder prints.
fn program(cases: &[Case], show: usize) -> Result<()> {
    let helm = Helm::installed()?;
    let capabilities = capabilities_of(&helm)?;
    let mut tally = Tally::default();
    for case in cases.iter().filter(|case| case.values.is_none()) {
        let start = Instant::now();
        let ours = printed(case, &capabilities);
        let took = start.elapsed();
        let said = || -> Result<HelmAnswer> {
            let chart = case.chart.display().to_string();
            let arguments = ["template", NAME, &chart, "-n", NAMESPACE, "--kube-version", KUBE_VERSION];
            let outcome = helm.helm(&arguments).outcome()?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let texts = if outcome.status.success() {
                Ok(Texts::from([("output".to_owned(), text_of(&text(&outcome.stdout)))]))
            } else {
                let text = text(&outcome.stderr);
                let text = text.split("Error: ").last().unwrap_or_default();
                Err(text
                    .trim_end_matches("\nUse --debug flag to render out invalid YAML\n")
                    .trim()
                    .to_owned())
            };
            Ok(HelmAnswer { texts, manifest: None, took: outcome.elapsed })
        };
        let theirs = said()?;
        let again = if is_same(&ours, &theirs) { None } else { Some(said()?) };
        tally.add(case, judge(&ours, &theirs, again.as_ref()), took, theirs.took, show);
    }
    tally.print("the program of Helm 3.10.1");
    Ok(())
}

/// What templates find out about the cluster from that Helm.
fn capabilities_of(helm: &Helm) -> Result<Capabilities> {
    let chart = tempfile::tempdir()?;
    std::fs::create_dir(chart.path().join("templates"))?;
    std::fs::write(chart.path().join("Chart.yaml"), "apiVersion: v2\nname: a\nversion: 0.1.0\n")?;
    let template = "versions: {{ .Capabilities.APIVersions | join \" \" }}";
    std::fs::write(chart.path().join("templates/a.yaml"), template)?;
    let said = helm.helm(&["template", NAME, &chart.path().display().to_string()]).run()?.text();
    let versions = said.lines().find_map(|line| line.strip_prefix("versions: ")).context("no versions")?;
    let api_versions = versions.split(' ').map(str::to_owned).collect();
    Ok(Capabilities { kube_version: KubeVersion::parse(KUBE_VERSION)?, api_versions })
}

fn printed(case: &Case, capabilities: &Capabilities) -> Result<Texts, String> {
    let text = rendered(case, capabilities)?.print(&Print::default()).map_err(|error| report(&error))?;
    Ok(Texts::from([("output".to_owned(), text_of(&text))]))
}

/// Without blanks at the ends, which Helm 3 cuts off.
fn text_of(text: &str) -> String {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("\n")
}

struct Arguments {
    charts: PathBuf,
    only: String,
    answers: Option<PathBuf>,
    show: usize,
    program: bool,
    manifests: bool,
}

impl Arguments {
    fn read() -> Result<Self> {
        let mut all = std::env::args().skip(1);
        let charts = all.next().context("name a directory with charts")?.into();
        let mut arguments =
            Self { charts, only: String::new(), answers: None, show: 3, program: false, manifests: false };
        while let Some(name) = all.next() {
            let value = all.next().with_context(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--only" => arguments.only = value,
                "--answers" => arguments.answers = Some(value.into()),
                "--show" => arguments.show = value.parse()?,
                "--manifests" => arguments.manifests = value == "yes",
                "--program" => arguments.program = value == "yes",
                _ => bail!("there is no {name}"),
            }
        }
        Ok(arguments)
    }
}

/// One chart with one set of values.
#[derive(Clone)]
struct Case {
    name: String,
    chart: PathBuf,
    values: Option<PathBuf>,
}

impl Case {
    fn request(&self) -> HelmRequest {
        HelmRequest {
            chart: self.chart.clone(),
            values: self.values.iter().cloned().collect(),
            name: NAME.into(),
            namespace: NAMESPACE.into(),
            manifest: false,
        }
    }
}

fn cases(charts: &Path, only: &str) -> Result<Vec<Case>> {
    let mut cases = Vec::new();
    for chart in sorted(charts)? {
        if !chart.join("Chart.yaml").is_file() {
            continue;
        }
        let name = chart.file_name().context("a name")?.to_string_lossy().into_owned();
        cases.push(Case { name: name.clone(), chart: chart.clone(), values: None });
        for values in sorted(&chart.join("ci")).unwrap_or_default() {
            let file = values.file_name().context("a name")?.to_string_lossy().into_owned();
            if file.ends_with("values.yaml") {
                let name = format!("{name} {file}");
                cases.push(Case { name, chart: chart.clone(), values: Some(values) });
            }
        }
    }
    cases.retain(|case| case.name.contains(only));
    Ok(cases)
}

fn sorted(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries =
        std::fs::read_dir(directory).with_context(|| format!("cannot list {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    Ok(paths)
}

/// Asks Helm, or reads what it said before.
fn ask(helm: &HelmLibrary, cases: &[Case], answers: &Option<PathBuf>, round: u8) -> Result<Vec<HelmAnswer>> {
    let mut known: BTreeMap<String, serde_json::Value> = BTreeMap::new();
    let file = answers.as_ref().map(|path| path.with_extension(format!("{round}.json")));
    if let Some(text) = file.as_ref().and_then(|file| std::fs::read(file).ok()) {
        known = serde_json::from_slice(&text)?;
    }
    let missing: Vec<&Case> = cases.iter().filter(|case| !known.contains_key(&case.name)).collect();
    // In pieces, since the library keeps what it once had in memory.
    for piece in missing.chunks(50) {
        let requests: Vec<HelmRequest> = piece.iter().map(|case| case.request()).collect();
        for (case, answer) in piece.iter().zip(helm.render(&requests)?) {
            let seconds = answer.took.as_secs_f64();
            let value = match answer.texts {
                Ok(texts) => serde_json::json!({ "texts": texts, "seconds": seconds }),
                Err(error) => serde_json::json!({ "error": error }),
            };
            known.insert(case.name.clone(), value);
        }
    }
    if let (Some(file), false) = (file, missing.is_empty()) {
        std::fs::write(&file, serde_json::to_vec(&known)?)?;
    }
    cases.iter().map(|case| HelmAnswer::read(&known[&case.name])).collect()
}

fn render(case: &Case) -> Result<Texts, String> {
    let said = |error: larder_discover::Error| report(&error);
    // Links lead out of a chart in repositories that have several.
    let limits = Limits { outside_links: true, ..Limits::default() };
    let chart = Chart::load(&case.chart, &limits).map_err(said)?;
    let mut options =
        RenderOptions { release: NAME.into(), namespace: NAMESPACE.into(), ..Default::default() };
    if let Some(path) = &case.values {
        let text = std::fs::read(path).map_err(|error| error.to_string())?;
        options.values = read_values(&path.display().to_string(), &text).map_err(said)?;
    }
    Ok(chart.texts(&options).map_err(said)?.texts)
}

/// How the two compare.
enum Verdict {
    Equal,
    /// But for what Helm gives differently each time.
    EqualButRandom,
    /// Both fail, with the same words.
    SameError,
    /// Both fail, with other words.
    OtherError(String),
    Different(String),
    OnlyHelmFails(String),
    OnlyWeFail(String),
}

fn is_same(ours: &Result<Texts, String>, theirs: &HelmAnswer) -> bool {
    match (ours, &theirs.texts) {
        (Ok(ours), Ok(theirs)) => *ours == without_notes(theirs),
        (Err(_), Err(_)) => true,
        _ => false,
    }
}

fn without_notes(texts: &Texts) -> Texts {
    texts
        .iter()
        .filter(|(path, _)| !path.ends_with("NOTES.txt"))
        .map(|(a, b)| (a.clone(), b.clone()))
        .collect()
}

fn judge(ours: &Result<Texts, String>, theirs: &HelmAnswer, again: Option<&HelmAnswer>) -> Verdict {
    match (ours, &theirs.texts) {
        (Ok(_), Err(error)) => Verdict::OnlyHelmFails(error.clone()),
        (Err(error), Ok(_)) => Verdict::OnlyWeFail(error.clone()),
        (Err(ours), Err(theirs)) if ours.contains(theirs.as_str()) => Verdict::SameError,
        (Err(ours), Err(theirs)) => Verdict::OtherError(format!("larder: {ours}\n    Helm: {theirs}")),
        (Ok(ours), Ok(texts)) => {
            let texts = without_notes(texts);
            if *ours == texts {
                return Verdict::Equal;
            }
            let again = again.and_then(|again| again.texts.as_ref().ok()).map(without_notes);
            match difference(ours, &texts, &again.unwrap_or_else(|| texts.clone())) {
                None => Verdict::EqualButRandom,
                Some(difference) => Verdict::Different(difference),
            }
        }
    }
}

/// The first lines that differ, but for those on which Helm differs from itself.
fn difference(ours: &Texts, theirs: &Texts, again: &Texts) -> Option<String> {
    let paths: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    for path in paths {
        let (Some(ours), Some(theirs)) = (ours.get(path), theirs.get(path)) else {
            let who = if ours.contains_key(path) { "larder" } else { "Helm" };
            return Some(format!("{path}: only {who} has it"));
        };
        if ours == theirs {
            continue;
        }
        let (ours, theirs): (Vec<&str>, Vec<&str>) =
            (ours.split('\n').collect(), theirs.split('\n').collect());
        let again: Vec<&str> = again.get(path).map(|again| again.split('\n').collect()).unwrap_or_default();
        let random = again.len() == theirs.len();
        let shown = |line: Option<&&str>| line.map_or("(end)".to_owned(), |line| format!("{line:.200?}"));
        for at in 0..ours.len().max(theirs.len()) {
            if ours.get(at) == theirs.get(at)
                || (random && again.get(at) != theirs.get(at) && at < ours.len())
            {
                continue;
            }
            let (ours, theirs) = (shown(ours.get(at)), shown(theirs.get(at)));
            return Some(format!("{path}:{}\n    larder: {ours}\n    Helm:   {theirs}", at + 1));
        }
    }
    None
}

#[derive(Default)]
struct Tally {
    counts: BTreeMap<&'static str, usize>,
    ours: Duration,
    theirs: Duration,
    ratios: Vec<f64>,
    slowest: Option<(Duration, String)>,
}

impl Tally {
    fn add(&mut self, case: &Case, verdict: Verdict, ours: Duration, theirs: Duration, show: usize) {
        let (label, detail) = match verdict {
            Verdict::Equal => ("equal", None),
            Verdict::EqualButRandom => ("equal but for what is random", None),
            Verdict::SameError => ("both fail, with the same words", None),
            Verdict::OtherError(detail) => ("both fail, with other words", Some(detail)),
            Verdict::Different(detail) => ("different", Some(detail)),
            Verdict::OnlyHelmFails(detail) => ("only Helm fails", Some(detail)),
            Verdict::OnlyWeFail(detail) => ("only larder fails", Some(detail)),
        };
        let count = self.counts.entry(label).or_default();
        *count += 1;
        if let Some(detail) = detail
            && *count <= show
        {
            println!("{label}: {}\n    {detail}", case.name);
        }
        if theirs > Duration::ZERO {
            self.ours += ours;
            self.theirs += theirs;
            self.ratios.push(theirs.as_secs_f64() / ours.as_secs_f64());
        }
        if self.slowest.as_ref().is_none_or(|(most, _)| *most < ours) {
            self.slowest = Some((ours, case.name.clone()));
        }
    }

    /// Renderings that are not those of Helm. Where only Helm fails, it wanted to fetch something.
    fn failed(&self) -> usize {
        let labels = ["different", "only larder fails", "both fail, with other words"];
        labels.iter().filter_map(|label| self.counts.get(label)).sum()
    }

    fn print(mut self, helm: &str) {
        println!("{helm}, {} renderings:", self.counts.values().sum::<usize>());
        for (label, count) in &self.counts {
            println!("{count:6} {label}");
        }
        self.ratios.sort_by(f64::total_cmp);
        if let (Some(median), Some((most, name))) = (self.ratios.get(self.ratios.len() / 2), &self.slowest) {
            println!(
                "loading and rendering: larder {:.2?}, Helm {:.2?}; median of the ratios {median:.1}; slowest for larder: {name} {most:.2?}",
                self.ours, self.theirs
            );
        }
    }
}

const NAME: &str = "release";
const NAMESPACE: &str = "space";
const KUBE_VERSION: &str = "v1.30.0";
