//! The audit log: one line per operation, each of which names the hash of the one before.
//!
//! FORMAT: docs/formats/audit.md. `audit/SEQUENCE.jsonl` hold the lines, each file named after its first record; `audit/head` says
//! how the log ended, and is its lock. Any number of processes append. Nothing in here is ever overwritten but `head`.

mod auditor;
mod check;
mod files;
mod head;
mod line;
mod mark;
mod record;
mod report;
mod show;
mod tail;
mod timestamp;
mod trim;

pub use auditor::{AuditCounters, Auditor, AuditorOptions, NotQueued, Receipt, WhenFull};
pub use line::{AuditLine, AuditNote, RepairCause};
pub use mark::{AuditMark, NotAMark};
pub use record::{AuditOutcome, AuditRecord};
pub use report::{AuditFinding, AuditReport};
pub use show::AuditLines;
pub use timestamp::{NotATimestamp, Timestamp};
pub use trim::AuditTrimmed;

use crate::{Result, Store};
use std::fmt;
use std::sync::Mutex;
use std::time::SystemTime;
use tail::Tail;

/// The log of a store, for writing. Cheap to open: nothing is touched before the first record, or [`AuditLog::prepare`].
pub struct AuditLog {
    tail: Mutex<Tail>,
}

/// Bounds of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditLimits {
    /// Size in bytes after which the log goes on in another file. One batch of records is never divided.
    pub file_bytes: u64,
}

impl Default for AuditLimits {
    fn default() -> Self {
        Self { file_bytes: 64 << 20 }
    }
}

impl AuditLog {
    /// The log of `store`, which need not exist yet.
    pub fn open(store: &Store, limits: AuditLimits) -> Self {
        Self { tail: Mutex::new(Tail::new(store, limits.file_bytes)) }
    }

    /// Adds records, in one write. After an error (a full disk) none of them is in the log.
    ///
    /// With `durable` they survive a power cut once this returns; otherwise they survive the death of this process, and reach the
    /// disk after some seconds, with the next [`AuditLog::sync`], or when they have become many.
    pub fn append(&self, records: &[AuditRecord], durable: bool) -> Result<()> {
        self.append_noted(None, &mut records.iter(), durable)
    }

    /// Makes the log where there is none, so that the first record need not.
    pub fn prepare(&self) -> Result<()> {
        crate::database::lock(&self.tail).prepare()
    }

    /// Makes everything durable that anybody has written so far.
    pub fn sync(&self) -> Result<()> {
        crate::database::lock(&self.tail).sync()
    }

    /// Reads the whole log of a store and says what is wrong with it. `expected` is an end that was noted earlier
    /// ([`AuditReport::end`]): it must still be part of the log.
    ///
    /// A change is found unless whoever made it also calculated the hashes of everything after it again, and wrote `head` to fit.
    /// A mark that was kept where they cannot write finds that too.
    pub fn verify(store: &Store, expected: Option<&AuditMark>) -> Result<AuditReport> {
        check::verify(store, expected)
    }

    /// The records of a store that are not older than `since`.
    pub fn read(store: &Store, since: Option<SystemTime>) -> Result<AuditLines> {
        AuditLines::new(store, since)
    }

    /// Removes the files that hold no record younger than `before`, after a record that says so: `record`, which says who did it.
    /// The file that is written to stays, whatever its age.
    pub fn trim(&self, before: SystemTime, record: &AuditRecord) -> Result<AuditTrimmed> {
        crate::database::lock(&self.tail).trim(before, record)
    }

    /// Like [`AuditLog::append`], after a note of the log about itself.
    fn append_noted(
        &self,
        note: Option<(&AuditRecord, &AuditNote)>,
        records: &mut dyn Iterator<Item = &AuditRecord>,
        durable: bool,
    ) -> Result<()> {
        let note = note.map(|(record, note)| (record, Some(note)));
        let all: Vec<_> = note.into_iter().chain(records.map(|record| (record, None))).collect();
        if all.is_empty() {
            return Ok(());
        }
        crate::database::lock(&self.tail).append(&all, durable)
    }
}

impl fmt::Debug for AuditLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuditLog").finish_non_exhaustive()
    }
}
