//! The files of the log: which there are, and their lines.

use super::line::{AuditLine, LONGEST, Link};
use crate::layout::Layout;
use crate::{Error, Result};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

/// The file whose first record is this one.
pub(super) fn path(layout: &Layout, first: u64) -> PathBuf {
    layout.audit().join(format!("{first:020}{SUFFIX}"))
}

/// The files by the sequence of their first records, in order. None if there is no log.
pub(super) fn list(layout: &Layout) -> Result<Vec<u64>> {
    let directory = layout.audit();
    let failed = |error| Error::io("list", &directory)(error);
    let entries = match fs::read_dir(&directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        found.extend(name.to_str().and_then(first_of));
    }
    found.sort_unstable();
    Ok(found)
}

/// The sequence a file is named after.
fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then(|| digits.parse().ok())?
}

/// The lines of one file, one after the other, each of bounded length.
pub(super) struct Lines {
    reader: BufReader<io::Take<File>>,
    offset: u64,
    number: u64,
    buffer: Vec<u8>,
}

/// A line as it is in the file.
pub(super) struct RawLine<'a> {
    /// Without the line feed. Of a line that is too long, the beginning.
    pub(super) bytes: &'a [u8],
    /// Where it starts.
    pub(super) offset: u64,
    /// Its length with the line feed.
    pub(super) length: u64,
    /// Counted from 1.
    pub(super) number: u64,
    /// Whether a line feed follows.
    pub(super) ended: bool,
}

impl Lines {
    /// The lines from `offset`, where one begins, to `end`.
    pub(super) fn new(mut file: File, offset: u64, end: u64) -> io::Result<Self> {
        file.seek(SeekFrom::Start(offset))?;
        let reader = BufReader::with_capacity(64 << 10, file.take(end.saturating_sub(offset)));
        Ok(Self { reader, offset, number: 0, buffer: Vec::new() })
    }

    /// The next line. What has no line feed yet at the end is a line too.
    pub(super) fn next(&mut self) -> io::Result<Option<RawLine<'_>>> {
        self.buffer.clear();
        let mut length = 0;
        let mut ended = false;
        while !ended {
            let available = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                available => available?,
            };
            if available.is_empty() {
                break;
            }
            let (line, used) = match available.iter().position(|byte| *byte == b'\n') {
                Some(at) => (&available[..at], at + 1),
                None => (available, available.len()),
            };
            ended = used > line.len();
            // One more than the longest, so that it is no line of ours.
            let room = (LONGEST + 1).saturating_sub(self.buffer.len());
            self.buffer.extend_from_slice(&line[..line.len().min(room)]);
            length += used as u64;
            self.reader.consume(used);
        }
        if length == 0 {
            return Ok(None);
        }
        let offset = self.offset;
        self.offset += length;
        self.number += 1;
        Ok(Some(RawLine { bytes: &self.buffer, offset, length, number: self.number, ended }))
    }

    /// Goes back to before the line that was read last.
    pub(super) fn back(&mut self, offset: u64) -> io::Result<()> {
        let left = self.reader.get_ref().limit().saturating_add(self.reader.buffer().len() as u64);
        let end = self.offset.saturating_add(left);
        let take = self.reader.get_mut();
        take.get_mut().seek(SeekFrom::Start(offset))?;
        take.set_limit(end.saturating_sub(offset));
        let length = self.reader.buffer().len();
        self.reader.consume(length);
        self.offset = offset;
        self.number -= 1;
        Ok(())
    }
}

impl RawLine<'_> {
    /// What it says.
    pub(super) fn parse(&self) -> std::result::Result<AuditLine, std::borrow::Cow<'static, str>> {
        match (self.ended, self.bytes.len() > LONGEST) {
            (false, _) => Err("has no end".into()),
            (true, true) => Err("is too long for a record".into()),
            (true, false) => AuditLine::parse(self.bytes),
        }
    }

    /// Where the next one starts.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.length
    }
}

/// Follows the chain in `file` from `offset`, where it has come to `from`, as far as it goes. Returns where it ends. Without
/// `from`, the first line is believed.
pub(super) fn follow(file: File, offset: u64, from: Option<Link>) -> io::Result<(u64, Option<Link>)> {
    let mut lines = Lines::new(file, offset, u64::MAX)?;
    let (mut offset, mut last) = (offset, from);
    while let Some(raw) = lines.next()? {
        let Ok(line) = raw.parse() else { break };
        if last.is_some_and(|last| !line.continues(&last)) {
            break;
        }
        (offset, last) = (raw.end(), Some(line.link()));
    }
    Ok((offset, last))
}

const SUFFIX: &str = ".jsonl";
