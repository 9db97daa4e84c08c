//! Reads the objects of a cluster.

use crate::manifest::{Find, ObjectName, Place, Reason, Scanner};
use larder_core::{Classify as _, Kind};
use larder_gotemplate::yaml::{self, Node, NodeKind};
use larder_remote::{ApiKind, ApiServer, Error};
use std::sync::Arc;

/// How a cluster is read.
#[derive(Debug, Clone)]
pub struct RunningOptions {
    /// Only this namespace; all of them otherwise.
    pub namespace: Option<String>,
    /// Objects per answer.
    pub page: u32,
    /// Objects at most.
    pub objects: usize,
    /// Answers for one kind at most: a server may go on without giving any object.
    pub pages: usize,
}

/// What a running cluster asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// The version of its API server: `v1.34.2`.
    pub version: String,
    /// Everything it can be asked for, as `--api-versions` names it: `apps/v1/Deployment`.
    pub api_versions: Vec<String>,
    /// The images, object by object.
    pub finds: Vec<Find>,
    /// What could not be read. The images there are missing in `finds`.
    pub problems: Vec<Problem>,
    /// Objects that were read.
    pub objects: usize,
}

/// Something of a cluster that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The path it was asked for under, or the object.
    pub place: String,
    /// What the server said, or what is wrong.
    pub reason: String,
    /// What kind of problem that is.
    pub kind: Kind,
    /// What can be done about it.
    pub hints: Vec<String>,
}

impl Default for RunningOptions {
    fn default() -> Self {
        Self { namespace: None, page: 500, objects: 1_000_000, pages: 20_000 }
    }
}

/// Reads a cluster. `name` is what finds call it.
///
/// # Errors
/// A server that cannot be reached. Whatever it refuses is a problem.
pub async fn scan(
    server: &ApiServer,
    name: &str,
    scanner: &Scanner,
    options: &RunningOptions,
) -> Result<Running, Error> {
    let mut reader = Reader { server, name, scanner, options, result: Running::default() };
    match server.version().await {
        Ok(version) => reader.result.version = version,
        Err(error) => reader.refused("/version", error)?,
    }
    for kind in reader.kinds().await? {
        reader.list(&kind).await?;
    }
    Ok(reader.result)
}

struct Reader<'a> {
    server: &'a ApiServer,
    name: &'a str,
    scanner: &'a Scanner,
    options: &'a RunningOptions,
    result: Running,
}

impl Reader<'_> {
    fn problem(&mut self, place: &str, reason: impl Into<String>) {
        let (place, reason) = (place.to_owned(), reason.into());
        self.result.problems.push(Problem { place, reason, kind: Kind::Invalid, hints: Vec::new() });
    }

    /// What the server does not give is a problem; that it is not there is an error.
    fn refused(&mut self, path: &str, error: Error) -> Result<(), Error> {
        if !error.is_answer() {
            return Err(error);
        }
        let words = larder_core::report(&error);
        let reason = words.strip_prefix(&format!("{path}: ")).unwrap_or(&words).to_owned();
        let (place, kind, hints) = (path.to_owned(), error.kind(), error.hints());
        self.result.problems.push(Problem { place, reason, kind, hints });
        Ok(())
    }

    /// Everything that can be listed and can ask for images: of each kind the version that the server prefers.
    async fn kinds(&mut self) -> Result<Vec<ApiKind>, Error> {
        let found = self.server.kinds().await?;
        for (group, path, error) in found.refused {
            if !PASSED_OVER.contains(&group.as_str()) {
                self.refused(&path, error)?;
            }
        }
        self.result.api_versions = found.versions;
        let mut kinds: Vec<ApiKind> = Vec::new();
        for kind in found.kinds {
            self.result.api_versions.push(format!("{}/{}", kind.group_version(), kind.kind));
            let is_known = |other: &ApiKind| other.plural == kind.plural && other.group == kind.group;
            if kind.listable && !kinds.iter().any(is_known) && may_ask(&kind.group, &kind.plural) {
                kinds.push(kind);
            }
        }
        Ok(kinds)
    }

    /// Reads all objects of a kind, page by page.
    async fn list(&mut self, kind: &ApiKind) -> Result<(), Error> {
        let namespace = self.options.namespace.as_deref();
        if namespace.is_some() && !kind.namespaced {
            return Ok(());
        }
        let path = kind.path(namespace);
        let mut next: Option<String> = None;
        let mut restarted = false;
        for _ in 0..self.options.pages {
            let page = self.server.page(kind, namespace, self.options.page, next.as_deref()).await;
            let bytes = match page {
                Ok(bytes) => bytes,
                Err(Error::ApiStatus { status: 410, .. }) if next.is_some() && !restarted => {
                    // The cluster has moved on since the first page; what is read twice is found once more.
                    (next, restarted) = (None, true);
                    continue;
                }
                Err(error) => return self.refused(&path, error),
            };
            let mut list = match document(&bytes) {
                Ok(list) => list,
                Err(reason) => {
                    self.problem(&path, reason);
                    return Ok(());
                }
            };
            next = list.get("metadata").and_then(|metadata| text(metadata, "continue"));
            let Some(items) = take_items(&mut list) else {
                self.problem(&path, "the answer is no list of objects");
                return Ok(());
            };
            for item in items {
                if self.result.objects >= self.options.objects {
                    let limit = self.options.objects;
                    self.problem(&path, format!("more than {limit} objects; the rest is not read"));
                    return Ok(());
                }
                self.result.objects += 1;
                self.object(item, kind, &path);
            }
            if next.is_none() {
                return Ok(());
            }
        }
        let limit = self.options.pages;
        self.problem(&path, format!("more than {limit} answers; the rest is not read"));
        Ok(())
    }

    fn object(&mut self, mut item: Node, resource: &ApiKind, path: &str) {
        let line = item.line;
        for (key, value) in [("kind", &resource.kind), ("apiVersion", &resource.group_version())] {
            if item.get(key).is_none()
                && let NodeKind::Map(entries) = &mut item.kind
            {
                entries.insert(0, (scalar(key, line), scalar(value, line)));
            }
        }
        tidy(&mut item);
        if is_old_revision(&item) {
            return;
        }
        let metadata = item.get("metadata");
        let part = |key: &str| metadata.and_then(|metadata| text(metadata, key));
        let namespace =
            part("namespace").map(|namespace| format!("namespaces/{namespace}/")).unwrap_or_default();
        let name = part("name").unwrap_or_default();
        let base = path.rsplit_once('/').map_or("", |(base, _)| base);
        let base = base.split("/namespaces/").next().unwrap_or_default();
        let source = format!("{}{base}/{namespace}{}/{name}", self.name, resource.plural);
        let found = self.scanner.scan_node(&source, &item);
        for mut find in found.finds {
            without_lines(&mut find.place);
            self.result.finds.push(find);
        }
        for problem in found.problems {
            // What an object makes the cluster ask for runs there already, and is listed itself.
            if matches!(problem.reason, Reason::Elsewhere { .. } | Reason::ControlPlane { .. }) {
                continue;
            }
            let place = [source.as_str(), problem.place.path.as_str()].join(": ");
            self.problem(&place, problem.reason.to_string());
        }
    }
}

