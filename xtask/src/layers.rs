//! `check-layers`: the architecture as a test.
//!
//! A crate depends on crates with a smaller layer number only; a heavy dependency has the owners that `deny.toml` names;
//! every crate takes the workspace lints; files stay short and are named after what is in them.

use crate::workspace::{self, DependencyKind, Layer, Package, Workspace};
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Checks the whole workspace and prints every finding.
pub(crate) fn run() -> Result<()> {
    let root = workspace::root();
    let packages = Workspace::read()?.packages;
    let mut findings = edges(&packages);
    findings.extend(synchronous(&packages));
    findings.extend(owners(&packages, &Owners::read(&root.join("deny.toml"))?));
    for package in &packages {
        findings.extend(lints(&root.join(&package.folder).join("Cargo.toml"), package)?);
    }
    for folder in ["crates", "xtask", "fuzz"] {
        source(&root.join(folder), root, &mut findings)?;
    }
    for finding in &mut findings {
        finding.locate(root);
        println!("{}: {}\n    {}", finding.place, finding.what, finding.why);
    }
    let crates = packages.len();
    if findings.is_empty() {
        println!("{crates} crates: every dependency points downward and has its owner");
        return Ok(());
    }
    bail!("{} of the rules of ARCHITECTURE.md broken in {crates} crates", findings.len());
}

/// One broken rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    /// A path, with a line where one is known.
    place: String,
    what: String,
    why: &'static str,
    /// The word to look for in the file, to name the line.
    word: Option<String>,
}

impl Finding {
    fn in_manifest(package: &Package, word: &str, what: String, why: &'static str) -> Self {
        let place = package.folder.join("Cargo.toml").display().to_string();
        Self { place, what, why, word: Some(word.to_owned()) }
    }

    fn locate(&mut self, root: &Path) {
        let Some(word) = self.word.take() else { return };
        let Ok(text) = std::fs::read_to_string(root.join(&self.place)) else { return };
        let starts = |line: &str| {
            line.trim_start().strip_prefix(&word).is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
        };
        if let Some(number) = text.lines().position(starts) {
            self.place = format!("{}:{}", self.place, number + 1);
        }
    }
}

/// Edges between crates of the workspace.
fn edges(packages: &[Package]) -> Vec<Finding> {
    let layers: BTreeMap<&str, Option<Layer>> =
        packages.iter().map(|package| (package.name.as_str(), package.layer)).collect();
    let mut findings = Vec::new();
    for package in packages {
        let Some(own) = package.layer else {
            findings.push(Finding::in_manifest(
                package,
                "[package.metadata.larder]",
                format!("{} has no layer", package.name),
                "a crate says where it stands: [package.metadata.larder] layer = NUMBER, or \"test\" or \"tool\"",
            ));
            continue;
        };
        for dependency in &package.dependencies {
            // A crate without a layer is reported once, by itself.
            let Some(Some(other)) = layers.get(dependency.name.as_str()) else { continue };
            if let Some(why) = refusal(own, *other, dependency.kind) {
                let what = format!(
                    "{} ({}) depends on {} ({})",
                    package.name,
                    own.describe(),
                    dependency.name,
                    other.describe()
                );
                findings.push(Finding::in_manifest(package, &dependency.name, what, why));
            }
        }
    }
    findings
}

/// Why `own` may not depend on `other`, if it may not.
fn refusal(own: Layer, other: Layer, kind: DependencyKind) -> Option<&'static str> {
    match (own, other) {
        (Layer::Tool, _) | (Layer::Test, Layer::Number(_)) => None,
        (_, Layer::Tool) => Some("nothing depends on the project's own commands"),
        (Layer::Number(_), Layer::Test) if kind == DependencyKind::Development => None,
        (_, Layer::Test) => Some("test support may only be a dev-dependency"),
        (Layer::Number(own), Layer::Number(other)) if other < own => None,
        (Layer::Number(own), Layer::Number(other)) if other == own => {
            Some("a sideways edge: crates of one layer do not know each other; let the layer above join them")
        }
        _ => Some("an upward edge: a crate depends only on crates with a smaller layer number"),
    }
}

impl Layer {
    fn describe(self) -> String {
        match self {
            Self::Number(number) => format!("layer {number}"),
            Self::Test => "for tests".into(),
            Self::Tool => "a tool".into(),
        }
    }
}

/// Crates that stay synchronous: formats and stores gain nothing from async and lose legibility.
const SYNCHRONOUS: [&str; 4] = ["larder-core", "larder-store", "larder-rootfs", "larder-materialize"];
const ASYNC: [&str; 5] = ["tokio", "async-trait", "futures", "futures-util", "async-std"];

