//! Images and other artifacts in memory, made from a seed.

use crate::layer::{Family, Layer, Packing};
use crate::{FaultRegistry, Random};
use anyhow::{Context as _, Result};
use bytes::Bytes;
use larder_core::{Compression, Descriptor, Digest, MediaType, Platform};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// Builds one image for one platform. The same calls with the same seed give the same digests.
#[derive(Debug, Clone)]
pub struct ImageBuilder {
    random: Random,
    family: Family,
    platform: Platform,
    layers: Vec<Layer>,
    config: Value,
    annotations: BTreeMap<String, String>,
    subject: Option<Descriptor>,
    artifact_type: Option<String>,
}

/// An image, index or artifact with everything below it.
#[derive(Debug, Clone)]
pub struct Image {
    /// The descriptor of the manifest or index itself, with its platform where it is an image.
    pub descriptor: Descriptor,
    /// Manifests and indexes, children first, the root last.
    pub documents: Vec<(Descriptor, Bytes)>,
    /// Configs and layers.
    pub blobs: Vec<(Descriptor, Bytes)>,
    /// The layers of a single image, lowest first.
    pub layers: Vec<Layer>,
}

/// Builds an index over images.
#[derive(Debug, Clone)]
pub struct IndexBuilder {
    family: Family,
    children: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
    below: Image,
}

impl ImageBuilder {
    /// OCI, for this machine's platform, without layers.
    pub fn new(seed: u64) -> Self {
        Self {
            random: Random::new(seed),
            family: Family::Oci,
            platform: Platform::host(),
            layers: Vec::new(),
            config: json!({ "Env": [format!("PATH={}", crate::tools::PATH)], "Cmd": ["/bin/sh"] }),
            annotations: BTreeMap::new(),
            subject: None,
            artifact_type: None,
        }
    }

    /// Which media types to use.
    #[must_use]
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// What it runs on.
    ///
    /// # Panics
    /// Where `platform` is not `os/architecture[/variant]`.
    #[must_use]
    pub fn platform(mut self, platform: &str) -> Self {
        self.platform = platform.parse().expect("os/architecture[/variant]");
        self
    }

