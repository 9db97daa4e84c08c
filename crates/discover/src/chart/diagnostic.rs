//! What a rendering has to say beside its result.

use std::fmt;

/// Something that is wrong with a chart, or was passed over, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as `# Source:` names it: `app/templates/deployment.yaml`; or the chart, where no file is to blame.
    pub place: String,
    /// The line of that file, from 1, where it is known.
    pub line: Option<u32>,
    /// What is wrong, in Helm's words where Helm has some.
    pub message: String,
    /// What mends it.
    pub remedy: Remedy,
}

/// What mends what a [`Diagnostic`] says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Other values.
    Values,
    /// Another version of Kubernetes.
    KubeVersion,
    /// A change to the chart.
    Chart,
}

/// How bad a [`Diagnostic`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// Helm goes on as well; most such things Helm only logs.
    Warning,
    /// Helm ends here; the result lacks what is named.
    Error,
}

impl Diagnostic {
    pub(crate) fn warning(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Warning,
            place: place.into(),
            line: None,
            message: message.into(),
            remedy: Remedy::Chart,
        }
    }

    pub(crate) fn error(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, ..Self::warning(place, message) }
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.place, self.message),
            None => write!(f, "{}: {}", self.place, self.message),
        }
    }
}