fn synchronous(packages: &[Package]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages.iter().filter(|package| SYNCHRONOUS.contains(&package.name.as_str())) {
        for dependency in package.dependencies.iter().filter(|edge| ASYNC.contains(&edge.name.as_str())) {
            findings.push(Finding::in_manifest(
                package,
                &dependency.name,
                format!("{} links {}", package.name, dependency.name),
                "this crate is synchronous; async starts at remote and fetch",
            ));
        }
    }
    findings
}

/// Who may link a heavy dependency: the `[[bans.deny]]` entries of `deny.toml` that have `wrappers`.
#[derive(Debug)]
struct Owners(BTreeMap<String, Vec<String>>);

impl Owners {
    fn read(file: &Path) -> Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        Self::parse(&text).with_context(|| format!("cannot use {}", file.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let document: toml::Table = text.parse()?;
        let denied = document
            .get("bans")
            .and_then(|bans| bans.get("deny"))
            .and_then(toml::Value::as_array)
            .context("there is no [[bans.deny]]")?;
        let mut owners = BTreeMap::new();
        for entry in denied {
            let name =
                entry.get("crate").and_then(toml::Value::as_str).context("an entry without `crate`")?;
            let wrappers = entry.get("wrappers").and_then(toml::Value::as_array).into_iter().flatten();
            let wrappers = wrappers.filter_map(|word| word.as_str().map(str::to_owned)).collect();
            owners.insert(name.to_owned(), wrappers);
        }
        Ok(Self(owners))
    }
}

fn owners(packages: &[Package], owners: &Owners) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in packages {
        // What only the tests of a crate link is not in the product.
        let linked = package.dependencies.iter().filter(|edge| edge.kind != DependencyKind::Development);
        for dependency in linked {
            let Some(allowed) = owners.0.get(&dependency.name) else { continue };
            if !allowed.contains(&package.name) {
                let allowed = packages.iter().filter(|other| allowed.contains(&other.name));
                let allowed: Vec<&str> = allowed.map(|other| other.name.as_str()).collect();
                let what = if allowed.is_empty() {
                    format!("{} links {}, which nobody may", package.name, dependency.name)
                } else {
                    format!(
                        "{} links {}, which belongs to {}",
                        package.name,
                        dependency.name,
                        allowed.join(", ")
                    )
                };
                findings.push(Finding::in_manifest(
                    package,
                    &dependency.name,
                    what,
                    "a heavy dependency has the owners that deny.toml names; use it through them",
                ));
            }
        }
    }
    findings
}

fn lints(manifest: &Path, package: &Package) -> Result<Option<Finding>> {
    let text =
        std::fs::read_to_string(manifest).with_context(|| format!("cannot read {}", manifest.display()))?;
    let document: toml::Table =
        text.parse().with_context(|| format!("{} is not TOML", manifest.display()))?;
    let inherits =
        document.get("lints").and_then(|lints| lints.get("workspace")) == Some(&toml::Value::Boolean(true));
    Ok((!inherits).then(|| {
        let what = format!("{} does not take the workspace's lints", package.name);
        Finding::in_manifest(package, "[lints]", what, "one set of lints for all: [lints] workspace = true")
    }))
}

/// The hard stop for the length of a file, in lines.
const LONGEST_FILE_LINES: usize = 1500;
/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 7] = ["utils", "util", "helpers", "common", "misc", "types", "manager"];

/// Walks the Rust files under `folder`.
fn source(folder: &Path, root: &Path, findings: &mut Vec<Finding>) -> Result<()> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(()) };
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if !path.ends_with("target") {
                source(&path, root, findings)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
            shape(path.strip_prefix(root).unwrap_or(&path), &text, findings);
        }
    }
    Ok(())
}

