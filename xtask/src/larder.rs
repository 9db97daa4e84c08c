//! The `larder` program, as a person runs it: a binary, a home, arguments.

use crate::workspace::{Workspace, cargo};
use crate::{node_binary, program};
use anyhow::{Context, Result};
use serde_json::Value;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A binary together with a store.
#[derive(Debug, Clone)]
pub(crate) struct Larder {
    binary: PathBuf,
    home: PathBuf,
}

/// How the binary is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Quick to build; for showing.
    Development,
    /// What users get; for measuring.
    Release,
}

impl Larder {
    /// Builds the binary, and what it sends to nodes beside it.
    pub(crate) fn build(profile: Profile) -> Result<PathBuf> {
        let mut command = cargo();
        command.args(["build", "--workspace", "--bin", "larder", "--bin", "larder-node"]);
        let folder = match profile {
            Profile::Development => "debug",
            Profile::Release => {
                command.arg("--release");
                "release"
            }
        };
        program::run(&mut command)?;
        let larder = Workspace::read()?.target.join(folder).join("larder");
        node_binary::beside(&larder)?;
        Ok(larder)
    }

    /// With the store in `home`.
    pub(crate) fn new(binary: impl Into<PathBuf>, home: impl Into<PathBuf>) -> Self {
        Self { binary: binary.into(), home: home.into() }
    }

    /// The same binary with another store.
    pub(crate) fn at(&self, home: impl Into<PathBuf>) -> Self {
        Self::new(&self.binary, home)
    }

    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    /// `larder ARGUMENTS…`; nothing of the caller's own configuration has a say.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(arguments).env("LARDER_HOME", &self.home).env_remove("OMYKUBE_HOME");
        command
    }

    /// Runs and reads the JSON that `--output json` prints.
    pub(crate) fn json<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Result<Value> {
        let mut command = self.command(arguments);
        let text = program::output(command.args(["--output", "json"]))?;
        serde_json::from_str(&text).with_context(|| format!("{} did not print JSON", program::line(&command)))
    }
}
