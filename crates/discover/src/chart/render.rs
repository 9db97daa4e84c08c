//! Rendering a chart (Helm, pkg/engine and pkg/action).

use super::capabilities::Capabilities;
use super::coalesce::coalesce_values;
use super::dependencies;
use super::diagnostic::{Diagnostic, Remedy, Severity};
use super::document::{self, Document};
use super::failure;
use super::file::File;
use super::files::{Files, Unread};
use super::node::ChartNode;
use super::schema;
use super::values::table;
use super::version;
use super::{Chart, path_of};
use crate::error::{Error, Result, how_to_get};
use larder_gotemplate::{Cause, Element, Limits as TemplateLimits, Map, RunOptions, Templates, Value};
use std::collections::BTreeMap;
use std::rc::Rc;

/// What a chart is rendered with.
#[derive(Clone)]
pub struct RenderOptions<'a> {
    /// `.Release.Name`
    pub release: String,
    /// `.Release.Namespace`
    pub namespace: String,
    /// Whether this is an upgrade, and not an installation.
    pub upgrade: bool,
    /// The values of the user, from [`Overrides`](super::Overrides).
    pub values: Map,
    /// What the cluster can do.
    pub capabilities: Capabilities,
    /// `--skip-schema-validation`
    pub skip_schema: bool,
    /// Go on where Helm stops, and say so in [`Rendered::diagnostics`]: a chart that lacks dependencies, values that do not fit
    /// the schema, another version of Kubernetes, `required` and `fail`, templates that cannot be parsed or executed, and
    /// documents that are not YAML.
    pub tolerant: bool,
    /// Moment and seed of the templates, and limits that all templates of a chart share; its `tolerant` is not looked at.
    pub run: RunOptions<'a>,
}

/// What a chart gave.
#[derive(Debug, Clone, Default)]
pub struct Rendered {
    /// In the order in which Helm prints them: by kind, hooks behind all others.
    pub documents: Vec<Document>,
    /// What lies in `crds/` of the chart and of the subcharts that are switched on, unchanged: templates are not looked for in
    /// it. Named as in `# Source:`.
    pub crds: Vec<File>,
    /// What each template gave before it was split, by its path; without what gave nothing but definitions.
    pub texts: BTreeMap<String, String>,
    /// `NOTES.txt` of the outermost chart.
    pub notes: Option<String>,
    /// What was passed over. With [`RenderOptions::tolerant`] unset, there are only warnings.
    pub diagnostics: Vec<Diagnostic>,
}

impl Default for RenderOptions<'_> {
    fn default() -> Self {
        Self {
            release: "release-name".into(),
            namespace: "default".into(),
            upgrade: false,
            values: Map::new(),
            capabilities: Capabilities::default(),
            skip_schema: false,
            tolerant: false,
            run: RunOptions {
                limits: TemplateLimits { bytes: 4 << 30, steps: 200_000_000, ..TemplateLimits::default() },
                ..RunOptions::default()
            },
        }
    }
}

impl Chart {
    /// Renders the chart as `helm template` does. Neither the chart nor the values of `options` are changed by it.
    pub fn render(&self, options: &RenderOptions<'_>) -> Result<Rendered> {
        let mut rendering = Rendering { options, rendered: Rendered::default(), unread: Unread::default() };
        rendering.rendered.diagnostics.extend(self.warnings.iter().cloned());
        rendering.run(self)?;
        Ok(rendering.rendered)
    }

    /// Only what the templates give, without looking at it as YAML: no documents, no CRDs, no check of the version of Kubernetes.
    pub fn texts(&self, options: &RenderOptions<'_>) -> Result<Rendered> {
        let mut rendering = Rendering { options, rendered: Rendered::default(), unread: Unread::default() };
        rendering.render(self)?;
        Ok(rendering.rendered)
    }
}

struct Rendering<'a, 'o> {
    options: &'a RenderOptions<'o>,
    rendered: Rendered,
    /// Files that a template wanted.
    unread: Unread,
}

/// A template and what it is given.
struct Template<'a> {
    path: String,
    file: &'a File,
    data: Map,
    /// The directory of the templates of its chart.
    base: String,
}

impl Rendering<'_, '_> {
    fn run(&mut self, chart: &Chart) -> Result<()> {
        self.check(chart)?;
        self.check_kube_version(chart)?;
        let root = self.render(chart)?;
        self.documents()?;
        crds(&root, "", &mut self.rendered.crds);
        Ok(())
    }

