//! The content of files, up to a limit: what a path leads to may be larger than it was, or have no end.

use std::fs::File;
use std::io::{Error, ErrorKind, Read as _, Result};
use std::path::Path;

/// Everything in a file of `limit` bytes at most.
pub(crate) fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
    match bytes.len() as u64 > limit {
        true => Err(Error::new(ErrorKind::FileTooLarge, format!("more than {} MiB", limit >> 20))),
        false => Ok(bytes),
    }
}

/// As [`read`], of a file that is one: reading it comes to an end by itself.
pub(crate) fn read_regular(path: &Path, limit: u64) -> Result<Vec<u8>> {
    match std::fs::metadata(path)?.is_file() {
        true => read(path, limit),
        false => Err(Error::other("neither a file nor a link to one")),
    }
}
