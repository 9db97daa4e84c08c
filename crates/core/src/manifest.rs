//! Manifests and indexes (OCI image-spec, manifest.md and image-index.md; Docker schema 2).

use crate::{Descriptor, Digest, Error, MediaType, Platform, Selection};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The largest manifest or index that is read: 4 MiB, the limit registries are asked to support.
pub const MANIFEST_LIMIT: u64 = 4 << 20;

/// The raw bytes of a manifest together with what they say. The bytes are the truth: they are what hashes to the digest,
/// and they are never written again from the parsed form.
#[derive(Debug, Clone)]
pub struct Document {
    raw: Arc<[u8]>,
    digest: Digest,
    media_type: MediaType,
    manifest: Manifest,
}

/// What a manifest document is.
#[derive(Debug, Clone)]
pub enum Manifest {
    /// One image for one platform.
    Image(ImageManifest),
    /// A list of manifests, usually one per platform.
    Index(Index),
    /// A manifest whose config is not an image configuration: a signature, a chart, a bill of materials.
    Artifact(ImageManifest),
}

/// A config and its layers.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageManifest {
    /// The configuration.
    pub config: Descriptor,
    /// Layers, lowest first.
    #[serde(default)]
    pub layers: Vec<Descriptor>,
    /// What this is attached to.
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// What kind of artifact it is.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// Free-form facts.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

/// A list of manifests.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    /// The manifests.
    #[serde(default)]
    pub manifests: Vec<Descriptor>,
    /// What this is attached to.
    #[serde(default)]
    pub subject: Option<Descriptor>,
    /// What kind of artifact it is.
    #[serde(default)]
    pub artifact_type: Option<String>,
    /// Free-form facts.
    #[serde(default)]
    pub annotations: Option<BTreeMap<String, String>>,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u64>,
    media_type: Option<MediaType>,
    config: Option<serde::de::IgnoredAny>,
    layers: Option<serde::de::IgnoredAny>,
    manifests: Option<serde::de::IgnoredAny>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Reads a manifest or index. `declared` is what the carrier (Content-Type header or descriptor) says it is.
    ///
    /// Refused: bodies over [`MANIFEST_LIMIT`], Docker schema 1, and every document that could be read in two ways — both
    /// an image and an index, or a `mediaType` that contradicts the carrier (CVE-2021-41190). Also refused: sizes beyond 4 PiB.
    pub fn parse(raw: impl Into<Arc<[u8]>>, declared: Option<&MediaType>) -> Result<Self, Error> {
        let raw: Arc<[u8]> = raw.into();
        let invalid = |reason: String| Error::Document { what: "manifest", reason };
        if raw.len() as u64 > MANIFEST_LIMIT {
            return Err(invalid(format!("{} bytes, more than the limit of {MANIFEST_LIMIT}", raw.len())));
        }
        let shape: Shape = serde_json::from_slice(&raw).map_err(|error| invalid(not_json(&raw, &error)))?;
        if shape.schema_version == Some(1)
            || shape.fs_layers.is_some()
            || declared.is_some_and(MediaType::is_schema1)
        {
            return Err(invalid(
                "Docker schema 1 is not supported; push the image again with a current tool".into(),
            ));
        }
        let (is_image, is_index) =
            (shape.config.is_some() || shape.layers.is_some(), shape.manifests.is_some());
        if is_image && is_index {
            return Err(invalid("it is both an image and an index".into()));
        }
        let declared = declared.filter(|media_type| media_type.is_index() || media_type.is_manifest());
        let media_type = match (shape.media_type, declared) {
            (Some(inner), Some(outer)) if inner != *outer => {
                return Err(invalid(format!("it says it is {inner}, but was served as {outer}")));
            }
            (Some(inner), _) => inner,
            (None, Some(outer)) => outer.clone(),
            (None, None) if is_index => MediaType::OCI_INDEX,
            (None, None) => MediaType::OCI_MANIFEST,
        };
        let manifest = if media_type.is_index() {
            if is_image {
                return Err(invalid("it is called an index but has a config or layers".into()));
            }
            Manifest::Index(serde_json::from_slice(&raw).map_err(|error| invalid(error.to_string()))?)
        } else if media_type.is_manifest() {
            if is_index {
                return Err(invalid("it is called an image manifest but has a list of manifests".into()));
            }
            let image: ImageManifest =
                serde_json::from_slice(&raw).map_err(|error| invalid(error.to_string()))?;
            if image.config.media_type.is_image_config() {
                Manifest::Image(image)
            } else {
                Manifest::Artifact(image)
            }
        } else {
            return Err(invalid(format!("unsupported media type {media_type}")));
        };
        // No file is that large, and sums of what is smaller do not wrap so soon.
        if let Some(child) = manifest.children().into_iter().find(|child| child.size > LARGEST) {
            return Err(invalid(format!("{} is said to have {} bytes", child.digest, child.size)));
        }
        Ok(Self { digest: Digest::of(&raw), raw, media_type, manifest })
    }

    /// The bytes.
    pub fn raw(&self) -> &Arc<[u8]> {
        &self.raw
    }

    /// SHA-256 of the bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// What it is.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// What it says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// A descriptor of the document itself.
    pub fn descriptor(&self) -> Descriptor {
        Descriptor::new(self.media_type.clone(), self.digest, self.raw.len() as u64)
    }
}

/// Says what came instead of JSON: a login page is the usual suspect.
fn not_json(raw: &[u8], error: &serde_json::Error) -> String {
    let start = raw.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(0);
    if raw[start..].starts_with(b"<") { "it is a web page, not a manifest".into() } else { error.to_string() }
}

