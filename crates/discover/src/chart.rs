//! Helm charts: loading them, and rendering them as `helm template` does, without Helm.
//!
//! Follows Helm 4.2. Where 3.x differs, the place says so: `.Chart` was a struct there, defaults of `null` were handed on, and
//! files of values had one document.
//!
//! A chart holds values that are shared by reference, so it stays in the thread that loaded it; what rendering gives can be sent.

mod acceptance;
mod archive;
mod capabilities;
mod coalesce;
mod dependencies;
mod diagnostic;
mod directory;
mod document;
mod failure;
mod fields;
mod file;
mod files;
mod glob;
mod ignore;
mod limits;
mod metadata;
mod node;
mod outline;
mod overrides;
mod pattern;
mod print;
mod render;
mod schema;
mod set;
mod split;
mod values;
mod version;

pub use capabilities::{API_VERSIONS, Capabilities, HELM_VERSION, KUBE_VERSION, KubeVersion};
pub use diagnostic::{Diagnostic, Remedy, Severity};
pub use document::{Document, Hook};
pub use file::File;
pub use limits::Limits;
pub use metadata::{Dependency, ImportValue, Lock, Maintainer, Metadata};
pub use outline::Part;
pub use overrides::{Overrides, ValuesFile};
pub use print::Print;
pub use render::{RenderOptions, Rendered};
pub use set::{MAX_INDEX, MAX_NESTING, SetError, SetKind, set};
pub use values::{deep_copy, merged, path_value, read_values, table};

use crate::content;
use crate::error::{Error, Result};
use fields::Fields;
use larder_gotemplate::{Map, Text, yaml};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A chart and the charts in it.
#[derive(Clone)]
pub struct Chart {
    metadata: Metadata,
    lock: Option<Lock>,
    templates: Vec<File>,
    files: Vec<File>,
    values: Map,
    schema: Option<Text>,
    dependencies: Vec<Chart>,
    warnings: Vec<Diagnostic>,
}

impl Chart {
    /// Loads a chart from a directory, or from an archive made by `helm package`.
    pub fn load(path: &Path, limits: &Limits) -> Result<Self> {
        let fails = |source| Error::Read { path: path.into(), source };
        let place = path.display().to_string();
        let files = if fs::metadata(path).map_err(fails)?.is_dir() {
            directory::read(path, limits)?
        } else {
            archive::read(&place, &content::read(path, limits.bytes).map_err(fails)?, limits)?
        };
        Self::from_files(&place, files, limits)
    }

    /// Loads a chart from the bytes of an archive; `place` is how it is called in errors.
    pub fn load_archive(place: &str, bytes: &[u8], limits: &Limits) -> Result<Self> {
        Self::from_files(place, archive::read(place, bytes, limits)?, limits)
    }

    /// Makes a chart of its files, whatever they come from (Helm, pkg/chart/v2/loader/load.go).
    pub fn from_files(place: &str, files: Vec<File>, limits: &Limits) -> Result<Self> {
        let mut budget = Budget { limits, bytes: 0, files: 0 };
        budget.charge(place, &files)?;
        Loader { place, budget: &mut budget, depth: 0 }.load(files)
    }

    /// The chart's name.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// What `Chart.yaml` says.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// What `Chart.lock` says, if there is one.
    pub fn lock(&self) -> Option<&Lock> {
        self.lock.as_ref()
    }

    /// The charts in `charts/`, by their names there, whether they are switched on or not.
    pub fn dependencies(&self) -> &[Self] {
        &self.dependencies
    }

    /// What `values.yaml` says. The map is the chart's own: a change is seen by everybody who has it.
    pub fn values(&self) -> &Map {
        &self.values
    }

    /// Files in `templates/`.
    pub fn templates(&self) -> &[File] {
        &self.templates
    }

    /// All other files, `crds/` among them, without those of subcharts: what `.Files` has.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// `values.schema.json`, if there is one.
    pub fn schema(&self) -> Option<&[u8]> {
        self.schema.as_ref().map(Text::as_bytes)
    }

    /// What was passed over when the chart was loaded.
    pub fn warnings(&self) -> &[Diagnostic] {
        &self.warnings
    }

    /// Declared dependencies that are not in `charts/`; Helm refuses a chart that lacks one, even one that is switched off.
    pub fn missing_dependencies(&self) -> Vec<&Dependency> {
        let present: Vec<&str> = self.dependencies.iter().map(Self::name).collect();
        dependencies::missing(&self.metadata, &present)
    }
}

/// What is left of the limits.
struct Budget<'a> {
    limits: &'a Limits,
    bytes: u64,
    files: usize,
}

impl Budget<'_> {
    fn charge(&mut self, place: &str, files: &[File]) -> Result<()> {
        self.bytes += files.iter().map(|file| file.size()).sum::<u64>();
        self.files += files.len();
        let over = |what, limit| Err(Error::Limit { what, limit, place: place.into() });
        if self.bytes > self.limits.bytes {
            return over("bytes of a chart", self.limits.bytes);
        }
        if self.files > self.limits.files {
            return over("files of a chart", self.limits.files as u64);
        }
        Ok(())
    }
}

