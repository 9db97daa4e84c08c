//! `Chart.yaml` (Helm, pkg/chart/v2/metadata.go and dependency.go).

use super::fields::Fields;
use crate::error::{Error, Result};
use larder_gotemplate::yaml::Node;
use larder_gotemplate::{Element, Map, Value};
use std::collections::{BTreeMap, HashSet};

/// What a chart says of itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata {
    /// `v1`, which is also meant where nothing is said, or `v2`.
    pub api_version: String,
    /// The chart's name; of an aliased subchart, the alias.
    pub name: String,
    /// The chart's version (semver).
    pub version: String,
    /// The version of what the chart installs; the tag of its images, where values name none.
    pub app_version: String,
    /// One sentence.
    pub description: String,
    /// Home page.
    pub home: String,
    /// Address of an icon.
    pub icon: String,
    /// Where sources lie.
    pub sources: Vec<String>,
    /// Search words.
    pub keywords: Vec<String>,
    /// Who maintains it.
    pub maintainers: Vec<Maintainer>,
    /// Unused by Helm.
    pub condition: String,
    /// Unused by Helm.
    pub tags: String,
    /// Whether it should not be used any more.
    pub deprecated: bool,
    /// Free text under free names: `images`, `helm.sh/images` and the like.
    pub annotations: BTreeMap<String, String>,
    /// Which versions of Kubernetes it is for, as a range of semver; empty for all.
    pub kube_version: String,
    /// Charts it consists of; `None` if nothing is said, which Helm tells from an empty list.
    pub dependencies: Option<Vec<Dependency>>,
    /// `application`, `library`, or nothing.
    pub kind: String,
}

/// A maintainer of a chart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Maintainer {
    /// A person or an organization.
    pub name: String,
    /// Where to write to.
    pub email: String,
    /// Home page.
    pub url: String,
}

/// A chart that another one consists of.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Dependency {
    /// Its name in its own `Chart.yaml`; once dependencies are processed, the alias.
    pub name: String,
    /// A range of versions (semver).
    pub version: String,
    /// Where it can be had: `https://…`, `oci://…`, `file://…`, `@name`, or nothing if it lies in `charts/`.
    pub repository: String,
    /// Paths of values, with commas between them; the first that is a boolean switches the chart on or off.
    pub condition: String,
    /// Names below `tags` in the values, which switch it on or off as well.
    pub tags: Vec<String>,
    /// What `Chart.yaml` says, which Helm overwrites.
    pub enabled: bool,
    /// Which of its values the parent gets: texts or maps with `child` and `parent`.
    pub import_values: Vec<ImportValue>,
    /// The name it goes by in the parent; the same chart may occur several times.
    pub alias: String,
}

/// One entry of `import-values`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImportValue {
    /// Everything below `exports.NAME` of the child becomes top-level values of the parent.
    Export(String),
    /// The map at `child` is laid over the one at `parent`.
    Map {
        /// Path in the child's values.
        child: String,
        /// Path in the parent's values; `.` is their top.
        parent: String,
    },
    /// Something else, which Helm passes over.
    Other,
}

/// `Chart.lock`: which versions the ranges of the dependencies were resolved to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lock {
    /// Of what it was resolved.
    pub digest: String,
    /// Each with one version.
    pub dependencies: Vec<Dependency>,
}

impl Metadata {
    /// Reads `Chart.yaml`, or lays `requirements.yaml` over what was read from it.
    pub(crate) fn read(&mut self, fields: &Fields<'_>) -> Result<()> {
        fields.text("name", &mut self.name)?;
        fields.text("home", &mut self.home)?;
        fields.texts("sources", &mut self.sources)?;
        fields.text("version", &mut self.version)?;
        fields.text("description", &mut self.description)?;
        fields.texts("keywords", &mut self.keywords)?;
        if let Some(items) = fields.list("maintainers")? {
            self.maintainers = items.iter().map(Maintainer::read).collect::<Result<_>>()?;
        }
        fields.text("icon", &mut self.icon)?;
        fields.text("apiVersion", &mut self.api_version)?;
        fields.text("condition", &mut self.condition)?;
        fields.text("tags", &mut self.tags)?;
        fields.text("appVersion", &mut self.app_version)?;
        fields.bool("deprecated", &mut self.deprecated)?;
        fields.text_map("annotations", &mut self.annotations)?;
        fields.text("kubeVersion", &mut self.kube_version)?;
        if let Some(items) = fields.list("dependencies")? {
            self.dependencies = Some(items.iter().map(Dependency::read).collect::<Result<_>>()?);
        }
        fields.text("type", &mut self.kind)
    }

