//! Components of clusters, by name: what a version of theirs comes as.

use super::kubeadm::Release;
use larder_gotemplate::yaml::{self, Node};

/// The table of `catalog.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Catalog {
    entries: Vec<Entry>,
}

/// A component that the catalog knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub name: String,
    aliases: Vec<String>,
    chart: Option<ChartPattern>,
    manifest: Option<String>,
    prefers_manifest: bool,
    compiled: Option<Compiled>,
}

/// Where the chart or the manifest of a component is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Location {
    /// A chart of a repository.
    Chart {
        /// The address of the repository.
        repository: String,
        /// The chart.
        name: String,
        /// Its version, as the repository writes it.
        version: String,
    },
    /// A manifest.
    Manifest {
        /// Its address.
        url: String,
    },
}

/// Which of the two is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The chart.
    Chart,
    /// The manifest.
    Manifest,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct ChartPattern {
    repository: String,
    name: String,
    version: String,
}

/// Images in the code of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Compiled {
    with: Form,
    tag: String,
    minors: Vec<CompiledMinor>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct CompiledMinor {
    minor: String,
    source: String,
    /// The patch release from which on, and the registry; ascending.
    registries: Vec<(u32, String)>,
    images: Vec<String>,
}

impl Catalog {
    /// The catalog that larder carries.
    pub fn built_in() -> Self {
        let node = yaml::documents(TABLE.as_bytes(), &yaml::Limits::default()).next();
        let node = node.and_then(Result::ok).expect("the embedded catalog is YAML");
        Self::read(&node).expect("the embedded catalog has the fields of a catalog")
    }

    fn read(node: &Node) -> Option<Self> {
        let entries = node.get("components")?.as_list()?.iter().map(Entry::read).collect::<Option<_>>()?;
        Some(Self { entries })
    }

    /// The component of a name.
    pub fn find(&self, name: &str) -> Option<&Entry> {
        self.entries
            .iter()
            .find(|entry| entry.name == name || entry.aliases.iter().any(|alias| alias == name))
    }

    /// The names of all components.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.name.as_str())
    }
}

impl Entry {
    fn read(node: &Node) -> Option<Self> {
        let text = |node: &Node, key: &str| node.get(key).and_then(yaml::to_text);
        let list = |node: &Node, key: &str| -> Vec<String> {
            let items = node.get(key).and_then(Node::as_list).unwrap_or_default();
            items.iter().filter_map(yaml::to_text).collect()
        };
        let chart = node.get("chart").and_then(|chart| {
            Some(ChartPattern {
                repository: text(chart, "repository")?,
                name: text(chart, "name")?,
                version: text(chart, "version")?,
            })
        });
        let compiled = node.get("compiled").and_then(|compiled| {
            let minor = |node: &Node| {
                let registries = node.get("registry")?.as_map()?.iter();
                let registries = registries.map(|(patch, registry)| {
                    Some((yaml::to_text(patch)?.parse().ok()?, yaml::to_text(registry)?))
                });
                Some(CompiledMinor {
                    minor: text(node, "minor")?,
                    source: text(node, "source")?,
                    registries: registries.collect::<Option<_>>()?,
                    images: list(node, "images"),
                })
            };
            Some(Compiled {
                with: Form::of(&text(compiled, "with")?)?,
                tag: text(compiled, "tag")?,
                minors: compiled.get("minors")?.as_list()?.iter().map(minor).collect::<Option<_>>()?,
            })
        });
        let manifest = text(node, "manifest");
        let prefers_manifest =
            text(node, "default").is_some_and(|form| form == "manifest") || chart.is_none();
        (chart.is_some() || manifest.is_some()).then_some(())?;
        let name = text(node, "name")?;
        Some(Self { name, aliases: list(node, "aliases"), chart, manifest, prefers_manifest, compiled })
    }

    /// Which form it has unless something else is said.
    pub fn form(&self) -> Form {
        if self.prefers_manifest { Form::Manifest } else { Form::Chart }
    }

    /// Where a version is. `None` if it does not come in that form.
    pub fn location(&self, version: &str, form: Form) -> Option<Location> {
        match form {
            Form::Chart => self.chart.as_ref().map(|chart| Location::Chart {
                repository: chart.repository.clone(),
                name: chart.name.clone(),
                version: fill(&chart.version, version),
            }),
            Form::Manifest => {
                self.manifest.as_ref().map(|url| Location::Manifest { url: fill(url, version) })
            }
        }
    }

