//! Runs Docker's engine, and its client.

use super::tool;
use crate::process::{Outcome, Process, Running};
use anyhow::{Context as _, Result, bail};
use rustix::process::Signal;
use std::time::{Duration, Instant};

/// A running `dockerd` without networks, whose images, state and configuration live in one temporary directory. Needs root.
#[derive(Debug)]
pub struct Docker {
    daemon: Option<Running>,
    home: tempfile::TempDir,
}

impl Docker {
    /// Starts it and waits until it answers. Errors have its log.
    pub fn start() -> Result<Self> {
        Self::with(&[])
    }

    /// The same with further arguments for the engine, for example `--registry-mirror`.
    pub fn with(args: &[&str]) -> Result<Self> {
        super::require(&["dockerd", "docker", "containerd"])?;
        // A short path: sockets below it have names of their own.
        let home =
            tempfile::Builder::new().prefix("larder-dockerd-").tempdir().context("no temporary directory")?;
        let path = |name: &str| home.path().join(name);
        std::fs::create_dir(path("tmp")).context("no tmp")?;
        std::fs::write(path("daemon.json"), "{}").context("no daemon.json")?;
        let mut daemon = tool("dockerd")?
            .env("HOME", home.path())
            .env("DOCKER_TMPDIR", path("tmp"))
            .arg("--config-file")
            .arg(path("daemon.json"))
            .arg("--data-root")
            .arg(path("root"))
            .arg("--exec-root")
            .arg(path("exec"))
            .arg("--pidfile")
            .arg(path("pid"))
            .arg("--host")
            .arg(format!("unix://{}", path("sock").display()))
            .args(["--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "vfs"])
            .args(args)
            .limit(Duration::MAX)
            .spawn()?;
        let start = Instant::now();
        while docker(&home)?.arg("version").outcome()?.code() != Some(0) {
            if !daemon.is_running()? || start.elapsed() > READY {
                bail!("dockerd does not answer:\n{}", daemon.stderr());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(Self { daemon: Some(daemon), home })
    }

    /// `docker`, ready for a verb and its arguments.
    pub fn command(&self) -> Result<Process> {
        docker(&self.home)
    }

    /// Runs a verb with its arguments, and insists on success.
    pub fn run(&self, args: &[&str]) -> Result<Outcome> {
        self.command()?.args(args).run()
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        // Told to go, it takes its containerd and its mounts along.
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.signal(Signal::TERM);
            let start = Instant::now();
            while matches!(daemon.is_running(), Ok(true)) && start.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn docker(home: &tempfile::TempDir) -> Result<Process> {
    let host = format!("unix://{}", home.path().join("sock").display());
    Ok(tool("docker")?.env("HOME", home.path()).env("DOCKER_BUILDKIT", "0").args(["--host", &host]))
}

const READY: Duration = Duration::from_secs(60);
