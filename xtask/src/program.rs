//! Running other programs: found by name, and every failure says which command line failed and what it wrote.

use anyhow::{Context, Result, bail};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Where a program is, looked for in `PATH` and in the administrator's directories that a user's `PATH` leaves out.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "finding programs is what PATH is for")]
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(name))
        .find(|file| file.is_file())
}

/// True when this process is root.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Runs to the end with this process's own input and output.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", line(command)))?;
    if !status.success() {
        bail!("{}: {status}", line(command));
    }
    Ok(())
}

/// Runs to the end without showing anything; returns what it wrote to standard output. On failure the error carries the
/// end of what it wrote to standard error.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {}", line(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let mut last: Vec<&str> = said.lines().rev().filter(|line| !line.trim().is_empty()).take(8).collect();
        last.reverse();
        bail!("{}: {}\n{}", line(command), output.status, last.join("\n"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command line as a person would type it.
pub(crate) fn line(command: &Command) -> String {
    std::iter::once(command.get_program()).chain(command.get_args()).map(quote).collect::<Vec<_>>().join(" ")
}

/// The first line a program prints about its version, or why there is none.
pub(crate) fn version(program: impl AsRef<OsStr>) -> String {
    let text = output(Command::new(program).arg("--version")).unwrap_or_else(|_| "unknown".into());
    text.lines().next().unwrap_or("unknown").trim().to_owned()
}

fn quote(word: &OsStr) -> String {
    let word = word.to_string_lossy();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_names_the_command_and_what_it_said() {
        let error = output(Command::new("sh").args(["-c", "echo one; echo broken pipe-line >&2; exit 3"]))
            .unwrap_err();
        let text = format!("{error:#}");
        assert!(text.contains("sh -c 'echo one;") && text.contains("broken pipe-line"), "{text}");
        assert!(text.contains('3'), "{text}");
    }

    #[test]
    fn programs_are_found_by_name_and_absent_ones_are_none() {
        assert!(find("sh").is_some());
        assert_eq!(find("no-such-program-anywhere"), None);
    }
}
