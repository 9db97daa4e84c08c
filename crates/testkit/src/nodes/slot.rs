//! A number that no other process of this machine uses at the time; addresses and names of a node derive from it.

use anyhow::{Context as _, Result, bail};
use rustix::fs::FlockOperation;
use std::fs::File;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// Held by a lock of the kernel, which ends with the process however that ends.
#[derive(Debug)]
pub(super) struct Slot {
    number: u32,
    home: PathBuf,
    _lock: File,
}

impl Slot {
    /// Takes a free one, and removes what an owner that was killed left there.
    pub(super) fn take() -> Result<Self> {
        let home = home();
        std::fs::create_dir_all(&home).with_context(|| format!("cannot make {}", home.display()))?;
        for number in 0..SLOTS {
            if let Some(lock) = lock(&home, number)? {
                let slot = Self { number, home, _lock: lock };
                slot.clear()?;
                std::fs::create_dir(slot.directory()).context("no directory for a node")?;
                return Ok(slot);
            }
        }
        bail!("all {SLOTS} places for nodes are taken; see {}", home.display())
    }

    /// Removes what killed owners of other places left. Places in use stay.
    pub(super) fn sweep() -> Result<()> {
        let home = home();
        let Ok(entries) = std::fs::read_dir(&home) else { return Ok(()) };
        for entry in entries.flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if let Some(lock) = lock(&home, number)? {
                Self { number, home: home.clone(), _lock: lock }.clear()?;
            }
        }
        Ok(())
    }

    /// Where the node keeps everything.
    pub(super) fn directory(&self) -> PathBuf {
        self.home.join(self.number.to_string())
    }

    /// The name of the host's end of the wire.
    pub(super) fn wire(&self) -> String {
        format!("lkn{}", self.number)
    }

    /// The host's address on the wire. The network is 198.18.0.0/15, kept for tests of networks (RFC 2544), so no machine
    /// needs it for anything else.
    pub(super) fn host(&self) -> Ipv4Addr {
        Ipv4Addr::from(NETWORK + 4 * self.number + 1)
    }

    /// The node's address on the wire.
    pub(super) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::from(NETWORK + 4 * self.number + 2)
    }

    /// Removes the wire and the directory, if they are there.
    pub(super) fn clear(&self) -> Result<()> {
        if Path::new("/sys/class/net").join(self.wire()).exists() {
            // Gone in between is as good.
            crate::tools::tool("ip")?.args(["link", "delete", &self.wire()]).outcome()?;
        }
        let directory = self.directory();
        if directory.exists() {
            std::fs::remove_dir_all(&directory)
                .with_context(|| format!("cannot remove {}", directory.display()))?;
        }
        Ok(())
    }
}

fn home() -> PathBuf {
    std::env::temp_dir().join("larder-nodes")
}

/// The lock of a place, unless somebody has it. Lock files stay: to remove one would let two processes lock two files of the
/// same name.
fn lock(home: &Path, number: u32) -> Result<Option<File>> {
    let path = home.join(format!("{number}.lock"));
    let file = File::create(&path).with_context(|| format!("cannot open {}", path.display()))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot lock {}", path.display())),
    }
}

const SLOTS: u32 = 4096;
const NETWORK: u32 = u32::from_be_bytes([198, 18, 0, 0]);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_shares_a_place_and_leftovers_go() -> Result<()> {
        let (one, other) = (Slot::take()?, Slot::take()?);
        assert_ne!(one.address(), other.address());
        assert_ne!(one.wire(), other.wire());
        let left = one.directory().join("left");
        std::fs::write(&left, "")?;
        Slot::sweep()?;
        assert!(left.exists(), "it is in use");
        drop(one);
        Slot::sweep()?;
        assert!(!left.exists(), "its owner is gone");
        other.clear()
    }
}
