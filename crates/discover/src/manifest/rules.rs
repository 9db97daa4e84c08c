//! Rules: where images stand, as data.

use super::Confidence;
use super::pattern::{FieldPattern, Glob, Segment, Step};
use super::shape::Needs;
use larder_gotemplate::yaml::{self, Node, NodeKind};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Rules, in the order in which they are tried. `rules.yaml` says what they can say.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    pub(super) rules: Vec<Rule>,
    keys: Index,
    items: Index,
    /// Rules whose fields end with any number of steps.
    anywhere: Vec<usize>,
    /// Keys of which a map with an image in pieces has one.
    pub(super) part_keys: HashSet<String>,
}

/// A rule that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {fault}")]
pub struct RuleError {
    /// Line of the file.
    pub line: u32,
    /// What is wrong.
    pub fault: RuleFault,
}

/// What is wrong with a rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RuleFault {
    /// The file is not YAML.
    #[error("{0}")]
    Document(String),
    /// Something has not the shape it must have.
    #[error("{what} must be {shape}")]
    Shape {
        /// The key.
        what: &'static str,
        /// A list, a text.
        shape: &'static str,
    },
    /// A key that rules do not have.
    #[error("rules have no {0:?}")]
    Key(String),
    /// A word that the key does not know.
    #[error("{what} cannot be {text:?}; it is one of {words}")]
    Word {
        /// The key.
        what: &'static str,
        /// As written.
        text: String,
        /// All there are.
        words: &'static str,
    },
    /// Something a rule must have.
    #[error("a rule needs {0}")]
    Missing(&'static str),
    /// A pattern of fields that is none.
    #[error("{0:?} is not a pattern of fields")]
    Pattern(String),
}

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    /// `None`: there is no image.
    pub(super) confidence: Option<Confidence>,
    kinds: Vec<Kind>,
    fields: Vec<FieldPattern>,
    pub(super) read: Read,
    pub(super) needs: Needs,
    values: Vec<Glob>,
    pub(super) names: Vec<Glob>,
    pub(super) schemes: Vec<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Read {
    Reference,
    Parts(Parts),
    Environment,
    Argument,
    Declared,
    Base64,
    Document,
    Words,
}

/// Keys of the pieces; a key with a dot leads into a map.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    pub(super) registry: Vec<String>,
    pub(super) repository: Vec<String>,
    pub(super) name: Vec<String>,
    pub(super) tag: Vec<String>,
    pub(super) digest: Vec<String>,
    pub(super) needs: Vec<Part>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Registry,
    Repository,
    Name,
    Tag,
    Digest,
}

/// `group/Kind`; the group is left out for any.
#[derive(Debug, Clone)]
struct Kind {
    group: Option<Glob>,
    kind: Glob,
}

/// Rules by the last key of their fields.
#[derive(Debug, Clone, Default)]
struct Index {
    exact: HashMap<String, Vec<usize>>,
    /// `*suffix`, by the last byte.
    suffixes: HashMap<u8, Vec<(Glob, Vec<usize>)>>,
    globs: Vec<(Glob, Vec<usize>)>,
}

impl Rules {
    /// The rules that come with the program.
    pub fn built_in() -> Self {
        Self::parse(BUILT_IN).expect("a test reads them")
    }

    /// Reads a file of rules.
    pub fn parse(text: &str) -> Result<Self, RuleError> {
        let mut rules = Vec::new();
        for document in yaml::documents(text.as_bytes(), &yaml::Limits::default()) {
            let document = document.map_err(|error| RuleError {
                line: error.line().unwrap_or(1),
                fault: RuleFault::Document(error.reason()),
            })?;
            let list =
                document.get("rules").ok_or_else(|| missing(&document, "a list under the key rules"))?;
            for node in list.as_list().ok_or_else(|| shape(list, "rules", "a list"))? {
                rules.push(Rule::parse(node)?);
            }
        }
        Ok(Self::of(rules))
    }

    /// These rules, and after them `others`.
    #[must_use]
    pub fn before(self, others: Self) -> Self {
        Self::of(self.rules.into_iter().chain(others.rules).collect())
    }

