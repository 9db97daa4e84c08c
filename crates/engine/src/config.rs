//! One configuration for everything. Zero configuration is complete: every key has a default.

use crate::misfit;
use crate::serve::ServeConfig;
use larder_core::Secret;
use larder_core::{Bytes, Span};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that can be configured. Read with [`Config::layered`]; see [`KEYS`] for what each key means.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "KEYS documents every field, once")]
pub struct Config {
    pub home: PathBuf,
    pub platforms: Vec<String>,
    pub jobs: usize,
    pub connections: usize,
    pub driver: String,
    pub attached: bool,
    pub audit: bool,
    pub certs_dir: Vec<PathBuf>,
    pub auth_file: Option<PathBuf>,
    pub ca_file: Vec<PathBuf>,
    pub insecure: Vec<String>,
    pub allow_networks: Vec<String>,
    pub block_networks: Vec<String>,
    pub realm_hosts: Vec<String>,
    pub foreign_urls: bool,
    pub connect_timeout: Span,
    pub idle_timeout: Span,
    pub attempts: u32,
    pub helper_timeout: Span,
    pub credential_ttl: Span,
    pub tag_ttl: Span,
    pub memory: Bytes,
    pub quota: Option<Bytes>,
    pub max_age: Option<Span>,
    pub max_count: Option<usize>,
    pub max_layer: Bytes,
    pub max_ratio: u32,
    pub max_entries: u32,
    pub max_metadata: Bytes,
    pub inventory: Option<PathBuf>,
    pub node_binaries: Option<PathBuf>,
    pub package_definitions: Vec<PathBuf>,
    pub package_pins: Vec<PathBuf>,
    pub package_keys: Vec<PathBuf>,
    pub require_signatures: bool,
    pub registries: BTreeMap<String, RegistryConfig>,
    pub serve: ServeConfig,
}

/// What is known about one registry.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RegistryConfig {
    /// User name.
    pub username: Option<String>,
    /// Password; shown as `***`.
    #[serde(serialize_with = "hidden", deserialize_with = "secret")]
    pub password: Option<Secret>,
    /// A file that holds the password, read when it is needed.
    pub password_file: Option<PathBuf>,
}

fn hidden<S: serde::Serializer>(secret: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    match secret {
        Some(_) => serializer.serialize_str("***"),
        None => serializer.serialize_none(),
    }
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}

impl Default for Config {
    fn default() -> Self {
        let seconds = |n| Span(Duration::from_secs(n));
        Self {
            home: PathBuf::from("/var/lib/larder"),
            platforms: Vec::new(),
            jobs: 4,
            connections: 4,
            driver: "auto".into(),
            attached: true,
            audit: true,
            certs_dir: vec!["/etc/containerd/certs.d".into(), "/etc/docker/certs.d".into()],
            auth_file: None,
            ca_file: Vec::new(),
            insecure: Vec::new(),
            allow_networks: Vec::new(),
            block_networks: Vec::new(),
            realm_hosts: Vec::new(),
            foreign_urls: false,
            connect_timeout: seconds(10),
            idle_timeout: seconds(30),
            attempts: 6,
            helper_timeout: seconds(30),
            credential_ttl: seconds(900),
            tag_ttl: seconds(0),
            memory: Bytes(32 << 20),
            quota: None,
            max_age: None,
            max_count: None,
            max_layer: Bytes(64 << 30),
            max_ratio: 1000,
            max_entries: 2_000_000,
            max_metadata: Bytes(128 << 20),
            inventory: None,
            node_binaries: None,
            package_definitions: Vec::new(),
            package_pins: Vec::new(),
            package_keys: vec!["/etc/larder/keys".into()],
            require_signatures: false,
            registries: BTreeMap::new(),
            serve: ServeConfig::default(),
        }
    }
}

/// One configuration key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name in `config.yaml`; the environment variable is `LARDER_` and the name in capitals.
    pub name: &'static str,
    /// What it does.
    pub help: &'static str,
    /// Several values: a YAML list, or separated by commas in the environment.
    pub list: bool,
}

const fn key(name: &'static str, help: &'static str) -> Key {
    Key { name, help, list: false }
}

const fn list(name: &'static str, help: &'static str) -> Key {
    Key { name, help, list: true }
}

