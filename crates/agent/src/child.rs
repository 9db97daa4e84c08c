//! A program that runs on behalf of a session and ends with it.

use crate::error::{Error, Result};
use rustix::process::{Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal};
use std::ffi::{OsStr, OsString};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// A running program in a process group of its own. Dropping it before its end ends the whole group.
#[derive(Debug)]
pub(crate) struct Child {
    process: std::process::Child,
    program: String,
    status: Option<ExitStatus>,
}

impl Child {
    /// Starts `argv` by way of this program itself ([`become_child`]).
    pub(crate) fn start(
        prefix: &[OsString],
        argv: &[String],
        env: &[(String, String)],
        stdin: bool,
    ) -> Result<Self> {
        let Some(program) = argv.first().cloned() else {
            return Err(Error::Unexpected { what: "no arguments", expected: "a program" });
        };
        let path = env.iter().find(|(name, _)| name == "PATH").map_or(PATH, |(_, value)| value);
        if !is_there(&program, path) {
            return Err(Error::NoProgram { program });
        }
        let mut command = Command::new("/proc/self/exe");
        command
            .args(prefix)
            .arg("child")
            .arg(std::process::id().to_string())
            .args(argv)
            .env("PATH", PATH)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .process_group(0)
            .stdin(if stdin { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        match command.spawn() {
            Ok(process) => Ok(Self { process, program, status: None }),
            Err(source) => Err(Error::Start { program, source }),
        }
    }

    /// The pipes; each once.
    pub(crate) fn process(&mut self) -> &mut std::process::Child {
        &mut self.process
    }

    /// How it ended, if it did.
    pub(crate) fn poll(&mut self) -> Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.process.try_wait().map_err(|source| self.failed("wait for", source))?;
        }
        Ok(self.status)
    }

    /// Ends the group.
    pub(crate) fn kill(&mut self) {
        // Not after it was waited for: the number may be somebody else's by then.
        if self.status.is_none() {
            let pid = i32::try_from(self.process.id()).ok().and_then(Pid::from_raw);
            let _ = pid.map(|pid| kill_process_group(pid, Signal::KILL));
            // Before it became a group of its own.
            let _ = self.process.kill();
        }
    }

    pub(crate) fn failed(&self, operation: &'static str, source: std::io::Error) -> Error {
        Error::Child { operation, program: self.program.clone(), source }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.status.is_none() {
            self.kill();
            // A process in the middle of a system call that cannot be interrupted is left to the init process.
            let start = Instant::now();
            while matches!(self.process.try_wait(), Ok(None)) && start.elapsed() < Duration::from_secs(1) {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }
}

/// Makes this process one that ends with its parent, and turns it into the program. Returns only if that fails.
pub(crate) fn become_child(parent: &str, argv: &[OsString]) -> Result<()> {
    let program = argv.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|source| Error::Start { program: program.clone(), source: source.into() })?;
    // It may have ended before the line above.
    if getppid().map(|pid| pid.as_raw_nonzero().to_string()).as_deref() != Some(parent) {
        return Err(Error::Closed);
    }
    let Some((first, rest)) = argv.split_first() else { return Err(Error::NoProgram { program }) };
    let source = Command::new(first).args(rest).exec();
    Err(Error::Start { program, source })
}

/// Looks for a program as the system does.
fn is_there(program: &str, path: &str) -> bool {
    let runs = |file: &Path| {
        file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        return runs(Path::new(program));
    }
    !program.is_empty() && std::env::split_paths(OsStr::new(path)).any(|folder| runs(&folder.join(program)))
}

/// Where programs of nodes are, also for sessions that are not logins: k3s and RKE2 bring their own.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin:/opt/bin:/var/lib/rancher/rke2/bin";
