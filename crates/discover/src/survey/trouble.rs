//! What stands in the way of a complete answer.

use crate::Error;
use crate::chart::{Diagnostic, Remedy, Severity};
use crate::manifest::{Problem, Reason};
use larder_core::{Classify as _, Kind, report};
use std::fmt;

/// Something that could not be read, or is doubtful.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// With an error the answer is not complete. A warning is for people.
    pub severity: Severity,
    /// The file, with a line where one is known.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hints: Vec<String>,
    /// What kind of trouble it is.
    pub kind: Kind,
}

impl Trouble {
    /// The answer is not complete.
    pub fn error(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            place: place.into(),
            message: message.into(),
            hints: Vec::new(),
            kind: Kind::Invalid,
        }
    }

    /// The answer is complete as far as anybody can tell.
    pub fn warning(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(place, message) }
    }

    /// Says what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Says what kind of trouble it is, where it is not that something is wrong with the input.
    #[must_use]
    pub fn kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    /// Whether images may be missing because of it.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    pub(super) fn of(place: impl Into<String>, error: &Error) -> Self {
        Self { hints: error.hints(), kind: error.kind(), ..Self::error(place, shortened(report(error))) }
    }
}

impl From<&Problem> for Trouble {
    fn from(problem: &Problem) -> Self {
        let place = &problem.place;
        let mut at = place.source.to_string();
        if place.line > 0 {
            at = format!("{at}:{}", place.line);
        }
        if let Some(object) = &place.object {
            at = format!("{at}: {object}");
        }
        if !place.path.is_empty() {
            at = format!("{at}, {}", place.path);
        }
        let message = shortened(problem.reason.to_string());
        match problem.reason {
            // Nobody can know before it runs; the charts that do this work all the same.
            Reason::RunTime { .. } => Self::warning(at, message)
                .hint("if it is needed, find out what the program makes of it, and list that image yourself"),
            Reason::Template => Self::error(at, message).hint(UNRENDERED),
            Reason::Variable { ref text } if text.contains("{{") => Self::error(at, message).hint(UNRENDERED),
            Reason::Variable { .. } => Self::error(at, message)
                .hint("put the value in before, for example with `envsubst`, and read the result from -"),
            Reason::Argument { .. } => {
                Self::error(at, message).hint("give it a value with --build-arg NAME=VALUE")
            }
            Reason::NoImage => Self::error(at, message).hint(
                "Kubernetes refuses it; if a chart makes it, give the value its image comes from with --values or --set",
            ),
            Reason::Elsewhere { ref what } => Self::error(at, message).hint(what.hint()),
            Reason::ControlPlane { .. } => {
                Self::error(at, message).hint("`kubeadm config images list --config FILE` lists them")
            }
            Reason::NoObject => Self::error(at, message).hint(UNKNOWN),
            Reason::Misplaced { what } => Self::error(at, message).hint(what.hint()),
            Reason::Document(_)
            | Reason::Reference { .. }
            | Reason::HereDocument { .. }
            | Reason::NoBase
            | Reason::Instruction { .. }
            | Reason::TooMany { .. } => Self::error(at, message),
        }
    }
}

const UNKNOWN: &str =
    "a Dockerfile is known by its name, and by FROM or ARG at its beginning; a packaged chart by .tgz";
const UNRENDERED: &str = "a template of a chart: name the directory with Chart.yaml, so that it is rendered";

impl From<&Diagnostic> for Trouble {
    fn from(diagnostic: &Diagnostic) -> Self {
        let place = match diagnostic.line {
            Some(line) => format!("{}:{line}", diagnostic.place),
            None => diagnostic.place.clone(),
        };
        let hint = match (diagnostic.severity, diagnostic.remedy) {
            (Severity::Warning, _) | (_, Remedy::Chart) => None,
            (_, Remedy::Values) => Some("give the values that the chart asks for with --values or --set"),
            (_, Remedy::KubeVersion) => Some("say which version the cluster has with --kube-version"),
        };
        Self {
            severity: diagnostic.severity,
            place,
            message: shortened(diagnostic.message.clone()),
            hints: hint.into_iter().map(str::to_owned).collect(),
            kind: Kind::Invalid,
        }
    }
}

/// Texts of others can be as long as a file.
fn shortened(mut message: String) -> String {
    if let Some((end, _)) = message.char_indices().nth(LONGEST) {
        message.truncate(end);
        message.push('…');
    }
    message
}

/// Characters of a message.
const LONGEST: usize = 1_000;

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
