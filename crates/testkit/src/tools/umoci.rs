//! Runs umoci: an independent maker and unpacker of OCI images, the oracle for what layers mean.

use super::tool;
use crate::Outcome;
use anyhow::{Context as _, Result};
use std::path::{Path, PathBuf};

/// An OCI image layout handled by umoci.
#[derive(Debug)]
pub struct Umoci {
    layout: PathBuf,
}

/// Changes the root file system that lies unpacked in a directory.
pub type Change<'a> = &'a mut dyn FnMut(&Path) -> Result<()>;

/// Makes an image `tag` in the layout `layout`, one layer per closure: each gets the unpacked root file system of the layers
/// before it and changes it at will; umoci finds the difference, with whiteouts and all. Needs root for other owners,
/// devices and trusted attributes.
pub fn umoci_image(layout: &Path, tag: &str, layers: &mut [Change<'_>]) -> Result<Umoci> {
    let umoci = Umoci::create(layout)?;
    umoci.run(&["new", "--image", &umoci.image(tag)])?;
    for layer in layers {
        umoci.add_layer(tag, &mut **layer)?;
    }
    Ok(umoci)
}

impl Umoci {
    /// Makes an empty layout at `layout`, which does not exist yet.
    pub fn create(layout: &Path) -> Result<Self> {
        let umoci = Self::open(layout)?;
        umoci.run(&["init", "--layout", &layout.display().to_string()])?;
        Ok(umoci)
    }

    /// Uses the layout at `layout`, whoever made it.
    pub fn open(layout: &Path) -> Result<Self> {
        super::require(&["umoci"])?;
        Ok(Self { layout: layout.to_owned() })
    }

    /// Unpacks `tag`, lets `change` loose on its root file system, and adds what changed as a layer (gzip).
    pub fn add_layer(&self, tag: &str, change: Change<'_>) -> Result<()> {
        let bundle =
            tempfile::Builder::new().prefix("larder-umoci-").tempdir().context("no temporary directory")?;
        let rootfs = self.unpack(tag, &bundle.path().join("bundle"))?;
        change(&rootfs)?;
        let bundle = bundle.path().join("bundle").display().to_string();
        self.run(&["repack", "--image", &self.image(tag), &bundle])?;
        Ok(())
    }

    /// Unpacks `tag` into the new directory `bundle` and returns the path of the root file system in it.
    pub fn unpack(&self, tag: &str, bundle: &Path) -> Result<PathBuf> {
        self.run(&["unpack", "--image", &self.image(tag), &bundle.display().to_string()])?;
        Ok(bundle.join("rootfs"))
    }

    /// Changes the configuration: arguments of `umoci config`, for example `["--config.env", "A=b"]`.
    pub fn config(&self, tag: &str, args: &[&str]) -> Result<()> {
        let image = self.image(tag);
        let mut all = vec!["config", "--image", &image];
        all.extend(args);
        self.run(&all)?;
        Ok(())
    }

    /// The tags of the layout.
    pub fn tags(&self) -> Result<Vec<String>> {
        let outcome = self.run(&["list", "--layout", &self.layout.display().to_string()])?;
        Ok(outcome.text().lines().map(str::to_owned).collect())
    }

    /// `umoci stat --json`.
    pub fn stat(&self, tag: &str) -> Result<serde_json::Value> {
        self.run(&["stat", "--json", "--image", &self.image(tag)])?.json()
    }

    /// Any umoci command.
    pub fn run(&self, args: &[&str]) -> Result<Outcome> {
        tool("umoci")?.env("HOME", "/nonexistent").args(args).run()
    }

    fn image(&self, tag: &str) -> String {
        format!("{}:{tag}", self.layout.display())
    }
}
