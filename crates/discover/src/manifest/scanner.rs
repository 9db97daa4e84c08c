//! Reads a source and applies the rules to its documents.

use super::walk::{Origin, Walk};
use super::{Confidence, Find, Misplaced, ObjectName, Place, Problem, Reason, Rules};
use larder_gotemplate::yaml::{self, Node};
use std::sync::Arc;

/// Finds the images that manifests ask for.
#[derive(Debug, Clone)]
pub struct Scanner {
    pub(super) rules: Rules,
    pub(super) limits: Limits,
}

/// What one source may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Of each document.
    pub yaml: yaml::Limits,
    /// Finds and problems.
    pub finds: usize,
    /// Documents inside of documents.
    pub embedded: usize,
}

/// What a source asks for, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scan {
    /// The images.
    pub finds: Vec<Find>,
    /// What could not be read. The images there, if any, are missing in `finds`.
    pub problems: Vec<Problem>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { yaml: yaml::Limits::default(), finds: 100_000, embedded: 3 }
    }
}

impl Scanner {
    /// A scanner with these rules only; see [`Rules::built_in`] and [`Rules::before`].
    pub fn new(rules: Rules) -> Self {
        Self::with_limits(rules, Limits::default())
    }

    /// A scanner with other limits.
    pub fn with_limits(rules: Rules, limits: Limits) -> Self {
        Self { rules, limits }
    }

    /// Reads a stream of YAML or JSON documents. `source` is what finds and problems call it.
    pub fn scan(&self, source: &str, bytes: &[u8]) -> Scan {
        let source: Arc<str> = source.into();
        let mut scan = Scan::default();
        let mut documents = yaml::documents(bytes, &self.limits.yaml);
        while let Some(document) = documents.next() {
            match document {
                Ok(node) => self.document(&source, &node, &mut scan),
                Err(error) => {
                    let line = error.line().unwrap_or(1);
                    let is_template = documents.text().contains("{{");
                    let reason = if is_template { Reason::Template } else { Reason::Document(error) };
                    let place = Place { source: source.clone(), line, column: 1, ..Place::default() };
                    scan.problems.push(Problem { place, reason });
                }
            }
            if scan.is_full(&self.limits) {
                let place = Place { source: source.clone(), line: 1, column: 1, ..Place::default() };
                scan.problems.push(Problem { place, reason: Reason::TooMany { limit: self.limits.finds } });
                break;
            }
        }
        scan
    }

    /// Reads a document that is parsed already.
    pub fn scan_node(&self, source: &str, node: &Node) -> Scan {
        let mut scan = Scan::default();
        self.document(&source.into(), node, &mut scan);
        scan
    }

    fn document(&self, source: &Arc<str>, node: &Node, scan: &mut Scan) {
        let reason = match object_of(node) {
            _ if node.as_scalar().is_some() && !node.is_null() => Some(Reason::NoObject),
            Some(object) => misplaced(&object).map(|what| Reason::Misplaced { what }),
            None => None,
        };
        if let Some(reason) = reason {
            let place =
                Place { source: source.clone(), line: node.line, column: node.column, ..Place::default() };
            scan.problems.push(Problem { place, reason });
            return;
        }
        Walk::new(self, source.clone(), Origin::File, Confidence::Certain, scan).document(node);
    }
}

impl Scan {
    pub(super) fn is_full(&self, limits: &Limits) -> bool {
        self.finds.len() + self.problems.len() >= limits.finds
    }

    /// Adds what another source asks for.
    pub fn extend(&mut self, other: Self) {
        self.finds.extend(other.finds);
        self.problems.extend(other.problems);
    }
}

fn misplaced(object: &ObjectName) -> Option<Misplaced> {
    match (object.group(), object.kind.as_str()) {
        ("kustomize.config.k8s.io", "Kustomization" | "Component") => Some(Misplaced::Kustomization),
        ("larder.dev", _) => Some(Misplaced::Cluster),
        _ => None,
    }
}

/// The object a document is.
pub(super) fn object_of(node: &Node) -> Option<ObjectName> {
    let api_version = node.get("apiVersion")?.as_scalar()?.text.clone();
    let kind = node.get("kind")?.as_scalar()?.text.clone();
    let metadata = node.get("metadata");
    let text = |key| {
        metadata
            .and_then(|metadata: &Node| metadata.get(key))
            .and_then(Node::as_scalar)
            .map(|scalar| scalar.text.clone())
    };
    let hook = metadata.and_then(|metadata| metadata.get("annotations")?.get("helm.sh/hook")?.as_scalar());
    Some(ObjectName {
        api_version,
        kind,
        namespace: text("namespace"),
        name: text("name").or_else(|| text("generateName")),
        hook: hook.map(|scalar| scalar.text.clone()),
    })
}
