//! Runs containerd, and its client `ctr`.

use super::tool;
use crate::process::{Outcome, Process, Running};
use anyhow::{Context as _, Result, bail};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A running containerd whose content, state and configuration live in one temporary directory. Needs root.
#[derive(Debug)]
pub struct Containerd {
    // Declared, thus dropped, before the directory it writes to.
    _daemon: Running,
    home: tempfile::TempDir,
}

impl Containerd {
    /// Starts it and waits until it answers. Errors have its log.
    pub fn start() -> Result<Self> {
        super::require(&["containerd", "ctr"])?;
        let home = tempfile::Builder::new()
            .prefix("larder-containerd-")
            .tempdir()
            .context("no temporary directory")?;
        let path = |name: &str| home.path().join(name);
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n{UNUSED}\n[grpc]\naddress = \"{}\"\n[ttrpc]\naddress = \"{}\"\n",
            path("root").display(),
            path("state").display(),
            path("sock").display(),
            path("ttrpc").display(),
        );
        std::fs::write(path("config.toml"), config).context("no config.toml")?;
        std::fs::create_dir(path("tmp")).context("no tmp")?;
        let mut daemon = tool("containerd")?
            .env("TMPDIR", path("tmp"))
            .arg("--config")
            .arg(path("config.toml"))
            .limit(Duration::MAX)
            .spawn()?;
        let start = Instant::now();
        while ctr(&home)?.arg("version").outcome()?.code() != Some(0) {
            if !daemon.is_running()? || start.elapsed() > READY {
                bail!("containerd does not answer:\n{}", daemon.stderr());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self { _daemon: daemon, home })
    }

    /// `ctr`, ready for arguments.
    pub fn ctr(&self) -> Result<Process> {
        ctr(&self.home)
    }

    /// Says in a `hosts.toml` where `registry` is to be had; returns the directory for `--hosts-dir`.
    pub fn hosts(&self, registry: &str, toml: &str) -> Result<PathBuf> {
        let hosts = self.home.path().join("hosts");
        let directory = hosts.join(registry);
        std::fs::create_dir_all(&directory).context("no directory for hosts.toml")?;
        std::fs::write(directory.join("hosts.toml"), toml).context("no hosts.toml")?;
        Ok(hosts)
    }

    /// The digests of all content it has, sorted.
    pub fn content(&self) -> Result<Vec<String>> {
        let listed = self.ctr()?.args(["content", "list", "--quiet"]).run()?;
        let mut digests: Vec<String> = listed.text().lines().map(str::to_owned).collect();
        digests.sort();
        Ok(digests)
    }

    /// One piece of content.
    pub fn read(&self, digest: &str) -> Result<Outcome> {
        self.ctr()?.args(["content", "get", digest]).run()
    }
}

fn ctr(home: &tempfile::TempDir) -> Result<Process> {
    let sock = home.path().join("sock");
    Ok(tool("ctr")?
        .env("HOME", home.path())
        .env("TMPDIR", home.path().join("tmp"))
        .arg("--address")
        .arg(sock))
}

const READY: Duration = Duration::from_secs(60);
/// What has no part in pulling; the Kubernetes interface takes a second to start.
const UNUSED: &str = "disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]";
