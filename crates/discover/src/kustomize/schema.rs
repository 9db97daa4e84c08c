//! What is known of Kubernetes' own kinds: which lists of theirs are merged by which keys, and which belong to no namespace.

use std::collections::{HashMap, HashSet};

/// The tables of `schema.txt`.
#[derive(Debug)]
pub(super) struct Schema {
    types: Vec<Vec<Field>>,
    kinds: HashMap<(&'static str, &'static str), Type>,
    cluster: HashSet<(&'static str, &'static str)>,
}

/// A type of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Type(usize);

#[derive(Debug)]
struct Field {
    name: &'static str,
    of: Option<Type>,
    keys: Option<Vec<&'static str>>,
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
                    schema.kinds.extend(words.map(|kind| ((version, kind), of)));
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
                        keys => keys.split(',').collect(),
                    });
                    if let Some(fields) = schema.types.last_mut() {
                        fields.push(Field { name, of, keys });
                    }
                }
            }
        }
        schema
    }

    /// The type of a kind.
    pub(super) fn kind(&self, api_version: &str, kind: &str) -> Option<Type> {
        self.kinds.get(&(api_version, kind)).copied()
    }

    /// The type of a field, and of the items of a list.
    pub(super) fn field(&self, of: Type, name: &str) -> Option<Type> {
        self.find(of, name)?.of
    }

    /// The keys by which a list is merged; none for a list of scalars. `None` for a list that is replaced.
    pub(super) fn keys(&self, of: Type, name: &str) -> Option<&[&'static str]> {
        self.find(of, name)?.keys.as_deref()
    }

    /// Whether objects of a kind certainly belong to no namespace.
    pub(super) fn is_cluster_scoped(&self, api_version: &str, kind: &str) -> bool {
        self.cluster.contains(&(api_version, kind))
    }

    fn find(&self, of: Type, name: &str) -> Option<&Field> {
        self.types[of.0].iter().find(|field| field.name == name)
    }
}

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
        assert_eq!(schema.keys(of, "containers"), Some(&["name"][..]));
        assert_eq!(schema.keys(of, "volumes"), Some(&["name"][..]));
        assert_eq!(schema.keys(of, "tolerations"), None);
        let container = schema.field(of, "containers").expect("it is known");
        assert_eq!(schema.keys(container, "ports"), Some(&["containerPort", "protocol"][..]));
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
