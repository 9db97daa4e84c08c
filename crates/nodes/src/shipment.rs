//! An image on its way from the store to nodes.

use crate::{Error, Result};
use larder_core::{Descriptor, Digest, Document, MediaType, Platform, Reference};
use larder_store::{Admitted, Blob};
use std::collections::HashSet;

/// One image, whole and admitted, for all platforms that are to be on the nodes. Whoever makes it holds a lease on it as
/// long as it is used.
#[derive(Debug, Clone)]
pub struct Shipment {
    name: Reference,
    root: Descriptor,
    documents: Vec<Document>,
    pieces: Vec<Piece>,
    images: Vec<ShippedImage>,
}

/// A blob that is sent as it lies in the store.
#[derive(Debug, Clone)]
pub struct Piece {
    /// The blob.
    pub blob: Blob,
    /// What it is.
    pub media_type: MediaType,
}

/// The image of one platform.
#[derive(Debug, Clone)]
pub struct ShippedImage {
    /// `os/architecture[/variant]`.
    pub platform: Platform,
    /// Its manifest.
    pub manifest: Digest,
    /// Its config.
    pub config: Digest,
    /// Its layers from the bottom: the blob and the digest of what is in it.
    pub layers: Vec<(Digest, Digest)>,
}

impl Shipment {
    /// An image by the name it has on the nodes: `documents` are its manifests and indexes, the root last; `pieces` its configs
    /// and layers; `admitted` proves that each of `images` may be used.
    ///
    /// # Errors
    /// When a proof is missing.
    pub fn new(
        name: Reference,
        admitted: &[Admitted],
        documents: Vec<Document>,
        pieces: Vec<Piece>,
        images: Vec<ShippedImage>,
    ) -> Result<Self> {
        let is_proven =
            |image: &&ShippedImage| admitted.iter().any(|admitted| *admitted.digest() == image.manifest);
        if let Some(image) = images.iter().find(|image| !is_proven(image)) {
            let problem = "nothing says that it may be used".to_owned();
            return Err(Error::Damaged { digest: image.manifest, problem });
        }
        let root = documents.last().expect("a graph has a root").descriptor();
        let mut seen = HashSet::new();
        let pieces = pieces.into_iter().filter(|piece| seen.insert(*piece.blob.digest())).collect();
        Ok(Self { name, root, documents, pieces, images })
    }

    /// The image's name, as it was asked for.
    pub fn name(&self) -> &Reference {
        &self.name
    }

    /// What it stands for.
    pub fn digest(&self) -> &Digest {
        &self.root.digest
    }

    /// Its root, as an entry of an index.
    pub(crate) fn root(&self) -> &Descriptor {
        &self.root
    }

    /// Configs and layers, each once.
    pub fn pieces(&self) -> &[Piece] {
        &self.pieces
    }

    /// What a node of a platform needs of the manifests and indexes, the root last.
    pub(crate) fn documents_for<'a>(&'a self, node: &'a Platform) -> impl Iterator<Item = &'a Document> {
        self.documents.iter().filter(move |document| {
            let digest = document.digest();
            self.images.iter().all(|image| image.manifest != digest || self.runs(image, node).is_some())
        })
    }

    /// What a node of a platform needs of the configs and layers.
    pub(crate) fn pieces_for<'a>(&'a self, node: &'a Platform) -> impl Iterator<Item = &'a Piece> {
        let has = |image: &ShippedImage, digest: &Digest| {
            image.config == *digest || image.layers.iter().any(|(blob, _)| blob == digest)
        };
        self.pieces.iter().filter(move |piece| {
            let mut owners = self.images.iter().filter(|image| has(image, piece.blob.digest())).peekable();
            // What belongs to no image in particular belongs to all.
            owners.peek().is_none() || owners.any(|image| self.runs(image, node).is_some())
        })
    }

    /// Whether it can run on nodes of a platform.
    pub(crate) fn fits(&self, node: &Platform) -> bool {
        self.best_for(node).is_some()
    }

    /// What runs best on nodes of a platform.
    pub(crate) fn best_for(&self, node: &Platform) -> Option<&ShippedImage> {
        let runs = self.images.iter().filter_map(|image| Some((self.runs(image, node)?, image)));
        runs.min_by_key(|(distance, _)| *distance).map(|(_, image)| image)
    }

    /// How well an image runs on a node; `None` not at all. Where there is nothing to choose from, no runtime looks at variants of
    /// processors.
    fn runs(&self, image: &ShippedImage, node: &Platform) -> Option<u32> {
        let is_only = image.manifest == self.root.digest
            && (&image.platform.os, &image.platform.architecture) == (&node.os, &node.architecture);
        image.platform.distance(node).or(is_only.then_some(u32::MAX))
    }

    /// The images of the platforms.
    pub fn images(&self) -> &[ShippedImage] {
        &self.images
    }

    /// Bytes of all of it.
    pub fn size(&self) -> u64 {
        let documents = self.documents.iter().map(|document| document.raw().len() as u64);
        documents.chain(self.pieces.iter().map(|piece| piece.blob.size())).sum()
    }

    /// The names under which a node has it afterwards: as it was asked for, and by its digest, as after a pull.
    pub(crate) fn names(&self) -> Vec<String> {
        let (registry, repository) = (self.name.registry().clone(), self.name.repository().clone());
        let by_digest = Reference::new(registry, repository, None, Some(self.root.digest)).to_string();
        match (self.name.tag(), self.name.digest()) {
            (Some(_), None) => vec![self.name.to_string(), by_digest],
            _ => vec![by_digest],
        }
    }
}
