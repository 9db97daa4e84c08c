//! Manifests of every kind the cases push.

use super::trial::Trial;
use anyhow::Result;
use larder_core::Digest;
use serde_json::{Value, json};

pub(super) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(super) const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(super) const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
pub(super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// A manifest or index, ready to be pushed.
#[derive(Debug, Clone)]
pub(super) struct Document {
    pub(super) media_type: &'static str,
    pub(super) bytes: Vec<u8>,
}

impl Document {
    pub(super) fn new(media_type: &'static str, value: &Value) -> Self {
        Self { media_type, bytes: value.to_string().into_bytes() }
    }

    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    pub(super) fn descriptor(&self) -> Value {
        describe(self.media_type, &self.bytes)
    }

    /// An image of one layer whose blobs are in `repository` now.
    pub(super) fn image(trial: &Trial<'_>, repository: &str) -> Result<Self> {
        Self::image_with(trial, repository, &json!({}))
    }

    /// The same with further fields: `subject`, `artifactType`, `annotations`.
    pub(super) fn image_with(trial: &Trial<'_>, repository: &str, fields: &Value) -> Result<Self> {
        let (config, layer) = (configuration(trial), trial.bytes(200));
        trial.push_blob(repository, &config)?;
        trial.push_blob(repository, &layer)?;
        Ok(Self::manifest(&describe(CONFIG, &config), &[describe(LAYER, &layer)], fields))
    }

    /// An artifact with the empty configuration, whose blobs are in `repository` now.
    pub(super) fn artifact(trial: &Trial<'_>, repository: &str, fields: &Value) -> Result<Self> {
        let content = trial.bytes(100);
        trial.push_blob(repository, b"{}")?;
        trial.push_blob(repository, &content)?;
        Ok(Self::manifest(&describe(EMPTY, b"{}"), &[describe("text/plain", &content)], fields))
    }

    /// An image manifest of these descriptors, pushed or not.
    pub(super) fn manifest(config: &Value, layers: &[Value], fields: &Value) -> Self {
        let base = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
        Self::new(MANIFEST, &merged(base, fields))
    }

    /// An index of these descriptors, pushed or not.
    pub(super) fn index(trial: &Trial<'_>, manifests: &[Value], fields: &Value) -> Self {
        let base = json!({
            "schemaVersion": 2,
            "mediaType": INDEX,
            "manifests": manifests,
            "annotations": { "test.larder.nonce": trial.nonce().to_string() },
        });
        Self::new(INDEX, &merged(base, fields))
    }
}

/// An image configuration never seen before.
pub(super) fn configuration(trial: &Trial<'_>) -> Vec<u8> {
    let diff = Digest::of(&trial.bytes(8)).to_string();
    let value = json!({
        "architecture": "amd64",
        "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [diff] },
    });
    value.to_string().into_bytes()
}

pub(super) fn describe(media_type: &str, content: &[u8]) -> Value {
    json!({
        "mediaType": media_type,
        "digest": Digest::of(content).to_string(),
        "size": content.len(),
    })
}

pub(super) fn merged(mut base: Value, fields: &Value) -> Value {
    let fields = fields.as_object().expect("fields are an object").clone();
    base.as_object_mut().expect("a document is an object").extend(fields);
    base
}
