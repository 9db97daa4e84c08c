//! The container tools of the distribution: which package has them, and how to run them without a trace on the machine.

mod buildah;
mod containerd;
mod docker;
mod helm;
mod kustomize;
mod podman;
mod skopeo;
mod umoci;

pub use buildah::{Buildah, buildah_image};
pub use containerd::Containerd;
pub use docker::Docker;
pub use helm::{Helm, HelmAnswer, HelmLibrary, HelmRequest};
pub use kustomize::Kustomize;
pub use podman::Podman;
pub use skopeo::{Skopeo, SkopeoCopy};
pub use umoci::{Change, Umoci, umoci_image};

use crate::Process;
use anyhow::{Context as _, Result, bail};
use std::path::{Path, PathBuf};

/// Where installed programs are looked for, and the `PATH` children get.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Errors unless every program is installed; the message is the command that installs what is missing.
///
/// ```no_run
/// larder_testkit::tools::require(&["skopeo", "umoci"])?;
/// # anyhow::Ok(())
/// ```
pub fn require(programs: &[&str]) -> Result<()> {
    let missing: Vec<&str> = programs.iter().copied().filter(|program| locate(program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut packages: Vec<&str> = missing.iter().map(|program| package(program)).collect();
    packages.sort_unstable();
    packages.dedup();
    bail!("not installed: {}; run: apt-get install {}", missing.join(", "), packages.join(" "));
}

/// The path of an installed program; the error says which Debian package has it.
pub fn find(program: &str) -> Result<PathBuf> {
    require(&[program])?;
    locate(program).with_context(|| format!("{program} vanished"))
}

/// An installed program, ready for arguments.
pub fn tool(program: &str) -> Result<Process> {
    Ok(Process::new(find(program)?))
}

fn locate(program: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Path::new(program).is_file().then(|| program.into());
    }
    PATH.split(':').map(|directory| Path::new(directory).join(program)).find(|path| path.is_file())
}

/// The Debian package that has a program; its own name where the two agree.
fn package(program: &str) -> &str {
    match program {
        "htpasswd" => "apache2-utils",
        "setpriv" | "mount" | "umount" | "losetup" | "unshare" | "nsenter" | "pivot_root" => "util-linux",
        "mkfs.erofs" | "fsck.erofs" | "dump.erofs" => "erofs-utils",
        "mkfs.ext4" | "e2fsck" | "debugfs" => "e2fsprogs",
        "setfattr" | "getfattr" => "attr",
        "busybox" => "busybox-static",
        "ctr" => "containerd",
        "xz" => "xz-utils",
        "dockerd" | "docker" => "docker.io",
        "ip" => "iproute2",
        "sshd" => "openssh-server",
        "ssh" | "ssh-keygen" | "scp" | "sftp" => "openssh-client",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_to_install() {
        require(&["sh", "/bin/sh"]).unwrap();
        let error = require(&["sh", "no-such-tool-x", "/no/htpasswd"]).unwrap_err().to_string();
        assert!(error.contains("apt-get install /no/htpasswd no-such-tool-x"), "{error}");
        assert_eq!(package("htpasswd"), "apache2-utils");
    }
}
