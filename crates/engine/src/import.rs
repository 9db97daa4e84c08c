//! Layouts and archives into the store.

use crate::archive::Files;
use crate::{Engine, Error, Result};
use larder_core::{
    Descriptor, Digest, Document, ImageConfig, Index, MANIFEST_LIMIT, Manifest, MediaType, Reference,
};
use larder_store::{Begin, BlobKind, Lease};
use std::collections::HashSet;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

/// The annotation that carries a name in `index.json` (OCI image-spec, annotations.md).
pub(crate) const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// How long to wait between looks at a blob that somebody else brings.
const BUSY_POLL: Duration = Duration::from_millis(20);

impl Engine {
    /// Brings an image of an OCI layout (a directory or a tar) into the store. Returns its root.
    pub(crate) fn import_layout(&self, path: &Path, name: Option<&str>, lease: &Lease) -> Result<Descriptor> {
        let files = Files::open(path)?;
        let invalid = |problem: String| Error::Archive { path: path.to_owned(), problem };
        let layout = files
            .small("oci-layout", 4096)?
            .ok_or_else(|| invalid("there is no oci-layout file in it".into()))?;
        let version = serde_json::from_slice::<serde_json::Value>(&layout).ok();
        let version = version.as_ref().and_then(|value| value["imageLayoutVersion"].as_str());
        if !version.is_some_and(|version| version.starts_with("1.")) {
            return Err(invalid("its oci-layout file does not say version 1".into()));
        }
        let index = files
            .small("index.json", MANIFEST_LIMIT)?
            .ok_or_else(|| invalid("there is no index.json in it".into()))?;
        let index: Index =
            serde_json::from_slice(&index).map_err(|error| invalid(format!("index.json: {error}")))?;
        let root = choose(&index, name).map_err(invalid)?;
        let mut seen = HashSet::new();
        self.import_graph(&files, &root, lease, &mut seen, 0)?;
        // Artifacts that the layout keeps for what was chosen.
        for candidate in &index.manifests {
            if !seen.contains(&candidate.digest)
                && let Some(document) = read_document(&files, candidate)?
                && document.manifest().subject().is_some_and(|subject| seen.contains(&subject.digest))
            {
                self.import_graph(&files, candidate, lease, &mut seen, 0)?;
            }
        }
        Ok(root)
    }

    fn import_graph(
        &self,
        files: &Files,
        descriptor: &Descriptor,
        lease: &Lease,
        seen: &mut HashSet<Digest>,
        depth: u32,
    ) -> Result<()> {
        if !seen.insert(descriptor.digest) || depth > 8 {
            return Ok(());
        }
        let Some(document) = read_document(files, descriptor)? else {
            // Only below an index may something be missing: a sparse index is legal, a missing root is not.
            if depth > 0 {
                return Ok(());
            }
            let problem = format!("manifest {} is not in it", descriptor.digest);
            return Err(Error::Archive { path: files.path().to_owned(), problem });
        };
        for child in document.manifest().children() {
            if child.media_type.is_manifest() || child.media_type.is_index() {
                self.import_graph(files, child, lease, seen, depth + 1)?;
            } else if seen.insert(child.digest) && !child.media_type.is_foreign() {
                self.import_blob(files, &blob_path(&child.digest), child, lease)?;
            }
        }
        let failed =
            |source| Error::Store { action: format!("cannot store manifest {}", document.digest()), source };
        self.store().put_document(&document, lease).map_err(failed)
    }

    /// Brings one blob, verified; a blob that is here costs nothing.
    fn import_blob(&self, files: &Files, name: &str, descriptor: &Descriptor, lease: &Lease) -> Result<()> {
        let digest = descriptor.digest;
        let failed = |source| Error::Store { action: format!("cannot store blob {digest}"), source };
        let mut ingest = loop {
            match self.store().begin(&digest, Some(descriptor.size), lease).map_err(failed)? {
                Begin::Exists(_) => return Ok(()),
                Begin::Busy => std::thread::sleep(BUSY_POLL),
                Begin::Ingest(ingest) => break ingest,
            }
        };
        let absent = || Error::Archive {
            path: files.path().to_owned(),
            problem: format!("blob {digest} is not in it"),
        };
        let (mut reader, _) = files.get(name)?.ok_or_else(absent)?;
        ingest.reset().map_err(failed)?;
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = reader.read(&mut buffer).map_err(|source| Error::File {
                action: "cannot read",
                path: files.path().join(name),
                source,
            })?;
            if count == 0 {
                break;
            }
            ingest.write(&buffer[..count]).map_err(failed)?;
        }
        let kind = if descriptor.media_type.is_layer() { BlobKind::Layer } else { BlobKind::Other };
        ingest.commit(kind).map(drop).map_err(failed)
    }

    /// Brings an image of a `docker save` archive into the store. Layers are kept as they are, usually uncompressed; every one is
    /// checked against its diff id.
    pub(crate) fn import_docker(
        &self,
        path: &Path,
        name: Option<&Reference>,
        lease: &Lease,
    ) -> Result<Descriptor> {
        let files = Files::open(path)?;
        let invalid = |problem: String| Error::Archive { path: path.to_owned(), problem };
        let list = files.small("manifest.json", MANIFEST_LIMIT)?;
        let list = list
            .ok_or_else(|| invalid("there is no manifest.json in it; it is not a docker archive".into()))?;
        let list: Vec<Saved> =
            serde_json::from_slice(&list).map_err(|error| invalid(format!("manifest.json: {error}")))?;
        let saved = choose_saved(&list, name).map_err(invalid)?;
        let raw = files.small(&saved.config, MANIFEST_LIMIT)?;
        let raw = raw.ok_or_else(|| invalid(format!("config {} is not in it", saved.config)))?;
        let config = ImageConfig::parse(&raw).map_err(|source| Error::Document {
            what: format!("cannot read {} of {}", saved.config, path.display()),
            source,
        })?;
        if config.rootfs.diff_ids.len() != saved.layers.len() {
            let problem =
                format!("{} layers, but {} diff ids", saved.layers.len(), config.rootfs.diff_ids.len());
            return Err(invalid(problem));
        }
        let failed = |source| Error::Store { action: format!("cannot store {}", path.display()), source };
        let mut layers = Vec::new();
        for (name, diff_id) in saved.layers.iter().zip(&config.rootfs.diff_ids) {
            let (mut reader, size) =
                files.get(name)?.ok_or_else(|| invalid(format!("layer {name} is not in it")))?;
            let mut first = [0; 4];
            let unreadable = |source| Error::File { action: "cannot read", path: path.join(name), source };
            let count = read_full(&mut reader, &mut first).map_err(unreadable)?;
            let compression = larder_core::Compression::sniff(&first[..count]);
            let (media_type, digest) = match compression {
                larder_core::Compression::None => (MediaType::DOCKER_LAYER, *diff_id),
                larder_core::Compression::Gzip => (MediaType::DOCKER_LAYER_GZIP, hash(&files, name)?),
                larder_core::Compression::Zstd => (MediaType::OCI_LAYER_ZSTD, hash(&files, name)?),
            };
            let descriptor = Descriptor::new(media_type, digest, size);
            self.import_blob(&files, name, &descriptor, lease)?;
            layers.push(descriptor);
        }
        self.store().put(&raw, BlobKind::Config, lease).map_err(failed)?;
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": MediaType::DOCKER_MANIFEST,
            "config": Descriptor::of(MediaType::DOCKER_CONFIG, &raw),
            "layers": layers,
        });
        let bytes = serde_json::to_vec(&manifest).map_err(|error| invalid(error.to_string()))?;
        let document = Document::parse(bytes, Some(&MediaType::DOCKER_MANIFEST))
            .map_err(|source| Error::Document { what: format!("cannot use {}", path.display()), source })?;
        self.store().put_document(&document, lease).map_err(failed)?;
        Ok(document.descriptor())
    }
}

