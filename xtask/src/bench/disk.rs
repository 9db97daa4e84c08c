//! A fresh journaled ext4 in a loop file. A file system that has seen files come and go gives other figures — without a
//! journal, ten times other — so every run of every tool starts on a new one.

use crate::program;
use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A mounted file system; unmounted, with everything mounted below it, when dropped.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
}

impl Disk {
    /// Makes the file system in `scratch/disk.img` and mounts it. The file is kept between runs, so that only the first
    /// one pays for growing it.
    pub(crate) fn fresh(scratch: &Path, size_bytes: u64) -> Result<Self> {
        let (image, directory) = (scratch.join("disk.img"), scratch.join("disk"));
        std::fs::create_dir_all(&directory)?;
        let file = File::options().create(true).truncate(false).write(true).open(&image);
        file.and_then(|file| file.set_len(size_bytes))
            .with_context(|| format!("cannot make {}", image.display()))?;
        let mut make = Command::new("mkfs.ext4");
        make.args(["-q", "-F", "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1"]);
        program::output(make.arg(&image))?;
        // Without noinit_itable a kernel thread writes inode tables while the tools run.
        let mut mount = Command::new("mount");
        program::output(mount.args(["-o", "loop,noinit_itable"]).arg(&image).arg(&directory))?;
        Ok(Self { directory })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        for point in mounted_below(&self.directory) {
            let lazily = || program::output(Command::new("umount").arg("--lazy").arg(&point));
            if let Err(error) = program::output(Command::new("umount").arg(&point)).or_else(|_| lazily()) {
                eprintln!("{error:#}");
            }
        }
    }
}

/// Mount points at and below a directory, the latest first.
fn mounted_below(directory: &Path) -> Vec<PathBuf> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut points: Vec<PathBuf> = table
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(point.replace(r"\040", " ")))
        .filter(|point| point.starts_with(directory))
        .collect();
    points.reverse();
    points
}

/// Writes everything out and empties the page cache; false when the machine does not let us.
pub(crate) fn drop_caches() -> Result<bool> {
    program::output(&mut Command::new("sync"))?;
    Ok(std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok())
}

/// The type of the file system a path is on, for the report.
pub(crate) fn kind(path: &Path) -> String {
    let mut find = Command::new("findmnt");
    program::output(find.args(["--noheadings", "--output", "FSTYPE", "--target"]).arg(path))
        .map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}
