//! `larder render`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::problem::Usage;
use crate::sources::{self, Rendering};
use anyhow::Result;
use larder_engine::discovery::chart::{Print, RenderOptions, Severity};

/// Render a chart as `helm template` does
///
/// The same documents, without helm. Random functions and the time are the same every time, see --seed and --now;
/// certificates and keys made by templates are placeholders.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"), disable_version_flag = true)]
pub(crate) struct Args {
    /// The name of the release
    #[arg(value_name = "NAME")]
    name: String,

    /// A chart: a directory, a .tgz, oci://REGISTRY/REPOSITORY[:VERSION], the URL of a .tgz, or a name in --repo
    #[arg(value_name = "CHART")]
    chart: String,

    /// Print the custom resource definitions in crds/, too
    #[arg(long)]
    include_crds: bool,

    /// Leave hooks out
    #[arg(long)]
    no_hooks: bool,

    /// Leave hooks out that are tests
    #[arg(long)]
    skip_tests: bool,

    /// Print only what these templates give: templates/app.yaml; may be given several times
    #[arg(short, long, value_name = "TEMPLATE", value_delimiter = ',')]
    show_only: Vec<String>,

    /// Render as an upgrade: .Release.IsUpgrade
    #[arg(long)]
    is_upgrade: bool,

    /// Do not check the values against values.schema.json
    #[arg(long)]
    skip_schema_validation: bool,

    #[command(flatten)]
    rendering: Rendering,
}

const EXAMPLES: &str = "\
Examples:
  larder render web ./charts/web -f production.yaml --set image.tag=2
  larder render web oci://ghcr.io/org/charts/web:1.4.0 --include-crds
  larder render web web --repo https://charts.example --version '~1.4'
  diff <(larder render web ./web) <(helm template web ./web)";

const DOCUMENT: &str = "\
JSON:
  {\"documents\": [{\"source\", \"line\", \"kind\", \"name\", \"text\"}], \"text\"}";

/// What `--output json` prints.
#[derive(serde::Serialize)]
struct Answer {
    documents: Vec<Shown>,
    text: String,
}

#[derive(serde::Serialize)]
struct Shown {
    source: String,
    line: u32,
    kind: String,
    name: String,
    text: String,
}

pub(crate) fn run(args: &Args, invocation: &Invocation) -> Result<Exit> {
    check_name(&args.name)?;
    let chart = sources::chart(&args.chart, &args.rendering, invocation)?;
    let options = RenderOptions {
        release: args.name.clone(),
        namespace: args.rendering.namespace().to_owned(),
        upgrade: args.is_upgrade,
        values: args.rendering.overrides()?.values().map_err(larder_engine::Error::from)?,
        capabilities: args.rendering.capabilities()?,
        skip_schema: args.skip_schema_validation,
        run: args.rendering.run_options(),
        ..RenderOptions::default()
    };
    let rendered = chart.render(&options).map_err(larder_engine::Error::from)?;
    for diagnostic in rendered.diagnostics.iter().filter(|told| told.severity == Severity::Warning) {
        invocation.terminal.warn(&diagnostic.to_string());
    }
    let print = Print {
        crds: args.include_crds,
        no_hooks: args.no_hooks,
        no_tests: args.skip_tests,
        only: args.show_only.clone(),
    };
    let text = rendered.print(&print).map_err(larder_engine::Error::from)?;
    let documents = rendered.documents.into_iter().map(|document| Shown {
        source: document.source,
        line: document.line,
        kind: document.kind,
        name: document.name,
        text: document.text,
    });
    let answer = Answer { documents: documents.collect(), text };
    invocation.answer(&answer, || answer.text.clone())?;
    invocation.terminal.note(&format!(
        "random values start from seed {}, and it is {} seconds after 1970 (--seed, --now)",
        args.rendering.seed(),
        args.rendering.now()
    ));
    Ok(Exit::Done)
}

/// Helm's rule for names of releases (pkg/chartutil/validate_name.go).
fn check_name(name: &str) -> Result<()> {
    let ends = |part: &str| {
        let edge =
            |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        edge(part.bytes().next()) && edge(part.bytes().last()) && part.bytes().all(known)
    };
    if name.len() <= LONGEST_NAME && name.split('.').all(ends) {
        return Ok(());
    }
    let wrong = format!("{name:?} cannot be the name of a release");
    let rule =
        format!("at most {LONGEST_NAME} small letters, digits, - and ., a letter or a digit at each end");
    Err(Usage::new(wrong).hint(rule).into())
}

/// Helm's own: room for what charts put behind it in names of 63 characters.
const LONGEST_NAME: usize = 53;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_helm_takes() {
        for name in ["web", "a", "0-1.b", &"a".repeat(53)] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "Web", "a b", "-a", "a-", "a..b", ".a", "a_b", &"a".repeat(54)] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }
}
