//! A machine that images are brought to.

use crate::inventory::Keys;
use crate::{Error, Rate, Result, RuntimeChoice, selector, word};
use std::collections::BTreeMap;

/// Where larder keeps what is temporary on a node, where nothing else is said.
pub const DIRECTORY: &str = "/var/lib/larder-node";

/// The namespace that Kubernetes uses.
pub const NAMESPACE: &str = "k8s.io";

/// One node, and how to get there. All words are checked: none can be an option, or mean anything to a shell.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Node {
    name: String,
    pub(crate) host: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) jump: Option<String>,
    labels: BTreeMap<String, String>,
    pub(crate) runtime: RuntimeChoice,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) socket: Option<String>,
    pub(crate) namespace: String,
    pub(crate) directory: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bandwidth: Option<Rate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) known_hosts: Option<String>,
}

impl Node {
    /// A node of which this is known.
    pub fn new(name: &str, keys: &Keys) -> Result<Self> {
        let name = word::name("name of a node", name)?;
        if name == selector::ALL {
            let reason = "it means all nodes";
            return Err(Error::Word { what: "name of a node", value: name, reason });
        }
        let optional = |value: &Option<String>, check: fn(&str) -> Result<String>| {
            value.as_deref().map(check).transpose()
        };
        let mut labels = BTreeMap::new();
        for (key, value) in &keys.labels {
            labels.insert(word::name("label", key)?, word::name("label", value)?);
        }
        for hop in keys.jump.iter().flat_map(|jump| jump.split(',')) {
            selector::destination(hop)?;
        }
        if keys.port == Some(0) {
            let reason = "it is not a number from 1 to 65535";
            return Err(Error::Word { what: "port", value: "0".into(), reason });
        }
        Ok(Self {
            host: keys.host.as_deref().map_or_else(|| word::host(&name), word::host)?,
            port: keys.port,
            user: optional(&keys.user, word::user)?,
            key: optional(&keys.key, |value| local_path("key", value))?,
            jump: keys.jump.clone(),
            labels,
            runtime: keys.runtime.unwrap_or_default(),
            socket: optional(&keys.socket, |value| word::remote_path("socket", value))?,
            namespace: optional(&keys.namespace, |value| word::identifier("namespace", value))?
                .unwrap_or_else(|| NAMESPACE.to_owned()),
            directory: optional(&keys.directory, |value| word::remote_path("directory", value))?
                .unwrap_or_else(|| DIRECTORY.to_owned()),
            bandwidth: keys.bandwidth,
            known_hosts: optional(&keys.known_hosts, |value| local_path("known_hosts", value))?,
            name,
        })
    }

    /// What it is called here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// By what it is selected.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    /// `user@host:port`, as far as it is known.
    pub fn address(&self) -> String {
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        match self.host.contains(':') && self.port.is_some() {
            true => format!("{user}[{}]{port}", self.host),
            false => format!("{user}{}{port}", self.host),
        }
    }

    /// The same node with another namespace of containerd.
    pub fn in_namespace(mut self, namespace: &str) -> Result<Self> {
        self.namespace = word::identifier("namespace", namespace)?;
        Ok(self)
    }
}

/// A path of this machine in an option of ssh, which has its own ideas about quotes and control characters.
fn local_path(what: &'static str, value: &str) -> Result<String> {
    let reason = if value.is_empty() {
        "it is empty"
    } else if value.chars().any(|c| c.is_control() || c == '"') {
        "it has quotes or control characters"
    } else {
        return Ok(value.to_owned());
    };
    Err(Error::Word { what, value: value.to_owned(), reason })
}
