//! `pull`: bring images into the store, all at once; what fails does not stop the rest.

use crate::download::{Unpacking, check_platform};
use crate::graph::selected;
use crate::lock::{Lock, Locked};
use crate::{Engine, Error, Failure, Result};
use larder_core::{
    Classify, Descriptor, Digest, Document, Kind, Manifest, Platform, Reference, Selection, Tier,
};
use larder_fetch::{Landing, Scope};
use larder_remote::Auth;
use larder_store::Lease;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Images that are resolved and planned at the same time. Blobs have a budget of their own (`jobs`).
const IMAGES: usize = 16;

/// What to pull.
#[derive(Clone)]
pub struct PullRequest {
    /// The images.
    pub references: Vec<Reference>,
    /// For which platforms; `None` means the configured ones.
    pub selection: Option<Selection>,
    /// Only say what would be downloaded.
    pub dry_run: bool,
    /// Unpack layers for this platform while they arrive.
    pub unpack: Option<Platform>,
    /// Bring signatures and other referrers; `None` means as configured.
    pub attached: Option<bool>,
    /// Credentials in place of the configured chain.
    pub auth: Option<Auth>,
}

impl PullRequest {
    /// Pulls `references` as configured.
    pub fn new(references: Vec<Reference>) -> Self {
        Self { references, selection: None, dry_run: false, unpack: None, attached: None, auth: None }
    }
}

/// What became of a pull.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PullReport {
    /// In the order of the request.
    pub images: Vec<Outcome>,
}

/// What became of one image.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Outcome {
    /// The image.
    pub reference: Reference,
    /// What was pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pulled: Option<Pulled>,
    /// Or why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// An image that is now in the store.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Pulled {
    /// What the reference stands for.
    pub digest: Digest,
    /// The platforms that are here now.
    pub platforms: Vec<Platform>,
    /// Bytes of the image, compressed.
    pub size: u64,
    /// Blobs and manifests of it.
    pub blobs: usize,
    /// Blobs that had to be (or, in a dry run, would be) downloaded.
    pub missing: usize,
    /// Bytes of these.
    pub missing_bytes: u64,
    /// Bytes that came over the network.
    pub downloaded: u64,
    /// Signatures and other artifacts that came along.
    pub attached: usize,
    /// Nothing had to be done.
    pub up_to_date: bool,
    /// How long it took.
    #[serde(serialize_with = "millis")]
    pub elapsed: Duration,
}

fn millis<S: serde::Serializer>(elapsed: &Duration, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_u64(elapsed.as_millis() as u64)
}

impl PullReport {
    /// Whether everything asked for is here.
    pub fn is_complete(&self) -> bool {
        self.images.iter().all(|image| image.failure.is_none())
    }

    /// The failures, with their images.
    pub fn failures(&self) -> impl Iterator<Item = (&Reference, &Failure)> {
        self.images.iter().filter_map(|image| Some((&image.reference, image.failure.as_ref()?)))
    }
}

/// What a pull brought.
pub(crate) struct Content {
    pub(crate) pulled: Pulled,
    /// What the name is to stand for; `None` where it does already.
    pub(crate) root: Option<Descriptor>,
    /// Layers that are still being unpacked.
    pub(crate) unpacking: Unpacking,
}

/// What an image consists of, once its documents are here.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) documents: Vec<Document>,
    pub(crate) blobs: Vec<Descriptor>,
    pub(crate) seen: HashSet<Digest>,
    pub(crate) downloaded: u64,
    pub(crate) attached: usize,
    /// Names under which attached artifacts are found again (`sha256-HEX.sig`).
    pub(crate) tags: Vec<(Reference, Descriptor)>,
    /// Documents and configs that are known and not yet stored.
    pub(crate) landings: Vec<Landing>,
}

impl Plan {
    /// Waits until all documents are stored. Nothing may be named before.
    pub(crate) async fn land(&mut self) -> Result<()> {
        for landing in std::mem::take(&mut self.landings) {
            let served = landing.landed().await?;
            if served.tier == Tier::Registry {
                self.downloaded += served.bytes;
            }
        }
        Ok(())
    }
}

impl Engine {
    /// Pulls all images of the request at once. One that fails does not stop the others; the report names it.
    pub async fn pull(&self, request: &PullRequest) -> PullReport {
        if request.dry_run {
            return self.pull_all(request).await;
        }
        let before = self.before(&request.references);
        self.prepare_audit();
        let report = self.pull_all(request).await;
        self.audit_pull(&before, &report);
        report
    }

