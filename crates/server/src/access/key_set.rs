//! The public keys of an issuer (RFC 7517), fetched when needed, and kept.

use super::AccessError;
use super::jwt::VerifyingKey;
use crate::Trouble;
use async_trait::async_trait;
use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::Jwk;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

/// Fetches the keys of issuers. Declared here, implemented above: the server itself never opens a connection outward.
#[async_trait]
pub trait KeySource: Send + Sync {
    /// The document at a URL that the configuration names, bounded in time and size.
    async fn fetch(&self, url: &str) -> Result<Vec<u8>, Trouble>;
}

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Url(String),
    File(PathBuf),
}

/// The keys of one issuer.
///
/// They are fetched when first needed, when they are older than the refresh interval, and when a token names a key that is not among
/// them, but never twice within [`PAUSE`]. Keys that are gone from the new set are not taken any more. An issuer that cannot be
/// reached is believed on its last word for [`PATIENCE`].
pub(super) struct KeySet {
    place: Place,
    algorithms: Vec<Algorithm>,
    refresh: Duration,
    known: Mutex<Known>,
    /// Held while fetching.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Clone, Default)]
struct Known {
    keys: Option<Arc<Vec<VerifyingKey>>>,
    fetched: Option<SystemTime>,
    attempted: Option<SystemTime>,
    problem: Option<String>,
}

impl KeySet {
    pub(super) fn new(place: Place, algorithms: Vec<Algorithm>, refresh: Duration) -> Self {
        Self {
            place,
            algorithms,
            refresh,
            known: Mutex::new(Known::default()),
            fetching: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether `other` would fetch the same keys and take the same of them.
    pub(super) fn is_like(&self, other: &Self) -> bool {
        (&self.place, &self.algorithms, self.refresh) == (&other.place, &other.algorithms, other.refresh)
    }

    /// Reads a file now, so that a wrong path is said at the start.
    pub(super) fn check(&self, issuer: &str) -> Result<(), AccessError> {
        let Place::File(path) = &self.place else { return Ok(()) };
        let read = |source| AccessError::ReadKeys { path: path.clone(), issuer: issuer.into(), source };
        let bytes = std::fs::read(path).map_err(read)?;
        parse(&bytes, &self.algorithms)
            .map_err(|reason| AccessError::UseKeys { issuer: issuer.into(), reason })?;
        Ok(())
    }

    /// The keys, with the one of this id if that is to be had. The error is why there are none.
    pub(super) async fn keys(
        &self,
        id: Option<&str>,
        source: &dyn KeySource,
        clock: &(dyn Fn() -> SystemTime + Send + Sync),
    ) -> Result<Arc<Vec<VerifyingKey>>, String> {
        let has_it = |keys: &[VerifyingKey]| id.is_none_or(|id| keys.iter().any(|key| key.id() == Some(id)));
        let known = self.known();
        let usable = known.usable(clock());
        if let Some(keys) = usable.as_ref().filter(|keys| has_it(keys)) {
            if known.is_younger(self.refresh, clock()) {
                return Ok(Arc::clone(keys));
            }
            // Old and good for now: one caller fetches, the others go on.
            let Ok(_guard) = self.fetching.try_lock() else { return Ok(Arc::clone(keys)) };
            self.fetch(source, clock).await;
            return self.known().result(clock());
        }
        let _guard = self.fetching.lock().await;
        self.fetch(source, clock).await;
        self.known().result(clock())
    }

    /// What went wrong last, if it did.
    pub(super) fn problem(&self) -> Option<String> {
        self.known().problem
    }

    /// Fetches once, unless it was tried a moment ago. The caller holds `fetching`.
    async fn fetch(&self, source: &dyn KeySource, clock: &(dyn Fn() -> SystemTime + Send + Sync)) {
        let now = clock();
        {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.attempted.is_some_and(|last| since(last, now) < PAUSE) {
                return;
            }
            known.attempted = Some(now);
        }
        let bytes = match &self.place {
            Place::Url(url) => source.fetch(url).await.map_err(|trouble| trouble.message),
            Place::File(path) => tokio::fs::read(path).await.map_err(|error| error.to_string()),
        };
        let keys = bytes.and_then(|bytes| parse(&bytes, &self.algorithms).map_err(str::to_owned));
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // However long it took: those who waited do not try again.
        known.attempted = Some(clock());
        match keys {
            Ok(keys) => {
                known.keys = Some(Arc::new(keys));
                known.fetched = Some(now);
                known.problem = None;
            }
            Err(problem) => known.problem = Some(problem),
        }
    }

    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Known {
    fn is_younger(&self, age: Duration, now: SystemTime) -> bool {
        self.fetched.is_some_and(|fetched| since(fetched, now) < age)
    }

    fn usable(&self, now: SystemTime) -> Option<Arc<Vec<VerifyingKey>>> {
        self.keys.clone().filter(|_| self.is_younger(PATIENCE, now))
    }

    fn result(self, now: SystemTime) -> Result<Arc<Vec<VerifyingKey>>, String> {
        let keys = self.usable(now);
        keys.ok_or_else(|| self.problem.unwrap_or_else(|| "they were asked for a moment ago".to_owned()))
    }
}

/// Reads a key set and keeps what can verify signatures. Keys that are not understood are left out, as RFC 7517 §5 wants.
fn parse(bytes: &[u8], algorithms: &[Algorithm]) -> Result<Vec<VerifyingKey>, &'static str> {
    if bytes.len() > SIZE_LIMIT {
        return Err("the key set is larger than 256 KiB");
    }
    let mut document: Value = serde_json::from_slice(bytes).map_err(|_| "the key set is no JSON")?;
    let Some(Value::Array(keys)) = document.get_mut("keys").map(Value::take) else {
        return Err("the document has no list of keys");
    };
    if keys.len() > COUNT_LIMIT {
        return Err("the key set has more than 100 keys");
    }
    let read = |value| serde_json::from_value::<Jwk>(value).ok();
    let keys: Vec<VerifyingKey> = keys
        .into_iter()
        .filter_map(read)
        .filter_map(|jwk| VerifyingKey::from_jwk(&jwk, algorithms))
        .collect();
    if keys.is_empty() {
        return Err("no key of the key set can be used with the algorithms that are configured");
    }
    Ok(keys)
}

/// A clock that went back makes things old rather than young for ever.
fn since(then: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(then).unwrap_or(Duration::MAX)
}

/// The shortest time between two attempts.
const PAUSE: Duration = Duration::from_secs(30);
/// How long keys are good for when the issuer cannot be reached.
const PATIENCE: Duration = Duration::from_secs(24 * 3600);
const SIZE_LIMIT: usize = 256 << 10;
const COUNT_LIMIT: usize = 100;
