//! What is configured about access.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The `access` section of a server's configuration. Names files, holds no secret.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccessSettings {
    /// A file of accounts as `htpasswd -B` writes it. Read again when it changes.
    pub htpasswd: Option<PathBuf>,
    /// Groups of accounts, by the account's full name (with the prefix of its issuer, for those that have one).
    pub users: BTreeMap<String, UserSettings>,
    /// This server's own token service.
    pub tokens: Option<TokenSettings>,
    /// Others whose tokens are good here.
    pub issuers: Vec<IssuerSettings>,
    /// Client certificates.
    pub client_ca: Option<ClientCaSettings>,
    /// Who may do what. What no rule allows is denied.
    pub rules: Vec<RuleSettings>,
}

/// What is known about one account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserSettings {
    /// The groups it is in. Changes take effect with the next request, also for tokens that are out already.
    pub groups: Vec<String>,
}

/// The token service, as the distribution project's "Token Authentication Specification" describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TokenSettings {
    /// The `iss` of tokens.
    pub issuer: String,
    /// The `aud` of tokens, and the service in challenges.
    pub service: String,
    /// The private key: ECDSA on P-256, PKCS #8, PEM. [`crate::create_token_key`] makes one. After a reload with another key, tokens of
    /// the old one are good for one more lifetime; a restart ends them at once.
    pub key: PathBuf,
    /// How long a token is good: a minute to an hour. For so long a changed password, and the groups of an identity token, do not
    /// matter to tokens that are out; rules, groups of the configuration and accounts that are gone matter at once.
    #[serde(with = "span")]
    pub lifetime: Duration,
}

/// Somebody else whose signed tokens are good here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct IssuerSettings {
    /// What its tokens say about access.
    pub kind: IssuerKind,
    /// The `iss` of its tokens, letter by letter.
    pub issuer: String,
    /// The `aud` its tokens must have.
    pub audience: String,
    /// Where its keys are: `https`, or `http` on this host.
    pub jwks_url: Option<String>,
    /// The file its keys are in, instead.
    pub jwks_file: Option<PathBuf>,
    /// How old keys may get before they are fetched again.
    #[serde(with = "span")]
    pub refresh: Duration,
    /// Signatures that are taken, by their names in RFC 7518. Only asymmetric ones.
    pub algorithms: Vec<String>,
    /// The claim that names the account.
    pub name_claim: String,
    /// The claim that lists groups.
    pub groups_claim: Option<String>,
    /// Claims that must have exactly these values.
    pub require: BTreeMap<String, Value>,
    /// Stands before the names of accounts and groups, so that they are never somebody else's. `oidc:` or `token:` by default.
    pub prefix: Option<String>,
    /// Where clients get a token, for challenges; only for `kind: registry`.
    pub realm: Option<String>,
}

/// What the tokens of an issuer are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IssuerKind {
    /// Registry tokens: an `access` claim narrows what their account may do.
    #[default]
    Registry,
    /// OpenID Connect identity tokens: they say who somebody is, and the rules what that means.
    Oidc,
}

/// How client certificates become accounts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClientCaSettings {
    /// The authorities, PEM. TLS checks certificates against them.
    pub file: PathBuf,
    /// What in a certificate names the account.
    pub name: CertificateName,
    /// Stands before the name. `cert:` by default.
    pub prefix: Option<String>,
}

/// A place in a certificate where a name stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateName {
    /// The common name of the subject.
    #[default]
    CommonName,
    /// The alternative name of type DNS.
    Dns,
    /// The alternative name of type e-mail (RFC 822).
    Email,
    /// The alternative name of type URI, as SPIFFE uses it.
    Uri,
}

/// One rule.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleSettings {
    /// Patterns of repositories: `team/*` (only here), `docker.io/library/**`, `**`. A part `**` is any number of parts, `*` and
    /// `?` stay within a part, and a pattern whose first part is no registry is about `localhost/`.
    pub repositories: Vec<String>,
    /// Accounts.
    pub users: Vec<String>,
    /// Groups.
    pub groups: Vec<String>,
    /// Everybody, with or without an account.
    pub anonymous: bool,
    /// Everybody with an account.
    pub authenticated: bool,
    /// `pull`, `push`, `delete`, `admin`. None of them implies another: who pushes mostly needs `pull` too, because clients look
    /// whether a blob is there already.
    pub allow: Vec<String>,
}

impl AccessSettings {
    /// Whether there is any way to log in.
    pub fn has_accounts(&self) -> bool {
        self.htpasswd.is_some() || !self.issuers.is_empty() || self.client_ca.is_some()
    }

    /// Whether somebody without an account may do more than read.
    pub fn is_open_for_writing(&self) -> bool {
        let writes = |rule: &RuleSettings| rule.allow.iter().any(|action| action != "pull");
        self.rules.iter().any(|rule| rule.anonymous && writes(rule))
    }

    /// Whether nothing is configured at all.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Default for TokenSettings {
    fn default() -> Self {
        Self {
            issuer: "larder".into(),
            service: "larder".into(),
            key: PathBuf::new(),
            lifetime: Duration::from_secs(300),
        }
    }
}

impl Default for IssuerSettings {
    fn default() -> Self {
        Self {
            kind: IssuerKind::default(),
            issuer: String::new(),
            audience: String::new(),
            jwks_url: None,
            jwks_file: None,
            refresh: Duration::from_secs(300),
            algorithms: vec!["RS256".into(), "ES256".into()],
            name_claim: "sub".into(),
            groups_claim: None,
            require: BTreeMap::new(),
            prefix: None,
            realm: None,
        }
    }
}

impl IssuerSettings {
    /// What stands before its accounts and groups.
    pub(super) fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or(match self.kind {
            IssuerKind::Registry => "token:",
            IssuerKind::Oidc => "oidc:",
        })
    }
}

impl ClientCaSettings {
    /// What stands before accounts of certificates.
    pub(super) fn prefix(&self) -> &str {
        self.prefix.as_deref().unwrap_or("cert:")
    }
}

/// Spans of time as people write them: `90s`, `5m`, `1h`, or a number of seconds.
mod span {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};
    use serde_json::Value;
    use std::time::Duration;

    pub(super) fn serialize<S: Serializer>(span: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{}s", span.as_secs()))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let text = match &value {
            Value::String(text) => text.clone(),
            Value::Number(number) => format!("{number}s"),
            other => return Err(D::Error::custom(format!("{other} is not a time span"))),
        };
        parse(&text).ok_or_else(|| {
            D::Error::custom(format!("{text:?} is not a time span; write for example 90s, 5m or 1h"))
        })
    }

    fn parse(text: &str) -> Option<Duration> {
        let text = text.trim();
        let unit = text.len() - text.bytes().rev().take_while(u8::is_ascii_alphabetic).count();
        let factor = match &text[unit..] {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        let number: u64 = text[..unit].trim().parse().ok()?;
        Some(Duration::from_secs(number.checked_mul(factor)?))
    }
}
