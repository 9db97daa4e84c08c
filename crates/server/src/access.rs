//! Who a caller is, and what it may do.
//!
//! [`Access::identify`] turns what came with a request into a [`Caller`], [`Access::decide`] asks the rules about it. Rules are asked
//! with every request, so a change of groups or rules needs no new token; a token only narrows what its account may do.
//!
//! Credentials are secrets, and so are hashes: nothing of this module prints them.

mod authorization;
mod certificate;
mod challenge;
mod error;
mod htpasswd;
mod issuer;
mod jwt;
mod key_set;
mod password;
mod pattern;
mod refused;
mod rule;
mod scope;
mod settings;
mod token_request;
mod token_service;

pub use error::AccessError;
pub use key_set::KeySource;
pub use refused::Refused;
pub use settings::{
    AccessSettings, CertificateName, ClientCaSettings, IssuerKind, IssuerSettings, RuleSettings,
    TokenSettings, UserSettings,
};
pub use token_request::{TokenRequest, TokenResponse};
pub use token_service::create_token_key;

use crate::{Action, Asked, Caller, Grant, Login, Presented};
use issuer::{Issuer, Proof};
use jwt::Jwt;
use larder_core::{Digest, RepositoryName, Secret};
use password::Passwords;
use rule::Rule;
use serde_json::Value;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;
use token_service::{Subject, TokenService};

/// What time it is.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;

/// What the rules say about a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Decision {
    /// It may go on.
    Allowed,
    /// No, whatever the caller proves: 403.
    Denied,
    /// Not without a credential, or with another token: 401 and a challenge.
    Unauthenticated,
}

/// Access control as configured. Shared by all requests.
pub struct Access {
    state: RwLock<Arc<State>>,
    clock: Clock,
    source: Option<Arc<dyn KeySource>>,
}

struct State {
    settings: AccessSettings,
    /// Without accounts: what everybody may do.
    open: Vec<Action>,
    rules: Vec<Rule>,
    passwords: Option<Passwords>,
    service: Option<TokenService>,
    issuers: Vec<Issuer>,
    /// The one token that is good, in place of all accounts.
    pass: Option<Secret>,
}

impl Access {
    /// Reads the files that the settings name. Keys of issuers are fetched when they are needed.
    pub fn new(
        settings: AccessSettings,
        clock: Clock,
        source: Arc<dyn KeySource>,
    ) -> Result<Self, AccessError> {
        let state = State::new(settings, clock(), None)?;
        Ok(Self { state: RwLock::new(Arc::new(state)), clock, source: Some(source) })
    }

    /// No accounts: everybody may do these, and nobody anything else. Credentials that clients send are kept for upstreams.
    pub fn open(actions: &[Action]) -> Self {
        let state = State {
            settings: AccessSettings::default(),
            open: actions.to_vec(),
            rules: Vec::new(),
            passwords: None,
            service: None,
            issuers: Vec::new(),
            pass: None,
        };
        Self { state: RwLock::new(Arc::new(state)), clock: Arc::new(|| SystemTime::UNIX_EPOCH), source: None }
    }

    /// Whoever has this bearer token may pull from these repositories (full names), and nobody anything else.
    ///
    /// # Errors
    /// When a repository cannot be in a rule.
    pub fn pass(token: Secret, repositories: &[RepositoryName]) -> Result<Self, AccessError> {
        let rule = RuleSettings {
            repositories: repositories.iter().map(ToString::to_string).collect(),
            authenticated: true,
            allow: vec![Action::Pull.as_str().to_owned()],
            ..RuleSettings::default()
        };
        let state = State {
            rules: vec![Rule::new(&rule, "pass")?],
            settings: AccessSettings { rules: vec![rule], ..AccessSettings::default() },
            open: Vec::new(),
            passwords: None,
            service: None,
            issuers: Vec::new(),
            pass: Some(token),
        };
        let clock: Clock = Arc::new(|| SystemTime::UNIX_EPOCH);
        Ok(Self { state: RwLock::new(Arc::new(state)), clock, source: None })
    }

    /// Takes other settings, and reads all files again. When anything is wrong, everything stays as it was.
    pub fn reload(&self, settings: AccessSettings) -> Result<(), AccessError> {
        let before = self.state();
        let state = State::new(settings, (self.clock)(), Some(&before))?;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(state);
        Ok(())
    }

    /// The settings in force.
    pub fn settings(&self) -> AccessSettings {
        self.state().settings.clone()
    }

    /// Whether clients are to be told to log in when they ask at `/v2/`.
    pub fn wants_login(&self) -> bool {
        self.has_accounts()
    }

