//! From the store into layouts and archives.

use crate::graph::Graph;
use crate::import::REF_NAME;
use crate::{Engine, Error, Result};
use larder_core::{Compression, Descriptor, Digest, Document, Manifest, Platform, Reference, Selection};
use larder_rootfs::{ArchiveWriter, Decoder};
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

impl Engine {
    /// Writes an image into an OCI layout directory, which may hold others already. Blobs come first, `index.json` last, so
    /// that an interrupted export never names what is not there.
    pub(crate) fn export_layout(&self, root: &Descriptor, name: Option<&str>, dir: &Path) -> Result<u64> {
        let graphs = self.with_attached(root)?;
        let write = |path: PathBuf, bytes: &[u8]| replace(&path, bytes);
        for algorithm in ["sha256", "sha512"] {
            let blobs = dir.join("blobs").join(algorithm);
            let failed = |source| Error::File { action: "cannot create", path: blobs.clone(), source };
            if algorithm == "sha256" || graphs.iter().any(|graph| graph.uses_sha512()) {
                std::fs::create_dir_all(&blobs).map_err(failed)?;
            }
        }
        let mut bytes = 0;
        for graph in &graphs {
            for blob in &graph.blobs {
                bytes += self.export_blob(blob, &layout_path(dir, &blob.digest))?;
            }
            for document in &graph.documents {
                write(layout_path(dir, &document.digest()), document.raw())?;
                bytes += document.raw().len() as u64;
            }
        }
        write(dir.join("oci-layout"), OCI_LAYOUT)?;
        let path = dir.join("index.json");
        let mut entries = read_index(&path)?;
        let roots: Vec<Descriptor> =
            graphs.iter().filter_map(|graph| graph.documents.last()).map(Document::descriptor).collect();
        for (at, mut entry) in roots.into_iter().enumerate() {
            let name = name.filter(|_| at == 0);
            if let Some(name) = name {
                entry.annotations.insert(REF_NAME.into(), name.into());
            }
            entries.retain(|old| match (old.annotations.get(REF_NAME), name) {
                (Some(old), Some(new)) => old != new,
                (None, None) => old.digest != entry.digest,
                _ => true,
            });
            entries.push(entry);
        }
        let index = index_json(&entries);
        write(path, &index)?;
        Ok(bytes)
    }

    /// Writes an image as a tar of an OCI layout.
    pub(crate) fn export_oci_archive(
        &self,
        root: &Descriptor,
        name: Option<&str>,
        file: &Path,
    ) -> Result<u64> {
        let graphs = self.with_attached(root)?;
        let mut entries = Vec::new();
        for (at, graph) in graphs.iter().enumerate() {
            let Some(document) = graph.documents.last() else { continue };
            let mut entry = document.descriptor();
            if let Some(name) = name.filter(|_| at == 0) {
                entry.annotations.insert(REF_NAME.into(), name.into());
            }
            entries.push(entry);
        }
        self.write_archive(file, |archive| {
            archive.file("oci-layout", OCI_LAYOUT)?;
            archive.file("index.json", &index_json(&entries))?;
            let mut seen = HashSet::new();
            for graph in &graphs {
                for document in &graph.documents {
                    if seen.insert(document.digest()) {
                        archive.file(&tar_path(&document.digest()), document.raw())?;
                    }
                }
                for blob in graph.blobs.iter().filter(|blob| seen.insert(blob.digest)) {
                    let mut source = self.blob_file(&blob.digest)?;
                    archive.stream(&tar_path(&blob.digest), blob.size, &mut source)?;
                }
            }
            Ok(())
        })
    }

