//! What is mounted now, in every mount namespace that can be seen (proc(5): `mountinfo`).
//!
//! A mount is recognised by its file system, not by its path: paths move with the directories above them, and every mount
//! namespace has its own. Device numbers are given out again, so the type and the source are part of it.

use crate::{Error, Result, kernel};
use larder_store::MountRecord;
use rustix::fs::{AtFlags, CWD, StatxFlags};
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

/// What was mounted when it was made.
#[derive(Debug, Default)]
pub struct Mounts {
    identities: HashSet<Vec<u8>>,
    /// Every directory where something is mounted, as somebody sees it.
    dirs: HashSet<PathBuf>,
    /// Mount namespaces that were looked into.
    namespaces: HashSet<Vec<u8>>,
    /// Mount namespaces that are kept by a file, maybe without a process.
    kept: HashSet<Vec<u8>>,
    /// Somebody could not be looked at.
    blind: bool,
}

impl Mounts {
    /// Looks at the mounts of every process that can be seen.
    ///
    /// # Errors
    /// [`Error::File`] if `/proc` cannot be read at all.
    pub fn look() -> Result<Self> {
        let mut mounts = Self::default();
        mounts.add(&read_own()?);
        let mut views = HashSet::new();
        // Whoever starts meanwhile in a new namespace has it from somebody; once more until nobody new is there.
        while mounts.pass(&mut views)? {}
        mounts.blind |= mounts.kept.iter().any(|kept| !mounts.namespaces.contains(kept));
        Ok(mounts)
    }

    /// Whether the recorded mount was seen somewhere. A record without identity is looked for by its path.
    pub fn has(&self, record: &MountRecord) -> bool {
        match &record.identity {
            Some(identity) => self.identities.contains(identity),
            None => self.dirs.contains(&record.dir),
        }
    }

    /// Whether the recorded mount was seen, or may be where nothing could be seen.
    pub fn may_have(&self, record: &MountRecord) -> bool {
        self.has(record) || (record.identity.is_some() && self.blind)
    }

    /// One walk over all threads. Whether there was somebody new.
    fn pass(&mut self, views: &mut HashSet<(Vec<u8>, u64, u64)>) -> Result<bool> {
        let proc = Path::new("/proc");
        let mut new = false;
        for process in numbered(proc).map_err(Error::file("list", proc))? {
            // A process that is gone has nothing mounted.
            let Ok(threads) = numbered(&process.join("task")) else { continue };
            for thread in threads {
                match self.thread(&thread, views) {
                    Ok(found) => new |= found,
                    Err(error) if is_gone(&error) => {}
                    Err(_) => self.blind = true,
                }
            }
        }
        Ok(new)
    }

    /// `mountinfo` leaves out what is not below the root of the thread, so threads share a view if they share both.
    fn thread(&mut self, thread: &Path, views: &mut HashSet<(Vec<u8>, u64, u64)>) -> io::Result<bool> {
        let namespace =
            || Ok::<_, io::Error>(fs::read_link(thread.join("ns/mnt"))?.into_os_string().into_vec());
        let before = namespace()?;
        let flags = AtFlags::NO_AUTOMOUNT | AtFlags::STATX_DONT_SYNC;
        let root = rustix::fs::statx(CWD, thread.join("root"), flags, StatxFlags::INO | StatxFlags::MNT_ID)?;
        let view = (before.clone(), root.stx_mnt_id, root.stx_ino);
        if views.contains(&view) {
            return Ok(false);
        }
        let text = fs::read(thread.join("mountinfo"))?;
        self.add(&text);
        if namespace()? == before {
            self.namespaces.insert(before);
            views.insert(view);
        }
        Ok(true)
    }

    fn add(&mut self, text: &[u8]) {
        for row in rows(text) {
            if row.filesystem == b"nsfs" && row.root.starts_with(b"mnt:") {
                self.kept.insert(row.root.to_vec());
            }
            self.identities.insert(row.identity());
            self.dirs.insert(row.dir());
        }
    }
}

/// Every directory of this mount namespace where something is mounted.
pub fn mount_points() -> Result<HashSet<PathBuf>> {
    Ok(rows(&read_own()?).map(|row| row.dir()).collect())
}

/// What a mount in this mount namespace is recognised by, and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) identity: Vec<u8>,
    /// `overlay`, for example.
    pub(crate) filesystem: String,
}

