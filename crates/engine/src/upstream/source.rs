//! One upstream: a registry, how it is treated, and how it has been doing.

use super::access::{Identity, Who};
use super::health::Health;
use super::settings::{CredentialSource, UpstreamSettings};
use super::trouble::{self, Word};
use crate::{Engine, Error, Span, keychain};
use larder_core::{Classify, Event, Kind, Progress, Registry, RepositoryName};
use larder_remote::{Auth, Client, Repo};
use larder_server::Trouble;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{Semaphore, SemaphorePermit};
use url::{Host, Url};

pub(super) struct Source {
    pub(super) registry: Registry,
    pub(super) settings: UpstreamSettings,
    pub(super) health: Health,
    /// Whose credentials the registry's own host takes.
    pub(super) credential_host: Registry,
    /// Whether credentials that callers present may travel there.
    confidential: bool,
    /// Of its own, so that one upstream in trouble does not use up the retries of the others.
    client: Client,
    attempts: u32,
    clock: Arc<dyn Fn() -> SystemTime + Send + Sync>,
    questions: Semaphore,
    large: Semaphore,
    small: Semaphore,
}

/// No yes.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    pub(super) word: Word,
    pub(super) trouble: Trouble,
}

/// Attempts at a question whose answer a client waits for.
const ATTEMPTS: u32 = 3;
/// The longest that a question waits because the upstream asks for it.
const QUESTION_WAITS: Duration = Duration::from_secs(1);
/// The longest that a transfer does. Clients that read along have patience too, but less than a registry may ask for.
const TRANSFER_WAITS: Duration = Duration::from_secs(20);
/// Questions that are asked at once; more wait.
const QUESTIONS: usize = 64;
/// Blobs up to this size do not queue behind larger ones.
const SMALL: u64 = 1 << 20;
/// Small blobs that move at once, for every large one.
const SMALL_PER_LARGE: usize = 4;

impl Source {
    pub(super) fn new(
        engine: &Engine,
        registry: Registry,
        settings: UpstreamSettings,
        url: Option<Url>,
        via: &str,
    ) -> crate::Result<Self> {
        let mut config = keychain::client_config(engine.config(), engine.host(), engine.progress().clone())?;
        config.via = Some(format!("1.1 {via}"));
        let confidential = url.as_ref().is_none_or(is_confidential);
        let mut credential_host = registry.clone();
        if let Some(url) = url {
            let host = url.host_str().unwrap_or_default();
            let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
            credential_host = Registry::new(&host)
                .map_err(|error| Error::Config { problem: format!("upstreams: {registry}: {error}") })?;
            config.servers = vec![(registry.clone(), url)];
        }
        let client = Client::new(config).map_err(|source| Error::Remote {
            action: format!("cannot set up the client for {registry}"),
            source,
        })?;
        let jobs = engine.config().jobs;
        Ok(Self {
            registry,
            settings,
            health: Health::default(),
            credential_host,
            confidential,
            client,
            attempts: engine.config().attempts,
            clock: engine.host().clock.clone(),
            questions: Semaphore::new(QUESTIONS),
            large: Semaphore::new(jobs),
            small: Semaphore::new(jobs * SMALL_PER_LARGE),
        })
    }

    /// Whether what callers present is passed on.
    pub(super) fn takes_presented(&self) -> bool {
        self.settings.credentials != CredentialSource::Own && self.confidential
    }

    /// Says so if what callers present is not passed on although it is configured.
    pub(super) fn warn_of_plain_http(&self, progress: &Progress) {
        if self.settings.credentials != CredentialSource::Own && !self.confidential && !self.settings.offline
        {
            let message = format!(
                "{} is reached over plain http outside of this network: credentials of clients are not passed on",
                self.registry
            );
            progress(Event::Warning { message });
        }
    }

    /// A repository for moving blobs, with the patience that is configured.
    pub(super) fn repo(&self, repository: &RepositoryName, auth: &Auth) -> Repo {
        self.open(repository, auth).with_patience(self.attempts, TRANSFER_WAITS)
    }

    /// A repository for short questions.
    pub(super) fn desk(&self, repository: &RepositoryName, auth: &Auth) -> Repo {
        self.open(repository, auth).with_patience(ATTEMPTS, QUESTION_WAITS)
    }

    fn open(&self, repository: &RepositoryName, auth: &Auth) -> Repo {
        self.client.repository(repository.registry(), repository.repository(), auth.clone())
    }

    /// How long an answer is waited for where an older one could be given.
    pub(super) fn hurry(&self, has_older: bool) -> Option<Duration> {
        has_older.then_some(self.settings.patience.0)
    }

    /// The right to move a blob of this size. Whoever has it waits for nobody else who needs it.
    pub(super) async fn slot(&self, size: u64) -> Option<SemaphorePermit<'_>> {
        let slots = if size > SMALL { &self.large } else { &self.small };
        slots.acquire().await.ok()
    }

    /// Asks a question and keeps the counters. An answer that takes longer than `limit` is none.
    pub(super) async fn ask<T>(
        &self,
        what: &str,
        who: &Who,
        limit: Option<Duration>,
        question: impl Future<Output = Result<T, larder_remote::Error>>,
    ) -> Result<T, Refusal> {
        let question = Box::pin(async {
            let _turn = self.questions.acquire().await;
            self.health.asking();
            question.await
        });
        let answer = if let Some(limit) = limit {
            match tokio::time::timeout(limit, question).await {
                Ok(answer) => answer,
                Err(_) => {
                    self.health.failed((self.clock)(), None);
                    let message = format!("{what}: no answer within {}", Span(limit));
                    return Err(Refusal {
                        word: Word::None,
                        trouble: trouble::plain(Kind::Unavailable, message),
                    });
                }
            }
        } else {
            question.await
        };
        match answer {
            Ok(answer) => {
                self.health.spoke();
                Ok(answer)
            }
            Err(error) => Err(self.refusal(what, who, &error)),
        }
    }

    /// Keeps the counters of a failure and says what it means.
    pub(super) fn refusal(&self, what: &str, who: &Who, error: &larder_remote::Error) -> Refusal {
        let word = trouble::word(error);
        match word {
            Word::None => self.health.failed((self.clock)(), error.retry_after()),
            Word::Denied | Word::NotFound => self.health.spoke(),
        }
        Refusal { word, trouble: trouble::remote(what, error, who.identity == Identity::Anonymous) }
    }
}

/// Whether nobody on the way reads along: over TLS, or not farther than the own network.
fn is_confidential(url: &Url) -> bool {
    match url.host() {
        _ if url.scheme() == "https" => true,
        Some(Host::Ipv4(address)) => address.is_loopback() || address.is_private() || address.is_link_local(),
        Some(Host::Ipv6(address)) => {
            address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local()
        }
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_clients_present_is_not_sent_in_clear_over_other_networks() {
        for (url, expected) in [
            ("https://registry.example", true),
            ("http://registry.example", false),
            ("http://8.8.8.8:5000", false),
            ("http://[2001:db8::1]:5000", false),
            ("http://127.0.0.1:5000", true),
            ("http://10.0.0.7:5000", true),
            ("http://[::1]:5000", true),
            ("http://[fd00::1]", true),
            ("http://localhost:5000", true),
            ("http://localhost.example", false),
        ] {
            assert_eq!(is_confidential(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