/// JSON from a server is one line: the path of the field is the place.
fn without_lines(place: &mut Place) {
    (place.line, place.column) = (0, 0);
    if place.object.is_none() {
        place.object = Some(Arc::new(ObjectName::default()));
    }
}

/// What was said of an object, without what became of it and who said it when.
fn tidy(item: &mut Node) {
    let NodeKind::Map(entries) = &mut item.kind else { return };
    entries.retain(|(key, _)| !is(key, "status"));
    let metadata = entries.iter_mut().find(|(key, _)| is(key, "metadata"));
    let Some(NodeKind::Map(metadata)) = metadata.map(|(_, value)| &mut value.kind) else { return };
    metadata.retain(|(key, _)| !is(key, "managedFields"));
    let annotations = metadata.iter_mut().find(|(key, _)| is(key, "annotations"));
    if let Some(NodeKind::Map(annotations)) = annotations.map(|(_, value)| &mut value.kind) {
        annotations.retain(|(key, _)| !is(key, "kubectl.kubernetes.io/last-applied-configuration"));
    }
}

/// A replica set that a deployment keeps for going back, and that runs nothing.
fn is_old_revision(item: &Node) -> bool {
    let owners = item.get("metadata").and_then(|metadata| metadata.get("ownerReferences"));
    let is_owned = owners.and_then(Node::as_list).is_some_and(|owners| !owners.is_empty());
    let replicas = item.get("spec").and_then(|spec| text(spec, "replicas"));
    text(item, "kind").as_deref() == Some("ReplicaSet") && is_owned && replicas.as_deref() == Some("0")
}

fn is(key: &Node, name: &str) -> bool {
    key.as_scalar().is_some_and(|scalar| scalar.text == name)
}

/// Whether objects of a kind can ask for images. Those of groups that are not Kubernetes' own always can.
fn may_ask(group: &str, plural: &str) -> bool {
    match group {
        "" => matches!(plural, "pods" | "podtemplates" | "replicationcontrollers" | "configmaps"),
        "apps" => plural != "controllerrevisions",
        "batch" => true,
        "extensions" => !matches!(plural, "ingresses" | "networkpolicies" | "podsecuritypolicies"),
        group => !PASSED_OVER.contains(&group),
    }
}

fn document(bytes: &[u8]) -> Result<Node, String> {
    let limits = yaml::Limits { bytes: bytes.len().max(1), nodes: 40_000_000, ..yaml::Limits::default() };
    match yaml::documents(bytes, &limits).next() {
        Some(Ok(node)) => Ok(node),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("the answer is empty".into()),
    }
}

/// The objects of a list; `None` if it is something else, such as the page of a proxy.
fn take_items(list: &mut Node) -> Option<Vec<Node>> {
    let NodeKind::Map(entries) = &mut list.kind else { return None };
    let (_, items) = entries.iter_mut().find(|(key, _)| is(key, "items"))?;
    match &mut items.kind {
        NodeKind::List(items) => Some(std::mem::take(items)),
        // What Go writes for a list that nobody has made.
        _ => items.is_null().then(Vec::new),
    }
}

fn scalar(text: &str, line: u32) -> Node {
    let style = yaml::Style::DoubleQuoted;
    let scalar = yaml::Scalar { text: text.to_owned(), style, tag: None };
    Node { line, column: 1, kind: NodeKind::Scalar(scalar) }
}

fn text(node: &Node, key: &str) -> Option<String> {
    let value = node.get(key).filter(|value| !value.is_null())?;
    yaml::to_text(value).filter(|text| !text.is_empty())
}

/// Groups of Kubernetes itself whose objects name no images.
const PASSED_OVER: [&str; 20] = [
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "apiregistration.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "certificates.k8s.io",
    "coordination.k8s.io",
    "discovery.k8s.io",
    "events.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    "internal.apiserver.k8s.io",
    "metrics.k8s.io",
    "networking.k8s.io",
    "node.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
    "storagemigration.k8s.io",
];
