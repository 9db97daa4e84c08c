//! Errors as the user sees them: one line with the whole chain, hints, and an exit code.

use crate::exit::Exit;
use crate::words;
use larder_core::{Classify, Kind};
use std::error::Error;
use std::fmt;

/// A mistake in how the command was called.
#[derive(Debug)]
pub(crate) struct Usage {
    message: String,
    hints: Vec<String>,
}

impl Usage {
    /// Says what is wrong.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hints: Vec::new() }
    }

    /// Says what to do instead.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Usage {}

/// A signal ended the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interrupted {
    /// SIGINT, Ctrl-C.
    ByUser,
    /// SIGTERM.
    ByHost,
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ByUser => "interrupted",
            Self::ByHost => "terminated",
        })
    }
}

impl Error for Interrupted {}

/// What is shown of an error.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Problem {
    /// The whole chain, in one line.
    pub(crate) message: String,
    /// The meaning of the exit code, as a word.
    pub(crate) kind: &'static str,
    /// What the process ends with.
    pub(crate) exit_code: u8,
    /// What to do next, most useful first.
    pub(crate) hints: Vec<String>,
    #[serde(skip)]
    pub(crate) exit: Exit,
}

impl Problem {
    /// Finds the first error in the chain that knows what it means.
    pub(crate) fn of(error: &anyhow::Error) -> Self {
        let mut known = None;
        for cause in error.chain() {
            known = known.or_else(|| meaning(cause));
        }
        let (exit, hints) = known.unwrap_or((Exit::Internal, Vec::new()));
        Self::new(&format!("{error:#}"), exit, hints)
    }

    /// A problem in words.
    pub(crate) fn new(message: &str, exit: Exit, hints: Vec<String>) -> Self {
        Self { message: message.to_owned(), kind: exit.word(), exit_code: exit.code(), hints, exit }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "error: {}", words::plain(self.message.trim_end()))?;
        for hint in &self.hints {
            writeln!(f, "hint: {}", words::plain(hint))?;
        }
        Ok(())
    }
}

fn meaning(cause: &(dyn Error + 'static)) -> Option<(Exit, Vec<String>)> {
    if let Some(error) = cause.downcast_ref::<larder_engine::Error>() {
        let exit = match error {
            // These come from the command line and the configuration, not from an image.
            larder_engine::Error::Config { .. } | larder_engine::Error::Place { .. } => Exit::Usage,
            error => Exit::of(error.kind()),
        };
        return Some((exit, error.hints()));
    }
    if let Some(error) = cause.downcast_ref::<larder_engine::nodes::Error>() {
        return Some((Exit::of(error.kind()), error.hints()));
    }
    if let Some(usage) = cause.downcast_ref::<Usage>() {
        return Some((Exit::Usage, usage.hints.clone()));
    }
    if let Some(interrupted) = cause.downcast_ref::<Interrupted>() {
        let exit = match interrupted {
            Interrupted::ByUser => Exit::Interrupted,
            Interrupted::ByHost => Exit::Terminated,
        };
        let hint = "what has arrived is kept; the same command continues where it stopped";
        return Some((exit, vec![hint.into()]));
    }
    if let Some(error) = cause.downcast_ref::<larder_core::Error>() {
        return Some((Exit::of(error.kind()), error.hints()));
    }
    let error = cause.downcast_ref::<std::io::Error>()?;
    let kind = match error.kind() {
        std::io::ErrorKind::NotFound => Kind::NotFound,
        std::io::ErrorKind::PermissionDenied => Kind::Denied,
        std::io::ErrorKind::AlreadyExists => Kind::Conflict,
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Kind::Unavailable,
        std::io::ErrorKind::InvalidData => Kind::Invalid,
        _ => return None,
    };
    Some((Exit::of(kind), Vec::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn the_chain_is_one_line_and_hints_follow() {
        let error = anyhow::Error::from(Usage::new("there is no key").hint("did you mean jobs?"))
            .context("cannot start");
        let problem = Problem::of(&error);
        assert_eq!(problem.to_string(), "error: cannot start: there is no key\nhint: did you mean jobs?\n");
        assert_eq!(problem.exit, Exit::Usage);
    }

    #[test]
    fn meanings() {
        let io = |kind| Err::<(), _>(std::io::Error::from(kind)).context("cannot read x").unwrap_err();
        assert_eq!(Problem::of(&io(std::io::ErrorKind::NotFound)).exit, Exit::NotFound);
        assert_eq!(Problem::of(&io(std::io::ErrorKind::StorageFull)).exit, Exit::Unavailable);
        assert_eq!(Problem::of(&io(std::io::ErrorKind::Other)).exit, Exit::Internal);
        let config = larder_engine::Error::Config { problem: "x".into() };
        assert_eq!(Problem::of(&config.into()).exit, Exit::Usage);
        let missing = larder_engine::Error::NoImage { reference: "a:1".into(), similar: Vec::new() };
        let problem = Problem::of(&missing.into());
        assert_eq!(
            (problem.exit, problem.hints.as_slice()),
            (Exit::NotFound, &["larder pull a:1".to_owned()][..])
        );
        assert_eq!(Problem::of(&Interrupted::ByUser.into()).exit_code, 130);
    }

    #[test]
    fn what_a_server_says_cannot_drive_the_terminal() {
        let problem =
            Problem::new("registry says \u{1b}]0;owned\u{7}", Exit::Denied, vec!["\u{1b}[2J".into()]);
        assert!(!problem.to_string().contains('\u{1b}'));
    }
}
