//! Who may do what: open, basic (RFC 7617), or bearer tokens of an own token endpoint (distribution's "Token
//! Authentication" and "OAuth2 token" specifications).

use super::fault::glob;
use super::http::{self, Head};
use super::reply::Reply;
use crate::Random;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::json;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The rules of access. Without users and anonymous rights nobody gets in, except to an open registry.
#[derive(Debug, Clone)]
pub struct Access {
    scheme: Scheme,
    users: Vec<User>,
    anonymous: Vec<Right>,
    lifetime: Duration,
    uses: u32,
    realm: Option<String>,
    service: String,
    identity_tokens: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scheme {
    Open,
    Basic,
    Bearer,
}

#[derive(Debug, Clone)]
struct User {
    name: String,
    password: String,
    rights: Vec<Right>,
}

/// Actions on the repositories that match a pattern.
#[derive(Debug, Clone)]
struct Right {
    repositories: String,
    actions: String,
}

/// A token that was handed out.
#[derive(Debug)]
struct Token {
    grants: Vec<Right>,
    until: Instant,
    uses: u32,
}

/// The tokens in circulation.
#[derive(Debug)]
pub(crate) struct Tokens {
    random: Random,
    valid: HashMap<String, Token>,
    /// Identity token → user.
    identities: HashMap<String, String>,
}

/// An action on a repository; the repository of `/v2/` itself is empty.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Need<'a> {
    pub(crate) repository: &'a str,
    pub(crate) action: &'a str,
}

impl Access {
    /// Everybody may do everything.
    pub fn open() -> Self {
        Self::new(Scheme::Open)
    }

    /// Name and password with every request.
    pub fn basic() -> Self {
        Self::new(Scheme::Basic)
    }

    /// A token of `/token` with every request. Tokens live an hour and work any number of times.
    pub fn bearer() -> Self {
        Self::new(Scheme::Bearer)
    }

    fn new(scheme: Scheme) -> Self {
        Self {
            scheme,
            users: Vec::new(),
            anonymous: Vec::new(),
            lifetime: Duration::from_secs(3600),
            uses: u32::MAX,
            realm: None,
            service: "larder-tests".into(),
            identity_tokens: false,
        }
    }

    /// A user who may do everything.
    #[must_use]
    pub fn user(self, name: &str, password: &str) -> Self {
        self.user_with(name, password, &[("*", "pull,push,delete")])
    }

    /// A user with rights: pairs of repository pattern (`team/*`) and actions (`pull,push,delete`).
    #[must_use]
    pub fn user_with(mut self, name: &str, password: &str, rights: &[(&str, &str)]) -> Self {
        self.users.push(User { name: name.into(), password: password.into(), rights: rights_of(rights) });
        self
    }

    /// What may be done without credentials; with bearer tokens, an anonymous token is needed even so.
    #[must_use]
    pub fn anonymous(mut self, rights: &[(&str, &str)]) -> Self {
        self.anonymous = rights_of(rights);
        self
    }

    /// How long a token works; said in `expires_in` rounded up to seconds.
    #[must_use]
    pub fn lifetime(self, lifetime: Duration) -> Self {
        Self { lifetime, ..self }
    }

    /// How many requests a token is good for, whatever its lifetime says.
    #[must_use]
    pub fn uses(self, uses: u32) -> Self {
        Self { uses, ..self }
    }

    /// Another token endpoint in the challenge than this registry's own, for example on another host.
    #[must_use]
    pub fn realm(self, url: &str) -> Self {
        Self { realm: Some(url.into()), ..self }
    }

    /// Hands out identity (refresh) tokens to those who ask for them, and takes them at `POST /token`.
    #[must_use]
    pub fn identity_tokens(self) -> Self {
        Self { identity_tokens: true, ..self }
    }

