//! What images are looked for in, and with what charts are rendered: arguments that several verbs share.

use crate::invocation::Invocation;
use crate::problem::Usage;
use anyhow::{Context as _, Result};
use larder_core::Classify as _;
use larder_engine::discovery::chart::{self, Capabilities, Chart, KubeVersion, Overrides, ValuesFile};
use larder_engine::discovery::manifest::Rules;
use larder_engine::{
    Input, RemoteSource, Source, Survey, SurveyOptions, TemplateRun, Trouble, survey, wanted_by,
};
use std::collections::HashMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Values and properties of the cluster, named as helm names them.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Charts")]
pub(crate) struct Rendering {
    /// Values from a file, - for standard input; may be given several times, later ones win
    #[arg(short = 'f', long = "values", value_name = "FILE", value_delimiter = ',')]
    values: Vec<PathBuf>,

    /// A value: a.b=c,d=e; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE", allow_hyphen_values = true)]
    set: Vec<String>,

    /// A value that is a text, whatever it looks like
    #[arg(long, value_name = "KEY=TEXT", allow_hyphen_values = true)]
    set_string: Vec<String>,

    /// A value in JSON
    #[arg(long, value_name = "KEY=JSON", allow_hyphen_values = true)]
    set_json: Vec<String>,

    /// A value that is the content of a file
    #[arg(long, value_name = "KEY=FILE", allow_hyphen_values = true)]
    set_file: Vec<String>,

    /// A value that is a text in which nothing has a meaning
    #[arg(long, value_name = "KEY=TEXT", allow_hyphen_values = true)]
    set_literal: Vec<String>,

    /// The namespace that charts are rendered for
    #[arg(short, long, value_name = "NAME", default_value = "default")]
    namespace: String,

    /// The version of Kubernetes that charts are rendered for [default: 1.36]
    #[arg(long, value_name = "VERSION")]
    kube_version: Option<String>,

    /// What else the cluster can do: GROUP/VERSION or GROUP/VERSION/KIND; may be given several times
    #[arg(short, long, value_name = "API", value_delimiter = ',')]
    api_versions: Vec<String>,

    /// The chart repository that a chart's name is looked up in
    #[arg(long, value_name = "URL")]
    repo: Option<String>,

    /// The version of the chart, or a range of versions [default: the newest]
    #[arg(long = "version", value_name = "VERSION")]
    chart_version: Option<String>,

    /// Where random functions of templates start; the same seed gives the same documents
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// The moment that templates see, in seconds since 1970
    #[arg(long, value_name = "SECONDS", default_value_t = MOMENT, allow_negative_numbers = true)]
    now: i64,
}

/// How sources are read: what all verbs that look for images take.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Reading {
    #[command(flatten)]
    build: BuildArguments,
    #[command(flatten)]
    own_rules: OwnRules,
    #[command(flatten)]
    pub(crate) rendering: Rendering,
}

/// Further rules for what is an image.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct OwnRules {
    /// Rules of your own for where images are, tried before the built-in ones; may be given several times
    #[arg(long = "rules", value_name = "FILE")]
    rules: Vec<PathBuf>,
}

/// Arguments of builds.
#[derive(Debug, Clone, Default, clap::Args)]
struct BuildArguments {
    /// An argument of Dockerfiles, as for `docker build`; may be given several times
    #[arg(long = "build-arg", value_name = "NAME=VALUE")]
    arguments: Vec<String>,
}

/// The start of 2020: what depends on the time is the same every time.
const MOMENT: i64 = 1_577_836_800;
/// More on standard input is a mistake.
const LIMIT: u64 = 256 << 20;
/// More in a file of rules is a mistake.
const RULES: u64 = 16 << 20;

/// Something on the command line that cannot be understood.
fn mistake(error: &dyn std::error::Error) -> anyhow::Error {
    Usage::new(larder_core::report(error)).into()
}

impl Rendering {
    /// What is rendered with: read and looked through before anything is done, and whether or not there is a chart.
    pub(crate) fn overrides(&self) -> Result<Overrides> {
        let file = |path: &PathBuf| match path == Path::new("-") {
            true => Ok(ValuesFile::given("standard input".into(), read_standard_input()?)),
            false => Ok(ValuesFile::read(path.clone()).map_err(larder_engine::Error::from)?),
        };
        let overrides = Overrides {
            files: self.values.iter().map(file).collect::<Result<_>>()?,
            json: self.set_json.clone(),
            typed: self.set.clone(),
            texts: self.set_string.clone(),
            from_files: self.set_file.clone(),
            literals: self.set_literal.clone(),
        };
        match overrides.values() {
            Ok(_) => Ok(overrides),
            Err(error @ larder_engine::discovery::Error::Set { .. }) => Err(mistake(&error)),
            Err(error) => Err(larder_engine::Error::from(error).into()),
        }
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Moment and seed of the templates.
    pub(crate) fn run_options(&self) -> TemplateRun<'static> {
        TemplateRun { now: (self.now, 0), seed: self.seed, ..TemplateRun::default() }
    }

