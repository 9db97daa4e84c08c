//! Which hosts serve a registry: `certs.d/HOST/hosts.toml` as containerd reads it, and Docker's `certs.d/HOST/*.crt`.
//!
//! Mirrors come in the order of the file, the registry itself last. A file that cannot be understood is an error: silently
//! going to another host than the configured one would be worse.

use crate::config::Config;
use crate::{Error, Result};
use larder_core::Registry;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// What a host may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) pull: bool,
    pub(crate) resolve: bool,
    pub(crate) push: bool,
}

impl Capabilities {
    const ALL: Self = Self { pull: true, resolve: true, push: true };
}

/// How a host proves itself, and how larder does.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tls {
    pub(crate) ca: Vec<PathBuf>,
    /// Certificate and key; the key may be in the file of the certificate.
    pub(crate) client: Vec<(PathBuf, Option<PathBuf>)>,
    pub(crate) skip_verify: bool,
}

/// One place where the protocol is spoken.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Scheme, host and the path that ends in `/v2` (or what `override_path` says), without a trailing slash.
    pub(crate) base: Url,
    pub(crate) capabilities: Capabilities,
    pub(crate) tls: Arc<Tls>,
    pub(crate) headers: HeaderMap,
    pub(crate) dial_timeout: Option<Duration>,
    /// Sent as `?ns=` where this is not the registry's own host.
    pub(crate) namespace: Option<String>,
    /// Whose credentials apply here.
    pub(crate) registry: Registry,
    /// The registry itself, as opposed to a mirror.
    pub(crate) upstream: bool,
}

impl Endpoint {
    /// The URL of `path` below the base.
    pub(crate) fn url(&self, path: &str) -> Url {
        let mut url = self.base.clone();
        url.set_path(&format!("{}/{path}", self.base.path().trim_end_matches('/')));
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        url
    }

    /// `host[:port]` for messages.
    pub(crate) fn host(&self) -> String {
        authority(&self.base)
    }
}

/// The hosts of `registry`, in the order in which they are tried.
pub(crate) fn endpoints(config: &Config, registry: &Registry) -> Result<Vec<Endpoint>> {
    if let Some((_, url)) = config.servers.iter().find(|(known, _)| known == registry) {
        return Ok(vec![server(config, registry, url)?]);
    }
    let Some(found) = find(config, registry)? else {
        return Ok(by_default(config, registry, Tls::default()));
    };
    let (path, text) = match found {
        Found::Certificates(tls) => return Ok(by_default(config, registry, tls)),
        Found::File { path, text } => (path, text),
    };
    let dir = path.parent().unwrap_or(Path::new(""));
    let file = parse(&text, dir).map_err(|reason| Error::Hosts { path: path.clone(), reason })?;
    for key in &file.unknown {
        (config.progress)(larder_core::Event::Warning {
            message: format!("{}: {key:?} is not known and has no effect", path.display()),
        });
    }
    let make = |url: &Url, settings: &Settings, upstream: bool| {
        let mut base = url.clone();
        let path = url.path().trim_end_matches('/');
        let path =
            if settings.override_path || path.ends_with("/v2") { path.into() } else { format!("{path}/v2") };
        base.set_path(&path);
        let host = authority(url);
        let own = host == *registry.endpoint() || host == registry.as_str();
        Endpoint {
            base,
            capabilities: settings.capabilities,
            tls: Arc::new(settings.tls.clone()),
            headers: settings.headers.clone(),
            dial_timeout: settings.dial_timeout,
            namespace: (!own).then(|| registry.as_str().to_owned()),
            registry: if own {
                registry.clone()
            } else {
                Registry::new(&host).unwrap_or_else(|_| registry.clone())
            },
            upstream: upstream || own,
        }
    };
    let mut endpoints: Vec<_> = file.hosts.iter().map(|(url, settings)| make(url, settings, false)).collect();
    match &file.server {
        Some(server) => endpoints.push(make(server, &file.root, true)),
        None => {
            for endpoint in by_default(config, registry, file.root.tls.clone()) {
                endpoints.push(Endpoint {
                    capabilities: file.root.capabilities,
                    headers: file.root.headers.clone(),
                    dial_timeout: file.root.dial_timeout,
                    ..endpoint
                });
            }
        }
    }
    Ok(endpoints)
}

/// The one host that the configuration names for a registry.
fn server(config: &Config, registry: &Registry, url: &Url) -> Result<Endpoint> {
    let host = authority(url);
    let own = Registry::new(&host).unwrap_or_else(|_| registry.clone());
    let mut tls = Tls::default();
    for dir in &config.certs_dirs {
        tls = certificates(&dir.join(&host))?;
        if tls != Tls::default() {
            break;
        }
    }
    tls.skip_verify = tls == Tls::default() && config.insecure.contains(&own);
    let mut base = url.clone();
    let path = url.path().trim_end_matches('/');
    let path = if path.split('/').any(|part| part == "v2") { path.into() } else { format!("{path}/v2") };
    base.set_path(&path);
    Ok(Endpoint {
        base,
        capabilities: Capabilities::ALL,
        tls: Arc::new(tls),
        headers: HeaderMap::new(),
        dial_timeout: None,
        namespace: None,
        registry: own,
        upstream: true,
    })
}

