//! Charts of our own, rendered by larder and by Helm: 4.2.3 decides, 3.10.1 shows what changed since.

use anyhow::{Context as _, Result};
use larder_core::{Classify as _, report};
use larder_discover::chart::{
    Chart, Document, Limits, Overrides, Print, RenderOptions, Rendered, SetKind, Severity, set,
};
use larder_gotemplate::{Map, Value, yaml};
use larder_testkit::tools::{Helm, HelmAnswer, HelmLibrary, HelmRequest};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One chart with one set of values.
struct Case {
    name: String,
    chart: PathBuf,
    values: Vec<PathBuf>,
}

impl Case {
    fn new(name: &str, chart: PathBuf) -> Self {
        Self { name: name.into(), chart, values: Vec::new() }
    }

    fn request(&self) -> HelmRequest {
        HelmRequest {
            chart: self.chart.clone(),
            values: self.values.clone(),
            name: RELEASE.into(),
            namespace: NAMESPACE.into(),
            manifest: true,
        }
    }

    fn options(&self) -> Result<RenderOptions<'static>, larder_discover::Error> {
        let values = Overrides {
            files: self.values.iter().cloned().map(Into::into).collect(),
            ..Overrides::default()
        }
        .values()?;
        Ok(options(values))
    }

    fn render(&self) -> Result<Rendered, larder_discover::Error> {
        Chart::load(&self.chart, &Limits::default())?.render(&self.options()?)
    }
}

/// Every chart here, with its own values and with each set in its `ci/`.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for chart in sorted(&charts()) {
        let name = chart.file_name().and_then(|name| name.to_str()).expect("a name").to_owned();
        cases.push(Case::new(&name, chart.clone()));
        if chart.join("ci").is_dir() {
            for values in sorted(&chart.join("ci")) {
                let file = values.file_name().and_then(|name| name.to_str()).expect("a name");
                let name = format!("{name} with {file}");
                cases.push(Case { name, chart: chart.clone(), values: vec![values] });
            }
        }
    }
    cases
}

fn charts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/charts")
}

fn sorted(directory: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry").path()).collect();
    paths.sort();
    paths
}

fn options(values: Map) -> RenderOptions<'static> {
    RenderOptions { release: RELEASE.into(), namespace: NAMESPACE.into(), values, ..RenderOptions::default() }
}

/// A chart of these files in a directory that goes with it.
fn written(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
    directory
}

/// The documents that are no hooks, as `helm template` prints them.
fn manifest(documents: &[Document]) -> String {
    let generic = documents.iter().filter(|document| document.hook.is_none());
    generic.map(|document| format!("---\n# Source: {}\n{}\n", document.source, document.text)).collect()
}

#[test]
fn templates_give_what_they_give_in_helm_and_documents_come_in_its_order() -> Result<()> {
    let cases = cases();
    let requests: Vec<HelmRequest> = cases.iter().map(Case::request).collect();
    for (case, helm) in cases.iter().zip(HelmLibrary::installed()?.render(&requests)?) {
        let HelmAnswer { texts, manifest: printed, .. } = helm;
        match (case.render(), texts) {
            (Ok(ours), Ok(mut theirs)) => {
                theirs.retain(|path, _| !path.ends_with("NOTES.txt"));
                for (path, text) in &theirs {
                    assert_eq!(ours.texts.get(path), Some(text), "{}: {path}", case.name);
                }
                assert_eq!(ours.texts.len(), theirs.len(), "{}", case.name);
                assert_eq!(manifest(&ours.documents), printed.context("a manifest")?, "{}", case.name);
            }
            (Err(ours), Err(theirs)) => {
                let ours = report(&ours);
                let same =
                    ours.contains(&theirs) || (ours.contains("schema") && lines(&ours) == lines(&theirs));
                assert!(same, "{}\nlarder: {ours}\nHelm: {theirs}", case.name);
            }
            (ours, theirs) => {
                let ours = ours.map(|_| "a result").map_err(|error| report(&error));
                let theirs = theirs.map(|_| "a result");
                panic!("{}: larder says {ours:?}, Helm {theirs:?}", case.name);
            }
        }
    }
    Ok(())
}

