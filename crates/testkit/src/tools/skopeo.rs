//! Runs skopeo with a policy, registries file and home of its own.

use super::tool;
use crate::{Family, Outcome, Process};
use anyhow::{Context as _, Result};
use larder_core::Compression;
use std::path::Path;

/// A skopeo that knows nothing of this machine's configuration.
#[derive(Debug)]
pub struct Skopeo {
    home: tempfile::TempDir,
}

/// Options of a copy; the default copies what is there, over http or unverified TLS.
#[derive(Debug, Clone, Default)]
pub struct SkopeoCopy {
    /// Every platform of an index, not only this machine's.
    pub all: bool,
    /// The family of manifest to write.
    pub family: Option<Family>,
    /// Recompress layers.
    pub compression: Option<Compression>,
    /// Fail where a digest would change.
    pub preserve_digests: bool,
    /// `user:password` for the source.
    pub source_credentials: Option<String>,
    /// `user:password` for the destination.
    pub destination_credentials: Option<String>,
    /// Further arguments.
    pub extra: Vec<String>,
}

impl Skopeo {
    /// Errors where skopeo is not installed.
    pub fn new() -> Result<Self> {
        super::require(&["skopeo"])?;
        let home =
            tempfile::Builder::new().prefix("larder-skopeo-").tempdir().context("no temporary directory")?;
        std::fs::create_dir(home.path().join("registries.d")).context("no registries.d")?;
        std::fs::write(home.path().join("registries.conf"), "").context("no registries.conf")?;
        let policy = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
        std::fs::write(home.path().join("policy.json"), policy).context("no policy.json")?;
        Ok(Self { home })
    }

    /// A skopeo command with the global flags set, ready for a verb and its arguments.
    pub fn command(&self) -> Result<Process> {
        let home = self.home.path();
        Ok(tool("skopeo")?
            .env("HOME", home)
            .env("XDG_RUNTIME_DIR", home)
            .env("TMPDIR", home)
            .env("XDG_DATA_HOME", home)
            // As an ordinary user it keeps its cache of blob locations at home, not in /var/lib/containers.
            .env("_CONTAINERS_ROOTLESS_UID", "65534")
            .arg("--registries-conf")
            .arg(home.join("registries.conf"))
            .arg("--policy")
            .arg(home.join("policy.json"))
            .arg("--registries.d")
            .arg(home.join("registries.d")))
    }

    /// `skopeo copy` between two transports (`docker://…`, `oci:DIR:TAG`, `dir:DIR`, `docker-archive:FILE`).
    ///
    /// [`Compression::None`] towards an OCI layout takes the way through a directory, the only way skopeo has.
    pub fn copy(&self, source: &str, destination: &str, options: &SkopeoCopy) -> Result<Outcome> {
        if options.compression == Some(Compression::None) && !destination.starts_with("dir:") {
            let middle = tempfile::tempdir_in(self.home.path()).context("no temporary directory")?;
            let middle = format!("dir:{}", middle.path().join("plain").display());
            let first = SkopeoCopy { destination_credentials: None, family: None, ..options.clone() };
            self.copy_once(source, &middle, &first)?;
            let mut second = SkopeoCopy { source_credentials: None, compression: None, ..options.clone() };
            if destination.starts_with("oci") {
                second.extra.push("--dest-oci-accept-uncompressed-layers".into());
            }
            return self.copy_once(&middle, destination, &second);
        }
        self.copy_once(source, destination, options)
    }

    fn copy_once(&self, source: &str, destination: &str, options: &SkopeoCopy) -> Result<Outcome> {
        let mut command = self.command()?.args(["copy", "--quiet", "--retry-times", "0"]);
        if source.starts_with("docker://") {
            command = command.arg("--src-tls-verify=false");
        }
        if destination.starts_with("docker://") {
            command = command.arg("--dest-tls-verify=false");
        }
        if options.all {
            command = command.arg("--all");
        }
        if options.preserve_digests {
            command = command.arg("--preserve-digests");
        }
        match options.family {
            Some(Family::Oci) => command = command.args(["--format", "oci"]),
            Some(Family::Docker) => command = command.args(["--format", "v2s2"]),
            None => {}
        }
        match options.compression {
            Some(Compression::None) => command = command.arg("--dest-decompress"),
            Some(other) => command = command.args(["--dest-compress-format", other.as_str()]),
            None => {}
        }
        if let Some(credentials) = &options.source_credentials {
            command = command.args(["--src-creds", credentials]);
        }
        if let Some(credentials) = &options.destination_credentials {
            command = command.args(["--dest-creds", credentials]);
        }
        command.args(&options.extra).args([source, destination]).run()
    }

    /// `skopeo inspect` as JSON.
    pub fn inspect(&self, image: &str) -> Result<serde_json::Value> {
        self.inspect_with(image, &[])?.json()
    }

    /// `skopeo inspect --raw`: the bytes of the manifest or index.
    pub fn raw_manifest(&self, image: &str) -> Result<Vec<u8>> {
        Ok(self.inspect_with(image, &["--raw"])?.stdout)
    }

    /// `skopeo inspect --config --raw`: the bytes of the image configuration.
    pub fn raw_config(&self, image: &str) -> Result<Vec<u8>> {
        Ok(self.inspect_with(image, &["--config", "--raw"])?.stdout)
    }

    fn inspect_with(&self, image: &str, flags: &[&str]) -> Result<Outcome> {
        let mut command = self.command()?.arg("inspect").args(flags);
        if image.starts_with("docker://") {
            command = command.arg("--tls-verify=false");
        }
        command.arg(image).run()
    }

    /// Where this skopeo keeps its files; gone when it is dropped.
    pub fn home(&self) -> &Path {
        self.home.path()
    }
}
