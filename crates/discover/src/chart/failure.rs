//! Errors of templates in Helm's words (pkg/engine/engine.go, `cleanupParseError` and `reformatExecErrorMsg`).

use larder_gotemplate::Error;
use std::fmt::Write as _;

/// The line and the message of a template that cannot be parsed.
pub(crate) fn parse(path: &str, error: &Error) -> (Option<u32>, String) {
    let line = if let Error::Parse { line, .. } = error { Some(*line) } else { None };
    let text = error.to_string();
    let tokens: Vec<&str> = text.split(": ").collect();
    let message = match tokens.as_slice() {
        [_, place, .., last] => format!("parse error at ({place}): {last}"),
        _ => format!("parse error in ({path}): {text}"),
    };
    (line, message)
}

/// The line and the message of a template that cannot be executed.
pub(crate) fn execution(error: &Error) -> (Option<u32>, String) {
    let line = if let Error::Execute { place, .. } = error { Some(place.line) } else { None };
    let text = error.to_string();
    (line, refused(&text).or_else(|| chain(&text)).unwrap_or(text))
}

/// What `required` and `fail` said, if it was one of them.
fn refused(text: &str) -> Option<String> {
    let mut tokens = text.splitn(3, ": ");
    let (_, place, rest) = (tokens.next()?, tokens.next()?, tokens.next()?);
    let (_, message) = rest.split_once(START)?;
    let (message, _) = message.rsplit_once(END)?;
    Some(format!("execution error at ({place}): {message}"))
}

/// Each template on the way to the error, on lines of its own. `None` if one of the errors is not one of text/template.
fn chain(text: &str) -> Option<String> {
    let mut lines = String::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let inner = text.strip_prefix("template: ")?;
        if inner.starts_with("no template ") {
            writeln!(lines, "{text}").ok()?;
            break;
        }
        let (place, function, message) = match inner.split_once(": executing \"") {
            Some((place, after)) => {
                let (template, after) = after.split_once('"')?;
                let (expression, message) = after.strip_prefix(" at <")?.split_once(">: ")?;
                (place, Some(format!("executing \"{template}\" at <{expression}>:")), message)
            }
            None => {
                let (place, message) = inner.rsplit_once(": ")?;
                (place, None, message)
            }
        };
        let (message, next) = match message.split_once(" template: ") {
            Some((own, _)) => (own, Some(&message[own.len() + 1..])),
            None => (message, None),
        };
        // An error of a function is wrapped, and is none of text/template; so is what `tpl` says of one that is.
        if let Some(wrapped) = message.strip_prefix("error calling ")
            && (next.is_none() || wrapped.split_once(':').is_none_or(|(_, rest)| !rest.is_empty()))
        {
            return None;
        }
        write!(lines, "{place}\n  ").ok()?;
        if let Some(function) = function {
            write!(lines, "{function}\n    ").ok()?;
        }
        writeln!(lines, "{message}").ok()?;
        rest = next;
    }
    Some(lines.trim().to_owned())
}

const START: &str = "HELM_ERR_START";
const END: &str = "HELM_ERR_END";
