//! Who may read what came from elsewhere: whoever the upstream lets, and nobody on the word of another's credential.
//!
//! The upstream is asked with the caller's own credential (or none), per repository, and its word is believed for a
//! configured time. That anybody may read a repository is written down in the store, so that public images are served
//! after a restart while the upstream is away. Credentials are kept only as a hash under a key of this process.
//!
//! What a hosts file adds by itself, mirrors that ask for nothing, headers and client certificates, is the operator's word
//! that everybody behind this server may use it.

use super::Shared;
use super::flights::Flights;
use super::lately::{Lately, is_within};
use super::settings::CredentialSource;
use super::source::{Refusal, Source};
use super::trouble::{self, Word};
use super::vouch::has_account;
use larder_core::{Algorithm, Digest, Hasher, Kind, RepositoryName};
use larder_remote::{Auth, Credential, Scope};
use larder_server::{Caller, Presented, Selector, Trouble};
use std::sync::Arc;

/// On whose behalf the upstream is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Identity {
    /// Nobody's: what it may read is public.
    Anonymous,
    /// The operator's, whatever the keychain says it is at the moment.
    Operator,
    /// A caller's own credential, as a keyed hash.
    Presented(Digest),
}

/// An identity, and what proves it.
#[derive(Debug, Clone)]
pub(super) struct Who {
    pub(super) identity: Identity,
    pub(super) auth: Auth,
}

impl Who {
    pub(super) fn nobody() -> Self {
        Self { identity: Identity::Anonymous, auth: Auth::Anonymous }
    }
}

type Key = (Identity, RepositoryName);

/// What upstreams said about who may read what.
pub(super) struct Access {
    key: [u8; 32],
    accepted: Lately<Key, ()>,
    /// Apart from the accepted, so that a flood of made-up credentials pushes out nobody.
    denied: Lately<Key, Trouble>,
    flights: Flights<(Identity, RepositoryName, Option<Selector>), Result<(), Trouble>>,
}

const MOST: usize = 65_536;

impl Access {
    /// `key` is random and known to this process only.
    pub(super) fn new(key: [u8; 32]) -> Self {
        Self { key, accepted: Lately::new(MOST), denied: Lately::new(MOST), flights: Flights::default() }
    }

    /// Tells credentials apart without keeping them, and without being of use to who reads our memory later.
    fn identity(&self, presented: &Presented) -> Identity {
        let (kind, name, secret) = match presented {
            Presented::Basic { username, password } => (b"b", username.as_str(), password),
            Presented::Bearer(token) => (b"t", "", token),
        };
        let mut inner = Hasher::new(Algorithm::Sha256);
        inner.update(&self.key);
        inner.update(kind);
        inner.update(&(name.len() as u64).to_le_bytes());
        inner.update(name.as_bytes());
        inner.update(secret.reveal().as_bytes());
        let mut outer = Hasher::new(Algorithm::Sha256);
        outer.update(&self.key);
        outer.update(inner.finish().as_bytes());
        Identity::Presented(outer.finish())
    }
}

impl Shared {
    /// [`larder_server::OnMiss::authorize`].
    pub(super) async fn authorize(
        self: &Arc<Self>,
        repository: &RepositoryName,
        about: Option<&Selector>,
        caller: &Caller,
    ) -> Result<(), Trouble> {
        let source = self.source(repository)?;
        if let Some(selector) = about {
            self.touched.note(repository, selector);
        }
        if source.settings.offline {
            return self.vouched(&source, repository, caller).await;
        }
        let (now, ttl) = (self.now(), source.settings.access_ttl.0);
        let public = (Identity::Anonymous, repository.clone());
        if self.access.accepted.get(&public, now, ttl).is_some() {
            return Ok(());
        }
        let who = match self.who(&source, repository, caller).await {
            Ok(who) => who,
            // Nobody can be asked on the operator's behalf now.
            Err(trouble) => return self.without_word(&source, &(Identity::Operator, public.1), trouble),
        };
        let key = (who.identity, repository.clone());
        if self.access.accepted.get(&key, now, ttl).is_some() {
            return Ok(());
        }
        if let Some(trouble) = self.access.denied.get(&key, now, source.settings.negative_ttl.0) {
            return Err(trouble);
        }
        if let Some(selector) = about {
            self.known_absent(&source, &who, repository, &selector.to_string())?;
        }
        let since = self.store().public_since(repository).map_err(|error| trouble::store(&error))?;
        if let Some(since) = since.filter(|since| is_within(*since, now, ttl)) {
            self.access.accepted.put(public, (), since);
            return Ok(());
        }
        let flight = (who.identity, repository.clone(), about.cloned());
        let (shared, repository, about) = (self.clone(), repository.clone(), about.cloned());
        let work = || async move {
            let outcome = shared.ask_access(&source, &repository, about.as_ref(), &who).await;
            match (&outcome, who.identity) {
                (Ok(()), Identity::Operator | Identity::Presented(_)) => {
                    shared.doubt_public(&source, &repository).await;
                }
                // A credential that the upstream does not take is as good as none.
                (Err(trouble), Identity::Presented(_)) if trouble.kind == Kind::Denied => {
                    let known = (Identity::Anonymous, repository.clone());
                    let negative_ttl = source.settings.negative_ttl.0;
                    if shared.access.denied.get(&known, shared.now(), negative_ttl).is_none()
                        && shared
                            .ask_access(&source, &repository, about.as_ref(), &Who::nobody())
                            .await
                            .is_ok()
                    {
                        return Ok(());
                    }
                }
                _ => {}
            }
            outcome
        };
        self.access.flights.run(flight, work).await.unwrap_or_else(|| Err(trouble::lost("access")))
    }

