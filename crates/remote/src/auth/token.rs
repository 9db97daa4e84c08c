//! Tokens: fetched from the realm, kept until they expire.
//!
//! A token is found again only by realm, service, scope *and* the credential it was issued for, so that nobody pulls with
//! somebody else's token.

use super::challenge::Challenge;
use super::{Authorization, Credential};
use crate::exchange::{Payload, Request as Outgoing};
use crate::repo::Repo;
use crate::{Error, Result, redact};
use larder_core::{Classify, Digest, Kind, Secret};
use reqwest::Method;
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::Serializer;

/// What a token is asked for, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Request {
    pub(crate) realm: Url,
    pub(crate) service: Option<String>,
    pub(crate) scope: String,
    /// `None` is nobody.
    pub(crate) identity: Option<Digest>,
}

/// Tokens and learned challenges of a client.
#[derive(Default)]
pub(crate) struct Tokens {
    slots: Mutex<HashMap<Request, Slot>>,
    learned: Mutex<HashMap<(String, String), Challenge>>,
}

/// Locked while a token is being fetched, so that many layers at once fetch one token.
type Slot = Arc<tokio::sync::Mutex<Option<Token>>>;

struct Token {
    value: Secret,
    expires: Instant,
}

/// Entries beyond which everything is forgotten: a bound, not a policy.
const MOST: usize = 4096;
const ANSWER_LIMIT: u64 = 1 << 20;
/// Used where the server does not say (distribution spec, token authentication).
const LIFETIME: Duration = Duration::from_secs(60);

impl Tokens {
    /// What `origin` demanded when it was last asked for `need`.
    pub(crate) fn learned(&self, origin: &str, need: &str) -> Option<Challenge> {
        let learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        learned.get(&(origin.to_owned(), need.to_owned())).cloned()
    }

    pub(crate) fn learn(&self, origin: &str, need: &str, challenge: &Challenge) {
        let mut learned = self.learned.lock().unwrap_or_else(PoisonError::into_inner);
        if learned.len() >= MOST {
            learned.clear();
        }
        learned.insert((origin.to_owned(), need.to_owned()), challenge.clone());
    }

    pub(crate) fn unlearn(&self, origin: &str, need: &str) {
        self.learned
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&(origin.to_owned(), need.to_owned()));
    }

    fn slot(&self, request: &Request) -> Slot {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if slots.len() >= MOST && !slots.contains_key(request) {
            slots.clear();
        }
        slots.entry(request.clone()).or_default().clone()
    }
}

impl Repo {
    /// A token for `request`; never `stale`, which the registry has just refused.
    pub(crate) async fn token(
        &self,
        request: &Request,
        credential: Option<&Credential>,
        stale: Option<&Secret>,
    ) -> Result<Secret> {
        let slot = self.tokens().slot(request);
        let mut slot = slot.lock().await;
        if let Some(token) = slot.as_ref()
            && token.expires > Instant::now()
            && stale != Some(&token.value)
        {
            return Ok(token.value.clone());
        }
        *slot = None;
        // Counted from before the request, so that a slow answer does not make the token look younger.
        let asked = Instant::now();
        let (value, lifetime) =
            self.fetch_token(request, credential).await.map_err(|error| match error.kind() {
                // What the token server lacks is not what the registry was asked for.
                Kind::NotFound => Error::Token {
                    realm: redact::url(&request.realm),
                    reason: "the token server has nothing there",
                },
                _ => error,
            })?;
        *slot = Some(Token { value: value.clone(), expires: asked + lifetime });
        Ok(value)
    }

    async fn fetch_token(
        &self,
        request: &Request,
        credential: Option<&Credential>,
    ) -> Result<(Secret, Duration)> {
        let unsupported =
            |error: &Error| matches!(error.status().map(|status| status.as_u16()), Some(404 | 405 | 501));
        match credential {
            Some(Credential::Identity { username, token }) => {
                match self
                    .post_token(
                        request,
                        &[("grant_type", "refresh_token"), ("refresh_token", token.reveal())],
                        token,
                    )
                    .await
                {
                    // Token servers without the OAuth2 route take the token for a password.
                    Err(error) if unsupported(&error) && !username.is_empty() => {
                        self.get_token(request, Some((username, token))).await
                    }
                    outcome => outcome,
                }
            }
            Some(Credential::Basic { username, password }) => {
                match self.get_token(request, Some((username, password))).await {
                    Err(error) if unsupported(&error) => {
                        let form = [
                            ("grant_type", "password"),
                            ("username", username.as_str()),
                            ("password", password.reveal()),
                        ];
                        self.post_token(request, &form, password).await
                    }
                    outcome => outcome,
                }
            }
            Some(Credential::Bearer(_)) | None => self.get_token(request, None).await,
        }
    }

