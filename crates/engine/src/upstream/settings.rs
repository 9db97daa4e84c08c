//! Which upstreams there are, and how each is treated.

use crate::Error;
use larder_core::Registry;
use larder_core::{Bytes, Span};
use larder_server::LOCAL;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use url::Url;

/// How one registry is stood in front of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamSettings {
    /// Whether there is an upstream at all. Off, it is as if `offline`.
    pub enabled: bool,
    /// Where it is served; by default at its own host, with the mirrors and certificates of `certs.d`.
    pub url: Option<String>,
    /// Whose credentials are used.
    pub credentials: CredentialSource,
    /// Whether callers who did not log in may read with the operator's credential, and what the store has where there is no
    /// upstream to ask.
    pub share: bool,
    /// How long a tag, or a list, is believed without asking again.
    pub tag_ttl: Span,
    /// How long "there is no such thing" and "you may not" are believed without asking again.
    pub negative_ttl: Span,
    /// How long "you may" is believed without asking again.
    pub access_ttl: Span,
    /// How long a credential that was accepted is good for reading what is not public while the upstream cannot be asked.
    pub stale_access: Span,
    /// How long an answer is waited for where an older one could be given instead.
    pub patience: Span,
    /// Never asked: the store is all there is. What is not known to be public is for accounts of this server only, unless
    /// `share` says otherwise.
    pub offline: bool,
    /// The largest blob that is brought.
    pub max_blob: Bytes,
}

/// Whose credentials an upstream gets to see.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CredentialSource {
    /// The operator's, from the configured chain, for callers with an account of this server.
    Own,
    /// The caller's own, where one was presented.
    Client,
    /// The caller's own, else the operator's for callers with an account.
    #[default]
    Both,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        let seconds = |n| Span(Duration::from_secs(n));
        Self {
            enabled: true,
            url: None,
            credentials: CredentialSource::Both,
            share: false,
            tag_ttl: seconds(60),
            negative_ttl: seconds(10),
            access_ttl: seconds(300),
            stale_access: seconds(3600),
            patience: seconds(10),
            offline: false,
            max_blob: Bytes(64 << 30),
        }
    }
}

impl UpstreamSettings {
    /// Reads `NAME=URL`, or `NAME` alone for a registry at its own host.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<(String, Self), String> {
        let (name, url) = match text.split_once('=') {
            Some((name, url)) => (name.trim(), Some(url.trim())),
            None => (text.trim(), None),
        };
        let name = Registry::new(name).map_err(|error| error.to_string())?;
        not_local(&name)?;
        if let Some(url) = url {
            server(url)?;
        }
        let settings = Self { url: url.map(str::to_owned), ..Self::default() };
        Ok((name.as_str().to_owned(), settings))
    }
}

/// Stood in front of without any configuration.
pub const WELL_KNOWN: [&str; 10] = [
    "docker.io",
    "quay.io",
    "ghcr.io",
    "gcr.io",
    "registry.k8s.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
    "registry.gitlab.com",
    "nvcr.io",
    "docker.elastic.co",
];

/// The key whose settings hold for every well-known registry that is not named itself.
const OTHERS: &str = "*";

/// The upstreams in force: those configured, and the well-known ones. Those that are turned off are offline.
pub(super) fn resolve(
    configured: &BTreeMap<String, UpstreamSettings>,
) -> crate::Result<Vec<(Registry, UpstreamSettings, Option<Url>)>> {
    let invalid = |problem: String| Error::Config { problem: format!("upstreams: {problem}") };
    let mut all = BTreeMap::new();
    let others = configured.get(OTHERS).cloned().unwrap_or_default();
    if others.url.is_some() {
        return Err(invalid(format!("{OTHERS:?} stands for several registries and cannot have a url")));
    }
    for name in WELL_KNOWN {
        all.insert(Registry::new(name).expect("a host name"), others.clone());
    }
    for (name, settings) in configured.iter().filter(|(name, _)| *name != OTHERS) {
        let registry = Registry::new(name).map_err(|error| invalid(error.to_string()))?;
        not_local(&registry).map_err(&invalid)?;
        all.insert(registry, settings.clone());
    }
    all.into_iter()
        .map(|(registry, mut settings)| {
            settings.offline |= !settings.enabled;
            let url = settings.url.as_deref().map(server).transpose();
            let url = url.map_err(|problem| invalid(format!("{registry}: {problem}")))?;
            Ok((registry, settings, url))
        })
        .collect()
}