/// All keys that fit into one value, in the order of the documentation. `registries` and `serve` are maps and live in the file only.
pub const KEYS: &[Key] = &[
    key("home", "where the store is"),
    list("platforms", "platforms to pull, os/arch[/variant]; empty means this machine's; all means all"),
    key("jobs", "blobs that move at the same time"),
    key("connections", "connections that one blob of 64 MiB or more may use"),
    key("driver", "how images are mounted: auto, erofs or overlay"),
    key("attached", "signatures, attestations and other referrers travel with an image"),
    key("audit", "what is done to the store is written down in HOME/audit; see `larder audit`"),
    list(
        "certs_dir",
        "containerd-style certs.d directories: HOST/hosts.toml, HOST/*.crt; the first with an entry for the host counts",
    ),
    key("auth_file", "the docker-compatible credential file that login writes and that is read first"),
    list("ca_file", "additional certificate authorities, PEM"),
    list(
        "insecure",
        "registries (host[:port]) that may be spoken to over http or with an unverified certificate",
    ),
    list("allow_networks", "private networks (CIDR) that a registry may redirect to"),
    list("block_networks", "networks (CIDR) that are never connected to"),
    list("realm_hosts", "token servers outside a registry's own domain that may see its credentials"),
    key("foreign_urls", "fetch layers from the urls a manifest names, without credentials"),
    key("connect_timeout", "how long a connection may take to open"),
    key("idle_timeout", "how long a connection may stay silent"),
    key("attempts", "attempts without progress before a transfer is given up"),
    key("helper_timeout", "how long a credential helper may take"),
    key("credential_ttl", "how long an answer of the credential chain is kept"),
    key("tag_ttl", "how long a tag is believed without asking the registry again"),
    key("memory", "size of the memory tier"),
    key("quota", "size of the store; the least recently used images go first"),
    key("max_age", "images not used for so long are removed by gc"),
    key("max_count", "at most so many images are kept by gc"),
    key("max_layer", "largest uncompressed layer that is accepted"),
    key("max_ratio", "largest compression ratio that is accepted, after the first 64 MiB"),
    key("max_entries", "most entries in one layer that are accepted"),
    key(
        "max_metadata",
        "most memory that the names and attributes of one image may take: some 75 bytes and the name for a file",
    ),
    list(
        "package_definitions",
        "files, or directories of files, that define packages and repositories for them",
    ),
    list("package_pins", "files that say what packages hash to"),
    list("package_keys", "directories with the keys that may sign packages: NAME.asc, NAME.gpg, fulcio.pem"),
    key("require_signatures", "packages without a verified signature are refused"),
    key("inventory", "the file that says which nodes there are; HOME/nodes.yaml where nothing is said"),
    key(
        "node_binaries",
        "the directory of larder-node-amd64 and larder-node-arm64; that of larder where nothing is said",
    ),
];

/// Where a value comes from. Later ones win.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Built in.
    Default,
    /// A configuration file.
    File(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A command-line flag.
    Flag(String),
}

/// Values from one origin: a JSON object with the names of [`KEYS`].
#[derive(Debug, Clone)]
pub struct LayerOfValues {
    /// Where they come from; for environment and flags the name is per key and given in `names`.
    pub origin: Origin,
    /// The values.
    pub values: Map<String, Value>,
}

impl Config {
    /// Puts layers of values together, later ones over earlier ones, and says where each key's value came from.
    ///
    /// # Errors
    /// Names the origin and the key when a value does not fit.
    pub fn layered(layers: &[LayerOfValues]) -> Result<(Self, BTreeMap<String, Origin>), String> {
        let mut merged = Map::new();
        let mut origins: BTreeMap<String, Origin> =
            KEYS.iter().map(|key| (key.name.to_owned(), Origin::Default)).collect();
        for layer in layers {
            for (name, value) in &layer.values {
                let single = Value::Object(Map::from_iter([(name.clone(), value.clone())]));
                if let Err(error) = serde_json::from_value::<Self>(single) {
                    return Err(format!("{}: {name}: {}", layer.origin, misfit::plain(&error.to_string())));
                }
                origins.insert(name.clone(), layer.origin.clone());
                merged.insert(name.clone(), value.clone());
            }
        }
        let config = serde_json::from_value(Value::Object(merged)).map_err(|error| error.to_string())?;
        Ok((config, origins))
    }

