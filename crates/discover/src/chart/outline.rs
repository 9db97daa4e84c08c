//! A chart and everything in it, also what is switched off, each with the values that it would have.

use super::coalesce::coalesce_values;
use super::dependencies;
use super::metadata::Metadata;
use super::node::ChartNode;
use super::{Chart, path_of};
use crate::error::Result;
use larder_gotemplate::{Map, Value};
use std::collections::HashSet;

/// A chart as part of another one, or the outermost one.
#[derive(Clone)]
pub struct Part {
    /// As in `# Source:`: `app`, `app/charts/db`.
    pub path: String,
    /// What its `Chart.yaml` says; the name is the alias.
    pub metadata: Metadata,
    /// Whether conditions and tags leave it in, and all that contain it.
    pub enabled: bool,
    /// Its values: its own defaults, under what those that contain it and the user say. Those of subcharts are in it, too.
    pub values: Map,
}

impl Chart {
    /// The chart and all charts in it, the outermost first, as if everything were switched on; `overrides` are the values of the
    /// user.
    ///
    /// # Errors
    /// [`Error::SubchartValues`](crate::Error::SubchartValues).
    pub fn outline(&self, overrides: &Map) -> Result<Vec<Part>> {
        let mut rendered = ChartNode::new(self);
        dependencies::process(&mut rendered, overrides, &mut Vec::new())?;
        let mut enabled = HashSet::new();
        paths(&rendered, "", &mut enabled);
        let mut whole = ChartNode::new(self);
        dependencies::process_all(&mut whole, overrides)?;
        let values = coalesce_values(&whole, overrides)?;
        let mut parts = Vec::new();
        collect(&whole, "", &values, &enabled, &mut parts);
        Ok(parts)
    }
}

fn paths(chart: &ChartNode<'_>, parent: &str, paths_so_far: &mut HashSet<String>) {
    let path = path_of(parent, chart.name());
    for subchart in &chart.dependencies {
        paths(subchart, &path, paths_so_far);
    }
    paths_so_far.insert(path);
}

fn collect(
    chart: &ChartNode<'_>,
    parent: &str,
    values: &Map,
    enabled: &HashSet<String>,
    parts: &mut Vec<Part>,
) {
    let path = path_of(parent, chart.name());
    let part = Part {
        enabled: enabled.contains(&path),
        metadata: chart.metadata.clone(),
        values: values.clone(),
        path: path.clone(),
    };
    parts.push(part);
    for subchart in &chart.dependencies {
        let below = match values.get(subchart.name()) {
            Some(Value::Map(below)) => below,
            _ => Map::new(),
        };
        collect(subchart, &path, &below, enabled, parts);
    }
}
