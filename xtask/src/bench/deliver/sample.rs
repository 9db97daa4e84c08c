//! The image that is delivered, in two versions that differ in their top layer.

use crate::image::Image;
use crate::program;
use anyhow::{Context, Result, ensure};
use larder_testkit::Random;
use larder_testkit::nodes::Fleet;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Both versions, in a layout and in a registry.
#[derive(Debug)]
pub(super) struct Sample {
    layout: PathBuf,
    /// The name of the version that comes first.
    pub(super) first: String,
    /// The name of the one that differs in its top layer.
    pub(super) second: String,
    /// Bytes of the compressed layers of the first.
    pub(super) first_bytes: u64,
    /// Bytes of the top layer of the second.
    pub(super) update_bytes: u64,
}

impl Sample {
    /// Puts a program of 16 MB on top of an image, twice, and pushes both to a registry.
    pub(super) fn make(image: &Image, registry: &str, directory: &Path) -> Result<Self> {
        let layout = directory.join("layout");
        program::output(Command::new("cp").arg("-a").arg(&image.layout).arg(&layout))?;
        let mut names = Vec::new();
        for (version, seed) in [("1", 1), ("2", 2)] {
            let tag = format!("{}:{version}", layout.display());
            let from = format!("{}:{}", layout.display(), image.tag);
            program::output(Command::new("umoci").args(["tag", "--image", &from, version]))?;
            // Half of it compresses, as programs do.
            let mut content = Random::new(seed).bytes(8 << 20);
            content.resize(16 << 20, b'x');
            let file = directory.join("program");
            std::fs::write(&file, content)?;
            program::output(
                Command::new("umoci").args(["insert", "--image", &tag]).arg(&file).arg("/opt/program"),
            )?;
            let name = format!("{registry}/bench/app:{version}");
            let mut copy = Command::new("skopeo");
            copy.args(["--insecure-policy", "copy", "--quiet", "--dest-tls-verify=false"]);
            program::output(copy.arg(format!("oci:{tag}")).arg(format!("docker://{name}")))?;
            names.push(name);
        }
        let mut sample =
            Self { layout, first: names.remove(0), second: names.remove(0), first_bytes: 0, update_bytes: 0 };
        let (first, second) = (sample.layers("1")?, sample.layers("2")?);
        sample.first_bytes = first.iter().sum();
        sample.update_bytes = *second.last().context("an image without layers")?;
        Ok(sample)
    }

    pub(super) fn names(&self) -> [&str; 2] {
        [&self.first, &self.second]
    }

    /// Where skopeo reads a version.
    pub(super) fn layout(&self, name: &str) -> Result<String> {
        let (_, version) = name.rsplit_once(':').context("a name without a tag")?;
        Ok(format!("oci:{}:{version}", self.layout.display()))
    }

    /// A program of the image runs on every node.
    pub(super) fn prove(&self, fleet: &Fleet, name: &str) -> Result<()> {
        for node in fleet.nodes() {
            let said = node.ctr([
                "run",
                "--rm",
                name,
                "proof",
                "/usr/bin/python3",
                "-c",
                "import json; print(6 * 7)",
            ])?;
            ensure!(said.text() == "42\n", "{} does not run on {}: {}", name, node.name(), said.describe());
        }
        Ok(())
    }

    /// Brings what is sent into the page cache: the sender used it before.
    pub(super) fn warm(&self, store: &Path) -> Result<()> {
        for directory in [self.layout.join("blobs"), store.join("blobs")] {
            let mut read = Command::new("sh");
            read.args(["-c", "find \"$1\" -type f -exec cat {} + >/dev/null", "sh"]).arg(directory);
            program::output(&mut read)?;
        }
        for program in ["skopeo", "ssh", "ctr", "containerd", "runc"].into_iter().filter_map(program::find) {
            std::io::copy(&mut std::fs::File::open(program)?, &mut std::io::sink())?;
        }
        Ok(())
    }

    pub(super) fn describe(&self) -> String {
        format!(
            "Image: {:.0} MB compressed; an update changes its top layer of {:.1} MB. Every node: containerd {}, in a network \
             and file systems of its own, on this same machine.",
            self.first_bytes as f64 / 1e6,
            self.update_bytes as f64 / 1e6,
            program::version("containerd")
                .split_whitespace()
                .nth(2)
                .unwrap_or_default()
                .split('~')
                .next()
                .unwrap_or_default(),
        )
    }

    fn layers(&self, version: &str) -> Result<Vec<u64>> {
        let mut inspect = Command::new("skopeo");
        inspect
            .args(["--insecure-policy", "inspect", "--raw"])
            .arg(format!("oci:{}:{version}", self.layout.display()));
        let manifest: serde_json::Value = serde_json::from_str(&program::output(&mut inspect)?)?;
        let layers = manifest["layers"].as_array().context("a manifest without layers")?;
        layers.iter().map(|layer| layer["size"].as_u64().context("a layer without a size")).collect()
    }
}
