//! Manifests: what a tag stands for now, and documents by digest.

use super::access::{Identity, Who};
use super::lately::is_within;
use super::source::{Refusal, Source};
use super::trouble::{self, Word};
use super::{Leased, Shared, blocking};
use larder_core::{Algorithm, Classify, Descriptor, Digest, Document, Event, Kind, RepositoryName, Tag};
use larder_server::{Caller, Found, Freshness, Selector, Trouble};
use larder_store::{Begin, BlobKind, Lease};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// What the store knows about a tag. Its document is there.
struct Known {
    descriptor: Descriptor,
    checked: SystemTime,
}

/// What an answer of a question's flight is: on whose behalf it was asked, and what came.
pub(super) type Flown = (Identity, Result<Found, Trouble>);

/// A flight's key: an identity only where the answer for another was no.
pub(super) type FlightKey = (Option<Identity>, RepositoryName, Selector);

/// What was heard while asking for access is used at once, however short the configured time is.
const JUST_NOW: Duration = Duration::from_secs(1);
/// How often a blob that another process writes is looked at.
const BUSY_POLL: Duration = Duration::from_millis(20);

impl Shared {
    /// [`larder_server::OnMiss::manifest`].
    pub(super) async fn manifest(
        self: &Arc<Self>,
        repository: &RepositoryName,
        selector: &Selector,
        caller: &Caller,
    ) -> Result<Found, Trouble> {
        let source = self.source(repository)?;
        self.touched.note(repository, selector);
        let known = self.known(&source, repository, selector).await?;
        if let Some(found) = self.fresh(&source, known.as_ref(), selector) {
            return Ok(found);
        }
        let absent =
            || trouble::plain(Kind::NotFound, format!("{repository} {selector} is not in the store"));
        if source.settings.offline {
            let found =
                known.map(|known| Found { descriptor: known.descriptor, freshness: Freshness::Fresh });
            return found.ok_or_else(absent);
        }
        let mut who = match self.who(&source, repository, caller).await {
            Ok(who) => self.asker(&source, repository, who),
            Err(trouble) => return self.stale(&source, repository, selector, known, trouble),
        };
        self.known_absent(&source, &who, repository, &selector.to_string())?;
        let mut lane = None;
        loop {
            let key = (lane, repository.clone(), selector.clone());
            let (shared, asked, place) = (self.clone(), source.clone(), repository.clone());
            let (selector, asker) = (selector.clone(), who.clone());
            let work = || async move {
                let outcome = match &selector {
                    Selector::Tag(tag) => Box::pin(shared.ask_tag(&asked, &place, tag, &asker)).await,
                    Selector::Digest(digest) => {
                        Box::pin(shared.ask_digest(&asked, &place, digest, &asker)).await
                    }
                };
                (asker.identity, outcome)
            };
            let flown = self.flights.run(key, work).await;
            let (asker, outcome) = flown.ok_or_else(|| trouble::lost("a manifest"))?;
            match outcome {
                // That was the answer for somebody else's credential.
                Err(trouble)
                    if asker != who.identity
                        && lane.is_none()
                        && matches!(trouble.kind, Kind::Denied | Kind::NotFound) =>
                {
                    lane = Some(who.identity);
                }
                Err(trouble)
                    if trouble.kind == Kind::Denied && self.may_be_nobody(&source, repository, &who) =>
                {
                    who = Who::nobody();
                }
                outcome => return outcome,
            }
        }
    }

