//! What every way to make a root file system has in common.

use crate::{Error, Result};
use larder_core::{Digest, MediaType};
use larder_store::{Admitted, DerivedKey, Lease, MountRecord};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// One layer of an image, as manifest and config describe it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerSource {
    /// The blob, as the manifest names it.
    pub blob: Digest,
    /// What the manifest says it is.
    pub media_type: MediaType,
    /// What it uncompresses to, as the config says.
    pub diff_id: Digest,
}

/// The layers of an image, bottom first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageSource {
    /// The image manifest.
    pub manifest: Digest,
    /// Its layers.
    pub layers: Vec<LayerSource>,
}

impl LayerSource {
    /// Whether the blob is the uncompressed layer itself, which is then used where it lies.
    pub fn is_raw(&self) -> bool {
        self.blob == self.diff_id
    }
}

/// The ways to make a root file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Driver {
    /// One disk image of metadata over the raw tars of the layers; Linux 6.12.
    Erofs,
    /// One directory per layer, merged by overlayfs.
    Overlay,
}

impl Driver {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Erofs => "erofs",
            Self::Overlay => "overlay",
        }
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Driver {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "erofs" => Ok(Self::Erofs),
            "overlay" => Ok(Self::Overlay),
            _ => Err(Error::Driver(text.chars().take(40).collect())),
        }
    }
}

/// Whether a mount can be written to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// No.
    ReadOnly,
    /// Changes go to the writable layer of this name, which outlives the mount and belongs to one image.
    Writable(String),
}

/// A prepared image. As long as this value lives, nothing it needs is collected.
#[derive(Debug, Clone)]
pub struct Rootfs {
    pub(crate) manifest: Digest,
    pub(crate) parts: Parts,
    /// Everything derived that it consists of.
    pub(crate) keys: Vec<DerivedKey>,
    pub(crate) _lease: Lease,
}

#[derive(Debug, Clone)]
pub(crate) enum Parts {
    /// A disk image and the raw tars it points into.
    Erofs { image: PathBuf, devices: Vec<PathBuf> },
    /// Directories, the top one first.
    Overlay { lowers: Vec<PathBuf> },
}

impl Rootfs {
    /// The image manifest it was made from.
    pub fn manifest(&self) -> &Digest {
        &self.manifest
    }

    /// Which driver made it, and can mount it.
    pub fn driver(&self) -> Driver {
        match self.parts {
            Parts::Erofs { .. } => Driver::Erofs,
            Parts::Overlay { .. } => Driver::Overlay,
        }
    }

    /// Names of everything derived that it consists of.
    pub fn keys(&self) -> &[DerivedKey] {
        &self.keys
    }

    pub(crate) fn paths(&self) -> Vec<PathBuf> {
        match &self.parts {
            Parts::Erofs { image, devices } => std::iter::once(image).chain(devices).cloned().collect(),
            Parts::Overlay { lowers } => lowers.clone(),
        }
    }
}

/// A way to turn admitted blobs into a root file system of this host.
pub trait Materializer: Send + Sync {
    /// Which one.
    fn driver(&self) -> Driver;

    /// Makes what is missing for `image` from blobs in the store. Concurrent calls for the same image or the same layer, in
    /// this process or another, do the work once.
    fn prepare(&self, image: &ImageSource, admitted: &Admitted) -> Result<Rootfs>;

    /// Whether [`Materializer::prepare`] has nothing to make. One indexed look-up.
    fn is_materialized(&self, manifest: &Digest) -> Result<bool>;

    /// Mounts at `dir`, an empty directory, made if only its last component does not exist, and records the mount in the store. Undone by
    /// [`unmount`](crate::unmount).
    fn mount(&self, rootfs: &Rootfs, dir: &Path, access: Access) -> Result<MountRecord>;

    /// Removes what was made for this image alone; layers stay until they are collected. `false` if there was nothing.
    ///
    /// # Errors
    /// [`Error::InUse`] while the image is mounted by this driver.
    fn remove(&self, manifest: &Digest) -> Result<bool>;
}
