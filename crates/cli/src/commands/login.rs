//! `larder login`.

use crate::credentials::{ask, ask_secretly, password_from_stdin};
use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::Result;
use larder_core::{Error, Registry};

/// Check a user name and a password with a registry, and keep them
///
/// They are written to the docker-compatible credential file, which docker, podman, buildah and skopeo read too, or
/// given to the credential helper that it names. What is missing is asked for on the terminal.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// The registry, HOST[:PORT]
    #[arg(value_parser = registry, default_value = Registry::DOCKER_HUB)]
    registry: Registry,

    /// The user name
    #[arg(short, long, value_name = "USER")]
    username: Option<String>,

    /// Read the password from standard input
    #[arg(long, requires = "username")]
    password_stdin: bool,
}

const EXAMPLES: &str = "\
Examples:
  larder login registry.example
  echo \"$TOKEN\" | larder login ghcr.io --username me --password-stdin";

const DOCUMENT: &str = "\
JSON:
  {\"registry\", \"username\", \"file\"}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let username = match &args.username {
        Some(username) => username.clone(),
        None => ask(&format!("User name for {}", args.registry))?,
    };
    let password =
        if args.password_stdin { password_from_stdin()? } else { ask_secretly(invocation, "Password")? };
    let engine = invocation.engine()?;
    let (registry, user) = (args.registry.clone(), username.clone());
    let file = invocation.wait(async move { engine.login(&registry, &user, password).await })??;
    let registry = &args.registry;
    let document = serde_json::json!({ "registry": registry.as_str(), "username": username, "file": file.display().to_string() });
    invocation
        .done(&document, || format!("logged in to {registry} as {username}; kept in {}\n", file.display()))?;
    Ok(Exit::Done)
}

/// `HOST[:PORT]`; a scheme and the paths that docker's documentation shows are dropped.
pub(crate) fn registry(text: &str) -> Result<Registry, Error> {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or(text);
    let host = host.strip_suffix('/').unwrap_or(host);
    Registry::new(host.strip_suffix("/v1").or_else(|| host.strip_suffix("/v2")).unwrap_or(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_as_people_write_them() {
        for (given, expected) in [
            ("ghcr.io", "ghcr.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("http://localhost:5000/", "localhost:5000"),
            ("https://registry.example/v2", "registry.example"),
        ] {
            assert_eq!(registry(given).unwrap().as_str(), expected);
        }
        for wrong in ["", "https://", "registry.example/team", "user@host"] {
            assert!(registry(wrong).is_err(), "{wrong:?}");
        }
    }
}