    /// Whether there is any way to log in.
    pub fn has_accounts(&self) -> bool {
        self.state().settings.has_accounts()
    }

    /// Whether somebody without an account may do more than read.
    pub fn is_open_for_writing(&self) -> bool {
        let state = self.state();
        let ruled = state.rules.iter().flat_map(Rule::open);
        ruled.chain(&state.open).any(|action| *action != Action::Pull)
    }

    /// Whether the token endpoint is on.
    pub fn has_tokens(&self) -> bool {
        self.state().service.is_some()
    }

    /// What does not work now although it is configured: a file that has a mistake since it changed, an issuer that cannot be reached.
    /// For logs and readiness; has no secrets in it.
    pub fn problems(&self) -> Vec<String> {
        let state = self.state();
        let file = state.passwords.as_ref().and_then(Passwords::problem);
        file.into_iter().chain(state.issuers.iter().filter_map(Issuer::problem)).collect()
    }

    /// Finds out who sent a request. `certificate` is the client's, DER, after TLS has found it good.
    ///
    /// A credential that is wrong is an error and never makes its sender anonymous. Without any accounts nothing can be wrong: what is
    /// sent is kept in [`Caller::presented`].
    pub async fn identify(
        &self,
        authorization: Option<&str>,
        certificate: Option<&[u8]>,
        address: IpAddr,
    ) -> Result<Caller, Refused> {
        let state = self.state();
        let presented = authorization.map(authorization::parse);
        if let Some(pass) = &state.pass {
            return match presented.transpose()? {
                // Hashes take the same time to compare however much of the token was guessed.
                Some(Presented::Bearer(token)) if hash(&token) == hash(pass) => Ok(Caller {
                    name: Some("pass".into()),
                    login: Login::Token,
                    ..Caller::anonymous(address)
                }),
                Some(_) => Err(Refused::Token("it is another one")),
                None => Ok(Caller::anonymous(address)),
            };
        }
        if !state.settings.has_accounts() {
            let presented = presented.transpose()?.filter(|presented| !is_empty(presented));
            return Ok(Caller { presented, ..Caller::anonymous(address) });
        }
        match presented.transpose()?.filter(|presented| !is_empty(presented)) {
            Some(Presented::Basic { username, password }) => {
                self.identify_password(&state, &username, &password, address).await
            }
            Some(Presented::Bearer(token)) => self.identify_token(&state, &token, address).await,
            None => match (&state.settings.client_ca, certificate) {
                (Some(settings), Some(der)) => {
                    let name =
                        certificate::account(settings, der, (self.clock)()).map_err(Refused::Certificate)?;
                    Ok(state.caller(name, Vec::new(), Login::Certificate, address))
                }
                _ => Ok(Caller::anonymous(address)),
            },
        }
    }

    /// Finds out who asks for a token. `caller` is whom [`Access::identify`] found; a form that has a name and a password of its own
    /// (OAuth 2, RFC 6749 §4.3) is by that account instead.
    pub async fn identify_form(&self, request: &TokenRequest, caller: &Caller) -> Result<Caller, Refused> {
        match request.grant_type.as_deref() {
            None => Ok(caller.clone()),
            Some("password") => {
                let (Some(username), Some(password)) = (&request.username, &request.password) else {
                    return Err(Refused::Request("the name or the password is missing"));
                };
                self.identify_password(&self.state(), username, password, caller.address).await
            }
            Some(_) => Err(Refused::Request("the grant type is not password")),
        }
    }

    /// Asks the rules.
    pub fn decide(&self, caller: &Caller, asked: &Asked<'_>) -> Decision {
        self.state().decide(caller, asked)
    }

    /// Issues a token for what is asked and allowed, which may be nothing. `resolve` says which repository a name in a scope means.
    pub fn token(
        &self,
        request: &TokenRequest,
        caller: &Caller,
        resolve: impl Fn(&str) -> Option<RepositoryName>,
    ) -> Result<TokenResponse, Refused> {
        let state = self.state();
        let service = state.service.as_ref().ok_or(Refused::Request("there is no token service here"))?;
        if caller.grants.is_some() {
            return Err(Refused::Request("a token does not buy another one"));
        }
        if request.service.as_ref().is_some_and(|name| *name != service.settings().service) {
            return Err(Refused::Request("the service is another one"));
        }
        let mut grants: Vec<Grant> = Vec::new();
        for mut grant in request.scopes.iter().filter_map(|scope| Grant::from_scope(scope)) {
            let repository = match &grant.repository {
                Some(name) => match resolve(name) {
                    Some(repository) => Some(repository),
                    None => continue,
                },
                None => None,
            };
            grant.actions.retain(|action| state.allows(caller, repository.as_ref(), *action));
            match grants.iter_mut().find(|other| other.repository == grant.repository) {
                _ if grant.actions.is_empty() => {}
                Some(other) => {
                    other.actions.extend(grant.actions);
                    other.actions.sort();
                    other.actions.dedup();
                }
                None => grants.push(grant),
            }
        }
        let name = caller.name.as_deref();
        let configured = name.map(|name| state.groups(name)).unwrap_or_default();
        let groups: Vec<String> =
            caller.groups.iter().filter(|group| !configured.contains(group)).cloned().collect();
        service.issue(&Subject { name, groups: &groups, login: caller.login }, &grants, (self.clock)())
    }

