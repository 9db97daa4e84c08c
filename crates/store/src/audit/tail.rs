//! The end of the log, where one process at a time writes.

use super::files;
use super::head::{self, Head, Point, Raw, Read};
use super::line::{self, AuditLine, AuditNote, Link, RepairCause};
use super::record::AuditRecord;
use super::trim::{AuditTrimmed, Trim};
use crate::layout::{self, Layout};
use crate::store::Clock;
use crate::{Error, Result, Store};
use larder_core::Digest;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// What a process knows about the end of the log. It is looked at again when somebody else has written.
pub(super) struct Tail {
    layout: Arc<Layout>,
    clock: Clock,
    boot: Digest,
    /// A file that is longer gets a successor.
    limit: u64,
    head_file: Option<Arc<File>>,
    known: Option<Known>,
    buffer: Vec<u8>,
}

/// The state that was left or found last.
struct Known {
    raw: Raw,
    head: Head,
    file: File,
}

/// The lock of the log; it ends when this is dropped.
struct Locked(Arc<File>);

impl Drop for Locked {
    fn drop(&mut self) {
        // Closing is not enough: see `lock::Held`.
        let _ = self.0.unlock();
    }
}

impl Tail {
    pub(super) fn new(store: &Store, limit: u64) -> Self {
        Self {
            layout: Arc::clone(&store.layout),
            clock: Arc::clone(&store.options.clock),
            boot: head::boot(&store.options.boot_id),
            limit,
            head_file: None,
            known: None,
            buffer: Vec::new(),
        }
    }

    /// Finds the end; makes the log where there is none.
    pub(super) fn prepare(&mut self) -> Result<()> {
        let _alone = self.lock()?;
        self.known = Some(self.catch_up()?);
        Ok(())
    }

    /// Adds records at once: all of them, or none if this fails.
    pub(super) fn append(
        &mut self,
        records: &[(&AuditRecord, Option<&AuditNote>)],
        durable: bool,
    ) -> Result<()> {
        let _alone = self.lock()?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut result = self.encode_and_write(&mut buffer, records, durable);
        if matches!(&result, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists) {
            // The next file had records, since `head` was older than the log. It knows that file now.
            result = self.encode_and_write(&mut buffer, records, durable);
        }
        buffer.shrink_to(BUFFER);
        self.buffer = buffer;
        result
    }

    fn encode_and_write(
        &mut self,
        buffer: &mut Vec<u8>,
        records: &[(&AuditRecord, Option<&AuditNote>)],
        durable: bool,
    ) -> Result<()> {
        let mut known = self.catch_up()?;
        buffer.clear();
        let mut link = known.head.written.link;
        for (record, note) in records {
            link = line::write(buffer, &link, record, *note);
        }
        self.write(&mut known, buffer, link, durable)?;
        self.known = Some(known);
        Ok(())
    }

    /// Waits until everything that was written is on the disk.
    pub(super) fn sync(&mut self) -> Result<()> {
        if files::list(&self.layout)?.is_empty() {
            return Ok(());
        }
        let _alone = self.lock()?;
        let mut known = self.catch_up()?;
        if known.head.durable != known.head.written {
            let link = known.head.written.link;
            self.write(&mut known, &[], link, true)?;
        }
        self.known = Some(known);
        Ok(())
    }

    /// Says that old files go, and removes them. A crash in between leaves files that are still part of the chain.
    pub(super) fn trim(&mut self, before: SystemTime, record: &AuditRecord) -> Result<AuditTrimmed> {
        let _alone = self.lock()?;
        let Some(trim) = Trim::plan(&self.layout, before)? else { return Ok(AuditTrimmed::default()) };
        let mut known = self.catch_up()?;
        let mut line = Vec::new();
        let link = line::write(&mut line, &known.head.written.link, &trim.record(record), Some(&trim.note));
        self.write(&mut known, &line, link, true)?;
        self.known = Some(known);
        trim.carry_out(&self.layout)
    }

