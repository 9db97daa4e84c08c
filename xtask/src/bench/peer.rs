//! The tools that are compared: each brought, by its own commands, from an empty store to a usable root file system.

use crate::larder::Larder;
use crate::program;
use anyhow::{Context, Result, bail};
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A tool.
#[derive(Debug, Clone)]
pub(crate) enum Peer {
    Larder {
        binary: PathBuf,
    },
    Containerd {
        daemon: PathBuf,
        client: PathBuf,
        version: String,
    },
    Buildah,
    /// skopeo fetches, umoci unpacks.
    Skopeo,
}

/// A tool at work on one disk. Its mounts go with the disk, its processes with this value.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    peer: &'a Peer,
    /// Everything the tool keeps is below.
    disk: PathBuf,
    /// Sockets and the like; not on the disk.
    run: tempfile::TempDir,
    daemon: Option<Child>,
    /// How often a root file system was asked for.
    round: u32,
}

impl Peer {
    /// containerd as found in `directory`, or as installed.
    pub(crate) fn containerd(directory: Option<&Path>) -> Result<Self> {
        let find = |name: &str| match directory {
            None => program::find(name).with_context(|| format!("{name} is not installed")),
            Some(directory) => ["", "bin", "usr/bin"]
                .map(|folder| directory.join(folder).join(name))
                .into_iter()
                .find(|file| file.is_file())
                .with_context(|| format!("there is no {name} in {}", directory.display())),
        };
        let (daemon, client) = (find("containerd")?, find("ctr")?);
        let version = number(&program::version(&daemon));
        Ok(Self::Containerd { daemon, client, version })
    }

    /// How the report names it.
    pub(crate) fn name(&self) -> String {
        let version = |name: &str| number(&program::version(name));
        match self {
            Self::Larder { .. } => "larder".into(),
            Self::Containerd { version, .. } => format!("containerd {version}"),
            Self::Buildah => format!("buildah {}", version("buildah")),
            Self::Skopeo => format!("skopeo {} + umoci {}", version("skopeo"), version("umoci")),
        }
    }

    /// The programs it runs, so that they can be read into memory before the clock starts.
    pub(crate) fn programs(&self) -> Vec<PathBuf> {
        match self {
            Self::Larder { binary } => vec![binary.clone()],
            Self::Containerd { daemon, client, .. } => vec![daemon.clone(), client.clone()],
            Self::Buildah => program::find("buildah").into_iter().collect(),
            Self::Skopeo => ["skopeo", "umoci"].into_iter().filter_map(program::find).collect(),
        }
    }

    /// Starts on an empty disk; what has a daemon has it running afterwards.
    pub(crate) fn start(&self, disk: &Path) -> Result<Session<'_>> {
        let run = tempfile::Builder::new().prefix("larder-bench").tempdir()?;
        let mut session = Session { peer: self, disk: disk.to_owned(), run, daemon: None, round: 0 };
        if let Self::Containerd { daemon, client, .. } = self {
            session.daemon = Some(session.start_containerd(daemon, client)?);
        }
        if matches!(self, Self::Buildah) {
            std::fs::write(session.run.path().join("policy.json"), ANYTHING_GOES)?;
        }
        Ok(session)
    }
}

