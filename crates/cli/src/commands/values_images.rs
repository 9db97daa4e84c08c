//! `larder values-images`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::problem::{Problem, Usage};
use crate::sources::{self, OwnRules, Rendering};
use crate::words::count;
use anyhow::Result;
use larder_engine::Proof;
use larder_engine::discovery::Mirror;
use larder_engine::discovery::chart::RenderOptions;
use larder_engine::discovery::manifest::Scanner;

/// Print the values that make every image of a chart come from a mirror
///
/// The chart is rendered with them to see whether they do it. Images that no value moves are named, and the exit code is
/// not 0.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"), disable_version_flag = true)]
pub(crate) struct Args {
    /// A chart: a directory, a .tgz, oci://REGISTRY/REPOSITORY[:VERSION], the URL of a .tgz, or a name in --repo
    #[arg(value_name = "CHART")]
    chart: String,

    /// The mirror: HOST[:PORT][/PATH]
    #[arg(long, value_name = "PLACE")]
    mirror: String,

    /// The mirror has images without the name of their registry in front
    #[arg(long)]
    flat: bool,

    /// Also for what is switched off
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    own_rules: OwnRules,

    #[command(flatten)]
    rendering: Rendering,
}

const EXAMPLES: &str = "\
Examples:
  larder values-images ./charts/web --mirror registry.internal:5000 > mirror.yaml
  helm install web ./charts/web -f production.yaml -f mirror.yaml";

const DOCUMENT: &str = "\
JSON:
  {\"values\": {…}, \"moved\": [IMAGE], \"fixed\": [{\"text\", \"source\", \"line\", \"object\", \"path\", …}]}";

#[derive(serde::Serialize)]
struct Answer {
    values: serde_json::Value,
    moved: Vec<String>,
    fixed: Vec<Proof>,
}

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    let place = args.mirror.trim_end_matches('/');
    if format!("{place}/a:1").parse::<larder_core::Reference>().is_err() || place.contains("://") {
        let wrong = Usage::new(format!("{:?} is not HOST[:PORT][/PATH]", args.mirror));
        return Err(wrong.hint("--mirror registry.internal:5000").into());
    }
    let chart = sources::chart(&args.chart, &args.rendering, invocation)?;
    let survey = args.rendering.survey_options(&args.own_rules)?;
    let options = RenderOptions {
        namespace: survey.namespace.clone(),
        values: survey.overrides.values().map_err(larder_engine::Error::from)?,
        capabilities: survey.capabilities.clone(),
        run: args.rendering.run_options(),
        ..RenderOptions::default()
    };
    let mirror = Mirror { place: place.to_owned(), keeps_registry: !args.flat };
    let found = chart.mirror_values(&mirror, args.all, &options, &Scanner::new(survey.rules));
    let found = found.map_err(larder_engine::Error::from)?;
    let text = larder_engine::values_yaml(&found.values)?;
    let answer = Answer {
        values: larder_engine::values_json(&found.values)?,
        moved: found.moved.iter().map(ToString::to_string).collect(),
        fixed: found.fixed.iter().map(Proof::from).collect(),
    };
    invocation.answer(&answer, || text)?;
    for proof in &answer.fixed {
        let message = format!("{}: no value moves {:?}", proof.place(), proof.text);
        let has_port = proof.text.split('/').next().is_some_and(|registry| registry.contains(':'));
        let hint = match has_port && !args.flat && proof.text.contains('/') {
            true => {
                "its registry has a port, which cannot stand in the name of a mirror's image: --flat leaves registries out"
            }
            false => {
                "it is written in the template: make it a value there, or let nodes use the mirror for its registry"
            }
        };
        invocation.terminal.complain(&Problem::new(&message, Exit::Unsupported, vec![hint.to_owned()]));
    }
    for trouble in &found.troubles {
        let problem = Problem::new(&trouble.to_string(), Exit::of(trouble.kind), trouble.hints.clone());
        invocation.terminal.complain(&problem);
    }
    invocation.terminal.note(&format!("{} moved to {place}", count(answer.moved.len(), "image")));
    let fixed = answer.fixed.iter().map(|_| Exit::Unsupported);
    let unread = found.troubles.iter().map(|trouble| Exit::of(trouble.kind));
    Ok(Exit::most_telling(fixed.chain(unread)))
}
