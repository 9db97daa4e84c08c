//! Who asks: turns a registry's challenge into an `Authorization` header.
//!
//! Credentials go to the host they are for, to its token server under the rule of [`realm`], and nowhere else.

pub(crate) mod challenge;
pub(crate) mod realm;
pub(crate) mod token;

use crate::hosts::Endpoint;
use crate::repo::Repo;
use crate::{Error, Result, redact};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use challenge::Challenge;
use larder_core::{Digest, Hasher, Secret};
use reqwest::header::HeaderValue;
use std::fmt;
use std::sync::Arc;
use url::Url;

use crate::keychain::{Keychain, Scope};

/// Proof of who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Credential {
    /// User name and password, or whatever the registry takes for them.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: Secret,
    },
    /// A refresh token: good for getting tokens, not for pulling.
    Identity {
        /// The name, often empty.
        username: String,
        /// The token.
        token: Secret,
    },
    /// A token that the registry itself takes.
    Bearer(Secret),
}

impl Credential {
    /// Tells credentials apart without keeping them.
    fn identity(&self) -> Digest {
        let mut hasher = Hasher::new(larder_core::Algorithm::Sha256);
        let (kind, name, secret) = match self {
            Self::Basic { username, password } => (b"b", username.as_str(), password),
            Self::Identity { username, token } => (b"i", username.as_str(), token),
            Self::Bearer(token) => (b"t", "", token),
        };
        hasher.update(kind);
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name.as_bytes());
        hasher.update(secret.reveal().as_bytes());
        hasher.finish()
    }

    fn secret(&self) -> &Secret {
        match self {
            Self::Basic { password, .. } => password,
            Self::Identity { token, .. } => token,
            Self::Bearer(token) => token,
        }
    }
}

/// Where credentials come from.
#[derive(Clone)]
pub enum Auth {
    /// Nobody in particular.
    Anonymous,
    /// Asked when a host demands it, per host.
    Keychain(Arc<dyn Keychain>),
    /// For the registry itself; mirrors do not get it.
    Given(Credential),
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Anonymous => "Anonymous",
            Self::Keychain(_) => "Keychain",
            Self::Given(_) => "Given",
        })
    }
}

/// A header ready to be sent, and what in it must never be repeated in a message.
#[derive(Clone)]
pub(crate) struct Authorization {
    pub(crate) header: HeaderValue,
    pub(crate) secrets: Vec<Secret>,
}

impl Authorization {
    pub(crate) fn basic(username: &str, password: &Secret) -> Self {
        let encoded = BASE64_STANDARD.encode(format!("{username}:{}", password.reveal()));
        let mut header =
            HeaderValue::try_from(format!("Basic {encoded}")).expect("base64 fits into a header");
        header.set_sensitive(true);
        Self { header, secrets: vec![password.clone(), Secret::new(encoded)] }
    }

    /// `None` where the token cannot stand in a header.
    pub(crate) fn bearer(token: &Secret) -> Option<Self> {
        let mut header = HeaderValue::try_from(format!("Bearer {}", token.reveal())).ok()?;
        header.set_sensitive(true);
        Some(Self { header, secrets: vec![token.clone()] })
    }
}

impl Repo {
    /// What to send without being asked: known once the host has asked for the same thing before.
    pub(crate) async fn beforehand(&self, endpoint: &Endpoint, need: &str) -> Result<Option<Authorization>> {
        let Some(challenge) = self.tokens().learned(&origin(&endpoint.base), need) else { return Ok(None) };
        self.answer(endpoint, &challenge, need, None).await
    }