    /// Pulls the images of a lock file by their digests, and names them as they are asked for. `request` says how; its own
    /// references are pulled as well.
    pub async fn pull_locked(&self, request: &PullRequest, lock: &Lock) -> PullReport {
        let mut request = request.clone();
        let own = request.references.len();
        request.references.extend(lock.images.iter().map(Locked::by_digest));
        let passing = self.passing(&request.references, own, lock);
        let mut report = self.pull(&request).await;
        let (_, outcomes) = report.images.split_at_mut(own);
        for (outcome, locked) in outcomes.iter_mut().zip(&lock.images) {
            outcome.reference = locked.image.clone();
            if outcome.failure.is_none()
                && !request.dry_run
                && let Err(error) = self.name_as_locked(locked)
            {
                outcome.pulled = None;
                outcome.failure = Some(Failure::from(&error));
            }
        }
        if !request.dry_run {
            for (outcome, locked) in outcomes.iter_mut().zip(&lock.images) {
                let name = locked.by_digest();
                if passing.contains(&name)
                    && let Err(source) = self.store().remove_name(&name)
                {
                    let error = Error::Store { action: format!("cannot remove the name {name}"), source };
                    outcome.failure = Some(Failure::from(&error));
                }
            }
        }
        if let Err(error) = self.finish_pull() {
            let failure = Failure::from(&error);
            report.images[own..].iter_mut().for_each(|image| image.failure = Some(failure.clone()));
        }
        report
    }

    /// The names by digest that a pull of a lock file gives for a while: not those that somebody asked for, or had before.
    fn passing(&self, references: &[Reference], own: usize, lock: &Lock) -> HashSet<Reference> {
        let asked: HashSet<&Reference> =
            references[..own].iter().chain(lock.images.iter().map(|locked| &locked.image)).collect();
        let is_passing = |name: &&Reference| {
            !asked.contains(name) && self.store().name(name).is_ok_and(|before| before.is_none())
        };
        references[own..].iter().filter(is_passing).cloned().collect()
    }

    /// Gives what was pulled by its digest the name that the lock file has. Several names may stand for one digest.
    fn name_as_locked(&self, locked: &Locked) -> Result<()> {
        let by_digest = locked.by_digest();
        if by_digest == locked.image {
            return Ok(());
        }
        let failed = |source| Error::Store { action: format!("cannot name {}", locked.image), source };
        let name = self.store().name(&by_digest).map_err(failed)?;
        let name = name.ok_or(Error::NoBlob { digest: locked.digest })?;
        self.name(&locked.image, &name.descriptor)
    }

    async fn pull_all(&self, request: &PullRequest) -> PullReport {
        let slots = Arc::new(Semaphore::new(IMAGES));
        let mut tasks = JoinSet::new();
        for (at, reference) in request.references.iter().enumerate() {
            let (engine, request, reference, slots) =
                (self.clone(), request.clone(), reference.clone(), slots.clone());
            tasks.spawn(async move {
                let _slot = slots.acquire().await;
                let pulled = engine.pull_one(&request, &reference).await;
                match (&pulled, &request.unpack) {
                    (Ok(_), Some(platform)) if !request.dry_run => {
                        let unpacked = engine.unpack_layers(&reference, platform).await;
                        (at, unpacked.and(pulled))
                    }
                    _ => (at, pulled),
                }
            });
        }
        let mut images: Vec<Outcome> = request
            .references
            .iter()
            .map(|reference| Outcome { reference: reference.clone(), pulled: None, failure: None })
            .collect();
        while let Some(ended) = tasks.join_next().await {
            let (at, outcome) = match ended {
                Ok(ended) => ended,
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            };
            match outcome {
                Ok(pulled) => images[at].pulled = Some(pulled),
                Err(error) => images[at].failure = Some(Failure::from(&error)),
            }
        }
        if let Err(error) = self.finish_pull() {
            // The images are in the store, but what other tools read is not up to date: none of them is finished.
            let failure = Failure::from(&error);
            images
                .iter_mut()
                .filter(|image| image.failure.is_none())
                .for_each(|image| image.failure = Some(failure.clone()));
        }
        PullReport { images }
    }

    /// Pulls everything of an image under a lease. What has to follow: the name, [`Engine::finish_pull`], and waiting for what is
    /// unpacked.
    pub(crate) async fn pull_under(
        &self,
        request: &PullRequest,
        reference: &Reference,
        lease: &Lease,
    ) -> Result<Content> {
        let started = Instant::now();
        let mut content = self.pull_content(request, reference, lease).await?;
        content.pulled.elapsed = started.elapsed();
        Ok(content)
    }

