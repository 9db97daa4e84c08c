//! Zip archives, of which only the members are of interest.

use crate::error::{Error, Result};
use crate::limits::Limits;
use crate::member::clean;
use std::io::{self, Read, Seek};
use zip::CompressionMethod;

/// A zip archive (APPNOTE 6.3) of stored and deflated members.
///
/// Refused: members of one name, members that share bytes, a central directory that contradicts the members' own headers,
/// encryption, names that go up. Sizes are bounded by [`Limits`] before a byte is inflated, and again while bytes are.
pub struct ZipReader<R> {
    archive: zip::ZipArchive<R>,
    limits: Limits,
}

/// One member of a [`ZipReader`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ZipMember {
    /// Where it is in the archive: what [`ZipReader::read`] takes.
    pub index: usize,
    /// As clean as [`Entry::path`](crate::Entry::path).
    pub path: Vec<u8>,
    /// What it is.
    pub kind: ZipKind,
    /// Length of its content in bytes.
    pub size: u64,
    /// Permissions where the archive was made on a Unix.
    pub mode: Option<u16>,
}

/// What a [`ZipMember`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ZipKind {
    /// A directory.
    Directory,
    /// A regular file.
    File,
    /// A symbolic link; its content is the target.
    Symlink,
    /// A device, a pipe or a socket.
    Other,
}

impl<R: Read + Seek> ZipReader<R> {
    /// Reads the directory of an archive of `size_bytes`, and its members.
    ///
    /// # Errors
    /// [`Error::Zip`], [`Error::Member`], [`Error::Limit`].
    pub fn new(reader: R, size_bytes: u64, limits: &Limits) -> Result<(Self, Vec<ZipMember>)> {
        let mut archive = zip::ZipArchive::new(reader).map_err(malformed)?;
        if archive.len() > limits.entries as usize {
            return Err(Error::Limit { what: "members of an archive", limit: u64::from(limits.entries) });
        }
        let refuse = |problem: &str| Error::Zip { problem: problem.into() };
        if archive.has_duplicate_names() {
            return Err(refuse("two members have one name"));
        }
        if archive.has_overlapping_entries().map_err(malformed)? {
            return Err(refuse("members share bytes"));
        }
        archive.validate_header_consistency().map_err(malformed)?;
        let mut members = Vec::with_capacity(archive.len());
        let mut total = 0_u64;
        for index in 0..archive.len() {
            let member = archive.by_index_data(index).map_err(malformed)?;
            let name = member.name_raw();
            let fails = |problem| Error::Member {
                path: crate::error::shown(name),
                offset: member.header_start(),
                problem,
            };
            if member.encrypted() {
                return Err(fails("it is encrypted"));
            }
            if !matches!(member.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
                return Err(fails("its compression is not supported"));
            }
            if name.contains(&b'\\') || name.contains(&0) {
                return Err(fails("its name has a backslash or a NUL"));
            }
            let (path, slash) = clean(name, limits).map_err(fails)?;
            total = total.saturating_add(member.size());
            // Elsewhere modes are made up of a flag or two.
            let mode = member.unix_mode().filter(|_| member.system() == zip::System::Unix);
            let kind = match mode.map_or(0, |mode| mode & 0o170_000) {
                0o120_000 => ZipKind::Symlink,
                0o040_000 => ZipKind::Directory,
                0 | 0o100_000 if slash => ZipKind::Directory,
                0 | 0o100_000 => ZipKind::File,
                _ => ZipKind::Other,
            };
            if (kind == ZipKind::Directory) && member.size() > 0 {
                return Err(fails("it is a directory with content"));
            }
            let mode = mode.map(|mode| (mode & 0o7777) as u16);
            members.push(ZipMember { index, path, kind, size: member.size(), mode });
        }
        if total > limits.bytes {
            return Err(Error::Limit { what: "uncompressed bytes of an archive", limit: limits.bytes });
        }
        let ratio = u64::from(limits.ratio);
        if total > RATIO_FREE && total > size_bytes.saturating_mul(ratio) {
            return Err(Error::Limit { what: "uncompressed bytes per compressed byte", limit: ratio });
        }
        Ok((Self { archive, limits: limits.clone() }, members))
    }

    /// The content of a member: as many bytes as the directory says, whose checksum is right, or an error.
    ///
    /// # Errors
    /// [`Error::Zip`].
    pub fn read(&mut self, member: &ZipMember) -> Result<impl Read + use<'_, R>> {
        if member.size > self.limits.bytes {
            return Err(Error::Limit { what: "bytes of a member", limit: self.limits.bytes });
        }
        let file = self.archive.by_index(member.index).map_err(malformed)?;
        Ok(Exact { reader: file, left: member.size })
    }
}

impl<R> std::fmt::Debug for ZipReader<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ZipReader").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// Exactly so many bytes; more are an error, as are fewer.
struct Exact<R> {
    reader: R,
    left: u64,
}

impl<R: Read> Read for Exact<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        let count = self.reader.read(out).map_err(|error| {
            // What the operating system does not say is said of the bytes.
            let is_ours = error.raw_os_error().is_some() || error.kind() == io::ErrorKind::Interrupted;
            if is_ours { error } else { Error::Zip { problem: error.to_string() }.into() }
        })?;
        match self.left.checked_sub(count as u64) {
            None => Err(Error::Zip { problem: "a member is longer than it says".into() }.into()),
            Some(left) if count == 0 && left > 0 => {
                Err(Error::Zip { problem: "a member is shorter than it says".into() }.into())
            }
            Some(left) => {
                self.left = left;
                Ok(count)
            }
        }
    }
}

fn malformed(error: zip::result::ZipError) -> Error {
    match error {
        zip::result::ZipError::Io(error) => Error::Read(error),
        other => Error::Zip { problem: other.to_string() },
    }
}

/// So much may come out of anything.
const RATIO_FREE: u64 = 64 << 20;
