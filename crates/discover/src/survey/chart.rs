//! What a chart asks for: what it gives when it is rendered, and what its values could switch on.

use super::{Survey, Trouble, Worker};
use crate::chart::{Chart, Diagnostic, RenderOptions, Rendered};
use crate::manifest::{AppVersions, Confidence, Find, Problem, Reason, ValuesOptions};
use larder_gotemplate::{Map, Value};
use std::collections::HashSet;

impl Worker<'_> {
    /// Everything that can be read of a chart is read; what stops Helm is an error in the result.
    pub(super) fn chart(&self, place: &str, chart: crate::Result<Chart>) -> Survey {
        let chart = match chart {
            Ok(chart) => chart,
            Err(error) => return Trouble::of(place, &error).into(),
        };
        let values = match &self.values {
            Ok(values) => values,
            Err(error) => return Trouble::of(chart.name(), error).into(),
        };
        let mut survey = Survey { sources: 1, ..Survey::default() };
        match self.rendered(&chart, values) {
            Ok(rendered) => self.scan_rendered(&rendered, &mut survey),
            Err(error) => survey.troubles.push(Trouble::of(chart.name(), &error)),
        }
        match self.possible(&chart, values) {
            Ok(possible) => {
                let asked: HashSet<_> = survey.finds.iter().map(|find| find.reference.clone()).collect();
                survey.finds.extend(possible.into_iter().filter(|find| !asked.contains(&find.reference)));
            }
            Err(error) => survey.troubles.push(Trouble::of(chart.name(), &error)),
        }
        survey
    }

    fn rendered(&self, chart: &Chart, values: &Map) -> crate::Result<Rendered> {
        let options = self.options;
        chart.render(&RenderOptions {
            release: options.release.clone(),
            namespace: options.namespace.clone(),
            values: values.clone(),
            capabilities: options.capabilities.clone(),
            tolerant: true,
            run: self.run(),
            ..RenderOptions::default()
        })
    }

    fn scan_rendered(&self, rendered: &Rendered, survey: &mut Survey) {
        for document in &rendered.documents {
            let mut scan = self.scanner.scan(&document.source, document.text.as_bytes());
            let below = document.line.saturating_sub(1);
            for place in scan.finds.iter_mut().map(|find| &mut find.place) {
                place.line += below;
            }
            for place in scan.problems.iter_mut().map(|problem| &mut problem.place) {
                place.line += below;
            }
            if document.is_test() {
                // Only `helm test` runs it.
                lower(&mut scan.finds);
            }
            // What is no YAML is among the diagnostics already.
            let told = |problem: &&Problem| !matches!(problem.reason, Reason::Document(_) | Reason::NoObject);
            survey.finds.extend(scan.finds);
            survey.troubles.extend(scan.problems.iter().filter(told).map(Trouble::from));
        }
        for crd in &rendered.crds {
            let data = match crd.data() {
                Ok(data) => data,
                Err(error) => {
                    let unread = Diagnostic::error(crd.name.as_str(), larder_core::report(&error));
                    survey.troubles.push(Trouble::from(&unread));
                    continue;
                }
            };
            let scan = self.scanner.scan(&crd.name, data.as_bytes());
            survey.finds.extend(scan.finds);
            survey.troubles.extend(scan.problems.iter().map(Trouble::from));
        }
        survey.troubles.extend(rendered.diagnostics.iter().map(Trouble::from));
    }

    /// What values and annotations name, of features that are switched off, too.
    fn possible(&self, chart: &Chart, values: &Map) -> crate::Result<Vec<Find>> {
        let parts = chart.outline(values)?;
        let Some(root) = parts.first() else { return Ok(Vec::new()) };
        let mut versions = AppVersions::default();
        for part in &parts {
            let below: Vec<&str> = part.path.split("/charts/").skip(1).collect();
            versions = versions.with(&below, &part.metadata.app_version);
        }
        let options = ValuesOptions { confidence: Confidence::Possible, app_versions: versions };
        let label = format!("values of {}", chart.name());
        let mut finds = self.scanner.scan_values(&label, &Value::Map(root.values.clone()), &options).finds;
        for part in &parts {
            let annotations: Map = part
                .metadata
                .annotations
                .iter()
                .map(|(key, value)| (key.as_str().into(), Value::from(value.as_str())))
                .collect();
            let metadata: Map = [("annotations".into(), Value::Map(annotations))].into_iter().collect();
            let document: Map = [("metadata".into(), Value::Map(metadata))].into_iter().collect();
            let label = format!("{}/Chart.yaml", part.path);
            finds.extend(self.scanner.scan_values(&label, &Value::Map(document), &options).finds);
        }
        lower(&mut finds);
        Ok(finds)
    }
}

fn lower(finds: &mut [Find]) {
    for find in finds {
        find.confidence = Confidence::Possible;
    }
}
