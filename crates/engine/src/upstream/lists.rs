//! Lists: the tags of a repository, and what is attached to a manifest.

use super::Shared;
use super::access::{Identity, Who};
use super::flights::Flights;
use super::lately::Lately;
use super::source::{Refusal, Source};
use super::trouble::{self, Word};
use larder_core::{Descriptor, Digest, Kind, RepositoryName, Tag};
use larder_server::{Caller, Trouble};
use std::sync::Arc;

/// Lists that were fetched lately.
pub(super) struct Lists {
    tags: Lately<RepositoryName, Arc<Vec<Tag>>>,
    referrers: Lately<(RepositoryName, Digest), Arc<Vec<Descriptor>>>,
    tag_flights: Flights<(Identity, RepositoryName), Fetched<Tag>>,
    referrer_flights: Flights<(Identity, RepositoryName, Digest), Fetched<Descriptor>>,
}

type Fetched<T> = Result<Arc<Vec<T>>, Refusal>;

/// Lists may have many pages.
const PAGES: u32 = 6;
/// Lists kept at once; each is bounded by what is read of one.
const MOST: usize = 256;

impl Lists {
    pub(super) fn new() -> Self {
        Self {
            tags: Lately::new(MOST),
            referrers: Lately::new(MOST),
            tag_flights: Flights::default(),
            referrer_flights: Flights::default(),
        }
    }
}

impl Shared {
    /// [`larder_server::OnMiss::tags`].
    pub(super) async fn tags(
        self: &Arc<Self>,
        repository: &RepositoryName,
        caller: &Caller,
    ) -> Result<Option<Vec<Tag>>, Trouble> {
        let source = self.source(repository)?;
        if source.settings.offline {
            let place = repository.clone();
            let known = self.on_disk(move |store| store.has_repository(&place)).await?;
            let absent = || trouble::plain(Kind::NotFound, format!("{repository} is not in the store"));
            return if known { Ok(None) } else { Err(absent()) };
        }
        let (now, ttl) = (self.now(), source.settings.tag_ttl.0);
        if let Some(known) = self.lists.tags.get(repository, now, ttl) {
            return Ok(Some(known.to_vec()));
        }
        let Some(who) = self.lister(&source, repository, caller).await else { return Ok(None) };
        let (shared, asked, repository) = (self.clone(), source.clone(), repository.clone());
        let key = (who.identity, repository.clone());
        let asker = who.clone();
        let flown = {
            let repository = repository.clone();
            self.lists.tag_flights.run(key, || async move {
                let desk = asked.desk(&repository, &asker.auth);
                let limit = Some(asked.settings.patience.0 * PAGES);
                let what = format!("tags of {repository}");
                let mut tags = asked.ask(&what, &asker, limit, desk.tags()).await?;
                tags.sort_unstable();
                tags.dedup();
                let tags = Arc::new(tags);
                shared.lists.tags.put(repository, tags.clone(), shared.now());
                Ok(tags)
            })
        };
        let outcome = flown.await.ok_or_else(|| trouble::lost("a list of tags"))?;
        Ok(self.listed(&source, &repository, &who, outcome).await?.map(|tags| tags.to_vec()))
    }

    /// [`larder_server::OnMiss::referrers`].
    pub(super) async fn referrers(
        self: &Arc<Self>,
        repository: &RepositoryName,
        subject: &Digest,
        caller: &Caller,
    ) -> Result<Option<Vec<Descriptor>>, Trouble> {
        let source = self.source(repository)?;
        let (now, ttl) = (self.now(), source.settings.tag_ttl.0);
        let place = (repository.clone(), *subject);
        if let Some(known) = self.lists.referrers.get(&place, now, ttl) {
            return Ok(Some(known.to_vec()));
        }
        let Some(who) = self.lister(&source, repository, caller).await else { return Ok(None) };
        let (shared, asked, asker) = (self.clone(), source.clone(), who.clone());
        let key = (who.identity, repository.clone(), *subject);
        let flown = self.lists.referrer_flights.run(key, || async move {
            let desk = asked.desk(&place.0, &asker.auth);
            let limit = Some(asked.settings.patience.0 * PAGES);
            let what = format!("referrers of {}@{}", place.0, place.1);
            let found = asked.ask(&what, &asker, limit, desk.referrers(&place.1, None)).await;
            let found = match found {
                Ok(found) => Arc::new(found),
                // Nothing is attached to what is not there.
                Err(refusal) if refusal.word == Word::NotFound => Arc::default(),
                Err(refusal) => return Err(refusal),
            };
            shared.lists.referrers.put(place, found.clone(), shared.now());
            Ok(found)
        });
        let outcome = flown.await.ok_or_else(|| trouble::lost("a list of referrers"))?;
        Ok(self.listed(&source, repository, &who, outcome).await?.map(|found| found.to_vec()))
    }

    /// Who asks for a list; `None` where it is no use.
    async fn lister(&self, source: &Source, repository: &RepositoryName, caller: &Caller) -> Option<Who> {
        if source.settings.offline {
            return None;
        }
        if source.health.is_resting(self.now()) {
            source.health.stood_in();
            return None;
        }
        match self.who(source, repository, caller).await {
            Ok(who) => Some(self.asker(source, repository, who)),
            Err(trouble) => {
                self.warn(format!("the upstream of {repository} is not asked: {trouble}"));
                None
            }
        }
    }

    async fn listed<T>(
        &self,
        source: &Source,
        repository: &RepositoryName,
        who: &Who,
        outcome: Result<T, Refusal>,
    ) -> Result<Option<T>, Trouble> {
        let key = (who.identity, repository.clone());
        let refusal = match outcome {
            Ok(list) => {
                self.accept(&key).await;
                return Ok(Some(list));
            }
            Err(refusal) => refusal,
        };
        match refusal.word {
            // A registry may let everybody read and nobody list: that is no word about reading.
            Word::Denied if self.is_accepted(source, &key) => Err(refusal.trouble),
            Word::Denied => {
                self.deny(&key, &refusal.trouble).await;
                Err(refusal.trouble)
            }
            Word::NotFound => Err(Trouble { kind: Kind::NotFound, ..refusal.trouble }),
            Word::None => {
                source.health.stood_in();
                self.warn(format!("a list of {repository} is what the store knows: {}", refusal.trouble));
                Ok(None)
            }
        }
    }
}
