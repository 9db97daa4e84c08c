//! What all repositories share.

use crate::auth::token::Tokens;
use crate::backoff::Patience;
use crate::exchange::{Exchange, Named};
use crate::hosts::{self, Capabilities, Endpoint};
use crate::repo::Repo;
use crate::transport::Transport;
use crate::{Auth, Config, Result};
use larder_core::{Registry, Repository};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// A distribution client. Cheap to clone; clones share connections, tokens and the retry budget.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) exchange: Exchange,
    pub(crate) tokens: Tokens,
    pub(crate) patience: Arc<Patience>,
    hosts: Mutex<HashMap<Registry, Arc<Hosts>>>,
}

/// What is done with a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Pull,
    Resolve,
    Push,
}

impl Action {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Resolve => "resolve",
            Self::Push => "push",
        }
    }

    fn allowed(self, capabilities: Capabilities) -> bool {
        match self {
            Self::Pull => capabilities.pull,
            Self::Resolve => capabilities.pull && capabilities.resolve,
            Self::Push => capabilities.push,
        }
    }
}

/// The hosts of one registry and how they have been doing.
pub(crate) struct Hosts {
    endpoints: Vec<Arc<Endpoint>>,
    pub(crate) named: Arc<Named>,
    trouble: Mutex<Vec<Option<Instant>>>,
}

/// How long a host that was out of order is tried last.
const GRUDGE: Duration = Duration::from_secs(30);

impl Client {
    /// Makes a client. Fails on an unusable proxy; hosts files and certificates are read when a registry is first asked.
    pub fn new(config: Config) -> Result<Self> {
        let config = Arc::new(config);
        let transport = Transport::new(config.clone())?;
        Ok(Self {
            shared: Arc::new(Shared {
                patience: Arc::new(Patience::new(&config)),
                exchange: Exchange { config: config.clone(), transport },
                config,
                tokens: Tokens::default(),
                hosts: Mutex::default(),
            }),
        })
    }

    /// A handle on one repository, for somebody. Costs nothing: the first request reads the hosts file.
    pub fn repository(&self, registry: &Registry, repository: &Repository, auth: Auth) -> Repo {
        Repo::new(self.shared.clone(), registry.clone(), repository.clone(), auth)
    }

    pub(crate) fn config(&self) -> &Arc<Config> {
        &self.shared.config
    }

    pub(crate) fn patience(&self) -> &Arc<Patience> {
        &self.shared.patience
    }

    pub(crate) fn exchange(&self) -> &Exchange {
        &self.shared.exchange
    }

    /// Whether the registry is there and takes the credentials: what a login checks before it keeps them.
    pub async fn ping(&self, registry: &Registry, auth: Auth) -> Result<()> {
        // No scope is asked for, so the name of the repository reaches nobody but a keychain.
        let repository = Repository::new("login").expect("a valid repository");
        self.repository(registry, &repository, auth).ping().await
    }
}

impl Shared {
    /// Read once per registry and client.
    pub(crate) fn hosts(&self, registry: &Registry) -> Result<Arc<Hosts>> {
        let mut known = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hosts) = known.get(registry) {
            return Ok(hosts.clone());
        }
        let endpoints: Vec<_> = hosts::endpoints(&self.config, registry)?.into_iter().map(Arc::new).collect();
        let named = Named {
            hosts: endpoints.iter().map(|e| (e.base.clone(), e.tls.clone(), e.dial_timeout)).collect(),
            realm_hosts: self.config.realm_hosts.clone(),
        };
        let trouble = Mutex::new(vec![None; endpoints.len()]);
        let hosts = Arc::new(Hosts { endpoints, named: Arc::new(named), trouble });
        known.insert(registry.clone(), hosts.clone());
        Ok(hosts)
    }
}

impl Hosts {
    /// The hosts for `action` in the order to try: healthy ones as configured, then those in trouble, longest ago first.
    pub(crate) fn order(&self, action: Action) -> Vec<(usize, Arc<Endpoint>)> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let mut order: Vec<_> = self
            .endpoints
            .iter()
            .cloned()
            .enumerate()
            .filter(|(_, endpoint)| action.allowed(endpoint.capabilities))
            .collect();
        order.sort_by_key(|(at, _)| trouble[*at].filter(|since| since.elapsed() < GRUDGE));
        order
    }

    /// Notes that a host is out of order.
    pub(crate) fn shun(&self, at: usize) {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)[at] = Some(Instant::now());
    }

    /// Notes that a host is fine.
    pub(crate) fn absolve(&self, at: usize) {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)[at] = None;
    }

    pub(crate) fn position_of(&self, endpoint: &Arc<Endpoint>) -> Option<usize> {
        self.endpoints.iter().position(|known| Arc::ptr_eq(known, endpoint))
    }

    pub(crate) fn position(&self, host: &str) -> Option<usize> {
        self.endpoints.iter().position(|endpoint| endpoint.host() == host)
    }
}