    /// `Err` is the 401 to answer with.
    pub(crate) fn check(
        &self,
        tokens: &mut Tokens,
        host: &str,
        head: &Head,
        needs: &[Need<'_>],
    ) -> Result<(), Reply> {
        let given = head.header("authorization").unwrap_or_default();
        let (kind, value) = given.split_once(' ').unwrap_or((given, ""));
        match self.scheme {
            Scheme::Open => Ok(()),
            Scheme::Basic => {
                let rights = if kind.eq_ignore_ascii_case("basic") {
                    self.basic_user(value).map(|user| &user.rights)
                } else {
                    (!self.anonymous.is_empty()).then_some(&self.anonymous)
                };
                let allowed = rights.is_some_and(|rights| needs.iter().all(|need| covers(rights, *need)));
                if allowed { Ok(()) } else { Err(denied("Basic realm=\"larder tests\"")) }
            }
            Scheme::Bearer => {
                let token = kind.eq_ignore_ascii_case("bearer").then(|| tokens.spend(value));
                let problem = match token {
                    None => "",
                    Some(None) => ",error=\"invalid_token\"",
                    Some(Some(grants)) if needs.iter().all(|need| covers(&grants, *need)) => return Ok(()),
                    Some(Some(_)) => ",error=\"insufficient_scope\"",
                };
                let realm = self.realm.clone().unwrap_or_else(|| format!("http://{host}/token"));
                Err(denied(&format!(
                    "Bearer realm=\"{realm}\",service=\"{}\"{}{problem}",
                    self.service,
                    challenge_scope(needs)
                )))
            }
        }
    }

    /// The token endpoint: GET with basic credentials or none, POST with a form.
    pub(crate) fn token(&self, tokens: &mut Tokens, head: &Head, form: &[u8]) -> Reply {
        let form = http::parameters(&String::from_utf8_lossy(form));
        let query = http::parameters(&head.query);
        let is_post = head.method == "POST";
        let parameters = if is_post { &form } else { &query };
        let get =
            |name: &str| parameters.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str());
        let basic = head.header("authorization").and_then(|value| value.strip_prefix("Basic "));
        let user = match (is_post, get("grant_type"), basic) {
            (true, Some("password"), _) => {
                Some(self.user_of(get("username").unwrap_or(""), get("password").unwrap_or("")))
            }
            (true, Some("refresh_token"), _) => {
                let name = tokens.identities.get(get("refresh_token").unwrap_or("")).cloned();
                Some(name.and_then(|name| self.users.iter().find(|user| user.name == name)))
            }
            (true, _, _) => return Reply::error(400, "UNSUPPORTED", "unknown grant_type"),
            (false, _, Some(value)) => Some(self.basic_user(value)),
            (false, _, None) => None,
        };
        let (user, rights) = match user {
            Some(None) => return Reply::error(401, "UNAUTHORIZED", "wrong name or password"),
            Some(Some(user)) => (Some(user), &user.rights),
            None => (None, &self.anonymous),
        };
        let grants = parameters
            .iter()
            .filter(|(name, _)| name == "scope")
            .flat_map(|(_, value)| value.split(' '))
            .filter_map(|scope| granted(rights, scope))
            .collect();
        let token = tokens.random.hex(40);
        tokens
            .valid
            .insert(token.clone(), Token { grants, until: Instant::now() + self.lifetime, uses: self.uses });
        let mut answer = json!({ "token": token, "access_token": token,
            "expires_in": self.lifetime.as_millis().div_ceil(1000) as u64 });
        let wants_identity = get("offline_token") == Some("true") || get("access_type") == Some("offline");
        if let Some(user) = user.filter(|_| self.identity_tokens && wants_identity) {
            let identity = tokens.random.hex(48);
            tokens.identities.insert(identity.clone(), user.name.clone());
            answer["refresh_token"] = json!(identity);
        }
        Reply::new(200).body("application/json", answer.to_string())
    }

    fn basic_user(&self, value: &str) -> Option<&User> {
        let pair = String::from_utf8(BASE64_STANDARD.decode(value.trim()).ok()?).ok()?;
        let (name, password) = pair.split_once(':')?;
        self.user_of(name, password)
    }

    fn user_of(&self, name: &str, password: &str) -> Option<&User> {
        self.users.iter().find(|user| user.name == name && user.password == password)
    }
}

impl Tokens {
    pub(crate) fn new() -> Self {
        // Names only, nothing to be kept secret from.
        Self { random: Random::new(0x70_6b65_6e73), valid: HashMap::new(), identities: HashMap::new() }
    }

    /// Makes every access token invalid; identity tokens stay.
    pub(crate) fn expire(&mut self) {
        self.valid.clear();
    }

    /// Makes identity tokens invalid too.
    pub(crate) fn revoke(&mut self) {
        self.valid.clear();
        self.identities.clear();
    }

    fn spend(&mut self, token: &str) -> Option<Vec<Right>> {
        let token = self.valid.get_mut(token)?;
        if token.until <= Instant::now() || token.uses == 0 {
            return None;
        }
        token.uses -= u32::from(token.uses != u32::MAX);
        Some(token.grants.clone())
    }
}

fn rights_of(rights: &[(&str, &str)]) -> Vec<Right> {
    rights
        .iter()
        .map(|(repositories, actions)| Right {
            repositories: (*repositories).to_owned(),
            actions: (*actions).to_owned(),
        })
        .collect()
}

fn covers(rights: &[Right], need: Need<'_>) -> bool {
    // Everybody with a token or a password may ask for `/v2/`.
    need.repository.is_empty()
        || rights.iter().any(|right| {
            glob(right.repositories.as_bytes(), need.repository.as_bytes())
                && right.actions.split(',').any(|action| action == need.action)
        })
}

/// The part of `repository:NAME:ACTIONS` that `rights` allow.
fn granted(rights: &[Right], scope: &str) -> Option<Right> {
    let (name, actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    let actions: Vec<&str> = actions
        .split(',')
        .flat_map(|action| if action == "*" { vec!["pull", "push", "delete"] } else { vec![action] })
        .filter(|action| covers(rights, Need { repository: name, action }))
        .collect();
    (!actions.is_empty()).then(|| Right { repositories: name.to_owned(), actions: actions.join(",") })
}

/// One `scope` with a part per repository, its actions together.
fn challenge_scope(needs: &[Need<'_>]) -> String {
    let mut scopes: Vec<(&str, Vec<&str>)> = Vec::new();
    for need in needs.iter().filter(|need| !need.repository.is_empty()) {
        match scopes.iter_mut().find(|(repository, _)| *repository == need.repository) {
            Some((_, actions)) => actions.push(need.action),
            None => scopes.push((need.repository, vec![need.action])),
        }
    }
    if scopes.is_empty() {
        return String::new();
    }
    let scopes: Vec<String> = scopes
        .iter()
        .map(|(repository, actions)| format!("repository:{repository}:{}", actions.join(",")))
        .collect();
    format!(",scope=\"{}\"", scopes.join(" "))
}

fn denied(challenge: &str) -> Reply {
    Reply::error(401, "UNAUTHORIZED", "authentication required").with("WWW-Authenticate", challenge)
}
