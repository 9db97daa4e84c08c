//! What this host can do: tried out, not guessed from version numbers.

use crate::attributes::privileged;
use crate::driver::Driver;
use crate::kernel::{self, Overlay};
use crate::{Error, Result};
use larder_core::report;
use larder_rootfs::Tree;
use larder_rootfs::encode::{self, ErofsDevice, ErofsOptions};
use rustix::fs::{Mode, OFlags};
use std::fs::{self, DirBuilder};
use std::os::fd::AsFd as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Whether a driver works here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Which.
    pub driver: Driver,
    /// A mount was made.
    pub usable: bool,
    /// What was tried, or what the kernel said.
    pub why: String,
}

/// Makes a mount by every driver inside of `home`, the preferred one first, and undoes it. Each is tried when its finding is
/// asked for.
pub fn probe(home: &Path) -> impl Iterator<Item = Finding> {
    let tries: [(Driver, Try, &str); 2] = [
        (Driver::Erofs, erofs, "a disk image was mounted from a file"),
        (Driver::Overlay, overlay, "two directories were merged"),
    ];
    let finding = move |(driver, attempt, good): (Driver, Try, &str)| match Scratch::new(home)
        .and_then(|dir| attempt(&dir.0))
    {
        Ok(()) => Finding { driver, usable: true, why: good.into() },
        Err(error) => Finding { driver, usable: false, why: report(&error) },
    };
    tries.into_iter().map(finding)
}

type Try = fn(&Path) -> Result<()>;

fn erofs(dir: &Path) -> Result<()> {
    let (image, device) = (dir.join("image"), dir.join("device"));
    fs::write(&device, [0; 512]).map_err(Error::file("write", &device))?;
    let mut bytes = Vec::new();
    let devices = [ErofsDevice { size_bytes: 512, digest: None }];
    encode::erofs(&Tree::new(), &devices, &ErofsOptions::index(), &mut |_, _, _| Ok(()), &mut bytes)
        .map_err(Error::encode(&larder_core::Digest::of(b"")))?;
    fs::write(&image, bytes).map_err(Error::file("write", &image))?;
    // Never attached: it is gone with its handle.
    kernel::erofs(&image, &[device], dir).map(drop)
}

fn overlay(dir: &Path) -> Result<()> {
    let lowers: Vec<PathBuf> = ["a", "b"].iter().map(|name| dir.join(name)).collect();
    for lower in &lowers {
        fs::create_dir(lower).map_err(Error::file("create", lower))?;
    }
    let place = dir.join("m");
    fs::create_dir(&place).map_err(Error::file("create", &place))?;
    let handle = rustix::fs::open(&place, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|source| Error::file("open", &place)(source.into()))?;
    Overlay { lowers: &lowers, upper: None, user: !privileged() }.mount(handle.as_fd(), &place)?;
    kernel::unmount(&place, true).map(drop)
}

struct Scratch(PathBuf);

impl Scratch {
    fn new(home: &Path) -> Result<Self> {
        static COUNTER: AtomicU64 = AtomicU64::new(0);
        let name = format!(".probe-{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let dir = home.join("rw").join(name);
        // What a killed process of the same number left behind.
        let _ = fs::remove_dir_all(&dir);
        DirBuilder::new().mode(0o700).recursive(true).create(&dir).map_err(Error::file("create", &dir))?;
        Ok(Self(dir))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
