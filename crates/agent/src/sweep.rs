//! What earlier sessions left.

use crate::error::Result;
use crate::message::Swept;
use crate::spool::{Removal, Spool, listed, remove_unused};
use std::fs::Metadata;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// Removes what nobody uses: marks of dead sessions, programs other than `own` that no session runs, uploads of programs that were
/// given up; and blobs and parts that were not touched for `keep`, if that is given.
pub(crate) fn sweep(spool: &Spool, own: Option<&Path>, keep: Option<Duration>) -> Result<Swept> {
    let now = SystemTime::now();
    let mut swept = Swept::default();
    let mut remove = |path: &Path, may: &dyn Fn(&Metadata) -> bool| -> Result<()> {
        if let Removal::Removed(bytes) = remove_unused(path, may)? {
            swept.files += 1;
            swept.bytes += bytes;
        }
        Ok(())
    };
    for (path, _) in listed(&spool.directory().join("sessions"))? {
        remove(&path, &|_| true)?;
    }
    for (path, name) in listed(&spool.directory().join("bin"))? {
        if let Some(process) = name.strip_prefix(".new.") {
            let is_given_up = is_dead(process);
            remove(&path, &|metadata| is_given_up || age(metadata, now) >= UPLOAD)?;
        } else if name.starts_with("larder-node-") && own.is_some_and(|own| own != path) {
            remove(&path, &|_| true)?;
        }
    }
    if let Some(keep) = keep {
        for (path, _) in spool.files()? {
            remove(&path, &|metadata| age(metadata, now) >= keep)?;
        }
    }
    Ok(swept)
}

/// Time since the last write; none if the clock went back.
fn age(metadata: &Metadata, now: SystemTime) -> Duration {
    metadata.modified().ok().and_then(|time| now.duration_since(time).ok()).unwrap_or_default()
}

/// True if there is no process of this number for sure.
fn is_dead(process: &str) -> bool {
    let proc = Path::new("/proc");
    let is_number = !process.is_empty() && process.bytes().all(|byte| byte.is_ascii_digit());
    is_number && proc.join("self").exists() && !proc.join(process).exists()
}

/// An upload that did not grow for so long was given up.
const UPLOAD: Duration = Duration::from_secs(15 * 60);
