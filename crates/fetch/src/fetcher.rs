//! The one entry point: a reference in, an image out.

use crate::flight::Flights;
use crate::image::{Image, Layer, Metrics, image_manifest};
use crate::tier::{BlobStream, Reader, Scope, SourceTier};
use crate::transfer::{Moved, transfer};
use crate::{Error, Result};
use bytes::Bytes;
use larder_core::{
    Descriptor, Digest, Document, Event, ImageConfig, MANIFEST_LIMIT, Manifest, Platform, Reference,
    Selection, Tier,
};
use larder_store::{Outcome, Served, Store};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

/// Bounds of a fetcher.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Blobs that move at the same time.
    pub jobs: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { jobs: 4 }
    }
}

/// What to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Request {
    /// Which image.
    pub reference: Reference,
    /// For which platform. Part of every cache key.
    pub platform: Platform,
}

/// Fetches through the tiers. Cheap to clone; clones share flights and budget.
#[derive(Clone)]
pub struct Fetcher(Arc<Inner>);

struct Inner {
    store: Store,
    tiers: Vec<SourceTier>,
    flights: Flights<Digest>,
    jobs: Semaphore,
    /// Statistics not yet written: one transaction per command instead of one per blob.
    served: Mutex<Vec<Served>>,
}

impl Fetcher {
    /// `tiers` in the order in which they are asked, nearest first; `store` takes the statistics.
    pub fn new(store: Store, tiers: Vec<SourceTier>, settings: Settings) -> Self {
        let jobs = Semaphore::new(settings.jobs.max(1));
        Self(Arc::new(Inner { store, tiers, flights: Flights::default(), jobs, served: Mutex::default() }))
    }

    /// Resolves a reference to one image and returns it; its layers stay where they are until they are opened.
    ///
    /// # Errors
    /// `NotFound` when no tier knows the reference or the platform, `Denied` when the credentials do not suffice,
    /// `Corrupt` when bytes do not hash to their name, `Unavailable` when the network is in the way.
    pub async fn fetch(&self, request: &Request, scope: &Scope) -> Result<Image> {
        let started = Instant::now();
        let mut metrics = Metrics::default();
        let what = request.reference.to_string();
        let (root, mut farthest) = self.resolve(scope).await?;
        let mut count = |descriptor: &Descriptor, tier: Tier| {
            metrics.documents[tier as usize] += 1;
            if tier == Tier::Registry {
                metrics.registry_bytes += descriptor.size;
            }
            farthest = farthest.max(tier);
        };
        let mut descriptor = root.clone();
        // An index may list indexes; three levels are more than anybody has seen.
        let mut document = None;
        for _ in 0..4 {
            let (found, tier) = self.document(scope, &descriptor).await?;
            count(&descriptor, tier);
            let Manifest::Index(index) = found.manifest() else {
                document = Some(found);
                break;
            };
            let wanted = Selection::Only(vec![request.platform.clone()]);
            let chosen = index.select(&wanted).map_err(|missing| Error::Platform {
                reference: what.clone(),
                missing,
                offered: index.platforms(),
            })?;
            descriptor = chosen[0].clone();
        }
        let expected = "an image";
        let manifest =
            document.ok_or(Error::Unexpected { what: what.clone(), found: "too deep an index", expected })?;
        let image = image_manifest(&manifest, &what)?;
        let (raw, tier) = self.small(scope, &image.config).await?;
        count(&image.config, tier);
        let config =
            ImageConfig::parse(&raw).map_err(|source| Error::Document { what: what.clone(), source })?;
        if !runs_on(&config, &request.platform) {
            let (missing, offered) = (vec![request.platform.clone()], vec![config.platform]);
            return Err(Error::Platform { reference: what, missing, offered });
        }
        let layers: Vec<&Descriptor> =
            image.layers.iter().filter(|layer| layer.media_type.is_layer()).collect();
        if layers.len() != config.rootfs.diff_ids.len() {
            let reason = format!("{} layers, but {} diff ids", layers.len(), config.rootfs.diff_ids.len());
            let source = larder_core::Error::Document { what: "manifest", reason };
            return Err(Error::Document { what, source });
        }
        let layers = layers
            .into_iter()
            .zip(&config.rootfs.diff_ids)
            .map(|(descriptor, diff_id)| Layer {
                descriptor: descriptor.clone(),
                diff_id: *diff_id,
                fetcher: self.clone(),
                scope: scope.clone(),
            })
            .collect();
        metrics.elapsed = started.elapsed();
        Ok(Image { digest: root.digest, manifest, config, layers, tier: farthest, metrics })
    }

