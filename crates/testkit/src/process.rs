//! Child processes that never outlive the tests, never hang them, and whose words are never lost.

use crate::tools;
use anyhow::{Context as _, Result, bail};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};

/// A program about to run: with the environment given here and nothing else, killed when the test process dies.
#[derive(Debug, Clone)]
pub struct Process {
    program: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    directory: Option<PathBuf>,
    input: Vec<u8>,
    limit: Duration,
}

/// What a finished program left behind.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The command line, for messages.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Everything it wrote to standard output.
    pub stdout: Vec<u8>,
    /// Everything it wrote to standard error.
    pub stderr: Vec<u8>,
    /// From start to end.
    pub elapsed: Duration,
}

/// A program that runs. Dropping it kills it and everything in its process group.
#[derive(Debug)]
pub struct Running {
    command: String,
    child: Child,
    // Files, not pipes: a grandchild that keeps them open cannot make anybody wait, and a full pipe cannot stop the child.
    output: tempfile::TempDir,
    start: Instant,
    limit: Duration,
}

impl Process {
    /// Runs the program at `program`; see [`crate::tools::find`] for installed tools.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self {
            program: program.into(),
            args: Vec::new(),
            env: vec![("PATH".into(), tools::PATH.into()), ("LC_ALL".into(), "C.UTF-8".into())],
            directory: None,
            input: Vec::new(),
            limit: Duration::from_secs(300),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Sets an environment variable. At first there are only `PATH` (the system's directories) and `LC_ALL`.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.retain(|(have, _)| have != name.as_ref());
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Sets the working directory.
    #[must_use]
    pub fn directory(mut self, directory: &Path) -> Self {
        self.directory = Some(directory.to_owned());
        self
    }

    /// Gives it something to read; otherwise standard input is empty.
    #[must_use]
    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Self {
        self.input = input.into();
        self
    }

    /// How long it may take; 300 seconds otherwise. Then it is killed.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Runs it to its end, whatever the exit status. Errors: it cannot be started, or does not end in time (the message
    /// has what it said so far).
    pub fn outcome(&self) -> Result<Outcome> {
        self.spawn()?.wait()
    }

    /// Runs it and insists on exit status 0; the error has both outputs.
    pub fn run(&self) -> Result<Outcome> {
        let outcome = self.outcome()?;
        if !outcome.status.success() {
            bail!("{}", outcome.describe());
        }
        Ok(outcome)
    }

    /// Starts it and returns at once.
    pub fn spawn(&self) -> Result<Running> {
        let output =
            tempfile::Builder::new().prefix("larder-run-").tempdir().context("no temporary directory")?;
        let file = |name: &str| File::create(output.path().join(name)).context("no file for the output");
        let mut line = self.program.display().to_string();
        for arg in &self.args {
            line.push(' ');
            line.push_str(&arg.to_string_lossy());
        }
        let stdin = if self.input.is_empty() {
            Stdio::null()
        } else {
            let mut input = tempfile::tempfile().context("no file for the input")?;
            input.write_all(&self.input).context("cannot write the input")?;
            std::io::Seek::rewind(&mut input).context("cannot rewind the input")?;
            input.into()
        };
        let setpriv = tools::find("setpriv")?;
        let mut command = Command::new(&setpriv);
        command
            .args(["--pdeathsig", "KILL", "--"])
            .arg(&self.program)
            .args(&self.args)
            .env_clear()
            .envs(self.env.iter().map(|(name, value)| (name, value)))
            .stdin(stdin)
            .stdout(file("stdout")?)
            .stderr(file("stderr")?)
            .process_group(0);
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let start = Instant::now();
        let mut child = start_from_lasting_thread(command).with_context(|| format!("cannot start {line}"))?;
        wait_until_bound(&mut child, &setpriv);
        Ok(Running { command: line, child, output, start, limit: self.limit })
    }
}

impl Running {
    /// Its process id. A SIGKILL sent there hits the program itself, there is no wrapper between.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&self.read("stdout")).into_owned()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.read("stderr")).into_owned()
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("cannot ask for the child")?.is_none())
    }

    /// SIGKILL to the program and its children: no handler runs, nothing is flushed. Returns what it left.
    pub fn kill(mut self) -> Result<Outcome> {
        self.kill_group();
        self.finish()
    }

    /// Sends a signal to the program alone.
    pub fn signal(&mut self, signal: rustix::process::Signal) -> Result<()> {
        // The child is not reaped as long as `self.child` was not waited for, so the number still means it.
        if self.is_running()? {
            rustix::process::kill_process(self.pid(), signal).context("cannot send a signal")?;
        }
        Ok(())
    }

    /// Waits for its end. Over the limit it is killed, and that is an error.
    pub fn wait(mut self) -> Result<Outcome> {
        let mut pause = Duration::from_micros(500);
        while self.is_running()? {
            if self.start.elapsed() > self.limit {
                self.kill_group();
                let outcome = self.finish()?;
                bail!("killed after {:?}: {}", outcome.elapsed, outcome.describe());
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(20));
        }
        self.finish()
    }

    fn finish(&mut self) -> Result<Outcome> {
        let status = self.child.wait().context("cannot wait for the child")?;
        Ok(Outcome {
            command: self.command.clone(),
            status,
            stdout: self.read("stdout"),
            stderr: self.read("stderr"),
            elapsed: self.start.elapsed(),
        })
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.output.path().join(name)).unwrap_or_default()
    }

    fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub(crate) fn kill_in_place(&mut self) {
        self.kill_group();
        let _ = self.child.wait();
    }

    fn kill_group(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ = rustix::process::kill_process_group(self.pid(), rustix::process::Signal::KILL);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill_in_place();
    }
}