/// Certificate authorities configured for a host that a server pointed to.
pub(crate) fn authorities(config: &Config, host: &str) -> Vec<PathBuf> {
    config.certs_dirs.iter().flat_map(|dir| certificates(&dir.join(host)).unwrap_or_default().ca).collect()
}

/// The registry's own host. Loopback is plain http unless certificates for it are configured or the port is 443; an insecure
/// registry is tried with unverified TLS first and over plain http second.
fn by_default(config: &Config, registry: &Registry, mut tls: Tls) -> Vec<Endpoint> {
    let configured = tls != Tls::default();
    let insecure = config.insecure.contains(registry);
    let schemes: &[&str] = if registry.is_loopback() && !configured && registry.port() != Some(443) {
        &["http"]
    } else if insecure && !configured {
        &["https", "http"]
    } else {
        &["https"]
    };
    tls.skip_verify |= insecure && !configured;
    let tls = Arc::new(tls);
    schemes
        .iter()
        .filter_map(|scheme| {
            // Host names with underscores are registries too, but no URL can carry every name a reference can.
            let base = Url::parse(&format!("{scheme}://{}/v2", registry.endpoint())).ok()?;
            Some(Endpoint {
                base,
                capabilities: Capabilities::ALL,
                tls: tls.clone(),
                headers: HeaderMap::new(),
                dial_timeout: None,
                namespace: None,
                registry: registry.clone(),
                upstream: true,
            })
        })
        .collect()
}

enum Found {
    File { path: PathBuf, text: String },
    Certificates(Tls),
}

/// The most specific configuration: `HOST_PORT_`, `HOST:PORT` (or `HOST`), then `_default`; directories in order.
fn find(config: &Config, registry: &Registry) -> Result<Option<Found>> {
    let mut names = Vec::new();
    if let Some(port) = registry.port() {
        let host = registry.as_str().rsplit_once(':').map_or(registry.as_str(), |(host, _)| host);
        names.push(format!("{host}_{port}_"));
    }
    names.push(registry.as_str().to_owned());
    for name in &names {
        for dir in config.certs_dirs.iter().map(|dir| dir.join(name)) {
            if let Some(file) = hosts_file(&dir)? {
                return Ok(Some(file));
            }
            let tls = certificates(&dir)?;
            if tls != Tls::default() {
                return Ok(Some(Found::Certificates(tls)));
            }
        }
    }
    for dir in &config.certs_dirs {
        if let Some(file) = hosts_file(&dir.join("_default"))? {
            return Ok(Some(file));
        }
    }
    Ok(None)
}

fn hosts_file(dir: &Path) -> Result<Option<Found>> {
    let path = dir.join("hosts.toml");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(Found::File { path, text })),
        Err(error) if is_absent(&error) => Ok(None),
        Err(source) => Err(Error::Read { path, source }),
    }
}

/// Docker's layout: every `*.crt` is an authority, every `NAME.cert` with `NAME.key` a client certificate.
fn certificates(dir: &Path) -> Result<Tls> {
    let failed = |source| Error::Read { path: dir.to_owned(), source };
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_absent(&error) => return Ok(Tls::default()),
        Err(source) => return Err(failed(source)),
    };
    let mut tls = Tls::default();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => tls.ca.push(path),
            Some("cert") => {
                let key = path.with_extension("key");
                tls.client.push((path, Some(key)));
            }
            _ => {}
        }
    }
    tls.ca.sort();
    tls.client.sort();
    Ok(tls)
}

fn is_absent(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
}

/// `host[:port]`, without the port where it is the scheme's own.
pub(crate) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

#[derive(Debug)]
struct HostsFile {
    server: Option<Url>,
    root: Settings,
    hosts: Vec<(Url, Settings)>,
    unknown: Vec<String>,
}

#[derive(Debug, Clone)]
struct Settings {
    capabilities: Capabilities,
    tls: Tls,
    override_path: bool,
    headers: HeaderMap,
    dial_timeout: Option<Duration>,
}

fn parse(text: &str, dir: &Path) -> std::result::Result<HostsFile, String> {
    let mut table: toml::Table = text.parse().map_err(|error: toml::de::Error| error.message().to_owned())?;
    let server = match table.remove("server") {
        None => None,
        Some(toml::Value::String(server)) => Some(host_url(&server)?),
        Some(_) => return Err("server must be a string".into()),
    };
    let mut unknown = Vec::new();
    let mut hosts = Vec::new();
    match table.remove("host") {
        None => {}
        Some(toml::Value::Table(table)) => {
            for (key, value) in table {
                let toml::Value::Table(value) = value else {
                    return Err(format!("host {key:?} must be a table"));
                };
                let settings =
                    settings(value, dir, &mut unknown).map_err(|reason| format!("host {key:?}: {reason}"))?;
                hosts.push((host_url(&key)?, settings));
            }
        }
        Some(_) => return Err("host must be a table".into()),
    }
    Ok(HostsFile { server, root: settings(table, dir, &mut unknown)?, hosts, unknown })
}