impl Session<'_> {
    /// Process ids of what runs all the time.
    pub(crate) fn daemons(&self) -> Vec<u32> {
        self.daemon.iter().map(Child::id).collect()
    }

    /// From the name to a directory in which programs can run. The first time everything is fetched; later times it is
    /// there, and a further root file system is made.
    pub(crate) fn rootfs(&mut self, reference: &str) -> Result<PathBuf> {
        self.round += 1;
        let round = self.round;
        let place = self.disk.join(format!("rootfs{round}"));
        match self.peer {
            Peer::Larder { binary } => {
                let larder = Larder::new(binary, self.disk.join("larder"));
                quiet(larder.command(["mount", "--quiet", reference]).arg(&place))?;
                Ok(place)
            }
            Peer::Containerd { client, .. } => {
                std::fs::create_dir_all(&place)?;
                self.pull(reference)?;
                quiet(self.ctr(client).args(["images", "mount", reference]).arg(&place))?;
                Ok(place)
            }
            Peer::Buildah => {
                let name = format!("rootfs{round}");
                let mut from = self.buildah();
                from.args(["from", "--quiet", "--tls-verify=false"]).args(self.policy());
                quiet(from.args(["--name", &name, reference]))?;
                Ok(program::output(self.buildah().args(["mount", &name]))?.trim().into())
            }
            Peer::Skopeo => {
                self.pull(reference)?;
                let image = format!("{}:image", self.disk.join("oci").display());
                quiet(Command::new("umoci").args(["unpack", "--image", &image]).arg(&place))?;
                Ok(place.join("rootfs"))
            }
        }
    }

    /// Only the fetching part.
    pub(crate) fn pull(&self, reference: &str) -> Result<()> {
        match self.peer {
            Peer::Larder { binary } => quiet(
                &mut Larder::new(binary, self.disk.join("larder")).command(["pull", "--quiet", reference]),
            ),
            Peer::Containerd { client, .. } => {
                let arguments = ["images", "pull", "--plain-http", "--snapshotter", "overlayfs", reference];
                quiet(self.ctr(client).args(arguments))
            }
            Peer::Buildah => {
                let mut pull = self.buildah();
                pull.args(["pull", "--quiet", "--policy", "always", "--tls-verify=false"])
                    .args(self.policy());
                quiet(pull.arg(reference))
            }
            Peer::Skopeo => {
                let target = format!("oci:{}:image", self.disk.join("oci").display());
                let mut copy = Command::new("skopeo");
                copy.args(["--insecure-policy", "copy", "--quiet", "--src-tls-verify=false"]);
                quiet(copy.arg(format!("docker://{reference}")).arg(target))
            }
        }
    }

    fn ctr(&self, client: &Path) -> Command {
        let mut command = Command::new(client);
        command.arg("--address").arg(self.run.path().join("containerd.sock"));
        command
    }

    fn buildah(&self) -> Command {
        let mut command = Command::new("buildah");
        command.args(["--storage-driver", "overlay", "--root"]).arg(self.disk.join("buildah"));
        command.arg("--runroot").arg(self.run.path().join("buildah"));
        // No short names and mirrors from the machine's own configuration.
        command.env("CONTAINERS_REGISTRIES_CONF", "/dev/null").env("BUILDAH_ISOLATION", "chroot");
        command
    }

    /// A policy of our own, since a machine need not have one.
    fn policy(&self) -> [OsString; 2] {
        ["--signature-policy".into(), self.run.path().join("policy.json").into()]
    }

    fn start_containerd(&self, daemon: &Path, client: &Path) -> Result<Child> {
        let run = self.run.path();
        let config = format!(
            "version = 2\nroot = \"{}\"\nstate = \"{}\"\n{UNUSED_PLUGINS}\n[grpc]\naddress = \"{}\"\n",
            self.disk.join("containerd").display(),
            run.join("state").display(),
            run.join("containerd.sock").display(),
        );
        std::fs::write(run.join("config.toml"), config)?;
        let log = File::create(run.join("containerd.log"))?;
        let mut command = Command::new(daemon);
        command.arg("--config").arg(run.join("config.toml")).stdin(Stdio::null());
        let child =
            command.stdout(log.try_clone()?).stderr(log).spawn().context("cannot start containerd")?;
        let patience = Instant::now() + Duration::from_secs(30);
        while program::output(self.ctr(client).arg("version")).is_err() {
            if Instant::now() > patience {
                let log = std::fs::read_to_string(run.join("containerd.log")).unwrap_or_default();
                bail!("containerd does not answer; it says\n{log}");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(child)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if let Some(daemon) = &mut self.daemon {
            // What it leaves behind on the disk is thrown away with the disk.
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

fn quiet(command: &mut Command) -> Result<()> {
    program::output(command).map(drop)
}

/// The first word that looks like a version number.
fn number(text: &str) -> String {
    let word = text
        .split_whitespace()
        .map(|word| word.trim_start_matches('v'))
        .find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    word.unwrap_or("of unknown version")
        .trim_end_matches(',')
        .split(['~', '+'])
        .next()
        .unwrap_or_default()
        .into()
}

const ANYTHING_GOES: &str = r#"{"default":[{"type":"insecureAcceptAnything"}]}"#;
/// What has no part in pulling: the Kubernetes interface takes a second to start.
const UNUSED_PLUGINS: &str = "disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.cri.v1.images\", \
     \"io.containerd.cri.v1.runtime\", \"io.containerd.nri.v1.nri\", \"io.containerd.internal.v1.opt\"]";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        assert_eq!(
            number("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3"),
            "1.6.20"
        );
        assert_eq!(number("buildah version 1.28.2 (image-spec 1.1.0-rc2, runtime-spec 1.0.2-dev)"), "1.28.2");
        assert_eq!(number("umoci version 0.4.7+ds-3+b7"), "0.4.7");
        assert_eq!(number("ctr v2.1.9"), "2.1.9");
    }
}
