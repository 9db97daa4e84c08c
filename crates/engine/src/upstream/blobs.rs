//! Blobs: each is brought once, however many ask, and everybody reads along from the first byte.
//!
//! The transfer is a task of its own and goes on when nobody reads any more. An interrupted one is continued where it
//! stopped. Bytes that do not hash to the name leave nothing behind, and everybody who read them gets an error at the end.
//!
//! A blob that another process is writing into the same store is waited for, and read when it is whole.

use super::access::{Identity, Who};
use super::flights::Flights;
use super::source::Source;
use super::trouble::{self, Word};
use super::writer::Writer;
use super::{Shared, blocking};
use larder_core::{Classify, Descriptor, Digest, Event, Kind, Manifest, MediaType, RepositoryName, Tier};
use larder_remote::Repo;
use larder_server::{Bringing, Caller, Trouble};
use larder_store::{Begin, BlobKind, Follower, Ingest, Lease};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// The transfers under way.
#[derive(Default)]
pub(super) struct Transfers {
    lanes: Arc<Mutex<HashMap<Digest, Lane>>>,
    proofs: Flights<(Identity, RepositoryName, Digest), Result<(), Trouble>>,
}

#[derive(Clone)]
struct Lane {
    /// On whose word the blob is fetched.
    repository: RepositoryName,
    stage: watch::Receiver<Stage>,
}

/// How far a transfer is.
#[derive(Debug, Clone)]
enum Stage {
    Opening,
    Coming(Arc<Follower>, u64),
    Here,
    Failed(Trouble),
}

/// Frees the lane, also when the transfer panics.
struct Landing(Arc<Mutex<HashMap<Digest, Lane>>>, Digest);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// What one transfer is about.
struct Order {
    source: Arc<Source>,
    repository: RepositoryName,
    digest: Digest,
    who: Who,
    /// The repository is known to have it.
    held: bool,
}

/// Blobs up to this size are shown only when they are whole and verified, so that wrong bytes cost another attempt and not
/// a broken answer.
const WITHHELD: u64 = 64 << 10;
/// How often a failed transfer of somebody else is followed by one of our own.
const ROUNDS: u32 = 3;
/// How often a blob that another process writes is looked at.
const BUSY_POLL: Duration = Duration::from_millis(50);
/// Tags whose manifests are searched for what they say about a blob.
const SEARCHED: usize = 32;

impl Transfers {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

impl Shared {
    /// [`larder_server::OnMiss::blob`].
    pub(super) async fn blob(
        self: &Arc<Self>,
        repository: &RepositoryName,
        digest: &Digest,
        caller: &Caller,
    ) -> Result<Bringing, Trouble> {
        let source = self.source(repository)?;
        let (mut last, mut refused) = (None, false);
        for _ in 0..ROUNDS {
            let held = self.store().holds(repository, digest).map_err(|error| trouble::store(&error))?;
            let here = self.is_here(digest).await?;
            if held && here {
                return Ok(Bringing::Here);
            }
            if source.settings.offline {
                let message = format!("{repository}@{digest} is not in the store");
                return Err(trouble::plain(Kind::NotFound, message));
            }
            let who = self.who(&source, repository, caller).await?;
            let who = if refused { Who::nobody() } else { self.asker(&source, repository, who) };
            self.known_absent(&source, &who, repository, &digest.to_string())?;
            let order =
                Order { source: source.clone(), repository: repository.clone(), digest: *digest, who, held };
            let may_be_nobody = |trouble: &Trouble| {
                trouble.kind == Kind::Denied && self.may_be_nobody(&source, repository, &order.who)
            };
            if here {
                // It came for another repository.
                match self.prove(&order).await {
                    Ok(()) => return Ok(Bringing::Here),
                    Err(trouble) if may_be_nobody(&trouble) => {
                        (last, refused) = (Some(trouble), true);
                        continue;
                    }
                    Err(trouble) => return Err(trouble),
                }
            }
            let (lane, leads) = self.board(&order);
            if !leads && !held && lane.repository != *repository {
                self.prove(&order).await?;
            }
            match lane.opened().await {
                Stage::Coming(follower, size) => {
                    return Ok(Bringing::Coming { follower: follower.again(), size });
                }
                Stage::Here => return Ok(Bringing::Here),
                // That was the answer for somebody else.
                Stage::Failed(trouble) if !leads && matches!(trouble.kind, Kind::Denied | Kind::NotFound) => {
                    last = Some(trouble);
                }
                Stage::Failed(trouble) if may_be_nobody(&trouble) => {
                    (last, refused) = (Some(trouble), true);
                }
                Stage::Failed(trouble) => return Err(trouble),
                Stage::Opening => return Err(trouble::lost("bringing a blob")),
            }
        }
        Err(last.unwrap_or_else(|| trouble::lost("bringing a blob")))
    }