    /// What the store can answer with, whatever its age.
    async fn known(
        &self,
        source: &Source,
        repository: &RepositoryName,
        selector: &Selector,
    ) -> Result<Option<Known>, Trouble> {
        let store = self.store();
        let failed = |error| trouble::store(&error);
        let tag = match selector {
            Selector::Tag(tag) => tag,
            Selector::Digest(digest) => {
                if !store.holds(repository, digest).map_err(failed)? {
                    return Ok(None);
                }
                let descriptor = self.stored(repository, digest).await?;
                return Ok(descriptor.map(|descriptor| Known { descriptor, checked: self.now() }));
            }
        };
        let cached = store.cached(repository, tag.as_str()).map_err(failed)?;
        let mut known = cached.map(|cached| Known { descriptor: cached.descriptor, checked: cached.checked });
        if !known.as_ref().is_some_and(|known| self.is_fresh(source, known)) {
            // What was pulled or pushed under this name counts too.
            let name = store.name(&repository.tagged(tag.clone())).map_err(failed)?;
            let name = name.map(|name| Known { descriptor: name.descriptor, checked: name.checked });
            known = [known, name].into_iter().flatten().max_by_key(|known| known.checked);
        }
        let Some(known) = known else { return Ok(None) };
        Ok(store.contains(&known.descriptor.digest).map_err(failed)?.then_some(known))
    }

    fn is_fresh(&self, source: &Source, known: &Known) -> bool {
        is_within(known.checked, self.now(), source.settings.tag_ttl.0)
    }

    /// What needs no question: young enough, or immutable.
    fn fresh(&self, source: &Source, known: Option<&Known>, selector: &Selector) -> Option<Found> {
        let known = known?;
        let fresh = matches!(selector, Selector::Digest(_)) || self.is_fresh(source, known);
        fresh.then(|| Found { descriptor: known.descriptor.clone(), freshness: Freshness::Fresh })
    }

    /// The last thing that is known, where the upstream has no word to say.
    fn stale(
        &self,
        source: &Source,
        repository: &RepositoryName,
        selector: &Selector,
        known: Option<Known>,
        trouble: Trouble,
    ) -> Result<Found, Trouble> {
        let Some(known) = known else { return Err(trouble) };
        source.health.stood_in();
        self.warn(format!("{repository} {selector} is served as it was known before: {trouble}"));
        Ok(Found { descriptor: known.descriptor, freshness: Freshness::Stale })
    }

    async fn ask_tag(
        &self,
        source: &Source,
        repository: &RepositoryName,
        tag: &Tag,
        who: &Who,
    ) -> Result<Found, Trouble> {
        let selector = Selector::Tag(tag.clone());
        // Somebody may have asked a moment ago.
        let known = self.known(source, repository, &selector).await?;
        if let Some(found) = self.fresh(source, known.as_ref(), &selector) {
            return Ok(found);
        }
        let heard = self.heard(source, repository, &selector);
        if heard.is_none()
            && source.health.is_resting(self.now())
            && let Some(known) = known
        {
            source.health.stood_in();
            return Ok(Found { descriptor: known.descriptor, freshness: Freshness::Stale });
        }
        let what = format!("what does {repository}:{tag} stand for");
        let hurry = source.hurry(known.is_some());
        let claimed = match heard {
            Some(descriptor) => Ok(descriptor),
            None => {
                let desk = source.desk(repository, &who.auth);
                source.ask(&what, who, hurry, desk.resolve(tag.as_str())).await
            }
        };
        let outcome = match claimed {
            Ok(claimed) => {
                self.accept(&(who.identity, repository.clone())).await;
                self.settle(source, repository, tag, who, &claimed, known.as_ref()).await
            }
            Err(refusal) => Err(refusal),
        };
        let refusal = match outcome {
            Ok(found) => return Ok(found),
            Err(refusal) => refusal,
        };
        match refusal.word {
            Word::Denied => self.deny(&(who.identity, repository.clone()), &refusal.trouble).await,
            Word::NotFound => {
                self.note_absent(who, repository, tag.as_str(), &refusal.trouble);
                // Somebody who may not read the repository is told the same.
                if self.is_accepted(source, &(who.identity, repository.clone())) {
                    self.forget_tag(repository, tag).await;
                }
            }
            Word::None => return self.stale(source, repository, &selector, known, refusal.trouble),
        }
        Err(refusal.trouble)
    }

