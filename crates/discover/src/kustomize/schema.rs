//! What is known of Kubernetes' own kinds: which lists of theirs are merged by which keys, and which belong to no namespace.

use super::edit;
use larder_gotemplate::yaml::Node;
use std::collections::{HashMap, HashSet};

/// The tables of `schema.txt`, and what a kustomization adds to them with `openapi`.
#[derive(Debug, Clone)]
pub(super) struct Schema {
    types: Vec<Vec<Field>>,
    /// By API version and kind, a space between them.
    kinds: HashMap<String, Type>,
    cluster: HashSet<(&'static str, &'static str)>,
}

/// A type of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Type(usize);

/// Keys by which the items of a list are merged.
pub(super) type Keys = [Box<str>];

#[derive(Debug, Clone)]
struct Field {
    name: Box<str>,
    of: Option<Type>,
    keys: Option<Vec<Box<str>>>,
}

impl Schema {
    /// Reads the tables.
    pub(super) fn new() -> Self {
        Self::read(TEXT)
    }

    fn read(text: &'static str) -> Self {
        let mut schema = Self { types: Vec::new(), kinds: HashMap::new(), cluster: HashSet::new() };
        let mut names = HashMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_ascii_whitespace();
            let Some(first) = words.next() else { continue };
            match first {
                "type" => {
                    let name = words.next().unwrap_or_default();
                    names.insert(name, Type(schema.types.len()));
                    schema.types.push(Vec::new());
                }
                "kind" => {
                    let of = words.next().and_then(|name| names.get(name)).copied();
                    let version = words.next().unwrap_or_default();
                    let of = of.expect("a type of the embedded table stands before its kinds");
                    schema.kinds.extend(words.map(|kind| (format!("{version} {kind}"), of)));
                }
                "cluster" => {
                    let version = words.next().unwrap_or_default();
                    schema.cluster.extend(words.map(|kind| (version, kind)));
                }
                name => {
                    let rest: Vec<&str> = words.collect();
                    let of = rest.first().and_then(|name| names.get(name)).copied();
                    let by = rest.iter().position(|word| *word == "by").and_then(|at| rest.get(at + 1));
                    let keys = by.map(|keys| match *keys {
                        "value" => Vec::new(),
                        keys => keys.split(',').map(Box::from).collect(),
                    });
                    if let Some(fields) = schema.types.last_mut() {
                        fields.push(Field { name: name.into(), of, keys });
                    }
                }
            }
        }
        schema
    }

    /// Adds the kinds of an OpenAPI description that are not Kubernetes' own.
    pub(super) fn add(&mut self, description: &Node) {
        let definitions = description.get("definitions").and_then(Node::as_map).unwrap_or_default();
        let mut names = HashMap::new();
        for (name, _) in definitions {
            names.insert(edit::scalar_text(name).unwrap_or_default(), Type(self.types.len()));
            self.types.push(Vec::new());
        }
        for (name, definition) in definitions {
            let Some(of) = names.get(edit::scalar_text(name).unwrap_or_default()).copied() else { continue };
            self.types[of.0] = self.fields(definition, &names, 0);
            let kinds = definition.get("x-kubernetes-group-version-kind").and_then(Node::as_list);
            for kind in kinds.unwrap_or_default() {
                let word = |key| edit::text_of(kind, key).unwrap_or_default();
                let version = match word("group") {
                    "" => word("version").to_owned(),
                    group => format!("{group}/{}", word("version")),
                };
                self.kinds.entry(format!("{version} {}", word("kind"))).or_insert(of);
            }
        }
    }

    /// The fields of a definition; what is described in place becomes a type of its own.
    fn fields(&mut self, definition: &Node, names: &HashMap<&str, Type>, depth: usize) -> Vec<Field> {
        let mut fields = Vec::new();
        let properties = definition.get("properties").and_then(Node::as_map).unwrap_or_default();
        for (name, property) in properties {
            let inner = property.get("items").unwrap_or(property);
            let reference = edit::text_of(inner, "$ref").and_then(|path| path.rsplit('/').next());
            let of = match reference {
                Some(reference) => names.get(reference).copied(),
                None if inner.get("properties").is_some() && depth < DEPTH => {
                    let own = self.fields(inner, names, depth + 1);
                    self.types.push(own);
                    Some(Type(self.types.len() - 1))
                }
                None => None,
            };
            let strategy = edit::text_of(property, "x-kubernetes-patch-strategy").unwrap_or_default();
            let is_merged =
                property.get("items").is_some() && strategy.split(',').any(|word| word == "merge");
            let list = property.get("x-kubernetes-list-map-keys").and_then(Node::as_list);
            let keys = match (list, edit::text_of(property, "x-kubernetes-patch-merge-key")) {
                (Some(list), _) => list.iter().filter_map(edit::scalar_text).map(Box::from).collect(),
                (None, Some(key)) => vec![Box::from(key)],
                (None, None) => Vec::new(),
            };
            let name = edit::scalar_text(name).unwrap_or_default().into();
            fields.push(Field { name, of, keys: is_merged.then_some(keys) });
        }
        fields
    }

    /// The type of a kind.
    pub(super) fn kind(&self, api_version: &str, kind: &str) -> Option<Type> {
        self.kinds.get(&format!("{api_version} {kind}")).copied()
    }

    /// The type of a field, and of the items of a list.
    pub(super) fn field(&self, of: Type, name: &str) -> Option<Type> {
        self.find(of, name)?.of
    }

    /// The keys by which a list is merged; none for a list of scalars. `None` for a list that is replaced.
    pub(super) fn keys(&self, of: Type, name: &str) -> Option<&Keys> {
        self.find(of, name)?.keys.as_deref()
    }

    /// Whether objects of a kind certainly belong to no namespace.
    pub(super) fn is_cluster_scoped(&self, api_version: &str, kind: &str) -> bool {
        self.cluster.contains(&(api_version, kind))
    }

    fn find(&self, of: Type, name: &str) -> Option<&Field> {
        self.types[of.0].iter().find(|field| &*field.name == name)
    }
}

/// Descriptions within each other.
const DEPTH: usize = 32;
const TEXT: &str = include_str!("schema.txt");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_are_merged_by_name_and_commands_are_not_merged() {
        let schema = Schema::new();
        let mut of = schema.kind("batch/v1", "CronJob").expect("it is known");
        for step in ["spec", "jobTemplate", "spec", "template", "spec"] {
            of = schema.field(of, step).expect("it is known");
        }
        assert_eq!(schema.keys(of, "containers"), Some(&["name".into()][..]));
        assert_eq!(schema.keys(of, "volumes"), Some(&["name".into()][..]));
        assert_eq!(schema.keys(of, "tolerations"), None);
        let container = schema.field(of, "containers").expect("it is known");
        assert_eq!(schema.keys(container, "ports"), Some(&["containerPort".into(), "protocol".into()][..]));
        assert_eq!(schema.keys(container, "args"), None);
        assert_eq!(schema.kind("example.com/v1", "Deployment"), None);
    }

    #[test]
    fn namespaces_belong_to_no_namespace() {
        let schema = Schema::new();
        assert!(schema.is_cluster_scoped("v1", "Namespace"));
        assert!(schema.is_cluster_scoped("rbac.authorization.k8s.io/v1", "ClusterRole"));
        assert!(!schema.is_cluster_scoped("rbac.authorization.k8s.io/v1", "Role"));
        assert!(!schema.is_cluster_scoped("example.com/v1", "Namespace"));
    }
}