    /// Whether the store has everything of an image, without asking anybody. A few indexed look-ups.
    pub fn is_cached(&self, request: &Request) -> Result<bool> {
        let what = request.reference.to_string();
        let failed = |source| Error::Store { what: what.clone(), source };
        let store = &self.0.store;
        let mut digest = match request.reference.digest() {
            Some(digest) => *digest,
            None => match store.name(&request.reference).map_err(failed)? {
                Some(name) => name.descriptor.digest,
                None => return Ok(false),
            },
        };
        for _ in 0..4 {
            let Some(document) = store.document(&digest).map_err(failed)? else { return Ok(false) };
            match document.manifest() {
                Manifest::Index(index) => {
                    match index.select(&Selection::Only(vec![request.platform.clone()])) {
                        Ok(chosen) => digest = chosen[0].digest,
                        Err(_) => return Ok(false),
                    }
                }
                manifest => {
                    let wanted: Vec<Digest> = manifest.children().iter().map(|child| child.digest).collect();
                    if !store.missing(&wanted).map_err(failed)?.is_empty() {
                        return Ok(false);
                    }
                    let Manifest::Image(image) = manifest else { return Ok(true) };
                    let raw = store.read(&image.config.digest, MANIFEST_LIMIT).map_err(failed)?;
                    let config = raw.and_then(|raw| ImageConfig::parse(&raw).ok());
                    return Ok(config.is_some_and(|config| runs_on(&config, &request.platform)));
                }
            }
        }
        Ok(false)
    }

    /// Forgets what a reference stands for, in every tier. Blobs stay until they are collected.
    pub async fn invalidate(&self, reference: &Reference) -> Result<()> {
        for tier in &self.0.tiers {
            if let Some(sink) = tier.sink() {
                sink.forget(reference).await?;
            }
        }
        Ok(())
    }

    /// What the scope's reference stands for, from the nearest tier that knows.
    pub async fn resolve(&self, scope: &Scope) -> Result<(Descriptor, Tier)> {
        let tiers = &self.0.tiers;
        for (at, tier) in tiers.iter().enumerate() {
            let started = Instant::now();
            let Some(descriptor) = tier.resolve(scope).await? else { continue };
            for nearer in &tiers[..at] {
                if let Some(sink) = nearer.sink() {
                    sink.remember(scope, &descriptor).await?;
                }
            }
            self.count(tier.tier(), 0, started);
            let event = Event::Resolved {
                reference: scope.reference.to_string(),
                digest: descriptor.digest,
                tier: tier.tier(),
            };
            (scope.progress)(event);
            return Ok((descriptor, tier.tier()));
        }
        let names: Vec<&str> = tiers.iter().map(|tier| tier.tier().as_str()).collect();
        Err(Error::Absent { what: scope.reference.to_string(), tiers: names.join(", ") })
    }

    /// A manifest or index, verified and parsed.
    pub async fn document(&self, scope: &Scope, descriptor: &Descriptor) -> Result<(Document, Tier)> {
        let (document, landing) = self.early_document(scope, descriptor).await?;
        Ok((document, landing.landed().await?.tier))
    }

    /// Like [`Fetcher::document`], as [`Fetcher::early`].
    pub async fn early_document(
        &self,
        scope: &Scope,
        descriptor: &Descriptor,
    ) -> Result<(Document, Landing)> {
        let (raw, landing) = self.early(scope, descriptor).await?;
        let document = Document::parse(raw, Some(&descriptor.media_type))
            .map_err(|source| Error::Document { what: descriptor.digest.to_string(), source })?;
        Ok((document, landing))
    }

    /// A small blob, whole and verified: a manifest or a config.
    pub async fn small(&self, scope: &Scope, descriptor: &Descriptor) -> Result<(Vec<u8>, Tier)> {
        let (raw, landing) = self.early(scope, descriptor).await?;
        Ok((raw, landing.landed().await?.tier))
    }

