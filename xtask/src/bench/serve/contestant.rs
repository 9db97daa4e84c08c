//! The servers that are measured, as processes of their own: larder, Debian's docker-registry, and the ceiling.

use crate::larder::Larder;
use crate::program;
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running server; killed when dropped.
#[derive(Debug)]
pub(super) struct Contestant {
    child: Child,
    pub(super) address: SocketAddr,
}

impl Contestant {
    /// `larder serve`, as users start it, but without a log of requests; the audit log is written. `upstream`: a registry to
    /// stand in front of, `HOST:PORT`.
    pub(super) fn larder(larder: &Larder, upstream: Option<SocketAddr>) -> Result<Self> {
        let mut command = larder.command(["serve", "--listen", "127.0.0.1:0", "--log", "none"]);
        if let Some(upstream) = upstream {
            command.arg("--upstream").arg(format!("{upstream}=http://{upstream}"));
        }
        Self::announced(&mut command)
    }

    /// docker-registry at its fastest: no access log, errors only, descriptors cached in memory. `upstream`: the registry to
    /// be a mirror of.
    pub(super) fn registry(directory: &Path, upstream: Option<SocketAddr>) -> Result<Self> {
        std::fs::create_dir_all(directory)?;
        // The port is free now and will be in a moment; nobody else starts servers here.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        let mut configuration = serde_json::json!({
            "version": 0.1,
            "log": { "level": "error", "accesslog": { "disabled": true } },
            "storage": {
                "filesystem": { "rootdirectory": directory.join("storage") },
                "cache": { "blobdescriptor": "inmemory" },
                "maintenance": { "uploadpurging": { "enabled": false } },
            },
            "http": { "addr": address.to_string(), "secret": "of no importance" },
        });
        if let Some(upstream) = upstream {
            configuration["proxy"] = serde_json::json!({ "remoteurl": format!("http://{upstream}") });
        }
        let file = directory.join("config.json");
        std::fs::write(&file, configuration.to_string())?;
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&file).env("OTEL_TRACES_EXPORTER", "none").stdin(Stdio::null());
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", program::line(&command)))?;
        let start = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = child.try_wait()? {
                bail!("{}: {status}", program::line(&command));
            }
            ensure!(start.elapsed() < READY, "docker-registry does not answer");
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(Self { child, address })
    }

    /// `sendfile` and nothing else, over the same files as larder's.
    pub(super) fn floor(blobs: &Path) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe().context("cannot find my own program file")?);
        command.args(["bench", "serve-floor", "--optimized", "--inside", "--directory"]).arg(blobs);
        Self::announced(&mut command)
    }

    /// Starts something that says where it listens.
    fn announced(command: &mut Command) -> Result<Self> {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program::line(command)))?;
        let mut line = String::new();
        let output = child.stdout.take().context("no standard output")?;
        BufReader::new(output).read_line(&mut line)?;
        let digits = line.rsplit(':').next().unwrap_or_default();
        let port = digits.trim_end_matches(|c: char| !c.is_ascii_digit()).parse();
        let port: u16 = port.with_context(|| format!("{} said {line:?}", program::line(command)))?;
        Ok(Self { child, address: (Ipv4Addr::LOCALHOST, port).into() })
    }

    /// User and system time so far.
    pub(super) fn cpu_seconds(&self) -> Result<f64> {
        super::super::usage::cpu(self.child.id()).map(|time| time.as_secs_f64())
    }

    /// The most memory that was resident at a time.
    pub(super) fn peak_bytes(&self) -> Result<u64> {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(&path).with_context(|| path.clone())?;
        let kib = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        Ok(kib.and_then(|kib| kib.trim().parse::<u64>().ok()).with_context(|| path)? * 1024)
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        // It may have ended by itself, which the measurement has noticed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const READY: Duration = Duration::from_secs(30);
