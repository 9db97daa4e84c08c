//! `inspect`: what an image is, from the store.

use crate::{Engine, Error, Result};
use larder_core::{
    Compression, Descriptor, Digest, Document, History, Manifest, MediaType, Platform, Reference, RunConfig,
};
use std::collections::BTreeMap;

/// An image, an index or an artifact.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Inspection {
    /// The name.
    pub reference: Reference,
    /// What it stands for.
    pub digest: Digest,
    /// Of the document the name stands for.
    pub media_type: MediaType,
    /// For an index: its images.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub platforms: Vec<PlatformView>,
    /// The manifest that is shown: the chosen platform's.
    pub manifest: Option<Digest>,
    /// What it runs on.
    pub platform: Option<Platform>,
    /// When it was made, RFC 3339.
    pub created: Option<String>,
    /// How it runs.
    pub config: Option<RunConfig>,
    /// The layers, lowest first.
    pub layers: Vec<LayerView>,
    /// How the layers came to be.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<History>,
    /// Annotations of the manifest.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Artifacts in the store that are attached to it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub attached: Vec<Descriptor>,
}

/// One image of an index.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PlatformView {
    /// What it runs on.
    pub platform: Option<Platform>,
    /// Its manifest.
    pub digest: Digest,
    /// Whether it is in the store.
    pub present: bool,
}

/// One layer.
#[derive(Debug, Clone, serde::Serialize)]
pub struct LayerView {
    /// The compressed blob.
    pub digest: Digest,
    /// The uncompressed layer.
    pub diff_id: Option<Digest>,
    /// Compressed bytes.
    pub size: u64,
    /// How it is compressed.
    pub compression: Option<&'static str>,
    /// Whether it is in the store.
    pub present: bool,
}

impl Engine {
    /// The bytes of the document a name stands for; with a platform, of that platform's manifest.
    pub fn raw(&self, reference: &Reference, platform: Option<&Platform>) -> Result<Document> {
        match platform {
            Some(platform) => Ok(self.local(reference, platform)?.document),
            None => {
                let digest = self.root(reference)?.digest;
                self.document(&digest)?.ok_or(Error::NoBlob { digest })
            }
        }
    }

    /// What the store knows about a name. Without a platform, the one of this machine is shown, or else the only one there is.
    pub fn inspect(&self, reference: &Reference, platform: Option<&Platform>) -> Result<Inspection> {
        let root = self.root(reference)?;
        let document = self.document(&root.digest)?.ok_or(Error::NoBlob { digest: root.digest })?;
        let mut platforms = Vec::new();
        if let Manifest::Index(index) = document.manifest() {
            for child in &index.manifests {
                let present = self.contains(&child.digest)?;
                platforms.push(PlatformView {
                    platform: child.platform.clone(),
                    digest: child.digest,
                    present,
                });
            }
        }
        let mut inspection = Inspection {
            reference: reference.clone(),
            digest: root.digest,
            media_type: document.media_type().clone(),
            manifest: None,
            platform: None,
            created: None,
            config: None,
            layers: Vec::new(),
            history: Vec::new(),
            annotations: BTreeMap::new(),
            attached: self.attached_here(&root.digest)?,
            platforms,
        };
        if let Manifest::Artifact(artifact) = document.manifest() {
            inspection.manifest = Some(root.digest);
            inspection.annotations = artifact.annotations.clone().unwrap_or_default();
            inspection.layers = self.layer_views(&artifact.layers, &[])?;
            return Ok(inspection);
        }
        let host = Platform::host();
        let image = match (self.local(reference, platform.unwrap_or(&host)), platform) {
            (Err(Error::NoPlatform { present, .. }), None) if !present.is_empty() => {
                self.local(reference, &present[0])?
            }
            (found, _) => found?,
        };
        inspection.manifest = Some(image.document.digest());
        inspection.layers = self.layer_views(&image.manifest.layers, &image.config.rootfs.diff_ids)?;
        inspection.annotations = image.manifest.annotations.clone().unwrap_or_default();
        if image.document.digest() != root.digest {
            inspection.attached.extend(self.attached_here(&image.document.digest())?);
        }
        inspection.platform = Some(image.config.platform);
        inspection.created = image.config.created;
        inspection.config = image.config.config;
        inspection.history = image.config.history.unwrap_or_default();
        Ok(inspection)
    }

    fn attached_here(&self, subject: &Digest) -> Result<Vec<Descriptor>> {
        let failed =
            |source| Error::Store { action: format!("cannot list what is attached to {subject}"), source };
        self.store().referrers(subject).map_err(failed)
    }

    fn layer_views(&self, layers: &[Descriptor], diff_ids: &[Digest]) -> Result<Vec<LayerView>> {
        let mut ids = diff_ids.iter();
        let views = layers.iter().map(|layer| {
            Ok(LayerView {
                digest: layer.digest,
                diff_id: if layer.media_type.is_layer() { ids.next().copied() } else { None },
                size: layer.size,
                compression: layer.media_type.compression().map(Compression::as_str),
                present: self.contains(&layer.digest)?,
            })
        });
        views.collect()
    }
}