    /// Names of all rules, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.rules.iter().map(|rule| &*rule.name)
    }

    fn of(rules: Vec<Rule>) -> Self {
        let mut indexed = Self { rules, ..Self::default() };
        for (number, rule) in indexed.rules.iter().enumerate() {
            for field in &rule.fields {
                match field.segments.as_slice() {
                    [.., Segment::Key(glob), Segment::Item] => indexed.items.add(glob, number),
                    [.., Segment::Key(glob)] => indexed.keys.add(glob, number),
                    _ => indexed.anywhere.push(number),
                }
            }
            if let Read::Parts(parts) = &rule.read {
                let keys =
                    parts.rarest().iter().map(|key| key.split('.').next().unwrap_or_default().to_owned());
                indexed.part_keys.extend(keys);
            }
        }
        indexed.anywhere.dedup();
        indexed
    }

    /// For each rule whether it is about this kind of object. Rules behind one that excludes all of the object are not.
    pub(super) fn for_kind(&self, group: &str, kind: &str) -> Vec<bool> {
        let everything = |rule: &Rule| {
            rule.excludes() && rule.fields.iter().any(|field| field.segments == [Segment::Steps])
        };
        let mut excluded = false;
        let about = |rule: &Rule| {
            let about = !excluded && rule.is_about_kind(group, kind);
            excluded |= about && everything(rule);
            about
        };
        self.rules.iter().map(about).collect()
    }

    /// Rules whose fields may fit a path with this end, in their order; those for any field are left out if `anywhere` is false.
    pub(super) fn candidates(&self, path: &[Step<'_>], anywhere: bool, found: &mut Vec<usize>) {
        found.clear();
        match path {
            [.., Step::Key(key)] => self.keys.find(key, found),
            [.., Step::Key(key), Step::Index(_)] => self.items.find(key, found),
            _ => {}
        }
        if anywhere {
            found.extend(&self.anywhere);
        }
        if found.len() > 1 {
            found.sort_unstable();
            found.dedup();
        }
    }
}

impl Index {
    fn add(&mut self, glob: &Glob, number: usize) {
        let globs = match glob {
            Glob::Exact(key) => {
                self.exact.entry(key.clone()).or_default().push(number);
                return;
            }
            Glob::Suffix(suffix) => match suffix.bytes().last() {
                Some(last) => self.suffixes.entry(last).or_default(),
                None => &mut self.globs,
            },
            _ => &mut self.globs,
        };
        match globs.iter_mut().find(|(known, _)| known == glob) {
            Some((_, numbers)) => numbers.push(number),
            None => globs.push((glob.clone(), vec![number])),
        }
    }

    fn find(&self, key: &str, found: &mut Vec<usize>) {
        if let Some(numbers) = self.exact.get(key) {
            found.extend(numbers);
        }
        let suffixes = key.bytes().last().and_then(|last| self.suffixes.get(&last));
        let globs = suffixes.into_iter().flatten().chain(&self.globs);
        for (_, numbers) in globs.filter(|(glob, _)| glob.matches(key)) {
            found.extend(numbers);
        }
    }
}

impl Rule {
    /// Whether it is about this kind of object.
    fn is_about_kind(&self, group: &str, kind: &str) -> bool {
        self.kinds.is_empty() || self.kinds.iter().any(|pattern| pattern.matches(group, kind))
    }

    /// Whether it says that there is no image, whatever stands there.
    pub(super) fn excludes(&self) -> bool {
        self.confidence.is_none() && self.values.is_empty()
    }

    /// Whether it is about this field.
    pub(super) fn is_about(&self, path: &[Step<'_>]) -> bool {
        self.fields.iter().any(|field| field.matches(path))
    }

    pub(super) fn is_about_value(&self, text: &str) -> bool {
        self.values.is_empty() || self.values.iter().any(|glob| glob.matches(text))
    }

    pub(super) fn is_about_name(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|glob| glob.matches(name))
    }

