//! The blobs of a plan: downloaded all at once within the budget, and unpacked as they arrive where that is asked for.

use crate::image::parse_config;
use crate::pull::Plan;
use crate::{Engine, Error, Result};
use larder_core::{Descriptor, Digest, Document, Event, ImageConfig, Manifest, Platform, Tier};
use larder_fetch::{Fetcher, Landing, Reader, Scope};
use larder_materialize::{ImportBegin, LayerImport, LayerSource};
use larder_store::Follower;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

/// Layers that are unpacked as they arrive; some may go on after the last byte has.
#[derive(Default)]
pub(crate) struct Unpacking(JoinSet<Result<()>>);

impl Unpacking {
    /// Waits until all of them are unpacked.
    pub(crate) async fn finished(self) -> Result<()> {
        each(self.0, |()| ()).await
    }
}

/// The configs of images, as they are known before they are stored.
#[derive(Default)]
pub(crate) struct Configs {
    raw: HashMap<Digest, Vec<u8>>,
    landings: Vec<Landing>,
}

impl Configs {
    /// Waits until all are stored. Returns the bytes that the registry sent.
    pub(crate) async fn land(self) -> Result<u64> {
        let mut bytes = 0;
        for landing in self.landings {
            let served = landing.landed().await?;
            if served.tier == Tier::Registry {
                bytes += served.bytes;
            }
        }
        Ok(bytes)
    }
}

/// What the layer tasks wait for: which layers unpack into what.
type Sources = watch::Receiver<Option<Arc<[LayerSource]>>>;

impl Engine {
    /// Downloads the missing blobs, all at once within the budget; the layers of one platform are unpacked as they arrive. Returns
    /// how many bytes that took, with what is still being unpacked.
    ///
    /// Nothing waits for the configs: what a layer unpacks into, and whether the image is for one of the `wanted` platforms, is
    /// known soon after its first bytes are on their way.
    pub(crate) async fn bring(
        &self,
        scope: &Scope,
        plan: &Plan,
        missing: &HashSet<Digest>,
        unpack: Option<&Platform>,
        wanted: Option<&[Platform]>,
    ) -> Result<(u64, Unpacking)> {
        let fetcher = self.fetcher()?;
        let mut waiting: Vec<Descriptor> =
            plan.blobs.iter().filter(|b| missing.contains(&b.digest)).cloned().collect();
        // The largest first, since it takes longest.
        waiting.sort_by_key(|blob| std::cmp::Reverse(blob.size));
        let (known, sources) = watch::channel(None);
        let (mut moves, mut unpacking) = (JoinSet::new(), JoinSet::new());
        for blob in waiting {
            let reader = match unpack.is_some() && blob.media_type.is_layer() {
                true => {
                    let (sender, arriving) = oneshot::channel();
                    unpacking.spawn(self.clone().import_layer(blob.clone(), arriving, sources.clone()));
                    Reader::File(sender)
                }
                false => Reader::None,
            };
            moves.spawn(fetch(fetcher.clone(), scope.clone(), blob, reader));
        }
        let mut configs = Configs::default();
        if unpack.is_some() || wanted.is_some() {
            configs = self.configs(scope, &plan.documents).await?;
        }
        if let Some(platforms) = wanted {
            check_platform(scope, &plan.documents, &configs, platforms)?;
        }
        if let Some(platform) = unpack {
            // Nobody waits where there is no layer.
            let _ = known.send(Some(layer_sources(&plan.documents, &configs, platform).into()));
        }
        let mut downloaded = 0;
        each(moves, |bytes: u64| downloaded += bytes).await?;
        downloaded += configs.land().await?;
        Ok((downloaded, Unpacking(unpacking)))
    }

    /// Downloads blobs, all at once within the budget. Returns how many bytes that took.
    pub(crate) async fn fetch_all(&self, scope: &Scope, blobs: Vec<Descriptor>) -> Result<u64> {
        let fetcher = self.fetcher()?;
        let mut moves = JoinSet::new();
        for blob in blobs {
            moves.spawn(fetch(fetcher.clone(), scope.clone(), blob, Reader::None));
        }
        let mut downloaded = 0;
        each(moves, |bytes: u64| downloaded += bytes).await?;
        Ok(downloaded)
    }

    /// The configs of the image manifests among `documents`.
    pub(crate) async fn configs(&self, scope: &Scope, documents: &[Document]) -> Result<Configs> {
        let mut configs = Configs::default();
        for document in documents {
            let Manifest::Image(image) = document.manifest() else { continue };
            let (raw, landing) = self.fetcher()?.early(scope, &image.config).await?;
            configs.landings.push(landing);
            configs.raw.insert(image.config.digest, raw);
        }
        Ok(configs)
    }