fn host_url(text: &str) -> std::result::Result<Url, String> {
    let bad = |reason| Err(format!("{:?} {reason}", crate::redact::text(text, 200)));
    let url = if text.contains("://") {
        Url::parse(text)
    } else {
        let host = text.split('/').next().unwrap_or_default();
        let plain = Registry::new(host).is_ok_and(|host| host.is_loopback() && host.port() != Some(443));
        Url::parse(&format!("{}://{text}", if plain { "http" } else { "https" }))
    };
    let Ok(url) = url else { return bad("is not a URL") };
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return bad("is neither an http nor an https URL");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a host with credentials in its URL; use a credential file".into());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return bad("has a query or a fragment");
    }
    Ok(url)
}

fn settings(
    table: toml::Table,
    dir: &Path,
    unknown: &mut Vec<String>,
) -> std::result::Result<Settings, String> {
    use toml::Value;
    let mut settings = Settings {
        capabilities: Capabilities::ALL,
        tls: Tls::default(),
        override_path: false,
        headers: HeaderMap::new(),
        dial_timeout: None,
    };
    let string = |value: &Value, what: &str| {
        value.as_str().map(str::to_owned).ok_or_else(|| format!("{what} must be a string"))
    };
    for (key, value) in table {
        match (key.as_str(), value) {
            ("capabilities", Value::Array(list)) => {
                settings.capabilities = Capabilities { pull: false, resolve: false, push: false };
                for word in &list {
                    match word.as_str() {
                        Some("pull") => settings.capabilities.pull = true,
                        Some("resolve") => settings.capabilities.resolve = true,
                        Some("push") => settings.capabilities.push = true,
                        _ => return Err(format!("unknown capability {word}")),
                    }
                }
            }
            ("ca", value) => {
                for file in one_or_many(value) {
                    settings.tls.ca.push(dir.join(string(&file, "ca")?));
                }
            }
            ("client", Value::String(file)) => settings.tls.client.push((dir.join(file), None)),
            ("client", Value::Array(list)) => {
                // A flat list of two strings is one pair of certificate and key, as in containerd's documentation.
                for item in list {
                    match item {
                        Value::Array(pair) => {
                            let mut files = pair.iter().map(|file| string(file, "client"));
                            let certificate = files.next().ok_or("client has an empty pair")??;
                            let key = files.next().transpose()?.filter(|key| !key.is_empty());
                            settings.tls.client.push((dir.join(certificate), key.map(|key| dir.join(key))));
                        }
                        other => settings.tls.client.push((dir.join(string(&other, "client")?), None)),
                    }
                }
            }
            ("skip_verify", Value::Boolean(skip)) => settings.tls.skip_verify = skip,
            ("override_path", Value::Boolean(on)) => settings.override_path = on,
            ("header", Value::Table(headers)) => {
                for (name, value) in headers {
                    let header =
                        HeaderName::try_from(&name).map_err(|_| format!("{name:?} is not a header name"))?;
                    for value in one_or_many(value) {
                        let mut value = HeaderValue::try_from(string(&value, "header")?)
                            .map_err(|_| format!("header {name:?} has an impossible value"))?;
                        value.set_sensitive(true);
                        settings.headers.append(header.clone(), value);
                    }
                }
            }
            ("dial_timeout", Value::String(text)) => {
                let timeout = duration(&text)
                    .ok_or_else(|| format!("dial_timeout {text:?} is not a duration like \"3s\""))?;
                settings.dial_timeout = (!timeout.is_zero()).then_some(timeout);
            }
            ("capabilities" | "client" | "skip_verify" | "override_path" | "header" | "dial_timeout", _) => {
                return Err(format!("{key} has the wrong type"));
            }
            _ => unknown.push(key),
        }
    }
    Ok(settings)
}

fn one_or_many(value: toml::Value) -> Vec<toml::Value> {
    match value {
        toml::Value::Array(list) => list,
        single => vec![single],
    }
}

/// Go's notation: `1h2m3.5s`, `250ms`.
fn duration(text: &str) -> Option<Duration> {
    let units: BTreeMap<&str, f64> =
        [("ns", 1e-9), ("us", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)].into();
    let mut rest = text;
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        seconds += number.parse::<f64>().ok()? * units.get(unit)?;
        rest = tail;
    }
    if text.is_empty() { None } else { Duration::try_from_secs_f64(seconds).ok() }
}

#[cfg(test)]
#[path = "hosts_tests.rs"]
mod tests;
