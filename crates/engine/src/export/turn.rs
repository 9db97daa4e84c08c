//! Taking turns at a file that is read, changed and replaced.

use super::part::cannot_write;
use crate::Result;
use std::fs::File;
use std::path::Path;

/// The right to change a file, from reading it to replacing it: who else wants it waits. It ends when this is dropped, and with
/// the process.
#[derive(Debug)]
pub struct Turn {
    // The directory: a file that is replaced is another one afterwards.
    _directory: File,
}

impl Turn {
    /// Waits for the turn at a file; makes its directory where there is none.
    ///
    /// # Errors
    /// When the directory cannot be made or opened. Where directories cannot be locked nobody waits.
    pub fn at(path: &Path) -> Result<Self> {
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(|source| cannot_write(parent, source))?;
        let directory = File::open(parent).map_err(|source| cannot_write(parent, source))?;
        let _ = directory.lock();
        Ok(Self { _directory: directory })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_at_the_same_time_lose_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/list");
        std::thread::scope(|scope| {
            for number in 0..16 {
                let path = &path;
                scope.spawn(move || {
                    let _turn = Turn::at(path).unwrap();
                    let before = std::fs::read_to_string(path).unwrap_or_default();
                    crate::replace_file(path, format!("{before}{number}\n").as_bytes()).unwrap();
                });
            }
        });
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 16);
    }
}
