//! Which subcharts take part, under which name, and what they give their parents (Helm, pkg/chart/v2/util/dependencies.go).

use super::coalesce::{coalesce_values, merge_tables, merge_values};
use super::diagnostic::Diagnostic;
use super::metadata::{Dependency, ImportValue, Metadata};
use super::node::ChartNode;
use super::values::{deep_copy, path_value, table};
use super::version;
use crate::error::Result;
use larder_gotemplate::{Map, Value};

/// Takes out what is switched off, brings in aliases, and imports values. What Helm only logs is added to `diagnostics`.
pub(crate) fn process(
    chart: &mut ChartNode<'_>,
    values: &Map,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<()> {
    let mut processing = Processing { diagnostics, everything: false };
    processing.enabled(chart, values, "")?;
    processing.imports(chart)
}

/// The same, with everything switched on.
pub(crate) fn process_all(chart: &mut ChartNode<'_>, values: &Map) -> Result<()> {
    let mut processing = Processing { diagnostics: &mut Vec::new(), everything: true };
    processing.enabled(chart, values, "")?;
    processing.imports(chart)
}

/// Declared dependencies that are not there.
pub(crate) fn missing<'a>(metadata: &'a Metadata, present: &[&str]) -> Vec<&'a Dependency> {
    let declared = metadata.dependencies().iter();
    declared.filter(|dependency| !present.contains(&dependency.name.as_str())).collect()
}

struct Processing<'a> {
    diagnostics: &'a mut Vec<Diagnostic>,
    /// Nothing is switched off.
    everything: bool,
}

impl Processing<'_> {
    /// `path` leads from the top of `values` to those of this chart, with a dot at its end.
    fn enabled(&mut self, chart: &mut ChartNode<'_>, values: &Map, path: &str) -> Result<()> {
        let Some(mut declared) = chart.metadata.dependencies.take() else { return Ok(()) };
        let fits = |present: &ChartNode<'_>, wanted: &Dependency| {
            present.name() == wanted.name && version::is_in_range(&wanted.version, &present.metadata.version)
        };
        let undeclared = |present: &&ChartNode<'_>| !declared.iter().any(|wanted| fits(present, wanted));
        let mut charts: Vec<ChartNode<'_>> = chart.dependencies.iter().filter(undeclared).cloned().collect();
        for wanted in &mut declared {
            if let Some(present) = chart.dependencies.iter().find(|present| fits(present, wanted)) {
                let mut present = present.clone();
                wanted.place().clone_into(&mut present.metadata.name);
                charts.push(present);
            } else if chart.dependencies.iter().any(|present| present.name() == wanted.name) {
                let message =
                    format!("the dependency {} is there, but not in version {}", wanted.name, wanted.version);
                self.diagnostics.push(Diagnostic::warning(chart.metadata.name.as_str(), message));
            }
            wanted.place().to_owned().clone_into(&mut wanted.name);
        }
        chart.dependencies = charts;
        let values = coalesce_values(chart, values)?;
        for wanted in &mut declared {
            wanted.enabled = true;
        }
        if !self.everything {
            self.tags(&mut declared, &values, chart.name());
            self.conditions(&mut declared, &values, path, chart.name());
        }
        let off: Vec<String> =
            declared.iter().filter(|wanted| !wanted.enabled).map(|wanted| wanted.name.clone()).collect();
        chart.dependencies.retain(|present| !off.iter().any(|name| name == present.name()));
        declared.retain(|wanted| !off.contains(&wanted.name));
        for subchart in &mut chart.dependencies {
            let path = format!("{path}{}.", subchart.name());
            self.enabled(subchart, &values, &path)?;
        }
        chart.metadata.dependencies = (!declared.is_empty()).then_some(declared);
        Ok(())
    }

    fn tags(&mut self, declared: &mut [Dependency], values: &Map, chart: &str) {
        let Some(tags) = table(values, "tags") else { return };
        for wanted in declared {
            let (mut on, mut off) = (false, false);
            for tag in &wanted.tags {
                match tags.get(tag) {
                    None => {}
                    Some(Value::Bool(true)) => on = true,
                    Some(Value::Bool(false)) => off = true,
                    Some(_) => {
                        let message = format!("the tag {tag} of {} is not true or false", wanted.name);
                        self.diagnostics.push(Diagnostic::warning(chart, message));
                    }
                }
            }
            wanted.enabled = on || !off;
        }
    }

    fn conditions(&mut self, declared: &mut [Dependency], values: &Map, path: &str, chart: &str) {
        for wanted in declared {
            for condition in wanted.condition.trim().split(',').filter(|condition| !condition.is_empty()) {
                match path_value(values, &format!("{path}{condition}")) {
                    None => {}
                    Some(Value::Bool(value)) => {
                        wanted.enabled = value;
                        break;
                    }
                    Some(_) => {
                        let message =
                            format!("the condition {condition} of {} is not true or false", wanted.name);
                        self.diagnostics.push(Diagnostic::warning(chart, message));
                    }
                }
            }
        }
    }

    /// Gives parents what they import, the innermost first.
    fn imports(&mut self, chart: &mut ChartNode<'_>) -> Result<()> {
        for subchart in &mut chart.dependencies {
            self.imports(subchart)?;
        }
        let Some(declared) = &chart.metadata.dependencies else { return Ok(()) };
        let values = merge_values(chart, &Map::new())?;
        let mut imported = Map::new();
        for wanted in declared {
            for import in &wanted.import_values {
                let (child, parent) = match import {
                    ImportValue::Export(name) => (format!("exports.{name}"), "."),
                    ImportValue::Map { child, parent } => (child.clone(), parent.as_str()),
                    ImportValue::Other => continue,
                };
                let Some(found) = table(&values, &format!("{}.{child}", wanted.name)) else {
                    let message = format!("import-values: {} has no map {child}", wanted.name);
                    self.diagnostics.push(Diagnostic::warning(chart.metadata.name.as_str(), message));
                    continue;
                };
                imported = merge_tables(&imported, &at_path(parent, found));
            }
        }
        // What the parent says itself wins over what it imports.
        chart.values = merge_tables(&deep_copy(&values), &imported);
        Ok(())
    }
}

/// `values` at the path `path` of a map that has nothing else.
fn at_path(path: &str, values: Map) -> Map {
    if path == "." {
        return values;
    }
    path.rsplit('.').fold(values, |inner, name| {
        let outer = Map::new();
        outer.set(name, Value::from(inner));
        outer
    })
}