    /// Adds a layer on top.
    #[must_use]
    pub fn layer(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Adds a layer made of a tar.
    #[must_use]
    pub fn tar(self, tar: impl Into<Bytes>, packing: impl Into<Packing>) -> Self {
        self.layer(Layer::new(tar, packing))
    }

    /// Adds `count` layers of `size` incompressible bytes each.
    #[must_use]
    pub fn random_layers(mut self, count: usize, size: usize, compression: Compression) -> Self {
        for _ in 0..count {
            let layer = Layer::random(&mut self.random, size, compression);
            self.layers.push(layer);
        }
        self
    }

    /// Sets a field of the run configuration, for example `("Entrypoint", json!(["/init"]))`.
    #[must_use]
    pub fn run_config(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    /// Annotates the manifest.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// Attaches it to something.
    #[must_use]
    pub fn subject(mut self, subject: &Descriptor) -> Self {
        self.subject = Some(plain(subject));
        self
    }

    /// Says what kind of artifact it is.
    #[must_use]
    pub fn artifact_type(mut self, artifact_type: &str) -> Self {
        self.artifact_type = Some(artifact_type.into());
        self
    }

    /// The image.
    pub fn build(self) -> Image {
        let history: Vec<Value> = (0..self.layers.len())
            .map(|at| json!({ "created": CREATED, "created_by": format!("layer {at}") }))
            .collect();
        let mut config = json!({
            "created": CREATED,
            "architecture": self.platform.architecture,
            "os": self.platform.os,
            "config": self.config,
            "rootfs": {
                "type": "layers",
                "diff_ids": self.layers.iter().map(|layer| layer.diff_id).collect::<Vec<_>>(),
            },
            "history": history,
        });
        if let Some(variant) = &self.platform.variant {
            config["variant"] = json!(variant);
        }
        let (manifest_type, config_type) = match self.family {
            Family::Oci => (MediaType::OCI_MANIFEST, MediaType::OCI_CONFIG),
            Family::Docker => (MediaType::DOCKER_MANIFEST, MediaType::DOCKER_CONFIG),
        };
        let config = Bytes::from(config.to_string());
        let config = (Descriptor::of(config_type, &config), config);
        let layers: Vec<(Descriptor, Bytes)> =
            self.layers.iter().map(|layer| (layer.descriptor(self.family), layer.blob.clone())).collect();
        let mut image = manifest(
            &manifest_type,
            config,
            layers,
            self.subject.as_ref(),
            self.artifact_type.as_deref(),
            &self.annotations,
        );
        image.descriptor.platform = Some(self.platform);
        image.layers = self.layers;
        image
    }
}

impl Image {
    /// The digest of the manifest or index.
    pub fn digest(&self) -> Digest {
        self.descriptor.digest
    }

    /// The bytes of the manifest or index.
    pub fn raw(&self) -> &Bytes {
        let (_, raw) = self.documents.last().expect("every image has its own document");
        raw
    }

    /// Bytes of all distinct blobs and documents.
    pub fn size(&self) -> u64 {
        let all: BTreeMap<Digest, u64> = self
            .documents
            .iter()
            .chain(&self.blobs)
            .map(|(descriptor, _)| (descriptor.digest, descriptor.size))
            .collect();
        all.values().sum()
    }

    /// An artifact attached to `subject` (OCI image-spec 1.1): an empty config and `payload` as its only layer.
    pub fn referrer(subject: &Descriptor, artifact_type: &str, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        let layer = (Descriptor::of(MediaType::new(artifact_type), &payload), payload);
        let (empty, none) = (empty_config(), BTreeMap::new());
        manifest(&MediaType::OCI_MANIFEST, empty, vec![layer], Some(subject), Some(artifact_type), &none)
    }

    /// A signature as cosign left it before referrers existed: found by its tag, [`signature_tag`]; the signature itself is
    /// `signature`, over a payload that names the subject.
    pub fn cosign_signature(subject: &Descriptor, signature: &str) -> Self {
        let payload = json!({ "critical": {
            "identity": { "docker-reference": "" },
            "image": { "docker-manifest-digest": subject.digest },
            "type": "cosign container image signature",
        }, "optional": null });
        let payload = Bytes::from(payload.to_string());
        let media_type = MediaType::new("application/vnd.dev.cosign.simplesigning.v1+json");
        let mut layer = Descriptor::of(media_type, &payload);
        layer.annotations.insert("dev.cosignproject.cosign/signature".into(), signature.into());
        let config = json!({ "architecture": "", "os": "", "config": {}, "created": "0001-01-01T00:00:00Z",
            "rootfs": { "type": "layers", "diff_ids": [layer.digest] } });
        let config = Bytes::from(config.to_string());
        let config = (Descriptor::of(MediaType::OCI_CONFIG, &config), config);
        manifest(&MediaType::OCI_MANIFEST, config, vec![(layer, payload)], None, None, &BTreeMap::new())
    }

    /// Puts it into `repository` of a registry, under `tag` if there is one.
    pub fn push(&self, registry: &FaultRegistry, repository: &str, tag: Option<&str>) {
        for (_, content) in &self.blobs {
            registry.put_blob(repository, content.clone());
        }
        for (descriptor, raw) in &self.documents {
            let tag = tag.filter(|_| descriptor.digest == self.digest());
            registry.put_manifest(repository, &descriptor.media_type, raw.clone(), tag);
        }
    }

    /// Adds it to the OCI image layout at `directory` (made if need be), under the name `name` if there is one; another entry
    /// of that name goes.
    pub fn write_layout(&self, directory: &Path, name: Option<&str>) -> Result<()> {
        let blobs = directory.join("blobs/sha256");
        std::fs::create_dir_all(&blobs).with_context(|| format!("cannot make {}", blobs.display()))?;
        let write = |path: &Path, content: &[u8]| {
            std::fs::write(path, content).with_context(|| format!("cannot write {}", path.display()))
        };
        write(&directory.join("oci-layout"), br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        for (descriptor, content) in self.blobs.iter().chain(&self.documents) {
            write(&blobs.join(descriptor.digest.hex()), content)?;
        }
        let index = directory.join("index.json");
        let mut manifests: Vec<Descriptor> = match std::fs::read(&index) {
            Ok(raw) => {
                let index: Value = serde_json::from_slice(&raw).context("index.json is not JSON")?;
                serde_json::from_value(index["manifests"].clone()).context("index.json has no manifests")?
            }
            Err(_) => Vec::new(),
        };
        let mut entry = self.descriptor.clone();
        if let Some(name) = name {
            manifests.retain(|other| other.annotations.get(REF_NAME).is_none_or(|have| have != name));
            entry.annotations.insert(REF_NAME.into(), name.into());
        }
        manifests.push(entry);
        let text = json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": manifests });
        write(&index, text.to_string().as_bytes())
    }
}

impl IndexBuilder {
    /// An empty index.
    pub fn new(family: Family) -> Self {
        let nothing = Descriptor::of(MediaType::OCI_EMPTY, b"");
        let below = Image { descriptor: nothing, documents: vec![], blobs: vec![], layers: vec![] };
        Self { family, children: Vec::new(), annotations: BTreeMap::new(), below }
    }

    /// One image per platform, each with `layers` layers of `size` bytes of its own.
    pub fn multi_platform(seed: u64, platforms: &[&str], layers: usize, size: usize) -> Self {
        platforms.iter().zip(seed..).fold(Self::new(Family::Oci), |index, (platform, seed)| {
            let builder = ImageBuilder::new(seed).platform(platform);
            index.image(&builder.random_layers(layers, size, Compression::Gzip).build())
        })
    }

    /// Adds a child with everything below it.
    #[must_use]
    pub fn image(mut self, image: &Image) -> Self {
        self.children.push(image.descriptor.clone());
        self.below.documents.extend(image.documents.iter().cloned());
        self.below.blobs.extend(image.blobs.iter().cloned());
        self
    }

    /// Adds a child that exists nowhere: the index is sparse.
    #[must_use]
    pub fn absent(mut self, platform: &str) -> Self {
        let image = ImageBuilder::new(0).platform(platform).annotation("absent", platform).build();
        self.children.push(image.descriptor);
        self
    }

    /// Adds any child descriptor.
    #[must_use]
    pub fn child(mut self, descriptor: Descriptor) -> Self {
        self.children.push(descriptor);
        self
    }

    /// Annotates the index.
    #[must_use]
    pub fn annotation(mut self, key: &str, value: &str) -> Self {
        self.annotations.insert(key.into(), value.into());
        self
    }

    /// The index.
    pub fn build(self) -> Image {
        let media_type = match self.family {
            Family::Oci => MediaType::OCI_INDEX,
            Family::Docker => MediaType::DOCKER_INDEX,
        };
        let mut index = json!({ "schemaVersion": 2, "mediaType": media_type, "manifests": self.children });
        if !self.annotations.is_empty() {
            index["annotations"] = json!(self.annotations);
        }
        let raw = Bytes::from(index.to_string());
        let descriptor = Descriptor::of(media_type, &raw);
        let mut image = Image { descriptor: descriptor.clone(), ..self.below };
        image.documents.push((descriptor, raw));
        image
    }
}

/// The tag under which cosign keeps the signature of `subject`: `sha256-HEX.sig`.
pub fn signature_tag(subject: &Digest) -> String {
    format!("{}.sig", referrers_tag(subject))
}

/// The tag under which clients keep the list of referrers where a registry has no API for it: `sha256-HEX` (OCI
/// distribution-spec, "Referrers Tag Schema").
pub fn referrers_tag(subject: &Digest) -> String {
    format!("{}-{}", subject.algorithm().as_str(), subject.hex())
}

fn manifest(
    media_type: &MediaType,
    config: (Descriptor, Bytes),
    layers: Vec<(Descriptor, Bytes)>,
    subject: Option<&Descriptor>,
    artifact_type: Option<&str>,
    annotations: &BTreeMap<String, String>,
) -> Image {
    let mut document = json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": config.0,
        "layers": layers.iter().map(|(descriptor, _)| descriptor).collect::<Vec<_>>(),
    });
    if let Some(subject) = subject {
        document["subject"] = json!(plain(subject));
    }
    if let Some(artifact_type) = artifact_type {
        document["artifactType"] = json!(artifact_type);
    }
    if !annotations.is_empty() {
        document["annotations"] = json!(annotations);
    }
    let raw = Bytes::from(document.to_string());
    let descriptor = Descriptor::of(media_type.clone(), &raw);
    let blobs = std::iter::once(config).chain(layers).collect();
    Image { descriptor: descriptor.clone(), documents: vec![(descriptor, raw)], blobs, layers: Vec::new() }
}

fn empty_config() -> (Descriptor, Bytes) {
    let empty = Bytes::from_static(b"{}");
    (Descriptor::of(MediaType::OCI_EMPTY, &empty), empty)
}

/// Only type, digest and size, as a subject is written.
fn plain(descriptor: &Descriptor) -> Descriptor {
    Descriptor::new(descriptor.media_type.clone(), descriptor.digest, descriptor.size)
}

const CREATED: &str = "2024-01-01T00:00:00Z";
const REF_NAME: &str = "org.opencontainers.image.ref.name";

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::{Document, ImageConfig, Manifest};

