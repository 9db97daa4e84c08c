//! Values of charts: every image that could be switched on.

use super::pattern::Step;
use super::scanner::{Scan, Scanner};
use super::walk::{Origin, Walk};
use super::{Confidence, Reason};
use larder_gotemplate::Value;
use larder_gotemplate::yaml::{Node, NodeKind, Scalar, Style};

/// How values are read.
#[derive(Debug, Clone)]
pub struct ValuesOptions {
    /// No find is surer than this: values say what could be asked for.
    pub confidence: Confidence,
    /// Tags of images that have none of their own.
    pub app_versions: AppVersions,
}

/// The `appVersion` of a chart and of the charts in it, which is the tag of their images where values give none.
#[derive(Debug, Clone, Default)]
pub struct AppVersions {
    versions: Vec<(Vec<String>, String)>,
}

/// What the values say about all images in them.
pub(super) struct Versions<'v> {
    versions: &'v AppVersions,
    registry: Option<&'v str>,
}

impl Default for ValuesOptions {
    fn default() -> Self {
        Self { confidence: Confidence::Likely, app_versions: AppVersions::default() }
    }
}

impl AppVersions {
    /// Adds the version of the chart whose values are at `path`; the chart itself has the empty path.
    #[must_use]
    pub fn with(mut self, path: &[&str], version: &str) -> Self {
        if !version.is_empty() {
            self.versions.push((path.iter().map(|part| (*part).to_owned()).collect(), version.to_owned()));
        }
        self
    }
}

impl Versions<'_> {
    /// `global.imageRegistry`, which stands for every other registry.
    pub(super) fn registry(&self) -> Option<&str> {
        self.registry
    }

    /// The version of the innermost chart around `path`.
    pub(super) fn of(&self, path: &[Step<'_>]) -> Option<&str> {
        let holds = |chart: &[String]| {
            chart.len() <= path.len() && chart.iter().zip(path).all(|(part, step)| *step == Step::Key(part))
        };
        let charts = self.versions.versions.iter().filter(|(chart, _)| holds(chart));
        charts.max_by_key(|(chart, _)| chart.len()).map(|(_, version)| version.as_str())
    }
}

impl Scanner {
    /// Reads the merged values of a chart. `label` is what finds call the source; they have no lines.
    pub fn scan_values(&self, label: &str, values: &Value, options: &ValuesOptions) -> Scan {
        self.values(label, &node_of(values), Origin::Nowhere, options)
    }

    /// Reads a file of values.
    pub fn scan_values_node(&self, label: &str, values: &Node, options: &ValuesOptions) -> Scan {
        self.values(label, values, Origin::File, options)
    }

    fn values(&self, label: &str, values: &Node, origin: Origin, options: &ValuesOptions) -> Scan {
        let registry =
            values.get("global").and_then(|global| global.get("imageRegistry")).and_then(Node::as_text);
        let versions = Versions {
            versions: &options.app_versions,
            registry: registry.filter(|registry| !registry.is_empty()),
        };
        let mut scan = Scan::default();
        let mut walk = Walk::new(self, label.into(), origin, options.confidence, &mut scan);
        walk.versions = Some(&versions);
        walk.document(values);
        // Texts with variables are templates that the chart fills in; what comes of it stands in its manifests.
        // So it is with objects that charts make more of.
        scan.problems.retain(|problem| {
            !matches!(
                problem.reason,
                Reason::Variable { .. } | Reason::RunTime { .. } | Reason::NoImage | Reason::Elsewhere { .. }
            )
        });
        scan
    }
}

/// A value as the node that would give it.
fn node_of(value: &Value) -> Node {
    let scalar = |text: String, style| NodeKind::Scalar(Scalar { text, style, tag: None });
    let kind = match value {
        Value::Nil | Value::Object(_) => scalar(String::new(), Style::Plain),
        Value::Bool(value) => scalar(value.to_string(), Style::Plain),
        Value::Int(number, _) => scalar(number.to_string(), Style::Plain),
        Value::Float(number) => scalar(number.to_string(), Style::Plain),
        Value::Text(text) => scalar(text.to_str().into_owned(), Style::DoubleQuoted),
        Value::List(list) => NodeKind::List(list.items().iter().map(node_of).collect()),
        Value::Map(map) => {
            let entry = |(key, value): &(larder_gotemplate::Text, Value)| {
                let key =
                    Node { line: 0, column: 0, kind: scalar(key.to_str().into_owned(), Style::DoubleQuoted) };
                (key, node_of(value))
            };
            NodeKind::Map(map.entries().iter().map(entry).collect())
        }
    };
    Node { line: 0, column: 0, kind }
}