    /// Whether it only has definitions for other charts.
    pub fn is_library(&self) -> bool {
        self.kind.eq_ignore_ascii_case("library")
    }

    /// What is declared, in order.
    pub fn dependencies(&self) -> &[Dependency] {
        self.dependencies.as_deref().unwrap_or_default()
    }

    /// Refuses what Helm refuses, and cleans texts as Helm does (`Metadata.Validate`).
    pub(crate) fn validate(&mut self, place: &str) -> Result<()> {
        let texts = [
            &mut self.name,
            &mut self.description,
            &mut self.home,
            &mut self.icon,
            &mut self.condition,
            &mut self.tags,
            &mut self.app_version,
            &mut self.kube_version,
        ];
        texts.into_iter().chain(&mut self.sources).chain(&mut self.keywords).for_each(clean);
        let refuse = |reason: String| Err(Error::Metadata { place: place.into(), reason });
        if self.name.is_empty() {
            return refuse("chart.metadata.name is required".into());
        }
        if self.name == "." || self.name == ".." {
            return refuse(format!("chart.metadata.name {:?} is not allowed", self.name));
        }
        if self.name.contains('/') {
            return refuse(format!("chart.metadata.name {:?} is invalid", self.name));
        }
        if self.version.is_empty() {
            return refuse("chart.metadata.version is required".into());
        }
        if !super::version::is_version(&self.version) {
            return refuse(format!("chart.metadata.version {:?} is invalid", self.version));
        }
        if !matches!(self.kind.as_str(), "" | "application" | "library") {
            return refuse("chart.metadata.type must be application or library".into());
        }
        for maintainer in &mut self.maintainers {
            [&mut maintainer.name, &mut maintainer.email, &mut maintainer.url].into_iter().for_each(clean);
        }
        let mut names = HashSet::new();
        for dependency in self.dependencies.iter_mut().flatten() {
            dependency.clean();
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
            if !dependency.alias.chars().all(allowed) {
                let name = &dependency.name;
                return refuse(format!("dependency {name:?} has disallowed characters in the alias"));
            }
            let key = dependency.place();
            if !names.insert(key.to_owned()) {
                return refuse(format!("more than one dependency with name or alias {key:?}"));
            }
        }
        Ok(())
    }

    /// `.Chart` as templates of Helm 4 see it: a map with the names of Go's fields (pkg/chart/common.go, `structToMap`). In Helm 3
    /// it is a struct, where a field that is not there is an error.
    pub(crate) fn to_value(&self, is_root: bool) -> Map {
        let texts =
            |texts: &[String]| Value::list(texts.iter().map(|text| Value::from(text.as_str())).collect());
        let annotations = Map::typed(Element::Text);
        for (name, text) in &self.annotations {
            annotations.set(name.as_str(), Value::from(text.as_str()));
        }
        let maintainers = self.maintainers.iter().map(Maintainer::to_value).collect();
        let dependencies = self.dependencies().iter().map(Dependency::to_value).collect();
        let map = Map::new();
        for (name, value) in [
            ("Name", Value::from(self.name.as_str())),
            ("Home", Value::from(self.home.as_str())),
            ("Sources", texts(&self.sources)),
            ("Version", Value::from(self.version.as_str())),
            ("Description", Value::from(self.description.as_str())),
            ("Keywords", texts(&self.keywords)),
            ("Maintainers", Value::list(maintainers)),
            ("Icon", Value::from(self.icon.as_str())),
            ("APIVersion", Value::from(self.api_version.as_str())),
            ("Condition", Value::from(self.condition.as_str())),
            ("Tags", Value::from(self.tags.as_str())),
            ("AppVersion", Value::from(self.app_version.as_str())),
            ("Deprecated", Value::from(self.deprecated)),
            ("Annotations", Value::from(annotations)),
            ("KubeVersion", Value::from(self.kube_version.as_str())),
            ("Dependencies", Value::list(dependencies)),
            ("Type", Value::from(self.kind.as_str())),
            ("IsRoot", Value::from(is_root)),
        ] {
            map.set(name, value);
        }
        map
    }
}