    fn parse(node: &Node) -> Result<Self, RuleError> {
        let entries = node.as_map().ok_or_else(|| shape(node, "a rule", "a map"))?;
        let mut rule = Self {
            name: "".into(),
            confidence: None,
            kinds: Vec::new(),
            fields: Vec::new(),
            read: Read::Reference,
            needs: Needs::Any,
            values: Vec::new(),
            names: Vec::new(),
            schemes: Vec::new(),
        };
        let (mut confidence, mut parts) = (false, None);
        for (key, value) in entries {
            match key.as_text().unwrap_or_default() {
                "name" => rule.name = text(value, "name")?.into(),
                "confidence" => {
                    rule.confidence = word(value, "confidence", CONFIDENCES)?;
                    confidence = true;
                }
                "kinds" => {
                    rule.kinds = texts(value, "kinds")?.iter().map(|(text, _)| Kind::new(text)).collect();
                }
                "fields" => {
                    for (text, line) in texts(value, "fields")? {
                        let fault = || RuleError { line, fault: RuleFault::Pattern(text.clone()) };
                        rule.fields.push(FieldPattern::new(&text).ok_or_else(fault)?);
                    }
                }
                "read" => rule.read = word(value, "read", READS)?,
                "value" => rule.needs = word(value, "value", NEEDS)?,
                "values" => rule.values = globs(value, "values")?,
                "names" => rule.names = globs(value, "names")?,
                "schemes" => {
                    rule.schemes =
                        texts(value, "schemes")?.into_iter().map(|(text, _)| format!("{text}://")).collect();
                }
                "parts" => parts = Some(Parts::parse(value)?),
                other => return Err(RuleError { line: key.line, fault: RuleFault::Key(other.to_owned()) }),
            }
        }
        if rule.name.is_empty() || !confidence || rule.fields.is_empty() {
            return Err(missing(node, "name, confidence and fields"));
        }
        match (&rule.read, parts) {
            (Read::Parts(_), Some(parts)) => rule.read = Read::Parts(parts),
            (Read::Parts(_), None) => return Err(missing(node, "parts")),
            _ => {}
        }
        Ok(rule)
    }
}

impl Parts {
    /// Keys one of which must be there: those that few maps have.
    fn rarest(&self) -> &[String] {
        if self.needs.contains(&Part::Tag) {
            &self.tag
        } else if self.needs.contains(&Part::Digest) {
            &self.digest
        } else {
            &self.repository
        }
    }

    fn parse(node: &Node) -> Result<Self, RuleError> {
        let mut parts = Self::default();
        for (key, value) in node.as_map().ok_or_else(|| shape(node, "parts", "a map"))? {
            let keys =
                |what| texts(value, what).map(|texts| texts.into_iter().map(|(text, _)| text).collect());
            match key.as_text().unwrap_or_default() {
                "registry" => parts.registry = keys("registry")?,
                "repository" => parts.repository = keys("repository")?,
                "name" => parts.name = keys("name")?,
                "tag" => parts.tag = keys("tag")?,
                "digest" => parts.digest = keys("digest")?,
                "needs" => {
                    let list = value.as_list().ok_or_else(|| shape(value, "needs", "a list"))?;
                    parts.needs =
                        list.iter().map(|node| word(node, "needs", PARTS)).collect::<Result<_, _>>()?;
                }
                other => return Err(RuleError { line: key.line, fault: RuleFault::Key(other.to_owned()) }),
            }
        }
        Ok(parts)
    }
}

impl Kind {
    fn new(text: &str) -> Self {
        match text.rsplit_once('/') {
            Some((group, kind)) => Self { group: Some(Glob::new(group)), kind: Glob::new(kind) },
            None => Self { group: None, kind: Glob::new(text) },
        }
    }

    fn matches(&self, group: &str, kind: &str) -> bool {
        self.kind.matches(kind) && self.group.as_ref().is_none_or(|glob| glob.matches(group))
    }
}

