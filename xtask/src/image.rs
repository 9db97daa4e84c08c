//! Real images out of Debian packages, made by `mmdebstrap` and `umoci` from the package sources of this machine.

use crate::program;
use anyhow::{Context, Result, bail};
use larder_testkit::tools::Umoci;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What goes into an image: a minimal Debian as the first layer, then one layer per set of packages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    pub(crate) name: &'static str,
    /// Counted up when the way of building changes, so that cached images are built again.
    pub(crate) version: u32,
    /// Debian's word for how much is in the first layer.
    pub(crate) variant: &'static str,
    pub(crate) packages: &'static [&'static [&'static str]],
}

/// A built image: an OCI layout with one tag.
#[derive(Debug)]
pub(crate) struct Image {
    pub(crate) layout: PathBuf,
    pub(crate) tag: &'static str,
}

impl Recipe {
    /// Builds it under `directory`, or finds it there from the last time. Must run in an enclosure.
    pub(crate) fn build(&self, directory: &Path) -> Result<Image> {
        let suite = suite()?;
        let home = directory.join(format!("{}-{}-{suite}", self.name, self.version));
        let layout = home.join("layout");
        let image = Image { layout: layout.clone(), tag: self.name };
        let complete = home.join("complete");
        if complete.exists() {
            return Ok(image);
        }
        println!("building the image `{}` from Debian packages; once, then it is kept", self.name);
        if home.exists() {
            std::fs::remove_dir_all(&home).with_context(|| format!("cannot clear {}", home.display()))?;
        }
        std::fs::create_dir_all(&home)?;
        self.layers(&layout, &suite).with_context(|| format!("cannot build the image `{}`", self.name))?;
        std::fs::write(complete, "")?;
        Ok(image)
    }

    fn layers(&self, layout: &Path, suite: &str) -> Result<()> {
        let umoci = Umoci::create(layout)?;
        umoci.run(&["new", "--image", &format!("{}:{}", layout.display(), self.name)])?;
        umoci.add_layer(self.name, &mut |root| {
            println!("  layer 1: {} Debian {suite}", self.variant);
            let mut debootstrap = Command::new("mmdebstrap");
            debootstrap.args(["--quiet", "--mode=root", "--variant", self.variant, suite]).arg(root);
            program::output(debootstrap.args(sources(suite)?))?;
            Ok(())
        })?;
        for (number, packages) in self.packages.iter().enumerate() {
            println!("  layer {}: {}", number + 2, packages.join(" "));
            umoci.add_layer(self.name, &mut |root| install(root, packages))?;
        }
        umoci.config(self.name, &["--config.cmd", "/bin/bash", "--config.workingdir", "/"])?;
        umoci.run(&["gc", "--layout", &layout.to_string_lossy()])?;
        Ok(())
    }
}

impl Image {
    /// How skopeo names it.
    pub(crate) fn source(&self) -> String {
        format!("oci:{}:{}", self.layout.display(), self.tag)
    }

    /// Sends it to a registry on loopback, `HOST:PORT/NAME:TAG`.
    pub(crate) fn push(&self, reference: &str) -> Result<()> {
        let mut copy = Command::new("skopeo");
        copy.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
        program::output(copy.arg(self.source()).arg(format!("docker://{reference}")))?;
        Ok(())
    }

    /// The compressed layers, lowest first.
    pub(crate) fn layers(&self) -> Result<Vec<PathBuf>> {
        let mut inspect = Command::new("skopeo");
        inspect.args(["--insecure-policy", "inspect", "--raw"]).arg(self.source());
        let manifest: serde_json::Value = serde_json::from_str(&program::output(&mut inspect)?)?;
        let layers = manifest["layers"].as_array().context("a manifest without layers")?;
        let file = |layer: &serde_json::Value| {
            let digest = layer["digest"].as_str().context("a layer without a digest")?;
            Ok(self.layout.join("blobs").join(digest.replace(':', "/")))
        };
        layers.iter().map(file).collect()
    }
}

/// One set of packages, installed as a Dockerfile's `RUN` would: nothing of apt's caches stays in the layer.
fn install(root: &Path, packages: &[&str]) -> Result<()> {
    let script = format!(
        "set -e; export DEBIAN_FRONTEND=noninteractive; apt-get -qq update; \
         apt-get -qq install -y --no-install-recommends {}; apt-get clean; rm -rf /var/lib/apt/lists/* /var/log/*.log",
        packages.join(" ")
    );
    // Some packages look at /proc while they configure themselves. Services must not start.
    let outer = "mount -t proc proc \"$1/proc\" && printf '#!/bin/sh\\nexit 101\\n' > \"$1/usr/sbin/policy-rc.d\" \
                 && chmod 755 \"$1/usr/sbin/policy-rc.d\" && chroot \"$1\" /bin/sh -c \"$2\"; code=$?; \
                 rm -f \"$1/usr/sbin/policy-rc.d\"; umount \"$1/proc\"; exit $code";
    program::output(Command::new("sh").args(["-c", outer, "sh"]).arg(root).arg(script))?;
    Ok(())
}

/// The release this machine runs, for example `bookworm`.
pub(crate) fn suite() -> Result<String> {
    let text = std::fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
    let name = text.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    Ok(name
        .context("this machine is not Debian: /etc/os-release has no VERSION_CODENAME")?
        .trim_matches('"')
        .into())
}

/// The files of this machine that say where packages of `suite` come from.
pub(crate) fn sources(suite: &str) -> Result<Vec<PathBuf>> {
    let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(entries) = std::fs::read_dir("/etc/apt/sources.list.d") {
        files.extend(entries.flatten().map(|entry| entry.path()));
    }
    files.retain(|file| {
        file.extension().is_some_and(|extension| extension == "list" || extension == "sources")
            && std::fs::read_to_string(file).is_ok_and(|text| names_suite(&text, suite))
    });
    files.sort();
    if files.is_empty() {
        bail!("no file in /etc/apt names the suite {suite}");
    }
    Ok(files)
}

/// Whether an apt source, in the old or the new notation, is of this very suite.
fn names_suite(text: &str, suite: &str) -> bool {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter(|line| line.starts_with("Suites:") || line.trim_start().starts_with("deb "))
        .any(|line| line.split_whitespace().any(|word| word == suite))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_of_other_parties_are_left_out() {
        assert!(names_suite("Types: deb\nSuites: bookworm bookworm-updates\n", "bookworm"));
        assert!(names_suite("deb http://mirror.example/debian bookworm main\n", "bookworm"));
        assert!(!names_suite("# deb http://mirror.example/debian bookworm main\n", "bookworm"));
        assert!(!names_suite("Suites: nodistro\n", "bookworm"));
        assert!(!names_suite("deb https://apt.example/apt cloud-sdk-bookworm main\n", "bookworm"));
    }
}
