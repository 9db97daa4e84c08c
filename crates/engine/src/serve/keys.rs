//! The keys of token issuers, from where the configuration says they are.

use crate::Engine;
use async_trait::async_trait;
use larder_core::{Classify as _, Kind, report};
use larder_server::{KeySource, Trouble};

/// Fetches through the same client as everything else: same proxies, authorities and allowed networks.
pub(super) struct IssuerKeys(pub(super) Engine);

#[async_trait]
impl KeySource for IssuerKeys {
    async fn fetch(&self, url: &str) -> Result<Vec<u8>, Trouble> {
        let trouble = |kind: Kind, message: String| Trouble {
            kind,
            message,
            wants_credential: false,
            retry_after: None,
        };
        let client = self.0.client().map_err(|error| trouble(error.kind(), report(&error)))?;
        let document = client.document(url, LIMIT).await;
        document.map(|bytes| bytes.to_vec()).map_err(|error| trouble(error.kind(), report(&error)))
    }
}

/// A key set is a few hundred bytes per key.
const LIMIT: u64 = 1 << 20;
