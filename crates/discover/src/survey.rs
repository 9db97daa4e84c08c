//! Everything that some sources ask for: manifests, charts, kustomizations, Dockerfiles, however they lie in directories.
//!
//! What cannot be read is in [`Survey::troubles`]; a survey without errors there is complete.

mod chart;
mod cluster;
mod kustomization;
mod trouble;
mod unit;

pub use cluster::wanted_by;
pub use trouble::Trouble;

use crate::chart::{Capabilities, Chart, Overrides};
use crate::cluster::WantedSource;
use crate::dockerfile;
use crate::manifest::{Find, Rules, Scan, Scanner};
use larder_gotemplate::{Map, RunOptions};
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use unit::{Thing, Unit};

/// Something on this machine that asks for images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file or a directory; what it is, is found out.
    Path(PathBuf),
    /// A stream of documents that is no file.
    Text {
        /// What finds call it.
        name: String,
        /// The documents.
        bytes: Vec<u8>,
    },
    /// A packaged chart that is no file.
    Archive {
        /// What errors call it.
        name: String,
        /// As `helm package` makes it.
        bytes: Vec<u8>,
    },
}

/// With what charts are rendered, and how far it is looked.
#[derive(Debug, Clone)]
pub struct SurveyOptions {
    /// Values for every chart.
    pub overrides: Overrides,
    /// `.Release.Name`
    pub release: String,
    /// `.Release.Namespace`
    pub namespace: String,
    /// What the cluster can do.
    pub capabilities: Capabilities,
    /// The moment that templates see, in seconds since 1970.
    pub now: i64,
    /// Where random functions of templates start.
    pub seed: u64,
    /// What images look like.
    pub rules: Rules,
    /// Arguments of Dockerfiles that are given and not their defaults.
    pub build_arguments: HashMap<String, String>,
    /// What was brought of what descriptions of clusters want ([`wanted_by`]).
    pub brought: Vec<(WantedSource, Input)>,
    /// Whether this is for a description of a cluster already: those within one are not followed.
    pub is_within_cluster: bool,
    /// How many sources are read at the same time.
    pub threads: usize,
}

impl Default for SurveyOptions {
    fn default() -> Self {
        Self {
            overrides: Overrides::default(),
            release: "release-name".into(),
            namespace: "default".into(),
            capabilities: Capabilities::default(),
            now: 0,
            seed: 0,
            rules: Rules::built_in(),
            build_arguments: HashMap::new(),
            brought: Vec::new(),
            is_within_cluster: false,
            threads: 2,
        }
    }
}

/// What the sources ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Survey {
    /// In the order of the sources.
    pub finds: Vec<Find>,
    /// What could not be read, or only in part.
    pub troubles: Vec<Trouble>,
    /// Files, charts and kustomizations that were read.
    pub sources: usize,
}

impl Survey {
    /// Whether everything could be read.
    pub fn is_complete(&self) -> bool {
        !self.troubles.iter().any(Trouble::is_error)
    }

    /// Adds what other sources ask for.
    pub fn extend(&mut self, other: Self) {
        self.finds.extend(other.finds);
        self.troubles.extend(other.troubles);
        self.sources += other.sources;
    }
}