fn shape(path: &Path, text: &str, findings: &mut Vec<Finding>) {
    let mut report = |what, why| {
        findings.push(Finding { place: path.display().to_string(), what, why, word: None });
    };
    let lines = text.lines().count();
    if lines > LONGEST_FILE_LINES {
        report(
            format!("{lines} lines"),
            "no file is longer than 1,500 lines; aim for 500, and split by noun",
        );
    }
    let words = path.components().filter_map(|part| Path::new(part.as_os_str()).file_stem());
    for word in words.filter_map(|stem| stem.to_str()) {
        if EMPTY_NAMES.contains(&word) {
            report(
                format!("the name `{word}`"),
                "a file is named after the one noun in it; a function without a noun is private to its caller",
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    fn package(name: &str, layer: Option<Layer>, dependencies: &[(&str, DependencyKind)]) -> Package {
        let edge = |(name, kind): &(&str, DependencyKind)| Dependency { name: (*name).into(), kind: *kind };
        Package {
            name: name.into(),
            description: String::new(),
            folder: Path::new("crates").join(name),
            layer,
            dependencies: dependencies.iter().map(edge).collect(),
        }
    }

    fn whats(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn only_downward_edges_pass() {
        use DependencyKind::{Build, Development, Normal};
        let packages = [
            package("core", Some(Layer::Number(0)), &[]),
            package("store", Some(Layer::Number(1)), &[("core", Normal), ("rusqlite", Normal)]),
            package("remote", Some(Layer::Number(1)), &[("store", Normal), ("core", Build)]),
            package("rootfs", Some(Layer::Number(1)), &[("engine", Build), ("testkit", Development)]),
            package("engine", Some(Layer::Number(5)), &[("store", Normal), ("testkit", Normal)]),
            package("testkit", Some(Layer::Test), &[("engine", Normal), ("xtask", Normal)]),
            package("xtask", Some(Layer::Tool), &[("testkit", Normal), ("engine", Normal)]),
            package("stray", None, &[("core", Normal)]),
        ];
        assert_eq!(
            whats(edges(&packages)),
            [
                "remote (layer 1) depends on store (layer 1)",
                "rootfs (layer 1) depends on engine (layer 5)",
                "engine (layer 5) depends on testkit (for tests)",
                "testkit (for tests) depends on xtask (a tool)",
                "stray has no layer",
            ]
        );
    }

    #[test]
    fn a_heavy_dependency_belongs_to_its_owners() {
        let table = r#"
            [bans]
            deny = [
                { crate = "rusqlite", wrappers = ["store"] },
                { crate = "openssl" },
            ]
        "#;
        let owned = Owners::parse(table).unwrap();
        let packages = [
            package("store", Some(Layer::Number(1)), &[("rusqlite", DependencyKind::Normal)]),
            package("engine", Some(Layer::Number(5)), &[("rusqlite", DependencyKind::Build)]),
            package("fetch", Some(Layer::Number(2)), &[("rusqlite", DependencyKind::Development)]),
            package("remote", Some(Layer::Number(1)), &[("openssl", DependencyKind::Normal)]),
        ];
        assert_eq!(
            whats(owners(&packages, &owned)),
            ["engine links rusqlite, which belongs to store", "remote links openssl, which nobody may"]
        );
    }

    #[test]
    fn synchronous_crates_link_no_executor() {
        let packages = [
            package("larder-store", Some(Layer::Number(1)), &[("tokio", DependencyKind::Normal)]),
            package("larder-fetch", Some(Layer::Number(2)), &[("tokio", DependencyKind::Normal)]),
        ];
        assert_eq!(whats(synchronous(&packages)), ["larder-store links tokio"]);
    }

    #[test]
    fn long_files_and_empty_names_are_found() {
        let mut findings = Vec::new();
        shape(Path::new("crates/store/src/gc.rs"), &"x\n".repeat(1500), &mut findings);
        assert_eq!(findings, []);
        shape(Path::new("crates/store/src/gc.rs"), &"x\n".repeat(1501), &mut findings);
        shape(Path::new("crates/store/tests/common/mod.rs"), "", &mut findings);
        shape(Path::new("crates/store/src/utils.rs"), "", &mut findings);
        shape(Path::new("crates/core/src/media_type.rs"), "", &mut findings);
        assert_eq!(whats(findings), ["1501 lines", "the name `common`", "the name `utils`"]);
    }

    #[test]
    fn a_manifest_without_the_workspace_lints_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let manifest = directory.path().join("Cargo.toml");
        let package = package("store", Some(Layer::Number(1)), &[]);
        std::fs::write(&manifest, "[package]\nname = \"store\"\n[lints.rust]\nunsafe_code = \"deny\"\n")
            .unwrap();
        assert!(lints(&manifest, &package).unwrap().is_some());
        std::fs::write(&manifest, "[package]\nname = \"store\"\n[lints]\nworkspace = true\n").unwrap();
        assert!(lints(&manifest, &package).unwrap().is_none());
    }

    #[test]
    fn a_finding_names_the_line() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(directory.path().join("crates/remote")).unwrap();
        let text = "[dependencies]\nlarder-core.workspace = true\nlarder-store = { workspace = true }\n";
        std::fs::write(directory.path().join("crates/remote/Cargo.toml"), text).unwrap();
        let package = package("remote", None, &[]);
        let mut finding = Finding::in_manifest(&package, "larder-store", String::new(), "");
        finding.locate(directory.path());
        assert_eq!(finding.place, "crates/remote/Cargo.toml:3");
    }
}
