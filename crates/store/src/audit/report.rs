//! What a verification of the log tells.

use super::mark::AuditMark;
use std::path::PathBuf;
use std::time::SystemTime;

/// What a verification of the log found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditReport {
    /// Files that were read.
    pub files: u64,
    /// Records in them that are what they say they are.
    pub records: u64,
    /// Bytes that were read.
    pub bytes: u64,
    /// The time of the first record.
    pub first: Option<SystemTime>,
    /// The time of the last record.
    pub last: Option<SystemTime>,
    /// The end of the log. Kept somewhere else, it shows later that nothing before it was changed.
    pub end: Option<AuditMark>,
    /// What is worth telling, in the order of the log. At most 1,000.
    pub findings: Vec<AuditFinding>,
    /// Findings beyond those.
    pub more: u64,
}

/// Something about a log that is worth telling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditFinding {
    /// In which file.
    pub file: PathBuf,
    /// In which line of it, counted from 1, where it is about one.
    pub line: Option<u64>,
    /// About which record, where that is known.
    pub sequence: Option<u64>,
    /// What it is, as the rest of a sentence that starts with the place.
    pub problem: String,
    /// Whether somebody changed the log. Otherwise it is what a crash, a power cut or a full disk leaves.
    pub tampered: bool,
}

impl AuditReport {
    /// Whether nobody changed the log, as far as can be told.
    pub fn is_whole(&self) -> bool {
        self.more == 0 && self.findings.iter().all(|finding| !finding.tampered)
    }

    pub(super) fn tell(&mut self, finding: AuditFinding) {
        // What was changed is not hidden by what crashes left.
        if self.findings.len() < FINDINGS {
            self.findings.push(finding);
        } else {
            self.more += u64::from(finding.tampered);
        }
    }
}

/// Findings that are kept.
const FINDINGS: usize = 1_000;
