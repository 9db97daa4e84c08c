//! Somebody else whose tokens are good here.

use super::jwt::{self, Claims, Jwt};
use super::key_set::{KeySet, KeySource, Place};
use super::scope::AccessEntry;
use super::settings::{IssuerKind, IssuerSettings};
use super::{AccessError, Clock, Refused};
use crate::{Grant, Login};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// One configured issuer.
pub(super) struct Issuer {
    settings: IssuerSettings,
    keys: Arc<KeySet>,
}

/// What a token proves.
#[derive(Debug)]
pub(super) struct Proof {
    /// With the issuer's prefix.
    pub(super) name: String,
    /// With the issuer's prefix.
    pub(super) groups: Vec<String>,
    pub(super) login: Login,
    pub(super) grants: Option<Vec<Grant>>,
}

impl Issuer {
    /// `key` is where the issuer stands, for messages. `before` are those of the configuration until now: their keys are kept.
    pub(super) fn new(settings: &IssuerSettings, key: &str, before: &[Self]) -> Result<Self, AccessError> {
        let wrong = |field: &str, reason: String| AccessError::setting(format!("{key}.{field}"), reason);
        for (field, value) in [("issuer", &settings.issuer), ("audience", &settings.audience)] {
            if value.is_empty() {
                return Err(wrong(field, "it is missing; a token must say it".into()));
            }
        }
        if settings.name_claim.is_empty() {
            return Err(wrong("name_claim", "it is empty; `sub` is what every token has".into()));
        }
        if settings.refresh < Duration::from_secs(30) || settings.refresh > Duration::from_secs(86_400) {
            return Err(wrong("refresh", "it is less than 30 seconds or more than a day".into()));
        }
        let mut algorithms = Vec::with_capacity(settings.algorithms.len());
        for name in &settings.algorithms {
            let algorithm = jwt::algorithm(name).ok_or_else(|| {
                wrong(
                    "algorithms",
                    format!(
                        "{name:?} is none; there are RS, PS and ES with 256 and 384, RS512, PS512 and EdDSA"
                    ),
                )
            })?;
            algorithms.push(algorithm);
        }
        if algorithms.is_empty() {
            return Err(wrong("algorithms", "there are none".into()));
        }
        if let Some(realm) = &settings.realm {
            if settings.kind != IssuerKind::Registry {
                return Err(wrong("realm", "only `kind: registry` has one".into()));
            }
            if !is_realm(realm) {
                return Err(wrong("realm", "it is no absolute URL".into()));
            }
            if settings.audience.contains(['"', '\\']) || settings.audience.contains(char::is_control) {
                return Err(wrong("audience", "it has quotes, and stands in challenges".into()));
            }
        }
        let place = match (&settings.jwks_url, &settings.jwks_file) {
            (Some(url), None) if is_safe(url) => Place::Url(url.clone()),
            (Some(_), None) => {
                let reason = "it is neither https, nor http on this host, or has a password in it";
                return Err(wrong("jwks_url", reason.into()));
            }
            (None, Some(file)) => Place::File(file.clone()),
            _ => {
                return Err(wrong("jwks_url", "either jwks_url or jwks_file is needed, and not both".into()));
            }
        };
        let fresh = KeySet::new(place, algorithms, settings.refresh);
        fresh.check(&settings.issuer)?;
        let kept = before.iter().find(|other| other.keys.is_like(&fresh));
        let keys = kept.map_or_else(|| Arc::new(fresh), |other| Arc::clone(&other.keys));
        Ok(Self { settings: settings.clone(), keys })
    }

    pub(super) fn settings(&self) -> &IssuerSettings {
        &self.settings
    }

    /// Why its keys could not be had last time.
    pub(super) fn problem(&self) -> Option<String> {
        let problem = self.keys.problem()?;
        Some(format!("the keys of {} are not available: {problem}", self.settings.issuer))
    }

    /// Checks a token that says to be from this issuer.
    pub(super) async fn prove(
        &self,
        token: &Jwt<'_>,
        source: &dyn KeySource,
        clock: &Clock,
    ) -> Result<Proof, Refused> {
        let keys = self.keys.keys(token.key_id(), source, &**clock).await;
        let keys = keys.map_err(|reason| Refused::Keys { issuer: self.settings.issuer.clone(), reason })?;
        let claims = token.verify(keys.iter()).map_err(Refused::Token)?;
        claims.check(&self.settings.issuer, &self.settings.audience, clock()).map_err(Refused::Token)?;
        self.read(&claims).map_err(Refused::Token)
    }

    fn read(&self, claims: &Claims) -> Result<Proof, &'static str> {
        for (name, value) in &self.settings.require {
            if claims.get(name) != Some(value) {
                return Err("it lacks a claim that is required");
            }
        }
        let unverified = |value: &Value| *value != Value::Bool(true);
        if self.settings.name_claim == "email" && claims.get("email_verified").is_some_and(unverified) {
            return Err("its e-mail address is not verified");
        }
        let prefix = self.settings.prefix();
        let name = claims.text(&self.settings.name_claim).ok_or("it names no account")?;
        if name.is_empty() || name.len() > NAME_LIMIT || name.contains(char::is_control) {
            return Err("the account it names is no name");
        }
        let groups = match self.settings.groups_claim.as_deref().and_then(|claim| claims.get(claim)) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::String(one)) => vec![format!("{prefix}{one}")],
            Some(Value::Array(many)) => {
                let group = |value: &Value| value.as_str().map(|name| format!("{prefix}{name}"));
                many.iter().map(group).collect::<Option<_>>().ok_or("one of its groups is no text")?
            }
            Some(_) => return Err("its groups are no list"),
        };
        let (login, grants) = match self.settings.kind {
            IssuerKind::Registry => (Login::Token, Some(grants(claims)?)),
            IssuerKind::Oidc => (Login::Identity, None),
        };
        Ok(Proof { name: format!("{prefix}{name}"), groups, login, grants })
    }
}

/// What the `access` claim grants. No claim grants nothing; one that cannot be read is an error.
pub(super) fn grants(claims: &Claims) -> Result<Vec<Grant>, &'static str> {
    match claims.get("access") {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            let entries: Vec<AccessEntry> =
                serde_json::from_value(value.clone()).map_err(|_| "its access claim is malformed")?;
            Ok(entries.iter().filter_map(AccessEntry::grant).collect())
        }
    }
}

/// `https`, or `http` to this very host.
fn is_safe(url: &str) -> bool {
    let Ok(uri) = url.parse::<http::Uri>() else { return false };
    let local = || {
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    };
    match uri.scheme_str() {
        _ if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => false,
        Some("https") => uri.host().is_some_and(|host| !host.is_empty()),
        Some("http") => local(),
        _ => false,
    }
}

/// An absolute URL that can stand between quotes.
fn is_realm(url: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    let absolute =
        |uri: &http::Uri| matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some();
    url.bytes().all(plain) && url.parse::<http::Uri>().is_ok_and(|uri| absolute(&uri))
}

const NAME_LIMIT: usize = 256;
