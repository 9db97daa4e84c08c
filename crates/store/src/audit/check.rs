//! Verification of the log.

use super::files::{self, Lines, RawLine};
use super::head::{self, Head, Read};
use super::line::{AuditLine, AuditNote, Link, RepairCause};
use super::mark::AuditMark;
use super::report::{AuditFinding, AuditReport};
use super::tail::{HEAD, looks_torn};
use crate::layout::Layout;
use crate::{Error, Result, Store};
use larder_core::Digest;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Reads the whole log. `expected` is an end that was noted earlier.
pub(super) fn verify(store: &Store, expected: Option<&AuditMark>) -> Result<AuditReport> {
    let mut vanished = 0;
    loop {
        let snapshot = Snapshot::take(&store.layout)?;
        let mut check = Check {
            layout: &store.layout,
            boot: head::boot(&store.options.boot_id),
            head: snapshot.head,
            expected,
            report: AuditReport::default(),
            last: None,
            begins: None,
            last_file: 0,
            skipped: 0,
            anomalies: Vec::new(),
            trims: Vec::new(),
            met: false,
        };
        if snapshot.no_head {
            let problem = "is missing or damaged: nothing says how the log ended";
            check.tell(snapshot.path, None, None, problem, true);
        }
        match check.files(&snapshot.files) {
            Ok(()) => return Ok(check.report),
            // Old files may be removed while we read.
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound && vanished < 3 => {
                vanished += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

/// What there was at one moment. Others may append meanwhile; that is for the next verification.
struct Snapshot {
    path: PathBuf,
    head: Option<Head>,
    /// There are records, and no head that can be read.
    no_head: bool,
    /// Numbers and lengths.
    files: Vec<(u64, u64)>,
}

impl Snapshot {
    fn take(layout: &Layout) -> Result<Self> {
        let path = layout.audit().join(HEAD);
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => Some(opened.map_err(Error::io("open", &path))?),
        };
        if let Some(file) = &file {
            file.lock_shared().map_err(Error::io("lock", &path))?;
        }
        let raw = file.as_ref().map(head::read).transpose().map_err(Error::io("read", &path))?.flatten();
        let mut files = Vec::new();
        for number in files::list(layout)? {
            let path = files::path(layout, number);
            let metadata = path.symlink_metadata().map_err(Error::io("read", &path))?;
            files.push((number, metadata.len()));
        }
        // Closing ends the lock.
        drop(file);
        let head = match Read::of(raw.as_ref()) {
            Read::Head(head) => Some(*head),
            Read::Empty | Read::Damaged => None,
        };
        let no_head = head.is_none() && (raw.is_some() || files.iter().any(|(_, length)| *length > 0));
        Ok(Self { path, head, no_head, files })
    }
}

/// One walk over the log.
struct Check<'a> {
    layout: &'a Layout,
    boot: Digest,
    head: Option<Head>,
    expected: Option<&'a AuditMark>,
    report: AuditReport,
    /// The last line that was in its place.
    last: Option<Link>,
    /// The first line: where it is, its sequence, and what it follows.
    begins: Option<(PathBuf, u64, Digest)>,
    /// The file that was read last.
    last_file: u64,
    /// Lines since then that are no records.
    skipped: u64,
    /// Where the chain broke in this file. A repair later on may explain it.
    anomalies: Vec<Anomaly>,
    trims: Vec<Link>,
    /// The record of `expected` was there.
    met: bool,
}

/// A line that does not continue the chain, and how things were before it.
struct Anomaly {
    offset: u64,
    last: Option<Link>,
    findings: usize,
    more: u64,
    records: u64,
    /// The line itself, and whether it has an end.
    bytes: Vec<u8>,
    ended: bool,
}

/// Where a line is.
struct Place {
    file: u64,
    line: u64,
    offset: u64,
    /// No line before it in its file was a record.
    is_first: bool,
}

impl Check<'_> {
    fn files(&mut self, all: &[(u64, u64)]) -> Result<()> {
        for (number, length) in all {
            // A crash while a file is made leaves it empty; if it was emptied, its records are missing.
            if *length > 0 {
                self.file(*number, *length)?;
            }
        }
        self.end();
        Ok(())
    }

    fn file(&mut self, number: u64, length: u64) -> Result<()> {
        let path = files::path(self.layout, number);
        let failed = |error| Error::io("read", &path)(error);
        let mut lines = File::open(&path).and_then(|file| Lines::new(file, 0, length)).map_err(failed)?;
        let mut is_first = true;
        self.anomalies.clear();
        self.last_file = number;
        self.report.files += 1;
        while let Some(raw) = lines.next().map_err(failed)? {
            self.report.bytes += raw.length;
            let place = Place { file: number, line: raw.number, offset: raw.offset, is_first };
            match raw.parse() {
                Ok(line) => {
                    self.line(&line, &place);
                    is_first = false;
                }
                Err(problem) => self.not_a_record(&raw, &place, &problem),
            }
        }
        Ok(())
    }

    fn not_a_record(&mut self, raw: &RawLine<'_>, place: &Place, problem: &str) {
        if self.skipped == 0 {
            self.remember(place, raw.bytes.to_vec(), raw.ended);
        }
        let sequence = self.last.map(|last| last.sequence.saturating_add(self.skipped).saturating_add(1));
        self.skipped += 1;
        self.tell(files::path(self.layout, place.file), Some(place.line), sequence, problem, true);
    }

    fn remember(&mut self, place: &Place, bytes: Vec<u8>, ended: bool) {
        if self.anomalies.len() < ANOMALIES {
            let AuditReport { records, more, .. } = self.report;
            let findings = self.report.findings.len();
            let (offset, last) = (place.offset, self.last);
            self.anomalies.push(Anomaly { offset, last, findings, more, records, bytes, ended });
        }
    }

    /// Takes back what was told since an anomaly, which has an innocent reason.
    fn forget(&mut self, anomaly: &Anomaly) {
        self.report.findings.truncate(anomaly.findings);
        (self.report.more, self.report.records) = (anomaly.more, anomaly.records);
    }

    /// A line that is what it says. Is it in its place?
    fn line(&mut self, line: &AuditLine, place: &Place) {
        self.explain(line, place);
        self.report.records += 1;
        self.report.first.get_or_insert(line.record.time);
        self.report.last = Some(line.record.time);
        if self.skipped == 0 && self.last.is_some_and(|last| !line.continues(&last)) {
            self.remember(place, Vec::new(), true);
        }
        self.compare(line, place);
        if self.follows(line, place) {
            self.last = Some(line.link());
            self.skipped = 0;
        }
    }

    /// What head and an earlier verification say about this record.
    fn compare(&mut self, line: &AuditLine, place: &Place) {
        let (sequence, hash) = (line.sequence, line.hash);
        let known = self.head.as_ref().map(|head| [head.written.link, head.durable.link]);
        if known.is_some_and(|known| known.iter().any(|link| link.sequence == sequence && link.hash != hash))
        {
            self.tell_at(
                place,
                sequence,
                "is not the record that was written: the file head knows another hash",
                true,
            );
        }
        if let Some(expected) = self.expected.filter(|expected| expected.sequence == sequence) {
            self.met = true;
            if expected.hash != hash {
                let problem = format!("is not the record that was expected: it has the hash {}", hash.hex());
                self.tell_at(place, sequence, &problem, true);
            }
        }
    }

    /// What the log says about itself, and what that explains.
    fn explain(&mut self, line: &AuditLine, place: &Place) {
        let (problem, tampered) = match &line.note {
            None => return,
            Some(AuditNote::Trimmed { through, hash }) => {
                self.trims.push(Link { sequence: *through, hash: *hash });
                return;
            }
            Some(AuditNote::Lost { records }) => {
                (format!("says that {records} records before it could not be written, and are lost"), false)
            }
            Some(AuditNote::Repaired { cause, bytes, missing }) => {
                self.explain_repair(*cause, *bytes, place);
                tell_repair(*cause, *bytes, *missing)
            }
        };
        self.tell_at(place, line.sequence, &problem, tampered);
    }

    fn explain_repair(&mut self, cause: RepairCause, bytes: u64, place: &Place) {
        // The repair ends what it found with a line feed of its own.
        let Some(start) = bytes.checked_add(1).and_then(|length| place.offset.checked_sub(length)) else {
            return;
        };
        if bytes == 0 {
            return;
        }
        let Some(at) = self.anomalies.iter().rposition(|anomaly| anomaly.offset == start) else { return };
        let anomaly = self.anomalies.swap_remove(at);
        self.anomalies.truncate(at);
        (self.last, self.skipped) = (anomaly.last, 0);
        let last = self.last.unwrap_or(Link::start());
        let is_innocent = match cause {
            RepairCause::Crash => anomaly.bytes.len() as u64 == bytes && looks_torn(&anomaly.bytes, &last),
            RepairCause::PowerCut => true,
            RepairCause::Changed | RepairCause::NoHead => false,
        };
        if is_innocent {
            self.forget(&anomaly);
        }
    }

    /// Whether the line belongs behind the last one that did. What is missing or exchanged between them is told.
    fn follows(&mut self, line: &AuditLine, place: &Place) -> bool {
        let (sequence, skipped) = (line.sequence, self.skipped);
        let Some(last) = self.last else {
            self.begins.get_or_insert((
                files::path(self.layout, place.file),
                sequence.saturating_sub(skipped).max(1),
                line.previous,
            ));
            self.is_named(line, place);
            return true;
        };
        if skipped == 0 && line.continues(&last) {
            self.is_named(line, place);
            return true;
        }
        let expected = last.sequence.saturating_add(1);
        if sequence < expected {
            let problem = match line.link() == last {
                true => format!("repeats record {sequence}"),
                false => format!("is out of order: record {sequence} comes after record {}", last.sequence),
            };
            self.tell_at(place, sequence, &problem, true);
            return false;
        }
        // Bad lines in between were the records that are missing, if there are so many; otherwise they were put in.
        let missing = (sequence - expected).saturating_sub(skipped);
        if missing > 0 {
            let from = sequence - missing;
            let what = match missing {
                1 => format!("record {from} before it is"),
                _ => format!("records {from} to {} before it are", sequence - 1),
            };
            let how = if place.is_first { ": a file, or the end of one, was removed" } else { "" };
            self.tell_at(place, sequence, &format!("shows that {what} missing{how}"), true);
        } else if sequence == expected && line.previous != last.hash {
            let problem = format!("does not follow record {}: one of the two was changed", last.sequence);
            self.tell_at(place, sequence, &problem, true);
        }
        true
    }

    /// Files are named after their first record.
    fn is_named(&mut self, line: &AuditLine, place: &Place) {
        if place.line == 1 && line.sequence != place.file {
            self.tell_at(place, line.sequence, "begins a file that is named after another record", true);
        }
    }

    /// The end of the log: is it where head says?
    fn end(&mut self) {
        if let Some(head) = self.head.clone() {
            self.end_by(&head);
        }
        self.beginning();
        if let Some(last) = self.last {
            self.report.end = Some(AuditMark { sequence: last.sequence, hash: last.hash });
        }
        if let Some(expected) = self.expected.filter(|_| !self.met) {
            let problem = format!("do not hold record {}, which was expected", expected.sequence);
            self.tell(self.layout.audit(), None, Some(expected.sequence), &problem, true);
        }
    }

    fn end_by(&mut self, head: &Head) {
        let path = files::path(self.layout, head.file);
        let same_boot = head.boot == self.boot;
        if self.skipped > 0 || !same_boot {
            self.end_in_garbage(head, same_boot, &path);
        }
        let last = self.last.unwrap_or(Link::start());
        let end = last.sequence.saturating_add(self.skipped);
        let written = head.written.link.sequence;
        if end < written {
            let by_power_cut = !same_boot && last.sequence >= head.durable.link.sequence;
            let missing = written - end;
            let problem = match by_power_cut {
                true => format!(
                    "lacks the last {missing} records: the machine stopped before they were on the disk"
                ),
                false => format!("lacks the last {missing} records: the end of the log was removed"),
            };
            self.tell(path, None, Some(end.saturating_add(1)), &problem, !by_power_cut);
        } else if last.sequence > written {
            let more = last.sequence - written;
            let problem = format!(
                "ends with {more} records more than the file head knows: their writer died right after them, or they were put in"
            );
            self.tell(path, None, Some(written + 1), &problem, false);
        }
    }

    /// What a crash or a power cut left behind the last record.
    fn end_in_garbage(&mut self, head: &Head, same_boot: bool, path: &Path) {
        let last = self.last.unwrap_or(Link::start());
        let is_innocent = |anomaly: &Anomaly| match same_boot {
            true => {
                anomaly.offset >= head.written.offset && !anomaly.ended && looks_torn(&anomaly.bytes, &last)
            }
            false => anomaly.offset >= head.durable.offset,
        };
        if self.last_file != head.file {
            return;
        }
        let Some(at) = self.anomalies.iter().position(is_innocent) else { return };
        let anomaly = self.anomalies.swap_remove(at);
        self.forget(&anomaly);
        (self.last, self.skipped) = (anomaly.last, 0);
        let problem = match same_boot {
            true => "ends with a record that a crash cut off; the next record will say so",
            false => "ends with what a power cut left; the next record will say so",
        };
        let sequence = self.last.map_or(1, |last| last.sequence.saturating_add(1));
        self.tell(path.to_owned(), None, Some(sequence), problem, false);
    }

    fn beginning(&mut self) {
        let Some((path, sequence, previous)) = self.begins.take() else { return };
        let before = Link { sequence: sequence - 1, hash: previous };
        if before == Link::start() || self.trims.contains(&before) {
            return;
        }
        if sequence == 1 {
            self.tell(
                path,
                Some(1),
                Some(1),
                "is not the beginning of a log: it follows another record",
                true,
            );
        } else {
            let problem =
                format!("is the first file, and the records 1 to {} before it are missing", sequence - 1);
            self.tell(path, Some(1), Some(sequence), &problem, true);
        }
    }

    fn tell_at(&mut self, place: &Place, sequence: u64, problem: &str, tampered: bool) {
        let path = files::path(self.layout, place.file);
        self.tell(path, Some(place.line), Some(sequence), problem, tampered);
    }

    fn tell(
        &mut self,
        file: PathBuf,
        line: Option<u64>,
        sequence: Option<u64>,
        problem: &str,
        tampered: bool,
    ) {
        self.report.tell(AuditFinding { file, line, sequence, problem: problem.to_owned(), tampered });
    }
}

fn tell_repair(cause: RepairCause, bytes: u64, missing: u64) -> (String, bool) {
    match cause {
        RepairCause::Crash => (format!("follows {bytes} bytes of a record that a crash cut off"), false),
        RepairCause::PowerCut => (
            format!("follows a power cut, which took {missing} records and left {bytes} bytes that are none"),
            false,
        ),
        RepairCause::Changed => {
            let problem = format!(
                "says that the log had been changed: {missing} records before it were removed, {bytes} bytes before it are no records"
            );
            (problem, true)
        }
        RepairCause::NoHead => (
            "says that the file head was missing or damaged: nothing tells how the log ended before it"
                .into(),
            true,
        ),
    }
}

/// Anomalies of one file that are remembered. What comes after more of them is not explained by anything.
const ANOMALIES: usize = 1_000;
