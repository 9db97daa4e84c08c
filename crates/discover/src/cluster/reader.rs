//! Reads a description.

use super::catalog::{Catalog, Form, Location};
use super::description::{Description, Fault, Problem, Wanted, WantedSource};
use super::is_description;
use super::kubeadm::Kubeadm;
use crate::manifest::{Confidence, Find, ObjectName, Place};
use larder_core::Reference;
use larder_gotemplate::Value;
use larder_gotemplate::yaml::{self, Node};
use std::path::PathBuf;
use std::sync::Arc;

impl Description {
    /// Reads a description; `source` is what finds call the file.
    pub fn read(source: &str, node: &Node, kubeadm: &Kubeadm, catalog: &Catalog) -> Self {
        let metadata = node.get("metadata").and_then(|metadata| metadata.get("name"));
        let object = ObjectName {
            api_version: text_of(node, "apiVersion").unwrap_or_default(),
            kind: "Cluster".into(),
            name: metadata.and_then(yaml::to_text),
            ..ObjectName::default()
        };
        let mut reader = Reader {
            source: source.into(),
            object: Arc::new(object),
            kubeadm,
            catalog,
            result: Self::default(),
        };
        let version = text_of(node, "apiVersion");
        if !is_description(node) || version.as_deref() != Some(VERSION) {
            reader.problem(node.line, Fault::NoCluster);
            return reader.result;
        }
        reader.known(node, "the description", &["apiVersion", "kind", "metadata", "spec"]);
        match node.get("spec").filter(|spec| spec.as_map().is_some()) {
            Some(spec) => reader.spec(spec),
            None => reader.problem(node.line, Fault::Shape { place: "spec".into(), wanted: "a map" }),
        }
        reader.result
    }
}

struct Reader<'a> {
    source: Arc<str>,
    object: Arc<ObjectName>,
    kubeadm: &'a Kubeadm,
    catalog: &'a Catalog,
    result: Description,
}

