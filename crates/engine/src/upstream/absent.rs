//! What upstreams said they do not have.

use super::Shared;
use super::access::{Identity, Who};
use super::lately::Lately;
use super::source::Source;
use larder_core::{RepositoryName, Tag};
use larder_server::Trouble;

/// "There is no such thing", for a while, per identity: what one may not see is hidden from it, not absent.
pub(super) type Absent = Lately<(Identity, RepositoryName, String), Trouble>;

/// Entries that are remembered at once.
pub(super) const MOST: usize = 65_536;

impl Shared {
    /// Fails if the upstream said lately that it does not have this.
    pub(super) fn known_absent(
        &self,
        source: &Source,
        who: &Who,
        repository: &RepositoryName,
        selector: &str,
    ) -> Result<(), Trouble> {
        let key = (who.identity, repository.clone(), selector.to_owned());
        self.absent.get(&key, self.now(), source.settings.negative_ttl.0).map_or(Ok(()), Err)
    }

    /// The upstream does not have this, as far as this identity may see.
    pub(super) fn note_absent(
        &self,
        who: &Who,
        repository: &RepositoryName,
        selector: &str,
        trouble: &Trouble,
    ) {
        let key = (who.identity, repository.clone(), selector.to_owned());
        self.absent.put(key, trouble.clone(), self.now());
    }

    /// A tag that stood for something does so no more: it must not come back when the upstream cannot be asked. What it
    /// stood for stays until it is collected, for those who know its digest.
    pub(super) async fn forget_tag(&self, repository: &RepositoryName, tag: &Tag) {
        let (place, selector) = (repository.clone(), tag.clone());
        let outcome = self.on_disk(move |store| {
            let Some(cached) = store.cached(&place, selector.as_str())? else { return Ok(()) };
            if store.contains(&cached.descriptor.digest)? {
                store.set_cached(&place, &cached.descriptor.digest.to_string(), &cached.descriptor)?;
            }
            store.remove_cached(&place, selector.as_str()).map(drop)
        });
        if let Err(trouble) = outcome.await {
            self.warn(format!("cannot forget {repository}:{tag}: {trouble}"));
        }
    }
}
