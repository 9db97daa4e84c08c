//! `deliver`: bring images of the store to nodes.

use crate::lock::Lock;
use crate::pull::PullRequest;
use crate::{Engine, Error, Failure, Result};
use larder_core::{Manifest, Platform, Reference, Selection};
use larder_nodes::{DeliverOptions, Delivered, Fleet, Method, NodeReport, Piece, Shipment, ShippedImage};
use larder_store::Lease;
use std::sync::Arc;

/// What to deliver.
pub struct DeliverRequest {
    /// The images. Those that are not in the store are pulled first.
    pub references: Vec<Reference>,
    /// And these, by their digests.
    pub lock: Option<Lock>,
    /// For which platforms; empty means those of the lock file, or the configured ones.
    pub platforms: Vec<Platform>,
    /// To which nodes.
    pub fleet: Fleet,
    /// How.
    pub options: DeliverOptions,
}

/// What became of a delivery.
#[derive(Debug, serde::Serialize)]
pub struct DeliverReport {
    /// One per node, in the order of the inventory.
    pub nodes: Vec<NodeOutcome>,
}

/// What became of one node.
#[derive(Debug, serde::Serialize)]
pub struct NodeOutcome {
    /// Its name.
    pub node: String,
    /// Where it is.
    pub address: String,
    /// What became of the images, if everything did what it should.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images: Option<Vec<Delivered>>,
    /// Or why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// By which method, if anything had to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<Method>,
    /// Bytes of blobs that went over the network.
    pub sent: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// Milliseconds.
    pub elapsed: u64,
}

impl DeliverReport {
    /// The nodes that lack something, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&str, &Failure)> {
        self.nodes.iter().filter_map(|node| Some((node.node.as_str(), node.failure.as_ref()?)))
    }
}

impl Engine {
    /// Brings all images to all nodes. What one node lacks in the end is in the report.
    ///
    /// # Errors
    /// When an image cannot be had or is not whole: then nothing is sent to anybody.
    pub async fn deliver(&self, request: DeliverRequest) -> Result<DeliverReport> {
        let lease = self.lease("deliver")?;
        let shipments = self.shipments(&request, &lease).await?;
        let mut options = request.options.clone();
        let _registry = self.lend_for(&mut options, &shipments).await?;
        let reports = request.fleet.deliver(shipments, &options).await;
        Ok(DeliverReport { nodes: reports.into_iter().map(outcome).collect() })
    }

    /// The images of a request, whole and held.
    pub(crate) async fn shipments(
        &self,
        request: &DeliverRequest,
        lease: &Lease,
    ) -> Result<Vec<Arc<Shipment>>> {
        let selection = match (&request.platforms[..], &request.lock) {
            ([], Some(lock)) => Selection::Only(lock.platforms.clone()),
            ([], None) => self.default_selection()?,
            (platforms, _) => Selection::Only(platforms.to_vec()),
        };
        let mut references = request.references.clone();
        if let Some(lock) = &request.lock {
            references.extend(lock.images.iter().map(|locked| locked.image.clone()));
        }
        let absent: Vec<Reference> = request
            .references
            .iter()
            .filter(|reference| !self.is_deliverable(reference, &selection, lease))
            .cloned()
            .collect();
        // Whoever is here under its name and with its digest is not asked for again: a second cluster costs the upstream nothing.
        let mut lock = request.lock.clone();
        if let Some(lock) = &mut lock {
            lock.images.retain(|locked| {
                let is_named = self.root(&locked.image).is_ok_and(|root| root.digest == locked.digest);
                !(is_named && self.is_deliverable(&locked.image, &selection, lease))
            });
        }
        let lock = lock.filter(|lock| !lock.images.is_empty());
        let mut pull = PullRequest::new(absent);
        pull.selection = Some(selection.clone());
        let report = match &lock {
            Some(lock) => self.pull_locked(&pull, lock).await,
            None => self.pull(&pull).await,
        };
        if let Some((reference, failure)) = report.failures().next() {
            return Err(Error::NotPulled { reference: reference.familiar(), failure: failure.clone() });
        }
        let mut shipments = Vec::with_capacity(references.len());
        for reference in &references {
            shipments.push(Arc::new(self.shipment(reference, &selection, lease)?));
        }
        Ok(shipments)
    }

    fn is_deliverable(&self, reference: &Reference, selection: &Selection, lease: &Lease) -> bool {
        self.shipment(reference, selection, lease).is_ok()
    }

    /// One image of the store, whole for the platforms, admitted, and held by the lease.
    pub(crate) fn shipment(
        &self,
        reference: &Reference,
        selection: &Selection,
        lease: &Lease,
    ) -> Result<Shipment> {
        let root = self.root(reference)?;
        // Held first, looked at afterwards: what is found then cannot be collected any more.
        self.hold(&[root.digest], lease)?;
        let what = reference.familiar();
        let graph = self.graph(&root.digest, selection)?;
        let missing = graph.absent.len();
        if missing > 0 {
            return Err(Error::Incomplete { reference: what, missing });
        }
        let mut pieces = Vec::with_capacity(graph.blobs.len());
        let mut missing = 0;
        for descriptor in &graph.blobs {
            match self.blob_to_give(&descriptor.digest) {
                Ok(blob) => pieces.push(Piece { blob, media_type: descriptor.media_type.clone() }),
                Err(Error::NoBlob { .. }) => missing += 1,
                Err(error) => return Err(error),
            }
        }
        if missing > 0 {
            return Err(Error::Incomplete { reference: what, missing });
        }
        let (mut images, mut admitted) = (Vec::new(), Vec::new());
        for document in &graph.documents {
            let Manifest::Image(manifest) = document.manifest() else { continue };
            let config = self.image_config(manifest, &what)?;
            let layers = manifest.layers.iter().filter(|layer| layer.media_type.is_layer());
            images.push(ShippedImage {
                platform: config.platform.clone(),
                manifest: document.digest(),
                config: manifest.config.digest,
                layers: layers
                    .map(|layer| layer.digest)
                    .zip(config.rootfs.diff_ids.iter().copied())
                    .collect(),
            });
            admitted.push(self.admitted(&document.digest())?);
        }
        if images.is_empty() {
            return Err(Error::NotAnImage { what, found: "an artifact" });
        }
        Ok(Shipment::new(reference.clone(), &admitted, graph.documents, pieces, images)?)
    }
}

fn outcome(report: NodeReport) -> NodeOutcome {
    let (images, failure) = match report.outcome {
        Ok(images) => (Some(images), None),
        Err(error) => (None, Some(Failure::from(&Error::from(error)))),
    };
    NodeOutcome {
        node: report.node.name().to_owned(),
        address: report.node.address(),
        images,
        failure,
        method: report.method,
        sent: report.sent,
        attempts: report.attempts,
        elapsed: report.elapsed.as_millis() as u64,
    }
}