    /// The values of `WWW-Authenticate` for a request that needs a credential, best first. `origin` is the address of this server as
    /// clients see it; it ends up where they send their passwords.
    pub fn challenges(&self, asked: &Asked<'_>, origin: &str) -> Vec<String> {
        let state = self.state();
        if let Some(service) = &state.service {
            let realm = format!("{}{}", origin.trim_end_matches('/'), challenge::TOKEN_PATH);
            return vec![challenge::bearer(&realm, &service.settings().service, asked)];
        }
        let elsewhere =
            state.issuers.iter().map(Issuer::settings).find_map(|issuer| {
                Some(challenge::bearer(issuer.realm.as_deref()?, &issuer.audience, asked))
            });
        let basic = || challenge::BASIC.to_owned();
        vec![elsewhere.filter(|_| state.passwords.is_none()).unwrap_or_else(basic)]
    }

    /// The public keys of the token service (RFC 7517), for others who check its tokens. `None` if it is off.
    pub fn jwks(&self) -> Option<Value> {
        self.state().service.as_ref().map(|service| service.jwks((self.clock)()))
    }

    fn state(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    async fn identify_password(
        &self,
        state: &State,
        username: &str,
        password: &Secret,
        address: IpAddr,
    ) -> Result<Caller, Refused> {
        if username == IDENTITY_USER && !state.issuers.is_empty() {
            return self.identify_token(state, password, address).await;
        }
        let passwords = state.passwords.as_ref().ok_or(Refused::Password { account: None })?;
        passwords.check(username, password, address, (self.clock)()).await?;
        Ok(state.caller(username.to_owned(), Vec::new(), Login::Password, address))
    }

    async fn identify_token(
        &self,
        state: &State,
        token: &Secret,
        address: IpAddr,
    ) -> Result<Caller, Refused> {
        let token = Jwt::read(token.reveal()).map_err(Refused::Token)?;
        if let Some(service) = &state.service
            && service.settings().issuer == token.issuer()
        {
            let (login, proof) = service.prove(&token, (self.clock)()).map_err(Refused::Token)?;
            self.check_still_there(state, login.as_deref(), &proof.name)?;
            return Ok(state.prove(proof, address));
        }
        let source = self.source.as_deref().ok_or(Refused::Token("nobody's tokens are taken here"))?;
        let mut refused = Refused::Token("its issuer is not known here");
        for issuer in state.issuers.iter().filter(|issuer| issuer.settings().issuer == token.issuer()) {
            match issuer.prove(&token, source, &self.clock).await {
                Ok(proof) => return Ok(state.prove(proof, address)),
                Err(reason) => refused = reason,
            }
        }
        Err(refused)
    }

    /// An account that is gone takes its tokens along.
    fn check_still_there(&self, state: &State, login: Option<&str>, name: &str) -> Result<(), Refused> {
        let there = match login {
            Some("anonymous") => name.is_empty(),
            Some("password") => {
                state.passwords.as_ref().is_some_and(|passwords| passwords.knows(name, (self.clock)()))
            }
            Some("certificate") => {
                let client = state.settings.client_ca.as_ref();
                client.is_some_and(|client| name.starts_with(client.prefix()))
            }
            Some("identity") => {
                state.issuers.iter().any(|issuer| name.starts_with(issuer.settings().prefix()))
            }
            _ => false,
        };
        there.then_some(()).ok_or(Refused::Token("its account is gone"))
    }
}

fn hash(secret: &Secret) -> Digest {
    Digest::of(secret.reveal().as_bytes())
}

impl State {
    fn new(settings: AccessSettings, now: SystemTime, before: Option<&Self>) -> Result<Self, AccessError> {
        let rules = settings.rules.iter().enumerate();
        let rules: Vec<Rule> = rules
            .map(|(number, rule)| Rule::new(rule, &format!("rules[{number}]")))
            .collect::<Result<_, _>>()?;
        if rules.is_empty() {
            let reason = "there are none, so nobody may do anything; for example \
                          [{repositories: [\"**\"], authenticated: true, allow: [pull, push]}]";
            return Err(AccessError::setting("rules", reason));
        }
        if !settings.has_accounts() && rules.iter().any(Rule::needs_accounts) {
            let reason =
                "nobody can log in; set htpasswd, issuers or client_ca, or make all rules `anonymous: true`";
            return Err(AccessError::setting("rules", reason));
        }
        if !settings.has_accounts() && settings.tokens.is_some() {
            let reason = "nobody can log in to get one; set htpasswd, issuers or client_ca";
            return Err(AccessError::setting("tokens", reason));
        }
        let mut issuers = Vec::with_capacity(settings.issuers.len());
        let known = before.map(|before| before.issuers.as_slice()).unwrap_or_default();
        for (number, issuer) in settings.issuers.iter().enumerate() {
            let key = format!("issuers[{number}]");
            if settings.tokens.as_ref().is_some_and(|own| own.issuer == issuer.issuer) {
                let reason = "it is also tokens.issuer; one of them needs another name";
                return Err(AccessError::setting(format!("{key}.issuer"), reason));
            }
            issuers.push(Issuer::new(issuer, &key, known)?);
        }
        if settings.client_ca.as_ref().is_some_and(|client| client.file.as_os_str().is_empty()) {
            return Err(AccessError::setting("client_ca.file", "it is missing; it has the authorities, PEM"));
        }
        let passwords = settings.htpasswd.as_ref().map(|path| Passwords::open(path, now)).transpose()?;
        if !issuers.is_empty() && passwords.as_ref().is_some_and(|all| all.knows(IDENTITY_USER, now)) {
            let reason = "the account \"oidc\" is what clients send tokens of issuers with; rename it";
            return Err(AccessError::setting("htpasswd", reason));
        }
        let own = before.and_then(|before| before.service.as_ref());
        let service =
            settings.tokens.as_ref().map(|tokens| TokenService::new(tokens, own, now)).transpose()?;
        Ok(Self { settings, open: Vec::new(), rules, passwords, service, issuers, pass: None })
    }

