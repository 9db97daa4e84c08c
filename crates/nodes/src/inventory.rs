//! FORMAT: the file that says which nodes there are (`nodes.yaml`).

use crate::{Error, Node, Result, Selector, word};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Larger inventories are refused.
const LIMIT: u64 = 16 << 20;

/// The nodes of a file, in its order.
#[derive(Debug, Clone, Default)]
pub struct Inventory {
    path: PathBuf,
    text: String,
    defaults: Keys,
    nodes: Vec<Node>,
}

/// The file as it is written.
#[derive(Debug, Clone, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct File {
    defaults: Keys,
    nodes: Vec<serde_json::Map<String, serde_json::Value>>,
}

/// What can be said of a node, or of all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keys {
    /// Name or address; the name of the node where nothing is said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port of its SSH server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Who logs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The file of the private key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Over which hosts: `[user@]host[:port]`, several separated by commas.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jump: Option<String>,
    /// By what nodes are selected.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// `auto`, `containerd` or `docker`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub runtime: Option<crate::RuntimeChoice>,
    /// Where the runtime listens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<String>,
    /// The namespace of containerd.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Where larder keeps what is temporary there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub directory: Option<String>,
    /// At most so many bytes per second: `20MB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<crate::Rate>,
    /// The file with its host key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub known_hosts: Option<String>,
}

impl Inventory {
    /// Reads a file. A file that does not exist is an inventory without nodes.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::metadata(path) {
            Ok(metadata) if metadata.len() > LIMIT => {
                let problem = "it is larger than 16 MiB".to_owned();
                return Err(Error::Inventory { path: path.to_owned(), problem });
            }
            Ok(_) => std::fs::read_to_string(path).map_err(Error::file("read", path))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(Error::file("read", path)(error)),
        };
        Self::parse(&text, path)
    }

    /// Understands the text of a file; `path` is what errors name.
    pub fn parse(text: &str, path: &Path) -> Result<Self> {
        let invalid = |problem: String| Error::Inventory { path: path.to_owned(), problem };
        let is_empty = text.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#')
        });
        let file: File = match is_empty {
            true => File::default(),
            false => serde_saphyr::from_str(text).map_err(|error| invalid(error.to_string()))?,
        };
        let mut nodes: Vec<Node> = Vec::with_capacity(file.nodes.len());
        for (at, mut fields) in file.nodes.into_iter().enumerate() {
            let Some(serde_json::Value::String(name)) = fields.remove("name") else {
                return Err(invalid(format!(
                    "node {} has no name, or one that is no text: write it in quotes",
                    at + 1
                )));
            };
            let keys: Keys = serde_json::from_value(fields.into())
                .map_err(|error| invalid(format!("node {name:?}: {error}")))?;
            let node = Node::new(&name, &keys.over(&file.defaults))
                .map_err(|error| invalid(format!("node {name:?}: {error}")))?;
            if nodes.iter().any(|other| other.name() == node.name()) {
                return Err(invalid(format!("there are two nodes {name:?}")));
            }
            nodes.push(node);
        }
        Ok(Self { path: path.to_owned(), text: text.to_owned(), defaults: file.defaults, nodes })
    }

    /// All nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Where it was read.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The nodes that any of the selectors means, each once, in the order of the file; destinations that are no node of the
    /// file follow in their own order.
    ///
    /// # Errors
    /// A selector that means nothing.
    pub fn select(&self, selectors: &[Selector]) -> Result<Vec<Node>> {
        let mut chosen = vec![false; self.nodes.len()];
        let mut others: Vec<Node> = Vec::new();
        for selector in selectors {
            let mut any = false;
            for (node, chosen) in self.nodes.iter().zip(&mut chosen) {
                if selector.means(node) {
                    (any, *chosen) = (true, true);
                }
            }
            if any {
                continue;
            }
            let Some(keys) = selector.destination() else {
                return Err(Error::NoNode {
                    selector: selector.to_string(),
                    inventory: self.path.clone(),
                    known: self.nodes.iter().map(|node| node.name().to_owned()).take(20).collect(),
                });
            };
            let node = Node::new(&word::name_of(&selector.to_string()), &keys.over(&self.defaults))?;
            if others.iter().all(|other| other.name() != node.name()) {
                others.push(node);
            }
        }
        let known = self.nodes.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(node, _)| node.clone());
        Ok(known.chain(others).collect())
    }

    /// The text of the file with one node more. What was written by hand, comments included, stays as it is.
    ///
    /// # Errors
    /// When there is such a node, or the file does not end with the list of nodes.
    pub fn with(&self, name: &str, keys: &Keys) -> Result<String> {
        word::name("name of a node", name)?;
        let invalid = |problem: String| Error::Inventory { path: self.path.clone(), problem };
        if self.nodes.iter().any(|node| node.name() == name) {
            return Err(invalid(format!("there is a node {name:?} already")));
        }
        // In quotes where YAML could take it for a number or for nothing.
        let is_plain = name.contains('-') && name.starts_with(|c: char| c.is_ascii_alphabetic());
        let mut lines =
            if is_plain { format!("  - name: {name}\n") } else { format!("  - name: {name:?}\n") };
        if let Ok(serde_json::Value::Object(fields)) = serde_json::to_value(keys) {
            // JSON is YAML too, and leaves no doubt about quoting.
            fields.iter().for_each(|(key, value)| lines += &format!("    {key}: {value}\n"));
        }
        let mut text = self.text.clone();
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        if self.nodes.is_empty() {
            text += "nodes:\n";
        }
        text += &lines;
        let added = Self::parse(&text, &self.path);
        let is_added = added.as_ref().is_ok_and(|added| {
            added.nodes.len() == self.nodes.len() + 1 && added.nodes[..self.nodes.len()] == self.nodes[..]
        });
        match is_added {
            true => Ok(text),
            false => Err(invalid(format!(
                "the node cannot be added at its end, since that is not the list of nodes; write this there by hand:\n{lines}"
            ))),
        }
    }
}

