//! Programs from the distribution that tests, demo and benchmarks use, and the Debian packages that have them.

use crate::program;
use anyhow::{Result, bail};
use std::process::Command;

/// (program, Debian package): what the tests run.
pub(crate) const FOR_TESTS: &[(&str, &str)] = &[
    ("skopeo", "skopeo"),
    ("buildah", "buildah"),
    ("umoci", "umoci"),
    ("docker-registry", "docker-registry"),
    ("htpasswd", "apache2-utils"),
    ("mkfs.erofs", "erofs-utils"),
    ("fsck.erofs", "erofs-utils"),
    ("mmdebstrap", "mmdebstrap"),
    ("containerd", "containerd"),
    ("podman", "podman"),
    ("dockerd", "docker.io"),
    ("docker", "docker.io"),
    ("curl", "curl"),
    ("setfattr", "attr"),
    ("setfacl", "acl"),
    ("setcap", "libcap2-bin"),
    ("openssl", "openssl"),
    ("mkfs.ext4", "e2fsprogs"),
    ("tar", "tar"),
    ("time", "time"),
    ("gzip", "gzip"),
    ("zstd", "zstd"),
    ("bzip2", "bzip2"),
    ("xz", "xz-utils"),
    ("zip", "zip"),
    ("gpg", "gpg"),
    ("gpg-agent", "gpg-agent"),
    ("mount", "mount"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("ip", "iproute2"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("ssh-keygen", "openssh-client"),
    ("nsenter", "util-linux"),
    ("pivot_root", "util-linux"),
    ("busybox", "busybox-static"),
    ("npm", "npm"),
    ("python3", "python3"),
    ("pip3", "python3-pip"),
];

/// What `demo` runs.
pub(crate) const FOR_DEMO: &[(&str, &str)] = &[
    ("skopeo", "skopeo"),
    ("umoci", "umoci"),
    ("docker-registry", "docker-registry"),
    ("mmdebstrap", "mmdebstrap"),
    ("mount", "mount"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
];

/// What `bench` runs, peers included.
pub(crate) const FOR_BENCH: &[(&str, &str)] = &[
    ("skopeo", "skopeo"),
    ("buildah", "buildah"),
    ("umoci", "umoci"),
    ("docker-registry", "docker-registry"),
    ("mmdebstrap", "mmdebstrap"),
    ("containerd", "containerd"),
    ("mkfs.ext4", "e2fsprogs"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
];

/// What `soak` runs.
pub(crate) const FOR_SOAK: &[(&str, &str)] = &[
    ("skopeo", "skopeo"),
    ("docker-registry", "docker-registry"),
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("ip", "iproute2"),
    ("sshd", "openssh-server"),
    ("ssh", "openssh-client"),
    ("nsenter", "util-linux"),
    ("busybox", "busybox-static"),
];

/// Installs what is missing when this is root; otherwise fails with the line that would.
pub(crate) fn require(wanted: &[(&str, &'static str)]) -> Result<()> {
    let missing = missing(wanted, |name| program::find(name).is_some());
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    if program::find("apt-get").is_none() {
        bail!("these Debian packages, or what your distribution calls them, are missing: {list}");
    }
    if !program::is_root() {
        bail!(
            "programs are missing; install them with\n    sudo apt-get install --no-install-recommends {list}"
        );
    }
    println!("installing {list}");
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "Dpkg::Use-Pty=0"]);
        command
    };
    program::output(apt().arg("update"))?;
    program::output(apt().args(["install", "-y", "--no-install-recommends"]).args(&missing))?;
    let still: Vec<&str> =
        wanted.iter().filter(|(name, _)| program::find(name).is_none()).map(|(name, _)| *name).collect();
    if !still.is_empty() {
        bail!("apt-get succeeded, but there is still no {}", still.join(", "));
    }
    Ok(())
}

/// The packages of absent programs, each once, in order.
fn missing(wanted: &[(&str, &'static str)], present: impl Fn(&str) -> bool) -> Vec<&'static str> {
    let mut packages: Vec<&'static str> =
        wanted.iter().filter(|(program, _)| !present(program)).map(|(_, package)| *package).collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_package_is_named_once_and_only_when_something_of_it_is_absent() {
        let wanted =
            [("mkfs.erofs", "erofs-utils"), ("fsck.erofs", "erofs-utils"), ("tar", "tar"), ("acl", "acl")];
        assert_eq!(missing(&wanted, |name| name == "tar"), ["acl", "erofs-utils"]);
        assert_eq!(missing(&wanted, |_| true), [""; 0]);
    }
}
