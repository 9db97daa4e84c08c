//! Everything that some sources ask for: manifests, charts, kustomizations, Dockerfiles, however they lie in directories.
//!
//! What cannot be read is in [`Survey::troubles`]; a survey without errors there is complete.

mod chart;
mod trouble;
mod unit;

pub use trouble::Trouble;

use crate::chart::{Capabilities, Chart, Overrides};
use crate::manifest::{Find, Rules, Scanner};
use larder_gotemplate::Map;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use unit::Unit;

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

    fn extend(&mut self, other: Self) {
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
    let read: Mutex<Vec<Option<Survey>>> = Mutex::new(vec![None; units.len()]);
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
    for found in read.into_inner().expect("no reader panics while it holds this") {
        result.extend(found.expect("every unit is somebody's"));
    }
    result
}

/// One thread of a survey.
struct Worker<'a> {
    scanner: &'a Scanner,
    options: &'a SurveyOptions,
    /// Values are not shared between threads.
    values: crate::Result<Map>,
}

impl Worker<'_> {
    fn read(&self, unit: &Unit<'_>) -> Survey {
        match unit {
            Unit::Text { name, bytes } => self.scan(name, bytes),
            Unit::Manifest(path) => match unit::read(path) {
                Ok(bytes) => self.scan(&path.display().to_string(), &bytes),
                Err(trouble) => trouble.into(),
            },
            Unit::Chart(path) => self.chart(Chart::load(path, &crate::chart::Limits::default())),
            Unit::Archive { name, bytes } => {
                self.chart(Chart::load_archive(name, bytes, &crate::chart::Limits::default()))
            }
        }
    }

    fn scan(&self, name: &str, bytes: &[u8]) -> Survey {
        let scan = self.scanner.scan(name, bytes);
        Survey { finds: scan.finds, troubles: scan.problems.iter().map(Trouble::from).collect(), sources: 1 }
    }
}

impl From<Trouble> for Survey {
    fn from(trouble: Trouble) -> Self {
        Self { troubles: vec![trouble], sources: 1, ..Self::default() }
    }
}
