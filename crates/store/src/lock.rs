//! Advisory locks between processes and threads (flock: they end with the process that holds them, however it ends).

use crate::layout::Layout;
use crate::{Error, Result};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// A locked file; the lock ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Held(File);

impl std::ops::Deref for Held {
    type Target = File;

    fn deref(&self) -> &File {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Closing is not enough: a child process that another thread is just starting has a copy of the descriptor until it
        // executes its program, and the lock would last as long. Unlocking counts for all copies.
        let _ = self.0.unlock();
    }
}

/// Held by commits: no sweep runs meanwhile.
pub(crate) fn commit(layout: &Layout) -> Result<Held> {
    let _gate = lock(&layout.store_gate(), File::lock_shared)?;
    lock(&layout.store_lock(), File::lock_shared)
}

/// Held by sweeps: no commit runs meanwhile, and new ones queue behind the gate while this waits.
pub(crate) fn sweep(layout: &Layout) -> Result<Held> {
    let _gate = lock(&layout.store_gate(), File::lock)?;
    lock(&layout.store_lock(), File::lock)
}

/// Held as long as the database is open, before any other lock.
pub(crate) fn open_database(layout: &Layout) -> Result<Held> {
    lock(&layout.open_lock(), File::lock_shared)
}

/// Held while another database is put in the place of one that nobody has open. `None` if somebody has.
pub(crate) fn replace_database(layout: &Layout) -> Result<Option<Held>> {
    let path = layout.open_lock();
    let file = open(&path, true).map_err(Error::io("open", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Held(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(Error::io("lock", path)(error)),
    }
}

/// Held while the layout is made or the indexes are written. Taken after `store.lock`, never before it.
pub(crate) fn layout(layout: &Layout) -> Result<Held> {
    lock(&layout.layout_lock(), File::lock)
}

fn lock(path: &Path, how: impl Fn(&File) -> io::Result<()>) -> Result<Held> {
    let file = open(path, true).map_err(Error::io("open", path))?;
    how(&file).map_err(Error::io("lock", path))?;
    Ok(Held(file))
}

/// Opens `path`, creating it, and becomes its only owner; `None` if somebody else is. The file is the one the path names: one that was removed or renamed while we were getting the lock is let go.
pub(crate) fn try_own(path: &Path) -> io::Result<Option<Held>> {
    loop {
        let file = open(path, true)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        let held = Held(file);
        if is_named(&held, path)? {
            return Ok(Some(held));
        }
    }
}

/// Like [`try_own`], but waits for the owner to leave.
pub(crate) fn own(path: &Path) -> io::Result<Held> {
    loop {
        let file = open(path, true)?;
        file.lock()?;
        let held = Held(file);
        if is_named(&held, path)? {
            return Ok(held);
        }
    }
}

/// What became of a file that may have an owner.
pub(crate) enum Claim {
    /// Somebody lives.
    Owned,
    /// Nobody; it is ours until this is dropped.
    Free(Held),
    /// There is no such file.
    Gone,
}

/// Takes over a file whose owner has died, without creating it.
pub(crate) fn claim(path: &Path) -> io::Result<Claim> {
    let file = match open(path, false) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Claim::Gone),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => {
            let held = Held(file);
            Ok(if is_named(&held, path)? { Claim::Free(held) } else { Claim::Gone })
        }
        Err(TryLockError::WouldBlock) => Ok(Claim::Owned),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn open(path: &Path, create: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(create).mode(0o600).open(path)
}

fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let ours = file.metadata()?;
    match fs::symlink_metadata(path) {
        Ok(named) => Ok(named.dev() == ours.dev() && named.ino() == ours.ino()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn whoever_waited_owns_the_file_that_is_there_now() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        let first = own(&path).unwrap();
        assert!(try_own(&path).unwrap().is_none());
        assert!(matches!(claim(&path).unwrap(), Claim::Owned));
        let (sender, receiver) = mpsc::channel();
        std::thread::scope(|scope| {
            let second = scope.spawn(|| {
                sender.send(()).unwrap();
                own(&path).unwrap()
            });
            receiver.recv().unwrap();
            std::thread::sleep(Duration::from_millis(100));
            fs::remove_file(&path).unwrap();
            drop(first);
            let second = second.join().unwrap();
            assert!(is_named(&second, &path).unwrap());
            assert!(try_own(&path).unwrap().is_none());
        });
        assert!(matches!(claim(&path).unwrap(), Claim::Free(_)));
        fs::remove_file(&path).unwrap();
        assert!(matches!(claim(&path).unwrap(), Claim::Gone));
        assert!(!path.exists());
    }
}