/// What was pushed here is nobody else's.
fn not_local(registry: &Registry) -> Result<(), String> {
    if registry.as_str() == LOCAL {
        return Err(format!(
            "{LOCAL} is where pushed images are kept, and has no upstream; choose another name"
        ));
    }
    Ok(())
}

/// A URL that a registry can be served at.
fn server(text: &str) -> Result<Url, String> {
    let url: Url =
        text.parse().map_err(|_| "the url is not a URL; write for example https://host:port".to_owned())?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err("the url is neither an http nor an https URL".into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(
            "the url has credentials in it; use larder login, or registries in the configuration".into()
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("the url has a query or a fragment".into());
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(json: serde_json::Value) -> Result<Vec<(String, UpstreamSettings)>, String> {
        let configured = serde_json::from_value(json).map_err(|error| error.to_string())?;
        let mut all = resolve(&configured).map_err(|error| error.to_string())?;
        all.retain(|(_, settings, _)| !settings.offline);
        Ok(all.into_iter().map(|(name, settings, _)| (name.as_str().to_owned(), settings)).collect())
    }

    #[test]
    fn well_known_registries_need_no_configuration_and_can_be_turned_off() {
        let all = resolved(serde_json::json!({})).unwrap();
        assert_eq!(all.len(), WELL_KNOWN.len());
        assert!(all.iter().all(|(_, settings)| *settings == UpstreamSettings::default()));
        let one = resolved(serde_json::json!({"*": {"enabled": false}, "r.example:5000": {"share": true}}))
            .unwrap();
        assert_eq!(one.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["r.example:5000"]);
        let ttl = serde_json::json!({"*": {"tag_ttl": "5m"}, "index.docker.io": {}});
        let spans: Vec<_> =
            resolved(ttl).unwrap().iter().map(|(name, s)| (name.clone(), s.tag_ttl)).collect();
        assert!(spans.contains(&("quay.io".into(), "5m".parse().unwrap())));
        assert!(spans.contains(&("docker.io".into(), "60s".parse().unwrap())), "{spans:?}");
    }

    #[test]
    fn mistakes_are_named() {
        for (json, word) in [
            (serde_json::json!({"r.example": {"ulr": "x"}}), "ulr"),
            (serde_json::json!({"r.example": {"credentials": "mine"}}), "mine"),
            (serde_json::json!({"-": {}}), "host name"),
            (serde_json::json!({"localhost": {}}), "pushed"),
            (serde_json::json!({"r.example": {"url": "r.example"}}), "not a URL"),
            (serde_json::json!({"r.example": {"url": "ftp://r.example"}}), "neither"),
            (serde_json::json!({"r.example": {"url": "https://u:hunter2@r.example"}}), "credentials"),
            (serde_json::json!({"*": {"url": "https://r.example"}}), "several"),
        ] {
            let error = resolved(json).unwrap_err();
            assert!(error.contains(word) && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn flags() {
        let (name, settings) = UpstreamSettings::parse("Hub.example=http://127.0.0.1:5000").unwrap();
        assert_eq!((name.as_str(), settings.url.as_deref()), ("hub.example", Some("http://127.0.0.1:5000")));
        assert_eq!(UpstreamSettings::parse("r.example").unwrap().1, UpstreamSettings::default());
        for bad in [
            "",
            "localhost=http://127.0.0.1:5000",
            "=http://a",
            "r.example=",
            "r.example=nothing",
            "a/b=http://x",
        ] {
            assert!(UpstreamSettings::parse(bad).is_err(), "{bad}");
        }
    }
}
