//! Blobs: each is brought once, however many ask, and everybody reads along from the first byte.
//!
//! The transfer is a task of its own and goes on when nobody reads any more. An interrupted one is continued where it
//! stopped. Bytes that do not hash to the name leave nothing behind, and everybody who read them gets an error at the end.
//!
//! Only those who ask the same registry share a transfer: what one registry sends is never shown to who asks another. A blob
//! that is being written for another registry, or by another process, is waited for a while, and then brought aside.

use super::access::{Identity, Who};
use super::describe::unknown_type;
use super::flights::Flights;
use super::lately::Lately;
use super::source::Source;
use super::trouble::{self, Word};
use super::writer::Writer;
use super::{Shared, blocking};
use larder_core::{Classify, Descriptor, Digest, Event, Kind, MediaType, Registry, RepositoryName, Tier};
use larder_remote::Repo;
use larder_server::{Bringing, Caller, Trouble};
use larder_store::{Begin, BlobKind, Follower, Ingest, Lease};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

type Lanes = Arc<Mutex<HashMap<(Registry, Digest), Lane>>>;

/// The transfers under way.
pub(super) struct Transfers {
    lanes: Lanes,
    /// From whom the bytes come that an interrupted transfer left behind.
    left: Lately<Digest, Registry>,
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
struct Landing(Lanes, (Registry, Digest));

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

/// What one transfer is about.
pub(super) struct Order {
    pub(super) source: Arc<Source>,
    pub(super) repository: RepositoryName,
    pub(super) digest: Digest,
    pub(super) who: Who,
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
/// How long it is waited for.
const BUSY_PATIENCE: Duration = Duration::from_secs(10);
/// Transfers that were interrupted, remembered at once.
const LEFT: usize = 4096;

/// Whose turn it is to write a blob.
enum Turn {
    Ours(Box<Ingest>),
    /// It is here by now.
    Done,
    /// Somebody's for whom it is not worth waiting.
    Theirs,
}

impl Transfers {
    pub(super) fn new() -> Self {
        Self { lanes: Lanes::default(), left: Lately::new(LEFT), proofs: Flights::default() }
    }

    /// Whether another registry claims another length: one of both is wrong, and what is wrong is not worth waiting for.
    fn contradicted(&self, registry: &Registry, descriptor: &Descriptor) -> bool {
        let lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.iter().any(|((other, digest), lane)| {
            other != registry
                && *digest == descriptor.digest
                && matches!(&*lane.stage.borrow(), Stage::Coming(_, size) if *size != descriptor.size)
        })
    }

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
            // One that is here and not held yet may have come a moment ago: then its transfer is about to write that down.
            let landing = if here { self.lane_of(&order) } else { None };
            if here && landing.is_none() {
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
            let (lane, leads) = match landing {
                Some(lane) => (lane, false),
                None => self.board(&order),
            };
            if !leads && !held && lane.repository != *repository {
                self.prove(&order).await?;
            }
            let elsewhere = lane.repository != *repository;
            match lane.opened().await {
                Stage::Coming(follower, size) => {
                    return Ok(Bringing::Coming { follower: follower.again(), size });
                }
                Stage::Here => return Ok(Bringing::Here),
                // That was the answer for somebody else.
                Stage::Failed(trouble) if !leads && matches!(trouble.kind, Kind::Denied | Kind::NotFound) => {
                    last = Some(trouble);
                }
                // What went wrong in another repository need not go wrong in this one.
                Stage::Failed(trouble) if !leads && elsewhere => last = Some(trouble),
                Stage::Failed(trouble) if may_be_nobody(&trouble) => {
                    (last, refused) = (Some(trouble), true);
                }
                Stage::Failed(trouble) => return Err(trouble),
                Stage::Opening => return Err(trouble::lost("bringing a blob")),
            }
        }
        Err(last.unwrap_or_else(|| trouble::lost("bringing a blob")))
    }