impl Reader<'_> {
    fn problem(&mut self, line: u32, fault: Fault) {
        self.result.problems.push(Problem { line, fault });
    }

    /// Fields with other names are not passed over: they would have asked for something.
    fn known(&mut self, node: &Node, place: &str, known: &[&str]) {
        for (key, _) in node.as_map().unwrap_or_default() {
            let name = key.as_scalar().map(|scalar| scalar.text.clone()).unwrap_or_default();
            if !known.contains(&name.as_str()) {
                let known = known.join(", ");
                self.problem(key.line, Fault::UnknownField { place: place.into(), name, known });
            }
        }
    }

    fn spec(&mut self, spec: &Node) {
        self.known(spec, "spec", &SPEC);
        self.control_plane(spec);
        for role in ROLES {
            for (at, node) in one_or_many(spec.get(role)).into_iter().enumerate() {
                let place = format!("spec.{role}[{at}]");
                self.component(role, &place, node);
            }
        }
        for (at, node) in self.list(spec, "charts").into_iter().enumerate() {
            self.chart(&format!("spec.charts[{at}]"), &node);
        }
        for key in ["manifests", "kustomizations"] {
            for (at, node) in self.list(spec, key).into_iter().enumerate() {
                self.manifest(&format!("spec.{key}[{at}]"), &node);
            }
        }
        for (at, node) in self.list(spec, "images").into_iter().enumerate() {
            let place = format!("spec.images[{at}]");
            match yaml::to_text(&node) {
                Some(text) => self.find(text, "cluster.images", node.line, place),
                None => self.problem(node.line, Fault::Shape { place, wanted: "a text" }),
            }
        }
    }

    fn control_plane(&mut self, spec: &Node) {
        let version = spec.get("kubernetesVersion").filter(|node| !node.is_null());
        self.result.kubernetes_version = version.and_then(yaml::to_text);
        if text_of(spec, "controlPlane").as_deref() == Some("false") {
            return;
        }
        let Some((node, version)) = version.zip(self.result.kubernetes_version.clone()) else {
            return self.problem(spec.line, Fault::NoVersion);
        };
        let repository = text_of(spec, "imageRepository");
        match self.kubeadm.control_plane(&version, repository.as_deref()) {
            Ok(control_plane) => {
                let rule = format!("kubeadm: {}", control_plane.source);
                for image in control_plane.images {
                    self.find(image, &rule, node.line, "spec.kubernetesVersion".into());
                }
            }
            Err(unknown) => self.problem(node.line, Fault::Release(unknown)),
        }
    }

    /// A component of the catalog, or one whose place is said.
    fn component(&mut self, role: &str, place: &str, node: &Node) {
        if node.as_map().is_none() {
            return self.problem(node.line, Fault::Shape { place: place.into(), wanted: "a map" });
        }
        self.known(node, place, &COMPONENT);
        let (name, version) = (text_of(node, "name").unwrap_or_default(), text_of(node, "version"));
        let role = if role == "addons" { "addon" } else { role };
        let purpose = [Some(role.to_owned()), Some(name.clone()), version.clone()];
        let purpose = purpose.into_iter().flatten().collect::<Vec<_>>().join(" ");
        let form = match text_of(node, "from") {
            None => None,
            Some(text) => match Form::of(&text) {
                Some(form) => Some(form),
                None => {
                    let place = format!("{place}.from");
                    return self.problem(node.line, Fault::Shape { place, wanted: "chart or manifest" });
                }
            },
        };
        let entry = self.catalog.find(&name).cloned();
        if let Some(entry) = &entry
            && let Some(version) = &version
        {
            self.compiled(node.line, place, &name, version, entry, form.unwrap_or_else(|| entry.form()));
        }
        if let Some(source) = own_source(node, &name) {
            return self.want(node, place, purpose, source);
        }
        let Some(entry) = entry else {
            let known = self.catalog.names().collect::<Vec<_>>().join(", ");
            return self.problem(node.line, Fault::UnknownComponent { name, known });
        };
        let Some(version) = version else {
            return self.problem(node.line, Fault::NoComponentVersion { name });
        };
        let form = form.unwrap_or_else(|| entry.form());
        let source = match entry.location(&version, form) {
            Some(Location::Chart { repository, name, version }) => {
                WantedSource::Chart { repository, name, version: Some(version) }
            }
            Some(Location::Manifest { url }) => WantedSource::Manifest { url },
            None => {
                let form = if form == Form::Chart { "chart" } else { "manifest" };
                return self.problem(node.line, Fault::NoForm { name, form });
            }
        };
        self.want(node, place, purpose, source);
    }

    /// What only the code of the component names.
    fn compiled(
        &mut self,
        line: u32,
        place: &str,
        name: &str,
        version: &str,
        entry: &super::catalog::Entry,
        form: Form,
    ) {
        match entry.compiled(version, form) {
            Ok(None) => {}
            Ok(Some((images, source))) => {
                let rule = format!("catalog: {source}");
                for image in images {
                    self.find(image, &rule, line, format!("{place}.version"));
                }
            }
            Err(known) => {
                let (name, version) = (name.to_owned(), version.to_owned());
                self.problem(line, Fault::UnknownCompiled { name, version, known: known.join(", ") });
            }
        }
    }

    fn chart(&mut self, place: &str, node: &Node) {
        self.known(node, place, &COMPONENT);
        let name = text_of(node, "name").unwrap_or_default();
        match own_source(node, &name) {
            Some(source) => self.want(node, place, format!("chart {name}").trim_end().to_owned(), source),
            None => {
                let wanted = "a map with `path`, or with `repository` and `name`";
                self.problem(node.line, Fault::Shape { place: place.into(), wanted });
            }
        }
    }

    fn manifest(&mut self, place: &str, node: &Node) {
        let path = if node.as_map().is_some() { text_of(node, "path") } else { yaml::to_text(node) };
        let Some(path) = path.filter(|path| !path.is_empty()) else {
            return self
                .problem(node.line, Fault::Shape { place: place.into(), wanted: "a path or an address" });
        };
        let source = if path.starts_with("https://") || path.starts_with("http://") {
            WantedSource::Manifest { url: path.clone() }
        } else {
            WantedSource::Path(PathBuf::from(&path))
        };
        self.want(node, place, format!("manifest {path}"), source);
    }

    fn want(&mut self, node: &Node, place: &str, purpose: String, source: WantedSource) {
        let values = one_or_many(node.get("values"));
        let values = values.into_iter().filter_map(yaml::to_text).map(PathBuf::from).collect();
        let inline = match node.get("valuesInline").map(yaml::to_value) {
            None | Some(Ok(Value::Nil)) => None,
            Some(Ok(map @ Value::Map(_))) => Some(crate::json::text(&map)),
            Some(_) => {
                let place = format!("{place}.valuesInline");
                return self.problem(node.line, Fault::Shape { place, wanted: "a map" });
            }
        };
        let (release, namespace) = (text_of(node, "release"), text_of(node, "namespace"));
        self.result.wanted.push(Wanted {
            line: node.line,
            purpose,
            source,
            values,
            inline,
            release,
            namespace,
        });
    }

    fn find(&mut self, text: String, rule: &str, line: u32, path: String) {
        let reference = match text.parse::<Reference>() {
            Ok(reference) => reference,
            Err(error) => {
                return self.problem(line, Fault::Image { text, reason: error.to_string() });
            }
        };
        let place = Place {
            source: Arc::clone(&self.source),
            line,
            column: 1,
            object: Some(Arc::clone(&self.object)),
            path,
        };
        let rule = rule.into();
        self.result.finds.push(Find { reference, text, confidence: Confidence::Certain, rule, place });
    }

    fn list(&mut self, spec: &Node, key: &str) -> Vec<Node> {
        match spec.get(key) {
            None => Vec::new(),
            Some(node) if node.is_null() => Vec::new(),
            Some(node) => match node.as_list() {
                Some(items) => items.to_vec(),
                None => {
                    self.problem(node.line, Fault::Shape { place: format!("spec.{key}"), wanted: "a list" });
                    Vec::new()
                }
            },
        }
    }
}

