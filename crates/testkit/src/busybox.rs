//! A layer with programs, for images that are to run.

use crate::tools;
use crate::{Layer, Member, Packing, TarBuilder};
use anyhow::{Context as _, Result};
use larder_core::Compression;

/// A layer whose only file is `/bin/busybox`, the static one of this machine: `["/bin/busybox", "echo", "hello"]` runs.
pub fn busybox(compression: Compression) -> Result<Layer> {
    let program = std::fs::read(tools::find("busybox")?).context("cannot read busybox")?;
    let tar =
        TarBuilder::new().directory("bin/").member(&Member::file("bin/busybox", program).mode(0o755)).build();
    Ok(Layer::new(tar, Packing { compression, pieces: 1, level: 1 }))
}