impl Keys {
    /// What `[user@]host[:port]` says of a node.
    pub fn of_destination(text: &str) -> Result<Self> {
        crate::selector::destination(text)
    }

    /// These, and the defaults where they say nothing.
    fn over(self, defaults: &Self) -> Self {
        let mut labels = defaults.labels.clone();
        labels.extend(self.labels);
        let defaults = defaults.clone();
        Self {
            host: self.host.or(defaults.host),
            port: self.port.or(defaults.port),
            user: self.user.or(defaults.user),
            key: self.key.or(defaults.key),
            jump: self.jump.or(defaults.jump),
            labels,
            runtime: self.runtime.or(defaults.runtime),
            socket: self.socket.or(defaults.socket),
            namespace: self.namespace.or(defaults.namespace),
            directory: self.directory.or(defaults.directory),
            bandwidth: self.bandwidth.or(defaults.bandwidth),
            known_hosts: self.known_hosts.or(defaults.known_hosts),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# ours
defaults: { user: admin, labels: { zone: a } }
nodes:
  - name: cp-1
    host: 10.0.0.1
    labels: { role: control-plane }
  - name: worker-1
    port: 2222
    user: root
    bandwidth: 20MB   # slow
  - { name: worker-2, labels: { zone: b } }
";

    fn selected(selectors: &[&str]) -> Result<Vec<String>> {
        let selectors: Result<Vec<Selector>> = selectors.iter().map(|text| text.parse()).collect();
        let inventory = Inventory::parse(TEXT, Path::new("nodes.yaml"))?;
        Ok(inventory.select(&selectors?)?.iter().map(|node| node.name().to_owned()).collect())
    }

    #[test]
    fn nodes_are_selected_by_name_pattern_label_and_destination() {
        assert_eq!(selected(&["worker-*"]).unwrap(), ["worker-1", "worker-2"]);
        assert_eq!(selected(&["zone=a", "cp-1"]).unwrap(), ["cp-1", "worker-1"]);
        assert_eq!(selected(&["all"]).unwrap().len(), 3);
        assert_eq!(selected(&["root@10.0.0.9:22", "cp-1"]).unwrap(), ["cp-1", "root-10.0.0.9-22"]);
        let error = selected(&["role=x"]).unwrap_err();
        assert!(error.to_string().contains("\"role=x\" is no node of nodes.yaml"), "{error}");
        assert!(error.hints()[0].contains("worker-2"));
    }

    #[test]
    fn mistakes_are_named() {
        for (text, expected) in [
            ("nodes: [{ name: a, hots: b }]", "hots"),
            ("nodes: [{ name: a }, { name: a }]", "two nodes"),
            ("nodes: [{ name: a, host: '-oProxyCommand=x' }]", "starts with a dash"),
            ("nodes: [{ name: a, jump: 'x;y' }]", "not allowed"),
            ("nodes: [{ name: a, user: '$(x)' }]", "not allowed"),
            ("nodes: [{ name: a, bandwidth: fast }]", "bandwidth"),
            ("nodes: [{ name: 'a b' }]", "not allowed"),
        ] {
            let error = Inventory::parse(text, Path::new("n")).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn a_node_is_added_without_touching_the_rest() {
        let inventory = Inventory::parse(TEXT, Path::new("n")).unwrap();
        let keys = Keys { host: Some("10.0.0.7".into()), ..Keys::default() };
        let text = inventory.with("worker-3", &keys).unwrap();
        assert!(text.starts_with(TEXT) && text.ends_with("host: \"10.0.0.7\"\n"), "{text}");
        assert!(inventory.with("cp-1", &keys).is_err());
        let empty = Inventory::parse("# nothing yet", Path::new("n")).unwrap();
        assert_eq!(
            Inventory::parse(&empty.with("a", &keys).unwrap(), Path::new("n")).unwrap().nodes().len(),
            1
        );
        let odd = Inventory::parse("nodes: []\ndefaults: {}\n", Path::new("n")).unwrap();
        assert!(odd.with("a", &keys).is_err());
    }

    use larder_core::Classify as _;

    #[test]
    fn destinations_and_names_of_any_form_become_nodes() {
        let empty = Inventory::default();
        for (text, name) in [("[::1]:2222", "1--2222"), ("root@fe80::1%lo", "root-fe80--1-lo")] {
            assert_eq!(empty.select(&[text.parse().unwrap()]).unwrap()[0].name(), name, "{text}");
        }
        for name in ["123", "true", "1e3", "null", "a-b.c"] {
            let text = empty.with(name, &Keys::default()).unwrap();
            assert_eq!(Inventory::parse(&text, Path::new("f")).unwrap().nodes()[0].name(), name, "{text}");
        }
        assert!(empty.with("all", &Keys::default()).is_err());
    }
}