    /// Like [`Fetcher::small`], but as soon as the bytes are verified, while the tiers still make them durable: on a slow disk
    /// that takes longer than the network. Nothing may rely on its being stored before [`Landing::landed`].
    pub async fn early(&self, scope: &Scope, descriptor: &Descriptor) -> Result<(Vec<u8>, Landing)> {
        let digest = descriptor.digest;
        if descriptor.size > MANIFEST_LIMIT {
            let reason = format!("{} bytes, more than the limit of {MANIFEST_LIMIT}", descriptor.size);
            let source = larder_core::Error::Document { what: "manifest or config", reason };
            return Err(Error::Document { what: digest.to_string(), source });
        }
        let (sender, mut receiver) = mpsc::channel::<Bytes>(4);
        let (fetcher, scope, wanted) = (self.clone(), scope.clone(), descriptor.clone());
        let landing =
            Landing(tokio::spawn(async move { fetcher.blob(&scope, &wanted, Reader::Chunks(sender)).await }));
        let mut bytes = Vec::new();
        while (bytes.len() as u64) < descriptor.size {
            let Some(chunk) = receiver.recv().await else { break };
            bytes.extend_from_slice(&chunk);
        }
        let mut hasher = larder_core::Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        if hasher.finish() == digest {
            return Ok((bytes, landing));
        }
        // The transfer knows best what is wrong.
        let ServedBy { tier, .. } = landing.landed().await?;
        let problem = format!("{} bytes that hash to something else", bytes.len());
        Err(Error::Corrupt { tier, digest, problem })
    }

    /// Makes sure that every keeping tier has a blob; passes its bytes to `reader` where there is one. Returns who served it.
    pub async fn blob(&self, scope: &Scope, descriptor: &Descriptor, reader: Reader) -> Result<ServedBy> {
        let started = Instant::now();
        let _flight = self.0.flights.board(descriptor.digest).await;
        // Small documents do not queue behind large layers, or the plan of the next image would wait for this one.
        let _job = match descriptor.size > MANIFEST_LIMIT {
            true => self.0.jobs.acquire().await.ok(),
            false => None,
        };
        let Moved { tier, bytes } = transfer(&self.0.tiers, scope, descriptor, reader).await?;
        self.count(tier, bytes, started);
        Ok(ServedBy { tier, bytes })
    }

    /// The bytes of a blob that a durable tier holds, verified while they are read.
    pub(crate) async fn stored(&self, scope: &Scope, descriptor: &Descriptor) -> Result<Box<dyn BlobStream>> {
        for tier in self.0.tiers.iter().filter(|tier| tier.sink().is_some_and(|sink| sink.is_durable())) {
            if let Some(stream) = tier.open(scope, descriptor, 0).await? {
                return Ok(stream);
            }
        }
        Err(Error::Absent { what: descriptor.digest.to_string(), tiers: "the durable tiers".into() })
    }

    /// Notes who served, and who was asked before and did not have it.
    fn count(&self, tier: Tier, bytes: u64, started: Instant) {
        let latency = started.elapsed();
        let asked = self.0.tiers.iter().map(|asked| asked.tier()).take_while(|asked| *asked != tier);
        let missed =
            asked.map(|tier| Served { tier, bytes: 0, latency: Duration::ZERO, outcome: Outcome::Miss });
        let served = missed.chain([Served { tier, bytes, latency, outcome: Outcome::Hit }]);
        let mut pending = self.0.served.lock().unwrap_or_else(PoisonError::into_inner);
        pending.extend(served);
        if pending.len() >= 256 {
            let batch = std::mem::take(&mut *pending);
            drop(pending);
            self.write(&batch);
        }
    }

    /// Writes the statistics gathered since the last call.
    pub fn flush(&self) {
        let batch = std::mem::take(&mut *self.0.served.lock().unwrap_or_else(PoisonError::into_inner));
        if !batch.is_empty() {
            self.write(&batch);
        }
    }

    fn write(&self, batch: &[Served]) {
        // Statistics are never a reason to fail a fetch; the store reports its own trouble on the next real use.
        let _ = self.0.store.record(batch);
    }
}

/// Whether an image runs on a platform. One that does not say what it is for is taken at its word.
pub fn runs_on(config: &ImageConfig, platform: &Platform) -> bool {
    let silent = config.platform.os.is_empty() || config.platform.architecture.is_empty();
    silent || config.platform.distance(platform).is_some()
}

/// A small blob on its last stretch, into the tiers. Dropped, it gets there all the same.
#[derive(Debug)]
pub struct Landing(JoinHandle<Result<ServedBy>>);

impl Landing {
    /// Waits until the keeping tiers have it.
    pub async fn landed(self) -> Result<ServedBy> {
        match self.0.await {
            Ok(outcome) => outcome,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }
}

/// Who served a blob, and how many bytes that took.
#[derive(Debug, Clone, Copy)]
pub struct ServedBy {
    /// The tier.
    pub tier: Tier,
    /// Bytes it delivered; 0 when the blob was here already.
    pub bytes: u64,
}
