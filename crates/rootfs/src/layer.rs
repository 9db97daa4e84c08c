//! What a scan of one tar found.

use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::scanner::Scanner;
use std::io::{Read, Seek, SeekFrom};

/// The members of one layer, without file content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    entries: Vec<Entry>,
    size: u64,
}

impl Layer {
    /// A layer of these members; `size` is the length of the raw tar their content lies in.
    pub fn new(entries: Vec<Entry>, size: u64) -> Self {
        Self { entries, size }
    }

    /// Scans a raw tar that is at hand, jumping over file content.
    pub fn read(tar: &mut (impl Read + Seek), limits: &Limits) -> Result<Self> {
        let mut scanner = Scanner::new(limits.clone());
        let mut buffer = vec![0; BUFFER];
        loop {
            let jump = scanner.skippable();
            // A short jump costs more than reading on.
            if jump > BUFFER as u64 {
                let jump = i64::try_from(jump)
                    .map_err(|_| Error::Limit { what: "bytes of a layer", limit: limits.bytes })?;
                // To the last byte of the content, not behind it, so that a truncated tar is noticed.
                tar.seek(SeekFrom::Current(jump - 1)).map_err(Error::Read)?;
                scanner.skip(jump as u64 - 1);
            }
            match tar.read(&mut buffer) {
                Ok(0) => return scanner.finish(),
                Ok(length) => scanner.feed(&buffer[..length])?,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
    }

    /// The members in the order of the archive.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Length of the raw tar in bytes, all that follows the end marker included.
    pub fn size(&self) -> u64 {
        self.size
    }
}

const BUFFER: usize = 64 << 10;
