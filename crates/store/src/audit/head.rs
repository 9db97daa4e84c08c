//! `audit/head`: how the log ended when somebody last wrote to it. Also the lock of the log.

use super::line::{self, Link};
use larder_core::Digest;
use std::borrow::Cow;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// The state of a log after an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Head {
    /// The file that is written to, by the sequence of its first record.
    pub(super) file: u64,
    /// The end of it.
    pub(super) written: Point,
    /// As far as it is known to be on the disk.
    pub(super) durable: Point,
    /// In which boot; see [`boot`].
    pub(super) boot: Digest,
}

/// A place in the file that is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Point {
    /// Its distance from the start of the file, in bytes.
    pub(super) offset: u64,
    pub(super) link: Link,
}

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Read {
    /// It was just created.
    Empty,
    /// It is not what was written.
    Damaged,
    Head(Box<Head>),
}

/// FORMAT: the first 512 bytes of `audit/head`: one object that is sealed like a line of the log, filled up with blanks. It is
/// overwritten in place, under the lock: it lies within one sector, so a power cut leaves the old or the new content.
pub(super) type Raw = [u8; 512];

impl Head {
    /// A log without records.
    pub(super) fn start(boot: Digest) -> Self {
        let point = Point { offset: 0, link: Link::start() };
        Self { file: 1, written: point, durable: point, boot }
    }

    pub(super) fn raw(&self) -> Raw {
        let Self { file, written, durable, boot } = self;
        let mut text = format!(
            r#"{{"format":1,"file":{file},"sequence":{},"offset":{},"last":"{}","durable_sequence":{},"durable_offset":{},"durable_last":"{}","boot":"{}""#,
            written.link.sequence,
            written.offset,
            written.link.hash.hex(),
            durable.link.sequence,
            durable.offset,
            durable.link.hash.hex(),
            &boot.hex()[..BOOT],
        )
        .into_bytes();
        line::seal(&mut text, 0);
        let mut raw = [b' '; 512];
        raw[..text.len()].copy_from_slice(&text);
        raw[511] = b'\n';
        raw
    }

    pub(super) fn parse(raw: &Raw) -> Option<Self> {
        let text = raw.trim_ascii_end();
        let body = &text[..text.len().checked_sub(line::SEAL)?];
        let mut sealed = body.to_vec();
        line::seal(&mut sealed, 0);
        if sealed != text {
            return None;
        }
        let fields: Fields<'_> = serde_json::from_slice(text).ok()?;
        let point = |offset, sequence, hash: &str| {
            Some(Point { offset, link: Link { sequence, hash: line::digest(hash)? } })
        };
        (fields.format == 1).then_some(())?;
        Some(Self {
            file: fields.file,
            written: point(fields.offset, fields.sequence, &fields.last)?,
            durable: point(fields.durable_offset, fields.durable_sequence, &fields.durable_last)?,
            boot: line::digest(&format!("{}{}", fields.boot, &"0".repeat(64)[BOOT..]))?,
        })
    }
}

/// What stands for a boot: enough of its hash.
pub(super) fn boot(id: &str) -> Digest {
    let hex = Digest::of(id.as_bytes()).hex();
    line::digest(&format!("{}{}", &hex[..BOOT], &"0".repeat(64)[BOOT..]))
        .expect("64 hexadecimal digits are a digest")
}

/// Reads the bytes; `None` if the file is empty. A short file is filled up with zeros, and so is damaged.
pub(super) fn read(file: &File) -> io::Result<Option<Raw>> {
    let mut raw = [0; 512];
    let mut filled = 0;
    while filled < raw.len() {
        match file.read_at(&mut raw[filled..], filled as u64) {
            Ok(0) => break,
            Ok(length) => filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok((filled > 0).then_some(raw))
}

impl Read {
    pub(super) fn of(raw: Option<&Raw>) -> Self {
        match raw {
            None => Self::Empty,
            Some(raw) => Head::parse(raw).map_or(Self::Damaged, |head| Self::Head(Box::new(head))),
        }
    }
}

#[derive(serde::Deserialize)]
struct Fields<'a> {
    format: u64,
    file: u64,
    sequence: u64,
    offset: u64,
    last: Cow<'a, str>,
    durable_sequence: u64,
    durable_offset: u64,
    durable_last: Cow<'a, str>,
    boot: Cow<'a, str>,
}

/// Hexadecimal digits of a boot that are kept.
const BOOT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_head_fits_and_is_read_back() {
        let hash = Digest::of(b"x");
        let point = Point { offset: u64::MAX, link: Link { sequence: u64::MAX, hash } };
        let head = Head { file: u64::MAX, written: point, durable: point, boot: boot("some boot") };
        assert_eq!(Head::parse(&head.raw()), Some(head.clone()));
        for at in 0..512 {
            let mut raw = head.raw();
            raw[at] ^= 1;
            let read = Head::parse(&raw);
            assert!(read.is_none() || read == Some(head.clone()) && raw[at].is_ascii_whitespace(), "{at}");
        }
        assert_eq!(Head::parse(&[0; 512]), None);
    }
}
