//! `larder lock`.

use crate::args::Format;
use crate::commands::discover::{self, Confidence};
use crate::exit::Exit;
use crate::invocation::{self, Invocation};
use crate::problem::{Problem, Usage};
use crate::recipe;
use crate::sources::Reading;
use crate::words::count;
use anyhow::{Context as _, Result};
use larder_core::{Kind, Platform, Selection};
use larder_engine::{Discovery, Failure, Lock, LockDifference, LockReport, Sureness};
use std::fs::{File, Permissions};
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// Pin every image that is asked for to its digest, in a file
///
/// The file says for each image what its name stands for now, which manifest each platform has, and who asks for it.
/// `larder pull --lock` brings exactly that. --check reads the sources again and asks the registries again.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"), disable_version_flag = true)]
pub(crate) struct Args {
    /// Files, directories, charts, as for `larder discover`; with --check those that the lock file names
    #[arg(value_name = "SOURCE")]
    sources: Vec<String>,

    /// The lock file; - is standard output [default: larder.lock]
    #[arg(long = "file", value_name = "FILE")]
    file: Option<PathBuf>,

    /// The lock file, as with --file; or json, for one JSON document on standard output
    #[arg(short, long, value_name = "FILE|FORMAT", default_value = "text", hide_default_value = true, value_parser = Format::or_file)]
    output: Format,

    /// Is the lock file still right? Says what is new, gone, moved, or not to be had any more
    #[arg(long, conflicts_with = "diff")]
    check: bool,

    /// Say how the lock file differs from this older one; with sources, how a new one would
    #[arg(long, value_name = "OLD")]
    diff: Option<PathBuf>,

    /// For this platform, os/arch[/variant]; may be given several times [default: this machine's]
    #[arg(long = "platform", value_name = "PLATFORM", value_delimiter = ',', conflicts_with = "check")]
    platforms: Vec<Platform>,

    /// Leave out what is less sure [default: likely, or that of the lock file]
    #[arg(long, value_enum, value_name = "HOW")]
    confidence: Option<Confidence>,

    /// Doubts are errors: images without tag and digest, what only runs will show
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    reading: Reading,
}

const EXAMPLES: &str = "\
Examples:
  larder lock ./manifests ./charts/web -f production.yaml
  larder lock ./manifests --platform linux/amd64,linux/arm64 -o cluster.lock
  larder lock --check
  larder lock --diff last-month.lock
  larder pull --lock larder.lock";