    #[test]
    fn core_reads_what_is_built() {
        for family in [Family::Oci, Family::Docker] {
            let image = ImageBuilder::new(1)
                .family(family)
                .platform("linux/arm64")
                .random_layers(3, 1000, Compression::Gzip)
                .build();
            let document = Document::parse(&image.raw()[..], Some(&image.descriptor.media_type)).unwrap();
            assert_eq!(document.digest(), image.digest());
            let Manifest::Image(manifest) = document.manifest() else { panic!("not an image") };
            let config = ImageConfig::parse(&image.blobs[0].1).unwrap();
            assert_eq!(config.platform.to_string(), "linux/arm64");
            let diff_ids: Vec<Digest> = image.layers.iter().map(|layer| layer.diff_id).collect();
            assert_eq!(config.rootfs.diff_ids, diff_ids);
            assert!(manifest.layers.iter().all(|l| l.media_type.compression() == Some(Compression::Gzip)));
        }
    }

    #[test]
    fn the_seed_decides() {
        let digest = |seed| ImageBuilder::new(seed).random_layers(2, 100, Compression::Zstd).build().digest();
        assert_eq!(digest(5), digest(5));
        assert_ne!(digest(5), digest(6));
    }

    #[test]
    fn indexes_and_attachments() {
        let index = IndexBuilder::multi_platform(1, &["linux/amd64", "linux/arm/v7"], 1, 10)
            .absent("linux/s390x")
            .build();
        let document = Document::parse(&index.raw()[..], None).unwrap();
        let Manifest::Index(parsed) = document.manifest() else { panic!("not an index") };
        assert_eq!(parsed.platforms().len(), 3);
        assert_eq!(index.documents.len(), 3);
        let referrer = Image::referrer(&index.descriptor, "application/x.sbom", "{}");
        let document = Document::parse(&referrer.raw()[..], None).unwrap();
        assert_eq!(document.manifest().subject().unwrap().digest, index.digest());
        assert!(matches!(document.manifest(), Manifest::Artifact(_)));
        assert!(signature_tag(&index.digest()).starts_with("sha256-"));
    }
}
