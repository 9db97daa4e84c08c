//! A chart as it takes part in one rendering: under its alias, with the dependencies that are switched on, and with the values
//! that it imports.

use super::Chart;
use super::metadata::Metadata;
use larder_gotemplate::Map;

#[derive(Clone)]
pub(crate) struct ChartNode<'a> {
    pub(crate) chart: &'a Chart,
    /// Its own, with the alias as name and without dependencies that are switched off.
    pub(crate) metadata: Metadata,
    /// Its own; shared with the chart, so never changed in place.
    pub(crate) values: Map,
    pub(crate) dependencies: Vec<ChartNode<'a>>,
}

impl<'a> ChartNode<'a> {
    /// Everything that lies in the chart, before dependencies are processed.
    pub(crate) fn new(chart: &'a Chart) -> Self {
        Self {
            chart,
            metadata: chart.metadata.clone(),
            values: chart.values.clone(),
            dependencies: chart.dependencies.iter().map(ChartNode::new).collect(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.metadata.name
    }
}
