//! `larder logout`.

use super::login::registry;
use crate::exit::Exit;
use crate::invocation::Invocation;
use anyhow::Result;
use larder_core::Registry;

/// Forget the user name and the password of a registry
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// The registry, HOST[:PORT]
    #[arg(value_parser = registry, default_value = Registry::DOCKER_HUB)]
    registry: Registry,
}

const EXAMPLES: &str = "\
Examples:
  larder logout registry.example";

const DOCUMENT: &str = "\
JSON:
  {\"registry\", \"removed\": BOOL}";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let engine = invocation.engine()?;
    let registry = args.registry.clone();
    let removed = invocation.wait(async move { engine.logout(&registry).await })??;
    let registry = &args.registry;
    invocation.done(&serde_json::json!({ "registry": registry.as_str(), "removed": removed }), || {
        match removed {
            true => format!("logged out of {registry}\n"),
            false => format!("there was nothing kept for {registry}\n"),
        }
    })?;
    Ok(Exit::Done)
}
