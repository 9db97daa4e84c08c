//! Why something cannot be searched for images.

use larder_core::{Classify, Kind};
use std::path::PathBuf;

/// What the functions of this crate return.
pub type Result<T> = std::result::Result<T, Error>;

/// Errors of this crate. What is wrong with a chart is said in Helm's words where Helm has some.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or directory could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A file name that is not UTF-8.
    #[error("the name of {} is not UTF-8", path.display())]
    FileName {
        /// Which one.
        path: PathBuf,
    },
    /// A rule of `.helmignore` that cannot be used.
    #[error("{}: {rule:?}: {reason}", path.display())]
    Ignore {
        /// The `.helmignore`.
        path: PathBuf,
        /// The rule.
        rule: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A symbolic link of a chart leads out of it.
    #[error("{} is a symbolic link to {}, which is outside of the chart", path.display(), target.display())]
    OutsideLink {
        /// The link.
        path: PathBuf,
        /// Where it leads.
        target: PathBuf,
    },
    /// A device, a pipe or a socket in a chart.
    #[error("cannot load irregular file {} as it has file mode type bits set", path.display())]
    Irregular {
        /// Which one.
        path: PathBuf,
    },
    /// More than the limits allow.
    #[error("{place}: more than {limit} {what}")]
    Limit {
        /// Which quantity, plural.
        what: &'static str,
        /// The bound.
        limit: u64,
        /// Where.
        place: String,
    },
    /// A packed chart that is not packed with gzip.
    #[error("{place} does not appear to be a gzipped archive")]
    NoArchive {
        /// Which one.
        place: String,
    },
    /// A packed chart that is damaged.
    #[error("cannot read the archive {place}")]
    Archive {
        /// Which one.
        place: String,
        /// Why.
        #[source]
        source: larder_rootfs::Error,
    },
    /// A file of a packed chart that may not be where it is.
    #[error("{place}: {path:?}: {reason}")]
    ArchivePath {
        /// The archive.
        place: String,
        /// The file, as the archive calls it.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A packed chart without a file.
    #[error("{place}: no files in chart archive")]
    EmptyArchive {
        /// Which one.
        place: String,
    },
    /// There is no `Chart.yaml`.
    #[error("{place}: Chart.yaml file is missing")]
    NoChart {
        /// What was taken for a chart.
        place: String,
    },
    /// A file that is not YAML.
    #[error("cannot parse {place}")]
    Yaml {
        /// Which one.
        place: String,
        /// Lines of the file in front of the document that is meant.
        first_line: usize,
        /// Why.
        #[source]
        source: larder_gotemplate::yaml::Error,
    },
    /// A field has the wrong type.
    #[error("line {line}: cannot unmarshal {found} into field {field:?} of type {wanted}")]
    Field {
        /// Its line.
        line: u32,
        /// Its name; empty for a whole document.
        field: &'static str,
        /// What it should be.
        wanted: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A file of a chart with a field of the wrong type.
    #[error("cannot load {place}")]
    Load {
        /// The file.
        place: String,
        /// What is wrong.
        #[source]
        source: Box<Error>,
    },
    /// Values that are no map.
    #[error("{place}: cannot unmarshal {found} into values, which are a map")]
    NoMap {
        /// The file.
        place: String,
        /// What they are.
        found: &'static str,
    },
    /// `Chart.yaml` says something that it may not say.
    #[error("{place}: validation: {reason}")]
    Metadata {
        /// The chart.
        place: String,
        /// What is wrong.
        reason: String,
    },
    /// A chart within a chart cannot be loaded.
    #[error("error unpacking subchart {name} in {parent}")]
    Subchart {
        /// Its name in `charts/`.
        name: String,
        /// The chart that has it.
        parent: String,
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// A text of `--set` or its relatives that cannot be used.
    #[error("failed parsing {flag} data {text:?}")]
    Set {
        /// Which flag.
        flag: &'static str,
        /// What was given.
        text: String,
        /// What is wrong with it.
        #[source]
        source: crate::chart::SetError,
    },
    /// The values of a chart have something else than a map where those of a subchart belong.
    #[error("type mismatch on {subchart}: the values of {chart} have a {found} there")]
    SubchartValues {
        /// The chart.
        chart: String,
        /// The subchart.
        subchart: String,
        /// What is there, in Go's words.
        found: String,
    },
    /// Declared dependencies are not there.
    #[error("found in Chart.yaml, but missing in charts/ directory: {}", names(missing))]
    MissingDependencies {
        /// Which ones.
        missing: Vec<crate::chart::Dependency>,
    },
    /// A chart that has only definitions.
    #[error("library charts are not installable: {name}")]
    Library {
        /// Which one.
        name: String,
    },
    /// A text that is no version of Kubernetes.
    #[error("invalid kube version {text:?}: {reason}")]
    KubeVersion {
        /// What was given.
        text: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A chart that is not for this version of Kubernetes.
    #[error("chart requires kubeVersion: {range} which is incompatible with Kubernetes {version}")]
    WrongKubeVersion {
        /// What the chart says.
        range: String,
        /// The version that was given.
        version: String,
    },
    /// Values that do not fit `values.schema.json`.
    #[error("values don't meet the specifications of the schema(s) in the following chart(s):\n{details}")]
    Schema {
        /// By chart.
        details: String,
    },
    /// A template that cannot be parsed or executed.
    #[error("{message}")]
    Template {
        /// The file, as `# Source:` names it.
        place: String,
        /// In Helm's words, with the place in it.
        message: String,
    },
    /// A rendered document that is not YAML, or no object.
    #[error("YAML parse error on {place}: {reason}")]
    Document {
        /// The template.
        place: String,
        /// The line in what it rendered.
        line: u32,
        /// Why.
        reason: String,
    },
    /// A pattern of `--show-only` that no template matches.
    #[error("could not find template {pattern} in chart")]
    NoTemplate {
        /// The pattern.
        pattern: String,
    },
}

impl Classify for Error {
    fn kind(&self) -> Kind {
        match self {
            Self::Read { source, .. } => match source.kind() {
                std::io::ErrorKind::NotFound => Kind::NotFound,
                std::io::ErrorKind::PermissionDenied => Kind::Denied,
                _ => Kind::Unavailable,
            },
            Self::MissingDependencies { .. } | Self::NoChart { .. } | Self::NoTemplate { .. } => {
                Kind::NotFound
            }
            Self::Archive { .. } => Kind::Corrupt,
            Self::Library { .. } | Self::WrongKubeVersion { .. } => Kind::Unsupported,
            Self::Load { source, .. } | Self::Subchart { source, .. } => source.kind(),
            _ => Kind::Invalid,
        }
    }

    fn hints(&self) -> Vec<String> {
        match self {
            Self::OutsideLink { .. } => {
                vec!["copy what it leads to into the chart, or pack the chart with `helm package`".into()]
            }
            Self::MissingDependencies { missing } => missing.iter().map(how_to_get).collect(),
            Self::Library { .. } => vec!["name a chart that uses it".into()],
            Self::WrongKubeVersion { .. } => {
                vec!["`--kube-version` says which version of Kubernetes the cluster has".into()]
            }
            Self::Load { source, .. } | Self::Subchart { source, .. } => source.hints(),
            _ => Vec::new(),
        }
    }
}

fn names(missing: &[crate::chart::Dependency]) -> String {
    missing.iter().map(|dependency| dependency.name.as_str()).collect::<Vec<_>>().join(", ")
}

/// Where a dependency comes from, and where it belongs.
pub(crate) fn how_to_get(dependency: &crate::chart::Dependency) -> String {
    let crate::chart::Dependency { name, version, repository, .. } = dependency;
    if let Some(registry) = repository.strip_prefix("oci://") {
        let registry = registry.trim_end_matches('/');
        return format!("put {name} {version} from oci://{registry}/{name} into charts/");
    }
    match repository.as_str() {
        "" => format!("put {name} {version} into charts/"),
        repository => format!("put {name} {version} from {repository} into charts/"),
    }
}
