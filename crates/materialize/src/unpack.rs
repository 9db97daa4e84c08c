//! An image as plain files.

use crate::Result;
use crate::driver::ImageSource;
use crate::erofs::open_all;
use crate::extract::{Extractor, Owner, Style, UnpackReport};
use crate::layers::Layers;
use crate::target::Target;
use larder_rootfs::Limits;
use larder_store::{Admitted, Store};
use std::path::Path;

/// How to unpack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnpackOptions {
    /// Who owns the files.
    pub owner: Owner,
}

/// Writes the merged tree of an image into `dir`, which must be empty or not exist. Every file is written once: what a layer
/// hides or replaces is never there. Nothing outside of `dir` is touched, whatever the layers say and whoever renames things
/// meanwhile.
///
/// # Errors
/// On failure what was written is removed again.
pub fn unpack(
    store: &Store,
    image: &ImageSource,
    admitted: &Admitted,
    dir: &Path,
    limits: &Limits,
    options: &UnpackOptions,
) -> Result<UnpackReport> {
    let layers = Layers::new(store.clone(), limits.clone());
    let _lease = layers.lease(image, admitted)?;
    let target = Target::open(dir)?;
    let write = || {
        let raw = layers.raw(image)?;
        let tree = layers.merge(image, &raw)?;
        layers.forget(&raw);
        let sources = open_all(&raw)?;
        Extractor { tree: &tree, sources: &sources, owner: options.owner, style: Style::Plain }.run(&target)
    };
    match write() {
        Ok(report) => Ok(report),
        Err(error) => {
            target.abandon();
            Err(error)
        }
    }
}
