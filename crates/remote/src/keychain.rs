//! Where credentials are kept.

mod cached;
mod docker;
mod helper;
mod per_host;

pub use cached::Cached;
pub use docker::DockerConfig;
pub use per_host::PerHost;

use crate::{Credential, Result};
use async_trait::async_trait;
use larder_core::{Registry, Repository};
use std::sync::Arc;

/// What credentials are wanted for.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The host that asks: the registry, or one of its mirrors.
    pub registry: &'a Registry,
    /// The repository.
    pub repository: &'a Repository,
}

impl Scope<'_> {
    /// `host/a/b`, `host/a`, `host`: the keys under which credentials may be kept, most specific first.
    pub(crate) fn keys(&self) -> impl Iterator<Item = String> {
        let full = format!("{}/{}", self.registry, self.repository);
        std::iter::successors(Some(full), |key| key.rsplit_once('/').map(|(shorter, _)| shorter.to_owned()))
    }
}

/// Knows credentials. `Ok(None)` means "none for this"; a source that is broken says so with an error, so that nobody becomes
/// anonymous by accident.
#[async_trait]
pub trait Keychain: Send + Sync {
    /// The credential for `scope`.
    async fn credential(&self, scope: &Scope<'_>) -> Result<Option<Credential>>;

    /// Called when what was answered for `scope` has been refused: drop it if it was cached.
    fn forget(&self, _scope: &Scope<'_>) {}
}

/// The same answer for everybody.
#[derive(Debug, Clone)]
pub struct Given(pub Credential);

#[async_trait]
impl Keychain for Given {
    async fn credential(&self, _scope: &Scope<'_>) -> Result<Option<Credential>> {
        Ok(Some(self.0.clone()))
    }
}

/// Asks several in order; the first answer wins.
#[derive(Clone)]
pub struct Chain(pub Vec<Arc<dyn Keychain>>);

#[async_trait]
impl Keychain for Chain {
    async fn credential(&self, scope: &Scope<'_>) -> Result<Option<Credential>> {
        for keychain in &self.0 {
            if let Some(credential) = keychain.credential(scope).await? {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }

    fn forget(&self, scope: &Scope<'_>) {
        self.0.iter().for_each(|keychain| keychain.forget(scope));
    }
}