/// `path`, or `repository` and a name.
fn own_source(node: &Node, name: &str) -> Option<WantedSource> {
    if let Some(path) = text_of(node, "path") {
        return Some(WantedSource::Path(path.into()));
    }
    if let Some(url) = text_of(node, "url") {
        return Some(WantedSource::Manifest { url });
    }
    let repository = text_of(node, "repository")?;
    let name = text_of(node, "chart").unwrap_or_else(|| name.to_owned());
    Some(WantedSource::Chart { repository, name, version: text_of(node, "version") })
}

fn one_or_many(node: Option<&Node>) -> Vec<&Node> {
    match node {
        None => Vec::new(),
        Some(node) if node.is_null() => Vec::new(),
        Some(node) => node.as_list().map_or_else(|| vec![node], |items| items.iter().collect()),
    }
}

fn text_of(node: &Node, key: &str) -> Option<String> {
    node.get(key).filter(|value| !value.is_null()).and_then(yaml::to_text)
}

const VERSION: &str = "larder.dev/v1alpha1";
const ROLES: [&str; 5] = ["cni", "csi", "loadBalancer", "ingress", "addons"];
const SPEC: [&str; 12] = [
    "kubernetesVersion",
    "imageRepository",
    "controlPlane",
    "cni",
    "csi",
    "loadBalancer",
    "ingress",
    "addons",
    "charts",
    "manifests",
    "kustomizations",
    "images",
];
const COMPONENT: [&str; 11] = [
    "name",
    "version",
    "from",
    "path",
    "url",
    "repository",
    "chart",
    "values",
    "valuesInline",
    "release",
    "namespace",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn read(spec: &str) -> Description {
        let text = format!(
            "apiVersion: larder.dev/v1alpha1\nkind: Cluster\nmetadata: {{name: prod}}\nspec:\n{spec}"
        );
        let node = yaml::documents(text.as_bytes(), &yaml::Limits::default()).next();
        let node = node.expect("a document").expect("YAML");
        Description::read("cluster.yaml", &node, &Kubeadm::built_in(), &Catalog::built_in())
    }

    fn said(description: &Description) -> Vec<String> {
        description.problems.iter().map(|problem| format!("{}: {}", problem.line, problem.fault)).collect()
    }

    #[test]
    fn a_cluster_asks_for_its_control_plane_and_its_components() {
        let cluster = read(
            "  kubernetesVersion: v1.34.2\n  cni: {name: calico, version: v3.28.1, from: chart, values: a.yaml}\n  \
             ingress: {name: ingress-nginx, version: 4.13.0, valuesInline: {a: 1}, namespace: in}\n  addons:\n  \
             - {name: metrics-server, version: 0.8.0}\n  - {name: own, path: charts/own}\n  \
             charts:\n  - {repository: oci://registry.example/charts, name: shop, version: 1.2.3}\n  \
             manifests: [manifests/, https://example.com/install.yaml]\n  images: [registry.example/tool:1]\n",
        );
        assert_eq!(said(&cluster), [""; 0]);
        let texts: Vec<&str> = cluster.finds.iter().map(|find| find.text.as_str()).collect();
        assert_eq!(texts.len(), 7 + 9 + 1, "{texts:#?}");
        assert!(texts.contains(&"registry.k8s.io/etcd:3.6.5-0"));
        assert!(texts.contains(&"docker.io/calico/typha:v3.28.1"));
        let etcd = cluster.finds.iter().find(|find| find.text.contains("etcd")).expect("it is there");
        assert_eq!((etcd.place.line, etcd.place.path.as_str()), (5, "spec.kubernetesVersion"));
        assert!(etcd.rule.contains("v1.34.2 cmd/kubeadm"), "{}", etcd.rule);
        let sources: Vec<&WantedSource> = cluster.wanted.iter().map(|wanted| &wanted.source).collect();
        let chart = |repository: &str, name: &str, version: &str| WantedSource::Chart {
            repository: repository.into(),
            name: name.into(),
            version: Some(version.into()),
        };
        let manifest = |url: &str| WantedSource::Manifest { url: url.into() };
        assert_eq!(
            sources,
            [
                &chart("https://docs.tigera.io/calico/charts", "tigera-operator", "v3.28.1"),
                &chart("https://kubernetes.github.io/ingress-nginx", "ingress-nginx", "4.13.0"),
                &manifest(
                    "https://github.com/kubernetes-sigs/metrics-server/releases/download/v0.8.0/components.yaml"
                ),
                &WantedSource::Path("charts/own".into()),
                &chart("oci://registry.example/charts", "shop", "1.2.3"),
                &WantedSource::Path("manifests/".into()),
                &manifest("https://example.com/install.yaml"),
            ]
        );
        assert_eq!(cluster.wanted[0].values, [PathBuf::from("a.yaml")]);
        assert_eq!(cluster.wanted[0].purpose, "cni calico v3.28.1");
        assert_eq!(cluster.wanted[1].namespace.as_deref(), Some("in"));
        assert_eq!(cluster.wanted[1].inline.as_deref(), Some("{\"a\":1}"));
    }

    #[test]
    fn what_is_not_known_is_said_with_its_line() {
        let cluster = read(
            "  kubernetesVersion: 1.99.0\n  cni: {name: calico, version: v3.98.0, from: chart}\n  \
             csi: {name: nobody, version: 1.0.0}\n  ingress: {name: traefik}\n  addons:\n  \
             - {name: kube-vip, version: 0.6.0, from: manifest}\n  imagez: []\n  images: ['Not An Image']\n  \
             charts: [{name: x}]\n",
        );
        let said = said(&cluster);
        for part in [
            "5: the images of Kubernetes 1.99.0 are not known; known are 1.34.10, 1.35.7, 1.36.3",
            "6: calico v3.98.0 starts images that only its code names",
            "7: no component is called \"nobody\"; known are calico, cilium",
            "8: traefik needs a version",
            "10: kube-vip does not come as a manifest",
            "11: spec has no field \"imagez\"",
            "12: \"Not An Image\" is not an image",
            "13: spec.charts[0] must be a map with `path`",
        ] {
            assert!(said.iter().any(|said| said.starts_with(part)), "{part}\nis not in\n{said:#?}");
        }
    }

    #[test]
    fn a_control_plane_of_somebody_else_asks_for_nothing() {
        assert_eq!(read("  controlPlane: false\n"), Description::default());
        assert_eq!(said(&read("  cni: {name: cilium, version: 1.16.0}\n")).len(), 1, "a version is needed");
    }

    #[test]
    fn other_documents_are_no_clusters() {
        let node =
            yaml::documents(b"apiVersion: kind.x-k8s.io/v1alpha4\nkind: Cluster", &yaml::Limits::default());
        let node = node.into_iter().next().expect("a document").expect("YAML");
        let cluster = Description::read("a", &node, &Kubeadm::built_in(), &Catalog::built_in());
        assert_eq!(cluster.problems, [Problem { line: 1, fault: Fault::NoCluster }]);
    }
}
