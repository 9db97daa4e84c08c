//! What was found, and where.

use larder_core::Reference;
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// An image that something asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Find {
    /// The image. Where `text` has neither tag nor digest the tag is `latest`, as a runtime takes it.
    pub reference: Reference,
    /// As written, or as put together from pieces.
    pub text: String,
    /// How sure it is that the image is asked for.
    pub confidence: Confidence,
    /// Name of the rule that found it.
    pub rule: Arc<str>,
    /// Where it stands.
    pub place: Place,
}

/// How sure it is that a find is an image that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Looks like an image.
    Possible,
    /// Looks like an image in a place that is meant for one.
    Likely,
    /// Is pulled if the object is used.
    Certain,
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Place {
    /// The file, as it was named to the scanner.
    pub source: Arc<str>,
    /// Line, from 1; 0 where there are none, as in merged values.
    pub line: u32,
    /// Column, from 1. Inside of embedded documents it counts from where those begin.
    pub column: u32,
    /// The object, if the document is one.
    pub object: Option<Arc<ObjectName>>,
    /// Path of the field: `spec.template.spec.containers[0].image`. ` > ` leads into an embedded document.
    pub path: String,
}

/// Which object it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ObjectName {
    /// `apps/v1`
    pub api_version: String,
    /// `Deployment`
    pub kind: String,
    /// `metadata.namespace`
    pub namespace: Option<String>,
    /// `metadata.name`, or `metadata.generateName`
    pub name: Option<String>,
    /// The annotation `helm.sh/hook`: with `test` in it the object is not installed.
    pub hook: Option<String>,
}

impl Find {
    /// Whether neither tag nor digest is written, so that `latest` is what a runtime would pull.
    pub fn is_untagged(&self) -> bool {
        let last = self.text.rsplit('/').next().unwrap_or_default();
        !last.contains([':', '@'])
    }
}

impl Confidence {
    /// Its name, as rules and results write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Possible => "possible",
            Self::Likely => "likely",
            Self::Certain => "certain",
        }
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ObjectName {
    /// The group: `apps`; nothing for the core group.
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _)| group)
    }
}

impl fmt::Display for ObjectName {
    /// `Deployment namespace/name`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        one_line(f, &self.kind)?;
        f.write_str(" ")?;
        if let Some(namespace) = &self.namespace {
            one_line(f, namespace)?;
            f.write_str("/")?;
        }
        one_line(f, self.name.as_deref().unwrap_or("-"))
    }
}

/// A name with a line end in it does not begin a line of its own where it is shown.
fn one_line(f: &mut fmt::Formatter<'_>, name: &str) -> fmt::Result {
    name.chars().try_for_each(|character| match character.is_control() {
        true => write!(f, "{}", character.escape_default()),
        false => f.write_char(character),
    })
}
