//! The kustomization file.

use super::edit;
use super::fault::Fault;
use larder_gotemplate::yaml::{Node, NodeKind};
use std::sync::Arc;

/// A kustomization file, its fields under the names they have today.
#[derive(Debug)]
pub(super) struct File {
    node: Node,
}

impl File {
    /// Takes a document. Fields that there are not are faults, each with its line.
    pub(super) fn new(mut node: Node, faults: &mut Vec<(u32, Fault)>) -> Self {
        if let NodeKind::Map(entries) = &mut node.kind {
            for (key, _) in entries.iter_mut() {
                let Some(name) = edit::scalar_text(key) else { continue };
                // Letters may be upper or lower case, as Go's JSON has it.
                match FIELDS.iter().find(|field| field.eq_ignore_ascii_case(name)) {
                    Some(field) if *field != name => *key = edit::text(*field, key.line),
                    Some(_) => {}
                    None => faults.push((key.line, Fault::UnknownField(name.to_owned()))),
                }
            }
        } else if !node.is_null() {
            faults.push((node.line, Fault::Shape { field: "a kustomization file".into(), wanted: "a map" }));
        }
        Self { node }
    }

    /// Where its fields begin.
    pub(super) fn lines(&self) -> Vec<(u32, Arc<str>)> {
        let entries = self.node.as_map().unwrap_or_default();
        let mut lines: Vec<(u32, Arc<str>)> = entries
            .iter()
            .filter_map(|(key, _)| Some((key.line, Arc::from(edit::scalar_text(key)?))))
            .collect();
        lines.sort();
        lines
    }

    pub(super) fn get(&self, field: &str) -> Option<&Node> {
        self.node.get(field).filter(|node| !node.is_null())
    }

    pub(super) fn text(&self, field: &str) -> Option<(&str, u32)> {
        let node = self.get(field)?;
        Some((edit::scalar_text(node).filter(|text| !text.is_empty())?, node.line))
    }

    /// The items of a list.
    pub(super) fn list(&self, field: &str) -> &[Node] {
        self.get(field).and_then(Node::as_list).unwrap_or_default()
    }

    /// The texts of a list, with their lines.
    pub(super) fn texts(&self, field: &str) -> Vec<(String, u32)> {
        let items = self.list(field).iter();
        items.filter_map(|node| Some((edit::scalar_text(node)?.to_owned(), node.line))).collect()
    }

    pub(super) fn is_component(&self) -> bool {
        edit::text_of(&self.node, "kind") == Some("Component")
    }
}

const FIELDS: &[&str] = &[
    "apiVersion",
    "kind",
    "metadata",
    "openapi",
    "namePrefix",
    "nameSuffix",
    "namespace",
    "commonLabels",
    "labels",
    "commonAnnotations",
    "patchesStrategicMerge",
    "patchesJson6902",
    "patches",
    "images",
    "imageTags",
    "replacements",
    "replicas",
    "vars",
    "sortOptions",
    "resources",
    "components",
    "crds",
    "bases",
    "configMapGenerator",
    "secretGenerator",
    "helmGlobals",
    "helmCharts",
    "helmChartInflationGenerator",
    "generatorOptions",
    "configurations",
    "generators",
    "transformers",
    "validators",
    "buildMetadata",
];