    /// Whether the store has it whole. One that is visibly damaged is fetched again.
    async fn is_here(&self, digest: &Digest) -> Result<bool, Trouble> {
        let digest = *digest;
        let found = self.on_disk(move |store| match store.blob(&digest) {
            Err(error) if error.kind() == Kind::Corrupt => Ok(false),
            found => found.map(|found| found.is_some()),
        });
        found.await
    }

    async fn emptied(&self, mut ingest: Ingest) -> Result<Ingest, Trouble> {
        self.on_disk(move |_| ingest.reset().map(|()| ingest)).await
    }

    /// Joins the transfer of a blob, or starts it; says which.
    fn board(self: &Arc<Self>, order: &Order) -> (Lane, bool) {
        let mut lanes = self.transfers.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lane) = lanes.get(&order.digest) {
            return (lane.clone(), false);
        }
        let (sender, stage) = watch::channel(Stage::Opening);
        let lane = Lane { repository: order.repository.clone(), stage };
        lanes.insert(order.digest, lane.clone());
        let landing = Landing(self.transfers.lanes.clone(), order.digest);
        let order = Order {
            source: order.source.clone(),
            repository: order.repository.clone(),
            who: order.who.clone(),
            ..*order
        };
        let shared = self.clone();
        tokio::spawn(async move {
            let outcome = shared.bring(&order, &sender).await;
            drop(landing);
            let stage = match outcome {
                Ok(()) => Stage::Here,
                Err(trouble) => {
                    shared.warn(format!("blob {} was not brought: {trouble}", order.digest));
                    Stage::Failed(trouble)
                }
            };
            sender.send_replace(stage);
        });
        (lane, true)
    }

    /// Brings a blob into the store, and shows it to those who wait as soon as there is something to see.
    async fn bring(&self, order: &Order, stage: &watch::Sender<Stage>) -> Result<(), Trouble> {
        let lease = self.lease().await?;
        let repo = order.source.repo(&order.repository, &order.who.auth);
        let descriptor = self.describe(order, &repo).await?;
        let limit = order.source.settings.max_blob.0;
        if descriptor.size > limit {
            let message =
                format!("{} has {} bytes, more than the limit of {limit}", order.digest, descriptor.size);
            return Err(trouble::plain(Kind::Unsupported, message));
        }
        let mut again = descriptor.size <= WITHHELD;
        loop {
            let Some(ingest) = self.begin(&descriptor, &lease).await? else {
                // Somebody else brought it, on another word than ours.
                return if order.held { Ok(()) } else { self.prove(order).await };
            };
            let _slot = order.source.slot(descriptor.size).await;
            match self.pump(order, &repo, &descriptor, ingest, stage).await {
                Ok(()) => break,
                Err(trouble) if again && trouble.kind == Kind::Corrupt => {
                    self.warn(format!("fetched once more: {trouble}"));
                    again = false;
                }
                Err(trouble) => return Err(trouble),
            }
        }
        self.accept(&(order.who.identity, order.repository.clone())).await;
        self.note(&order.repository, &Descriptor { urls: Vec::new(), ..descriptor }).await
    }