    fn lock(&mut self) -> Result<Locked> {
        loop {
            let path = self.head_path();
            let file = match self.head_file.take() {
                Some(file) => file,
                None => Arc::new(self.open_head(&path)?),
            };
            match file.lock() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                locked => locked.map_err(Error::io("lock", &path))?,
            }
            let locked = Locked(file);
            // Whoever removed it while we waited made, or will make, another one.
            if locked.0.metadata().map_err(Error::io("read", &path))?.nlink() > 0 {
                self.head_file = Some(Arc::clone(&locked.0));
                return Ok(locked);
            }
        }
    }

    fn open_head(&self, path: &PathBuf) -> Result<File> {
        let open =
            || OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path);
        match open() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened.map_err(Error::io("open", path)),
        }
        let directory = self.layout.audit();
        match DirBuilder::new().mode(0o700).create(&directory) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create", directory)(error));
            }
            _ => {}
        }
        open().map_err(Error::io("open", path))
    }

    /// The state on the disk: ours, if nobody else wrote since.
    fn catch_up(&mut self) -> Result<Known> {
        let path = self.head_path();
        let Some(head_file) = self.head_file.clone() else { unreachable!("the lock is held") };
        let raw = head::read(&head_file).map_err(Error::io("read", &path))?;
        let remembered = self.known.take();
        if let Some(known) = remembered {
            let metadata = known.file.metadata().map_err(Error::io("read", self.path(known.head.file)))?;
            let is_ours = raw.as_ref() == Some(&known.raw) && metadata.nlink() > 0;
            if is_ours && metadata.len() == known.head.written.offset {
                return Ok(known);
            }
            // A head that is gone is worse than one that is as old as our memory.
            let read = match Read::of(raw.as_ref()) {
                Read::Head(head) => head,
                Read::Empty | Read::Damaged => Box::new(known.head.clone()),
            };
            let is_open = metadata.nlink() > 0 && read.file == known.head.file;
            return self.adopt(&read, is_open.then_some(known.file));
        }
        match Read::of(raw.as_ref()) {
            Read::Head(head) => self.adopt(&head, None),
            Read::Empty => self.begin(),
            Read::Damaged => self.without_head(),
        }
    }

    /// Takes over what `head` says, after a look at how the file really ends.
    fn adopt(&self, head: &Head, open: Option<File>) -> Result<Known> {
        let path = self.path(head.file);
        let opened = match open {
            Some(file) => Ok(file),
            None => OpenOptions::new().read(true).append(true).open(&path),
        };
        let file = match opened {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.replace_missing(head),
            opened => opened.map_err(Error::io("open", &path))?,
        };
        let mut length = file.metadata().map_err(Error::io("read", &path))?.len();
        let same_boot = head.boot == self.boot;
        if same_boot && length == head.written.offset {
            return Ok(Known { raw: head.raw(), head: head.clone(), file });
        }
        // What was not on the disk before the machine stopped may be anything.
        let trusted = if same_boot { head.written } else { head.durable };
        let is_longer = length >= trusted.offset;
        let from = if is_longer { trusted } else { head.durable };
        let from = Some(from).filter(|from| length >= from.offset);
        let mut end = self.end_of(&file, &path, from, head.file)?;
        if is_longer && let Some(whole) = unended(&file, &end, length).map_err(Error::io("read", &path))? {
            // Only the line feed was cut off.
            (&file).write_all(b"\n").map_err(Error::io("write", &path))?;
            (length, end) = (length + 1, Point { offset: length + 1, link: whole });
        }
        let (garbage, missing) =
            (length - end.offset, head.written.link.sequence.saturating_sub(end.link.sequence));
        if garbage == 0 && missing == 0 {
            let head = Head { written: end, boot: self.boot, ..head.clone() };
            return Ok(Known { raw: head.raw(), head, file });
        }
        let cause =
            if missing == 0 && same_boot && is_torn(&file, &end, length).map_err(Error::io("read", &path))? {
                RepairCause::Crash
            } else if !same_boot && end.link.sequence >= head.durable.link.sequence {
                RepairCause::PowerCut
            } else {
                RepairCause::Changed
            };
        let found = Found { number: head.file, file, end: end.link, length, garbage, missing };
        self.repair(found, cause)
    }

    /// The file that was written to is gone: the log goes on in a new one.
    fn replace_missing(&self, head: &Head) -> Result<Known> {
        let last = head.written.link.sequence;
        if last == 0 {
            return self.begin();
        }
        let mut end = Link::start();
        for first in files::list(&self.layout)?.into_iter().rev().filter(|first| *first <= last) {
            let path = self.path(first);
            let file = File::open(&path).map_err(Error::io("open", &path))?;
            if let (_, Some(link)) = files::follow(file, 0, None).map_err(Error::io("read", &path))? {
                end = link;
                break;
            }
        }
        let (number, missing) = (last.saturating_add(1), last.saturating_sub(end.sequence));
        let file = self.create(number)?;
        let found = Found { number, file, end, length: 0, garbage: 0, missing };
        self.repair(found, RepairCause::Changed)
    }

    /// A new log, unless there are files that `head` should have known.
    fn begin(&self) -> Result<Known> {
        for first in files::list(&self.layout)? {
            let path = self.path(first);
            if path.metadata().map_err(Error::io("read", &path))?.len() > 0 {
                return self.without_head();
            }
        }
        let head = Head::start(self.boot);
        let file = self.create(head.file)?;
        let known = Known { raw: head.raw(), head, file };
        self.put_head(&known.raw, true)?;
        Ok(known)
    }

    /// The log goes on where its last file ends.
    fn without_head(&self) -> Result<Known> {
        let mut number = 1;
        for first in files::list(&self.layout)? {
            let path = self.path(first);
            if path.metadata().map_err(Error::io("read", &path))?.len() > 0 {
                number = first;
            }
        }
        let file = self.create(number)?;
        let path = self.path(number);
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        let end = self.end_of(&file, &path, None, number)?;
        let garbage = length - end.offset;
        let found = Found { number, file, end: end.link, length, garbage, missing: 0 };
        self.repair(found, RepairCause::NoHead)
    }

    /// Where the chain ends in a file, from a point that is trusted, or else from its beginning.
    fn end_of(&self, file: &File, path: &PathBuf, from: Option<Point>, number: u64) -> Result<Point> {
        let again = file.try_clone().map_err(Error::io("open", path))?;
        let (offset, link) = match from {
            Some(point) => (point.offset, Some(point.link)),
            None => (0, None),
        };
        let (offset, link) = files::follow(again, offset, link).map_err(Error::io("read", path))?;
        let nothing = Link { sequence: number.saturating_sub(1), ..Link::start() };
        Ok(Point { offset, link: link.unwrap_or(nothing) })
    }

    /// Writes down in the log itself that it was not as it was left. Nothing that is there is removed.
    fn repair(&self, found: Found, cause: RepairCause) -> Result<Known> {
        let Found { number, file, end, length, garbage, missing } = found;
        let note = AuditNote::Repaired { cause, bytes: garbage, missing };
        let record = note.record((self.clock)());
        let mut buffer = Vec::new();
        if garbage > 0 {
            // Ends what was cut off; after a line that is whole this makes an empty one.
            buffer.push(b'\n');
        }
        let link = line::write(
            &mut buffer,
            &Link { sequence: end.sequence.saturating_add(missing), ..end },
            &record,
            Some(&note),
        );
        let start = Point { offset: length, link: end };
        let head = Head { file: number, written: start, durable: start, boot: self.boot };
        let mut known = Known { raw: head.raw(), head, file };
        // Into the file that it is about, however full that is: what was cut off ends there.
        self.put(&mut known, &buffer, link, true)?;
        Ok(known)
    }

    /// Appends whole lines and says so in `head`. If this fails, what was written is taken back.
    fn write(&self, known: &mut Known, lines: &[u8], link: Link, durable: bool) -> Result<()> {
        let start = known.head.written.offset;
        if start > 0 && !lines.is_empty() && start.saturating_add(lines.len() as u64) > self.limit {
            self.rotate(known)?;
        }
        self.put(known, lines, link, durable)
    }

    /// Like [`Tail::write`], into the file as it is.
    fn put(&self, known: &mut Known, lines: &[u8], link: Link, durable: bool) -> Result<()> {
        let path = self.path(known.head.file);
        let start = known.head.written.offset;
        let mut head = known.head.clone();
        head.boot = self.boot;
        head.written = Point { offset: start + lines.len() as u64, link };
        let mut append = || {
            (&known.file).write_all(lines).map_err(Error::io("write", &path))?;
            if durable || head.written.offset - head.durable.offset.min(start) > UNDURABLE {
                known.file.sync_data().map_err(Error::io("sync", &path))?;
                head.durable = head.written;
            }
            let raw = head.raw();
            self.put_head(&raw, false).map(|()| raw)
        };
        match append() {
            Ok(raw) => {
                (known.raw, known.head) = (raw, head);
                Ok(())
            }
            Err(error) => {
                // Where this is refused too, the next one finds an end that is not in `head`, and repairs it.
                let _ = known.file.set_len(start);
                Err(error)
            }
        }
    }

    /// Goes on in a new file. `head` names it before the first record is in it.
    fn rotate(&self, known: &mut Known) -> Result<()> {
        let path = self.path(known.head.file);
        known.file.sync_data().map_err(Error::io("sync", path))?;
        let number = known.head.written.link.sequence.saturating_add(1);
        let file = self.create(number)?;
        let length = file.metadata().map_err(Error::io("read", self.path(number)))?.len();
        let point = Point { offset: 0, link: known.head.written.link };
        let head = Head { file: number, written: point, durable: point, boot: self.boot };
        let raw = head.raw();
        self.put_head(&raw, true)?;
        if length > 0 {
            let error = io::Error::from(io::ErrorKind::AlreadyExists);
            return Err(Error::io("create", self.path(number))(error));
        }
        *known = Known { raw, head, file };
        Ok(())
    }

    /// Opens a file for appending, and makes it if it is missing.
    fn create(&self, number: u64) -> Result<File> {
        let path = self.path(number);
        let file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&path);
        let file = file.map_err(Error::io("create", path))?;
        layout::sync_directory(&self.layout.audit())?;
        Ok(file)
    }

    fn put_head(&self, raw: &Raw, durable: bool) -> Result<()> {
        let path = self.head_path();
        let Some(file) = &self.head_file else { unreachable!("the lock is held") };
        file.write_all_at(raw, 0).map_err(Error::io("write", &path))?;
        if durable {
            file.sync_data().map_err(Error::io("sync", &path))?;
        }
        Ok(())
    }

    fn path(&self, number: u64) -> PathBuf {
        files::path(&self.layout, number)
    }

    fn head_path(&self) -> PathBuf {
        self.layout.audit().join(HEAD)
    }
}

