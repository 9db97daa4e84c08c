//! `larder ready`.

use crate::commands::discover::{self, Confidence};
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::problem::{Problem, Usage};
use crate::sources::Reading;
use crate::words::count;
use anyhow::Result;
use larder_core::{Platform, Registry, Selection};
use larder_engine::{Lock, Needed, Readiness, Shelf};
use std::path::PathBuf;

/// Would this cluster start with the network unplugged?
///
/// Looks for every image that is asked for in the store, or in a registry, down to its last layer. Lists what is
/// missing; then the exit code is not 0.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"), disable_version_flag = true)]
pub(crate) struct Args {
    /// Files, directories, charts, as for `larder discover`
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,

    /// Also the images of this lock file, at their digests
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,

    /// Look in this registry, HOST[:PORT], and not in the store
    #[arg(long, value_name = "HOST", value_parser = Registry::new)]
    registry: Option<Registry>,

    /// For this platform, os/arch[/variant]; may be given several times [default: that of the lock file, or this machine's]
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<Platform>,

    /// Leave out what is less sure
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Confidence::Likely)]
    confidence: Confidence,

    #[command(flatten)]
    reading: Reading,
}

const EXAMPLES: &str = "\
Examples:
  larder ready ./manifests ./charts/web -f production.yaml
  larder ready --lock larder.lock
  larder ready --lock larder.lock --registry mirror.internal:5000";

const DOCUMENT: &str = "\
JSON:
  {\"images\": [{\"image\", \"ready\", \"failure\": {\"message\", \"kind\", \"hints\": []}}], \"ready\"}";

#[derive(serde::Serialize)]
struct Answer {
    images: Vec<Readiness>,
    ready: bool,
}

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    if args.sources.is_empty() && args.lock.is_none() {
        return Err(Usage::new("there is nothing to look for")
            .hint("name the sources: larder ready SOURCE…")
            .hint("or a lock file: larder ready --lock larder.lock")
            .into());
    }
    let mut needed: Vec<Needed> = Vec::new();
    let mut platforms = args.platforms.clone();
    if let Some(path) = &args.lock {
        let lock = Lock::read(path)?;
        if platforms.is_empty() {
            platforms.clone_from(&lock.platforms);
        }
        needed.extend(
            lock.images.into_iter().map(|locked| Needed { image: locked.image, digest: Some(locked.digest) }),
        );
    }
    let mut told = Exit::Done;
    if !args.sources.is_empty() {
        let options = args.reading.survey_options()?;
        let discovery =
            discover::discover(&args.sources, &args.reading.rendering, &options, false, invocation)?;
        for asked in discovery.at_least(args.confidence.into()) {
            if needed.iter().all(|known| known.image != asked.image) {
                needed.push(Needed { image: asked.image.clone(), digest: None });
            }
        }
        told = discover::told(&discovery, invocation);
    }
    let engine = invocation.engine()?;
    if platforms.is_empty() {
        platforms = match engine.default_selection()? {
            Selection::Only(platforms) => platforms,
            Selection::All => vec![Platform::host()],
        };
    }
    let shelf = args.registry.clone().map_or(Shelf::Store, Shelf::Registry);
    let images = invocation.wait(async move { engine.ready(&needed, &platforms, &shelf).await })?;
    invocation.terminal.finish();
    let missing: Vec<&Readiness> = images.iter().filter(|image| !image.ready).collect();
    let exit = Exit::of_all(missing.iter().filter_map(|image| Some(image.failure.as_ref()?.kind)));
    for image in &missing {
        if let Some(failure) = &image.failure {
            let problem = Problem::new(&failure.message, Exit::of(failure.kind), failure.hints.clone());
            invocation.terminal.complain(&problem);
        }
    }
    let (whole, all) = (images.len() - missing.len(), images.len());
    let ready = missing.is_empty() && told == Exit::Done;
    let verdict = match missing.len() {
        0 if ready => format!("ready: {} there\n", count(all, "image")),
        0 => format!("not known: {} there, but not everything could be read\n", count(all, "image")),
        number => format!("not ready: {whole} of {} there, {number} missing\n", count(all, "image")),
    };
    invocation.done(&Answer { ready, images }, || verdict)?;
    Ok(Exit::most_telling([exit, told]))
}