/// One image of `manifest.json` (Docker image specification v1.2).
#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

fn choose_saved<'a>(list: &'a [Saved], name: Option<&Reference>) -> std::result::Result<&'a Saved, String> {
    let tags = |saved: &Saved| saved.repo_tags.clone().unwrap_or_default();
    let offered = || list.iter().flat_map(tags).collect::<Vec<_>>().join(", ");
    match name {
        None if list.len() == 1 => Ok(&list[0]),
        None => Err(format!("it holds {} images; choose one of {}", list.len(), offered())),
        Some(name) => list
            .iter()
            .find(|saved| {
                tags(saved).iter().any(|tag| tag.parse::<Reference>().is_ok_and(|tag| tag == *name))
            })
            .ok_or_else(|| format!("there is no {name} in it; it holds {}", offered())),
    }
}

/// The manifest that `name` means, or the only one.
fn choose(index: &Index, name: Option<&str>) -> std::result::Result<Descriptor, String> {
    let name_of = |descriptor: &Descriptor| descriptor.annotations.get(REF_NAME).cloned();
    let offered = || index.manifests.iter().filter_map(name_of).collect::<Vec<_>>().join(", ");
    match name {
        None if index.manifests.len() == 1 => Ok(index.manifests[0].clone()),
        None => Err(format!("it holds {} images; choose one of {}", index.manifests.len(), offered())),
        Some(name) => {
            let mut found =
                index.manifests.iter().filter(|descriptor| name_of(descriptor).as_deref() == Some(name));
            match (found.next(), found.next()) {
                (Some(one), None) => Ok(one.clone()),
                (Some(_), Some(_)) => Err(format!("it holds several images named {name}")),
                (None, _) => Err(format!("there is no image named {name} in it; it holds {}", offered())),
            }
        }
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

/// A manifest of the layout, hashed.
fn read_document(files: &Files, descriptor: &Descriptor) -> Result<Option<Document>> {
    if !(descriptor.media_type.is_manifest() || descriptor.media_type.is_index()) {
        return Ok(None);
    }
    let Some(raw) = files.small(&blob_path(&descriptor.digest), MANIFEST_LIMIT)? else { return Ok(None) };
    let mut hasher = larder_core::Hasher::new(descriptor.digest.algorithm());
    hasher.update(&raw);
    let found = hasher.finish();
    if found != descriptor.digest || raw.len() as u64 != descriptor.size {
        let problem = format!("manifest {} is {} bytes that hash to {found}", descriptor.digest, raw.len());
        return Err(Error::Archive { path: files.path().to_owned(), problem });
    }
    let document = Document::parse(raw, Some(&descriptor.media_type)).map_err(|source| Error::Document {
        what: format!("cannot read manifest {}", descriptor.digest),
        source,
    })?;
    if matches!(document.manifest(), Manifest::Index(_)) != descriptor.media_type.is_index() {
        let problem = format!("{} is not what its descriptor says", descriptor.digest);
        return Err(Error::Archive { path: files.path().to_owned(), problem });
    }
    Ok(Some(document))
}

fn hash(files: &Files, name: &str) -> Result<Digest> {
    let failed = |source| Error::File { action: "cannot read", path: files.path().join(name), source };
    let mut hasher = larder_core::Hasher::new(larder_core::Algorithm::Sha256);
    if let Some((mut reader, _)) = files.get(name)? {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = reader.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                break;
            }
            hasher.update(&buffer[..count]);
        }
    }
    Ok(hasher.finish())
}

fn read_full(reader: &mut dyn Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match reader.read(&mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}
