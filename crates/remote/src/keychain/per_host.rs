//! Credentials from configuration.

use super::{Keychain, Scope};
use crate::{Credential, Result};
use async_trait::async_trait;
use std::collections::BTreeMap;

/// Credentials by `host`, `host/namespace` or `host/namespace/repository`; the longest match wins.
#[derive(Debug, Clone, Default)]
pub struct PerHost(BTreeMap<String, Credential>);

impl PerHost {
    /// Keys are lower case and end without a slash; `docker.io` is Docker's registry.
    pub fn new(credentials: impl IntoIterator<Item = (String, Credential)>) -> Self {
        Self(credentials.into_iter().collect())
    }
}

#[async_trait]
impl Keychain for PerHost {
    async fn credential(&self, scope: &Scope<'_>) -> Result<Option<Credential>> {
        Ok(scope.keys().find_map(|key| self.0.get(&key)).cloned())
    }
}