    /// Writes one platform's image as `docker save` does, layers uncompressed.
    pub(crate) fn export_docker(
        &self,
        source: &Reference,
        platform: &Platform,
        name: Option<&Reference>,
        file: &Path,
    ) -> Result<(Digest, u64)> {
        let lease = self.lease("export")?;
        let image = self.complete(source, platform, &lease)?;
        let config_digest = image.manifest.config.digest;
        let failed = |source| Error::Store { action: format!("cannot read config {config_digest}"), source };
        let config = self.store().read(&config_digest, larder_core::MANIFEST_LIMIT).map_err(failed)?;
        let config = config.ok_or(Error::NoBlob { digest: config_digest })?;
        let config_name = format!("{}.json", config_digest.hex());
        let sources = image.source().layers;
        let names: Vec<String> = sources.iter().map(|layer| format!("{}.tar", layer.diff_id.hex())).collect();
        let tags: Vec<String> =
            name.or(source.tag().map(|_| source)).map(Reference::familiar).into_iter().collect();
        let manifest = serde_json::json!([{ "Config": config_name, "RepoTags": tags, "Layers": names }]);
        let limits = self.limits();
        let bytes = self.write_archive(file, |archive| {
            let mut seen = HashSet::new();
            for (layer, name) in sources.iter().zip(&names) {
                if !seen.insert(layer.diff_id) {
                    continue;
                }
                let blob = self.blob_file(&layer.blob)?;
                let declared = layer.media_type.compression();
                if declared == Some(Compression::None) && layer.blob == layer.diff_id {
                    let mut blob = blob;
                    let size = blob
                        .metadata()
                        .map_err(|source| Error::File {
                            action: "cannot read",
                            path: file.to_owned(),
                            source,
                        })?
                        .len();
                    archive.stream(name, size, &mut blob)?;
                } else {
                    let mut plain = Hashed::new(Decoder::new(blob, declared, &limits));
                    archive.unsized_stream(name, &mut plain)?;
                    let found = plain.finish();
                    if found != layer.diff_id {
                        let problem = format!("layer {} inflates to {found}, not to its diff id", layer.blob);
                        return Err(Error::Archive { path: file.to_owned(), problem });
                    }
                }
            }
            archive.file(&config_name, &config)?;
            archive.file("manifest.json", manifest.to_string().as_bytes())
        })?;
        Ok((image.document.digest(), bytes))
    }

    fn blob_file(&self, digest: &Digest) -> Result<File> {
        let failed = |source| Error::Store { action: format!("cannot read blob {digest}"), source };
        let blob = self.store().blob(digest).map_err(failed)?.ok_or(Error::NoBlob { digest: *digest })?;
        blob.open().map_err(failed)
    }

    /// Copies a blob, hashing it: an export never spreads damage.
    fn export_blob(&self, blob: &Descriptor, path: &Path) -> Result<u64> {
        if std::fs::metadata(path).is_ok_and(|meta| meta.len() == blob.size) {
            return Ok(0);
        }
        let mut source = Hashed::new(self.blob_file(&blob.digest)?);
        let part = path.with_extension("part");
        let failed = |source| Error::File { action: "cannot write", path: path.to_owned(), source };
        let mut target = File::create(&part).map_err(failed)?;
        std::io::copy(&mut source, &mut target).map_err(failed)?;
        target.sync_data().map_err(failed)?;
        let found = source.finish();
        if found != blob.digest && blob.digest.algorithm() == larder_core::Algorithm::Sha256 {
            let _ = std::fs::remove_file(&part);
            let tier = larder_core::Tier::Disk;
            let problem = format!("the file hashes to {found}");
            return Err(larder_fetch::Error::Corrupt { tier, digest: blob.digest, problem }.into());
        }
        std::fs::rename(&part, path).map_err(failed)?;
        Ok(blob.size)
    }

    /// The graph of a root, and those of what is attached to it.
    fn with_attached(&self, root: &Descriptor) -> Result<Vec<Graph>> {
        let mut graphs = vec![self.graph(&root.digest, &Selection::All)?];
        let mut at = 0;
        let mut known: HashSet<Digest> = HashSet::from([root.digest]);
        while at < graphs.len() {
            let subjects: Vec<Digest> = graphs[at].documents.iter().map(Document::digest).collect();
            for subject in subjects {
                let failed = |source| Error::Store {
                    action: format!("cannot list what is attached to {subject}"),
                    source,
                };
                for found in self.store().referrers(&subject).map_err(failed)? {
                    if known.insert(found.digest) {
                        graphs.push(self.graph(&found.digest, &Selection::All)?);
                    }
                }
            }
            at += 1;
        }
        Ok(graphs)
    }

