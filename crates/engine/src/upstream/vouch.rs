//! Who may read what nobody can be asked about: registries without an upstream, and upstreams that are offline or turned off.
//!
//! What is in the store came once with somebody's right to read it, and whose that was is not known any more. So it is for
//! everybody only where its registry said so, or where the operator does; and for accounts of this server, whose rules are
//! the operator's word.

use super::source::Source;
use super::{Shared, blocking};
use crate::upstream::Upstreams;
use larder_core::{Kind, Registry, RepositoryName};
use larder_server::{Caller, LOCAL, Login, Trouble};
use std::collections::BTreeSet;

/// What holds for all registries of a server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    /// No upstream is asked.
    pub offline: bool,
    /// What nobody can be asked about is for whoever the rules let.
    pub share: bool,
    /// The server has accounts: logging in may help.
    pub accounts: bool,
}

/// Whether the caller proved to have an account of this server.
pub(super) fn has_account(caller: &Caller) -> bool {
    caller.name.is_some() && caller.login != Login::Anonymous
}

impl Shared {
    /// Whether `caller` may read what its upstream cannot be asked about. The answer does not tell whether it is there.
    pub(super) async fn vouched(
        &self,
        source: &Source,
        repository: &RepositoryName,
        caller: &Caller,
    ) -> Result<(), Trouble> {
        if self.terms.share || source.settings.share || has_account(caller) {
            return Ok(());
        }
        let place = repository.clone();
        if self.on_disk(move |store| store.public_since(&place)).await?.is_some() {
            return Ok(());
        }
        let message = format!(
            "{repository} has no upstream that could say who may read it; with --share (serve.share: true) it is for \
             whoever the rules let"
        );
        Err(Trouble { kind: Kind::Denied, message, wants_credential: self.terms.accounts, retry_after: None })
    }
}

impl Upstreams {
    /// The registries of which the store has something that is kept from callers without an account, because nobody can be
    /// asked who may read it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn withheld(&self) -> crate::Result<Vec<Registry>> {
        let shared = self.shared.clone();
        let found = blocking(move || {
            let mut registries = BTreeSet::new();
            let mut after = None;
            loop {
                let step = shared.store().repositories(after.as_deref(), STEP)?;
                let Some(last) = step.last() else { return Ok(registries.into_iter().collect()) };
                after = Some(last.to_string());
                for repository in step {
                    let registry = repository.registry();
                    let source = shared.source_of(registry);
                    let shared_out = shared.terms.share || source.settings.share;
                    if source.settings.offline
                        && !shared_out
                        && registry.as_str() != LOCAL
                        && !registries.contains(registry)
                        && shared.store().public_since(&repository)?.is_none()
                    {
                        registries.insert(registry.clone());
                    }
                }
            }
        });
        let found = found.await.unwrap_or_else(|_| Ok(Vec::new()));
        found.map_err(|source| crate::Error::Store { action: "cannot list what is kept".into(), source })
    }
}

/// Repositories that are looked at in one go.
const STEP: usize = 1000;
