//! `larder pull`.

use crate::credentials::Given;
use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::problem::{Problem, Usage};
use crate::words::{count, size, took};
use anyhow::{Context, Result};
use larder_core::{Platform, Reference, Selection};
use larder_engine::{Lock, Outcome, PullReport, PullRequest, Pulled};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Bring images into the store
///
/// All images go on at once. If one fails, the rest finish; the summary names it and the exit code is not 0. An
/// interrupted pull continues where it stopped. With some platforms of an index, the index itself and its digest are
/// kept, so that a reference pinned by digest still resolves.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {
    /// Images: [REGISTRY/]REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "REF", required_unless_present_any = ["from_file", "lock"])]
    references: Vec<Reference>,

    /// Also those listed in this file: one per line, # starts a comment, - is standard input
    #[arg(long, value_name = "FILE")]
    from_file: Option<PathBuf>,

    /// Also those of this lock file, by their digests, whatever their names stand for now
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,

    /// For this platform, os/arch[/variant]; may be given several times [default: those of the lock file, or this machine's]
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',')]
    platforms: Vec<Platform>,

    /// For all platforms of an index
    #[arg(long, conflicts_with = "platforms")]
    all_platforms: bool,

    /// Only say what would be downloaded
    #[arg(long)]
    dry_run: bool,

    /// Unpack the layers while they arrive, for the first --platform or this machine's: the next mount is instant
    #[arg(long, conflicts_with = "dry_run")]
    unpack: bool,

    /// Leave signatures and other attached artifacts behind
    #[arg(long)]
    no_attached: bool,

    #[command(flatten)]
    credentials: Given,
}

const EXAMPLES: &str = "\
Examples:
  larder pull debian:12
  larder pull --from-file images.txt --platform linux/amd64,linux/arm64
  larder pull --lock larder.lock
  larder pull --dry-run ghcr.io/org/app@sha256:…
  echo \"$TOKEN\" | larder pull --username me --password-stdin registry.example/app:1";

const DOCUMENT: &str = "\
JSON:
  {\"images\": [{\"reference\", and one of:
    \"pulled\": {\"digest\", \"platforms\": [{\"os\", \"architecture\", \"variant\"}], \"size\", \"blobs\",
      \"missing\", \"missing_bytes\", \"downloaded\", \"attached\", \"up_to_date\", \"elapsed\"},
    \"failure\": {\"message\", \"kind\", \"hints\": []}}]}";

/// A longer list is a mistake.
const LIST_LIMIT: u64 = 16 << 20;

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let references = references(args)?;
    let lock = args.lock.as_deref().map(Lock::read).transpose()?;
    let mut selection = selection(&args.platforms, args.all_platforms);
    if let (Some(lock), None) = (&lock, &selection) {
        selection = Some(Selection::Only(lock.platforms.clone()));
    }
    let unpack = args.unpack.then(|| args.platforms.first().cloned().unwrap_or_else(Platform::host));
    let attached = args.no_attached.then_some(false);
    let auth = args.credentials.auth()?;
    let request = PullRequest { references, selection, dry_run: args.dry_run, unpack, attached, auth };
    let engine = invocation.engine()?;
    let report = invocation.wait(async move {
        match lock {
            Some(lock) => engine.pull_locked(&request, &lock).await,
            None => engine.pull(&request).await,
        }
    })?;
    invocation.terminal.finish();
    invocation
        .done(&report, || report.images.iter().filter_map(|image| line(image, args.dry_run)).collect())?;
    for (reference, failure) in report.failures() {
        let message = format!("cannot pull {}: {}", reference.familiar(), failure.message);
        invocation.terminal.complain(&Problem::new(&message, Exit::of(failure.kind), failure.hints.clone()));
    }
    if let Some(summary) = summary(&report, args.dry_run) {
        invocation.terminal.note(&summary);
    }
    Ok(Exit::of_all(report.failures().map(|(_, failure)| failure.kind)))
}

/// The platforms that were asked for, `None` where the configuration decides.
pub(crate) fn selection(platforms: &[Platform], all: bool) -> Option<Selection> {
    match (all, platforms) {
        (true, _) => Some(Selection::All),
        (false, []) => None,
        (false, platforms) => Some(Selection::Only(platforms.to_vec())),
    }
}

fn references(args: &Args) -> Result<Vec<Reference>> {
    if args.from_file.as_deref() == Some(Path::new("-")) && args.credentials.takes_stdin() {
        return Err(Usage::new("standard input cannot be both the list and the password").into());
    }
    listed(&args.references, args.from_file.as_deref(), args.lock.is_some())
}

