//! Runs buildah with storage of its own: images as people build them.

use super::{find, tool};
use crate::{Family, Outcome, Process};
use anyhow::{Context as _, Result};
use std::path::Path;

/// A buildah whose images, configuration and temporary files live in one temporary directory. Needs root.
#[derive(Debug)]
pub struct Buildah {
    home: tempfile::TempDir,
}

/// Builds `containerfile` in the directory `context` and writes the image as `tag` into the OCI layout `layout` (made if need
/// be). One layer per instruction. `FROM scratch` needs no network; neither does anything that is in the storage already.
pub fn buildah_image(layout: &Path, tag: &str, containerfile: &str, context: &Path) -> Result<()> {
    let buildah = Buildah::new()?;
    buildah.build("localhost/built:latest", containerfile, context, Family::Oci)?;
    buildah.push("localhost/built:latest", &format!("oci:{}:{tag}", layout.display()))
}

impl Buildah {
    /// Errors where buildah is not installed.
    pub fn new() -> Result<Self> {
        super::require(&["buildah"])?;
        let home =
            tempfile::Builder::new().prefix("larder-buildah-").tempdir().context("no temporary directory")?;
        let write = |name: &str, text: &str| {
            std::fs::write(home.path().join(name), text).with_context(|| format!("no {name}"))
        };
        write("registries.conf", "")?;
        write("storage.conf", "[storage]\ndriver = \"vfs\"\n")?;
        write("containers.conf", "")?;
        write("policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#)?;
        std::fs::create_dir(home.path().join("tmp")).context("no tmp")?;
        Ok(Self { home })
    }

    /// A buildah command on this storage, ready for a verb and its arguments.
    pub fn command(&self) -> Result<Process> {
        let home = self.home.path();
        let buildah = find("buildah")?;
        // Its cache of blob locations is always in /var/lib/containers, so it gets a /var/lib of its own.
        Ok(tool("unshare")?
            .args(["--mount", "--propagation", "private", "--", "/bin/sh", "-c", ISOLATE])
            .arg(buildah)
            .env("HOME", home)
            .env("XDG_RUNTIME_DIR", home)
            .env("TMPDIR", home.join("tmp"))
            .env("CONTAINERS_CONF", home.join("containers.conf"))
            .env("CONTAINERS_STORAGE_CONF", home.join("storage.conf"))
            .env("BUILDAH_ISOLATION", "chroot")
            .arg("--registries-conf")
            .arg(home.join("registries.conf"))
            .arg("--root")
            .arg(home.join("root"))
            .arg("--runroot")
            .arg(home.join("runroot"))
            .args(["--storage-driver", "vfs"]))
    }

    /// Builds `containerfile` with `context` as its directory, one layer per instruction.
    pub fn build(&self, name: &str, containerfile: &str, context: &Path, family: Family) -> Result<Outcome> {
        let file = self.home.path().join("Containerfile");
        std::fs::write(&file, containerfile).context("no Containerfile")?;
        let format = if family == Family::Docker { "docker" } else { "oci" };
        self.command()?
            .args(["build", "--layers", "--isolation", "chroot", "--format", format])
            .arg("--signature-policy")
            .arg(self.home.path().join("policy.json"))
            .args(["--tag", name])
            .arg("--file")
            .arg(&file)
            .arg(context)
            .run()
    }

    /// Pushes a built image to a transport (`oci:DIR:TAG`, `docker://HOST/NAME:TAG`, `docker-archive:FILE`).
    pub fn push(&self, name: &str, destination: &str) -> Result<()> {
        self.command()?
            .args(["push", "--quiet", "--tls-verify=false", "--signature-policy"])
            .arg(self.home.path().join("policy.json"))
            .args([name, destination])
            .run()?;
        Ok(())
    }
}

const ISOLATE: &str = r#"mount -t tmpfs none /var/lib && exec "$0" "$@""#;