    /// Writes what is written once after a pull: statistics, and the index for other tools.
    pub(crate) fn finish_pull(&self) -> Result<()> {
        if let Ok(fetcher) = self.fetcher() {
            fetcher.flush();
        }
        self.store()
            .flush()
            .map_err(|source| Error::Store { action: "cannot write index.json".into(), source })
    }

    async fn pull_one(&self, request: &PullRequest, reference: &Reference) -> Result<Pulled> {
        let started = Instant::now();
        let lease = self.lease("pull")?;
        let Content { pulled, root, unpacking } = self.pull_under(request, reference, &lease).await?;
        if let Some(root) = root {
            self.name(reference, &root)?;
        }
        unpacking.finished().await?;
        Ok(Pulled { elapsed: started.elapsed(), ..pulled })
    }

    async fn pull_content(
        &self,
        request: &PullRequest,
        reference: &Reference,
        lease: &Lease,
    ) -> Result<Content> {
        let scope = self.scope(reference, request.auth.clone(), lease)?;
        let selection = match &request.selection {
            Some(selection) => selection.clone(),
            None => self.default_selection()?,
        };
        let attached = request.attached.unwrap_or(self.config().attached);
        let fetcher = self.fetcher()?;
        let (resolved, news) = tokio::join!(fetcher.resolve(&scope), async {
            match attached && !request.dry_run {
                true => self.attached_since(&scope, &selection).await,
                false => Ok(None),
            }
        });
        let (root, _) = resolved?;
        let asked = match &request.selection {
            Some(Selection::Only(platforms)) => Some(platforms.as_slice()),
            _ => None,
        };
        if let Some(mut pulled) = self.up_to_date(reference, &root, &selection, asked)? {
            if !request.dry_run {
                self.confirm(reference)?;
            }
            if let Some(news) = news? {
                self.admit(&news)?;
                self.name_attached(&news)?;
                pulled.attached = news.attached;
                pulled.downloaded = news.downloaded;
                pulled.up_to_date = news.downloaded == 0;
            }
            return Ok(Content { pulled, root: None, unpacking: Unpacking::default() });
        }
        let mut plan = self.plan(&scope, &root, &selection).await?;
        // An index was asked for them already.
        let wanted = asked.filter(|_| plan.documents.len() == 1);
        let failed =
            |source| Error::Store { action: format!("cannot look up the blobs of {reference}"), source };
        let digests: Vec<Digest> = plan.blobs.iter().map(|blob| blob.digest).collect();
        lease.add(&digests).map_err(failed)?;
        let missing: HashSet<Digest> = self.store().missing(&digests).map_err(failed)?.into_iter().collect();
        let missing_bytes =
            plan.blobs.iter().filter(|blob| missing.contains(&blob.digest)).map(|blob| blob.size).sum();
        let blobs = plan.blobs.clone();
        let mut unpacking = Unpacking::default();
        if request.dry_run {
            if let Some(platforms) = wanted {
                let configs = self.configs(&scope, &plan.documents).await?;
                check_platform(&scope, &plan.documents, &configs, platforms)?;
                plan.downloaded += configs.land().await?;
            }
            plan.land().await?;
        } else {
            let unpack = request.unpack.as_ref();
            let (moved, extra) = tokio::join!(self.bring(&scope, &plan, &missing, unpack, wanted), async {
                // The layers are asked for first.
                tokio::task::yield_now().await;
                match attached {
                    true => self.attached(&scope, &plan).await,
                    false => Ok(Plan::default()),
                }
            });
            let landed = plan.land().await;
            let (moved, rest) = moved?;
            let extra = extra?;
            unpacking = rest;
            plan.downloaded += moved + extra.downloaded;
            landed?;
            plan.attached = extra.attached;
            self.admit(&plan)?;
            self.name_attached(&extra)?;
        }
        let documents: u64 = plan.documents.iter().map(|document| document.raw().len() as u64).sum();
        let pulled = Pulled {
            digest: root.digest,
            platforms: self.platforms(&plan.documents)?,
            size: documents + blobs.iter().map(|blob| blob.size).sum::<u64>(),
            blobs: plan.documents.len() + blobs.len(),
            missing: missing.len(),
            missing_bytes,
            downloaded: plan.downloaded,
            attached: plan.attached,
            up_to_date: false,
            elapsed: Duration::ZERO,
        };
        Ok(Content { pulled, root: (!request.dry_run).then_some(root), unpacking })
    }

