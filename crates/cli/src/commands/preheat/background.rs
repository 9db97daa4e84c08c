//! A preheat that goes on when the command returns.

use crate::exit::Exit;
use crate::invocation::{self, Invocation};
use anyhow::{Context as _, Result};
use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Command, Stdio};

/// More is not read of what it says before it begins.
const LIMIT: u64 = 1 << 20;

/// Starts this command again by itself, and returns when that has begun. What it has to say is in a file beside its state.
pub(super) fn run(invocation: &Invocation) -> Result<Exit> {
    let directory = invocation.settings()?.config.home.join("preheat");
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let starting = directory.join(format!(".starting-{}.log", std::process::id()));
    let log = File::create(&starting).with_context(|| format!("cannot create {}", starting.display()))?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut child = Command::new(program)
        .args(arguments(std::env::args_os().skip(1)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("cannot start it in the background")?;
    let mut said = BufReader::new(child.stdout.take().context("its output is piped")?).take(LIMIT);
    let mut line = String::new();
    let read = said.read_line(&mut line);
    let id = line.trim_end();
    let is_id = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    if read.is_ok() && is_id {
        let log = directory.join(format!("{id}.log"));
        std::fs::rename(&starting, &log).with_context(|| format!("cannot rename {}", starting.display()))?;
        invocation.done(&serde_json::json!({ "id": id, "log": log }), || {
            format!("{id} goes on in the background: `larder preheat watch {id}`\n")
        })?;
        return Ok(Exit::Done);
    }
    // It ended before it began: what it said is what this command has to say.
    let _ = said.read_to_string(&mut line);
    let status = child.wait().context("cannot wait for it")?;
    let complaint = std::fs::read_to_string(&starting).unwrap_or_default();
    let _ = std::fs::remove_file(&starting);
    invocation::print(line.as_bytes())?;
    complaint.lines().for_each(|line| invocation.terminal.tell(line));
    Ok(status.code().and_then(Exit::of_code).unwrap_or(Exit::Internal))
}

/// Leaves the terminal: what ends with it does not end this.
pub(super) fn detach() {
    // Whoever leads a group already is not started by `run`, and may stay where it is.
    let _ = rustix::process::setsid();
}

/// The arguments again, for what goes on.
fn arguments(own: impl Iterator<Item = OsString>) -> Vec<OsString> {
    own.map(|word| if word == "--background" { "--detached".into() } else { word }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_word_is_different() {
        let words = |text: &str| text.split(' ').map(OsString::from).collect::<Vec<_>>();
        let own = words("-o json preheat --background --lock a --node all");
        assert_eq!(arguments(own.into_iter()), words("-o json preheat --detached --lock a --node all"));
    }
}