    /// Images that no rendering of that form shows, and where that is written.
    ///
    /// # Errors
    /// The minor versions that are known, if this one is not among them.
    pub fn compiled(&self, version: &str, form: Form) -> Result<Option<(Vec<String>, &str)>, Vec<&str>> {
        let Some(compiled) = self.compiled.as_ref().filter(|compiled| compiled.with == form) else {
            return Ok(None);
        };
        let release = Release::parse(version);
        let minor = release.as_ref().map(|release| format!("{}.{}", release.major, release.minor));
        let found = compiled.minors.iter().find(|known| Some(&known.minor) == minor.as_ref());
        let known = || compiled.minors.iter().map(|minor| minor.minor.as_str()).collect::<Vec<_>>();
        let (found, release) = found.zip(release).ok_or_else(known)?;
        let tag = fill(&compiled.tag, version);
        let registry = found.registries.iter().rev().find(|(patch, _)| *patch <= release.patch);
        let (_, registry) = registry.ok_or_else(known)?;
        let images = found.images.iter().map(|image| format!("{registry}/{image}:{tag}"));
        Ok(Some((images.collect(), &found.source)))
    }
}

impl Form {
    /// `chart` or `manifest`.
    pub fn of(text: &str) -> Option<Self> {
        match text {
            "chart" => Some(Self::Chart),
            "manifest" => Some(Self::Manifest),
            _ => None,
        }
    }
}

/// Puts a version, without the `v` in front, into a pattern.
fn fill(pattern: &str, version: &str) -> String {
    pattern.replace("{version}", version.strip_prefix('v').unwrap_or(version))
}

const TABLE: &str = include_str!("catalog.yaml");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_written_as_the_repository_does() {
        let catalog = Catalog::built_in();
        let chart = |name: &str, version: &str| match catalog
            .find(name)
            .and_then(|entry| entry.location(version, Form::Chart))
        {
            Some(Location::Chart { version, .. }) => version,
            other => panic!("{name}: {other:?}"),
        };
        assert_eq!(chart("cilium", "v1.16.3"), "1.16.3");
        assert_eq!(chart("cert-manager", "1.16.1"), "v1.16.1");
        assert_eq!(chart("rook", "v1.15.3"), "v1.15.3", "a component has other names");
        let calico = catalog.find("calico").expect("it is there");
        assert_eq!(calico.form(), Form::Manifest);
        let url = "https://raw.githubusercontent.com/projectcalico/calico/v3.28.1/manifests/calico.yaml";
        assert_eq!(calico.location("v3.28.1", Form::Manifest), Some(Location::Manifest { url: url.into() }));
    }

    #[test]
    fn what_an_operator_carries_is_listed_for_known_versions_only() {
        let catalog = Catalog::built_in();
        let calico = catalog.find("tigera-operator").expect("it is there");
        let (images, source) = calico.compiled("3.28.1", Form::Chart).expect("known").expect("some");
        assert!(images.contains(&"docker.io/calico/node:v3.28.1".into()), "{images:?}");
        assert!(source.contains("calico.go"));
        assert_eq!(calico.compiled("3.28.1", Form::Manifest), Ok(None), "the manifest names them itself");
        let minors = vec!["3.25", "3.26", "3.27", "3.28", "3.29", "3.30", "3.31", "3.32"];
        assert_eq!(calico.compiled("3.99.0", Form::Chart), Err(minors.clone()));
        for minor in minors {
            let (images, source) =
                calico.compiled(&format!("{minor}.1"), Form::Chart).expect("known").expect("some");
            assert!(images.len() >= 8, "{minor}: {images:?}");
            let (operator, file) =
                source.strip_prefix("tigera/operator v").and_then(|text| text.split_once(' ')).expect(source);
            assert!(Release::parse(operator).is_some() && file == "pkg/components/calico.go", "{source}");
        }
    }

    #[test]
    fn calico_moved_to_another_registry_within_3_30() {
        let catalog = Catalog::built_in();
        let calico = catalog.find("calico").expect("it is there");
        for (version, registry) in [
            ("v3.30.3", "docker.io"),
            ("v3.30.4", "quay.io"),
            ("v3.29.7", "docker.io"),
            ("v3.31.0", "quay.io"),
        ] {
            let (images, _) = calico.compiled(version, Form::Chart).expect("known").expect("some");
            assert!(images.contains(&format!("{registry}/calico/node:{version}")), "{images:?}");
        }
    }
}