    /// Makes a tag stand for what the upstream says.
    async fn settle(
        &self,
        source: &Source,
        repository: &RepositoryName,
        tag: &Tag,
        who: &Who,
        claimed: &Descriptor,
        known: Option<&Known>,
    ) -> Result<Found, Refusal> {
        let ours = |trouble| Refusal { word: Word::None, trouble };
        let failed = |error| ours(trouble::store(&error));
        let store = self.store();
        if let Some(known) = known.filter(|known| known.descriptor.digest == claimed.digest) {
            let cached = store.cached(repository, tag.as_str()).map_err(failed)?;
            let same = cached.is_some_and(|cached| cached.descriptor.digest == claimed.digest);
            if same {
                let (place, tag) = (repository.clone(), tag.clone());
                let confirmed = self.on_disk(move |store| store.confirm_cached(&place, tag.as_str()));
                confirmed.await.map_err(ours)?;
            } else {
                self.remember(repository, tag.as_str(), &known.descriptor).await.map_err(ours)?;
            }
            let descriptor = known.descriptor.clone();
            return Ok(Found { descriptor, freshness: Freshness::Confirmed });
        }
        let lease = self.lease_on(&claimed.digest).await.map_err(ours)?;
        if let Some(descriptor) = self.stored(repository, &claimed.digest).await.map_err(ours)? {
            self.remember(repository, tag.as_str(), &descriptor).await.map_err(ours)?;
            return Ok(Found { descriptor, freshness: Freshness::Confirmed });
        }
        let (repo, hurry) = (source.desk(repository, &who.auth), source.hurry(known.is_some()));
        let what = format!("bring {repository}:{tag}");
        let digest = claimed.digest.to_string();
        let by_digest = repo.manifest(&digest);
        let (document, digest) = match source.ask(&what, who, hurry, by_digest).await {
            Ok(document) => (document, claimed.digest),
            // The tag has moved and left nothing behind, or the header named something else: the content itself decides. Not
            // where content came that does not hash to its name: then it is nobody's word.
            Err(refusal) if refusal.word == Word::NotFound => {
                let by_tag = repo.manifest(tag.as_str());
                let document = source.ask(&what, who, hurry, by_tag).await?;
                let digest = document.digest();
                (document, digest)
            }
            Err(refusal) => return Err(refusal),
        };
        let descriptor = self.keep(source, repository, &document, &digest, &lease).await.map_err(ours)?;
        self.remember(repository, tag.as_str(), &descriptor).await.map_err(ours)?;
        Ok(Found { descriptor, freshness: Freshness::Fetched })
    }

    async fn ask_digest(
        &self,
        source: &Source,
        repository: &RepositoryName,
        digest: &Digest,
        who: &Who,
    ) -> Result<Found, Trouble> {
        let selector = Selector::Digest(*digest);
        let lease = self.lease_on(digest).await?;
        let known = self.known(source, repository, &selector).await?;
        if let Some(found) = self.fresh(source, known.as_ref(), &selector) {
            return Ok(found);
        }
        let what = format!("bring {repository}@{digest}");
        let outcome = match self.stored(repository, digest).await? {
            // It came for another repository: that this one has it too is for the upstream to say.
            Some(descriptor) => {
                let heard = self.heard(source, repository, &selector);
                let desk = source.desk(repository, &who.auth);
                let proven = match heard {
                    Some(_) => Ok(()),
                    None => source.ask(&what, who, None, desk.resolve(&digest.to_string())).await.map(drop),
                };
                proven.map(|()| Found { descriptor, freshness: Freshness::Confirmed })
            }
            None => {
                let repo = source.desk(repository, &who.auth);
                match source.ask(&what, who, None, repo.manifest(&digest.to_string())).await {
                    Ok(document) => {
                        let descriptor = self.keep(source, repository, &document, digest, &lease).await?;
                        Ok(Found { descriptor, freshness: Freshness::Fetched })
                    }
                    Err(refusal) => Err(refusal),
                }
            }
        };
        let key = (who.identity, repository.clone());
        match outcome {
            Ok(found) => {
                self.accept(&key).await;
                self.note(repository, &found.descriptor).await?;
                Ok(found)
            }
            Err(refusal) => {
                match refusal.word {
                    Word::Denied => self.deny(&key, &refusal.trouble).await,
                    Word::NotFound => {
                        self.note_absent(who, repository, &digest.to_string(), &refusal.trouble);
                    }
                    Word::None => {}
                }
                Err(refusal.trouble)
            }
        }
    }