fn text<'a>(node: &'a Node, what: &'static str) -> Result<&'a str, RuleError> {
    match &node.kind {
        NodeKind::Scalar(scalar) => Ok(&scalar.text),
        _ => Err(shape(node, what, "a text")),
    }
}

fn texts(node: &Node, what: &'static str) -> Result<Vec<(String, u32)>, RuleError> {
    let list = node.as_list().ok_or_else(|| shape(node, what, "a list of texts"))?;
    list.iter().map(|node| Ok((text(node, what)?.to_owned(), node.line))).collect()
}

fn globs(node: &Node, what: &'static str) -> Result<Vec<Glob>, RuleError> {
    Ok(texts(node, what)?.iter().map(|(text, _)| Glob::new(text)).collect())
}

/// Words of a key, what they mean, and all of them as shown.
type Words<T> = (&'static [(&'static str, T)], &'static str);

fn word<T: Clone>(node: &Node, what: &'static str, (words, all): Words<T>) -> Result<T, RuleError> {
    let text = text(node, what)?;
    let found = words.iter().find(|(word, _)| *word == text).map(|(_, meaning)| meaning.clone());
    found.ok_or_else(|| RuleError {
        line: node.line,
        fault: RuleFault::Word { what, text: text.to_owned(), words: all },
    })
}

fn shape(node: &Node, what: &'static str, shape: &'static str) -> RuleError {
    RuleError { line: node.line, fault: RuleFault::Shape { what, shape } }
}

fn missing(node: &Node, what: &'static str) -> RuleError {
    RuleError { line: node.line, fault: RuleFault::Missing(what) }
}

const BUILT_IN: &str = include_str!("rules.yaml");

const CONFIDENCES: Words<Option<Confidence>> = (
    &[
        ("certain", Some(Confidence::Certain)),
        ("likely", Some(Confidence::Likely)),
        ("possible", Some(Confidence::Possible)),
        ("none", None),
    ],
    "certain, likely, possible, none",
);

const READS: Words<Read> = (
    &[
        ("reference", Read::Reference),
        ("parts", Read::Parts(NO_PARTS)),
        ("environment", Read::Environment),
        ("argument", Read::Argument),
        ("declared", Read::Declared),
        ("base64", Read::Base64),
        ("document", Read::Document),
        ("words", Read::Words),
    ],
    "reference, parts, environment, argument, declared, base64, document, words",
);

const NEEDS: Words<Needs> = (
    &[
        ("any", Needs::Any),
        ("path", Needs::Path),
        ("pinned", Needs::Pinned),
        ("tagged", Needs::Tagged),
        ("full", Needs::Full),
    ],
    "any, path, pinned, tagged, full",
);

const PARTS: Words<Part> = (
    &[
        ("registry", Part::Registry),
        ("repository", Part::Repository),
        ("name", Part::Name),
        ("tag", Part::Tag),
        ("digest", Part::Digest),
    ],
    "registry, repository, name, tag, digest",
);

const NO_PARTS: Parts = Parts {
    registry: Vec::new(),
    repository: Vec::new(),
    name: Vec::new(),
    tag: Vec::new(),
    digest: Vec::new(),
    needs: Vec::new(),
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_rules_can_be_read_and_have_names_of_their_own() {
        let rules = Rules::built_in();
        let names: HashSet<&str> = rules.names().collect();
        assert_eq!(names.len(), rules.rules.len());
        assert!(names.contains("container"));
    }

    #[test]
    fn a_rule_that_says_something_unknown_is_refused_with_its_line() {
        for (text, line) in [
            ("rules:\n- name: x\n  confidence: sure\n  fields: [a]\n", 3),
            ("rules:\n- name: x\n  confidence: none\n  field: [a]\n", 4),
            ("rules:\n- name: x\n  confidence: none\n", 2),
            ("rules:\n- name: x\n  confidence: none\n  fields:\n  - a..b\n", 5),
            ("rules:\n- name: x\n  confidence: likely\n  fields: [a]\n  read: parts\n", 2),
            ("rules: {}\n", 1),
            ("{\n", 1),
        ] {
            assert_eq!(Rules::parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
