//! Runs kustomize, which this release of Debian does not have: `cargo xtask test` unpacks it below `target/`.

use crate::Process;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

/// The program of kustomize.
#[derive(Debug, Clone)]
pub struct Kustomize {
    program: PathBuf,
}

impl Kustomize {
    /// Errors where it is not installed; the message says how to.
    pub fn installed() -> Result<Self> {
        let own = std::env::current_exe().context("cannot find this executable")?;
        // cargo marks the directory it builds in.
        let target = own.ancestors().find(|directory| directory.join("CACHEDIR.TAG").is_file());
        let target = target.with_context(|| format!("{} was not built by cargo", own.display()))?;
        let program = target.join("kustomize/bin/kustomize");
        if !program.is_file() {
            bail!("kustomize is not at {}; `cargo xtask test` gets it from Debian", program.display());
        }
        Ok(Self { program })
    }

    /// `kustomize build`, with charts rendered by `helm` if that is given.
    pub fn build(&self, directory: &Path, helm: Option<&Path>) -> Process {
        let process = Process::new(&self.program).env("HOME", "/nonexistent").arg("build");
        let process = match helm {
            Some(helm) => process.args(["--enable-helm", "--helm-command"]).arg(helm),
            None => process,
        };
        process.arg(directory)
    }
}