    /// From the chart to what its templates give.
    fn render<'c>(&mut self, chart: &'c Chart) -> Result<ChartNode<'c>> {
        let mut root = ChartNode::new(chart);
        dependencies::process(&mut root, &self.options.values, &mut self.rendered.diagnostics)?;
        self.missing_below(&root, "");
        let values = coalesce_values(&root, &self.options.values)?;
        if !self.options.skip_schema {
            let details = schema::validate(&root, &values, &mut self.rendered.diagnostics);
            if !details.is_empty() {
                self.pass_over(root.name().to_owned(), None, Error::Schema { details }, Remedy::Values)?;
            }
        }
        let mut templates = Vec::new();
        self.collect(&root, "", &values, None, &mut templates);
        // What lies deepest is parsed first: a chart's definitions win over those of its subcharts.
        templates.sort_by(|a, b| {
            let depth = |template: &Template<'_>| template.path.matches('/').count();
            depth(b).cmp(&depth(a)).then_with(|| b.path.cmp(&a.path))
        });
        self.execute(&templates)?;
        let notes = format!("{}/templates/NOTES.txt", root.name());
        self.rendered.notes = self.rendered.texts.get(&notes).cloned();
        self.rendered.texts.retain(|path, _| !path.ends_with("NOTES.txt"));
        Ok(root)
    }

    /// What Helm refuses before it looks at values.
    fn check(&mut self, chart: &Chart) -> Result<()> {
        let place = chart.name().to_owned();
        if !matches!(chart.metadata.kind.as_str(), "" | "application") {
            self.pass_over(place.clone(), None, Error::Library { name: place.clone() }, Remedy::Chart)?;
        }
        let missing: Vec<_> = chart.missing_dependencies().into_iter().cloned().collect();
        if !missing.is_empty() {
            let how: Vec<String> = missing.iter().map(how_to_get).collect();
            self.pass_over(place.clone(), None, Error::MissingDependencies { missing }, Remedy::Chart)?;
            if let Some(last) = self.rendered.diagnostics.last_mut() {
                last.message = format!("{}; {}", last.message, how.join("; "));
            }
        }
        if chart.metadata.deprecated {
            self.rendered.diagnostics.push(Diagnostic::warning(place, "this chart is deprecated"));
        }
        Ok(())
    }

    /// What subcharts lack is nothing to Helm, which renders them without it.
    fn missing_below(&mut self, chart: &ChartNode<'_>, parent: &str) {
        let path = path_of(parent, chart.name());
        for subchart in &chart.dependencies {
            for missing in subchart.chart.missing_dependencies() {
                let declared = subchart.metadata.dependencies();
                if !declared.iter().any(|dependency| dependency.name == missing.place()) {
                    continue;
                }
                let message = format!("the dependency {} is missing: {}", missing.name, how_to_get(missing));
                let place = path_of(&path, subchart.name());
                self.rendered.diagnostics.push(Diagnostic::warning(place, message));
            }
            self.missing_below(subchart, &path);
        }
    }

    fn check_kube_version(&mut self, chart: &Chart) -> Result<()> {
        let range = &chart.metadata.kube_version;
        let version = &self.options.capabilities.kube_version;
        if range.is_empty() || version::is_in_range(range, &version.normalized) {
            return Ok(());
        }
        let error = Error::WrongKubeVersion { range: range.clone(), version: version.version.clone() };
        self.pass_over(chart.name().to_owned(), None, error, Remedy::KubeVersion)
    }

    /// The templates of a chart and everything below it, and what its own are given (`recAllTpls`).
    fn collect<'c>(
        &self,
        chart: &ChartNode<'c>,
        parent: &str,
        values: &Map,
        above: Option<&Map>,
        templates: &mut Vec<Template<'c>>,
    ) -> Map {
        let data = Map::new();
        let path = path_of(parent, chart.name());
        data.set("Chart", Value::from(chart.metadata.to_value(above.is_none())));
        data.set("Files", Value::Object(Rc::new(Files::new(chart.chart.files(), &self.unread))));
        match above {
            Some(above) => {
                for name in ["Release", "Capabilities"] {
                    data.set(name, above.get(name).unwrap_or_default());
                }
            }
            None => {
                data.set("Release", Value::from(self.release()));
                data.set("Capabilities", self.options.capabilities.to_value());
            }
        }
        data.set("Values", typed(values));
        let subcharts = Map::new();
        data.set("Subcharts", Value::from(subcharts.clone()));
        for subchart in &chart.dependencies {
            let below = table(values, subchart.name()).unwrap_or_default();
            let below = self.collect(subchart, &path, &below, Some(&data), templates);
            subcharts.set(subchart.name(), Value::from(below));
        }
        let base = format!("{path}/templates");
        for file in chart.chart.templates() {
            if !chart.metadata.is_library() || file.base().starts_with('_') {
                let path = format!("{path}/{}", file.name);
                templates.push(Template { path, file, data: data.clone(), base: base.clone() });
            }
        }
        data
    }

    fn release(&self) -> Map {
        let release = Map::new();
        for (name, value) in [
            ("Name", Value::from(self.options.release.as_str())),
            ("Namespace", Value::from(self.options.namespace.as_str())),
            ("IsUpgrade", Value::from(self.options.upgrade)),
            ("IsInstall", Value::from(!self.options.upgrade)),
            ("Revision", Value::int(1)),
            ("Service", Value::from("Helm")),
        ] {
            release.set(name, value);
        }
        release
    }

    fn execute(&mut self, all: &[Template<'_>]) -> Result<()> {
        let mut templates = Templates::new(larder_gotemplate::helm());
        let mut broken = Vec::new();
        for template in all {
            let source = match template.file.data() {
                Ok(source) => source,
                Err(error) => {
                    self.pass_over(template.path.clone(), None, error, Remedy::Chart)?;
                    broken.push(template.path.as_str());
                    continue;
                }
            };
            if let Err(error) = templates.parse(&template.path, source.as_bytes()) {
                let (line, message) = failure::parse(&template.path, &error);
                let failed = Error::Template { place: template.path.clone(), message };
                self.pass_over(template.path.clone(), line, failed, Remedy::Chart)?;
                broken.push(template.path.as_str());
            }
        }
        let run = RunOptions { tolerant: self.options.tolerant, ..self.options.run.clone() };
        let mut left = run.limits;
        for template in all {
            if template.file.base().starts_with('_') || broken.contains(&template.path.as_str()) {
                continue;
            }
            let own = Map::new();
            own.set("Name", Value::from(template.path.as_str()));
            own.set("BasePath", Value::from(template.base.as_str()));
            template.data.set("Template", typed(&own));
            let data = typed(&template.data);
            let executed = templates.execute_within(&mut left, &template.path, &data, &run);
            if let Some(error) = self.unread.take() {
                self.pass_over(template.path.clone(), None, error, Remedy::Chart)?;
            }
            match executed {
                Ok(output) => {
                    for passed in output.diagnostics {
                        self.rendered.diagnostics.push(Diagnostic {
                            severity: Severity::Error,
                            place: passed.template,
                            line: Some(passed.line),
                            message: passed.message,
                            remedy: match passed.cause {
                                Cause::Refused => Remedy::Values,
                                Cause::Undefined => Remedy::Chart,
                            },
                        });
                    }
                    self.rendered.texts.insert(template.path.clone(), output.text.to_string());
                }
                Err(error) => {
                    let (line, mut message) = failure::execution(&error);
                    if error.is_limit() {
                        message.push_str("; no further template is executed");
                    }
                    let failed = Error::Template { place: template.path.clone(), message };
                    let remedy = if error.is_limit() { Remedy::Chart } else { Remedy::Values };
                    self.pass_over(template.path.clone(), line, failed, remedy)?;
                    if error.is_limit() {
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }

    fn documents(&mut self) -> Result<()> {
        let (mut generic, mut hooks) = (Vec::new(), Vec::new());
        let texts = std::mem::take(&mut self.rendered.texts);
        for (path, text) in &texts {
            let mut warnings = Vec::new();
            let mut warn = |line, message| {
                warnings.push(Diagnostic { line: Some(line), ..Diagnostic::warning(path.as_str(), message) });
            };
            let mut broken = |error: Error| {
                let line = if let Error::Document { line, .. } = error { Some(line) } else { None };
                self.pass_over(path.clone(), line, error, Remedy::Values)
            };
            for document in document::read(path, text, &mut broken, &mut warn)? {
                if document.hook.is_some() { hooks.push(document) } else { generic.push(document) }
            }
            self.rendered.diagnostics.append(&mut warnings);
        }
        self.rendered.texts = texts;
        document::sort(&mut generic);
        document::sort(&mut hooks);
        generic.append(&mut hooks);
        self.rendered.documents = generic;
        Ok(())
    }

    /// Ends the rendering, or notes why Helm would.
    fn pass_over(&mut self, place: String, line: Option<u32>, error: Error, remedy: Remedy) -> Result<()> {
        if !self.options.tolerant {
            return Err(error);
        }
        let message = larder_core::report(&error);
        self.rendered.diagnostics.push(Diagnostic { line, remedy, ..Diagnostic::error(place, message) });
        Ok(())
    }
}

/// The same map under Helm's own type for values, which has methods.
fn typed(map: &Map) -> Value {
    let mut map = map.clone();
    map.element = Element::Values;
    Value::from(map)
}

/// Those of the chart come first, then those of its subcharts.
fn crds(chart: &ChartNode<'_>, parent: &str, found: &mut Vec<File>) {
    let path = path_of(parent, chart.name());
    for file in chart.chart.files() {
        let extension = file.base().rsplit_once('.').map_or("", |(_, extension)| extension);
        let is_manifest = ["yaml", "yml", "json"].iter().any(|known| known.eq_ignore_ascii_case(extension));
        if is_manifest && file.name.starts_with("crds/") {
            found.push(file.renamed(format!("{path}/{}", file.name)));
        }
    }
    for subchart in &chart.dependencies {
        crds(subchart, &path, found);
    }
}