    /// Answers a challenge. `None`: there is nothing (else) to say. `rejected` is what the host has just refused.
    pub(crate) async fn answer(
        &self,
        endpoint: &Endpoint,
        challenge: &Challenge,
        need: &str,
        rejected: Option<&Authorization>,
    ) -> Result<Option<Authorization>> {
        let credential = self.credential(endpoint).await?;
        let answer = match (challenge, &credential) {
            (Challenge::Basic, Some(Credential::Basic { username, password })) => {
                Some(Authorization::basic(username, password))
            }
            (Challenge::Bearer { .. }, Some(Credential::Bearer(token))) => Authorization::bearer(token),
            (Challenge::Bearer { realm: Some(realm), service, scope }, credential) => {
                let realm = self.realm(endpoint, realm, credential.is_some())?;
                let request = token::Request {
                    realm,
                    service: service.clone(),
                    scope: scope.clone().unwrap_or_else(|| need.to_owned()),
                    identity: credential.as_ref().map(Credential::identity),
                };
                let stale = rejected.and_then(|rejected| rejected.secrets.first());
                let token = self.token(&request, credential.as_ref(), stale).await?;
                Authorization::bearer(&token)
            }
            _ => None,
        };
        let answer = answer.filter(|answer| rejected.is_none_or(|rejected| rejected.header != answer.header));
        if answer.is_some() {
            self.tokens().learn(&origin(&endpoint.base), need, challenge);
        }
        Ok(answer)
    }

    /// Checks where the registry points to for tokens.
    fn realm(&self, endpoint: &Endpoint, text: &str, with_credentials: bool) -> Result<Url> {
        let refuse = |realm: String, reason| Error::Realm { host: endpoint.host(), realm, reason };
        let realm: Url = text.parse().map_err(|_| {
            refuse(redact::text(text.split(['?', '@']).next().unwrap_or_default(), 200), "it is not a URL")
        })?;
        let rule = if with_credentials {
            realm::allow(&endpoint.base, &realm, &self.config().realm_hosts)
        } else {
            realm::sane(&endpoint.base, &realm)
        };
        rule.map_err(|reason| refuse(redact::url(&realm), reason))?;
        Ok(realm)
    }

    async fn credential(&self, endpoint: &Endpoint) -> Result<Option<Credential>> {
        match self.auth() {
            Auth::Anonymous => Ok(None),
            Auth::Given(credential) => Ok(endpoint.upstream.then(|| credential.clone())),
            Auth::Keychain(keychain) => {
                if let Some(known) = self.remembered(&endpoint.registry) {
                    return Ok(known);
                }
                let scope = Scope { registry: &endpoint.registry, repository: self.repository() };
                let found = keychain.credential(&scope).await?.filter(|found| !found.secret().is_empty());
                self.remember(&endpoint.registry, found.clone());
                Ok(found)
            }
        }
    }

    /// Drops cached answers of the keychain. Returns whether asking again can make a difference.
    pub(crate) fn forget_credential(&self, endpoint: &Endpoint) -> bool {
        let Auth::Keychain(keychain) = self.auth() else { return false };
        keychain.forget(&Scope { registry: &endpoint.registry, repository: self.repository() });
        self.unremember(&endpoint.registry)
    }
}

/// Scheme, host and port as one string.
pub(crate) fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_here_prints_a_secret() {
        let secret = Secret::new("hunter2");
        let credentials = [
            Credential::Basic { username: "bob".into(), password: secret.clone() },
            Credential::Identity { username: String::new(), token: secret.clone() },
            Credential::Bearer(secret.clone()),
        ];
        for credential in &credentials {
            assert!(!format!("{credential:?} {:?}", Auth::Given(credential.clone())).contains("hunter2"));
        }
        let header = Authorization::basic("bob", &secret).header;
        assert!(!format!("{header:?}").contains("Ym9i"));
    }

    #[test]
    fn identities_differ_with_every_part() {
        let basic = |username: &str, password: &str| {
            Credential::Basic { username: username.into(), password: Secret::new(password) }.identity()
        };
        assert_eq!(basic("a", "b"), basic("a", "b"));
        assert_ne!(basic("a", "bc"), basic("ab", "c"));
        let token = Secret::new("b");
        assert_ne!(basic("", "b"), Credential::Bearer(token.clone()).identity());
        assert_ne!(
            Credential::Identity { username: String::new(), token: token.clone() }.identity(),
            Credential::Bearer(token).identity()
        );
    }
}
