//! What the tests stand on: a clock that is set, keys that are handed out, a folder of files, callers by the way they log in.

use crate::key::Key;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use larder_core::{Kind, Registry, Repository, RepositoryName};
use larder_server::{
    Access, AccessError, AccessSettings, Action, Asked, Caller, Clock, Decision, KeySource, Refused,
    TokenRequest, Trouble,
};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Of every account of the tests. Must appear in no message.
pub(crate) const PASSWORD: &str = "canary-password";

pub(crate) struct Ground {
    pub(crate) folder: tempfile::TempDir,
    pub(crate) time: Arc<Mutex<SystemTime>>,
    pub(crate) source: Arc<Source>,
}

/// Key sets by URL. What is not there cannot be reached.
#[derive(Default)]
pub(crate) struct Source {
    documents: Mutex<HashMap<String, Vec<u8>>>,
    fetched: Mutex<Vec<String>>,
}

#[async_trait]
impl KeySource for Source {
    async fn fetch(&self, url: &str) -> Result<Vec<u8>, Trouble> {
        self.fetched.lock().unwrap().push(url.to_owned());
        tokio::task::yield_now().await;
        self.documents.lock().unwrap().get(url).cloned().ok_or_else(|| Trouble {
            kind: Kind::Unavailable,
            message: "connection refused".into(),
            wants_credential: false,
            retry_after: None,
        })
    }
}

impl Source {
    pub(crate) fn put(&self, url: &str, document: Vec<u8>) {
        self.documents.lock().unwrap().insert(url.to_owned(), document);
    }

    pub(crate) fn remove(&self, url: &str) {
        self.documents.lock().unwrap().remove(url);
    }

    pub(crate) fn count(&self) -> usize {
        self.fetched.lock().unwrap().len()
    }
}

impl Ground {
    pub(crate) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            time: Arc::new(Mutex::new(SystemTime::now())),
            source: Arc::default(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file of accounts that all have [`PASSWORD`], and returns its path.
    pub(crate) fn accounts(&self, names: &[&str]) -> PathBuf {
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        let text: String = names.iter().map(|name| format!("{name}:{hash}\n")).collect();
        std::fs::write(self.path("htpasswd"), text).unwrap();
        self.path("htpasswd")
    }

    /// Settings of a token service with a key of its own.
    pub(crate) fn tokens(&self) -> Value {
        let key = self.path("token.pem");
        larder_server::create_token_key(&key).unwrap();
        json!({ "issuer": "larder.test", "service": "registry.test", "key": key, "lifetime": "5m" })
    }

    pub(crate) fn token_key(&self) -> Key {
        let pem = std::fs::read_to_string(self.path("token.pem")).unwrap();
        Key::from_pem("", &pem)
    }

    pub(crate) fn open(&self, settings: Value) -> Result<Access, AccessError> {
        Access::new(parse(settings), self.clock(), self.source.clone())
    }

    pub(crate) fn clock(&self) -> Clock {
        let time = Arc::clone(&self.time);
        Arc::new(move || *time.lock().unwrap())
    }

    pub(crate) fn pass(&self, seconds: u64) {
        *self.time.lock().unwrap() += Duration::from_secs(seconds);
    }

    /// Now, as it stands in tokens.
    pub(crate) fn now(&self) -> u64 {
        self.time.lock().unwrap().duration_since(UNIX_EPOCH).unwrap().as_secs()
    }

    /// Claims that are good now, of an issuer that is also its own audience.
    pub(crate) fn claims(&self, issuer: &str, audience: &str, subject: &str) -> Value {
        let now = self.now();
        json!({ "iss": issuer, "aud": audience, "sub": subject, "iat": now, "nbf": now, "exp": now + 300 })
    }
}

pub(crate) fn parse(settings: Value) -> AccessSettings {
    serde_json::from_value(settings).unwrap()
}

pub(crate) fn everything_for_everybody_with_an_account() -> Value {
    json!([{ "repositories": ["**"], "authenticated": true, "allow": ["pull", "push", "delete"] }])
}

pub(crate) fn basic(name: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{name}:{password}")))
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

pub(crate) async fn identify(access: &Access, authorization: &str) -> Result<Caller, Refused> {
    access.identify(Some(authorization), None, HERE).await
}

/// Logs in with [`PASSWORD`].
pub(crate) async fn login(access: &Access, name: &str) -> Caller {
    identify(access, &basic(name, PASSWORD)).await.unwrap()
}

/// A token for scopes, and who its bearer is.
pub(crate) async fn token(access: &Access, caller: &Caller, scopes: &str) -> (String, Caller) {
    let request = TokenRequest::parse(&format!("service=registry.test&scope={scopes}")).unwrap();
    let answer = access.token(&request, caller, resolve).unwrap();
    let token = answer.token().reveal().to_owned();
    let bearer = identify(access, &bearer(&token)).await.unwrap();
    (token, bearer)
}

pub(crate) fn resolve(path: &str) -> Option<RepositoryName> {
    let (registry, rest) = match path.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
        _ => ("localhost", path),
    };
    Some(RepositoryName::new(Registry::new(registry).ok()?, Repository::new(rest).ok()?))
}

pub(crate) fn decide(access: &Access, caller: &Caller, path: Option<&str>, action: Action) -> Decision {
    let repository = path.map(|path| resolve(path).unwrap());
    access.decide(caller, &Asked { repository: repository.as_ref(), path, action })
}

pub(crate) fn copy(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
