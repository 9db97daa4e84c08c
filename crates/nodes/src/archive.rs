//! Archives that carry only what a node lacks.
//!
//! An OCI layout whose `index.json` names an image, with its manifests, and only some of its blobs: containerd's import takes
//! the others from its content store (`images/archive/importer.go` reads what is in the archive, `images.Children` what is in
//! the store). A docker archive without the layers that Docker has: its load looks each up by its chain of layers first
//! (`image/tarexport/load.go`).

use crate::host::Flow;
use crate::{Error, Piece, Result, Shipment};
use larder_core::{Algorithm, Compression, Digest, Hasher, Platform};
use larder_rootfs::{ArchiveWriter, Decoder, Limits};
use std::collections::HashSet;
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::sync::Arc;

/// The only member in which an image has its name.
const INDEX: &str = "index.json";
const OCI_LAYOUT: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
/// By what containerd's import names an image, before all else.
const IMAGE_NAME: &str = "io.containerd.image.name";
/// Where files without a name are, which may be as large as a layer.
pub(crate) const SCRATCH: &str = "/var/tmp";
/// How much goes at once.
const CHUNK: usize = 256 << 10;

/// The members of an archive, not yet written. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Archive {
    members: Arc<Vec<Member>>,
    /// Another one follows, with the end of both.
    is_open: bool,
}

#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) path: String,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Inline(Vec<u8>),
    /// As it lies in the store.
    Blob(Piece),
    /// What is in it, which hashes to this.
    Inflated(Piece, Digest),
}

impl Archive {
    /// An OCI layout of an image under a name, with those of its blobs that `lacks` says.
    pub(crate) fn layout(
        shipment: &Shipment,
        name: &str,
        platform: &Platform,
        lacks: &HashSet<Digest>,
    ) -> Self {
        let mut root = shipment.root().clone();
        root.annotations.insert(IMAGE_NAME.to_owned(), name.to_owned());
        let index = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [root],
        });
        let inline = |path: &str, bytes: &[u8]| Member {
            path: path.to_owned(),
            content: Content::Inline(bytes.to_vec()),
        };
        let mut members = vec![inline("oci-layout", OCI_LAYOUT), inline(INDEX, index.to_string().as_bytes())];
        for piece in shipment.pieces().iter().filter(|piece| lacks.contains(piece.blob.digest())) {
            members
                .push(Member { path: blob_path(piece.blob.digest()), content: Content::Blob(piece.clone()) });
        }
        // Documents are small: they always go, children before parents.
        for document in shipment.documents_for(platform) {
            members.push(inline(&blob_path(&document.digest()), document.raw()));
        }
        Self { members: Arc::new(members), is_open: false }
    }

    /// The same in two: what does not depend on the name, and what does. Together they are one archive.
    pub(crate) fn split(self) -> (Self, Self) {
        let members = Arc::into_inner(self.members).expect("it was made just now");
        let (named, rest) = members.into_iter().partition(|member| member.path == INDEX);
        (Self { members: Arc::new(rest), is_open: true }, Self { members: Arc::new(named), is_open: false })
    }

    /// Archives with the same one have the same bytes.
    pub(crate) fn identity(&self) -> Digest {
        let mut hasher = Hasher::new(Algorithm::Sha256);
        for Member { path, content } in self.members.iter() {
            let digest = match content {
                Content::Inline(bytes) => Digest::of(bytes),
                Content::Blob(piece) => *piece.blob.digest(),
                Content::Inflated(_, diff_id) => *diff_id,
            };
            hasher.update(format!("{path}\0{digest}\n").as_bytes());
        }
        hasher.finish()
    }

    /// A docker archive of one image, with those of its layers that `lacks` says, by the digests of what is in them.
    pub(crate) fn docker(
        shipment: &Shipment,
        image: &crate::ShippedImage,
        names: &[String],
        lacks: &HashSet<Digest>,
    ) -> Result<Self> {
        let piece = |digest: &Digest| {
            let found = shipment.pieces().iter().find(|piece| piece.blob.digest() == digest);
            found
                .cloned()
                .ok_or_else(|| Error::Damaged { digest: *digest, problem: "it is not there".into() })
        };
        let config = piece(&image.config)?;
        let config_name = format!("{}.json", image.config.hex());
        let layer_name = |diff_id: &Digest| format!("{}.tar", diff_id.hex());
        let layers: Vec<String> = image.layers.iter().map(|(_, diff_id)| layer_name(diff_id)).collect();
        let manifest = serde_json::json!([{ "Config": config_name, "RepoTags": names, "Layers": layers }]);
        let mut members = Vec::new();
        let mut seen = HashSet::new();
        for (blob, diff_id) in &image.layers {
            if !lacks.contains(diff_id) || !seen.insert(*diff_id) {
                continue;
            }
            let piece = piece(blob)?;
            // Docker inflates gzip by itself; zstd only newer ones do.
            let content = match piece.media_type.compression() {
                Some(Compression::None | Compression::Gzip) => Content::Blob(piece),
                _ => Content::Inflated(piece, *diff_id),
            };
            members.push(Member { path: layer_name(diff_id), content });
        }
        members.push(Member { path: config_name, content: Content::Blob(config) });
        let manifest = manifest.to_string().into_bytes();
        members.push(Member { path: "manifest.json".into(), content: Content::Inline(manifest) });
        Ok(Self { members: Arc::new(members), is_open: false })
    }

    /// The members in their order.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// Writes the tar. Blobs are not hashed here: the runtime at the other end does that, and takes nothing that is wrong.
    ///
    /// # Errors
    /// When a blob cannot be read, or nobody reads on.
    pub(crate) fn write_to(&self, out: File, flow: &Flow) -> Result<()> {
        let pipe = |source| Error::Program { program: "ssh", source };
        let mut tar = ArchiveWriter::new(out);
        for Member { path, content } in self.members.iter() {
            let size = match content {
                Content::Inline(bytes) => {
                    tar.begin(path, bytes.len() as u64).and_then(|out| out.write_all(bytes)).map_err(pipe)?;
                    bytes.len() as u64
                }
                Content::Blob(piece) => {
                    let size = piece.blob.size();
                    send(piece, tar.begin(path, size).map_err(pipe)?, flow)?;
                    size
                }
                Content::Inflated(piece, diff_id) => {
                    let mut inflated = inflate(piece, diff_id)?;
                    let size = inflated.metadata().map_err(pipe)?.len();
                    let out = tar.begin(path, size).map_err(pipe)?;
                    copy(&mut inflated, size, out, flow).map_err(pipe)?;
                    size
                }
            };
            tar.end(size).map_err(pipe)?;
        }
        if self.is_open { Ok(()) } else { tar.finish().map(drop).map_err(pipe) }
    }
}

