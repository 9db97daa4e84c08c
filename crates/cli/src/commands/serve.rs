//! `larder serve`.

use crate::exit::Exit;
use crate::invocation::{self, Invocation};
use crate::journal::{Journal, LogFormat};
use crate::problem::Usage;
use anyhow::Result;
use larder_core::Registry;
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
/// never contacted. On SIGHUP certificates, accounts and rules are read again; SIGTERM lets transfers finish.
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

    /// Whoever the rules let may read what the store has of registries that cannot be asked: without it, only what is known
    /// to be public, and the rest with an account
    #[arg(long)]
    share: bool,

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
    let again = || -> Result<ServeConfig> {
        let mut config = invocation.settings()?.config.serve;
        args.apply(&mut config)?;
        Ok(config)
    };
    let cut = runtime.block_on(serve(Arc::new(serving), &journal, &again))?;
    runtime.shutdown_background();
    if cut > 0 {
        invocation.terminal.warn(&format!("{cut} connections were cut: they were not done in time"));
    }
    Ok(Exit::Done)
}

async fn serve(
    serving: Arc<Serving>,
    journal: &Journal,
    again: &dyn Fn() -> Result<ServeConfig>,
) -> Result<usize> {
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
    let reloaded = |what: &str, outcome: Result<bool>| match outcome {
        Ok(false) => {}
        Ok(true) => journal.note(&format!("{what} were read again")),
        Err(error) => {
            journal.warn(&format!("{what} stay as they were: {}", larder_core::report(error.as_ref())));
        }
    };
    loop {
        tokio::select! {
            _ = interrupts.recv() => break,
            _ = terminations.recv() => break,
            _ = hangups.recv() => {
                // One that cannot be read does not keep the other from being read.
                reloaded("certificates", serving.reload_certificates().map_err(Into::into));
                let rules = again().and_then(|config| Ok(serving.reload_access(&config)?));
                reloaded("accounts and rules", rules.map(|()| true));
            }
            _ = look.tick() => {
                reloaded("certificates", serving.refresh().map_err(Into::into));
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
    /// Tells what is wrong by the name of the flag.
    fn check(&self) -> Result<()> {
        let wrong = |flag: &str, text: &str, problem: &str, hint: &str| {
            Err(Usage::new(format!("{flag} {text}: {problem}")).hint(hint).into())
        };
        for text in &self.listen {
            if text.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                let hint = "write 127.0.0.1:5000 for this machine only, :5000 for every address";
                return wrong("--listen", text, "this is not ADDRESS:PORT", hint);
            }
        }
        for text in &self.anonymous {
            if !["pull", "push", "delete"].contains(&text.as_str()) {
                return wrong("--anonymous", text, "there is no such action", "write pull, push or delete");
            }
        }
        if let Some(text) = &self.default_namespace
            && let Err(error) = Registry::new(text)
        {
            let hint = "write the host of a registry, for example docker.io";
            return wrong("--default-namespace", text, &error.to_string(), hint);
        }
        if let Some(file) = self.htpasswd.as_ref().filter(|file| file.is_dir()) {
            let hint = format!("`htpasswd -Bc {} NAME` creates a file", file.join("users").display());
            return wrong("--htpasswd", &file.display().to_string(), "this is a directory", &hint);
        }
        Ok(())
    }

    /// Flags win over the file.
    fn apply(&self, config: &mut ServeConfig) -> Result<()> {
        self.check()?;
        if !self.listen.is_empty() {
            config.listen.clone_from(&self.listen);
        }
        for text in &self.upstream {
            let (name, settings) = UpstreamSettings::parse(text).map_err(|problem| {
                // What stands behind the name may have a password in it.
                let name = text.split_once('=').map_or(text.as_str(), |(name, _)| name);
                Usage::new(format!("--upstream {name}: {problem}"))
                    .hint("write NAME=URL, for example registry.example=https://10.0.0.7:5000")
            })?;
            match config.upstreams.get_mut(&name) {
                Some(known) => known.url = settings.url,
                None => drop(config.upstreams.insert(name, settings)),
            }
        }
        config.offline |= self.offline;
        config.share |= self.share;
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
