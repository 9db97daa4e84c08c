//! The raw tars of an image: found where they are, made where they are missing.

use crate::import::tar_key;
use crate::patience::Patience;
use crate::scans::SCANS;
use crate::{Error, ImageSource, ImportBegin, LayerImport, LayerSource, Result, Scans};
use larder_core::Digest;
use larder_rootfs::{Layer, Limits, Tree};
use larder_store::{Admitted, DerivedKey, Lease, Store};
use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// The raw tar of one layer.
#[derive(Debug, Clone)]
pub(crate) struct RawLayer {
    pub(crate) diff_id: Digest,
    pub(crate) path: PathBuf,
    pub(crate) size: u64,
    /// `None` where it is a blob.
    pub(crate) key: Option<DerivedKey>,
}

/// Where layers come from.
#[derive(Debug, Clone)]
pub(crate) struct Layers {
    pub(crate) store: Store,
    pub(crate) limits: Limits,
    pub(crate) scans: Scans,
}

impl Layers {
    pub(crate) fn new(store: Store, limits: Limits) -> Self {
        Self { store, limits, scans: Scans::default() }
    }

    /// Checks the proof and keeps the image from being collected.
    pub(crate) fn lease(&self, image: &ImageSource, admitted: &Admitted) -> Result<Lease> {
        if *admitted.digest() != image.manifest {
            return Err(Error::NotAdmitted {
                manifest: image.manifest,
                admitted: Box::new(*admitted.digest()),
            });
        }
        let lease = self.store.lease("prepare").map_err(Error::store("take a lease"))?;
        let blobs: Vec<Digest> =
            std::iter::once(image.manifest).chain(image.layers.iter().map(|layer| layer.blob)).collect();
        lease.add(&blobs).map_err(Error::store("extend a lease"))?;
        Ok(lease)
    }

    /// The raw tars of an image, each layer once, in the order of their first use. Makes what is missing: two at a time, the
    /// largest first, so that the longest is not left for the end.
    pub(crate) fn raw(&self, image: &ImageSource) -> Result<Vec<RawLayer>> {
        let mut missing = Vec::new();
        for layer in distinct(image) {
            if self.find(layer)?.is_none() {
                missing.push((self.blob_size(layer)?, layer));
            }
        }
        missing.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
        each(missing.into_iter().map(|(_, layer)| layer).collect(), |layer| self.make(layer))?;
        distinct(image)
            .map(|layer| self.find(layer)?.ok_or(Error::MissingBlob { digest: layer.blob }))
            .collect()
    }

    /// The members of a layer, from memory or from its raw tar; `None` where they would take too much memory.
    pub(crate) fn scan(&self, raw: &RawLayer) -> Result<Option<Arc<Layer>>> {
        if let Some(layer) = self.scans.get(&raw.diff_id) {
            return Ok(Some(layer));
        }
        let mut file = File::open(&raw.path).map_err(Error::file("open", &raw.path))?;
        let layer = Layer::read_up_to(&mut file, &self.limits, SCANS).map_err(Error::layer(&raw.diff_id))?;
        Ok(layer.map(Arc::new))
    }

    /// What the layers add up to. The source of each extent is the position in `raw`. A layer that is not in memory is
    /// scanned on its way into the tree.
    pub(crate) fn merge(&self, image: &ImageSource, raw: &[RawLayer]) -> Result<Tree> {
        let mut tree = Tree::with_limits(&self.limits);
        for position in positions(image, raw) {
            let raw = &raw[usize::from(position)];
            match self.scans.get(&raw.diff_id) {
                Some(scan) => tree.apply(&scan, position),
                None => {
                    let mut file = File::open(&raw.path).map_err(Error::file("open", &raw.path))?;
                    tree.apply_tar(&mut file, &self.limits, position)
                }
            }
            .map_err(Error::image(&image.manifest))?;
        }
        Ok(tree)
    }

    /// Drops the scans of an image that is ready.
    pub(crate) fn forget(&self, raw: &[RawLayer]) {
        raw.iter().for_each(|raw| self.scans.forget(&raw.diff_id));
    }

    fn find(&self, layer: &LayerSource) -> Result<Option<RawLayer>> {
        if layer.is_raw() {
            let blob = self.store.blob(&layer.blob).map_err(Error::store("look up a layer"))?;
            return Ok(blob.map(|blob| RawLayer {
                diff_id: layer.diff_id,
                path: blob.path().to_owned(),
                size: blob.size(),
                key: None,
            }));
        }
        let key = tar_key(&layer.diff_id);
        let derived = self.store.derived(&key).map_err(Error::store("look up a layer"))?;
        Ok(derived.map(|derived| RawLayer {
            diff_id: layer.diff_id,
            path: derived.path().to_owned(),
            size: derived.size(),
            key: Some(key),
        }))
    }

    fn blob_size(&self, layer: &LayerSource) -> Result<u64> {
        let blob = self.store.blob(&layer.blob).map_err(Error::store("look up a layer"))?;
        Ok(blob.ok_or(Error::MissingBlob { digest: layer.blob })?.size())
    }

    fn make(&self, layer: &LayerSource) -> Result<()> {
        let mut patience = Patience::new();
        loop {
            match LayerImport::begin(&self.store, &layer.diff_id, &self.limits)? {
                ImportBegin::Exists => return Ok(()),
                ImportBegin::Busy => patience.wait(&tar_key(&layer.diff_id).to_string())?,
                ImportBegin::Import(import) => {
                    let blob = self.store.blob(&layer.blob).map_err(Error::store("look up a layer"))?;
                    let blob = blob.ok_or(Error::MissingBlob { digest: layer.blob })?;
                    let file = blob.open().map_err(Error::store("open a layer"))?;
                    let imported = import.run(file, layer.media_type.compression())?;
                    if let Some(members) = imported.members {
                        self.scans.put(layer.diff_id, members);
                    }
                    return Ok(());
                }
            }
        }
    }
}

/// The layers of an image in order, as positions in the list of its distinct raw tars.
pub(crate) fn positions(image: &ImageSource, raw: &[RawLayer]) -> Vec<u16> {
    let position = |layer: &LayerSource| raw.iter().position(|raw| raw.diff_id == layer.diff_id);
    // A manifest is too small to list 65,536 different layers.
    image.layers.iter().filter_map(position).filter_map(|position| u16::try_from(position).ok()).collect()
}

/// Does `work` for every item, two at a time, in order. The first error ends it.
pub(crate) fn each<T: Send>(items: Vec<T>, work: impl Fn(T) -> Result<()> + Sync) -> Result<()> {
    let queue = Mutex::new(VecDeque::from(items));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    let run = || {
        while let Some(item) = next() {
            if let Err(error) = work(item) {
                queue.lock().unwrap_or_else(PoisonError::into_inner).clear();
                return Err(error);
            }
        }
        Ok(())
    };
    thread::scope(|scope| {
        let second = scope.spawn(run);
        let first = run();
        first.and(second.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn distinct(image: &ImageSource) -> impl Iterator<Item = &LayerSource> {
    let seen = |at: usize| image.layers[..at].iter().any(|before| before.diff_id == image.layers[at].diff_id);
    image.layers.iter().enumerate().filter(move |(at, _)| !seen(*at)).map(|(_, layer)| layer)
}