    fn decide(&self, caller: &Caller, asked: &Asked<'_>) -> Decision {
        let accounts = self.settings.has_accounts();
        let narrowed =
            caller.grants.as_ref().is_some_and(|grants| !grants.iter().any(|grant| grant.covers(asked)));
        // `/v2/` says whether a credential is good, and asks for one where there are accounts, as clients expect.
        if asked.repository.is_none() && asked.action == Action::Pull {
            let welcome = !accounts || caller.name.is_some() || caller.grants.is_some();
            return if welcome { Decision::Allowed } else { Decision::Unauthenticated };
        }
        match (self.allows(caller, asked.repository, asked.action), narrowed) {
            (true, false) => Decision::Allowed,
            (true, true) => Decision::Unauthenticated,
            (false, _) if caller.name.is_none() && accounts => Decision::Unauthenticated,
            (false, _) => Decision::Denied,
        }
    }

    /// What the account may do, whatever its token says.
    fn allows(&self, caller: &Caller, repository: Option<&RepositoryName>, action: Action) -> bool {
        self.open.contains(&action) || self.rules.iter().any(|rule| rule.allows(caller, repository, action))
    }

    fn groups(&self, name: &str) -> &[String] {
        self.settings.users.get(name).map(|user| user.groups.as_slice()).unwrap_or_default()
    }

    fn caller(&self, name: String, mut groups: Vec<String>, login: Login, address: IpAddr) -> Caller {
        groups.extend(self.groups(&name).iter().cloned());
        groups.sort();
        groups.dedup();
        Caller { name: Some(name), groups, login, ..Caller::anonymous(address) }
    }

    fn prove(&self, proof: Proof, address: IpAddr) -> Caller {
        if proof.name.is_empty() {
            return Caller { login: proof.login, grants: proof.grants, ..Caller::anonymous(address) };
        }
        Caller { grants: proof.grants, ..self.caller(proof.name, proof.groups, proof.login, address) }
    }
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Access").field("accounts", &self.has_accounts()).finish_non_exhaustive()
    }
}

/// Some clients send an empty name and an empty password when they have none.
fn is_empty(presented: &Presented) -> bool {
    matches!(presented, Presented::Basic { username, password } if username.is_empty() && password.is_empty())
}

/// The user name with which clients that only know passwords send a token of an issuer: `docker login -u oidc`.
const IDENTITY_USER: &str = "oidc";
