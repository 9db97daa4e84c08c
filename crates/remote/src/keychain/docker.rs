//! Credential files of docker (`config.json`) and podman (`auth.json`).

use super::helper::Helper;
use super::{Keychain, Scope};
use crate::{Credential, Error, Result};
use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use larder_core::{Registry, Secret};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Reads, and for login and logout writes, credential files in Docker's format.
///
/// In each file, in order: the helper named for the host (`credHelpers`), the entry with the longest matching key (`auths`:
/// `host/namespace/repository`, `host/namespace`, `host`), the general helper (`credsStore`). The first file with an answer
/// wins. Files that do not exist are skipped; files that cannot be understood are errors.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    files: Vec<PathBuf>,
    helpers: Vec<PathBuf>,
    patience: Duration,
}

/// The key under which docker keeps the credentials of its own registry.
const HUB_KEY: &str = "https://index.docker.io/v1/";
const FILE_LIMIT: u64 = 4 << 20;

#[derive(Default, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: BTreeMap<String, Option<Entry>>,
    cred_helpers: BTreeMap<String, String>,
    creds_store: String,
}

#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

impl DockerConfig {
    /// Reads `files` in order and looks for helper programs in the directories of `helpers`. The first file is the one that
    /// is written to.
    pub fn new(files: Vec<PathBuf>, helpers: Vec<PathBuf>) -> Self {
        Self { files, helpers, patience: Duration::from_secs(30) }
    }

    /// How long a helper may take.
    #[must_use]
    pub fn with_helper_timeout(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Keeps a user name and password for `registry`: in the helper that is configured for it, else in the first file, which
    /// is replaced atomically with mode 0600; everything else in it stays. Docker understands the result.
    pub async fn store(&self, registry: &Registry, username: &str, password: &Secret) -> Result<()> {
        let Some(path) = self.files.first() else {
            return Err(unusable(Path::new(""), "there is no file to write to"));
        };
        let (file, mut raw) = load(path)?.unwrap_or_default();
        let key = own_key(registry);
        let auths = auths(path, &mut raw)?;
        if let Some(name) = file.helper(registry) {
            self.helper(name).store(&key, username, password).await?;
            // Docker lists what a helper keeps, without the secret.
            auths.insert(key, json!({}));
        } else {
            let auth = BASE64_STANDARD.encode(format!("{username}:{}", password.reveal()));
            auths.retain(|known, _| !same_host(known, registry) || known_path(known));
            auths.insert(key, json!({ "auth": auth }));
        }
        write(path, &Value::Object(raw))
    }

    /// Forgets what is kept for `registry`, in its helper and in the first file. Returns whether there was anything.
    pub async fn erase(&self, registry: &Registry) -> Result<bool> {
        let Some(path) = self.files.first() else { return Ok(false) };
        let Some((file, mut raw)) = load(path)? else { return Ok(false) };
        let mut found = false;
        if let Some(name) = file.helper(registry) {
            let helper = self.helper(name);
            if helper.get(&own_key(registry)).await?.is_some() {
                helper.erase(&own_key(registry)).await?;
                found = true;
            }
        }
        let auths = auths(path, &mut raw)?;
        let before = auths.len();
        auths.retain(|key, _| !same_host(key, registry) || known_path(key));
        if auths.len() != before {
            found = true;
            write(path, &Value::Object(raw))?;
        }
        Ok(found)
    }

    fn helper<'a>(&'a self, name: &'a str) -> Helper<'a> {
        Helper { name, path: &self.helpers, patience: self.patience }
    }
}

#[async_trait]
impl Keychain for DockerConfig {
    async fn credential(&self, scope: &Scope<'_>) -> Result<Option<Credential>> {
        for path in &self.files {
            let Some((file, _)) = load(path)? else { continue };
            let own =
                file.cred_helpers.iter().find(|(key, _)| same_host(key, scope.registry) && !known_path(key));
            if let Some((_, name)) = own
                && let Some(credential) = self.helper(name).get(&own_key(scope.registry)).await?
            {
                return Ok(Some(credential));
            }
            if let Some(credential) = file.entry(path, scope)? {
                return Ok(Some(credential));
            }
            if !file.creds_store.is_empty()
                && let Some(credential) = self.helper(&file.creds_store).get(&own_key(scope.registry)).await?
            {
                return Ok(Some(credential));
            }
        }
        Ok(None)
    }
}

impl File {
    /// The helper that keeps new credentials for `registry`.
    fn helper(&self, registry: &Registry) -> Option<&str> {
        let own = self.cred_helpers.iter().find(|(key, _)| same_host(key, registry) && !known_path(key));
        own.map(|(_, name)| name.as_str()).or(Some(self.creds_store.as_str())).filter(|name| !name.is_empty())
    }