    /// What was said while access was asked for, once.
    fn heard(&self, source: &Source, repository: &RepositoryName, selector: &Selector) -> Option<Descriptor> {
        let key = (repository.clone(), selector.clone());
        let heard = self.heard.get(&key, self.now(), source.settings.tag_ttl.0.max(JUST_NOW));
        self.heard.forget(&key);
        heard
    }

    /// The stored document, described by what it is. One that is damaged is set aside, and is not there then.
    async fn stored(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
    ) -> Result<Option<Descriptor>, Trouble> {
        let (wanted, progress) = (*digest, self.progress.clone());
        let document = self.on_disk(move |store| match store.document(&wanted) {
            Err(error) if error.kind() == Kind::Corrupt => {
                let message = format!("set aside: {}", larder_core::report(&error));
                progress(Event::Warning { message });
                store.quarantine(&wanted).map(|_| None)
            }
            // A blob that is no document.
            Err(error) if error.kind() == Kind::Invalid => Ok(None),
            read => read,
        });
        let Some(document) = document.await? else { return Ok(None) };
        self.learned.learn(repository, &document, self.now());
        Ok(Some(Descriptor { digest: *digest, ..document.descriptor() }))
    }

    /// A lease that keeps one thing from being collected.
    async fn lease_on(&self, digest: &Digest) -> Result<Leased, Trouble> {
        let (lease, digest) = (self.lease().await?, *digest);
        let extended = Lease::clone(&lease);
        self.on_disk(move |_| extended.add(&[digest])).await?;
        Ok(lease)
    }

    /// Puts a document into the store, under the name it was asked for by.
    async fn keep(
        &self,
        source: &Source,
        repository: &RepositoryName,
        document: &Document,
        digest: &Digest,
        lease: &Lease,
    ) -> Result<Descriptor, Trouble> {
        source.health.sent(document.raw().len() as u64);
        self.learned.learn(repository, document, self.now());
        let (store, document, digest, lease) =
            (self.store().clone(), document.clone(), *digest, lease.clone());
        blocking(move || {
            if digest.algorithm() == Algorithm::Sha256 {
                store.put_document(&document, &lease)?;
            } else {
                put_as(&store, &digest, &document, &lease)?;
            }
            Ok(Descriptor { digest, ..document.descriptor() })
        })
        .await?
        .map_err(|error: larder_store::Error| trouble::store(&error))
    }

    /// Writes down that the upstream has something in a repository. Where nothing else there keeps it, an entry of its own
    /// does, until a policy gives that up.
    pub(super) async fn note(
        &self,
        repository: &RepositoryName,
        descriptor: &Descriptor,
    ) -> Result<(), Trouble> {
        let (place, digest) = (repository.clone(), descriptor.digest);
        let kept = self.on_disk(move |store| store.note_upstream(&place, &digest)).await?;
        if kept { Ok(()) } else { self.remember(repository, &digest.to_string(), descriptor).await }
    }

    /// Writes down what a selector stands for. The document must be under a lease, or known by another name.
    pub(super) async fn remember(
        &self,
        repository: &RepositoryName,
        selector: &str,
        descriptor: &Descriptor,
    ) -> Result<(), Trouble> {
        let (place, selector, descriptor) = (repository.clone(), selector.to_owned(), descriptor.clone());
        self.on_disk(move |store| store.set_cached(&place, &selector, &descriptor)).await
    }
}

/// Stores a document under another digest than SHA-256.
fn put_as(
    store: &larder_store::Store,
    digest: &Digest,
    document: &Document,
    lease: &Lease,
) -> larder_store::Result<()> {
    loop {
        match store.begin(digest, Some(document.raw().len() as u64), lease)? {
            Begin::Exists(_) => return Ok(()),
            Begin::Busy => std::thread::sleep(BUSY_POLL),
            Begin::Ingest(mut ingest) => {
                ingest.reset()?;
                ingest.write(document.raw())?;
                return ingest.commit(BlobKind::Manifest).map(drop);
            }
        }
    }
}
