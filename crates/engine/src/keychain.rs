//! From the configuration to the credential chain and the registry client's settings.

use crate::config::RegistryConfig;
use crate::{Config, Error, Host, Result};
use larder_core::{Progress, Registry, Secret};
use larder_remote::{Cached, Chain, Credential, DockerConfig, IpNet, Keychain, PerHost};
use std::path::PathBuf;
use std::sync::Arc;

/// The chain: per-registry configuration, then the file `login` writes, then docker's and podman's files; answers are kept for
/// `credential_ttl`.
pub(crate) fn chain(config: &Config, host: &Host) -> Result<Arc<dyn Keychain>> {
    let mut links: Vec<Arc<dyn Keychain>> = Vec::new();
    let mut known = Vec::new();
    for (name, registry) in &config.registries {
        let parsed =
            Registry::new(name).map_err(|error| Error::Config { problem: format!("registries: {error}") })?;
        if let Some(credential) = credential(name, registry)? {
            known.push((parsed.as_str().to_owned(), credential));
        }
    }
    if !known.is_empty() {
        links.push(Arc::new(PerHost::new(known)));
    }
    let mut files: Vec<PathBuf> = config.auth_file.iter().cloned().collect();
    files.extend(
        host.credential_files.iter().filter(|file| config.auth_file.as_ref() != Some(*file)).cloned(),
    );
    links.push(Arc::new(docker_config(files, config, host)));
    let chain = Arc::new(Chain(links));
    Ok(Arc::new(Cached::new(chain, config.credential_ttl.0, host.clock.clone())))
}

fn credential(name: &str, registry: &RegistryConfig) -> Result<Option<Credential>> {
    let Some(username) = &registry.username else { return Ok(None) };
    let password = match (&registry.password, &registry.password_file) {
        (Some(password), _) => password.clone(),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(path).map_err(|source| Error::File {
                action: "cannot read the password file",
                path: path.clone(),
                source,
            })?;
            Secret::new(text.trim_end_matches(['\r', '\n']))
        }
        (None, None) => {
            let problem =
                format!("registries: {name} has a username, but neither password nor password_file");
            return Err(Error::Config { problem });
        }
    };
    Ok(Some(Credential::Basic { username: username.clone(), password }))
}

pub(crate) fn docker_config(files: Vec<PathBuf>, config: &Config, host: &Host) -> DockerConfig {
    DockerConfig::new(files, host.helper_path.clone()).with_helper_timeout(config.helper_timeout.0)
}

pub(crate) fn client_config(
    config: &Config,
    host: &Host,
    progress: Progress,
) -> Result<larder_remote::Config> {
    Ok(larder_remote::Config {
        user_agent: host.user_agent.clone(),
        connect_timeout: config.connect_timeout.0,
        idle_timeout: config.idle_timeout.0,
        attempts: config.attempts,
        seed: host.seed,
        certs_dirs: config.certs_dir.clone(),
        insecure: insecure(config)?,
        ca_files: config.ca_file.clone(),
        allowed_networks: networks("allow_networks", &config.allow_networks)?,
        blocked_networks: networks("block_networks", &config.block_networks)?,
        realm_hosts: config.realm_hosts.clone(),
        allow_foreign_urls: config.foreign_urls,
        proxy: host.proxy.clone(),
        clock: host.clock.clone(),
        progress,
        ..larder_remote::Config::default()
    })
}

/// Networks in CIDR notation; a single address is a network of one.
pub(crate) fn networks(key: &str, texts: &[String]) -> Result<Vec<IpNet>> {
    let parse = |text: &String| {
        let single = text.parse::<std::net::IpAddr>().map(IpNet::from);
        text.parse::<IpNet>().or(single).map_err(|_| Error::Config {
            problem: format!("{key}: {text:?} is not a network; write for example 10.0.0.0/8"),
        })
    };
    texts.iter().map(parse).collect()
}

/// Registries that need no verified certificate.
pub(crate) fn insecure(config: &Config) -> Result<Vec<Registry>> {
    let parsed: std::result::Result<Vec<Registry>, _> =
        config.insecure.iter().map(|name| Registry::new(name)).collect();
    parsed.map_err(|error| Error::Config { problem: format!("insecure: {error}") })
}
