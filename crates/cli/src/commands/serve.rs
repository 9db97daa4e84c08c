//! `larder serve`.

use crate::exit::Exit;
use crate::invocation::{self, Invocation};
use crate::journal::{Journal, LogFormat};
use crate::problem::Usage;
use anyhow::Result;
use larder_engine::{ServeConfig, Serving, TlsConfig, UpstreamSettings};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Serve the store as a registry, and stand in front of every upstream
///
/// Clients pull what the store has, and through it what docker.io, quay.io, ghcr.io, registry.k8s.io and the other
/// well-known registries have: HOST/docker.io/library/nginx, or with ?ns=docker.io as containerd's mirrors ask. Each blob
/// is fetched once, however many ask. What is pushed is kept as localhost/NAME. Registries that are not configured are
/// never contacted. On SIGHUP certificates and accounts are read again; SIGTERM lets transfers finish.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Where to listen; :5000 is every address, port 0 a free one; repeat for several [default: 127.0.0.1:5000]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<String>,

    /// Stand in front of a registry, or say where it is: NAME[=URL]; repeat for several
    #[arg(long, value_name = "NAME=URL")]
    upstream: Vec<String>,

    /// Ask no upstream; the store is all there is
    #[arg(long, conflicts_with = "upstream")]
    offline: bool,

    /// The registry that names without one belong to; docker.io makes this a mirror for Docker's engine
    #[arg(long, value_name = "REGISTRY")]
    default_namespace: Option<String>,

    /// Accounts, as `htpasswd -B` writes them; who has one may pull, push and delete
    #[arg(long, value_name = "FILE")]
    htpasswd: Option<PathBuf>,

    /// What everybody may do: pull, push, delete [default: everything on a loopback address without accounts]
    #[arg(long, value_name = "ACTION", value_delimiter = ',')]
    anonymous: Vec<String>,

    /// Serve TLS with this certificate chain (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// The key of the certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// How to write the log of requests: text, json or none [default: text on a terminal, json otherwise]
    #[arg(long, value_name = "FORMAT")]
    log: Option<LogFormat>,
}

const EXAMPLES: &str = "\
Examples:
  larder serve
  larder serve --listen :5000 --htpasswd users --anonymous pull
  larder serve --upstream registry.example=https://10.0.0.7:5000
  skopeo inspect --tls-verify=false docker://127.0.0.1:5000/docker.io/library/alpine:3";

const DOCUMENT: &str = "\
Everything else is configured in the section `serve` of config.yaml: access (rules, tokens,
issuers, client certificates), upstreams (credentials, times), limits. See the guide,
`docs/guide/serve.md`. Log lines go to standard error.

JSON:
  {\"listening\": [URL]}, once it listens";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let settings = invocation.settings()?;
    let mut config = settings.config.serve;
    args.apply(&mut config)?;
    let journal = Journal::new(args.log, invocation.global.quiet);
    let engine = invocation.engine_reporting_to(journal.progress())?;
    invocation::raise_file_limit();
    let workers = std::thread::available_parallelism().map_or(2, usize::from).max(2);
    let runtime = invocation::runtime(workers)?;
    let serving = runtime.block_on(engine.prepare_to_serve(&config, journal.sink()))?;
    announce(&serving, invocation)?;
    let cut = runtime.block_on(serve(Arc::new(serving), &journal))?;
    runtime.shutdown_background();
    if cut > 0 {
        invocation.terminal.warn(&format!("{cut} connections were cut: they were not done in time"));
    }
    Ok(Exit::Done)
}

async fn serve(serving: Arc<Serving>, journal: &Journal) -> Result<usize> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    let mut hangups = signal(SignalKind::hangup())?;
    let (leave, left) = tokio::sync::oneshot::channel::<()>();
    let running = {
        let serving = serving.clone();
        tokio::spawn(async move { serving.run(async move { drop(left.await) }).await })
    };
    let mut look = tokio::time::interval(LOOK);
    let mut known: Vec<String> = Vec::new();
    let reloaded = |outcome: larder_engine::Result<bool>| match outcome {
        Ok(false) => {}
        Ok(true) => journal.note("certificates and accounts were read again"),
        Err(error) => journal.warn(&larder_core::report(&error)),
    };
    loop {
        tokio::select! {
            _ = interrupts.recv() => break,
            _ = terminations.recv() => break,
            _ = hangups.recv() => reloaded(serving.reload().map(|()| true)),
            _ = look.tick() => {
                reloaded(serving.refresh());
                let problems = serving.problems();
                problems.iter().filter(|problem| !known.contains(problem)).for_each(|problem| journal.warn(problem));
                known = problems;
            }
        }
    }
    journal.note("leaving: transfers may finish; another signal cuts them");
    // Nobody waits for this any more if serving has ended by itself.
    let _ = leave.send(());
    tokio::select! {
        ended = running => Ok(ended.map_or(0, |farewell| farewell.cut)),
        _ = interrupts.recv() => Ok(0),
        _ = terminations.recv() => Ok(0),
    }
}

fn announce(serving: &Serving, invocation: &Invocation) -> Result<()> {
    let scheme = if serving.is_secure() { "https" } else { "http" };
    let urls: Vec<String> =
        serving.addresses().iter().map(|address| format!("{scheme}://{address}")).collect();
    let document = serde_json::json!({ "listening": urls });
    invocation.answer(&document, || urls.iter().map(|url| format!("listening on {url}\n")).collect())
}

impl Args {
    /// Flags win over the file.
    fn apply(&self, config: &mut ServeConfig) -> Result<()> {
        if !self.listen.is_empty() {
            config.listen.clone_from(&self.listen);
        }
        for text in &self.upstream {
            let (name, settings) = UpstreamSettings::parse(text).map_err(|problem| {
                Usage::new(format!("--upstream {text}: {problem}"))
                    .hint("write NAME=URL, for example registry.example=https://10.0.0.7:5000")
            })?;
            match config.upstreams.get_mut(&name) {
                Some(known) => known.url = settings.url,
                None => drop(config.upstreams.insert(name, settings)),
            }
        }
        config.offline |= self.offline;
        if self.default_namespace.is_some() {
            config.default_namespace.clone_from(&self.default_namespace);
        }
        if self.htpasswd.is_some() {
            config.access.htpasswd.clone_from(&self.htpasswd);
        }
        if !self.anonymous.is_empty() {
            config.anonymous = Some(self.anonymous.clone());
        }
        if let (Some(certificate), Some(key)) = (&self.tls_cert, &self.tls_key) {
            config.tls = Some(TlsConfig { certificate: certificate.clone(), key: key.clone() });
        }
        Ok(())
    }
}

/// How often files of certificates are looked at.
const LOOK: Duration = Duration::from_secs(5);
