//! `soak`: trials of robustness that take minutes. Each prints what it did and fails when a promise is broken.

mod charts;
mod deliver;
mod files;
mod kill;
mod resets;
mod serve;

use crate::larder::{Larder, Profile};
use crate::{packages, workspace::Workspace};
use anyhow::{Context, Result, bail};
use larder_core::Digest;
use larder_testkit::Random;
use std::path::{Path, PathBuf};

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    trial: Trial,
    /// Decides every random choice; a failing trial prints the one it had.
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// Try this binary instead of building one.
    #[arg(long, global = true, value_name = "FILE")]
    larder: Option<PathBuf>,
}

#[derive(Debug, clap::Subcommand)]
enum Trial {
    /// SIGKILL concurrent pulls and gc at random points: nothing is lost, nothing unverified stays, pulls go on.
    Kill(kill::Arguments),
    /// Reset the connection again and again during one pull: it ends, and each reset costs at most one range.
    Resets(resets::Arguments),
    /// SIGKILL a registry at random moments under pushes and pulls: nothing acknowledged is lost, no wrong byte is served.
    Serve(serve::Arguments),
    /// Deliver to nodes under cuts, kills, reboots and full disks: it ends well, and no byte is ever wrong.
    Deliver(deliver::Arguments),
    /// Mount and unpack images of a million files: memory stays below 200 MB.
    Files(files::Arguments),
    /// Render public charts with larder and with Helm: every text is the same.
    Charts(charts::Arguments),
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if let Trial::Charts(charts) = &arguments.trial {
        return charts::run(charts);
    }
    packages::require(packages::FOR_SOAK)?;
    let binary = match &arguments.larder {
        Some(binary) => binary.clone(),
        None => Larder::build(Profile::Release)?,
    };
    let seed = arguments.seed.unwrap_or_else(now);
    println!("seed {seed}");
    let mut random = Random::new(seed);
    match &arguments.trial {
        Trial::Kill(kill) => kill::run(kill, &binary, &mut random),
        Trial::Resets(resets) => resets::run(resets, &binary, &mut random),
        Trial::Serve(serve) => serve::run(serve, &binary, &mut random),
        Trial::Deliver(deliver) => deliver::run(deliver, &binary, &mut random),
        Trial::Files(files) => files::run(files, &binary),
        Trial::Charts(charts) => charts::run(charts),
    }
    .with_context(|| format!("with --seed {seed}"))
}

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(1, |time| time.as_nanos() as u64)
}

/// A directory for a trial; emptied first, and left behind for a look when the trial fails.
fn directory(name: &str) -> Result<PathBuf> {
    let directory = Workspace::read()?.target.join("soak").join(name);
    if directory.exists() {
        std::fs::remove_dir_all(&directory)
            .with_context(|| format!("cannot clear {}", directory.display()))?;
    }
    std::fs::create_dir_all(&directory)?;
    Ok(directory)
}

/// Hashes every file under `blobs/` without larder's help; returns their number and size. A file that does not hash to
/// its name is an error.
fn hash_blobs(home: &Path) -> Result<(u64, u64)> {
    let (mut count, mut bytes) = (0, 0);
    for algorithm in ["sha256", "sha512"] {
        let Ok(entries) = std::fs::read_dir(home.join("blobs").join(algorithm)) else { continue };
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let named: Digest = format!("{algorithm}:{name}")
                .parse()
                .with_context(|| format!("{} is not named after a digest", path.display()))?;
            let content = std::fs::read(&path)?;
            let mut hasher = larder_core::Hasher::new(named.algorithm());
            hasher.update(&content);
            if hasher.finish() != named {
                bail!("{} does not hash to its name", path.display());
            }
            count += 1;
            bytes += content.len() as u64;
        }
    }
    Ok((count, bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_that_is_not_what_its_name_says_is_found() {
        let home = tempfile::tempdir().unwrap();
        let blobs = home.path().join("blobs/sha256");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(Digest::of(b"one").hex()), "one").unwrap();
        assert_eq!(hash_blobs(home.path()).unwrap(), (1, 3));
        std::fs::write(blobs.join(Digest::of(b"two").hex()), "not two").unwrap();
        assert!(hash_blobs(home.path()).is_err());
    }
}
