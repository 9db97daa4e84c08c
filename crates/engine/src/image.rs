//! An image in the store, found by name and platform.

use crate::{Engine, Error, Result};
use larder_core::{Descriptor, Digest, Document, ImageConfig, ImageManifest, Manifest, Platform, Reference};
use larder_materialize::{ImageSource, LayerSource};
use larder_store::Lease;

/// One image for one platform, as it lies in the store.
#[derive(Debug, Clone)]
pub(crate) struct LocalImage {
    /// What the name points at: the index where there is one.
    pub(crate) root: Descriptor,
    pub(crate) document: Document,
    pub(crate) manifest: ImageManifest,
    pub(crate) config: ImageConfig,
}

impl LocalImage {
    /// What `materialize` needs to know.
    pub(crate) fn source(&self) -> ImageSource {
        let layers = layers(&self.manifest).zip(&self.config.rootfs.diff_ids);
        let layers = layers.map(|(layer, diff_id)| LayerSource {
            blob: layer.digest,
            media_type: layer.media_type.clone(),
            diff_id: *diff_id,
        });
        ImageSource { manifest: self.document.digest(), layers: layers.collect() }
    }

    /// Digests of everything that must be there to run it.
    pub(crate) fn blobs(&self) -> Vec<Digest> {
        std::iter::once(self.manifest.config.digest)
            .chain(layers(&self.manifest).map(|layer| layer.digest))
            .collect()
    }
}

fn layers(manifest: &ImageManifest) -> impl Iterator<Item = &Descriptor> {
    manifest.layers.iter().filter(|layer| layer.media_type.is_layer())
}

impl Engine {
    /// What a name stands for in the store. A digest that is there needs no name.
    pub(crate) fn root(&self, reference: &Reference) -> Result<Descriptor> {
        if let Some(digest) = reference.digest() {
            if let Some(document) = self.document(digest)? {
                return Ok(document.descriptor());
            }
        } else {
            let failed = |source| Error::Store { action: format!("cannot look up {reference}"), source };
            if let Some(name) = self.store().name(reference).map_err(failed)? {
                return Ok(name.descriptor);
            }
        }
        Err(Error::NoImage { reference: reference.familiar(), similar: self.similar(reference) })
    }

    /// The image behind a name for a platform. Its manifest and config are here; layers may be missing.
    pub(crate) fn local(&self, reference: &Reference, platform: &Platform) -> Result<LocalImage> {
        let root = self.root(reference)?;
        let what = reference.familiar();
        let mut digest = root.digest;
        for _ in 0..4 {
            let document = self.document(&digest)?.ok_or(Error::NoBlob { digest })?;
            match document.manifest() {
                Manifest::Image(manifest) => {
                    let manifest = manifest.clone();
                    let config = self.image_config(&manifest, &what)?;
                    if !larder_fetch::runs_on(&config, platform) {
                        let (platform, present) = (platform.clone(), vec![config.platform]);
                        return Err(Error::NoPlatform { reference: what, platform, present });
                    }
                    return Ok(LocalImage { root, document, manifest, config });
                }
                Manifest::Artifact(_) => return Err(Error::NotAnImage { what, found: "an artifact" }),
                Manifest::Index(index) => {
                    let absent = || {
                        let here =
                            |child: &&Descriptor| self.store().contains(&child.digest).unwrap_or(false);
                        let present = index
                            .manifests
                            .iter()
                            .filter(here)
                            .filter_map(|child| child.platform.clone())
                            .collect();
                        Error::NoPlatform { reference: what.clone(), platform: platform.clone(), present }
                    };
                    let wanted = larder_core::Selection::Only(vec![platform.clone()]);
                    let chosen = index.select(&wanted).map_err(|_| absent())?;
                    digest = chosen[0].digest;
                    if !self.contains(&digest)? {
                        return Err(absent());
                    }
                }
            }
        }
        Err(Error::NotAnImage { what, found: "an index of indexes" })
    }

    /// Like [`Engine::local`], and everything needed to run it is here and stays here as long as the lease lives.
    pub(crate) fn complete(
        &self,
        reference: &Reference,
        platform: &Platform,
        lease: &Lease,
    ) -> Result<LocalImage> {
        let image = self.local(reference, platform)?;
        // Held first, looked for afterwards: what is found then cannot be collected any more.
        let documents = [image.root.digest, image.document.digest()];
        self.hold(&documents, lease)?;
        let failed =
            |source| Error::Store { action: format!("cannot look up the layers of {reference}"), source };
        let needed = [&documents[..], &image.blobs()].concat();
        let missing = self.store().missing(&needed).map_err(failed)?.len();
        if missing > 0 {
            return Err(Error::Incomplete { reference: reference.familiar(), missing });
        }
        Ok(image)
    }

    /// Puts manifests, and with them everything below, under a lease, and notes their use.
    pub(crate) fn hold(&self, digests: &[Digest], lease: &Lease) -> Result<()> {
        let failed = |source| Error::Store { action: "cannot hold an image".into(), source };
        lease.add(digests).map_err(failed)?;
        self.store().touch(digests).map_err(failed)
    }

    pub(crate) fn image_config(&self, manifest: &ImageManifest, what: &str) -> Result<ImageConfig> {
        let digest = manifest.config.digest;
        let failed = |source| Error::Store { action: format!("cannot read config {digest}"), source };
        let raw = self.store().read(&digest, larder_core::MANIFEST_LIMIT).map_err(failed)?;
        let raw = raw.ok_or_else(|| Error::Incomplete { reference: what.to_owned(), missing: 1 })?;
        parse_config(&raw, manifest, what)
    }

    /// Names in the store that a person may have meant.
    pub(crate) fn similar(&self, reference: &Reference) -> Vec<String> {
        let last = |repository: &str| repository.rsplit('/').next().unwrap_or_default().to_owned();
        let wanted = last(reference.repository().as_str());
        let Ok(names) = self.store().names() else { return Vec::new() };
        let alike = names.into_iter().filter(|name| last(name.reference.repository().as_str()) == wanted);
        alike.map(|name| name.reference.familiar()).take(3).collect()
    }
}

/// A config that fits its manifest.
pub(crate) fn parse_config(raw: &[u8], manifest: &ImageManifest, what: &str) -> Result<ImageConfig> {
    let config = ImageConfig::parse(raw)
        .map_err(|source| Error::Document { what: format!("cannot read the config of {what}"), source })?;
    let count = layers(manifest).count();
    if count != config.rootfs.diff_ids.len() {
        let reason = format!("{count} layers, but {} diff ids", config.rootfs.diff_ids.len());
        let source = larder_core::Error::Document { what: "manifest", reason };
        return Err(Error::Document { what: format!("cannot use {what}"), source });
    }
    Ok(config)
}