impl Outcome {
    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn error_text(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The exit code; `None` where a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The signal that ended it.
    pub fn signal(&self) -> Option<i32> {
        self.status.signal()
    }

    /// Standard output as JSON.
    pub fn json(&self) -> Result<serde_json::Value> {
        serde_json::from_slice(&self.stdout).with_context(|| format!("not JSON: {}", self.describe()))
    }

    /// Insists on exit code 0.
    ///
    /// # Panics
    /// With the command line and both outputs otherwise.
    #[track_caller]
    pub fn success(&self) -> &Self {
        assert!(self.status.success(), "{}", self.describe());
        self
    }

    /// Insists on this exit code.
    ///
    /// # Panics
    /// With the command line and both outputs otherwise.
    #[track_caller]
    pub fn fails_with(&self, code: i32) -> &Self {
        assert_eq!(self.code(), Some(code), "{}", self.describe());
        self
    }

    /// Command line, status and both outputs, for messages.
    pub fn describe(&self) -> String {
        format!(
            "{}\n{} after {:?}\n--- stdout\n{}--- stderr\n{}---",
            self.command,
            self.status,
            self.elapsed,
            tail(&self.text()),
            tail(&self.error_text())
        )
    }
}

/// The end of a long text, on lines of its own.
fn tail(text: &str) -> String {
    const LIMIT: usize = 16 << 10;
    let mut at = text.len().saturating_sub(LIMIT);
    while !text.is_char_boundary(at) {
        at += 1;
    }
    let newline = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    format!("{}{newline}", &text[at..])
}

type Order = (Command, mpsc::Sender<std::io::Result<Child>>);

/// The parent-death signal is sent when the *thread* that started the child ends (prctl(2), PR_SET_PDEATHSIG), and every
/// test is a thread. So one thread that lives as long as the process starts all children.
fn start_from_lasting_thread(command: Command) -> Result<Child> {
    static STARTER: OnceLock<mpsc::Sender<Order>> = OnceLock::new();
    let starter = STARTER.get_or_init(|| {
        let (sender, orders) = mpsc::channel::<Order>();
        std::thread::spawn(move || {
            for (mut command, answer) in orders {
                let _ = answer.send(command.spawn());
            }
        });
        sender
    });
    let (answer, started) = mpsc::channel();
    starter.send((command, answer)).context("the thread that starts children is gone")?;
    Ok(started.recv().context("the thread that starts children is gone")??)
}

/// Waits until setpriv has become the program, and so has bound it to this process. Before that, the death of this process
/// would go unnoticed.
fn wait_until_bound(child: &mut Child, setpriv: &Path) {
    let setpriv = setpriv.canonicalize();
    let entry = format!("/proc/{}/exe", child.id());
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(5) {
        let is_bound = match (std::fs::read_link(&entry), &setpriv) {
            (Ok(exe), Ok(setpriv)) => exe != *setpriv,
            _ => true,
        };
        if is_bound || !matches!(child.try_wait(), Ok(None)) {
            return;
        }
        std::thread::sleep(Duration::from_micros(100));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Process {
        Process::new("/bin/sh").args(["-c", script])
    }

    #[test]
    fn captures_everything() -> Result<()> {
        let outcome = shell("cat; echo err >&2; exit 3").input("in").outcome()?;
        assert_eq!((outcome.text().as_str(), outcome.error_text().as_str()), ("in", "err\n"));
        outcome.fails_with(3);
        let error = shell("echo why >&2; exit 1").run().unwrap_err().to_string();
        assert!(error.contains("why") && error.contains("exit 1"), "{error}");
        Ok(())
    }

    #[test]
    fn environment_is_only_what_was_given() -> Result<()> {
        let outcome = Process::new("/usr/bin/env").env("A", "1").env("A", "2").run()?;
        let names: Vec<String> =
            outcome.text().lines().map(|line| line.split('=').next().unwrap().to_owned()).collect();
        assert_eq!(names, ["A", "LC_ALL", "PATH"]);
        assert!(outcome.text().contains("A=2"));
        Ok(())
    }

    #[test]
    fn kills_what_takes_too_long_with_its_children() -> Result<()> {
        let start = Instant::now();
        let error =
            shell("echo said; sleep 600 & sleep 600").limit(Duration::from_millis(200)).run().unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(20));
        assert!(error.to_string().contains("said"), "{error}");
        Ok(())
    }

    #[test]
    fn children_outlive_the_thread_but_not_the_handle() -> Result<()> {
        let mut running = std::thread::spawn(|| shell("sleep 600").spawn()).join().expect("spawned")?;
        std::thread::sleep(Duration::from_millis(100));
        assert!(running.is_running()?);
        let proc_entry = PathBuf::from(format!("/proc/{}", running.id()));
        drop(running);
        assert!(!proc_entry.exists());
        Ok(())
    }

    #[test]
    fn kill_is_a_sigkill_of_the_program_itself() -> Result<()> {
        let running = shell("trap 'echo caught' TERM; echo ready; exec sleep 600").spawn()?;
        crate::eventually("ready", Duration::from_secs(10), || {
            running.stdout().contains("ready").then_some(())
        });
        let outcome = running.kill()?;
        assert_eq!(outcome.signal(), Some(9));
        assert_eq!(outcome.text(), "ready\n");
        Ok(())
    }
}