/// Reads all inputs, several at a time. The result is in the order of the inputs, whoever was first.
pub fn survey(inputs: &[Input], options: &SurveyOptions) -> Survey {
    let mut units = Vec::new();
    let mut result = Survey::default();
    for input in inputs {
        unit::of(input, &mut units, &mut result.troubles);
    }
    let scanner = Scanner::new(options.rules.clone());
    let next = AtomicUsize::new(0);
    let read: Mutex<Vec<Option<Reading>>> = Mutex::new(vec![None; units.len()]);
    let work = || {
        let worker = Worker { scanner: &scanner, options, values: options.overrides.values() };
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(unit) = units.get(at) else { break };
            let found = worker.read(unit);
            read.lock().expect("no reader panics while it holds this")[at] = Some(found);
        }
    };
    let threads = options.threads.clamp(1, units.len().max(1));
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(work);
        }
        work();
    });
    let read = read.into_inner().expect("no reader panics while it holds this");
    let read: Vec<Reading> = read.into_iter().map(|found| found.expect("every unit is somebody's")).collect();
    // What a kustomization is made of is not asked for by itself, if only the directory was named and not the file.
    let parts: HashSet<&PathBuf> = read.iter().flat_map(|reading| &reading.parts).collect();
    let kept: Vec<bool> = units.iter().map(|unit| unit.is_named || !unit.is_part(&parts)).collect();
    for (reading, kept) in read.into_iter().zip(kept) {
        if kept {
            result.extend(reading.survey);
        }
    }
    result
}

/// What one unit gave.
#[derive(Debug, Clone, Default)]
struct Reading {
    survey: Survey,
    /// Files that went into it and are nothing by themselves, as the file system calls them.
    parts: Vec<PathBuf>,
}

impl From<Survey> for Reading {
    fn from(survey: Survey) -> Self {
        Self { survey, parts: Vec::new() }
    }
}

/// One thread of a survey.
struct Worker<'a> {
    scanner: &'a Scanner,
    options: &'a SurveyOptions,
    /// Values are not shared between threads.
    values: crate::Result<Map>,
}

impl Worker<'_> {
    fn read(&self, unit: &Unit<'_>) -> Reading {
        let limits = crate::chart::Limits::default();
        let survey = match &unit.thing {
            Thing::Text { name, bytes } if dockerfile::begins(bytes) => self.dockerfile(name, bytes).into(),
            Thing::Text { name, bytes } => self.scanner.scan(name, bytes).into(),
            Thing::Manifest(path) => match unit::read(path) {
                Ok(bytes) if dockerfile::begins(&bytes) => {
                    self.dockerfile(&path.display().to_string(), &bytes).into()
                }
                Ok(bytes) => self.cluster(path, &bytes).unwrap_or_else(|| {
                    let scan = self.scanner.scan(&path.display().to_string(), &bytes);
                    scan.into()
                }),
                Err(trouble) => trouble.into(),
            },
            Thing::Dockerfile(path) => match unit::read(path) {
                Ok(bytes) => self.dockerfile(&path.display().to_string(), &bytes).into(),
                Err(trouble) => trouble.into(),
            },
            Thing::Chart(path) => match Chart::load(path, &limits) {
                // It gives nothing by itself, and charts that use it have it in charts/.
                Ok(chart) if chart.metadata().is_library() && !unit.is_named => {
                    Survey { sources: 1, ..Survey::default() }
                }
                chart => self.chart(&path.display().to_string(), chart),
            },
            Thing::Archive { name, bytes } => self.chart(name, Chart::load_archive(name, bytes, &limits)),
            Thing::Kustomization(path) => return self.kustomization(path),
        };
        survey.into()
    }

    fn dockerfile(&self, name: &str, bytes: &[u8]) -> Scan {
        dockerfile::scan(name, &String::from_utf8_lossy(bytes), &self.options.build_arguments)
    }

    /// Moment and seed of templates. No hash of a password is kept, so the cheapest one does (bcrypt has no cost below 4).
    fn run(&self) -> RunOptions<'static> {
        let (now, seed) = ((self.options.now, 0), self.options.seed);
        RunOptions { now, seed, password_cost: Some(4), ..RunOptions::default() }
    }
}

impl From<Scan> for Survey {
    fn from(scan: Scan) -> Self {
        let troubles = scan.problems.iter().map(Trouble::from).collect();
        Self { finds: scan.finds, troubles, sources: 1 }
    }
}

impl From<Trouble> for Survey {
    fn from(trouble: Trouble) -> Self {
        Self { troubles: vec![trouble], sources: 1, ..Self::default() }
    }
}
