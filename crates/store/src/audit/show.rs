//! Reading the log, oldest record first.

use super::files::{self, Lines};
use super::line::AuditLine;
use crate::layout::Layout;
use crate::{Error, Result, Store};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::SystemTime;

/// The records of a log, in the order in which they were written. What is no record is passed over: [`AuditLog::verify`] is
/// there to find that.
///
/// After the last one this ends, and goes on when it is asked again and there are more: a log can be followed.
///
/// [`AuditLog::verify`]: super::AuditLog::verify
pub struct AuditLines {
    layout: Arc<Layout>,
    /// The file that is being read, by its number.
    current: Option<(u64, Lines)>,
    /// Files with smaller numbers are not wanted.
    from: u64,
    since: Option<SystemTime>,
}

impl AuditLines {
    pub(super) fn new(store: &Store, since: Option<SystemTime>) -> Result<Self> {
        let layout = Arc::clone(&store.layout);
        let mut from = 0;
        if let Some(since) = since {
            // Files before the last one that begins earlier hold nothing that late.
            for first in files::list(&layout)?.into_iter().rev() {
                from = first;
                let mut lines = open(&layout, first)?;
                let Some(lines) = &mut lines else { continue };
                let line = lines.next().map_err(Error::io("read", files::path(&layout, first)))?;
                if line.and_then(|line| line.parse().ok()).is_some_and(|line| line.record.time < since) {
                    break;
                }
            }
        }
        Ok(Self { layout, current: None, from, since })
    }

    fn advance(&mut self) -> Result<Option<AuditLine>> {
        loop {
            if self.current.is_none() && !self.next_file(self.from)? {
                return Ok(None);
            }
            let Some((number, lines)) = &mut self.current else { return Ok(None) };
            let number = *number;
            let path = || files::path(&self.layout, number);
            let raw = lines.next().map_err(|error| Error::io("read", path())(error))?;
            match raw {
                Some(raw) if raw.ended => {
                    if let Ok(line) = raw.parse()
                        && self.since.is_none_or(|since| line.record.time >= since)
                    {
                        return Ok(Some(line));
                    }
                }
                // The rest of it may follow, or the file has come to its end and there is another one.
                unfinished => {
                    if let Some(offset) = unfinished.map(|raw| raw.offset) {
                        lines.back(offset).map_err(|error| Error::io("read", path())(error))?;
                    }
                    if !self.next_file(number + 1)? {
                        return Ok(None);
                    }
                }
            }
        }
    }

    /// Opens the first file from `number` on. Stays where it is if there is none.
    fn next_file(&mut self, number: u64) -> Result<bool> {
        for first in files::list(&self.layout)? {
            if first >= number
                && let Some(lines) = open(&self.layout, first)?
            {
                self.current = Some((first, lines));
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Iterator for AuditLines {
    type Item = Result<AuditLine>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

/// `None` if it was removed meanwhile.
fn open(layout: &Layout, first: u64) -> Result<Option<Lines>> {
    let path = files::path(layout, first);
    match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => {
            opened.and_then(|file| Lines::new(file, 0, u64::MAX)).map(Some).map_err(Error::io("read", path))
        }
    }
}

impl std::fmt::Debug for AuditLines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AuditLines").field("from", &self.from).finish_non_exhaustive()
    }
}