impl Maintainer {
    fn read(node: &Node) -> Result<Self> {
        let fields = Fields::of(node)?;
        let mut maintainer = Self::default();
        fields.text("name", &mut maintainer.name)?;
        fields.text("email", &mut maintainer.email)?;
        fields.text("url", &mut maintainer.url)?;
        Ok(maintainer)
    }

    fn to_value(&self) -> Value {
        let map = Map::new();
        map.set("Name", Value::from(self.name.as_str()));
        map.set("Email", Value::from(self.email.as_str()));
        map.set("URL", Value::from(self.url.as_str()));
        Value::from(map)
    }
}

impl Dependency {
    fn read(node: &Node) -> Result<Self> {
        let fields = Fields::of(node)?;
        let mut dependency = Self::default();
        fields.text("name", &mut dependency.name)?;
        fields.text("version", &mut dependency.version)?;
        fields.text("repository", &mut dependency.repository)?;
        fields.text("condition", &mut dependency.condition)?;
        fields.texts("tags", &mut dependency.tags)?;
        fields.bool("enabled", &mut dependency.enabled)?;
        if let Some(items) = fields.list("import-values")? {
            dependency.import_values = items.iter().map(ImportValue::read).collect();
        }
        fields.text("alias", &mut dependency.alias)?;
        Ok(dependency)
    }

    /// The name under which the parent has it: the alias if there is one.
    pub fn place(&self) -> &str {
        if self.alias.is_empty() { &self.name } else { &self.alias }
    }

    fn clean(&mut self) {
        let texts = [&mut self.name, &mut self.version, &mut self.repository, &mut self.condition];
        texts.into_iter().chain(&mut self.tags).for_each(clean);
    }

    fn to_value(&self) -> Value {
        let map = Map::new();
        let tags = self.tags.iter().map(|tag| Value::from(tag.as_str())).collect();
        let imports = self.import_values.iter().map(ImportValue::to_value).collect();
        for (name, value) in [
            ("Name", Value::from(self.name.as_str())),
            ("Version", Value::from(self.version.as_str())),
            ("Repository", Value::from(self.repository.as_str())),
            ("Condition", Value::from(self.condition.as_str())),
            ("Tags", Value::list(tags)),
            ("Enabled", Value::from(self.enabled)),
            ("ImportValues", Value::list(imports)),
            ("Alias", Value::from(self.alias.as_str())),
        ] {
            map.set(name, value);
        }
        Value::from(map)
    }
}

impl ImportValue {
    fn read(node: &Node) -> Self {
        if let Some(name) = node.as_text() {
            return Self::Export(name.to_owned());
        }
        if node.as_map().is_none() {
            return Self::Other;
        }
        let text = |name| {
            let found = node.get(name).and_then(Node::as_scalar);
            found.map_or_else(|| "<nil>".to_owned(), |scalar| scalar.text.clone())
        };
        Self::Map { child: text("child"), parent: text("parent") }
    }

    /// As templates see it, after Helm has brought all to one form (`processImportValues`).
    fn to_value(&self) -> Value {
        let (child, parent) = match self {
            Self::Export(name) => (format!("exports.{name}"), ".".to_owned()),
            Self::Map { child, parent } => (child.clone(), parent.clone()),
            Self::Other => return Value::list(Vec::new()),
        };
        let map = Map::typed(Element::Text);
        map.set("child", Value::from(child));
        map.set("parent", Value::from(parent));
        Value::from(map)
    }
}

impl Lock {
    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self> {
        let mut lock = Self::default();
        fields.text("digest", &mut lock.digest)?;
        if let Some(items) = fields.list("dependencies")? {
            lock.dependencies = items.iter().map(Dependency::read).collect::<Result<_>>()?;
        }
        Ok(lock)
    }
}

/// Any space becomes a blank, and what cannot be printed is dropped (`sanitizeString`).
fn clean(text: &mut String) {
    let unprintable =
        |c: char| c.is_control() || INVISIBLE.iter().any(|(first, last)| (*first..=*last).contains(&c));
    if text.chars().any(|c| c != ' ' && (c.is_whitespace() || unprintable(c))) {
        let cleaned = text.chars().filter(|c| c.is_whitespace() || !unprintable(*c));
        *text = cleaned.map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    }
}

/// Formatting characters (Unicode category Cf) and private use, which Go's `unicode.IsPrint` refuses.
const INVISIBLE: [(char, char); 8] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{600}', '\u{605}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{e000}', '\u{f8ff}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{e0001}', '\u{10ffff}'),
];
