//! What a scan of one tar found.

use crate::entry::Entry;
use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::packed::{Entries, Packed};
use crate::scanner::Scanner;
use std::io::{Read, Seek, SeekFrom};

/// The members of one layer, without file content, in some 25 bytes each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    entries: Packed,
    size: u64,
}

impl Layer {
    /// A layer of these members; `size` is the length of the raw tar their content lies in.
    pub fn new(entries: impl IntoIterator<Item = Entry>, size: u64) -> Self {
        let mut packed = Packed::default();
        entries.into_iter().for_each(|entry| packed.push(&entry));
        Self { entries: packed, size }
    }

    pub(crate) fn packed(entries: Packed, size: u64) -> Self {
        Self { entries, size }
    }

    /// Scans a raw tar that is at hand, jumping over file content.
    pub fn read(tar: &mut (impl Read + Seek), limits: &Limits) -> Result<Self> {
        let whole = Self::scan(tar, limits, |_| Ok(true))?;
        Ok(whole.unwrap_or_else(|| Self::packed(Packed::default(), 0)))
    }

    /// The same, as long as the members take no more than `memory` bytes; `None` where they do.
    pub fn read_up_to(tar: &mut (impl Read + Seek), limits: &Limits, memory: u64) -> Result<Option<Self>> {
        Self::scan(tar, limits, |scanner| Ok(scanner.memory() <= memory))
    }

    /// Scans; `between` looks at what came each time, and stops it.
    pub(crate) fn scan(
        tar: &mut (impl Read + Seek),
        limits: &Limits,
        mut between: impl FnMut(&mut Scanner) -> Result<bool>,
    ) -> Result<Option<Self>> {
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
                Ok(0) => return scanner.finish().map(Some),
                Ok(length) => {
                    scanner.feed(&buffer[..length])?;
                    if !between(&mut scanner)? {
                        return Ok(None);
                    }
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Read(error)),
            }
        }
    }

    /// The members in the order of the archive.
    pub fn entries(&self) -> Entries<'_> {
        self.entries.iter()
    }

    /// Bytes of memory that the members take.
    pub fn memory(&self) -> u64 {
        self.entries.memory()
    }

    /// Length of the raw tar in bytes, all that follows the end marker included.
    pub fn size(&self) -> u64 {
        self.size
    }
}

const BUFFER: usize = 64 << 10;
