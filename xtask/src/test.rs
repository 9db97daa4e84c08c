//! `test`: everything that must hold before a change lands, in one command that also the build machine runs.

use crate::packages;
use crate::program;
use crate::stage::Stages;
use crate::suite;
use crate::workspace::{Workspace, cargo, root};
use crate::{generate, helm, layers, node_binary};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::process::{Command, Stdio};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only the tests whose name contains this; the stages before the tests are left out.
    filter: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    packages::require(packages::FOR_TESTS)?;
    let target = Workspace::read()?.target;
    suite::kustomize(&target)?;
    helm::require(&target)?;
    let runner = Runner::choose();
    let mut closing = Vec::new();
    let mut stages = Stages::default();
    if arguments.filter.is_none() {
        stages.run("format", || program::run(cargo().args(["fmt", "--all", "--check"])));
        stages.run("layers", layers::run);
        stages.run("clippy", || {
            let arguments = ["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"];
            program::run(cargo().args(arguments))
        });
        if program::find("cargo-deny").is_some() {
            let arguments = ["deny", "--log-level", "error", "check", "bans", "licenses", "sources"];
            stages.run("deny", || program::run(cargo().args(arguments)));
        }
    }
    // One build for everything that follows: the tests, and the binary that the generated files are checked against.
    stages.run("build", || program::run(&mut runner.build()));
    stages.run("node binary", || node_binary::beside(&target.join("debug/larder")));
    if arguments.filter.is_none() {
        stages.run("generate", || {
            let larder = Workspace::read()?.target.join("debug/larder");
            generate::check_with(&larder)
        });
    }
    stages.run("tests", || {
        let mut command = runner.test();
        command.args(&arguments.filter);
        watched(&mut command, |line| {
            if is_closing(line) {
                closing.push(line.to_owned());
            }
        })
    });
    if arguments.filter.is_none() {
        stages.run("doc tests", || program::run(cargo().args(["test", "--workspace", "--doc", "--quiet"])));
    }
    println!("── {} ──\n{}", runner.name(), verdict(&closing));
    stages.finish()
}

/// What runs the tests.
#[derive(Debug, Clone, Copy)]
enum Runner {
    /// Each test in a process of its own: faster, and one that hangs or aborts does not take others along.
    Nextest,
    Cargo,
}

impl Runner {
    fn choose() -> Self {
        if program::find("cargo-nextest").is_some() { Self::Nextest } else { Self::Cargo }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Nextest => "cargo nextest",
            Self::Cargo => "cargo test",
        }
    }

    fn build(self) -> Command {
        let mut command = self.test();
        command.args(["--no-run", "--quiet"]);
        if matches!(self, Self::Nextest) {
            command = cargo();
            command.args(["nextest", "run", "--workspace", "--no-run", "--cargo-quiet"]);
        }
        command
    }

    fn test(self) -> Command {
        let mut command = cargo();
        let color = if std::io::stdout().is_terminal() { "always" } else { "never" };
        match self {
            Self::Nextest => {
                command.args(["nextest", "run", "--workspace", "--no-fail-fast", "--color", color])
            }
            Self::Cargo => command.args([
                "test",
                "--workspace",
                "--lib",
                "--bins",
                "--tests",
                "--no-fail-fast",
                "--color",
                color,
            ]),
        };
        command
    }
}

/// Runs a command, passing its lines on as they come and showing each to `look`.
fn watched(command: &mut Command, mut look: impl FnMut(&str)) -> Result<()> {
    command.current_dir(root()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot start {}", program::line(command)))?;
    let (lines, received) = std::sync::mpsc::channel();
    let out = child.stdout.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    let err = child.stderr.take().map(|pipe| Box::new(pipe) as Box<dyn Read + Send>);
    std::thread::scope(|scope| -> Result<()> {
        for pipe in [out, err].into_iter().flatten() {
            let lines = lines.clone();
            scope.spawn(move || {
                let mut pipe = BufReader::new(pipe);
                let mut line = Vec::new();
                while matches!(pipe.read_until(b'\n', &mut line), Ok(1..)) {
                    if lines.send(std::mem::take(&mut line)).is_err() {
                        break;
                    }
                }
            });
        }
        drop(lines);
        let mut terminal = std::io::stdout().lock();
        for line in received {
            terminal.write_all(&line)?;
            look(String::from_utf8_lossy(&line).trim_end());
        }
        terminal.flush()?;
        Ok(())
    })?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{}: {status}", program::line(command));
    }
    Ok(())
}

/// A line in which the runner says how many tests ran.
fn is_closing(line: &str) -> bool {
    let plain = without_color(line);
    plain.trim_start().starts_with("Summary [") || plain.starts_with("test result: ")
}

/// The closing lines once more, at the very end, where they are looked for. cargo test prints one for each test program;
/// they are added up.
fn verdict(closing: &[String]) -> String {
    match closing {
        [] => "no test ran".into(),
        [line] => line.trim().into(),
        many => {
            let (mut passed, mut failed) = (0, 0);
            for line in many {
                passed += count(line, "passed");
                failed += count(line, "failed");
            }
            let word = if failed == 0 { "ok" } else { "FAILED" };
            format!("test result: {word}. {passed} passed; {failed} failed; in {} test programs", many.len())
        }
    }
}

/// The number in front of `word`.
fn count(line: &str, word: &str) -> u64 {
    let plain = without_color(line);
    let before = plain.split(word).next().filter(|before| before.len() < plain.len());
    before.and_then(|before| before.split_whitespace().next_back()?.parse().ok()).unwrap_or(0)
}

fn without_color(line: &str) -> String {
    let mut plain = String::new();
    let mut inside = false;
    for c in line.chars() {
        match c {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            _ if inside => {}
            _ => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closing_lines_are_known_with_and_without_color() {
        let nextest =
            "\u{1b}[32;1m     Summary\u{1b}[0m [   0.052s] \u{1b}[1m12\u{1b}[0m tests run: 12 passed";
        assert!(is_closing(nextest));
        assert!(is_closing("test result: ok. 3 passed; 0 failed; 0 ignored; finished in 0.00s"));
        assert!(!is_closing("test store::gc ... ok"));
        assert!(verdict(&[nextest.into()]).contains("tests run"));
    }

    #[test]
    fn results_of_several_programs_are_added_up() {
        let lines = [
            "test result: ok. 3 passed; 0 failed; 0 ignored".to_owned(),
            "test result: FAILED. 4 passed; 2 failed; 0 ignored".to_owned(),
        ];
        assert_eq!(verdict(&lines), "test result: FAILED. 7 passed; 2 failed; in 2 test programs");
    }

    #[test]
    fn lines_of_both_pipes_are_seen_and_a_failure_is_one() {
        let mut seen = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 7"]);
        let error = watched(&mut command, |line| seen.push(line.to_owned())).unwrap_err();
        seen.sort();
        assert_eq!(seen, ["err", "out"]);
        assert!(error.to_string().contains('7'), "{error}");
    }
}
