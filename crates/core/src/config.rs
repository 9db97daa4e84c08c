//! The image configuration (OCI image-spec, config.md): what to run, and which layers make the root file system.

use crate::{Digest, Error, Platform};
use std::collections::BTreeMap;

/// The parts of an image configuration that larder uses; unknown fields are left alone, the raw bytes stay the truth.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct ImageConfig {
    /// What it runs on.
    #[serde(flatten)]
    pub platform: Platform,
    /// RFC 3339 time of creation.
    #[serde(default)]
    pub created: Option<String>,
    /// Who made it.
    #[serde(default)]
    pub author: Option<String>,
    /// How to run it.
    #[serde(default)]
    pub config: Option<RunConfig>,
    /// The layers, uncompressed.
    pub rootfs: RootFs,
    /// How each layer came to be.
    #[serde(default)]
    pub history: Option<Vec<History>>,
}

/// Defaults for running a container. Nothing in here ever drives what larder does on the host.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RunConfig {
    /// `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// `KEY=value`.
    pub env: Option<Vec<String>>,
    /// The program.
    pub entrypoint: Option<Vec<String>>,
    /// Its default arguments.
    pub cmd: Option<Vec<String>>,
    /// Where it starts.
    pub working_dir: Option<String>,
    /// Free-form facts.
    pub labels: Option<BTreeMap<String, String>>,
    /// `port/protocol`.
    pub exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    /// Directories that hold data.
    pub volumes: Option<BTreeMap<String, serde_json::Value>>,
    /// How to end it.
    pub stop_signal: Option<String>,
}

/// The layers of the root file system, lowest first.
#[derive(Debug, Clone, serde::Deserialize)]
pub struct RootFs {
    /// Always `layers`.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// Digests of the uncompressed layers.
    #[serde(default)]
    pub diff_ids: Vec<Digest>,
}

/// One step of the making.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct History {
    /// RFC 3339.
    #[serde(default)]
    pub created: Option<String>,
    /// The command.
    #[serde(default)]
    pub created_by: Option<String>,
    /// A remark.
    #[serde(default)]
    pub comment: Option<String>,
    /// The step made no layer.
    #[serde(default)]
    pub empty_layer: bool,
}

impl ImageConfig {
    /// Parses a configuration.
    pub fn parse(raw: &[u8]) -> Result<Self, Error> {
        let mut config: Self = serde_json::from_slice(raw)
            .map_err(|error| Error::Document { what: "image config", reason: error.to_string() })?;
        config.platform = config.platform.normalized();
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_docker_writes() {
        let raw = br#"{"architecture":"x86_64","os":"linux","config":{"Env":["A=b"],"Cmd":null,"Labels":null,"Volumes":{"/../../etc":{}}},
            "rootfs":{"type":"layers","diff_ids":["sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"]},
            "history":[{"created_by":"x","empty_layer":true}],"unknown":1}"#;
        let config = ImageConfig::parse(raw).unwrap();
        assert_eq!(config.platform.to_string(), "linux/amd64");
        assert_eq!(config.rootfs.diff_ids.len(), 1);
        assert_eq!(config.config.unwrap().env.unwrap(), ["A=b"]);
    }

    #[test]
    fn refuses_bad_diff_ids() {
        let raw = br#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:../../x"]}}"#;
        assert!(ImageConfig::parse(raw).is_err());
    }
}
