//! One repository of a registry, for somebody: how a request finds a host that answers it.

use crate::auth::token::Tokens;
use crate::auth::{Authorization, challenge, origin};
use crate::backoff::{Attempts, Manners};
use crate::client::{Action, Hosts, Shared};
use crate::exchange::{Exchange, Request, Response};
use crate::hosts::Endpoint;
use crate::upload::Body;
use crate::{Auth, Config, Credential, Error, Result};
use futures_util::future::BoxFuture;
use larder_core::{Classify, Digest, Event, Kind, Registry, Repository, report};
use reqwest::Method;
use reqwest::header::HeaderMap;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use url::Url;

/// A handle on one repository. Cheap to clone; what a keychain said is remembered for as long as a clone lives.
#[derive(Clone)]
pub struct Repo {
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    registry: Registry,
    repository: Repository,
    auth: Auth,
    patience: Manners,
    credentials: Mutex<HashMap<Registry, Option<Credential>>>,
    /// Where the registry redirected to for a blob.
    shortcuts: Mutex<HashMap<Digest, Url>>,
}

/// A request to one endpoint.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    /// The scope of the token it takes; empty for none.
    pub(crate) need: String,
    pub(crate) body: Body<'a>,
}

impl Call<'static> {
    pub(crate) fn new(method: Method, url: Url, need: String) -> Self {
        Self { method, url, headers: HeaderMap::new(), need, body: Body::None }
    }
}

/// Something done at an endpoint.
pub(crate) type Operation<'a, T> = &'a (dyn Fn(Arc<Endpoint>) -> BoxFuture<'a, Result<T>> + Send + Sync + 'a);

impl Repo {
    pub(crate) fn new(shared: Arc<Shared>, registry: Registry, repository: Repository, auth: Auth) -> Self {
        let patience = Manners { attempts: shared.config.attempts, longest_wait: None };
        Self {
            inner: Arc::new(Inner {
                shared,
                registry,
                repository,
                auth,
                patience,
                credentials: Mutex::default(),
                shortcuts: Mutex::default(),
            }),
        }
    }

    /// The same repository for the same somebody, with other patience: at most so many attempts without progress, and none
    /// where the server asks to be left alone for longer than `longest_wait`. The error says for how long.
    #[must_use]
    pub fn with_patience(&self, attempts: u32, longest_wait: Duration) -> Self {
        let inner = &*self.inner;
        Self {
            inner: Arc::new(Inner {
                shared: inner.shared.clone(),
                registry: inner.registry.clone(),
                repository: inner.repository.clone(),
                auth: inner.auth.clone(),
                patience: Manners { attempts, longest_wait: Some(longest_wait) },
                credentials: Mutex::default(),
                shortcuts: Mutex::default(),
            }),
        }
    }