struct Loader<'a, 'b> {
    place: &'a str,
    budget: &'a mut Budget<'b>,
    depth: usize,
}

impl Loader<'_, '_> {
    fn load(&mut self, files: Vec<File>) -> Result<Chart> {
        let mut chart = Chart {
            metadata: Metadata::default(),
            lock: None,
            templates: Vec::new(),
            files: Vec::new(),
            values: Map::new(),
            schema: None,
            dependencies: Vec::new(),
            warnings: Vec::new(),
        };
        let Some(own) = files.iter().find(|file| file.name == "Chart.yaml") else {
            return Err(Error::NoChart { place: self.place.into() });
        };
        self.fields(own, |fields| chart.metadata.read(fields))?;
        if chart.metadata.api_version.is_empty() {
            // Helm 2 did not know it.
            chart.metadata.api_version = "v1".into();
        }
        let mut subcharts: BTreeMap<String, Vec<File>> = BTreeMap::new();
        for file in files {
            self.sort(file, &mut chart, &mut subcharts)?;
        }
        chart.metadata.validate(self.place)?;
        for (name, files) in subcharts {
            if name.starts_with(['_', '.']) {
                continue;
            }
            let loaded = self.subchart(&name, &files).map_err(|source| Error::Subchart {
                name,
                parent: chart.name().into(),
                source: Box::new(source),
            })?;
            chart.dependencies.push(loaded);
        }
        Ok(chart)
    }

    /// Puts one file where it belongs.
    fn sort(&self, file: File, chart: &mut Chart, subcharts: &mut BTreeMap<String, Vec<File>>) -> Result<()> {
        let is_first_version = chart.metadata.api_version == "v1";
        match file.name.as_str() {
            "Chart.yaml" => {}
            "Chart.lock" => chart.lock = Some(self.fields(&file, Lock::read)?),
            "values.yaml" => {
                chart.values =
                    read_values(&format!("{}/{}", self.place, file.name), file.data()?.as_bytes())?;
            }
            "values.schema.json" => chart.schema = Some(file.data()?.clone()),
            "requirements.yaml" | "requirements.lock" => {
                if file.name.ends_with(".lock") {
                    chart.lock = Some(self.fields(&file, Lock::read)?);
                } else {
                    self.fields(&file, |fields| chart.metadata.read(fields))?;
                }
                if is_first_version {
                    chart.files.push(file);
                } else {
                    let message =
                        format!("{}: dependencies belong into Chart.yaml since apiVersion v2", file.name);
                    chart.warnings.push(Diagnostic::warning(self.place, message));
                }
            }
            name if name.starts_with("templates/") => chart.templates.push(file),
            name => match name.strip_prefix("charts/") {
                Some(inner) if !inner.ends_with(".prov") => {
                    let top = inner.split('/').next().unwrap_or(inner).to_owned();
                    subcharts.entry(top).or_default().push(file.renamed(inner.to_owned()));
                }
                _ => chart.files.push(file),
            },
        }
        Ok(())
    }

    fn subchart(&mut self, name: &str, files: &[File]) -> Result<Chart> {
        let limit = self.budget.limits.depth;
        if self.depth >= limit {
            return Err(Error::Limit {
                what: "charts within charts",
                limit: limit as u64,
                place: self.place.into(),
            });
        }
        let place = format!("{}/charts/{name}", self.place);
        let files = if name.ends_with(".tgz") {
            match files {
                [file] if file.name == name => {
                    let files = archive::read(&place, file.data()?.as_bytes(), self.budget.limits)?;
                    self.budget.charge(&place, &files)?;
                    files
                }
                _ => return Err(Error::NoArchive { place }),
            }
        } else {
            // A file directly below `charts/` is part of no chart.
            let inner = |file: &File| Some(file.renamed(file.name.split_once('/')?.1.to_owned()));
            files.iter().filter_map(inner).collect()
        };
        Loader { place: &place, budget: &mut *self.budget, depth: self.depth + 1 }.load(files)
    }

    fn fields<T>(&self, file: &File, read: impl FnOnce(&Fields<'_>) -> Result<T>) -> Result<T> {
        let place = format!("{}/{}", self.place, file.name);
        match yaml::documents(file.data()?.as_bytes(), &yaml::Limits::default()).next() {
            None => read(&Fields::none()),
            Some(Ok(node)) => {
                let loaded = Fields::of(&node).and_then(|fields| read(&fields));
                loaded.map_err(|source| Error::Load { place, source: Box::new(source) })
            }
            Some(Err(source)) => Err(Error::Yaml { place, first_line: 0, source }),
        }
    }
}

/// The path of a chart below another one, as in `# Source:`.
fn path_of(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/charts/{name}") }
}