impl Manifest {
    /// Everything the document points at directly: children of an index, or config and layers. `subject` points upward and
    /// is not included.
    pub fn children(&self) -> Vec<&Descriptor> {
        match self {
            Self::Index(index) => index.manifests.iter().collect(),
            Self::Image(image) | Self::Artifact(image) => {
                std::iter::once(&image.config).chain(&image.layers).collect()
            }
        }
    }

    /// What the document is attached to.
    pub fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Index(index) => index.subject.as_ref(),
            Self::Image(image) | Self::Artifact(image) => image.subject.as_ref(),
        }
    }
}

impl Index {
    /// The children that `selection` asks for, in the index's order, each once. `Err` names the platforms nothing matches.
    pub fn select(&self, selection: &Selection) -> Result<Vec<&Descriptor>, Vec<Platform>> {
        let wanted = match selection {
            Selection::All => return Ok(self.manifests.iter().collect()),
            Selection::Only(wanted) => wanted,
        };
        let mut chosen = vec![false; self.manifests.len()];
        let mut missing = Vec::new();
        for platform in wanted {
            let best = self
                .manifests
                .iter()
                .enumerate()
                .filter(|(_, child)| child.media_type.is_manifest() || child.media_type.is_index())
                .filter_map(|(at, child)| Some((child.platform.as_ref()?.distance(platform)?, at)))
                .min();
            match best {
                Some((_, at)) => chosen[at] = true,
                None => missing.push(platform.clone()),
            }
        }
        if !missing.is_empty() {
            return Err(missing);
        }
        Ok(self.manifests.iter().zip(chosen).filter_map(|(child, chosen)| chosen.then_some(child)).collect())
    }

    /// The platforms the index offers, without the `unknown/unknown` of attached attestations.
    pub fn platforms(&self) -> Vec<Platform> {
        self.manifests
            .iter()
            .filter_map(|child| child.platform.clone())
            .filter(|platform| platform.os != "unknown")
            .map(Platform::normalized)
            .collect()
    }
}

/// The largest size that a descriptor may claim: 4 PiB.
const LARGEST: u64 = 1 << 52;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn image(extra: &str) -> String {
        format!(
            r#"{{"schemaVersion":2{extra},"config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{A}","size":2}},"layers":[]}}"#
        )
    }

    fn parse(text: &str, declared: Option<&MediaType>) -> Result<Document, Error> {
        Document::parse(text.as_bytes(), declared)
    }

    #[test]
    fn reads_an_image_without_media_type() {
        let document = parse(&image(""), None).unwrap();
        assert_eq!(*document.media_type(), MediaType::OCI_MANIFEST);
        assert!(matches!(document.manifest(), Manifest::Image(_)));
        assert_eq!(document.digest(), Digest::of(image("").as_bytes()));
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        let both = image(r#","manifests":[]"#);
        assert!(parse(&both, None).is_err());
        let oci = image(r#","mediaType":"application/vnd.oci.image.manifest.v1+json""#);
        assert!(parse(&oci, Some(&MediaType::OCI_MANIFEST)).is_ok());
        assert!(parse(&oci, Some(&MediaType::OCI_INDEX)).is_err());
        assert!(parse(&oci, Some(&MediaType::DOCKER_MANIFEST)).is_err());
        assert!(parse(&image(""), Some(&MediaType::OCI_INDEX)).is_err());
        assert!(parse(r#"{"schemaVersion":2,"manifests":[]}"#, Some(&MediaType::OCI_MANIFEST)).is_err());
    }

    #[test]
    fn refuses_schema_1_pages_and_bombs() {
        assert!(parse(r#"{"schemaVersion":1,"fsLayers":[]}"#, None).is_err());
        let page = parse("<!doctype html><html>", None).unwrap_err();
        assert!(page.to_string().contains("web page"), "{page}");
        assert!(parse(&" ".repeat(MANIFEST_LIMIT as usize + 1), None).is_err());
        assert!(parse(&image("").replace(A, "sha256:../../x"), None).is_err());
    }

    #[test]
    fn selects_the_nearest_variant() {
        let child = |digest: u8, platform: &str| {
            let (os, rest) = platform.split_once('/').unwrap();
            let (arch, variant) = rest.split_once('/').map_or((rest, ""), |(a, v)| (a, v));
            format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{}","size":1,"platform":{{"os":"{os}","architecture":"{arch}","variant":"{variant}"}}}}"#,
                format!("{digest:02x}").repeat(32)
            )
        };
        let children = [
            child(1, "linux/amd64"),
            child(2, "linux/arm/v6"),
            child(3, "linux/arm/v7"),
            child(4, "unknown/unknown"),
        ];
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{}]}}"#, children.join(","));
        let document = parse(&text, None).unwrap();
        let Manifest::Index(index) = document.manifest() else { panic!("not an index") };
        let pick = |platforms: &[&str]| {
            let wanted = platforms.iter().map(|p| p.parse().unwrap()).collect();
            index
                .select(&Selection::Only(wanted))
                .map(|c| c.iter().map(|d| d.digest.as_bytes()[0]).collect::<Vec<_>>())
        };
        assert_eq!(pick(&["linux/arm/v7"]).unwrap(), [3]);
        assert_eq!(pick(&["linux/arm/v6", "linux/amd64"]).unwrap(), [1, 2]);
        assert_eq!(pick(&["linux/amd64/v2"]).unwrap(), [1]);
        assert_eq!(pick(&["linux/s390x", "linux/amd64"]).unwrap_err(), ["linux/s390x".parse().unwrap()]);
        assert_eq!(index.select(&Selection::All).unwrap().len(), 4);
        assert_eq!(index.platforms().len(), 3);
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Document::parse(bytes, None);
        }
    }
}
