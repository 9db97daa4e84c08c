//! What clients send to the token endpoint.

use super::Refused;
use larder_core::Secret;
use serde::Serialize;

/// A request for a token: the query of a GET ("Token Authentication Specification"), or the form of a POST ("OAuth2 Token
/// Authentication").
#[derive(Debug, Clone, Default)]
pub struct TokenRequest {
    /// Who is meant to take the token.
    pub service: Option<String>,
    /// What the token is to be for, in the order asked.
    pub scopes: Vec<String>,
    /// Whether a refresh token is wanted too. There are none here; clients keep their password or certificate.
    pub offline: bool,
    /// What software asks.
    pub client_id: Option<String>,
    pub(super) grant_type: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
}

/// The answer.
#[derive(Clone, Serialize)]
pub struct TokenResponse {
    #[serde(serialize_with = "reveal")]
    token: Secret,
    /// The same, by the name that OAuth 2 gives it.
    #[serde(serialize_with = "reveal")]
    access_token: Secret,
    /// Seconds.
    expires_in: u64,
    /// RFC 3339.
    issued_at: String,
    /// What was granted, which may be less than was asked (RFC 6749 §5.1).
    scope: String,
}

impl TokenRequest {
    /// Reads a query, or the form in a body. Unknown fields are ignored; numbers and sizes are bounded.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        if text.len() > LENGTH_LIMIT {
            return Err(Refused::Request("it is too long"));
        }
        let mut request = Self::default();
        for pair in text.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value).ok_or(Refused::Request("a field is not URL-encoded UTF-8"))?;
            match name {
                "service" => request.service = Some(value),
                "scope" => {
                    let scopes = value.split(' ').filter(|scope| !scope.is_empty());
                    request.scopes.extend(scopes.map(str::to_owned));
                }
                "offline_token" => request.offline = value == "true" || value == "1",
                "access_type" => request.offline = value == "offline",
                "client_id" => request.client_id = Some(value),
                "grant_type" => request.grant_type = Some(value),
                "username" => request.username = Some(value),
                "password" => request.password = Some(Secret::new(value)),
                _ => {}
            }
        }
        if request.scopes.len() > SCOPE_LIMIT {
            return Err(Refused::Request("it has more than 100 scopes"));
        }
        Ok(request)
    }
}

impl TokenResponse {
    pub(super) fn new(token: Secret, expires_in: u64, issued_at: String, scope: String) -> Self {
        Self { access_token: token.clone(), token, expires_in, issued_at, scope }
    }

    /// The token itself.
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// The body of the answer, `application/json`. Not to be cached by anybody (RFC 6749 §5.1).
    pub fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings and a number can always be written")
    }
}

impl std::fmt::Debug for TokenResponse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenResponse").field("scope", &self.scope).finish_non_exhaustive()
    }
}

fn reveal<S: serde::Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.reveal())
}

/// `application/x-www-form-urlencoded`, one value.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).ok()
}

const LENGTH_LIMIT: usize = 16 << 10;
const SCOPE_LIMIT: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn queries_and_forms_are_read_alike() {
        let query = "account=alice&scope=repository%3Ahost%3A5000%2Fa%3Apull%2Cpush&scope=repository:b:pull&service=larder&offline_token=true";
        let request = TokenRequest::parse(query).unwrap();
        assert_eq!(request.scopes, ["repository:host:5000/a:pull,push", "repository:b:pull"]);
        assert_eq!(request.service.as_deref(), Some("larder"));
        assert!(request.offline);
        let form = "grant_type=password&username=alice&password=p%26+%C3%A9&client_id=containerd&scope=repository:a:pull+repository:b:pull";
        let request = TokenRequest::parse(form).unwrap();
        assert_eq!(request.scopes, ["repository:a:pull", "repository:b:pull"]);
        assert_eq!(request.password.as_ref().unwrap().reveal(), "p& é");
        assert!(!format!("{request:?}").contains("p&"));
    }

    #[test]
    fn too_much_is_refused() {
        assert!(TokenRequest::parse(&"scope=a&".repeat(101)).is_err());
        assert!(TokenRequest::parse(&"a".repeat(17 << 10)).is_err());
        assert!(TokenRequest::parse("scope=%zz").is_err());
        assert!(TokenRequest::parse("scope=%f").is_err());
        assert!(TokenRequest::parse("scope=%ff").is_err());
    }

    #[test]
    fn the_answer_shows_its_token_to_the_client_only() {
        let response = TokenResponse::new(Secret::new("canary"), 300, "now".into(), String::new());
        assert!(!format!("{response:?}").contains("canary"));
        let json: serde_json::Value = serde_json::from_slice(&response.to_json()).unwrap();
        assert_eq!((&json["token"], &json["access_token"]), (&"canary".into(), &"canary".into()));
    }

    proptest! {
        #[test]
        fn never_panics(text in "[ -~é]{0,80}") {
            let _ = TokenRequest::parse(&text);
        }
    }
}
