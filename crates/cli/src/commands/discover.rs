//! `larder discover`.

use crate::args::Format;
use crate::commands::lock;
use crate::exit::Exit;
use crate::invocation::{self, Invocation};
use crate::problem::{Problem, Usage};
use crate::sources::{self, Reading, Rendering};
use crate::table::Table;
use crate::words::{count, plain};
use anyhow::Result;
use larder_core::Reference;
use larder_engine::{Asked, Discovery, Sureness, SurveyOptions};

/// Find every image that manifests and charts ask for
///
/// Reads YAML and JSON (files, directories, - for standard input), Helm charts (a directory, a .tgz, oci://…, a name in
/// --repo), kustomizations, Dockerfiles, descriptions of clusters, and running clusters (kubeconfig:[FILE][#CONTEXT]); what
/// it is, is found out. Every image is shown with where it was found. What could not be read is an error, and the exit
/// code is not 0: without one, the list is complete.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"), disable_version_flag = true)]
pub(crate) struct Args {
    /// Files, directories, charts, kubeconfig:
    #[arg(value_name = "SOURCE", required = true)]
    sources: Vec<String>,

    /// Show everything that asks for this image; part of its name is enough
    #[arg(long, value_name = "IMAGE")]
    why: Option<String>,

    /// Leave out what is less sure
    #[arg(long, value_enum, value_name = "HOW", default_value_t = Confidence::Likely)]
    confidence: Confidence,

    /// Doubts are errors: images without tag and digest, what only runs will show
    #[arg(long)]
    strict: bool,

    /// How the list is printed, see below
    #[arg(short, long, value_name = "FORMAT", default_value = "table", value_parser = Format::of_discover())]
    output: Format,

    #[command(flatten)]
    reading: Reading,
}

/// How sure it has to be that an image is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Confidence {
    /// also what only looks like an image, and what is switched off in charts
    Possible,
    /// what looks like an image in a place that is meant for one
    Likely,
    /// only what is pulled for sure
    Certain,
}