    pub(crate) fn seed(&self) -> u64 {
        self.seed
    }

    pub(crate) fn now(&self) -> i64 {
        self.now
    }

    pub(crate) fn capabilities(&self) -> Result<Capabilities> {
        let mut capabilities = Capabilities::default();
        if let Some(version) = &self.kube_version {
            capabilities.kube_version = KubeVersion::parse(version).map_err(|error| mistake(&error))?;
        }
        capabilities.api_versions.extend(self.api_versions.iter().cloned());
        Ok(capabilities)
    }

    pub(crate) fn survey_options(&self, own: &OwnRules) -> Result<SurveyOptions> {
        let mut rules = Rules::built_in();
        for path in own.rules.iter().rev() {
            let mut text = String::new();
            let read = File::open(path).and_then(|file| file.take(RULES + 1).read_to_string(&mut text));
            let length = read.with_context(|| format!("cannot read the rules in {}", path.display()))?;
            if length as u64 > RULES {
                let wrong = format!("the rules in {} are larger than {} MiB", path.display(), RULES >> 20);
                return Err(Usage::new(wrong).into());
            }
            let parsed = Rules::parse(&text)
                .map_err(|error| Usage::new(format!("the rules in {} are wrong: {error}", path.display())))?;
            rules = parsed.before(rules);
        }
        Ok(SurveyOptions {
            overrides: self.overrides()?,
            namespace: self.namespace.clone(),
            capabilities: self.capabilities()?,
            now: self.now,
            seed: self.seed,
            rules,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            ..SurveyOptions::default()
        })
    }

    /// What the words of a user name.
    pub(crate) fn source(&self, word: &str) -> Result<Source> {
        if word == "-" && self.reads_standard_input() {
            return Err(Usage::new("standard input cannot be both a source and values").into());
        }
        let is_name =
            !word.starts_with(['.', '/', '-']) && !word.contains("://") && !word.starts_with("kubeconfig:");
        if let Some(url) = self.repo.as_ref().filter(|_| is_name && !Path::new(word).exists()) {
            if !["http://", "https://"].iter().any(|scheme| url.starts_with(scheme)) {
                let wrong = Usage::new(format!("--repo {url} is no address of a chart repository"));
                let registry = url.strip_prefix("oci://").map(|registry| registry.trim_end_matches('/'));
                let hint = match registry {
                    Some(registry) => {
                        format!("a chart in a registry is named whole: oci://{registry}/{word}")
                    }
                    None => "it begins with https://".to_owned(),
                };
                return Err(wrong.hint(hint).into());
            }
            let version = self.chart_version.clone();
            let chart = word.to_owned();
            return Ok(Source::Remote(RemoteSource::Repository { url: url.clone(), chart, version }));
        }
        let mut source: Source = match word.parse() {
            Err(error @ larder_engine::Error::Source { .. }) => {
                let usage = Usage::new(error.to_string());
                return Err(error.hints().into_iter().fold(usage, Usage::hint).into());
            }
            parsed => parsed?,
        };
        match (&mut source, &self.chart_version) {
            (_, None) => {}
            (Source::Remote(RemoteSource::Registry { is_pinned: false, version, .. }), Some(wanted)) => {
                *version = Some(wanted.clone());
            }
            // It is for the charts of --repo among the sources.
            (_, Some(_)) if self.repo.is_some() => {}
            (_, Some(_)) => {
                return Err(
                    Usage::new("--version is for charts of --repo, and of oci:// without a version").into()
                );
            }
        }
        Ok(source)
    }

    fn reads_standard_input(&self) -> bool {
        self.values.iter().any(|path| path == Path::new("-"))
    }

    /// The arguments again, for a file that says how it was made.
    pub(crate) fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        let mut each = |flag: &str, values: Vec<String>| {
            words.extend(values.into_iter().map(|value| format!("--{flag}={value}")));
        };
        each("values", self.values.iter().map(|path| path.display().to_string()).collect());
        each("set", self.set.clone());
        each("set-string", self.set_string.clone());
        each("set-json", self.set_json.clone());
        each("set-file", self.set_file.clone());
        each("set-literal", self.set_literal.clone());
        if self.namespace != "default" {
            each("namespace", vec![self.namespace.clone()]);
        }
        each("kube-version", self.kube_version.iter().cloned().collect());
        each("api-versions", self.api_versions.clone());
        each("repo", self.repo.iter().cloned().collect());
        each("version", self.chart_version.iter().cloned().collect());
        if self.seed != 0 {
            each("seed", vec![self.seed.to_string()]);
        }
        if self.now != MOMENT {
            each("now", vec![self.now.to_string()]);
        }
        words
    }
}

impl Reading {
    /// What a survey is made with.
    pub(crate) fn survey_options(&self) -> Result<SurveyOptions> {
        let build_arguments = self.build.pairs()?;
        Ok(SurveyOptions { build_arguments, ..self.rendering.survey_options(&self.own_rules)? })
    }

