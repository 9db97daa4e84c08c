//! What could not be read.

use super::{Elsewhere, Place};
use larder_gotemplate::yaml;
use std::fmt;

/// Something that may ask for images and could not be read. Nothing is passed over without one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// Why.
    pub reason: Reason,
}

/// Why something could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The document is not YAML, or exceeds a limit.
    Document(yaml::Error),
    /// The document is a template that was not rendered.
    Template,
    /// The name of an image has a variable in it, which somebody else fills in: `${TAG}`.
    Variable {
        /// As written.
        text: String,
    },
    /// An argument of a build is in the name of an image and has no value.
    Argument {
        /// As written.
        text: String,
    },
    /// A document inside of a document is a template, which a program fills in at run time: what image it makes is not known here.
    RunTime {
        /// As written.
        text: String,
    },
    /// Where an image must stand there is something that is none.
    Reference {
        /// As written.
        text: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Not an object, as manifests are, but a text or a number: perhaps no manifest at all.
    NoObject,
    /// An object that is read elsewhere than among manifests.
    Misplaced {
        /// What it is.
        what: Misplaced,
    },
    /// A container without an image, where Kubernetes wants one.
    NoImage,
    /// An object makes the cluster ask for something that is not written in it and was not looked into.
    Elsewhere {
        /// What it is.
        what: Elsewhere,
    },
    /// The images of a control plane are not known.
    ControlPlane {
        /// Why.
        reason: String,
    },
    /// A Dockerfile without `FROM`.
    NoBase,
    /// What Dockerfiles do not have, beginning with this word.
    Instruction {
        /// The word.
        name: String,
    },
    /// A here-document in a Dockerfile that does not end.
    HereDocument {
        /// The line that would end it.
        end: String,
    },
    /// More finds than the limit in one source.
    TooMany {
        /// The limit.
        limit: usize,
    },
}

/// Something that is read only from a place of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misplaced {
    /// What `kustomization.yaml` has.
    Kustomization,
    /// A description of a cluster, or what has its API group.
    Cluster,
}

impl Misplaced {
    /// Where it is read.
    pub fn hint(self) -> &'static str {
        match self {
            Self::Kustomization => "call the file kustomization.yaml, and name its directory",
            Self::Cluster => {
                "name a file that begins with it and has nothing else in it: `larder discover FILE`"
            }
        }
    }
}

impl Reason {
    /// Why `text` is no reference.
    pub(crate) fn reference(text: &str, error: larder_core::Error) -> Self {
        let reason = match error {
            larder_core::Error::Reference { reason, .. } => reason.to_owned(),
            other => other.to_string(),
        };
        Self::Reference { text: text.to_owned(), reason }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Document(error) => write!(f, "not a readable document: {}", error.reason()),
            Self::Template => f.write_str("a template that is not rendered"),
            Self::Variable { text } => write!(f, "the image {text:?} has a variable in it"),
            Self::Argument { text } => write!(f, "the image {text:?} has an argument without a value in it"),
            Self::RunTime { text } => write!(f, "the image {text:?} is put together at run time"),
            Self::Reference { text, reason } => write!(f, "{text:?} is not an image: {reason}"),
            Self::NoObject => f.write_str("no object: it is a text, a number or the like, and no manifest"),
            Self::Misplaced { what: Misplaced::Kustomization } => {
                f.write_str("a kustomization among manifests is not built")
            }
            Self::Misplaced { what: Misplaced::Cluster } => {
                f.write_str("larder.dev has descriptions of clusters only (kind Cluster), and they are not read among manifests")
            }
            Self::NoImage => f.write_str("a container without an image"),
            Self::Elsewhere { what } => write!(f, "{what} is asked for here, and was not looked into"),
            Self::ControlPlane { reason } => f.write_str(reason),
            Self::NoBase => f.write_str("there is no FROM in it"),
            Self::Instruction { name } => write!(f, "Dockerfiles have no instruction {name:?}"),
            Self::HereDocument { end } => {
                write!(f, "a here-document without its end {end:?}: the rest is not read")
            }
            Self::TooMany { limit } => write!(f, "more than {limit} images; the rest is not listed"),
        }
    }
}
