//! Old files of the log may go, if the log says so.

use super::files::{self, Lines};
use super::line::{AuditLine, AuditNote};
use super::record::AuditRecord;
use crate::layout::{self, Layout};
use crate::{Error, Result};
use std::fs::File;
use std::time::SystemTime;

/// What was removed from a log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditTrimmed {
    /// Files.
    pub files: u64,
    /// Records that were in them.
    pub records: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// The files that hold nothing younger, and what the log has to say about that.
pub(super) struct Trim {
    old: Vec<u64>,
    pub(super) note: AuditNote,
    report: AuditTrimmed,
}

impl Trim {
    /// `None` if there is nothing to remove. The file that is written to always stays.
    pub(super) fn plan(layout: &Layout, before: SystemTime) -> Result<Option<Self>> {
        let mut trim: Option<Self> = None;
        let mut passed: Vec<(u64, u64)> = Vec::new();
        for number in files::list(layout)? {
            let path = files::path(layout, number);
            let length = path.metadata().map_err(Error::io("read", &path))?.len();
            if let (false, Some(line)) = (passed.is_empty(), first(layout, number)?) {
                if line.record.time > before {
                    break;
                }
                let since = passed.first().map_or(number, |(number, _)| *number);
                trim = Some(Self {
                    old: passed.iter().map(|(number, _)| *number).collect(),
                    note: AuditNote::Trimmed {
                        through: line.sequence.saturating_sub(1),
                        hash: line.previous,
                    },
                    report: AuditTrimmed {
                        files: passed.len() as u64,
                        records: line.sequence.saturating_sub(since),
                        bytes: passed.iter().map(|(_, length)| length).sum(),
                    },
                });
            }
            passed.push((number, length));
        }
        Ok(trim)
    }

    /// Removes the files. To be called under the lock, after the note is durable.
    pub(super) fn carry_out(self, layout: &Layout) -> Result<AuditTrimmed> {
        for number in self.old {
            layout::remove(&files::path(layout, number))?;
        }
        layout::sync_directory(&layout.audit())?;
        Ok(self.report)
    }

    /// `record`, as the one that says so.
    pub(super) fn record(&self, record: &AuditRecord) -> AuditRecord {
        AuditRecord { action: self.note.action().into(), bytes: self.report.bytes, ..record.clone() }
    }
}

/// The first line of a file, if it is one.
fn first(layout: &Layout, number: u64) -> Result<Option<AuditLine>> {
    let path = files::path(layout, number);
    let read = || {
        let mut lines = Lines::new(File::open(&path)?, 0, u64::MAX)?;
        Ok(lines.next()?.and_then(|raw| raw.parse().ok()))
    };
    read().map_err(Error::io("read", &path))
}