impl From<Confidence> for Sureness {
    fn from(confidence: Confidence) -> Self {
        match confidence {
            Confidence::Possible => Self::Possible,
            Confidence::Likely => Self::Likely,
            Confidence::Certain => Self::Certain,
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  larder discover ./manifests ./charts/web -f production.yaml
  larder discover cert-manager --repo https://charts.jetstack.io --version 1.19
  larder discover cluster.yaml
  larder discover kubeconfig:#production
  larder discover ./manifests --why nginx
  larder discover ./manifests --output images | larder pull --from-file -
  larder discover ./manifests --output lock > larder.lock";

const DOCUMENT: &str = "\
Output, with --output:
  table   an image in each line, and where it is asked for (default)
  images  references only, for other programs
  lock    a lock file, see `larder lock`
  json    and the same as yaml:
JSON:
    {\"images\": [{\"image\", \"confidence\", \"finds\": [{\"text\", \"confidence\", \"rule\", \"source\", \"line\",
      \"column\", \"object\", \"path\"}]}],
     \"troubles\": [{\"error\", \"place\", \"message\", \"hints\": [], \"kind\"}], \"sources\", \"complete\"}

Lines of charts are those of what the template gives: `larder render NAME CHART --show-only …`.";

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let options = args.reading.survey_options()?;
    let mut discovery = discover(&args.sources, &args.reading.rendering, &options, args.strict, invocation)?;
    let confidence = args.confidence.into();
    if let Some(why) = &args.why {
        if why.trim().is_empty() {
            return Err(Usage::new("--why needs an image, or a part of its name").into());
        }
        discovery.images.retain(|asked| is_meant(asked, why));
        if discovery.images.is_empty() {
            let exit = told(&discovery, invocation);
            if exit != Exit::Done {
                return Ok(exit);
            }
            return Err(Usage::new(format!("nothing asks for an image like {why:?}"))
                .hint("without --why all images are listed")
                .into());
        }
    }
    let hidden = discovery.images.iter().filter(|asked| asked.confidence < confidence).count();
    if args.why.is_none() {
        discovery.images.retain(|asked| asked.confidence >= confidence);
    }
    match args.output {
        Format::Text if args.why.is_some() => invocation::print(proofs(&discovery).as_bytes())?,
        Format::Text | Format::File(_) => invocation::print(table(&discovery).as_bytes())?,
        Format::Images => {
            let list: String = discovery.images.iter().map(|asked| format!("{}\n", asked.image)).collect();
            invocation::print(list.as_bytes())?;
        }
        Format::Json => invocation.answer(&discovery, String::new)?,
        Format::Yaml => invocation::print(yaml(&discovery)?.as_bytes())?,
        Format::Lock => {
            let words = lock::words(&args.sources, &args.reading, args.confidence);
            let exit = lock::print(&discovery, confidence, words, invocation)?;
            return Ok(Exit::most_telling([exit, told(&discovery, invocation)]));
        }
    }
    let exit = told(&discovery, invocation);
    let mut summary =
        format!("{} in {}", count(discovery.images.len(), "image"), count(discovery.sources, "source"));
    if hidden > 0 && args.why.is_none() {
        summary += &format!("; {hidden} less sure (--confidence possible)");
    }
    invocation.terminal.note(&summary);
    Ok(exit)
}

/// Reads the sources and asks what they ask for.
pub(crate) fn discover(
    words: &[String],
    rendering: &Rendering,
    options: &SurveyOptions,
    strict: bool,
    invocation: &Invocation,
) -> Result<Discovery> {
    let sources: Vec<_> = words.iter().map(|word| rendering.source(word)).collect::<Result<_>>()?;
    Ok(Discovery::of(&sources::survey_all(&sources, options.clone(), invocation)?, strict))
}

/// Tells what could not be read; the exit code says whether there was anything.
pub(crate) fn told(discovery: &Discovery, invocation: &Invocation) -> Exit {
    for doubt in discovery.troubles.iter().filter(|doubt| !doubt.error) {
        invocation.terminal.warn(&format!("{}: {}", doubt.place, doubt.message));
    }
    let errors: Vec<_> = discovery.troubles.iter().filter(|doubt| doubt.error).collect();
    for doubt in &errors {
        let message = format!("{}: {}", doubt.place, doubt.message);
        invocation.terminal.complain(&Problem::new(&message, Exit::of(doubt.kind), doubt.hints.clone()));
    }
    if errors.is_empty() {
        return Exit::Done;
    }
    let exit = Exit::of_all(errors.iter().map(|doubt| doubt.kind));
    let message = format!("the list may not be complete: {} could not be read", count(errors.len(), "thing"));
    invocation.terminal.complain(&Problem::new(&message, exit, Vec::new()));
    exit
}

fn is_meant(asked: &Asked, word: &str) -> bool {
    let exact = word.parse::<Reference>().is_ok_and(|reference| reference == asked.image);
    exact || asked.image.to_string().contains(word)
}

fn table(discovery: &Discovery) -> String {
    let mut table = Table::new(&["IMAGE", "CONFIDENCE", "ASKED FOR BY"]);
    for asked in &discovery.images {
        let mut place = asked.finds.first().map(larder_engine::Proof::place).unwrap_or_default();
        if asked.finds.len() > 1 {
            place += &format!(" (+{})", asked.finds.len() - 1);
        }
        table.row([asked.image.familiar(), asked.confidence.as_str().to_owned(), place]);
    }
    table.to_string()
}

fn proofs(discovery: &Discovery) -> String {
    let mut text = String::new();
    for asked in &discovery.images {
        text += &format!("{}\n", asked.image);
        for find in &asked.finds {
            let (place, sure) = (find.place(), find.confidence.as_str());
            text += &plain(&format!("  {place}\n    {:?}, {sure}, by the rule {}\n", find.text, find.rule));
        }
    }
    text
}

fn yaml(discovery: &Discovery) -> Result<String> {
    Ok(larder_engine::yaml_of(discovery)?)
}