#[test]
fn an_archive_is_the_chart_it_was_made_of() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let chart = directory.path().join("parts");
    let copied = Command::new("cp").arg("-r").arg(charts().join("parts")).arg(&chart).status()?;
    assert!(copied.success());
    let tar = |archive: &Path, parent: &Path, name: &str| -> Result<()> {
        let made = Command::new("tar").arg("-czf").arg(archive).arg("-C").arg(parent).arg(name).status()?;
        assert!(made.success());
        Ok(())
    };
    // A subchart that is an archive, in a chart that becomes one.
    tar(&chart.join("charts/store-2.3.4.tgz"), &chart.join("charts"), "store")?;
    fs::remove_dir_all(chart.join("charts/store"))?;
    let archive = directory.path().join("parts-1.2.3.tgz");
    tar(&archive, directory.path(), "parts")?;
    let case = |chart: PathBuf| Case::new("parts", chart);
    let (packed, plain) = (case(archive), case(charts().join("parts")));
    let rendered = packed.render()?;
    assert_eq!(rendered.texts, plain.render()?.texts);
    let helm = HelmLibrary::installed()?.render(&[packed.request()])?.remove(0);
    assert_eq!(Ok(&rendered.texts), helm.texts.as_ref());
    let bytes = fs::read(&packed.chart)?;
    let loaded = Chart::load_archive("parts", &bytes, &Limits::default())?;
    assert_eq!(loaded.render(&packed.options()?)?.texts, rendered.texts);
    // What unpacks to more than is allowed is not unpacked.
    let small = Limits { bytes: 10_000, ..Limits::default() };
    assert!(matches!(
        Chart::load_archive("parts", &bytes, &small),
        Err(larder_discover::Error::Archive { .. } | larder_discover::Error::Limit { .. })
    ));
    Ok(())
}

#[test]
fn the_printed_text_is_that_of_helm_3_but_for_blanks_at_the_ends() -> Result<()> {
    let helm = Helm::installed()?;
    for (name, flags, print) in [
        ("order", &[][..], Print::default()),
        ("order", &["--no-hooks"], Print { no_hooks: true, ..Print::default() }),
        ("order", &["--skip-tests"], Print { no_tests: true, ..Print::default() }),
        (
            "order",
            &["--show-only", "templates/sub/*.yaml", "-s", "templates/hooks.yaml"],
            Print {
                only: vec!["templates/sub/*.yaml".into(), "templates/hooks.yaml".into()],
                ..Print::default()
            },
        ),
        ("old", &[], Print::default()),
        ("schema", &[], Print::default()),
    ] {
        let case = Case::new(name, charts().join(name));
        let chart = case.chart.display().to_string();
        let mut arguments = vec!["template", RELEASE, &chart, "-n", NAMESPACE];
        arguments.extend(["--kube-version", "1.30.0"]);
        arguments.extend(flags);
        let theirs = helm.helm(&arguments).run()?.text();
        let ours = case.render()?.print(&print)?;
        assert_eq!(trimmed(&ours), trimmed(&theirs), "{name} {flags:?}");
    }
    let case = Case::new("order", charts().join("order"));
    let rendered = case.render()?;
    // Helm 3 names the file without its chart.
    let with_crds = rendered.print(&Print { crds: true, ..Print::default() })?;
    let crd = fs::read_to_string(charts().join("order/crds/one.yaml"))?;
    assert!(
        with_crds.starts_with(&format!("---\n# Source: order/crds/one.yaml\n{crd}\n---\n")),
        "{with_crds}"
    );
    assert_eq!(rendered.crds.len(), 1);
    let error = rendered.print(&Print { only: vec!["templates/none.yaml".into()], ..Print::default() });
    assert_eq!(error.unwrap_err().to_string(), "could not find template templates/none.yaml in chart");
    Ok(())
}

/// Sorted: Go goes through the properties of a schema in any order.
fn lines(text: &str) -> Vec<&str> {
    let mut lines = trimmed(text);
    lines.sort_unstable();
    lines
}

/// Without blank lines and without blanks at the ends of lines.
fn trimmed(text: &str) -> Vec<&str> {
    text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect()
}