/// Sends a blob's bytes to a pipe without copying them through this process.
fn send(piece: &Piece, out: &mut File, flow: &Flow) -> Result<()> {
    let digest = *piece.blob.digest();
    let mut file = piece.blob.open().map_err(|source| Error::Store { digest, source })?;
    copy(&mut file, piece.blob.size(), out, flow).map_err(|source| match source.kind() {
        std::io::ErrorKind::UnexpectedEof => {
            Error::Damaged { digest, problem: "it is shorter than it was".into() }
        }
        _ => Error::Program { program: "ssh", source },
    })
}

/// `io::copy` between files lets the kernel move the bytes.
fn copy(file: &mut File, size: u64, out: &mut File, flow: &Flow) -> std::io::Result<()> {
    let mut left = size;
    while left > 0 {
        let step = left.min(CHUNK as u64);
        flow.pass_blocking(step);
        let moved = std::io::copy(&mut Read::by_ref(file).take(step), out)?;
        if moved < step {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        left -= step;
    }
    Ok(())
}

/// What is in a layer, in a file without a name: its size has to be known before it is written to a tar.
pub(crate) fn inflate(piece: &Piece, diff_id: &Digest) -> Result<File> {
    let digest = *piece.blob.digest();
    let damaged = |problem: String| Error::Damaged { digest, problem };
    let file = piece.blob.open().map_err(|source| Error::Store { digest, source })?;
    let directory = std::path::Path::new(SCRATCH);
    let mut out = tempfile::tempfile_in(directory).map_err(Error::file("write in", directory))?;
    let mut hasher = Hasher::new(diff_id.algorithm());
    let mut decoder = Decoder::new(file, piece.media_type.compression(), &Limits::default());
    let mut buffer = vec![0; CHUNK];
    loop {
        let count = decoder.read(&mut buffer).map_err(|error| damaged(larder_core::report(&error)))?;
        if count == 0 {
            break;
        }
        hasher.update(&buffer[..count]);
        out.write_all(&buffer[..count]).map_err(Error::file("write in", directory))?;
    }
    match hasher.finish() == *diff_id {
        true => {
            out.rewind().map_err(Error::file("read in", directory))?;
            Ok(out)
        }
        false => Err(damaged(format!("what is in it does not hash to {diff_id}"))),
    }
}

fn blob_path(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex())
}
