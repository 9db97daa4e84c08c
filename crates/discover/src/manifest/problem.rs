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
            Self::NoImage => f.write_str("a container without an image"),
            Self::Elsewhere { what } => write!(f, "{what} is asked for here, and was not looked into"),
            Self::ControlPlane { reason } => f.write_str(reason),
            Self::HereDocument { end } => {
                write!(f, "a here-document without its end {end:?}: the rest is not read")
            }
            Self::TooMany { limit } => write!(f, "more than {limit} images; the rest is not listed"),
        }
    }
}
