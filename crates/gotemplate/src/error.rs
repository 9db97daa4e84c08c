//! What can go wrong with templates.

use crate::Fault;

/// Why templates could not be read or run. The texts are Go's, word for word, so that what people find about them on the web helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not a template: `template: NAME:LINE: MESSAGE`.
    #[error("template: {name}:{line}: {message}")]
    Parse {
        /// Of the template that is read, as it was given.
        name: String,
        /// 1-based.
        line: u32,
        /// Go's words.
        message: String,
    },
    /// A template could not be executed: `template: NAME:LINE:COLUMN: executing "TEMPLATE" at <EXPRESSION>: MESSAGE`.
    #[error("template: {place}: {message}")]
    Execute {
        /// Where it was.
        place: Place,
        /// Go's words; after `error calling include: ` comes the error of the inner template.
        message: String,
        /// Whether a limit of the run was reached.
        limit: bool,
    },
    /// There is no template of that name.
    #[error("template: no template {} associated with template \"gotpl\"", crate::quote::quote(name.as_bytes()))]
    Unknown {
        /// The one that was asked for.
        name: String,
    },
}

/// A place in a template, as Go's errors show it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name}:{line}:{column}: executing {} at <{expression}>", crate::quote::quote(template.as_bytes()))]
pub struct Place {
    /// The name under which the text was parsed: its file.
    pub name: String,
    /// 1-based.
    pub line: u32,
    /// 0-based, in bytes, as Go has it.
    pub column: u32,
    /// The template that was executed: the file, or what `define` called it.
    pub template: String,
    /// The expression that failed, as Go prints it.
    pub expression: String,
}

impl Error {
    /// Whether a limit was reached, which no tolerance passes over.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::Execute { limit: true, .. })
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self { limit: error.is_limit(), message: error.to_string() }
    }
}
