//! Reads the objects of a cluster.

use crate::manifest::{Find, ObjectName, Place, Reason, Scanner};
use larder_gotemplate::yaml::{self, Node, NodeKind};
use larder_remote::ApiServer;
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
    /// Bytes of one answer.
    pub answer_bytes: u64,
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
}

/// A kind of objects that can be listed.
struct Resource {
    group_version: String,
    kind: String,
    plural: String,
    namespaced: bool,
}

impl Default for RunningOptions {
    fn default() -> Self {
        Self { namespace: None, page: 500, objects: 1_000_000, answer_bytes: 256 << 20 }
    }
}

/// Reads a cluster. `name` is what finds call it.
///
/// # Errors
/// A server that cannot be reached, or that refuses even to say what it has. Whatever else it refuses is a problem.
pub async fn scan(
    server: &ApiServer,
    name: &str,
    scanner: &Scanner,
    options: &RunningOptions,
) -> Result<Running, larder_remote::Error> {
    let mut reader = Reader { server, name, scanner, options, result: Running::default() };
    let version = server.get("/version", LIMIT).await?;
    if let Some(version) = reader.document("/version", version.status, &version.body) {
        reader.result.version = text(&version, "gitVersion").unwrap_or_default();
    }
    let resources = reader.resources().await?;
    for resource in resources {
        reader.list(&resource).await?;
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
        self.result.problems.push(Problem { place: place.to_owned(), reason: reason.into() });
    }

    /// A JSON document; an error status is a problem.
    fn document(&mut self, path: &str, status: u16, body: &[u8]) -> Option<Node> {
        let document = yaml::documents(body, &yaml::Limits { bytes: body.len().max(1), ..limits() }).next();
        if status != 200 {
            let said = document.and_then(Result::ok).and_then(|node| text(&node, "message"));
            self.problem(
                path,
                said.map_or_else(|| format!("status {status}"), |said| format!("{status}: {said}")),
            );
            return None;
        }
        match document {
            Some(Ok(node)) => Some(node),
            Some(Err(error)) => {
                self.problem(path, error.to_string());
                None
            }
            None => {
                self.problem(path, "the answer is empty");
                None
            }
        }
    }

    async fn get(&mut self, path: &str) -> Result<Option<Node>, larder_remote::Error> {
        let answer = self.server.get(path, self.options.answer_bytes).await?;
        Ok(self.document(path, answer.status, &answer.body))
    }

    /// Everything that can be listed and can ask for images: of each kind the version that the server prefers.
    async fn resources(&mut self) -> Result<Vec<Resource>, larder_remote::Error> {
        let mut paths = Vec::new();
        if let Some(core) = self.get("/api").await? {
            for version in texts(&core, "versions") {
                paths.push((version.clone(), format!("/api/{version}")));
            }
        }
        let mut others = Vec::new();
        if let Some(groups) = self.get("/apis").await? {
            for group in groups.get("groups").and_then(Node::as_list).unwrap_or_default() {
                let preferred =
                    group.get("preferredVersion").and_then(|version| text(version, "groupVersion"));
                let versions = group.get("versions").and_then(Node::as_list).unwrap_or_default();
                let all: Vec<String> =
                    versions.iter().filter_map(|version| text(version, "groupVersion")).collect();
                let Some(preferred) = preferred.or_else(|| all.first().cloned()) else { continue };
                paths.push((preferred.clone(), format!("/apis/{preferred}")));
                others.extend(all.into_iter().filter(|version| *version != preferred));
            }
        }
        // A kind may be there in another version only.
        paths.extend(others.into_iter().map(|version| (version.clone(), format!("/apis/{version}"))));
        let mut resources: Vec<Resource> = Vec::new();
        for (group_version, path) in paths {
            let Some(list) = self.get(&path).await? else { continue };
            self.result.api_versions.push(group_version.clone());
            for node in list.get("resources").and_then(Node::as_list).unwrap_or_default() {
                let (plural, kind) =
                    (text(node, "name").unwrap_or_default(), text(node, "kind").unwrap_or_default());
                if plural.contains('/') {
                    continue;
                }
                self.result.api_versions.push(format!("{group_version}/{kind}"));
                let group = group_of(&group_version);
                let is_known =
                    |other: &Resource| other.plural == plural && group_of(&other.group_version) == group;
                let can_list = texts(node, "verbs").iter().any(|verb| verb == "list");
                if can_list && !resources.iter().any(is_known) && may_ask(group, &plural) {
                    let namespaced = text(node, "namespaced").as_deref() == Some("true");
                    resources.push(Resource {
                        group_version: group_version.clone(),
                        kind,
                        plural,
                        namespaced,
                    });
                }
            }
        }
        Ok(resources)
    }

    /// Reads all objects of a kind, page by page.
    async fn list(&mut self, resource: &Resource) -> Result<(), larder_remote::Error> {
        let base = match resource.group_version.contains('/') {
            true => format!("/apis/{}", resource.group_version),
            false => format!("/api/{}", resource.group_version),
        };
        let path = match &self.options.namespace {
            Some(namespace) if resource.namespaced => {
                format!("{base}/namespaces/{namespace}/{}", resource.plural)
            }
            Some(_) => return Ok(()),
            None => format!("{base}/{}", resource.plural),
        };
        let mut next: Option<String> = None;
        let mut restarted = false;
        loop {
            let page = format!("{path}?limit={}", self.options.page);
            let page =
                next.as_ref().map_or(page.clone(), |next| format!("{page}&continue={}", escaped(next)));
            let answer = self.server.get(&page, self.options.answer_bytes).await?;
            if answer.status == 410 && next.is_some() && !restarted {
                // The cluster has moved on since the first page; what is read twice is found once more.
                (next, restarted) = (None, true);
                continue;
            }
            let Some(mut list) = self.document(&path, answer.status, &answer.body) else { return Ok(()) };
            next = list.get("metadata").and_then(|metadata| text(metadata, "continue"));
            for item in take_items(&mut list) {
                if self.result.objects >= self.options.objects {
                    let limit = self.options.objects;
                    self.problem(&path, format!("more than {limit} objects; the rest is not read"));
                    return Ok(());
                }
                self.result.objects += 1;
                self.object(item, resource, &path);
            }
            if next.is_none() {
                return Ok(());
            }
        }
    }

    fn object(&mut self, mut item: Node, resource: &Resource, path: &str) {
        let line = item.line;
        for (key, value) in [("kind", &resource.kind), ("apiVersion", &resource.group_version)] {
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
        group => !PASSED_OVER.contains(&group),
    }
}

fn group_of(group_version: &str) -> &str {
    group_version.split_once('/').map_or("", |(group, _)| group)
}

fn take_items(list: &mut Node) -> Vec<Node> {
    let NodeKind::Map(entries) = &mut list.kind else { return Vec::new() };
    let items = entries.iter_mut().find(|(key, _)| is(key, "items"));
    match items.map(|(_, value)| &mut value.kind) {
        Some(NodeKind::List(items)) => std::mem::take(items),
        _ => Vec::new(),
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

fn texts(node: &Node, key: &str) -> Vec<String> {
    node.get(key).and_then(Node::as_list).unwrap_or_default().iter().filter_map(yaml::to_text).collect()
}

/// A token of the server, made fit for a query.
fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(byte.into()),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn limits() -> yaml::Limits {
    yaml::Limits { nodes: 40_000_000, ..yaml::Limits::default() }
}

/// Groups of Kubernetes itself whose objects name no images.
const PASSED_OVER: [&str; 17] = [
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
    "metrics.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "scheduling.k8s.io",
    "storage.k8s.io",
];
const LIMIT: u64 = 1 << 20;
