//! What can go wrong with templates.

use crate::Fault;
use crate::helm::flow::{WARNING_END, WARNING_START};

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
    /// The error as Helm tells it: without Go's prefix, one piece of the chain per line, and of `required` and `fail` only the place
    /// and the message (`pkg/engine`, `cleanupParseError` and `reformatExecErrorMsg`).
    pub fn helm(&self) -> String {
        let text = self.to_string();
        match self {
            Self::Parse { name, line, .. } => {
                let message = text.rsplit(": ").next().unwrap_or_default();
                format!("parse error at ({name}:{line}): {message}")
            }
            Self::Execute { place, message, .. } => {
                let location = format!("{}:{}:{}", place.name, place.line, place.column);
                match warning(message) {
                    Some(warning) => format!("execution error at ({location}): {warning}"),
                    None => chain(&text).unwrap_or(text),
                }
            }
            Self::Unknown { .. } => text,
        }
    }

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

/// What `required` or `fail` said, if one of them is the cause.
fn warning(message: &str) -> Option<&str> {
    let start = message.find(WARNING_START)? + WARNING_START.len();
    let end = message.rfind(WARNING_END)?;
    message.get(start..end)
}

/// The chain of errors, each as place, expression and message; nothing if one of them is not an error of templates.
fn chain(text: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let inner = text.strip_prefix("template: ")?;
        rest = None;
        if inner.starts_with("no template ") {
            out.push_str(&format!("{text}\n"));
        } else if let Some((location, executing)) = inner.split_once(": executing \"") {
            let (function, at) = executing.split_once('"')?;
            let (expression, message) = at.strip_prefix(" at <")?.split_once(">: ")?;
            let shown = message.split(" template:").next().unwrap_or_default();
            let function = format!("executing \"{function}\" at <{expression}>:");
            out.push_str(&format!("{location}\n  {function}\n    {shown}\n"));
            let cause = message.strip_prefix("error calling ").and_then(|call| call.split_once(": "));
            rest = cause.map(|(_, cause)| cause);
        } else {
            let (location, message) = inner.rsplit_once(": ")?;
            let shown = message.split(" template:").next().unwrap_or_default();
            out.push_str(&format!("{location}\n  {shown}\n"));
        }
    }
    Some(out.trim().to_owned())
}
