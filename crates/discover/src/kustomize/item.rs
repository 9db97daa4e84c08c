//! An object on its way through a build.

use super::edit;
use super::fault::Fault;
use super::schema::Schema;
use larder_gotemplate::yaml::Node;
use std::fmt;

/// An object, and what was done to it so far.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) node: Node,
    /// Its names before the one it has now, the oldest first.
    pub(super) previous: Vec<Name>,
    pub(super) prefixes: Vec<String>,
    pub(super) suffixes: Vec<String>,
    /// What happens if there is one of that name already.
    pub(super) behavior: Behavior,
    /// Whether its name ends with a hash of what it holds.
    pub(super) hashed: bool,
    /// Whether a chart made it; `namespace` leaves those alone.
    pub(super) from_chart: bool,
    /// Variables that it has the value of.
    pub(super) variables: Vec<String>,
}

/// A name that an object had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
}

/// What a generated object does where there is one of that name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Behavior {
    #[default]
    Create,
    Merge,
    Replace,
}

/// Group, version and kind. Where it selects, what is empty stands for anything.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Kind {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) kind: String,
}

/// What names an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) kind: Kind,
    pub(super) namespace: String,
    pub(super) name: String,
    is_cluster_scoped: bool,
}

impl Item {
    /// An object as it was read. It must have a kind and a name.
    pub(super) fn new(node: Node) -> Result<Self, Fault> {
        let metadata = node.get("metadata");
        let has = |node: &Node, key| edit::text_of(node, key).is_some_and(|text| !text.is_empty());
        if !has(&node, "kind") {
            return Err(Fault::NoObject("a kind"));
        }
        let is_named =
            metadata.is_some_and(|metadata| has(metadata, "name") || has(metadata, "generateName"));
        let is_list = edit::text_of(&node, "kind").is_some_and(|kind| kind.ends_with("List"));
        if !is_named && !is_list {
            return Err(Fault::NoObject("a name"));
        }
        Ok(Self::unchecked(node))
    }

    /// An object that was not looked at.
    pub(super) fn unchecked(node: Node) -> Self {
        Self {
            node,
            previous: Vec::new(),
            prefixes: Vec::new(),
            suffixes: Vec::new(),
            behavior: Behavior::Create,
            hashed: false,
            from_chart: false,
            variables: Vec::new(),
        }
    }

    pub(super) fn api_version(&self) -> &str {
        edit::text_of(&self.node, "apiVersion").unwrap_or_default()
    }

    pub(super) fn kind_name(&self) -> &str {
        edit::text_of(&self.node, "kind").unwrap_or_default()
    }

    pub(super) fn name(&self) -> &str {
        self.metadata("name")
    }

    pub(super) fn namespace(&self) -> &str {
        self.metadata("namespace")
    }

    fn metadata(&self, key: &str) -> &str {
        self.node.get("metadata").and_then(|metadata| edit::text_of(metadata, key)).unwrap_or_default()
    }

    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        edit::text_of(self.node.get("metadata")?.get("annotations")?, key)
    }

    pub(super) fn set_name(&mut self, name: &str, line: u32) {
        if let Some(metadata) = edit::map_at(&mut self.node, "metadata", line) {
            edit::set_text(metadata, "name", name, line);
        }
    }

    pub(super) fn set_namespace(&mut self, namespace: &str, line: u32) {
        if let Some(metadata) = edit::map_at(&mut self.node, "metadata", line) {
            if namespace.is_empty() {
                edit::remove(metadata, "namespace");
            } else {
                edit::set_text(metadata, "namespace", namespace, line);
            }
        }
    }

    /// What names it now.
    pub(super) fn id(&self, schema: &Schema) -> Id {
        self.id_of(schema, self.kind_name(), self.namespace(), self.name())
    }

    /// What named it at first.
    pub(super) fn original_id(&self, schema: &Schema) -> Id {
        self.previous_ids(schema).next().unwrap_or_else(|| self.id(schema))
    }

    /// What named it before, the oldest first.
    pub(super) fn previous_ids(&self, schema: &Schema) -> impl Iterator<Item = Id> {
        self.previous.iter().map(|old| self.id_of(schema, &old.kind, &old.namespace, &old.name))
    }

    /// All of its names.
    pub(super) fn ids(&self, schema: &Schema) -> Vec<Id> {
        self.previous_ids(schema).chain([self.id(schema)]).collect()
    }

    /// Notes the name it has before that is changed.
    pub(super) fn remember_name(&mut self, schema: &Schema) {
        let id = self.id(schema);
        let namespace = id.effective_namespace().to_owned();
        self.previous.push(Name { kind: id.kind.kind, namespace, name: id.name });
    }

    fn id_of(&self, schema: &Schema, kind: &str, namespace: &str, name: &str) -> Id {
        Id {
            kind: Kind::new(self.api_version(), kind),
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            is_cluster_scoped: schema.is_cluster_scoped(self.api_version(), kind),
        }
    }

    /// Whether both were given the same prefixes and suffixes from the outermost on.
    pub(super) fn shares_affixes(&self, other: &Self, empty_is_any: bool) -> bool {
        let same = |one: &[String], other: &[String]| {
            (empty_is_any && (one.is_empty() || other.is_empty())) || same_end(one, other)
        };
        same(&self.prefixes, &other.prefixes) && same(&self.suffixes, &other.suffixes)
    }
}

/// Whether one ends with the other.
fn same_end(one: &[String], other: &[String]) -> bool {
    let length = one.len().min(other.len());
    if length == 0 {
        return one.len() == other.len();
    }
    one[one.len() - length..] == other[other.len() - length..]
}

impl Kind {
    pub(super) fn new(api_version: &str, kind: &str) -> Self {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Self { group: group.into(), version: version.into(), kind: kind.into() }
    }

    /// Whether `selector` means this kind.
    pub(super) fn is_selected(&self, selector: &Self) -> bool {
        let fits = |wanted: &str, has: &str| wanted.is_empty() || wanted == has;
        fits(&selector.group, &self.group)
            && fits(&selector.version, &self.version)
            && fits(&selector.kind, &self.kind)
    }
}

impl Id {
    pub(super) fn is_cluster_scoped(&self) -> bool {
        self.is_cluster_scoped
    }

    /// The namespace, with `default` for none.
    pub(super) fn effective_namespace(&self) -> &str {
        match self.namespace.as_str() {
            _ if self.is_cluster_scoped => "_non_namespaceable_",
            "" => "default",
            namespace => namespace,
        }
    }

    pub(super) fn is_in_namespace_of(&self, other: &Self) -> bool {
        self.effective_namespace() == other.effective_namespace()
    }

    /// Whether both name the same object.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.name == other.name && self.kind == other.kind && self.is_in_namespace_of(other)
    }
}

impl fmt::Display for Id {
    /// `Deployment namespace/name`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.kind)?;
        if !self.namespace.is_empty() && !self.is_cluster_scoped {
            write!(f, "{}/", self.namespace)?;
        }
        f.write_str(&self.name)
    }
}
