//! `helmCharts`: charts beside the kustomization, rendered here (kustomize, HelmChartInflationGenerator).

use super::build::Builder;
use super::edit;
use super::fault::Fault;
use super::item::Item;
use super::merge::merge;
use super::root::{FILE_BYTES, Root};
use super::sources::Role;
use crate::chart::{Chart, KubeVersion, RenderOptions, Severity};
use crate::content;
use larder_gotemplate::Map;
use larder_gotemplate::yaml::{self, Node};
use std::path::Path;

/// Renders one entry. `namespace` is that of the kustomization.
pub(super) fn inflate(
    builder: &mut Builder<'_>,
    root: &Root,
    entry: &Node,
    globals: Option<&Node>,
    namespace: Option<&str>,
) -> Result<Vec<Item>, Fault> {
    let word = |key: &str| edit::text_of(entry, key).filter(|text| !text.is_empty());
    let is = |key: &str| edit::text_of(entry, key) == Some("true");
    let name = word("name").or(word("chartName")).unwrap_or_default();
    let (version, repository) =
        (word("version").or(word("chartVersion")), word("repo").or(word("chartRepoUrl")));
    let fails = |reason: String| Fault::Chart { name: name.to_owned(), reason };
    let home = home(entry, globals, name, version, repository);
    let directory = format!("{home}/{name}");
    if !root.real_path(&directory).is_dir() {
        let command = pull(name, version, repository, &home);
        return Err(Fault::NoChart { name: name.to_owned(), home: root.shown_path(&home), command });
    }
    let path = root.real_path(&directory);
    let chart = Chart::load(&path, &builder.options().chart_limits).map_err(|error| fails(report(&error)))?;
    let release = word("releaseName").map_or_else(|| format!("{name}-0"), str::to_owned);
    let mut capabilities = builder.options().capabilities.clone();
    if let Some(version) = word("kubeVersion") {
        capabilities.kube_version = KubeVersion::parse(version).map_err(|error| fails(report(&error)))?;
    }
    let versions = entry.get("apiVersions").and_then(Node::as_list).unwrap_or_default();
    capabilities.api_versions.extend(versions.iter().filter_map(yaml::to_text));
    let options = RenderOptions {
        release,
        namespace: word("namespace").or(namespace).unwrap_or("default").to_owned(),
        values: values(builder, root, entry, &directory)?,
        capabilities,
        tolerant: true,
        ..RenderOptions { run: builder.options().run.clone(), ..RenderOptions::default() }
    };
    let rendered = chart.render(&options).map_err(|error| fails(report(&error)))?;
    for diagnostic in rendered.diagnostics.iter().filter(|found| found.severity == Severity::Error) {
        builder.problem(entry.line, fails(diagnostic.to_string()));
    }
    let mut items = Vec::new();
    let shown = |source: &str| {
        let inner = source.split_once('/').map_or(source, |(_, inner)| inner);
        root.shown_path(&directory).join(inner).display().to_string()
    };
    if is("includeCRDs") {
        for file in &rendered.crds {
            let data = file.data().map_err(|error| fails(report(&error)))?;
            items.extend(builder.objects(&shown(&file.name), Role::Chart, data.as_bytes(), 1));
        }
    }
    for document in &rendered.documents {
        let is_left_out =
            (is("skipHooks") && document.hook.is_some()) || (is("skipTests") && document.is_test());
        if !is_left_out {
            let path = shown(&document.source);
            items.extend(builder.objects(&path, Role::Chart, document.text.as_bytes(), document.line));
        }
    }
    items.iter_mut().for_each(|item| item.from_chart = true);
    Ok(items)
}

/// The directory that charts are in.
fn home(
    entry: &Node,
    globals: Option<&Node>,
    name: &str,
    version: Option<&str>,
    repository: Option<&str>,
) -> String {
    let word =
        |node: &Node| edit::text_of(node, "chartHome").filter(|home| !home.is_empty()).map(str::to_owned);
    let home = word(entry).or_else(|| globals.and_then(word)).unwrap_or_else(|| "charts".into());
    match (version, repository) {
        (Some(version), Some(_)) => format!("{home}/{name}-{version}"),
        _ => home,
    }
}

/// What the user would have to run.
fn pull(name: &str, version: Option<&str>, repository: Option<&str>, home: &str) -> String {
    let version = version.map_or_else(String::new, |version| format!(" --version {version}"));
    match repository {
        Some(registry) if registry.starts_with("oci://") => {
            let registry = registry.trim_end_matches('/');
            format!("helm pull --untar --untardir {home} {registry}/{name}{version}")
        }
        Some(repository) => {
            format!("helm pull --untar --untardir {home} --repo {repository} {name}{version}")
        }
        None => format!("helm pull --untar --untardir {home} {name}{version}"),
    }
}

/// The values of an entry: a file, what is written beside it, and further files.
fn values(builder: &Builder<'_>, root: &Root, entry: &Node, directory: &str) -> Result<Map, Fault> {
    let default = root.real_path(&format!("{directory}/values.yaml"));
    let file = edit::text_of(entry, "valuesFile").or(edit::text_of(entry, "values"));
    let base = match file.filter(|file| !file.is_empty()) {
        Some(file) => Some(read(root, file)?),
        None if default.is_file() => Some(parse(
            &default,
            &content::read_regular(&default, FILE_BYTES).map_err(|error| unread(&default, &error))?,
        )?),
        None => None,
    };
    let inline = entry.get("valuesInline").filter(|inline| !edit::is_empty(inline)).cloned();
    let node = match (base, inline, edit::text_of(entry, "valuesMerge").unwrap_or("override")) {
        (base, None, _) => base,
        (Some(base), Some(inline), "override") => lay(builder, base, inline)?,
        (Some(base), Some(inline), "merge") => lay(builder, inline, base)?,
        (_, inline, _) => inline,
    };
    let mut values = node.map_or_else(|| Ok(Map::new()), |node| map(&node))?;
    let more = entry.get("additionalValuesFiles").and_then(Node::as_list).unwrap_or_default();
    for file in more.iter().filter_map(edit::scalar_text) {
        values = crate::chart::merged(&values, &map(&read(root, file)?)?);
    }
    Ok(values)
}

fn lay(builder: &Builder<'_>, under: Node, over: Node) -> Result<Option<Node>, Fault> {
    if edit::is_empty(&under) {
        return Ok(Some(over));
    }
    merge(builder.schema(), under, over)
        .map_err(|reason| Fault::Patch { object: "the values of a chart".into(), reason })
}

fn read(root: &Root, file: &str) -> Result<Node, Fault> {
    parse(&root.shown_path(file), &root.load(file)?)
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Node, Fault> {
    match yaml::documents(bytes, &yaml::Limits::default()).next() {
        None => Ok(edit::map(0)),
        Some(Ok(node)) => Ok(node),
        Some(Err(error)) => Err(Fault::Read { path: path.to_owned(), reason: error.to_string() }),
    }
}

fn unread(path: &Path, error: &std::io::Error) -> Fault {
    Fault::Read { path: path.to_owned(), reason: error.to_string() }
}

fn map(node: &Node) -> Result<Map, Fault> {
    let value = yaml::to_value(node).map_err(Fault::Yaml)?;
    let wrong = Fault::Shape { field: "values of a chart".into(), wanted: "a map" };
    if value.is_nil() {
        return Ok(Map::new());
    }
    value.as_map().cloned().ok_or(wrong)
}

/// An error with its reasons on one line.
fn report(error: &crate::Error) -> String {
    larder_core::report(error)
}