/// What is mounted at `dir`, on top of all that may be mounted there. `None` if nothing is.
pub(crate) fn at(dir: &Path) -> Result<Option<Found>> {
    let Some(id) = kernel::mount_id(dir)? else { return Ok(None) };
    let text = read_own()?;
    let found = rows(&text).find(|row| row.id == id.to_string().as_bytes());
    Ok(found.map(|row| Found {
        identity: row.identity(),
        filesystem: String::from_utf8_lossy(row.filesystem).into_owned(),
    }))
}

/// Where in this mount namespace a mount is.
pub(crate) fn whereabouts(identity: &[u8]) -> Result<Option<PathBuf>> {
    Ok(rows(&read_own()?).find(|row| row.identity() == identity).map(|row| row.dir()))
}

fn read_own() -> Result<Vec<u8>> {
    let path = Path::new("/proc/thread-self/mountinfo");
    fs::read(path).map_err(Error::file("read", path))
}

/// Entries that are named by a number.
fn numbered(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_name().as_bytes().iter().all(u8::is_ascii_digit) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Whether the process ended; one that nobody waited for yet has no namespaces any more.
fn is_gone(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let gone = [Errno::NOENT, Errno::SRCH, Errno::INVAL];
    gone.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A line of `mountinfo`, as it is written.
struct Row<'a> {
    id: &'a [u8],
    device: &'a [u8],
    root: &'a [u8],
    dir: &'a [u8],
    filesystem: &'a [u8],
    source: &'a [u8],
}

impl Row<'_> {
    fn identity(&self) -> Vec<u8> {
        [self.device, self.filesystem, self.source].join(&b' ')
    }

    fn dir(&self) -> PathBuf {
        OsString::from_vec(unescape(self.dir)).into()
    }
}

fn rows(text: &[u8]) -> impl Iterator<Item = Row<'_>> {
    text.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (id, _parent, device) = (fields.next()?, fields.next()?, fields.next()?);
        let (root, dir) = (fields.next()?, fields.next()?);
        // Any number of optional fields ends with a dash.
        let mut fields = fields.skip_while(|field| *field != b"-").skip(1);
        Some(Row { id, device, root, dir, filesystem: fields.next()?, source: fields.next()? })
    })
}

/// Undoes the octal escapes.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        match rest {
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', tail @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest = tail;
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mountinfo_escapes() {
        for (field, expected) in [
            ("/a\\040b", "/a b"),
            ("/a\\134b\\011", "/a\\b\t"),
            ("/plain", "/plain"),
            ("\\04", "\\04"),
            ("/x\\", "/x\\"),
        ] {
            assert_eq!(unescape(field.as_bytes()), expected.as_bytes());
        }
        assert!(mount_points().unwrap().contains(Path::new("/proc")));
    }

    #[test]
    fn lines_with_and_without_optional_fields() {
        let text = b"36 35 98:0 /mnt1 /mnt\\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw\n\
                     37 35 0:45 / /m ro - overlay larder ro,lowerdir=/a - b\nnonsense\n\n";
        let found: Vec<_> = rows(text).map(|row| (row.id.to_vec(), row.identity(), row.dir())).collect();
        let expected = [("36", "98:0 ext3 /dev/root", "/mnt 2"), ("37", "0:45 overlay larder", "/m")];
        let expected = expected.map(|(id, identity, dir)| (id.into(), identity.into(), PathBuf::from(dir)));
        assert_eq!(found, expected);
    }

    #[test]
    fn what_cannot_be_seen_may_be_there() {
        let record = |identity: Option<&str>| MountRecord {
            dir: "/no/such".into(),
            identity: identity.map(Into::into),
            manifest: larder_core::Digest::of(b""),
            driver: "erofs".into(),
            writable: None,
            extra: Vec::new(),
        };
        let mut mounts = Mounts::default();
        mounts.add(b"37 35 0:45 / /m ro - overlay larder ro\n");
        assert!(mounts.has(&record(Some("0:45 overlay larder"))));
        for other in [record(Some("0:45 tmpfs none")), record(None)] {
            assert!(!mounts.has(&other) && !mounts.may_have(&other));
        }
        mounts.blind = true;
        assert!(mounts.may_have(&record(Some("0:45 tmpfs none"))));
        assert!(!mounts.may_have(&record(None)), "it was always looked for in what can be seen");
    }

    #[test]
    fn everybody_is_looked_at() {
        let mounts = Mounts::look().unwrap();
        let own = fs::read_link("/proc/self/ns/mnt").unwrap().into_os_string().into_vec();
        assert!(mounts.namespaces.contains(&own));
        assert!(mounts.identities.contains(&at(Path::new("/proc")).unwrap().unwrap().identity));
        assert_eq!(at(Path::new("/proc/self")).unwrap(), None);
    }
}
