//! `larder nodes mirror`.

use crate::exit::Exit;
use crate::fleet::{self, Nodes};
use crate::invocation::Invocation;
use crate::problem::{Problem, Usage};
use crate::table::Table;
use anyhow::{Context as _, Result};
use larder_core::Registry;
use larder_engine::nodes::{Change, MirrorOptions, MirrorUrl, Mirrors};
use larder_engine::{MirrorReport, MirroredNode};
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Let nodes pull through a larder registry
///
/// On nodes with containerd a hosts.toml below /etc/containerd/certs.d (or the directory that its configuration names) puts
/// larder in front of the registries; where larder does not answer, containerd goes to the registry itself. On nodes
/// with Docker it is a mirror in /etc/docker/daemon.json, for Docker's registry only. What was there before is kept on the
/// node, and --undo brings it back byte for byte. Doing it twice changes nothing.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    #[command(flatten)]
    nodes: Nodes,

    /// Where `larder serve` listens, as the nodes reach it: http://HOST[:PORT] or https://HOST[:PORT]
    #[arg(long, value_name = "URL", required_unless_present = "undo", value_parser = str::parse::<MirrorUrl>)]
    registry: Option<MirrorUrl>,

    /// Certificates in PEM that vouch for the registry; they are copied to the node
    #[arg(long, value_name = "FILE", requires = "registry")]
    ca: Option<PathBuf>,

    /// For this registry, as in docker.io; may be given several times [default: all that have no hosts.toml of their own]
    #[arg(long = "for", value_name = "HOST", value_delimiter = ',', requires = "registry", value_parser = host)]
    hosts: Vec<Registry>,

    /// Also let containerd read hosts.toml files, with a line in /etc/containerd/config.toml, where it does not yet
    #[arg(long, requires = "registry")]
    configure: bool,

    /// Let Docker read its settings right away
    #[arg(long)]
    reload: bool,

    /// Bring back what was there before
    #[arg(long, conflicts_with = "registry")]
    undo: bool,

    /// Only say what would be changed
    #[arg(long)]
    dry_run: bool,
}

const EXAMPLES: &str = "\
Examples:
  larder nodes mirror --node all --registry http://10.0.0.5:5000 --configure
  larder nodes mirror --node role=worker --registry https://larder.example --ca ca.crt \\
      --for docker.io,quay.io
  larder nodes mirror --node all --undo

JSON:
  {\"nodes\": [{\"node\", \"address\", \"files\": [{\"path\",
    \"change\": \"created\" | \"replaced\" | \"restored\" | \"removed\" | \"unchanged\"}], \"notes\": [],
    \"failure\": {\"message\", \"kind\", \"hints\": []}}]}";

/// A longer file of certificates is a mistake.
const LIMIT: u64 = 1 << 20;

pub(super) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let config = invocation.settings()?.config;
    let fleet = args.nodes.fleet(&config, invocation)?;
    let jobs = fleet::at_once(invocation);
    let (reload, dry_run) = (args.reload, args.dry_run);
    let report = match &args.registry {
        None => invocation.wait(async move { MirrorReport::undone(&fleet, reload, dry_run, jobs).await })?,
        Some(url) => {
            let mirrors = match args.hosts.is_empty() {
                true => vec![Mirrors::All],
                false => args.hosts.iter().cloned().map(Mirrors::One).collect(),
            };
            let authority = args.ca.as_deref().map(certificates).transpose()?;
            if authority.is_some() && !url.is_tls() {
                return Err(Usage::new("--ca is for a registry with https").into());
            }
            let configure = args.configure;
            let options = MirrorOptions { url: url.clone(), mirrors, authority, configure, reload, dry_run };
            invocation.wait(async move { MirrorReport::of(&fleet, &options, jobs).await })?
        }
    };
    invocation.done(&report, || table(&report, dry_run))?;
    for node in &report.nodes {
        node.notes.iter().for_each(|note| invocation.terminal.note(&format!("{}: {note}", node.node)));
    }
    for (_, failure) in report.failures() {
        let problem = Problem::new(&failure.message, Exit::of(failure.kind), failure.hints.clone());
        invocation.terminal.complain(&problem);
    }
    Ok(Exit::of_all(report.failures().map(|(_, failure)| failure.kind)))
}

fn host(text: &str) -> Result<Registry, larder_core::Error> {
    Registry::new(text)
}

fn certificates(path: &Path) -> Result<Vec<u8>> {
    let mut content = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut content));
    read.with_context(|| format!("cannot read {}", path.display()))?;
    let text = String::from_utf8_lossy(&content);
    if content.len() as u64 > LIMIT || !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(Usage::new(format!("{} is no file of certificates in PEM", path.display())).into());
    }
    if text.contains("PRIVATE KEY-----") {
        return Err(Usage::new(format!(
            "{} has a private key in it, which nodes must not have",
            path.display()
        ))
        .into());
    }
    Ok(content)
}

fn table(report: &MirrorReport, dry_run: bool) -> String {
    let mut table = Table::new(&["NODE", "FILE", "STATE"]);
    for MirroredNode { node, files, failure, .. } in &report.nodes {
        if failure.is_some() {
            table.row([node.as_str(), "-", "failed"]);
        }
        for file in files {
            table.row([node.as_str(), file.path.as_str(), word(file.change, dry_run)]);
        }
    }
    table.to_string()
}

fn word(change: Change, dry_run: bool) -> &'static str {
    match (change, dry_run) {
        (Change::Unchanged, _) => "up to date",
        (Change::Created, false) => "created",
        (Change::Replaced, false) => "replaced",
        (Change::Restored, false) => "restored",
        (Change::Removed, false) => "removed",
        (Change::Created, true) => "would be created",
        (Change::Replaced, true) => "would be replaced",
        (Change::Restored, true) => "would be restored",
        (Change::Removed, true) => "would be removed",
    }
}