    /// Parses one value as the environment or a flag gives it: text, or several separated by commas for a list.
    pub fn value(key: &Key, text: &str) -> Value {
        if key.list {
            return text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Value::from).collect();
        }
        match text {
            "true" | "yes" | "1" if key.is_switch() => Value::Bool(true),
            "false" | "no" | "0" | "" if key.is_switch() => Value::Bool(false),
            _ => text.parse::<u64>().map_or_else(|_| Value::from(text), Value::from),
        }
    }

    /// Parses a configuration file. An empty file is an empty configuration.
    pub fn parse_file(text: &str) -> Result<Map<String, Value>, String> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Map::new());
        }
        serde_saphyr::from_str::<Map<String, Value>>(text).map_err(|error| error.to_string())
    }
}

impl Key {
    fn is_switch(&self) -> bool {
        matches!(self.name, "attached" | "audit" | "foreign_urls" | "require_signatures")
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer(origin: Origin, values: Value) -> LayerOfValues {
        let Value::Object(values) = values else { panic!("not an object") };
        LayerOfValues { origin, values }
    }

    #[test]
    fn keys_and_fields_are_the_same() {
        let Value::Object(fields) = serde_json::to_value(Config::default()).unwrap() else {
            panic!("not an object")
        };
        let mut names: Vec<&str> = KEYS.iter().map(|key| key.name).chain(["registries", "serve"]).collect();
        let mut fields: Vec<&str> = fields.keys().map(String::as_str).collect();
        names.sort_unstable();
        fields.sort_unstable();
        assert_eq!(names, fields);
        let defaults = serde_json::to_value(Config::default()).unwrap();
        for key in KEYS {
            assert_eq!(defaults[key.name].is_array(), key.list, "{}", key.name);
            assert!(!defaults[key.name].is_boolean() || key.is_switch(), "{}", key.name);
        }
    }

    #[test]
    fn later_layers_win_and_are_named() {
        let file = Origin::File("/etc/larder/config.yaml".into());
        let flag = Origin::Flag("--jobs".into());
        let (config, origins) = Config::layered(&[
            layer(file.clone(), serde_json::json!({"jobs": 2, "quota": "10GB"})),
            layer(flag.clone(), serde_json::json!({"jobs": 8})),
        ])
        .unwrap();
        assert_eq!(config.jobs, 8);
        assert_eq!(config.quota, Some(Bytes(10_000_000_000)));
        assert_eq!((&origins["jobs"], &origins["quota"], &origins["home"]), (&flag, &file, &Origin::Default));
    }

    #[test]
    fn mistakes_name_the_place() {
        let error = |values| Config::layered(&[layer(Origin::File("/c.yaml".into()), values)]).unwrap_err();
        let unknown = error(serde_json::json!({"jbos": 2}));
        assert!(unknown.contains("/c.yaml") && unknown.contains("jbos"), "{unknown}");
        let wrong = error(serde_json::json!({"quota": "lots"}));
        assert!(wrong.contains("quota") && wrong.contains("not a size"), "{wrong}");
    }

    #[test]
    fn every_key_parses_from_text() {
        let key = |name| KEYS.iter().find(|key| key.name == name).unwrap();
        assert_eq!(Config::value(key("certs_dir"), "/a, /b"), serde_json::json!(["/a", "/b"]));
        assert_eq!(Config::value(key("attached"), "0"), serde_json::json!(false));
        assert_eq!(Config::value(key("jobs"), "3"), serde_json::json!(3));
        assert_eq!(Config::value(key("quota"), "10GB"), serde_json::json!("10GB"));
    }

    #[test]
    fn passwords_are_not_shown() {
        let file = Config::parse_file("registries:\n  r.example:\n    username: u\n    password: hunter2\n")
            .unwrap();
        let (config, _) =
            Config::layered(&[LayerOfValues { origin: Origin::Default, values: file }]).unwrap();
        let shown = serde_json::to_string(&config).unwrap() + &format!("{config:?}");
        assert!(!shown.contains("hunter2"), "{shown}");
        assert_eq!(config.registries["r.example"].password.as_ref().unwrap().reveal(), "hunter2");
    }
}
