//! A file system that is soon full.

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, UnmountFlags};
use std::ffi::CString;
use std::fs::File;
use std::path::{Path, PathBuf};

/// A tmpfs of a given size, mounted on a temporary directory. Needs root. Unmounted when dropped, even while files are open.
#[derive(Debug)]
pub struct Tmpfs {
    directory: tempfile::TempDir,
}

impl Tmpfs {
    /// Mounts one that holds `bytes` (rounded up to whole pages by the kernel).
    pub fn mount(bytes: u64) -> Result<Self> {
        let directory =
            tempfile::Builder::new().prefix("larder-tmpfs-").tempdir().context("no temporary directory")?;
        let options = CString::new(format!("size={bytes},mode=0700")).context("bad options")?;
        rustix::mount::mount("tmpfs", directory.path(), "tmpfs", MountFlags::empty(), options.as_c_str())
            .with_context(|| format!("cannot mount a tmpfs on {} (root?)", directory.path().display()))?;
        Ok(Self { directory })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Bytes left.
    pub fn free(&self) -> Result<u64> {
        let stat = rustix::fs::statvfs(self.path()).context("cannot ask for the free space")?;
        Ok(stat.f_bavail * stat.f_frsize)
    }

    /// Changes the size while it is in use; making it smaller than its content is refused by the kernel.
    pub fn resize(&self, bytes: u64) -> Result<()> {
        let options = CString::new(format!("size={bytes}")).context("bad options")?;
        rustix::mount::mount_remount(self.path(), MountFlags::empty(), options.as_c_str())
            .context("cannot change the size")
    }

    /// Puts a file of the right size there so that only `left` bytes stay free. Remove it, and there is room again.
    pub fn fill(&self, left: u64) -> Result<PathBuf> {
        let path = self.path().join("ballast");
        let file = File::create(&path).context("cannot make the ballast")?;
        let size = self.free()?.saturating_sub(left);
        if size > 0 {
            rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, size)
                .context("cannot fill the file system")?;
        }
        Ok(path)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily: a leaked file handle of a failed test must not keep the mount on the machine.
        let _ = rustix::mount::unmount(self.directory.path(), UnmountFlags::DETACH);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_full_when_it_says_so_and_leaves_nothing() -> Result<()> {
        let tmpfs = Tmpfs::mount(1 << 20)?;
        let path = tmpfs.path().to_owned();
        assert_eq!(tmpfs.free()?, 1 << 20);
        let ballast = tmpfs.fill(64 << 10)?;
        assert_eq!(tmpfs.free()?, 64 << 10);
        let error = std::fs::write(path.join("big"), vec![1; 128 << 10]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
        std::fs::remove_file(ballast)?;
        std::fs::write(path.join("big"), vec![1; 128 << 10])?;
        tmpfs.resize(2 << 20)?;
        assert!(tmpfs.free()? > 1 << 20);
        let open = File::open(path.join("big"))?;
        drop(tmpfs);
        assert!(!path.exists());
        drop(open);
        Ok(())
    }
}