    async fn get_token(
        &self,
        request: &Request,
        basic: Option<(&String, &Secret)>,
    ) -> Result<(Secret, Duration)> {
        let mut url = request.realm.clone();
        {
            let mut query = url.query_pairs_mut();
            if let Some(service) = &request.service {
                query.append_pair("service", service);
            }
            for scope in request.scope.split_ascii_whitespace() {
                query.append_pair("scope", scope);
            }
            if let Some((username, _)) = basic {
                query.append_pair("account", username);
            }
        }
        let authorization = basic.map(|(username, password)| Authorization::basic(username, password));
        self.ask_token(request, Method::GET, url, authorization, None).await
    }

    async fn post_token(
        &self,
        request: &Request,
        form: &[(&str, &str)],
        secret: &Secret,
    ) -> Result<(Secret, Duration)> {
        let payload = Payload::Bytes(encode(request, form).into());
        // Sent in the body; listed so that an echo of it does not reach a message.
        let silent = Authorization { header: HeaderValue::from_static(""), secrets: vec![secret.clone()] };
        self.ask_token(request, Method::POST, request.realm.clone(), Some(silent), Some(payload)).await
    }

    async fn ask_token(
        &self,
        request: &Request,
        method: Method,
        url: Url,
        authorization: Option<Authorization>,
        payload: Option<Payload>,
    ) -> Result<(Secret, Duration)> {
        let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
        if payload.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        }
        let named = self.hosts()?.named.clone();
        let outgoing = Outgoing {
            method,
            url,
            headers,
            private: HeaderMap::new(),
            authorization: authorization.as_ref(),
            payload,
            named: &named,
            login: Some(self.registry().to_string()),
        };
        let response = self.exchange().follow(outgoing).await?.accept(&[200]).await?;
        let answer = response.bytes(ANSWER_LIMIT).await?;
        let useless = |reason| Error::Token { realm: redact::url(&request.realm), reason };
        let answer: serde_json::Value =
            serde_json::from_slice(&answer).map_err(|_| useless("the answer is not JSON"))?;
        let text =
            |name: &str| answer.get(name).and_then(|value| value.as_str()).filter(|text| !text.is_empty());
        let token = text("token")
            .or_else(|| text("access_token"))
            .ok_or_else(|| useless("the answer has no token"))?;
        if HeaderValue::try_from(token).is_err() {
            return Err(useless("the token cannot stand in a header"));
        }
        Ok((Secret::new(token), lifetime(answer.get("expires_in"))))
    }
}

fn encode(request: &Request, form: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Serializer::new(String::new());
    body.extend_pairs(form);
    body.append_pair("client_id", "larder");
    if let Some(service) = &request.service {
        body.append_pair("service", service);
    }
    body.append_pair("scope", &request.scope);
    body.finish().into_bytes()
}

/// How long to trust a token: a tenth less than promised, so that it does not expire on its way. `issued_at` is not read,
/// because clocks disagree.
fn lifetime(expires_in: Option<&serde_json::Value>) -> Duration {
    let seconds = match expires_in {
        Some(serde_json::Value::Number(number)) => number.as_f64(),
        Some(serde_json::Value::String(text)) => text.parse().ok(),
        _ => None,
    };
    let whole = seconds
        .filter(|seconds| *seconds >= 0.0)
        .map_or(LIFETIME, |seconds| Duration::from_secs_f64(seconds.min(86_400.0)));
    whole.mul_f64(0.9)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lifetimes() {
        let table = [
            ("null", 54.0),
            ("300", 270.0),
            ("\"300\"", 270.0),
            ("0", 0.0),
            ("-5", 54.0),
            ("1e300", 77_760.0),
            ("\"x\"", 54.0),
        ];
        for (json, seconds) in table {
            let value: serde_json::Value = serde_json::from_str(json).unwrap();
            assert_eq!(lifetime(Some(&value)).as_secs_f64(), seconds, "{json}");
        }
    }
}