    async fn ask_access(
        &self,
        source: &Source,
        repository: &RepositoryName,
        about: Option<&Selector>,
        who: &Who,
    ) -> Result<(), Trouble> {
        let key = (who.identity, repository.clone());
        let fallback = self.is_known(source, &key)?;
        if fallback && source.health.is_resting(self.now()) {
            source.health.stood_in();
            return Ok(());
        }
        let Err(refusal) = self.probe(source, repository, about, who, fallback).await else {
            self.accept(&key).await;
            return Ok(());
        };
        match refusal.word {
            Word::Denied => self.deny(&key, &refusal.trouble).await,
            Word::NotFound => {
                if let Some(selector) = about {
                    self.note_absent(who, repository, &selector.to_string(), &refusal.trouble);
                }
            }
            Word::None => return self.without_word(source, &key, refusal.trouble),
        }
        Err(refusal.trouble)
    }

    /// What was public may not be any more, and nobody without credential came since to find out. Asked while the upstream
    /// can be, so that nothing private is taken for public once it cannot.
    async fn doubt_public(&self, source: &Source, repository: &RepositoryName) {
        let Ok(Some(since)) = self.store().public_since(repository) else { return };
        if is_within(since, self.now(), source.settings.access_ttl.0) {
            return;
        }
        // Whatever the answer is, it has been noted; this caller is not the one it matters to.
        drop(self.ask_access(source, repository, None, &Who::nobody()).await);
    }

    /// Asks for the cheapest thing that only readers get.
    async fn probe(
        &self,
        source: &Source,
        repository: &RepositoryName,
        about: Option<&Selector>,
        who: &Who,
        has_older: bool,
    ) -> Result<(), Refusal> {
        let hurry = source.hurry(has_older);
        let desk = source.desk(repository, &who.auth);
        let selector = match about {
            Some(selector) => Some(selector.clone()),
            None => {
                let place = repository.clone();
                let tags = self.on_disk(move |store| store.tags(&place, None, 1)).await;
                let tags = tags.map_err(|trouble| Refusal { word: Word::None, trouble })?;
                tags.into_iter().next().map(Selector::Tag)
            }
        };
        if let Some(selector) = selector {
            let what = format!("may {repository} {selector} be read");
            match source.ask(&what, who, hurry, desk.resolve(&selector.to_string())).await {
                Ok(descriptor) => {
                    self.heard.put((repository.clone(), selector), descriptor, self.now());
                    return Ok(());
                }
                // What was deleted there since says nothing about the rest of the repository.
                Err(refusal) if refusal.word == Word::NotFound => {
                    let ours = match &selector {
                        Selector::Digest(digest) => self.store().holds(repository, digest).unwrap_or(false),
                        Selector::Tag(_) => about.is_none(),
                    };
                    if !ours {
                        return Err(refusal);
                    }
                }
                Err(refusal) => return Err(refusal),
            }
        }
        source.ask(&format!("may {repository} be read"), who, hurry, desk.any_tag()).await.map(drop)
    }

    /// Who asks, as far as the upstream is concerned.
    pub(super) async fn who(
        &self,
        source: &Source,
        repository: &RepositoryName,
        caller: &Caller,
    ) -> Result<Who, Trouble> {
        let wanted = source.settings.credentials;
        if let Some(presented) = &caller.presented
            && source.takes_presented()
        {
            let credential = match presented.clone() {
                Presented::Basic { username, password } => Credential::Basic { username, password },
                Presented::Bearer(token) => Credential::Bearer(token),
            };
            return Ok(Who { identity: self.access.identity(presented), auth: Auth::Given(credential) });
        }
        if wanted != CredentialSource::Client && (has_account(caller) || source.settings.share) {
            let scope = Scope { registry: &source.credential_host, repository: repository.repository() };
            let found = self.keychain.credential(&scope).await;
            let found = found.map_err(|error| trouble::remote("the operator's credential", &error, false))?;
            if found.is_some() {
                return Ok(Who { identity: Identity::Operator, auth: Auth::Keychain(self.keychain.clone()) });
            }
        }
        // Not even a mirror's credential: what comes back is taken for public.
        Ok(Who::nobody())
    }