    /// What is attached now to an image that is here: signatures are made after images. Only where the registry is asked about
    /// the tag anyway, and at the same time.
    async fn attached_since(&self, scope: &Scope, selection: &Selection) -> Result<Option<Plan>> {
        let reference = &scope.reference;
        if reference.digest().is_some() || !self.config().tag_ttl.0.is_zero() {
            return Ok(None);
        }
        let failed = |source| Error::Store { action: format!("cannot look up {reference}"), source };
        let Some(name) = self.store().name(reference).map_err(failed)? else { return Ok(None) };
        // What is damaged or lost is pulled as if it were new, with what is attached to it.
        let Ok(graph) = self.graph(&name.descriptor.digest, selection) else { return Ok(None) };
        let here = Plan { documents: graph.documents, ..Plan::default() };
        self.attached(scope, &here).await.map(Some)
    }

    /// Names what is attached by tag, where that is news.
    fn name_attached(&self, attached: &Plan) -> Result<()> {
        for (name, descriptor) in &attached.tags {
            let failed = |source| Error::Store { action: format!("cannot look up {name}"), source };
            let known = self.store().name(name).map_err(failed)?;
            if known.is_none_or(|known| known.descriptor.digest != descriptor.digest) {
                self.name(name, descriptor)?;
            }
        }
        Ok(())
    }

    /// The report of an image that is whole already, under the same name, at the same digest.
    fn up_to_date(
        &self,
        reference: &Reference,
        root: &Descriptor,
        selection: &Selection,
        asked: Option<&[Platform]>,
    ) -> Result<Option<Pulled>> {
        let failed = |source| Error::Store { action: format!("cannot look up {reference}"), source };
        let known = self.store().name(reference).map_err(failed)?;
        if known.is_none_or(|name| name.descriptor.digest != root.digest) {
            return Ok(None);
        }
        let graph = match self.graph(&root.digest, selection) {
            Ok(graph) => graph,
            // Something below was lost or damaged: pull it as if it were new.
            Err(error) if matches!(error.kind(), Kind::NotFound | Kind::Corrupt) => return Ok(None),
            Err(error) => return Err(error),
        };
        // The files themselves, not only what the database says: a pull is when a lost one can be brought again.
        for blob in &graph.blobs {
            if self.store().blob(&blob.digest).map_err(failed)?.is_none() {
                return Ok(None);
            }
        }
        if !graph.absent.is_empty() {
            return Ok(None);
        }
        if let ([document], Some(asked)) = (graph.documents.as_slice(), asked)
            && let Manifest::Image(image) = document.manifest()
            && let Ok(config) = self.image_config(image, &document.digest().to_string())
            && !asked.iter().any(|platform| larder_fetch::runs_on(&config, platform))
        {
            // For another platform: pulling it says so.
            return Ok(None);
        }
        let index = graph.documents.last().map(Document::manifest);
        if let (Some(Manifest::Index(index)), Selection::Only(_)) = (index, selection)
            && index.select(selection).is_err()
        {
            return Ok(None);
        }
        Ok(Some(Pulled {
            digest: root.digest,
            platforms: self.platforms(&graph.documents)?,
            size: graph.size(),
            blobs: graph.documents.len() + graph.blobs.len(),
            missing: 0,
            missing_bytes: 0,
            downloaded: 0,
            attached: 0,
            up_to_date: true,
            elapsed: Duration::ZERO,
        }))
    }

    /// Brings all documents that the selection needs and lists the blobs below them.
    async fn plan(&self, scope: &Scope, root: &Descriptor, selection: &Selection) -> Result<Plan> {
        let mut plan = Plan::default();
        self.gather(scope, root, selection, &mut plan).await?;
        let root_document = plan.documents.last();
        if let Some(Manifest::Index(index)) = root_document.map(Document::manifest)
            && let Selection::Only(_) = selection
        {
            let offered = index.platforms();
            index.select(selection).map_err(|missing| larder_fetch::Error::Platform {
                reference: scope.reference.familiar(),
                missing,
                offered,
            })?;
        }
        Ok(plan)
    }

