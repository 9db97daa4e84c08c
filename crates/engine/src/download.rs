//! The blobs of a plan: downloaded all at once within the budget, and unpacked as they arrive where that is asked for.

use crate::image::parse_config;
use crate::pull::Plan;
use crate::{Engine, Error, Result};
use larder_core::{Descriptor, Digest, Event, Manifest, Platform};
use larder_fetch::{Fetcher, Landing, Reader, Scope};
use larder_materialize::{ImportBegin, LayerImport, LayerSource};
use larder_store::Follower;
use std::collections::HashSet;
use tokio::task::JoinSet;

impl Engine {
    /// Downloads the missing blobs, all at once within the budget; the layers of one platform are unpacked as they arrive.
    pub(crate) async fn bring(
        &self,
        scope: &Scope,
        plan: &Plan,
        missing: &HashSet<Digest>,
        unpack: Option<&Platform>,
    ) -> Result<u64> {
        let fetcher = self.fetcher()?;
        let mut waiting: Vec<Descriptor> =
            plan.blobs.iter().filter(|b| missing.contains(&b.digest)).cloned().collect();
        // The largest first, since it takes longest.
        waiting.sort_by_key(|blob| std::cmp::Reverse(blob.size));
        let mut landings = Vec::new();
        let imports = match unpack {
            Some(platform) => self.layer_sources(scope, plan, platform, &mut landings).await?,
            None => Vec::new(),
        };
        let mut downloaded = self.fetch_all(fetcher, scope, waiting, &imports).await?;
        for landing in landings {
            downloaded += landing.landed().await?.bytes;
        }
        Ok(downloaded)
    }

    pub(crate) async fn fetch_all(
        &self,
        fetcher: &Fetcher,
        scope: &Scope,
        blobs: Vec<Descriptor>,
        imports: &[LayerSource],
    ) -> Result<u64> {
        let mut tasks = JoinSet::new();
        for blob in blobs {
            let (fetcher, scope, engine) = (fetcher.clone(), scope.clone(), self.clone());
            let import = imports.iter().find(|layer| layer.blob == blob.digest).cloned();
            tasks.spawn(async move {
                match import {
                    Some(layer) => engine.fetch_and_import(&fetcher, &scope, &blob, &layer).await,
                    None => Ok(fetcher.blob(&scope, &blob, Reader::None).await?.bytes),
                }
            });
        }
        let mut downloaded = 0;
        let mut first: Option<Error> = None;
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok(Ok(bytes)) => downloaded += bytes,
                // The other blobs go on: what arrives now need not be fetched by the next attempt.
                Ok(Err(error)) => first = first.or(Some(error)),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        first.map_or(Ok(downloaded), Err)
    }

    /// One layer: written to the store and, from the same chunks, unpacked.
    async fn fetch_and_import(
        &self,
        fetcher: &Fetcher,
        scope: &Scope,
        blob: &Descriptor,
        layer: &LayerSource,
    ) -> Result<u64> {
        let begin = LayerImport::begin(self.store(), &layer.diff_id, &self.limits()).map_err(|source| {
            Error::Materialize { action: format!("cannot unpack layer {}", blob.digest), source }
        })?;
        // A plain tar is used as it lies in the store; a layer somebody else unpacks is waited for when the image is prepared.
        let plain = layer.diff_id == layer.blob;
        let import = match begin {
            ImportBegin::Import(import) if !plain => import,
            _ => return Ok(fetcher.blob(scope, blob, Reader::None).await?.bytes),
        };
        let _slot = self.imports().acquire().await;
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let (declared, diff_id) = (blob.media_type.compression(), layer.diff_id);
        let (turns, size) = (self.turns().clone(), blob.size);
        // Follows the blob on the disk: inflating does not slow the network down, and syncing the blob does not wait for it.
        let worker = tokio::task::spawn_blocking(move || {
            let follower: Follower = receiver.blocking_recv().ok()?;
            import.follow(follower, size, declared, &turns).ok()
        });
        let moved = fetcher.blob(scope, blob, Reader::File(sender)).await;
        let unpacked = worker.await.map_err(|_| Error::Task { what: "unpacking a layer" })?;
        let bytes = moved?.bytes;
        if let Some(unpacked) = unpacked {
            let failed =
                |source| Error::Store { action: format!("cannot note the size of {}", blob.digest), source };
            self.store().record_expanded(&blob.digest, unpacked.size).map_err(failed)?;
            (self.progress())(Event::LayerReady { diff_id, size: unpacked.size });
            if let Some(members) = unpacked.members {
                self.scans().put(diff_id, members);
            }
        }
        // A failed import is not an error here: preparing the image tries again from the stored blob, and that answer counts.
        Ok(bytes)
    }

    /// Which layers unpack into what: the configs know, and are had before they are stored.
    async fn layer_sources(
        &self,
        scope: &Scope,
        plan: &Plan,
        platform: &Platform,
        landings: &mut Vec<Landing>,
    ) -> Result<Vec<LayerSource>> {
        let fetcher = self.fetcher()?;
        let mut sources = Vec::new();
        for document in &plan.documents {
            let Manifest::Image(image) = document.manifest() else { continue };
            let raw = match plan.configs.get(&image.config.digest) {
                Some(raw) => raw.clone(),
                None => {
                    let (raw, landing) = fetcher.early(scope, &image.config).await?;
                    landings.push(landing);
                    raw
                }
            };
            let what = document.digest().to_string();
            let Ok(config) = parse_config(&raw, image, &what) else { continue };
            if config.platform.distance(platform).is_none() {
                continue;
            }
            let layers =
                image.layers.iter().filter(|layer| layer.media_type.is_layer()).zip(&config.rootfs.diff_ids);
            sources.extend(layers.map(|(layer, diff_id)| LayerSource {
                blob: layer.digest,
                media_type: layer.media_type.clone(),
                diff_id: *diff_id,
            }));
        }
        Ok(sources)
    }
}