    /// The entry with the longest matching key that has a credential in it.
    fn entry(&self, path: &Path, scope: &Scope<'_>) -> Result<Option<Credential>> {
        for wanted in scope.keys() {
            for (_, entry) in self.auths.iter().filter(|(key, _)| plain(key) == wanted) {
                if let Some(credential) = entry.as_ref().map(|entry| entry.read(path)).transpose()?.flatten()
                {
                    return Ok(Some(credential));
                }
            }
        }
        Ok(None)
    }
}

impl Entry {
    fn read(&self, path: &Path) -> Result<Option<Credential>> {
        let (mut username, mut password) = (self.username.clone(), self.password.clone());
        if !self.auth.is_empty() {
            let decoded =
                BASE64_STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let decoded = decoded.ok_or_else(|| unusable(path, "an auth entry is not base64"))?;
            let (name, word) = decoded
                .split_once(':')
                .ok_or_else(|| unusable(path, "an auth entry is not a name and a password"))?;
            username = name.to_owned();
            // Docker pads some entries with zero bytes.
            password = word.trim_end_matches('\0').to_owned();
        }
        Ok(if !self.identitytoken.is_empty() {
            Some(Credential::Identity { username, token: Secret::new(self.identitytoken.as_str()) })
        } else if !self.registrytoken.is_empty() {
            Some(Credential::Bearer(Secret::new(self.registrytoken.as_str())))
        } else if password.is_empty() {
            None
        } else {
            Some(Credential::Basic { username, password: Secret::new(password) })
        })
    }
}

/// A key without scheme and trailing version, with one name for Docker's registry.
fn plain(key: &str) -> String {
    let key = key.trim().to_ascii_lowercase();
    let has_scheme = key.contains("://");
    let mut key = key.split_once("://").map_or(key.as_str(), |(_, rest)| rest).trim_end_matches('/');
    if has_scheme || key.starts_with("index.docker.io/") {
        key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    }
    let (host, rest) = key.split_once('/').map_or((key, ""), |(host, rest)| (host, rest));
    let host =
        if matches!(host, "index.docker.io" | "registry-1.docker.io") { Registry::DOCKER_HUB } else { host };
    if rest.is_empty() { host.to_owned() } else { format!("{host}/{rest}") }
}

fn same_host(key: &str, registry: &Registry) -> bool {
    plain(key).split('/').next() == Some(registry.as_str())
}

/// Whether a key is for a part of a registry only.
fn known_path(key: &str) -> bool {
    plain(key).contains('/')
}

fn own_key(registry: &Registry) -> String {
    if registry.as_str() == Registry::DOCKER_HUB { HUB_KEY.into() } else { registry.to_string() }
}

fn load(path: &Path) -> Result<Option<(File, Map<String, Value>)>> {
    let read = |source| Error::Read { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_LIMIT => return Err(unusable(path, "it is too large")),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(read(error)),
    }
    let text = std::fs::read(path).map_err(read)?;
    if text.iter().all(u8::is_ascii_whitespace) {
        return Ok(Some(Default::default()));
    }
    // The parser's own words could quote a secret.
    let raw: Map<String, Value> =
        serde_json::from_slice(&text).map_err(|_| unusable(path, "it is not a JSON object"))?;
    let file = serde_json::from_value(Value::Object(raw.clone()))
        .map_err(|_| unusable(path, "it is not in the format of docker's config.json"))?;
    Ok(Some((file, raw)))
}

fn auths<'a>(path: &Path, raw: &'a mut Map<String, Value>) -> Result<&'a mut Map<String, Value>> {
    let auths = raw.entry("auths").or_insert_with(|| json!({}));
    auths.as_object_mut().ok_or_else(|| unusable(path, "auths is not an object"))
}

/// Replaces the file that `path` finally names, so that a symbolic link to it survives. A crash leaves the old or the new file.
fn write(path: &Path, value: &Value) -> Result<()> {
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let failed = |source| Error::Write { path: target.clone(), source };
    let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(failed)?;
    let mut file = tempfile::Builder::new()
        .prefix(".config.json.")
        .permissions(std::fs::Permissions::from_mode(0o600))
        .tempfile_in(dir)
        .map_err(failed)?;
    let mut text = serde_json::to_string_pretty(value).map_err(|error| failed(error.into()))?;
    text.push('\n');
    file.write_all(text.as_bytes()).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(&target).map_err(|error| failed(error.error))?;
    std::fs::File::open(dir).and_then(|dir| dir.sync_all()).map_err(failed)
}

fn unusable(path: &Path, reason: &'static str) -> Error {
    Error::CredentialFile { path: path.to_owned(), reason }
}
