//! `soak resets`
use anyhow::Result;
use larder_testkit::Random;
use std::path::Path;
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {}
pub(super) fn run(_: &Arguments, _: &Path, _: &mut Random) -> Result<()> {
    Ok(())
}