    /// The arguments again, for a file that says how it was made.
    pub(crate) fn words(&self) -> Vec<String> {
        let further = self.own_rules.words().into_iter().chain(self.build.words());
        self.rendering.words().into_iter().chain(further).collect()
    }
}

impl BuildArguments {
    /// Name and value of each.
    fn pairs(&self) -> Result<HashMap<String, String>> {
        let pair = |argument: &String| match argument.split_once('=') {
            Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
            None => Err(Usage::new(format!("{argument:?} is not NAME=VALUE")).into()),
        };
        self.arguments.iter().map(pair).collect()
    }

    /// The arguments again.
    fn words(&self) -> Vec<String> {
        self.arguments.iter().map(|argument| format!("--build-arg={argument}")).collect()
    }
}

impl OwnRules {
    /// The arguments again.
    fn words(&self) -> Vec<String> {
        self.rules.iter().map(|path| format!("--rules={}", path.display())).collect()
    }
}

/// Brings a chart, and loads it.
pub(crate) fn chart(word: &str, rendering: &Rendering, invocation: &Invocation) -> Result<Chart> {
    let source = rendering.source(word)?;
    let limits = chart::Limits::default();
    let chart = match bring(std::slice::from_ref(&source), invocation)?.first() {
        Some(Input::Archive { name, bytes }) => Chart::load_archive(name, bytes, &limits),
        Some(Input::Path(path)) => Chart::load(path, &limits),
        _ => return Err(Usage::new("a chart cannot be read from standard input").into()),
    };
    Ok(chart.map_err(larder_engine::Error::from)?)
}

/// Brings what the sources are made of. A store is opened only where something has to be fetched.
pub(crate) fn bring(sources: &[Source], invocation: &Invocation) -> Result<Vec<Input>> {
    let (mut inputs, mut missing): (Vec<Option<Input>>, Vec<(usize, RemoteSource)>) =
        (Vec::new(), Vec::new());
    for (at, source) in sources.iter().enumerate() {
        inputs.push(match source {
            Source::Standard => Some(standard_input()?),
            Source::Path(path) => Some(Input::Path(path.clone())),
            Source::Remote(remote) => {
                missing.push((at, remote.clone()));
                None
            }
            Source::Running { .. } => {
                return Err(Usage::new("a running cluster has no chart that could be read").into());
            }
        });
    }
    if !missing.is_empty() {
        let engine = invocation.engine()?;
        let brought = invocation.wait(async move {
            let mut brought = Vec::new();
            for (at, source) in missing {
                brought.push((at, engine.bring_source(&source).await?));
            }
            Ok::<_, larder_engine::Error>(brought)
        })??;
        invocation.terminal.finish();
        for (at, input) in brought {
            inputs[at] = Some(input);
        }
    }
    Ok(inputs.into_iter().flatten().collect())
}

/// Reads all sources: what is here, what has to be fetched, and clusters that run.
pub(crate) fn survey_all(
    sources: &[Source],
    mut options: SurveyOptions,
    invocation: &Invocation,
) -> Result<Survey> {
    let is_running = |source: &&Source| matches!(source, Source::Running { .. });
    let (running, files): (Vec<&Source>, Vec<&Source>) = sources.iter().partition(is_running);
    let files: Vec<Source> = files.into_iter().cloned().collect();
    let inputs = bring(&files, invocation)?;
    let mut failures = Vec::new();
    if !wanted_by(&inputs).is_empty() {
        let (engine, wanting) = (invocation.engine()?, inputs.clone());
        let (brought, failed) = invocation.wait(async move { engine.bring_wanted(&wanting).await })?;
        invocation.terminal.finish();
        options.brought = brought;
        failures = failed;
    }
    let mut result = survey(&inputs, &options);
    for (source, error) in failures {
        let problem = crate::problem::Problem::of(&error.into());
        result.troubles.push(Trouble::error(source, problem.message));
    }
    for source in running {
        let Source::Running { kubeconfig, context } = source else { continue };
        let files = match kubeconfig {
            Some(file) => vec![file.clone()],
            None => invocation.environment.kubeconfigs(),
        };
        if files.is_empty() {
            let reason = "there is no kubeconfig file: neither KUBECONFIG nor HOME is set";
            return Err(Usage::new(reason).hint("larder discover kubeconfig:FILE").into());
        }
        let (engine, context, rules) = (invocation.engine()?, context.clone(), options.rules.clone());
        let found = invocation
            .wait(async move { engine.survey_running(&files, context.as_deref(), rules).await })??;
        result.extend(found);
    }
    Ok(result)
}

fn standard_input() -> Result<Input> {
    Ok(Input::Text { name: "standard input".into(), bytes: read_standard_input()? })
}

fn read_standard_input() -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().take(LIMIT + 1).read_to_end(&mut bytes).context("cannot read standard input")?;
    if bytes.len() as u64 > LIMIT {
        return Err(Usage::new(format!("standard input is larger than {} MiB", LIMIT >> 20)).into());
    }
    Ok(bytes)
}
