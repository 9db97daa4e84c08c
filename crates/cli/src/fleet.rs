//! Which nodes a verb is about: the arguments, and what is behind them.

use crate::invocation::Invocation;
use crate::problem::Usage;
use anyhow::Result;
use larder_core::Platform;
use larder_engine::nodes::{NodePrograms, Rate, SshOptions};
use larder_engine::{Config, Fleet, Inventory, Selector};
use std::path::PathBuf;

/// How images get to nodes: what `deliver` and `preheat` share.
#[derive(Debug, clap::Args)]
pub(crate) struct Delivery {
    /// The namespace of containerd [default: that of the inventory, or k8s.io]
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// For this platform, os/arch[/variant]; may be given several times [default: those of the lock files, or this machine's]
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    pub(crate) platforms: Vec<Platform>,

    /// At most so many bytes per second to all nodes together, as in 20MB
    #[arg(long, value_name = "RATE", value_parser = str::parse::<Rate>)]
    pub(crate) limit_rate: Option<Rate>,

    /// Attempts without progress before a node is given up
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) retries: u32,

    /// Leave the layers packed on the node until a container needs them
    #[arg(long)]
    pub(crate) no_unpack: bool,
}

/// Nodes at the same time, where nothing is said.
const AT_ONCE: usize = 10;

/// The nodes that a verb is about.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Nodes {
    /// A node: its name, a pattern (worker-*), a label (role=worker), all, or user@host[:port]; may be given several times
    #[arg(long = "node", value_name = "NODE", value_delimiter = ',')]
    pub(crate) selectors: Vec<Selector>,

    /// The file that says which nodes there are [default: $LARDER_INVENTORY, else HOME/nodes.yaml]
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: Option<PathBuf>,
}

impl Nodes {
    /// The inventory, whatever was selected.
    pub(crate) fn inventory(&self, config: &Config) -> Result<Inventory> {
        let path = self.inventory.clone().or_else(|| config.inventory.clone());
        let path = path.unwrap_or_else(|| config.home.join("nodes.yaml"));
        Ok(Inventory::read(&path)?)
    }

    /// The nodes that were selected.
    pub(crate) fn fleet(&self, config: &Config, invocation: &Invocation) -> Result<Fleet> {
        if self.selectors.is_empty() {
            return Err(Usage::new("which nodes? --node is missing")
                .hint("--node all is all of the inventory; --node user@host is one that is not in it")
                .into());
        }
        let nodes = self.inventory(config)?.select(&self.selectors)?;
        Ok(Fleet::new(ssh_options(config, invocation), nodes)?)
    }
}

/// How many nodes are spoken to at the same time: `--jobs` where it is given.
pub(crate) fn at_once(invocation: &Invocation) -> usize {
    invocation.global.jobs.unwrap_or(AT_ONCE)
}

/// Where the programs are that can be put on nodes: those that were named, and those beside this one. This one itself can do
/// that work too, where somebody insists.
pub(crate) fn node_programs(named: Option<PathBuf>, config: &Config, insists: bool) -> NodePrograms {
    let own = std::env::current_exe().ok();
    let beside = own.as_ref().and_then(|own| own.parent()).map(PathBuf::from);
    let directories = config.node_binaries.iter().cloned().chain(beside).collect();
    NodePrograms::new(named, directories, own.filter(|_| insists))
}

/// What `ssh` has to know.
pub(crate) fn ssh_options(config: &Config, invocation: &Invocation) -> SshOptions {
    let environment = &invocation.environment;
    SshOptions {
        known_hosts: environment.known_hosts(&config.home),
        connect_timeout: config.connect_timeout.0,
        idle_timeout: config.idle_timeout.0,
        runtime_dir: environment.runtime_directory(),
        home: environment.home_directory(),
    }
}