#[test]
fn errors_are_those_of_helm() -> Result<()> {
    let template = |text: &str| {
        let helper = "{{ define \"inner\" }}{{ .Values.a.b.c }}{{ end }}{{ define \"deep\" }}{{ include \"inner\" . }}{{ end }}";
        written(&[
            ("Chart.yaml", "apiVersion: v2\nname: app\nversion: 0.1.0\n"),
            ("values.yaml", "text: t\nnumber: 1\n"),
            ("templates/_helpers.tpl", helper),
            ("templates/x.yaml", text),
        ])
    };
    let charts = [
        template("{{ required \"a value is needed\" .Values.none }}"),
        template("a: b\nc: {{ fail \"never\" }}"),
        template("{{ .Values.a.b.c }}"),
        template("\n{{ include \"deep\" . }}"),
        template("{{ include \"missing\" . }}"),
        template("{{ template \"missing\" . }}"),
        template("{{ eq .Values.number 1 }}"),
        template("{{ if }}"),
        template("a\n{{ end }}"),
        template("{{ nofunction }}"),
        template("{{ tpl \"{{ .Values.a.b.c }}\" . }}"),
        template("{{ tpl \"{{ fail `in tpl` }}\" . }}"),
        template("{{ tpl \"{{ if }}\" . }}"),
        template("{{ index .Values.text 10 }}"),
        template("{{ fromYaml .Values.number }}"),
        template("{{ .Chart.Nothing.at.all }}"),
        template("{{ .Capabilities.Nothing }}"),
        template("{{ .Values.text.more }}"),
        template("{{ toYaml }}"),
        written(&[("values.yaml", "")]),
        written(&[("Chart.yaml", "apiVersion: v2\nname: app\n")]),
        written(&[("Chart.yaml", "apiVersion: v2\nname: app\nversion: one\n")]),
        written(&[("Chart.yaml", "apiVersion: v2\nname: a/b\nversion: 1.0.0\n")]),
        written(&[("Chart.yaml", "apiVersion: v2\nname: app\nversion: 1.0.0\ntype: other\n")]),
        written(&[(
            "Chart.yaml",
            "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies: [{name: a}, {name: b, alias: a}]\n",
        )]),
        written(&[(
            "Chart.yaml",
            "apiVersion: v2\nname: app\nversion: 1.0.0\ndependencies: [{name: a, alias: 'a b'}]\n",
        )]),
    ];
    let cases: Vec<Case> = charts.iter().map(|chart| Case::new("", chart.path().to_owned())).collect();
    let requests: Vec<HelmRequest> = cases.iter().map(Case::request).collect();
    let mut differences = String::new();
    for (case, helm) in cases.iter().zip(HelmLibrary::installed()?.render(&requests)?) {
        let theirs = helm.texts.expect_err("Helm fails");
        let ours = report(&case.render().expect_err(&theirs));
        if !ours.contains(&theirs) {
            differences.push_str(&format!("larder: {ours}\nHelm:   {theirs}\n\n"));
        }
    }
    assert_eq!(differences, "");
    Ok(())
}

#[test]
fn set_means_what_it_means_in_helm() -> Result<()> {
    let cases = [
        ("set", "a=1,b=true,c=null,d=0,e=007,f=-5,g=1.5,h=1e3,i="),
        ("set", "a.b.c=x,a.b.d=y,a.e={1,two,null}"),
        ("set", "a[0]=x,a[2].b=y,a[2].c[1]=z"),
        ("set", "a\\.b=c\\,d,e={f\\,g,h\\}}"),
        ("set", "a= b ,c =d"),
        ("set", "a={},b={ },c={,}"),
        ("set", "a=b=c"),
        ("set", "a.b="),
        ("set", "a.b=,c=1"),
        ("set", "a[0]="),
        ("set", "a[0]=,a[1]=x"),
        ("set", "=x"),
        ("set", ""),
        ("set", "a[1][1]=x"),
        ("set", "a=TRUE,b=False,c=NULL,d=00,e=0x10,f=+5,g=9223372036854775808"),
        ("set", "a"),
        ("set", "a,b=1"),
        ("set", "a="),
        ("set", "a={b"),
        ("set", "a[x]=1"),
        ("set", "a[-1]=1"),
        ("set", "a[0]b=1"),
        ("set", "a[70000]=1"),
        ("set", "a=1,a.b=2"),
        ("set", "a={1},a[0].b=2"),
        ("set", "a..b=1"),
        ("set", "a.[0]=1"),
        ("set-string", "a=1,b=true,c={1,null},d=null"),
        ("set-json", "a={\"b\": [1, 2.5, null]},c=\"x,y\" , d=true"),
        ("set-json", "a.b[1]={\"c\":1},e="),
        ("set-json", "a={b}"),
        ("set-json", "a=1 2"),
        ("set-literal", "a.b=c,d={e}\\,f=g"),
        ("set-literal", "a[1]=x"),
        ("set-literal", "a"),
    ];
    for ((kind, text), theirs) in cases.iter().zip(HelmLibrary::installed()?.set(&cases)?) {
        let values = Map::new();
        let kind = match *kind {
            "set" => SetKind::Typed,
            "set-string" => SetKind::Text,
            "set-json" => SetKind::Json,
            _ => SetKind::Literal,
        };
        let ours = set(text, kind, &values).map(|()| Value::from(values));
        match (&ours, &theirs) {
            (Ok(ours), Ok(theirs)) => {
                let theirs = yaml::parse(theirs.to_string().as_bytes())?;
                assert_eq!(yaml::emit(ours)?, yaml::emit(&theirs)?, "{text}");
            }
            (Err(_), Err(_)) => {}
            _ => panic!("{text}: larder fails: {:?}, Helm: {theirs:?}", ours.err()),
        }
    }
    Ok(())
}