/// The images that were named, and those of a list, each once. None at all is a mistake, unless there are others.
pub(crate) fn listed(named: &[Reference], list: Option<&Path>, others: bool) -> Result<Vec<Reference>> {
    let mut references = Vec::new();
    let mut add = |reference: Reference| {
        if !references.contains(&reference) {
            references.push(reference);
        }
    };
    named.iter().cloned().for_each(&mut add);
    if let Some(file) = list {
        let standard_input = file == Path::new("-");
        let name = if standard_input { "standard input".into() } else { file.display().to_string() };
        let text =
            if standard_input { read(std::io::stdin()) } else { std::fs::File::open(file).and_then(read) };
        let text = text.with_context(|| format!("cannot read the list of images from {name}"))?;
        parse_list(&text, &name)?.into_iter().for_each(add);
    }
    if references.is_empty() && !others {
        return Err(Usage::new("the list names no image").into());
    }
    Ok(references)
}

fn read(source: impl Read) -> std::io::Result<String> {
    let mut text = String::new();
    source.take(LIST_LIMIT + 1).read_to_string(&mut text)?;
    match text.len() as u64 > LIST_LIMIT {
        true => Err(std::io::Error::new(std::io::ErrorKind::InvalidData, "it is larger than 16 MiB")),
        false => Ok(text),
    }
}

/// One reference per line. A `#` at the start of a line or after a blank starts a comment.
fn parse_list(text: &str, name: &str) -> Result<Vec<Reference>> {
    let mut references = Vec::new();
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let comment = line
            .char_indices()
            .find(|(i, c)| *c == '#' && !line[..*i].ends_with(|c: char| !c.is_whitespace()));
        let line = comment.map_or(line, |(i, _)| &line[..i]).trim();
        if !line.is_empty() {
            let parsed = line.parse::<Reference>();
            references.push(parsed.map_err(|error| {
                let wrong = Usage::new(format!("{name}, line {}: {error}", at + 1));
                match text.starts_with(larder_engine::LOCK_HEADER) {
                    true => wrong.hint(format!("it is a lock file: --lock {name}")),
                    false => wrong,
                }
            })?);
        }
    }
    Ok(references)
}

fn line(image: &Outcome, dry_run: bool) -> Option<String> {
    let (pulled, name) = (image.pulled.as_ref()?, image.reference.familiar());
    let Pulled { digest, blobs, missing, elapsed, .. } = pulled;
    let (whole, digest) = (size(pulled.size), digest.short());
    Some(match dry_run {
        _ if pulled.up_to_date => format!("{name} is up to date: {digest}, {whole}\n"),
        true => {
            let (bytes, blobs) = (size(pulled.missing_bytes), count(*blobs, "blob"));
            format!(
                "{name} would be pulled: {digest}, {whole}, {missing} of {blobs} missing, {bytes} to download\n"
            )
        }
        false => {
            let attached = match pulled.attached {
                0 => String::new(),
                number => format!(", {}", count(number, "attached artifact")),
            };
            let downloaded = size(pulled.downloaded);
            format!(
                "{name} pulled: {digest}, {whole}{attached}, {downloaded} downloaded in {}\n",
                took(*elapsed)
            )
        }
    })
}

/// One line about many images.
fn summary(report: &PullReport, dry_run: bool) -> Option<String> {
    let failed = report.failures().count();
    let whole = report.images.len() - failed;
    let verb = if dry_run { "checked" } else { "pulled" };
    match (report.images.len(), failed) {
        (0 | 1, _) => None,
        (_, 0) => Some(format!("{} {verb}", count(whole, "image"))),
        _ => {
            let names: Vec<String> = report.failures().map(|(reference, _)| reference.familiar()).collect();
            Some(format!("{} {verb}, {failed} failed: {}", count(whole, "image"), names.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let text = "\u{feff}# all of ours\r\n\ndebian:12  # stable\n  localhost:5000/a\t#x\nb#c\n";
        let error = parse_list(text, "images.txt").unwrap_err().to_string();
        assert!(error.starts_with("images.txt, line 5: "), "{error}");
        let shown: Vec<String> =
            parse_list(&text.replace("b#c\n", ""), "x").unwrap().iter().map(Reference::familiar).collect();
        assert_eq!(shown, ["debian:12", "localhost:5000/a:latest"]);
    }

    #[test]
    fn selections() {
        let arm: Platform = "linux/arm64".parse().unwrap();
        assert_eq!(selection(&[], false), None);
        assert_eq!(selection(&[], true), Some(Selection::All));
        assert_eq!(selection(std::slice::from_ref(&arm), false), Some(Selection::Only(vec![arm])));
    }
}