    /// Unpacks one layer from the file that it is written to, so that inflating does not slow the network down, and syncing the
    /// blob does not wait for it.
    async fn import_layer(
        self,
        blob: Descriptor,
        arriving: oneshot::Receiver<Follower>,
        mut sources: Sources,
    ) -> Result<()> {
        // Gone where the configs cannot be had, or are not what was wanted: that is told by whoever asked for them.
        let Ok(known) = sources.wait_for(Option::is_some).await.map(|known| known.clone()) else {
            return Ok(());
        };
        let layer = known.iter().flat_map(|layers| layers.iter()).find(|layer| layer.blob == blob.digest);
        // A plain tar is used as it lies in the store.
        let Some(layer) = layer.filter(|layer| layer.diff_id != layer.blob) else { return Ok(()) };
        let diff_id = layer.diff_id;
        let begin = LayerImport::begin(self.store(), &diff_id, &self.limits()).map_err(|source| {
            Error::Materialize { action: format!("cannot unpack layer {}", blob.digest), source }
        })?;
        // A layer somebody else unpacks is waited for when the image is prepared.
        let ImportBegin::Import(import) = begin else { return Ok(()) };
        let _slot = self.imports().acquire().await;
        let Ok(follower) = arriving.await else { return Ok(()) };
        let (declared, turns, size) = (blob.media_type.compression(), self.turns().clone(), blob.size);
        let worker = tokio::task::spawn_blocking(move || import.follow(follower, size, declared, &turns));
        // A failed import is not an error here: preparing the image tries again from the stored blob, and that answer counts.
        if let Ok(unpacked) = worker.await.map_err(|_| Error::Task { what: "unpacking a layer" })? {
            let failed =
                |source| Error::Store { action: format!("cannot note the size of {}", blob.digest), source };
            self.store().record_expanded(&blob.digest, unpacked.size).map_err(failed)?;
            (self.progress())(Event::LayerReady { diff_id, size: unpacked.size });
            if let Some(members) = unpacked.members {
                self.scans().put(diff_id, members);
            }
        }
        Ok(())
    }
}

/// An image without index is for the platform of its config; asking for another one is an error, not a hint.
pub(crate) fn check_platform(
    scope: &Scope,
    documents: &[Document],
    configs: &Configs,
    wanted: &[Platform],
) -> Result<()> {
    let [document] = documents else { return Ok(()) };
    let Manifest::Image(image) = document.manifest() else { return Ok(()) };
    let Some(raw) = configs.raw.get(&image.config.digest) else { return Ok(()) };
    let reference = scope.reference.familiar();
    let config = ImageConfig::parse(raw).map_err(|source| Error::Document {
        what: format!("cannot read the config of {reference}"),
        source,
    })?;
    if wanted.iter().any(|platform| larder_fetch::runs_on(&config, platform)) {
        return Ok(());
    }
    let (missing, offered) = (wanted.to_vec(), vec![config.platform]);
    Err(larder_fetch::Error::Platform { reference, missing, offered }.into())
}

/// Which layers unpack into what. An image that cannot be unpacked is told of when it is prepared.
fn layer_sources(documents: &[Document], configs: &Configs, platform: &Platform) -> Vec<LayerSource> {
    let mut sources = Vec::new();
    for document in documents {
        let Manifest::Image(image) = document.manifest() else { continue };
        let Some(raw) = configs.raw.get(&image.config.digest) else { continue };
        let Ok(config) = parse_config(raw, image, &document.digest().to_string()) else { continue };
        if config.platform.distance(platform).is_none() {
            continue;
        }
        let layers = image.layers.iter().filter(|layer| layer.media_type.is_layer());
        sources.extend(layers.zip(&config.rootfs.diff_ids).map(|(layer, diff_id)| LayerSource {
            blob: layer.digest,
            media_type: layer.media_type.clone(),
            diff_id: *diff_id,
        }));
    }
    sources
}

async fn fetch(fetcher: Fetcher, scope: Scope, blob: Descriptor, reader: Reader) -> Result<u64> {
    Ok(fetcher.blob(&scope, &blob, reader).await?.bytes)
}

/// Waits for all tasks. The first error counts, and the others go on: what arrives now need not be fetched by the next attempt.
async fn each<T: 'static>(mut tasks: JoinSet<Result<T>>, mut done: impl FnMut(T)) -> Result<()> {
    let mut first: Option<Error> = None;
    while let Some(ended) = tasks.join_next().await {
        match ended {
            Ok(Ok(value)) => done(value),
            Ok(Err(error)) => first = first.or(Some(error)),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
    first.map_or(Ok(()), Err)
}
