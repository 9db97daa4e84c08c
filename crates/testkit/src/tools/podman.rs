//! Runs podman with storage of its own.

use super::{find, tool};
use crate::{Outcome, Process};
use anyhow::{Context as _, Result};

/// A podman whose images, configuration and temporary files live in one temporary directory. Needs root.
#[derive(Debug)]
pub struct Podman {
    home: tempfile::TempDir,
}

impl Podman {
    /// Errors where podman is not installed.
    pub fn new() -> Result<Self> {
        super::require(&["podman"])?;
        let home =
            tempfile::Builder::new().prefix("larder-podman-").tempdir().context("no temporary directory")?;
        let write = |name: &str, text: &str| {
            std::fs::write(home.path().join(name), text).with_context(|| format!("no {name}"))
        };
        write("registries.conf", "")?;
        let place = |name: &str| home.path().join(name).display().to_string();
        let (root, runroot) = (place("root"), place("runroot"));
        let storage =
            format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{root}\"\nrunroot = \"{runroot}\"\n");
        write("storage.conf", &storage)?;
        write("containers.conf", "[engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"none\"\n")?;
        std::fs::create_dir_all(home.path().join(".config/containers")).context("no configuration")?;
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        write(".config/containers/policy.json", policy)?;
        std::fs::create_dir(home.path().join("tmp")).context("no tmp")?;
        Ok(Self { home })
    }

    /// A podman command on this storage, ready for a verb and its arguments.
    pub fn command(&self) -> Result<Process> {
        let home = self.home.path();
        let podman = find("podman")?;
        // Its cache of blob locations is always in /var/lib/containers, so it gets a /var/lib of its own.
        Ok(tool("unshare")?
            .args(["--mount", "--propagation", "private", "--", "/bin/sh", "-c", ISOLATE])
            .arg(podman)
            .env("HOME", home)
            .env("XDG_RUNTIME_DIR", home)
            .env("TMPDIR", home.join("tmp"))
            .env("CONTAINERS_CONF", home.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", home.join("storage.conf"))
            .env("CONTAINERS_REGISTRIES_CONF", home.join("registries.conf"))
            .arg("--root")
            .arg(home.join("root"))
            .arg("--runroot")
            .arg(home.join("runroot"))
            .arg("--tmpdir")
            .arg(home.join("libpod"))
            .args(["--storage-driver", "vfs"]))
    }

    /// Runs a verb with its arguments, and insists on success.
    pub fn run(&self, args: &[&str]) -> Result<Outcome> {
        self.command()?.args(args).run()
    }
}

const ISOLATE: &str = r#"mount -t tmpfs none /var/lib && exec "$0" "$@""#;
