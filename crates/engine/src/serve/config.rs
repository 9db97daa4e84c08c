//! The `serve` section of the configuration.

use super::registry;
use crate::upstream::UpstreamSettings;
use crate::{Error, Result};
use larder_core::Registry;
use larder_core::{Bytes, Span};
use larder_server::{AccessSettings, Action, RuleSettings};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

/// How `serve` behaves. Every key has a default: with none of them, a pull-through cache of the well-known registries and a
/// registry for whoever is on this machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServeConfig {
    /// `ADDRESS:PORT`, several if need be; `:PORT` is every address; port 0 chooses a free one.
    pub listen: Vec<String>,
    /// Serve TLS instead of plain http.
    pub tls: Option<TlsConfig>,
    /// What callers without an account may do, where `access` has no rules: `pull`, `push`, `delete`. By default everything on
    /// a loopback address without accounts, and nothing otherwise.
    pub anonymous: Option<Vec<String>>,
    /// Accounts and rules.
    pub access: AccessSettings,
    /// Registries to stand in front of, besides and over the well-known ones; `*` changes those.
    pub upstreams: BTreeMap<String, UpstreamSettings>,
    /// Ask nobody: what the store has is all there is.
    pub offline: bool,
    /// What the store has of registries whose upstream is not there to be asked is for whoever the rules let. Otherwise only
    /// what is known to be public is, and the rest is for accounts.
    pub share: bool,
    /// The registry that unqualified names belong to. With `docker.io` this is a mirror for Docker's engine.
    pub default_namespace: Option<String>,
    /// `https://HOST[:PORT]` as clients reach this server, where the `Host` of requests does not say it.
    pub public_url: Option<String>,
    /// Largest blob that may be pushed.
    pub max_blob: Bytes,
    /// Connections at the same time.
    pub max_connections: usize,
    /// How long a client may take for the head of a request, and stay silent between requests.
    pub head_timeout: Span,
    /// How long a transfer may make next to no progress.
    pub stall_timeout: Span,
    /// How long shutting down waits for transfers.
    pub grace: Span,
    /// `/metrics` only for callers who may `admin`.
    pub private_metrics: bool,
}

/// Where the certificate is. Both files are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
}

impl Default for ServeConfig {
    fn default() -> Self {
        let server = larder_server::Settings::default();
        Self {
            listen: vec!["127.0.0.1:5000".into()],
            tls: None,
            anonymous: None,
            access: AccessSettings::default(),
            upstreams: BTreeMap::new(),
            offline: false,
            share: false,
            default_namespace: None,
            public_url: None,
            max_blob: Bytes(server.blob_limit),
            max_connections: server.connections,
            head_timeout: Span(server.head_timeout),
            stall_timeout: Span(server.stall_timeout),
            grace: Span(server.grace),
            private_metrics: false,
        }
    }
}

impl ServeConfig {
    pub(super) fn default_namespace(&self) -> Result<Option<Registry>> {
        self.default_namespace.as_deref().map(|name| registry("default_namespace", name)).transpose()
    }

    /// The rules in force, with what the short keys say spelled out.
    ///
    /// # Errors
    /// The server would be open to a network without anybody having said so.
    pub(super) fn access(&self, addresses: &[SocketAddr]) -> Result<AccessSettings> {
        let invalid = |problem: String| Error::Config { problem: format!("serve: {problem}") };
        let mut access = self.access.clone();
        let private = addresses.iter().all(super::is_private);
        if !access.rules.is_empty() {
            if self.anonymous.is_some() {
                return Err(invalid(
                    "anonymous: access has rules; write a rule with `anonymous: true`".into(),
                ));
            }
            return Ok(access);
        }
        let everything: Vec<String> =
            [Action::Pull, Action::Push, Action::Delete].map(|action| action.as_str().to_owned()).into();
        let anonymous = match &self.anonymous {
            Some(actions) => actions.clone(),
            None if access.has_accounts() => Vec::new(),
            None if private => everything.clone(),
            None => {
                let address = addresses.iter().find(|address| !super::is_private(address));
                return Err(Error::OpenToAll {
                    address: address.map(ToString::to_string).unwrap_or_default(),
                });
            }
        };
        if !anonymous.is_empty() {
            let rule = RuleSettings { anonymous: true, allow: anonymous, ..everywhere() };
            access.rules.push(rule);
        }
        // Whoever has a password of ours may be meant. Whoever can get a token of somebody else's issuer may be anybody, so who
        // that is has to be said in rules.
        if access.has_accounts() && access.issuers.is_empty() {
            access.rules.push(RuleSettings { authenticated: true, allow: everything, ..everywhere() });
        }
        Ok(access)
    }
}

fn everywhere() -> RuleSettings {
    RuleSettings { repositories: vec!["**".into()], ..RuleSettings::default() }
}