    /// [`larder_server::OnMiss::blob_size`]. A question costs no download.
    pub(super) async fn blob_size(
        self: &Arc<Self>,
        repository: &RepositoryName,
        digest: &Digest,
        caller: &Caller,
    ) -> Result<u64, Trouble> {
        let source = self.source(repository)?;
        if source.settings.offline {
            let message = format!("{repository}@{digest} is not in the store");
            return Err(trouble::plain(Kind::NotFound, message));
        }
        let who = self.who(&source, repository, caller).await?;
        let who = self.asker(&source, repository, who);
        self.known_absent(&source, &who, repository, &digest.to_string())?;
        let order = |who| Order {
            source: source.clone(),
            repository: repository.clone(),
            digest: *digest,
            who,
            held: false,
        };
        let first = order(who);
        let asked = self.ask_size(&first, &source.desk(repository, &first.who.auth)).await;
        match asked {
            Err(trouble)
                if trouble.kind == Kind::Denied && self.may_be_nobody(&source, repository, &first.who) =>
            {
                let nobody = order(Who::nobody());
                self.ask_size(&nobody, &source.desk(repository, &nobody.who.auth)).await
            }
            asked => asked,
        }
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

    /// The transfer of the blob on the word of the same repository, if there is one.
    fn lane_of(&self, order: &Order) -> Option<Lane> {
        let lanes = self.transfers.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (order.source.registry.clone(), order.digest);
        lanes.get(&key).filter(|lane| lane.repository == order.repository).cloned()
    }

    /// Joins the transfer of a blob, or starts it; says which.
    fn board(self: &Arc<Self>, order: &Order) -> (Lane, bool) {
        let mut lanes = self.transfers.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (order.source.registry.clone(), order.digest);
        if let Some(lane) = lanes.get(&key) {
            return (lane.clone(), false);
        }
        let (sender, stage) = watch::channel(Stage::Opening);
        let lane = Lane { repository: order.repository.clone(), stage };
        lanes.insert(key.clone(), lane.clone());
        let landing = Landing(self.transfers.lanes.clone(), key);
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
            let turn = self.begin(&order.source.registry, &descriptor, &lease).await?;
            if matches!(turn, Turn::Done) {
                // Somebody else brought it, on another word than ours.
                return if order.held { Ok(()) } else { self.prove(order).await };
            }
            let _slot = order.source.slot(descriptor.size).await;
            let brought = match turn {
                Turn::Done => Ok(()),
                Turn::Ours(ingest) => self.pump(order, &repo, &descriptor, *ingest, stage).await,
                Turn::Theirs => self.detour(order, &repo, &descriptor, &lease).await,
            };
            match brought {
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
        let left = self.transfers.left.get(&order.digest, self.now(), Duration::MAX);
        if kept > 0 && left.is_some_and(|left| left != order.source.registry) {
            // What another registry sent is not what this one's readers are shown.
            ingest = self.emptied(ingest).await?;
            kept = 0;
        }
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
                    self.transfers.left.put(order.digest, order.source.registry.clone(), self.now());
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
    pub(super) async fn refused(&self, order: &Order, what: &str, error: &larder_remote::Error) -> Trouble {
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

    /// The right to write the blob.
    async fn begin(
        &self,
        registry: &Registry,
        descriptor: &Descriptor,
        lease: &Lease,
    ) -> Result<Turn, Trouble> {
        let asked = Instant::now();
        loop {
            let (store, lease) = (self.store().clone(), lease.clone());
            let (digest, size) = (descriptor.digest, descriptor.size);
            let begun = blocking(move || store.begin(&digest, Some(size), &lease)).await?;
            match begun.map_err(|error| trouble::store(&error))? {
                Begin::Exists(_) => return Ok(Turn::Done),
                Begin::Ingest(ingest) => return Ok(Turn::Ours(Box::new(ingest))),
                Begin::Busy
                    if asked.elapsed() >= BUSY_PATIENCE
                        || self.transfers.contradicted(registry, descriptor) =>
                {
                    return Ok(Turn::Theirs);
                }
                Begin::Busy => tokio::time::sleep(BUSY_POLL).await,
            }
        }
    }

    /// Asks whether this repository has a blob that is in the store, and writes it down.
    async fn prove(&self, order: &Order) -> Result<(), Trouble> {
        // Written down meanwhile, by a transfer that was about to land when this was looked up.
        let (place, wanted) = (order.repository.clone(), order.digest);
        if self.on_disk(move |store| store.holds(&place, &wanted)).await? {
            return Ok(());
        }
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

fn kind_of(media_type: &MediaType) -> BlobKind {
    if media_type.is_layer() {
        BlobKind::Layer
    } else if media_type.is_image_config() {
        BlobKind::Config
    } else {
        BlobKind::Other
    }
}