const DOCUMENT: &str = "\
JSON:
  {\"lock\": {\"version\", \"platforms\": [], \"sources\": [], \"images\": [{\"image\", \"digest\",
    \"manifests\": {PLATFORM: DIGEST}, \"confidence\", \"from\": []}]},
   \"failures\": [[IMAGE, {\"message\", \"kind\", \"hints\": []}]]}
  with --check and --diff: {\"new\": [], \"gone\": [], \"moved\": [{\"image\", \"from\", \"to\"}]}";

impl Args {
    fn file(&self) -> Result<&Path> {
        match (&self.file, &self.output) {
            (Some(_), Format::File(_)) => {
                Err(Usage::new("--file and --output both name a lock file; one of them is enough").into())
            }
            (Some(file), _) | (None, Format::File(file)) => Ok(file),
            (None, _) => Ok(Path::new("larder.lock")),
        }
    }
}

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let file = args.file()?;
    if args.check {
        return check(args, file, invocation);
    }
    if let (Some(old), true) = (&args.diff, args.sources.is_empty()) {
        return show(&Lock::read(file)?.difference(&Lock::read(old)?), true, invocation);
    }
    if args.sources.is_empty() {
        return Err(Usage::new("there is nothing to pin")
            .hint("name the sources: larder lock SOURCE…")
            .hint("larder lock --check compares the lock file with its sources, --diff OLD with an older one")
            .into());
    }
    let options = args.reading.survey_options()?;
    let discovery =
        discover::discover(&args.sources, &args.reading.rendering, &options, args.strict, invocation)?;
    let confidence = args.confidence.unwrap_or(Confidence::Likely);
    let old = args.diff.as_deref().map(Lock::read).transpose()?;
    let words = recipe::seen_from(file, words(&args.sources, &args.reading, confidence))?;
    let report = resolve(&discovery, confidence.into(), args.platforms.clone(), words, invocation)?;
    if let Some(old) = old {
        let mut difference = report.lock.difference(&old);
        let is_whole = is_whole(&report, &discovery);
        // What cannot be read or had may still be asked for.
        difference.gone.retain(|_| is_whole);
        let exit = complain(&report, invocation);
        let told = discover::told(&discovery, invocation);
        let shown = show(&difference, is_whole, invocation)?;
        return Ok(Exit::most_telling([exit, told, shown]));
    }
    if file == Path::new("-") && invocation.global.output != Format::Json {
        show_whole(&report, &discovery, invocation)?;
    } else {
        if file != Path::new("-") && is_whole(&report, &discovery) {
            write(file, &report.lock)?;
        }
        invocation.done(&report, || {
            let images = count(report.lock.images.len(), "image");
            match is_whole(&report, &discovery) {
                true => format!("{images} pinned in {}\n", file.display()),
                false => format!("{} not written: it would not be complete\n", file.display()),
            }
        })?;
    }
    let exit = complain(&report, invocation);
    let told = discover::told(&discovery, invocation);
    Ok(Exit::most_telling([exit, told]))
}

/// Pins a discovery and prints the lock file.
pub(crate) fn print(
    discovery: &Discovery,
    confidence: Sureness,
    words: Vec<String>,
    invocation: &Invocation,
) -> Result<Exit> {
    let report = resolve(discovery, confidence, Vec::new(), words, invocation)?;
    show_whole(&report, discovery, invocation)?;
    Ok(complain(&report, invocation))
}

/// What is printed may end up in a file: then nothing is better than a part.
fn show_whole(report: &LockReport, discovery: &Discovery, invocation: &Invocation) -> Result<()> {
    match is_whole(report, discovery) {
        true => invocation::print(report.lock.to_yaml().as_bytes()),
        false => {
            invocation.terminal.note("no lock file printed: it would not be complete");
            Ok(())
        }
    }
}

fn is_whole(report: &LockReport, discovery: &Discovery) -> bool {
    report.failures.is_empty() && discovery.complete
}

/// The command line that reads these sources, word by word.
pub(crate) fn words(sources: &[String], reading: &Reading, confidence: Confidence) -> Vec<String> {
    let confidence = match confidence {
        Confidence::Likely => None,
        other => Some(format!("--confidence={}", Sureness::from(other).as_str())),
    };
    sources.iter().cloned().chain(reading.words()).chain(confidence).collect()
}

/// Words of a key whose value is nobody's business.
const SECRET: [&str; 4] = ["password", "secret", "token", "credential"];

/// The lock file says how it was made; what was said on the command line is in it.
fn warn_of_secrets(words: &[String], invocation: &Invocation) {
    let is_secret = |word: &&String| {
        let key = word.split_once('=').and_then(|(flag, rest)| Some((flag, rest.split_once('=')?.0)));
        key.is_some_and(|(flag, key)| {
            flag.starts_with("--set") && SECRET.iter().any(|secret| key.to_ascii_lowercase().contains(secret))
        })
    };
    for word in words.iter().filter(is_secret) {
        let flag = word.splitn(3, '=').take(2).collect::<Vec<_>>().join("=");
        invocation.terminal.warn(&format!(
            "the value of {flag} is written to the lock file; a file given with --values is not"
        ));
    }
}

fn resolve(
    discovery: &Discovery,
    confidence: Sureness,
    platforms: Vec<Platform>,
    words: Vec<String>,
    invocation: &Invocation,
) -> Result<LockReport> {
    warn_of_secrets(&words, invocation);
    let engine = invocation.engine()?;
    let platforms = match platforms.is_empty() {
        false => platforms,
        true => match engine.default_selection()? {
            Selection::Only(platforms) => platforms,
            Selection::All => {
                return Err(Usage::new("a lock file needs platforms, and `platforms` is configured as all")
                    .hint("name them: --platform linux/amd64,linux/arm64")
                    .into());
            }
        },
    };
    let discovery = discovery.clone();
    let report =
        invocation.wait(async move { engine.lock(&discovery, confidence, &platforms, words).await })?;
    invocation.terminal.finish();
    Ok(report)
}

fn complain(report: &LockReport, invocation: &Invocation) -> Exit {
    for (image, Failure { message, kind, hints }) in &report.failures {
        let message = format!("cannot pin {}: {message}", image.familiar());
        invocation.terminal.complain(&Problem::new(&message, Exit::of(*kind), hints.clone()));
    }
    Exit::of_all(report.failures.iter().map(|(_, failure)| failure.kind))
}

/// The old file or the new one, whatever happens.
fn write(path: &Path, lock: &Lock) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let written = || -> std::io::Result<()> {
        // As readable as any file that is made here; it holds no secret.
        let mode = Permissions::from_mode(0o666);
        let mut file =
            tempfile::Builder::new().prefix(".larder-lock").permissions(mode).tempfile_in(directory)?;
        file.write_all(lock.to_yaml().as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        File::open(directory)?.sync_all()
    };
    written().with_context(|| format!("cannot write {}", path.display()))
}

fn check(args: &Args, file: &Path, invocation: &Invocation) -> Result<Exit> {
    let lock = Lock::read(file)?;
    let given = words(&[], &args.reading, Confidence::Likely);
    if args.sources.is_empty() && !given.is_empty() {
        return Err(Usage::new(format!(
            "--check takes its flags from the lock file, and not {}",
            given.join(" ")
        ))
        .hint("with sources it takes those that are given: larder lock --check SOURCE…")
        .into());
    }
    let again = match args.sources.is_empty() {
        true => Again::parse(&recipe::seen_from_here(file, &lock.sources), file)?,
        false => Again { sources: args.sources.clone(), reading: args.reading.clone(), confidence: None },
    };
    let options = again.reading.survey_options()?;
    let discovery =
        discover::discover(&again.sources, &again.reading.rendering, &options, args.strict, invocation)?;
    let confidence = args.confidence.or(again.confidence).unwrap_or(Confidence::Likely);
    let report =
        resolve(&discovery, confidence.into(), lock.platforms.clone(), lock.sources.clone(), invocation)?;
    let mut difference = report.lock.difference(&lock);
    // What cannot be had is still asked for.
    let failed = |image: &larder_core::Reference| report.failures.iter().any(|(failed, _)| failed == image);
    difference.gone.retain(|image| discovery.complete && !failed(image));
    let is_whole = is_whole(&report, &discovery);
    let shown = show(&difference, is_whole, invocation)?;
    let exit = complain(&report, invocation);
    let told = discover::told(&discovery, invocation);
    Ok(Exit::most_telling([exit, told, shown]))
}

/// How the sources of a lock file are read again.
#[derive(Debug, clap::Parser)]
#[command(no_binary_name = true, disable_help_flag = true, disable_version_flag = true)]
struct Again {
    sources: Vec<String>,
    #[arg(long, value_enum)]
    confidence: Option<Confidence>,
    #[command(flatten)]
    reading: Reading,
}

impl Again {
    fn parse(words: &[String], file: &Path) -> Result<Self> {
        if words.iter().any(|word| word == "-" || word == "--values=-") {
            return Err(Usage::new(format!("{} was made from standard input", file.display()))
                .hint("name the sources: larder lock --check SOURCE…")
                .into());
        }
        <Self as clap::Parser>::try_parse_from(words).map_err(|error| {
            let text = error.to_string();
            let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
            Usage::new(format!("the sources in {} cannot be understood: {first}", file.display())).into()
        })
    }
}

/// With `is_whole` both sides are known, so that no difference is worth a word.
fn show(difference: &LockDifference, is_whole: bool, invocation: &Invocation) -> Result<Exit> {
    invocation.answer(difference, || {
        let mut text = String::new();
        for image in &difference.new {
            text += &format!("new    {image}\n");
        }
        for image in &difference.gone {
            text += &format!("gone   {image}\n");
        }
        for moved in &difference.moved {
            text += &format!("moved  {}: {} is {} now\n", moved.image, moved.from.short(), moved.to.short());
        }
        if difference.is_empty() && is_whole {
            text += "no difference\n";
        }
        text
    })?;
    Ok(if difference.is_empty() { Exit::Done } else { Exit::of(Kind::Conflict) })
}