    /// Writes a tar beside its place and moves it there when it is whole.
    fn write_archive(&self, path: &Path, fill: impl FnOnce(&mut Archive) -> Result<()>) -> Result<u64> {
        let mut name = path.as_os_str().to_owned();
        name.push(".part");
        let part = PathBuf::from(name);
        let failed = |source| Error::File { action: "cannot write", path: path.to_owned(), source };
        let outcome = File::create(&part).map_err(failed).and_then(|file| {
            let mut archive = Archive { writer: ArchiveWriter::new(file), path: path.to_owned() };
            fill(&mut archive)?;
            let file = archive.writer.finish().map_err(failed)?;
            file.sync_all().map_err(failed)?;
            let size = file.metadata().map_err(failed)?.len();
            std::fs::rename(&part, path).map_err(failed)?;
            Ok(size)
        });
        if outcome.is_err() {
            let _ = std::fs::remove_file(&part);
        }
        outcome
    }
}

/// A tar being written, with errors that name it.
struct Archive {
    writer: ArchiveWriter<File>,
    path: PathBuf,
}

impl Archive {
    fn failed(&self, source: std::io::Error) -> Error {
        Error::File { action: "cannot write", path: self.path.clone(), source }
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.writer.file(name, bytes.len() as u64, &mut &bytes[..]).map_err(|source| self.failed(source))
    }

    fn stream(&mut self, name: &str, size: u64, source: &mut dyn Read) -> Result<()> {
        self.writer.file(name, size, source).map_err(|source| self.failed(source))
    }

    fn unsized_stream(&mut self, name: &str, source: &mut dyn Read) -> Result<()> {
        self.writer.file_of_unknown_size(name, source).map_err(|source| self.failed(source))
    }
}

/// A reader that hashes what passes.
struct Hashed<R> {
    inner: R,
    hasher: larder_core::Hasher,
}

impl<R: Read> Hashed<R> {
    fn new(inner: R) -> Self {
        Self { inner, hasher: larder_core::Hasher::new(larder_core::Algorithm::Sha256) }
    }

    fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

impl Graph {
    fn uses_sha512(&self) -> bool {
        self.blobs.iter().any(|blob| blob.digest.algorithm() == larder_core::Algorithm::Sha512)
    }
}

fn layout_path(dir: &Path, digest: &Digest) -> PathBuf {
    dir.join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
}

fn tar_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}

fn index_json(entries: &[Descriptor]) -> Vec<u8> {
    let index = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": larder_core::MediaType::OCI_INDEX,
        "manifests": entries,
    });
    index.to_string().into_bytes()
}

fn read_index(path: &Path) -> Result<Vec<Descriptor>> {
    let raw = match std::fs::read(path) {
        Ok(raw) => raw,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(Error::File { action: "cannot read", path: path.to_owned(), source }),
    };
    let document = Document::parse(raw, Some(&larder_core::MediaType::OCI_INDEX))
        .map_err(|source| Error::Document { what: format!("cannot read {}", path.display()), source })?;
    match document.manifest() {
        Manifest::Index(index) => Ok(index.manifests.clone()),
        _ => Err(Error::Archive { path: path.to_owned(), problem: "it is not an index".into() }),
    }
}

/// Writes a small file so that readers see the old or the new one, never half of it.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |source| Error::File { action: "cannot write", path: path.to_owned(), source };
    let part = path.with_extension("part");
    let mut file = File::create(&part).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    file.sync_data().map_err(failed)?;
    std::fs::rename(&part, path).map_err(failed)
}
