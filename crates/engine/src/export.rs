//! From the store into layouts and archives. Every byte of a blob is hashed on its way: an export never spreads damage.

mod part;
mod turn;
mod verified;

pub use part::replace_file;
pub use turn::Turn;
pub(crate) use verified::damaged;

use crate::graph::Graph;
use crate::import::REF_NAME;
use crate::{Engine, Error, Result};
use larder_core::{
    Algorithm, Compression, Descriptor, Digest, Document, Manifest, Platform, Reference, Selection,
};
use larder_rootfs::{ArchiveWriter, Decoder, Limits};
use part::{Part, cannot_write, replace, sync_directory};
use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use verified::{Flaw, Source, Verified, judge};

const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;

impl Engine {
    /// Writes an image into an OCI layout directory, which may hold others already and which others may be writing to. Blobs come
    /// first, `index.json` last, each on the disk before the next, so that an export that was interrupted, even by a power
    /// cut, never names what is not there.
    pub(crate) fn export_layout(&self, root: &Descriptor, name: Option<&str>, dir: &Path) -> Result<u64> {
        let graphs = self.with_attached(root)?;
        let blobs = dir.join("blobs");
        let mut folders = Vec::new();
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            if algorithm == Algorithm::Sha256 || graphs.iter().any(|graph| graph.uses(algorithm)) {
                let folder = blobs.join(algorithm.as_str());
                let failed = |source| Error::File { action: "cannot create", path: folder.clone(), source };
                std::fs::create_dir_all(&folder).map_err(failed)?;
                folders.push(folder);
            }
        }
        let mut bytes = 0;
        for graph in &graphs {
            for blob in &graph.blobs {
                bytes += self.export_blob(&blob.digest, &layout_path(dir, &blob.digest))?;
            }
            for document in &graph.documents {
                replace(&layout_path(dir, &document.digest()), document.raw())?;
                bytes += document.raw().len() as u64;
            }
        }
        for folder in &folders {
            sync_directory(folder)?;
        }
        sync_directory(&blobs)?;
        let roots = graphs.iter().filter_map(|graph| graph.documents.last()).map(Document::descriptor);
        list(dir, roots.collect(), name)?;
        if let Some(parent) = dir.parent() {
            sync_directory(parent)?;
        }
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
                    archive.blob(&tar_path(&blob.digest), self.source(&blob.digest)?)?;
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
                let source = self.source(&layer.blob)?;
                let declared = layer.media_type.compression();
                if declared == Some(Compression::None) && layer.blob == layer.diff_id {
                    archive.blob(name, source)?;
                } else {
                    archive.inflated(name, source, &layer.diff_id, declared, &limits)?;
                }
            }
            archive.file(&config_name, &config)?;
            archive.file("manifest.json", manifest.to_string().as_bytes())
        })?;
        Ok((image.document.digest(), bytes))
    }

    /// Copies a blob, unless it is there. What is there is hashed: nobody knows who wrote it.
    fn export_blob(&self, digest: &Digest, path: &Path) -> Result<u64> {
        if holds(path, digest) {
            return Ok(0);
        }
        let mut source = self.source(digest)?;
        let mut part = Part::create(path)?;
        let mut out = BufWriter::with_capacity(verified::BUFFER, part.file());
        let copied = std::io::copy(&mut source.reader, &mut out).and_then(|_| out.flush());
        drop(out);
        settle(copied, source, path)?;
        part.place()
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
    fn write_archive(&self, path: &Path, fill: impl FnOnce(&mut Archive<'_>) -> Result<()>) -> Result<u64> {
        let mut part = Part::create(path)?;
        let mut archive = Archive { writer: ArchiveWriter::new(part.file()), path };
        fill(&mut archive)?;
        archive.writer.finish().map_err(|source| cannot_write(path, source))?;
        let size = part.place()?;
        if let Some(parent) = path.parent() {
            sync_directory(parent)?;
        }
        Ok(size)
    }
}

/// A tar being written, with errors that name it.
struct Archive<'a> {
    writer: ArchiveWriter<&'a mut File>,
    path: &'a Path,
}

impl Archive<'_> {
    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        let written = self.writer.file(name, bytes.len() as u64, &mut &bytes[..]);
        written.map_err(|source| cannot_write(self.path, source))
    }

    /// A blob as it is.
    fn blob(&mut self, name: &str, mut source: Source) -> Result<()> {
        let copied = self.writer.file(name, source.blob.size(), &mut source.reader);
        settle(copied, source, self.path)
    }

    /// A layer without its compression.
    fn inflated(
        &mut self,
        name: &str,
        source: Source,
        diff_id: &Digest,
        declared: Option<Compression>,
        limits: &Limits,
    ) -> Result<()> {
        let Source { blob, reader } = source;
        let mut plain = Verified::new(Decoder::new(reader, declared, limits), *diff_id);
        let copied = match self.writer.file_of_unknown_size(name, &mut plain) {
            Err(source) if !plain.is_over() => return Err(cannot_write(self.path, source)),
            copied => copied,
        };
        let (flaw, decoder) = plain.finish();
        // A stream that does not inflate is the blob's damage first, and only if its bytes are right, its maker's fault.
        judge(&blob, decoder.into_inner().finish().0)?;
        match flaw {
            Some(Flaw::Unreadable(error)) => Err(Error::Rootfs {
                action: format!("cannot inflate layer {}", blob.digest()),
                source: larder_rootfs::Error::from_io(error),
            }),
            Some(Flaw::Mismatch(found)) => Err(Error::Store {
                action: format!("layer {} does not inflate to its diff id", blob.digest()),
                source: larder_store::Error::Corrupt {
                    digest: *diff_id,
                    actual: Box::new(found),
                    resumed: 0,
                },
            }),
            None => copied.map_err(|source| cannot_write(self.path, source)),
        }
    }
}

/// Ends the copy of a blob: whose fault an error is, and whether the bytes were right.
fn settle<T>(copied: std::io::Result<T>, source: Source, path: &Path) -> Result<()> {
    match copied {
        Err(error) if !source.reader.is_over() => Err(cannot_write(path, error)),
        copied => {
            source.finish()?;
            copied.map(drop).map_err(|error| cannot_write(path, error))
        }
    }
}

/// Whether a file of a layout is this blob, whole and on the disk. Anything else is written anew.
fn holds(path: &Path, digest: &Digest) -> bool {
    let regular = std::fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
    regular
        && File::open(path).is_ok_and(|mut file| {
            file.sync_all().is_ok() && Verified::new(&mut file, *digest).finish().0.is_none()
        })
}

/// Adds roots to a layout's `index.json`, the first under a name. One writer at a time: the directory itself is the lock.
fn list(dir: &Path, roots: Vec<Descriptor>, name: Option<&str>) -> Result<()> {
    let lock = |source| Error::File { action: "cannot lock", path: dir.to_owned(), source };
    let held = File::open(dir).map_err(lock)?;
    held.lock().map_err(lock)?;
    replace(&dir.join("oci-layout"), OCI_LAYOUT)?;
    sync_directory(dir)?;
    let path = dir.join("index.json");
    let mut entries = read_index(&path)?;
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
    replace(&path, &index_json(&entries))?;
    sync_directory(dir)
}

impl Graph {
    fn uses(&self, algorithm: Algorithm) -> bool {
        let blobs = self.blobs.iter().map(|blob| blob.digest);
        blobs.chain(self.documents.iter().map(Document::digest)).any(|digest| digest.algorithm() == algorithm)
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