/// A log that is not as it was left.
struct Found {
    number: u64,
    file: File,
    /// The last record of the chain.
    end: Link,
    /// Of the file.
    length: u64,
    /// Bytes after the last record.
    garbage: u64,
    /// Records that `head` knows and that are not there.
    missing: u64,
}

/// What follows the last record, unless it is longer than a record can be.
fn rest(file: &File, end: &Point, length: u64) -> io::Result<Option<Vec<u8>>> {
    let size = usize::try_from(length - end.offset).unwrap_or(usize::MAX);
    if size > line::LONGEST {
        return Ok(None);
    }
    let mut rest = vec![0; size];
    file.read_exact_at(&mut rest, end.offset)?;
    Ok(Some(rest))
}

/// The link after a record that has everything but its line feed.
fn unended(file: &File, end: &Point, length: u64) -> io::Result<Option<Link>> {
    let line = rest(file, end, length)?.and_then(|rest| AuditLine::parse(&rest).ok());
    Ok(line.filter(|line| line.continues(&end.link)).map(|line| line.link()))
}

/// Whether what follows the last record is the beginning of the next one, and nothing else: what a process leaves that is killed
/// while it writes.
fn is_torn(file: &File, end: &Point, length: u64) -> io::Result<bool> {
    Ok(rest(file, end, length)?.is_some_and(|rest| looks_torn(&rest, &end.link)))
}

/// See [`is_torn`].
pub(super) fn looks_torn(rest: &[u8], after: &Link) -> bool {
    let expected = line::beginning(after);
    let common = expected.len().min(rest.len());
    rest[..common] == expected[..common] && !rest.contains(&b'\n')
}

pub(super) const HEAD: &str = "head";
/// After so many bytes that nobody waited for, somebody waits: what a power cut takes is bounded, and so is the part of the log that
/// is read again after one.
const UNDURABLE: u64 = 1 << 20;
/// Memory that is kept between appends.
const BUFFER: usize = 64 << 10;