    /// Who asks for something after access was granted: nobody, where the upstream did not take the caller's credential and
    /// lets everybody read.
    pub(super) fn asker(&self, source: &Source, repository: &RepositoryName, who: Who) -> Who {
        let key = (who.identity, repository.clone());
        let refused = self.access.denied.get(&key, self.now(), source.settings.negative_ttl.0).is_some();
        if refused && self.may_be_nobody(source, repository, &who) { Who::nobody() } else { who }
    }

    /// Whether nobody may read what this caller may not.
    pub(super) fn may_be_nobody(&self, source: &Source, repository: &RepositoryName, who: &Who) -> bool {
        matches!(who.identity, Identity::Presented(_))
            && self.is_accepted(source, &(Identity::Anonymous, repository.clone()))
    }

    /// Whether the upstream lets this identity, or anybody, read, by a word that is young enough.
    pub(super) fn is_accepted(&self, source: &Source, key: &Key) -> bool {
        let (now, ttl) = (self.now(), source.settings.access_ttl.0);
        let public = (Identity::Anonymous, key.1.clone());
        self.access
            .accepted
            .get(key, now, ttl)
            .or_else(|| self.access.accepted.get(&public, now, ttl))
            .is_some()
    }

    /// The upstream let this identity read.
    pub(super) async fn accept(&self, key: &Key) {
        let now = self.now();
        let anonymous = key.0 == Identity::Anonymous;
        // Every word renews the memory; the disk need not hear all of them.
        let noted = self.access.accepted.get(key, now, NOTED).is_some();
        self.access.accepted.put(key.clone(), (), now);
        self.access.denied.forget(key);
        let repository = key.1.clone();
        if anonymous
            && !noted
            && let Err(trouble) = self.on_disk(move |store| store.note_public(&repository)).await
        {
            self.warn(format!("cannot note that {} is public: {trouble}", key.1));
        }
    }

    /// The upstream refused this identity.
    pub(super) async fn deny(&self, key: &Key, trouble: &Trouble) {
        self.access.accepted.forget(key);
        self.access.denied.put(key.clone(), trouble.clone(), self.now());
        let repository = key.1.clone();
        if key.0 == Identity::Anonymous
            && let Err(trouble) = self.on_disk(move |store| store.forget_public(&repository)).await
        {
            self.warn(format!("cannot note that {} is not public: {trouble}", key.1));
        }
    }

    /// Whether what the upstream said before is good enough while it cannot be asked.
    fn is_known(&self, source: &Source, key: &Key) -> Result<bool, Trouble> {
        let stale = source.settings.stale_access.0;
        if self.access.accepted.get(key, self.now(), stale).is_some() {
            return Ok(true);
        }
        let since = self.store().public_since(&key.1).map_err(|error| trouble::store(&error))?;
        Ok(since.is_some())
    }

    /// The upstream has no word to say.
    fn without_word(&self, source: &Source, key: &Key, trouble: Trouble) -> Result<(), Trouble> {
        if self.is_known(source, key)? {
            source.health.stood_in();
            self.warn(format!("{} is served by what its upstream said before: {trouble}", key.1));
            return Ok(());
        }
        Err(Trouble { kind: Kind::Unavailable, wants_credential: false, ..trouble })
    }
}

/// How often the disk hears that a repository is still public.
const NOTED: std::time::Duration = std::time::Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;
    use larder_core::Secret;

    #[test]
    fn identities_tell_credentials_apart_and_mean_nothing_elsewhere() {
        let basic = |username: &str, password: &str| Presented::Basic {
            username: username.into(),
            password: Secret::new(password),
        };
        let access = Access::new([1; 32]);
        let of = |presented: &Presented| access.identity(presented);
        assert_eq!(of(&basic("a", "b")), of(&basic("a", "b")));
        assert_ne!(of(&basic("a", "bc")), of(&basic("ab", "c")));
        assert_ne!(of(&basic("", "b")), of(&Presented::Bearer(Secret::new("b"))));
        assert_ne!(of(&basic("a", "b")), Access::new([2; 32]).identity(&basic("a", "b")));
    }
}