    /// Moves the bytes.
    async fn pump(
        &self,
        order: &Order,
        repo: &Repo,
        descriptor: &Descriptor,
        mut ingest: Ingest,
        stage: &watch::Sender<Stage>,
    ) -> Result<(), Trouble> {
        let what = format!("blob {} of {}", order.digest, order.repository);
        let mut kept = ingest.offset();
        if kept == descriptor.size && !order.held {
            // Nothing is asked for below, so nothing there proves that this repository has it.
            self.prove(order).await?;
        }
        order.source.health.asking();
        let opened = match Box::pin(repo.blob(descriptor, kept)).await {
            // Where the other side cannot go on in the middle, it begins anew.
            Err(error)
                if kept > 0 && trouble::word(&error) == Word::None && error.kind() != Kind::Unavailable =>
            {
                ingest = self.emptied(ingest).await?;
                kept = 0;
                order.source.health.asking();
                Box::pin(repo.blob(descriptor, 0)).await
            }
            opened => opened,
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(error) => return Err(self.refused(order, &what, &error).await),
        };
        order.source.health.spoke();
        (self.progress)(Event::BlobStarted {
            reference: order.repository.to_string(),
            digest: order.digest,
            size: descriptor.size,
            done: kept,
        });
        let (mut writer, follower) = Writer::start(ingest, kind_of(&descriptor.media_type))?;
        if descriptor.size > WITHHELD {
            stage.send_replace(Stage::Coming(Arc::new(follower), descriptor.size));
        }
        let outcome = loop {
            match stream.next().await {
                Ok(Some(piece)) => {
                    if let Err(trouble) = writer.write(piece).await {
                        break Err(trouble);
                    }
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(self.refused(order, &what, &error).await),
            }
        };
        order.source.health.sent(stream.received());
        self.pressure.add(stream.received());
        let outcome = match outcome {
            Ok(()) => writer.commit().await,
            Err(trouble) => {
                // What a broken line brought is good; what came with a wrong length or range may not be.
                if trouble.kind == Kind::Corrupt {
                    drop(writer.discard().await);
                } else {
                    writer.stop().await;
                }
                Err(trouble)
            }
        };
        match outcome {
            Ok(()) => {
                (self.progress)(Event::BlobFinished { digest: order.digest, tier: Tier::Registry });
                Ok(())
            }
            Err(trouble) => {
                if trouble.kind == Kind::Corrupt {
                    order.source.health.erred();
                    repo.distrust(stream.host());
                }
                Err(Trouble {
                    message: format!("{what} from {}: {}", stream.host(), trouble.message),
                    ..trouble
                })
            }
        }
    }

    /// Notes what a failure means for whoever asks next.
    async fn refused(&self, order: &Order, what: &str, error: &larder_remote::Error) -> Trouble {
        let refusal = order.source.refusal(what, &order.who, error);
        match refusal.word {
            Word::Denied => {
                self.deny(&(order.who.identity, order.repository.clone()), &refusal.trouble).await;
            }
            Word::NotFound => {
                let digest = order.digest.to_string();
                self.note_absent(&order.who, &order.repository, &digest, &refusal.trouble);
            }
            Word::None => {}
        }
        refusal.trouble
    }

    /// The right to write the blob; `None` if it is here by now.
    async fn begin(&self, descriptor: &Descriptor, lease: &Lease) -> Result<Option<Ingest>, Trouble> {
        loop {
            let (store, lease) = (self.store().clone(), lease.clone());
            let (digest, size) = (descriptor.digest, descriptor.size);
            let begun = blocking(move || store.begin(&digest, Some(size), &lease)).await?;
            match begun.map_err(|error| trouble::store(&error))? {
                Begin::Exists(_) => return Ok(None),
                Begin::Ingest(ingest) => return Ok(Some(ingest)),
                Begin::Busy => tokio::time::sleep(BUSY_POLL).await,
            }
        }
    }

    /// Asks whether this repository has a blob that is in the store, and writes it down.
    async fn prove(&self, order: &Order) -> Result<(), Trouble> {
        let repo = order.source.desk(&order.repository, &order.who.auth);
        let what = format!("does {} have {}", order.repository, order.digest);
        let (source, who, digest) = (order.source.clone(), order.who.clone(), order.digest);
        let key = (who.identity, order.repository.clone(), digest);
        let work = || async move {
            match source.ask(&what, &who, None, repo.has_blob(&digest)).await {
                Ok(Some(_)) => Ok(()),
                Ok(None) => Err(trouble::plain(Kind::NotFound, format!("{what}: it does not"))),
                Err(refusal) => Err(refusal.trouble),
            }
        };
        let proof = self.transfers.proofs.run(key, work).await;
        let proof = proof.unwrap_or_else(|| Err(trouble::lost("asking for a blob")));
        match &proof {
            Ok(()) => {
                self.accept(&(order.who.identity, order.repository.clone())).await;
                if let Ok(Some(blob)) = self.on_disk(move |store| store.blob(&digest)).await {
                    let descriptor = Descriptor::new(unknown_type(), digest, blob.size());
                    self.note(&order.repository, &descriptor).await?;
                }
            }
            Err(trouble) if trouble.kind == Kind::NotFound => {
                self.note_absent(&order.who, &order.repository, &order.digest.to_string(), trouble);
            }
            Err(trouble) if trouble.kind == Kind::Denied => {
                self.deny(&(order.who.identity, order.repository.clone()), trouble).await;
            }
            Err(_) => {}
        }
        proof
    }

    /// What is known about a blob before it is fetched: what a manifest says, else what the upstream says.
    async fn describe(&self, order: &Order, repo: &Repo) -> Result<Descriptor, Trouble> {
        let digest = order.digest;
        if let Some(known) = self.learned.about(&order.repository, &digest, self.now()) {
            return Ok(known);
        }
        let (store, repository) = (self.store().clone(), order.repository.clone());
        let found = blocking(move || search(&store, &repository, &digest)).await?;
        if let Some(found) = found.map_err(|error| trouble::store(&error))? {
            return Ok(found);
        }
        let what = format!("how large is {digest} of {}", order.repository);
        match order.source.ask(&what, &order.who, None, repo.has_blob(&digest)).await {
            Ok(Some(size)) => Ok(Descriptor::new(unknown_type(), digest, size)),
            Ok(None) => {
                let trouble = trouble::plain(Kind::NotFound, format!("{} has no {digest}", order.repository));
                self.note_absent(&order.who, &order.repository, &digest.to_string(), &trouble);
                Err(trouble)
            }
            Err(refusal) => {
                if refusal.word == Word::Denied {
                    self.deny(&(order.who.identity, order.repository.clone()), &refusal.trouble).await;
                }
                Err(refusal.trouble)
            }
        }
    }
}

impl Lane {
    /// How it went, as soon as it is known that it goes at all. [`Stage::Opening`] if the task is gone.
    async fn opened(mut self) -> Stage {
        match self.stage.wait_for(|stage| !matches!(stage, Stage::Opening)).await {
            Ok(stage) => stage.clone(),
            Err(_) => Stage::Opening,
        }
    }
}

/// What the stored manifests of a repository say about a blob.
fn search(
    store: &larder_store::Store,
    repository: &RepositoryName,
    digest: &Digest,
) -> larder_store::Result<Option<Descriptor>> {
    for tag in store.tags(repository, None, SEARCHED)? {
        let cached = store.cached(repository, tag.as_str())?.map(|cached| cached.descriptor.digest);
        let root = match cached {
            Some(digest) => Some(digest),
            None => store.name(&repository.tagged(tag))?.map(|name| name.descriptor.digest),
        };
        let Some(Ok(Some(document))) = root.map(|root| store.document(&root)) else { continue };
        let mut documents = vec![document];
        if let Manifest::Index(index) = documents[0].manifest() {
            let below =
                index.manifests.iter().take(SEARCHED).filter_map(|child| store.document(&child.digest).ok());
            documents = below.flatten().collect();
        }
        let children = documents.iter().flat_map(|document| document.manifest().children());
        if let Some(found) = children.into_iter().find(|child| child.digest == *digest) {
            return Ok(Some(found.clone()));
        }
    }
    Ok(None)
}

fn kind_of(media_type: &MediaType) -> BlobKind {
    if media_type.is_layer() {
        BlobKind::Layer
    } else if media_type.is_image_config() {
        BlobKind::Config
    } else {
        BlobKind::Other
    }
}

fn unknown_type() -> MediaType {
    MediaType::new("application/octet-stream")
}
