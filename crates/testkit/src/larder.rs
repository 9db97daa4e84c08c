//! Runs the real `larder` program as a user would, in a world of its own.

use crate::process::{Outcome, Process, Running};
use anyhow::{Context as _, Result, bail};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A temporary home for the program: `HOME`, `LARDER_HOME` (the store, below it) and `TMPDIR`, removed when dropped.
#[derive(Debug)]
pub struct Home {
    directory: tempfile::TempDir,
    larder: PathBuf,
    program: PathBuf,
    env: Vec<(OsString, OsString)>,
}

/// A call of the program, about to run.
#[derive(Debug, Clone)]
pub struct Larder {
    process: Process,
}

impl Home {
    /// An empty home for the program under test. Errors where it was not built: `cargo build -p larder-cli`.
    pub fn new() -> Result<Self> {
        Self::with_program(&program()?)
    }

    /// The same with the store elsewhere, for example on a [`crate::Tmpfs`].
    pub fn with_store_at(store: &Path) -> Result<Self> {
        Ok(Self { larder: store.to_owned(), ..Self::new()? })
    }

    /// An empty home for a program of your own choice.
    pub fn with_program(program: &Path) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("larder-home-").tempdir().context("no temporary directory")?;
        let larder = directory.path().join("larder");
        std::fs::create_dir(directory.path().join("tmp")).context("no tmp")?;
        Ok(Self { directory, larder, program: program.to_owned(), env: Vec::new() })
    }

    /// Sets an environment variable for all calls from here.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.env.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Lets the program find `larder-node`, which lies beside it. Errors where it was not built: `cargo build -p larder-agent`.
    pub fn with_node_binary(self) -> Result<Self> {
        let built = self.program.with_file_name("larder-node");
        if !built.is_file() {
            bail!("no {}; run: cargo build -p larder-agent", built.display());
        }
        let architecture = larder_core::Platform::host().architecture;
        let directory = self.path().join("node-binaries");
        std::fs::create_dir(&directory).context("no directory for larder-node")?;
        std::os::unix::fs::symlink(&built, directory.join(format!("larder-node-{architecture}")))
            .context("cannot link larder-node")?;
        Ok(self.env("LARDER_NODE_BINARIES", directory))
    }

    /// What the program sees as `HOME`.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// What the program sees as `LARDER_HOME`; it need not exist yet.
    pub fn store(&self) -> &Path {
        &self.larder
    }

    /// Writes a file below `HOME`, with its parents, and returns its path.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let path = self.path().join(name);
        let parent = path.parent().context("a name below the home")?;
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
        std::fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// A call with these arguments. Its environment is `HOME`, `LARDER_HOME`, `TMPDIR`, `PATH`, `LC_ALL` and what
    /// [`Home::env`] and [`Larder::env`] add.
    pub fn larder<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Larder {
        let mut process = Process::new(&self.program)
            .env("HOME", self.path())
            .env("LARDER_HOME", &self.larder)
            .env("TMPDIR", self.path().join("tmp"))
            .directory(self.path())
            .args(args);
        for (name, value) in &self.env {
            process = process.env(name, value);
        }
        Larder { process }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// Where it cannot be started or does not end within 300 seconds; every exit status is fine.
    #[track_caller]
    pub fn run<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Outcome {
        self.larder(args).run()
    }
}

impl Larder {
    /// Sets an environment variable.
    #[must_use]
    pub fn env(self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        Self { process: self.process.env(name, value) }
    }

    /// Gives it something to read.
    #[must_use]
    pub fn input(self, input: impl Into<Vec<u8>>) -> Self {
        Self { process: self.process.input(input) }
    }

    /// Sets the working directory; otherwise it is the home.
    #[must_use]
    pub fn directory(self, directory: &Path) -> Self {
        Self { process: self.process.directory(directory) }
    }

    /// How long it may take; 300 seconds otherwise.
    #[must_use]
    pub fn limit(self, limit: Duration) -> Self {
        Self { process: self.process.limit(limit) }
    }

    /// Runs it to its end, as [`Home::run`].
    ///
    /// # Panics
    /// Where it cannot be started or does not end in time.
    #[track_caller]
    pub fn run(self) -> Outcome {
        match self.process.outcome() {
            Ok(outcome) => outcome,
            Err(error) => panic!("{error:#}"),
        }
    }

    /// Starts it; [`Running::kill`] is a SIGKILL.
    pub fn spawn(self) -> Result<Running> {
        self.process.spawn()
    }
}

/// The program under test: where cargo says it is, else beside the test executable's directory.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells tests where programs are by an environment variable"
)]
fn program() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CARGO_BIN_EXE_larder") {
        return Ok(path.into());
    }
    let test = std::env::current_exe().context("cannot find this executable")?;
    // target/debug/deps/test-HASH → target/debug/larder
    for directory in test.ancestors().skip(1).take(2) {
        let path = directory.join("larder");
        if path.is_file() {
            return Ok(path);
        }
    }
    bail!("no larder beside {}; run: cargo build -p larder-cli", test.display())
}
