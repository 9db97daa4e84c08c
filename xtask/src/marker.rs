//! The parts of a document that are written by a command: what stands between two comment lines.

use anyhow::{Context, Result, bail};
use std::path::Path;

/// Replaces what stands between the lines `<!-- NAME:begin … -->` and `<!-- NAME:end -->`.
pub(crate) fn replace(text: &str, name: &str, body: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- {name}:begin"), format!("<!-- {name}:end -->"));
    let missing = |what: &str| format!("there is no `{what}`");
    let start = text.find(&begin).with_context(|| missing(&begin))?;
    let start = start + text[start..].find("-->").with_context(|| missing("-->"))? + "-->".len();
    let length = text[start..].find(&end).with_context(|| missing(&end))?;
    Ok(format!("{}\n{}\n{}", &text[..start], body.trim_end(), &text[start + length..]))
}

/// What to do with a file that differs from what it should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Write it.
    Write,
    /// Leave it, and say that it differs.
    Check,
}

/// Makes `file` say `wanted`. `Ok(false)`: it differs and [`Mode::Check`] left it so.
pub(crate) fn settle(file: &Path, wanted: &str, mode: Mode) -> Result<bool> {
    let current = std::fs::read_to_string(file).ok();
    if current.as_deref() == Some(wanted) {
        return Ok(true);
    }
    match mode {
        Mode::Check => {
            let current = current.unwrap_or_default();
            let line = current.lines().zip(wanted.lines()).take_while(|(a, b)| a == b).count() + 1;
            println!("{}:{line}: not what `cargo xtask generate` writes", file.display());
            Ok(false)
        }
        Mode::Write => {
            std::fs::write(file, wanted).with_context(|| format!("cannot write {}", file.display()))?;
            println!("wrote {}", file.display());
            Ok(true)
        }
    }
}

/// Replaces one marked part of a file.
pub(crate) fn settle_part(file: &Path, name: &str, body: &str, mode: Mode) -> Result<bool> {
    let Ok(text) = std::fs::read_to_string(file) else {
        bail!(
            "{} is missing; it needs the lines `<!-- begin {name} -->` and `<!-- end {name} -->`",
            file.display()
        );
    };
    let wanted = replace(&text, name, body).with_context(|| file.display().to_string())?;
    settle(file, &wanted, mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_part_changes_and_twice_is_once() {
        let text = "before\n<!-- crates:begin (by a command) -->\nold\n<!-- crates:end -->\nafter\n";
        let once = replace(text, "crates", "new\n").unwrap();
        assert_eq!(once, "before\n<!-- crates:begin (by a command) -->\nnew\n<!-- crates:end -->\nafter\n");
        assert_eq!(replace(&once, "crates", "new").unwrap(), once);
        assert!(replace(text, "other", "").unwrap_err().to_string().contains("<!-- other:begin"));
    }

    #[test]
    fn check_reports_and_does_not_write() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a.md");
        std::fs::write(&file, "one\n").unwrap();
        assert!(!settle(&file, "two\n", Mode::Check).unwrap());
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "one\n");
        assert!(settle(&file, "two\n", Mode::Write).unwrap());
        assert!(settle(&file, "two\n", Mode::Check).unwrap());
    }
}