    pub(crate) async fn gather(
        &self,
        scope: &Scope,
        root: &Descriptor,
        selection: &Selection,
        plan: &mut Plan,
    ) -> Result<()> {
        let fetcher = self.fetcher()?;
        // Depth first, children before parents: when a parent is stored, its children are.
        let mut stack = vec![(root.clone(), false, 0_u32)];
        let mut parsed: Vec<Document> = Vec::new();
        while let Some((descriptor, done, depth)) = stack.pop() {
            if done {
                if let Some(at) = parsed.iter().rposition(|document| document.digest() == descriptor.digest) {
                    plan.documents.push(parsed.swap_remove(at));
                }
                continue;
            }
            if !plan.seen.insert(descriptor.digest) || depth > 8 {
                continue;
            }
            let (document, landing) = fetcher.early_document(scope, &descriptor).await?;
            plan.landings.push(landing);
            stack.push((descriptor, true, depth));
            match document.manifest() {
                Manifest::Index(index) => {
                    for child in selected(index, selection) {
                        if child.media_type.is_manifest() || child.media_type.is_index() {
                            stack.push((child.clone(), false, depth + 1));
                        } else if plan.seen.insert(child.digest) {
                            plan.blobs.push(child.clone());
                        }
                    }
                }
                manifest => {
                    for child in manifest.children() {
                        if plan.seen.insert(child.digest) {
                            plan.blobs.push(child.clone());
                        }
                    }
                }
            }
            parsed.push(document);
        }
        Ok(())
    }

    /// Readies a pulled image for mounting; layers that were unpacked while they arrived cost nothing here.
    async fn unpack_layers(&self, reference: &Reference, platform: &Platform) -> Result<()> {
        let (engine, reference, platform) = (self.clone(), reference.clone(), platform.clone());
        let task = tokio::task::spawn_blocking(move || {
            let lease = engine.lease("unpack")?;
            engine.prepare(&reference, &platform, None, &lease).map(drop)
        });
        task.await.map_err(|_| Error::Task { what: "unpacking layers" })?
    }

    /// The platforms of the image manifests among `documents`.
    pub(crate) fn platforms(&self, documents: &[Document]) -> Result<Vec<Platform>> {
        let mut platforms = Vec::new();
        for document in documents {
            match document.manifest() {
                Manifest::Index(index) => {
                    let here = |child: &&Descriptor| {
                        documents.iter().any(|document| document.digest() == child.digest)
                    };
                    let listed =
                        index.manifests.iter().filter(here).filter_map(|child| child.platform.clone());
                    platforms
                        .extend(listed.filter(|platform| platform.os != "unknown").map(Platform::normalized));
                }
                Manifest::Image(image) if documents.len() == 1 => {
                    if let Ok(config) = self.image_config(image, &document.digest().to_string()) {
                        platforms.push(config.platform);
                    }
                }
                _ => {}
            }
        }
        platforms.dedup();
        Ok(platforms)
    }

    /// Records that nothing forbids the image. Trust has a say here once a policy is configured.
    fn admit(&self, plan: &Plan) -> Result<()> {
        for document in &plan.documents {
            let failed = |source| Error::Store {
                action: format!("cannot record a verdict for {}", document.digest()),
                source,
            };
            self.store().admit(&document.digest(), "no policy is configured").map_err(failed)?;
        }
        Ok(())
    }

    pub(crate) fn name(&self, reference: &Reference, descriptor: &Descriptor) -> Result<()> {
        let failed = |source| Error::Store { action: format!("cannot name {reference}"), source };
        self.store().set_name(reference, descriptor).map_err(failed)
    }

    fn confirm(&self, reference: &Reference) -> Result<()> {
        let failed = |source| Error::Store { action: format!("cannot confirm {reference}"), source };
        self.store().confirm_name(reference).map(drop).map_err(failed)
    }

    /// Pulls a graph into the store under a lease, without naming it. What is attached by tag needs names for a while; those that
    /// are new are returned. Used by copies.
    pub(crate) async fn pull_unnamed(
        &self,
        reference: &Reference,
        selection: &Selection,
        attached: bool,
        auth: Option<Auth>,
        lease: &Lease,
    ) -> Result<(Descriptor, Vec<Reference>)> {
        let scope = self.scope(reference, auth, lease)?;
        let (root, _) = self.fetcher()?.resolve(&scope).await?;
        let mut plan = self.plan(&scope, &root, selection).await?;
        let digests: Vec<Digest> = plan.blobs.iter().map(|blob| blob.digest).collect();
        let failed =
            |source| Error::Store { action: format!("cannot look up the blobs of {reference}"), source };
        lease.add(&digests).map_err(failed)?;
        let missing = self.store().missing(&digests).map_err(failed)?.into_iter().collect();
        self.bring(&scope, &plan, &missing, None, None).await?;
        plan.land().await?;
        let mut names = Vec::new();
        if attached {
            let extra = self.attached(&scope, &plan).await?;
            for (name, descriptor) in &extra.tags {
                if self.store().name(name).map_err(failed)?.is_none() {
                    names.push(name.clone());
                }
                self.name(name, descriptor)?;
            }
        }
        self.admit(&plan)?;
        Ok((root, names))
    }
}
