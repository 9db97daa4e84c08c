//! Runs the programs that kubeconfigs name for credentials.

use larder_remote::Plugin;
use rustix::process::{Pid, Signal, kill_process_group};
use std::io::{ErrorKind, Read};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

/// What a program prints, or why it does not. No shell is involved; it gets the environment of this process with what the
/// kubeconfig adds, no input, and `limit`, after which it is ended with all that it has started.
pub(crate) fn run(plugin: &Plugin, limit: Duration) -> Result<Vec<u8>, String> {
    let mut command = Command::new(&plugin.command);
    command.args(&plugin.arguments).envs(plugin.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
    let mut child = command.spawn().map_err(|error| match error.kind() {
        ErrorKind::NotFound => "it is not installed".to_owned(),
        _ => format!("it cannot be started: {error}"),
    })?;
    let answer = collected(child.stdout.take(), ANSWER_BYTES);
    let words = collected(child.stderr.take(), WORD_BYTES);
    let end = Instant::now() + limit;
    let left = || end.saturating_duration_since(Instant::now());
    // Its output ends before it does, unless it has left somebody behind that holds it open.
    let answer = answer.recv_timeout(left()).ok();
    while left() > Duration::ZERO {
        match child.try_wait() {
            Ok(None) => thread::sleep(Duration::from_millis(5)),
            _ => break,
        }
    }
    let status = child.try_wait().map_err(|error| format!("it cannot be waited for: {error}"))?;
    let (Some(status), Some(answer)) = (status, answer) else {
        end_all(&mut child);
        return Err(format!("it has not answered within {} s", limit.as_secs_f32()));
    };
    if !status.success() {
        let words = words.recv_timeout(Duration::from_secs(1)).unwrap_or_default();
        let words = String::from_utf8_lossy(&words);
        let last: Vec<&str> = words.lines().rev().filter(|line| !line.trim().is_empty()).take(3).collect();
        let last: Vec<&str> = last.into_iter().rev().map(str::trim).collect();
        return Err(match last.is_empty() {
            true => format!("it ended with {status}"),
            false => format!("it ended with {status}: {}", last.join("; ")),
        });
    }
    if answer.len() as u64 > ANSWER_BYTES {
        return Err(format!("it prints more than {ANSWER_BYTES} bytes"));
    }
    Ok(answer)
}

/// What can be read from a pipe, one byte over the limit at most.
fn collected(pipe: Option<impl Read + Send + 'static>, limit: u64) -> Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What was read before an error is what there is.
            let _ = pipe.by_ref().take(limit + 1).read_to_end(&mut bytes);
            let _ = sender.send(bytes);
            // Whoever writes more is not to wait for a reader.
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
        }
    });
    receiver
}

fn end_all(child: &mut Child) {
    if let Ok(id) = i32::try_from(child.id())
        && let Some(group) = Pid::from_raw(id)
    {
        let _ = kill_process_group(group, Signal::KILL);
    }
    let _ = child.wait();
}

const ANSWER_BYTES: u64 = 1 << 20;
const WORD_BYTES: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use larder_remote::Kubeconfig;
    use std::cell::RefCell;
    use std::os::unix::fs::PermissionsExt as _;

    /// Runs a script as the program of a kubeconfig.
    fn outcome(script: &str, limit: Duration) -> Result<Vec<u8>, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("program");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("it can be written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        let file = "{current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: {server: 'https://c'}}],
            users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: ./program, args: ['a b', '$(x)'], env: [{name: WORD, value: w}]}}}]}";
        let kept = RefCell::new(None);
        let _ = kubeconfig(file, &directory).access(None, &|plugin| {
            *kept.borrow_mut() = Some(run(plugin, limit));
            Err(String::new())
        });
        kept.take().expect("it is run")
    }

    fn kubeconfig(text: &str, directory: &tempfile::TempDir) -> Kubeconfig {
        let path = directory.path().join("kubeconfig");
        std::fs::write(&path, text).expect("it can be written");
        Kubeconfig::read(&[path]).expect("it is one")
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn arguments_and_variables_reach_it_as_they_are() {
        let answer = outcome(r#"printf '%s|%s|%s|%s' "$1" "$2" "$WORD" "$KUBERNETES_EXEC_INFO""#, LONG);
        let answer = String::from_utf8(answer.expect("it answers")).expect("it is text");
        assert!(answer.starts_with("a b|$(x)|w|{"), "{answer}");
    }

    #[test]
    fn what_it_says_when_it_fails_is_told() {
        let error =
            outcome("echo one >&2; echo; echo 'log in first' >&2; exit 3", LONG).expect_err("it fails");
        assert!(error.contains("exit status: 3: one; log in first"), "{error}");
    }

    #[test]
    fn one_that_does_not_end_is_ended_with_its_children() {
        let start = Instant::now();
        for script in ["sleep 60", "sleep 60 & echo '{}'", "yes"] {
            let error = outcome(script, Duration::from_millis(300)).expect_err("it does not answer");
            assert!(error.contains("not answered") || error.contains("more than"), "{script}: {error}");
        }
        assert!(start.elapsed() < LONG);
    }

    #[test]
    fn one_that_is_not_there_is_said_to_be_missing() {
        let file = "{current-context: c, contexts: [{name: c, context: {cluster: c, user: u}}], clusters: [{name: c, cluster: {server: 'https://c'}}],
            users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: no-such-program, installHint: get it}}}]}";
        let read = kubeconfig(file, &tempfile::tempdir().expect("a directory"));
        let fault = read.access(None, &|plugin| run(plugin, LONG)).expect_err("it is not there").to_string();
        assert!(fault.contains("not installed; the kubeconfig says: get it"), "{fault}");
    }
}
