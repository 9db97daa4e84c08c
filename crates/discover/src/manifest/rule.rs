//! One rule: what it is about, and how its field is read.

use super::Confidence;
use super::pattern::{FieldPattern, Glob, Step};
use super::rules::{RuleError, RuleFault};
use super::shape::Needs;
use larder_gotemplate::yaml::{Node, NodeKind};
use std::sync::Arc;

#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) name: Arc<str>,
    /// `None`: there is no image.
    pub(super) confidence: Option<Confidence>,
    kinds: Vec<Kind>,
    pub(super) fields: Vec<FieldPattern>,
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
    Required,
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
    /// Whether registry and tag may stand in a map around the one with the rest.
    pub(super) inherit: bool,
    /// Whether a repository without a path is none: a name with a dot in it that is only a host.
    pub(super) path: bool,
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
pub(super) struct Kind {
    group: Option<Glob>,
    kind: Glob,
}

impl Rule {
    pub(super) fn parts(&self) -> Option<&Parts> {
        match &self.read {
            Read::Parts(parts) => Some(parts),
            _ => None,
        }
    }

    /// Whether it is about this kind of object.
    pub(super) fn is_about_kind(&self, group: &str, kind: &str) -> bool {
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

    pub(super) fn parse(node: &Node) -> Result<Self, RuleError> {
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
    pub(super) fn rarest(&self) -> &[String] {
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
                "path" => parts.path = word(value, "path", TRUTHS)?,
                "inherit" => parts.inherit = word(value, "inherit", TRUTHS)?,
                other => return Err(RuleError { line: key.line, fault: RuleFault::Key(other.to_owned()) }),
            }
        }
        Ok(parts)
    }
}

impl Kind {
    pub(super) fn new(text: &str) -> Self {
        match text.rsplit_once('/') {
            Some((group, kind)) => Self { group: Some(Glob::new(group)), kind: Glob::new(kind) },
            None => Self { group: None, kind: Glob::new(text) },
        }
    }

    pub(super) fn matches(&self, group: &str, kind: &str) -> bool {
        self.kind.matches(kind) && self.group.as_ref().is_none_or(|glob| glob.matches(group))
    }
}

pub(super) fn text<'a>(node: &'a Node, what: &'static str) -> Result<&'a str, RuleError> {
    match &node.kind {
        NodeKind::Scalar(scalar) => Ok(&scalar.text),
        _ => Err(shape(node, what, "a text")),
    }
}

pub(super) fn texts(node: &Node, what: &'static str) -> Result<Vec<(String, u32)>, RuleError> {
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

pub(super) fn shape(node: &Node, what: &'static str, shape: &'static str) -> RuleError {
    RuleError { line: node.line, fault: RuleFault::Shape { what, shape } }
}

pub(super) fn missing(node: &Node, what: &'static str) -> RuleError {
    RuleError { line: node.line, fault: RuleFault::Missing(what) }
}

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
        ("required", Read::Required),
    ],
    "reference, parts, environment, argument, declared, base64, document, words, required",
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

const TRUTHS: Words<bool> = (&[("true", true), ("false", false)], "true, false");

const NO_PARTS: Parts = Parts {
    registry: Vec::new(),
    repository: Vec::new(),
    name: Vec::new(),
    tag: Vec::new(),
    digest: Vec::new(),
    needs: Vec::new(),
    inherit: false,
    path: false,
};