    /// The registry.
    pub fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.inner.repository
    }

    /// Whether the registry is there and takes the credentials.
    pub async fn ping(&self) -> Result<()> {
        let what = format!("ping {}", self.registry());
        self.persist(&what, Action::Resolve, &|endpoint| {
            Box::pin(async move {
                let call = Call::new(Method::GET, endpoint.url(""), String::new());
                self.call(&endpoint, &call).await?.accept(&[200]).await?.dismiss().await;
                Ok(())
            })
        })
        .await
    }

    /// Prefers other hosts than `host` for a while: it served bytes that do not hash to their name.
    pub fn distrust(&self, host: &str) {
        if let Ok(hosts) = self.hosts()
            && let Some(at) = hosts.position(host)
        {
            hosts.shun(at);
        }
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.inner.shared.config
    }

    pub(crate) fn auth(&self) -> &Auth {
        &self.inner.auth
    }

    pub(crate) fn tokens(&self) -> &Tokens {
        &self.inner.shared.tokens
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.inner.shared.exchange
    }

    pub(crate) fn hosts(&self) -> Result<Arc<Hosts>> {
        self.inner.shared.hosts(self.registry())
    }

    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::new(self.config().clone(), self.inner.shared.patience.clone(), self.inner.patience)
    }

    pub(crate) fn remembered(&self, registry: &Registry) -> Option<Option<Credential>> {
        self.inner.credentials.lock().unwrap_or_else(PoisonError::into_inner).get(registry).cloned()
    }

    pub(crate) fn remember(&self, registry: &Registry, credential: Option<Credential>) {
        self.inner
            .credentials
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(registry.clone(), credential);
    }

    pub(crate) fn unremember(&self, registry: &Registry) -> bool {
        self.inner.credentials.lock().unwrap_or_else(PoisonError::into_inner).remove(registry).is_some()
    }

    pub(crate) fn shortcut(&self, digest: &Digest) -> Option<Url> {
        self.inner.shortcuts.lock().unwrap_or_else(PoisonError::into_inner).get(digest).cloned()
    }

    pub(crate) fn keep_shortcut(&self, digest: &Digest, url: &Url) {
        let mut shortcuts = self.inner.shortcuts.lock().unwrap_or_else(PoisonError::into_inner);
        if shortcuts.len() >= MOST_SHORTCUTS {
            shortcuts.clear();
        }
        shortcuts.insert(*digest, url.clone());
    }

    pub(crate) fn drop_shortcut(&self, digest: &Digest) {
        self.inner.shortcuts.lock().unwrap_or_else(PoisonError::into_inner).remove(digest);
    }

    /// The scope for reading this repository.
    pub(crate) fn pull_scope(&self) -> String {
        format!("repository:{}:pull", self.repository().as_str())
    }

    /// The scope for writing to this repository.
    pub(crate) fn push_scope(&self) -> String {
        format!("repository:{}:pull,push", self.repository().as_str())
    }

    /// `NAME/rest`, the path of something in this repository.
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("{}/{rest}", self.repository().as_str())
    }

    /// Does something at the first host that manages, again and again while there is hope.
    pub(crate) async fn persist<'a, T>(
        &'a self,
        what: &str,
        action: Action,
        operation: Operation<'a, T>,
    ) -> Result<T> {
        let mut attempts = self.attempts();
        loop {
            match self.round(action, operation).await {
                Ok(value) => {
                    attempts.progressed();
                    return Ok(value);
                }
                Err(error) if error.is_passing() => attempts.wait(what, error, false).await?,
                Err(error) => return Err(error),
            }
        }
    }

    /// Does something at the first host that manages. When none does, the registry's own word counts.
    pub(crate) async fn round<'a, T>(&'a self, action: Action, operation: Operation<'a, T>) -> Result<T> {
        let hosts = self.hosts()?;
        let mut told: Option<((bool, bool), Error)> = None;
        for (at, endpoint) in hosts.order(action) {
            let error = match operation(endpoint.clone()).await {
                Ok(value) => {
                    hosts.absolve(at);
                    return Ok(value);
                }
                Err(error) => error,
            };
            if error.blames_host() {
                hosts.shun(at);
            }
            if !endpoint.upstream && error.kind() != Kind::NotFound {
                let message = format!("{} failed and is passed over: {}", endpoint.host(), report(&error));
                (self.config().progress)(Event::Warning { message });
            }
            let unreachable = matches!(
                error,
                Error::Connect { .. } | Error::UnknownHost { .. } | Error::Tls { .. } | Error::Stalled { .. }
            );
            // A registry that has spoken is not asked again over plain http, and what was refused at one host is not pushed
            // to another.
            let last_word = !error.is_passing() && !unreachable && endpoint.upstream
                || action == Action::Push && !unreachable;
            let weight = (endpoint.upstream, error.status().is_some());
            if told.as_ref().is_none_or(|(before, _)| weight >= *before) {
                told = Some((weight, error));
            }
            if last_word {
                break;
            }
        }
        Err(told.map_or_else(
            || Error::NoHost { registry: self.registry().to_string(), action: action.as_str() },
            |(_, error)| error,
        ))
    }

    /// Sends a request to an endpoint, answering its demands for authentication. A URL on another origin, which the
    /// endpoint gave out, is asked without anything private.
    pub(crate) async fn call(&self, endpoint: &Endpoint, call: &Call<'_>) -> Result<Response> {
        if call.url.origin() != endpoint.base.origin() {
            return self.send(endpoint, call, None, false).await;
        }
        let mut known = true;
        let mut authorization = match self.beforehand(endpoint, &call.need).await {
            // The token server does not take what the keychain said any more; the challenge below starts over.
            Err(error) if error.kind() == Kind::Denied && error.status().is_some() => None,
            outcome => outcome?,
        };
        let mut rejected: Option<Authorization> = None;
        let mut forgotten = false;
        for _ in 0..MOST_ANSWERS {
            let response = self.send(endpoint, call, authorization.as_ref(), true).await?;
            let status = response.status().as_u16();
            // Some registries say 403 to what has merely expired.
            let expired = status == 403 && known && authorization.is_some();
            if response.left || !(status == 401 || expired) {
                return Ok(response);
            }
            rejected = authorization.take().or(rejected);
            known = false;
            if expired {
                self.forget_credential(endpoint);
                self.tokens().unlearn(&origin(&endpoint.base), &call.need);
                response.dismiss().await;
                continue;
            }
            let Some(challenge) = challenge::choose(response.headers()) else { return Ok(response) };
            let mut answer = self.answer(endpoint, &challenge, &call.need, rejected.as_ref()).await;
            // What the keychain said before may have expired since: ask it once more.
            let refused = match &answer {
                Ok(answer) => answer.is_none() && rejected.is_some(),
                Err(error) => error.kind() == Kind::Denied && error.status().is_some(),
            };
            if refused && !forgotten && self.forget_credential(endpoint) {
                forgotten = true;
                answer = self.answer(endpoint, &challenge, &call.need, rejected.as_ref()).await;
            }
            authorization = answer?;
            if authorization.is_none() {
                return Ok(response);
            }
            response.dismiss().await;
        }
        self.send(endpoint, call, authorization.as_ref(), true).await
    }

    async fn send(
        &self,
        endpoint: &Endpoint,
        call: &Call<'_>,
        authorization: Option<&Authorization>,
        own: bool,
    ) -> Result<Response> {
        let hosts = self.hosts()?;
        let body = call.body.open().await?;
        let (payload, trouble) =
            body.map_or((None, None), |(payload, trouble)| (Some(payload), Some(trouble)));
        let request = Request {
            method: call.method.clone(),
            url: call.url.clone(),
            headers: call.headers.clone(),
            private: if own { endpoint.headers.clone() } else { HeaderMap::new() },
            authorization,
            payload,
            named: &hosts.named,
            login: own.then(|| endpoint.registry.to_string()),
        };
        let outcome = Box::pin(self.exchange().follow(request)).await;
        match trouble.and_then(|trouble| trouble.take()) {
            // The connection broke because there was nothing to send.
            Some(error) if outcome.is_err() => Err(error),
            _ => outcome,
        }
    }
}

/// How often a host may ask for another authorization in a row.
const MOST_ANSWERS: u32 = 3;

/// Redirects that are remembered at once.
const MOST_SHORTCUTS: usize = 256;