#[test]
fn a_tolerant_rendering_goes_on_and_says_what_it_passed_over() -> Result<()> {
    let chart = written(&[
        (
            "Chart.yaml",
            "apiVersion: v2\nname: app\nversion: 0.1.0\nkubeVersion: '>=99'\ndependencies:\n- {name: db, version: 1.x, repository: 'oci://registry.example/charts'}\n",
        ),
        ("values.schema.json", r#"{"required": ["nothing"]}"#),
        ("templates/broken.yaml", "a: {{ if }}"),
        ("templates/deep.yaml", "a: b\nc: {{ .Values.x.y.z }}"),
        ("templates/good.yaml", "kind: Pod\nname: {{ required \"say a name\" .Values.name | quote }}\n"),
        ("templates/text.yaml", "kind: Pod\n---\nno: [yaml\n"),
    ]);
    let chart = Chart::load(chart.path(), &Limits::default())?;
    let Err(error) = chart.render(&options(Map::new())) else { panic!("Helm ends here") };
    assert_eq!(report(&error), "found in Chart.yaml, but missing in charts/ directory: db");
    assert_eq!(error.hints(), ["put db 1.x from oci://registry.example/charts/db into charts/"]);
    let rendered = chart.render(&RenderOptions { tolerant: true, ..options(Map::new()) })?;
    let sources: Vec<&str> = rendered.documents.iter().map(|document| document.source.as_str()).collect();
    assert_eq!(sources, ["app/templates/good.yaml", "app/templates/text.yaml", "app/templates/text.yaml"]);
    let said: Vec<String> = rendered
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    for (place, part) in [
        ("app: ", "missing in charts/ directory: db"),
        ("app: ", "which is incompatible with Kubernetes"),
        ("app: ", "missing property 'nothing'"),
        ("app/templates/broken.yaml:1: ", "missing value for if"),
        ("app/templates/deep.yaml:2: ", "nil pointer evaluating interface {}.y"),
        ("app/templates/good.yaml:2: ", "say a name"),
        ("app/templates/text.yaml:", "YAML parse error"),
    ] {
        let found = said.iter().any(|line| line.starts_with(place) && line.contains(part));
        assert!(found, "{place} {part}: {said:#?}");
    }
    assert_eq!(said.len(), 7, "{said:#?}");
    Ok(())
}

#[test]
fn all_templates_of_a_chart_share_one_limit() -> Result<()> {
    let loop_of = "{{ range until 1000 }}{{ $x := . }}{{ end }}";
    let chart = written(&[
        ("Chart.yaml", "apiVersion: v2\nname: app\nversion: 0.1.0\n"),
        ("templates/a.yaml", loop_of),
        ("templates/b.yaml", loop_of),
        ("templates/c.yaml", loop_of),
    ]);
    let chart = Chart::load(chart.path(), &Limits::default())?;
    let mut options = RenderOptions { tolerant: true, ..options(Map::new()) };
    options.run.limits.steps = 10_000;
    let rendered = chart.render(&options)?;
    assert!(rendered.texts.len() == 3 && rendered.diagnostics.is_empty(), "{:?}", rendered.diagnostics);
    options.run.limits.steps = 4_000;
    let rendered = chart.render(&options)?;
    assert!(rendered.texts.len() < 3 && rendered.diagnostics.len() == 1, "{:?}", rendered.diagnostics);
    options.tolerant = false;
    assert!(chart.render(&options).is_err());
    Ok(())
}

#[test]
fn the_outline_has_what_is_switched_off_with_the_values_it_would_have() -> Result<()> {
    let chart = Chart::load(&charts().join("parts"), &Limits::default())?;
    let parts = chart.outline(&Map::new())?;
    let shown: BTreeMap<&str, bool> = parts.iter().map(|part| (part.path.as_str(), part.enabled)).collect();
    assert!(!shown["parts/charts/replica"]);
    assert!(!shown["parts/charts/replica/charts/inner"]);
    assert!(shown["parts/charts/primary/charts/inner"]);
    assert!(!shown["parts/charts/spare"]);
    assert_eq!(shown.len(), 10, "{shown:?}");
    let replica = parts.iter().find(|part| part.path == "parts/charts/replica").context("the replica")?;
    assert!(matches!(replica.values.get("size"), Some(Value::Float(7.0))));
    assert_eq!(replica.metadata.version, "2.3.4");
    let spare = parts.iter().find(|part| part.path == "parts/charts/spare").context("what is off")?;
    assert_eq!(
        spare.values.get("image").and_then(|image| image.as_text().map(ToString::to_string)).as_deref(),
        Some("registry.example/spare:1")
    );
    Ok(())
}

const RELEASE: &str = "release";
const NAMESPACE: &str = "space";
