//! One archive format for everything: `.tar.zst` whose bytes depend on the files in it and on nothing else.
//!
//! Members are sorted by name; owner and group are 0; every time is the start of 1980 (what zip can say, and early enough that no
//! archive is newer); modes are 0755 for directories and programs, 0644 for other files. Hard links become files.

use crate::{Error, Result};
use larder_core::{Algorithm, Digest, Hasher};
use larder_rootfs::{
    ArchiveWriter, Body, Compressor, Decoder, Error as ArchiveError, Extent, Limits, Scanner, ZipKind,
    ZipReader,
};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// What to do with a file.
#[derive(Debug, Clone)]
pub(crate) struct Packing<'p> {
    /// The package, for errors.
    pub(crate) what: String,
    /// The file is a program with this name, and no archive.
    pub(crate) binary: Option<String>,
    /// Where the inflated tar may be put meanwhile.
    pub(crate) scratch: &'p Path,
    /// Bounds of what comes out.
    pub(crate) limits: &'p Limits,
    /// The level of zstd.
    pub(crate) level: i32,
    /// Threads that compress.
    pub(crate) threads: usize,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packed {
    /// Of the archive.
    pub(crate) digest: Digest,
    /// Of the archive, in bytes.
    pub(crate) size: u64,
    /// Of the files in it, in bytes.
    pub(crate) unpacked_size: u64,
}

/// A file to be packed.
enum Item {
    Directory,
    File { program: bool, content: Content },
    Symlink(Vec<u8>),
}

enum Content {
    /// Parts of the inflated tar.
    Tar { size: u64, extents: Vec<Extent> },
    /// A member of the zip.
    Zip(larder_rootfs::ZipMember),
    /// The whole inflated file.
    Whole(u64),
}

/// Where content comes from.
enum Source {
    Plain(File),
    Zip(ZipReader<BufReader<File>>),
}

impl Packing<'_> {
    /// Makes the archive `target` of the file `source`, which is a tar or zip archive, compressed or not, or a program.
    ///
    /// # Errors
    /// [`Error::Archive`] and [`Error::Member`] for what is refused, [`Error::File`].
    pub(crate) fn pack(&self, source: &Path, target: &Path) -> Result<Packed> {
        let made = self.read(source).and_then(|(items, mut source)| self.write(&items, &mut source, target));
        // It is of no use to anybody else, and may be gone already.
        let _ = std::fs::remove_file(self.scratch);
        made
    }

    fn read(&self, source: &Path) -> Result<(BTreeMap<Vec<u8>, Item>, Source)> {
        let mut file = File::open(source).map_err(Error::file("open", source))?;
        let mut magic = [0; 4];
        let read = file.read(&mut magic).map_err(Error::file("read", source))?;
        file.seek(SeekFrom::Start(0)).map_err(Error::file("read", source))?;
        match &self.binary {
            None if &magic[..read] == b"PK\x03\x04" || &magic[..read] == b"PK\x05\x06" => {
                self.read_zip(file, source)
            }
            _ => self.read_tar(file),
        }
    }

    /// Inflates a tar, or a program, into the scratch file.
    fn read_tar(&self, file: File) -> Result<(BTreeMap<Vec<u8>, Item>, Source)> {
        let scratch = self.scratch;
        let mut inflated = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(scratch)
            .map_err(Error::file("create", scratch))?;
        let mut decoder = Decoder::of_anything(file, self.limits);
        let mut scanner = self.binary.is_none().then(|| Scanner::new(self.limits.clone()));
        let mut buffer = vec![0; 256 << 10];
        let mut size = 0;
        loop {
            let count =
                decoder.read(&mut buffer).map_err(|error| self.refused(ArchiveError::from_io(error)))?;
            if count == 0 {
                break;
            }
            if let Some(scanner) = &mut scanner {
                scanner.feed(&buffer[..count]).map_err(|error| self.refused(error))?;
            }
            inflated.write_all(&buffer[..count]).map_err(Error::file("write", scratch))?;
            size += count as u64;
        }
        let mut items = BTreeMap::new();
        match (scanner, &self.binary) {
            (Some(scanner), _) => {
                let layer = scanner.finish().map_err(|error| self.refused(error))?;
                for entry in layer.entries() {
                    self.keep_tar_member(&mut items, entry.path.to_vec(), &entry.meta, entry.body)?;
                }
            }
            (None, name) => {
                if size == 0 {
                    return Err(self.member(b"", "is empty"));
                }
                let name = name.clone().unwrap_or_default().into_bytes();
                items.insert(name, Item::File { program: true, content: Content::Whole(size) });
            }
        }
        Ok((self.checked(items)?, Source::Plain(inflated)))
    }

    fn keep_tar_member(
        &self,
        items: &mut BTreeMap<Vec<u8>, Item>,
        path: Vec<u8>,
        meta: &larder_rootfs::Meta,
        body: Body,
    ) -> Result<()> {
        let item = match body {
            Body::Directory => Item::Directory,
            Body::File(content) => {
                let content = Content::Tar { size: content.size, extents: content.extents.to_vec() };
                Item::File { program: meta.mode & 0o111 != 0, content }
            }
            Body::Symlink(target) => Item::Symlink(target.into()),
            Body::HardLink(target) => match items.get(&*target) {
                Some(Item::File { program, content: Content::Tar { size, extents } }) => {
                    let content = Content::Tar { size: *size, extents: extents.clone() };
                    Item::File { program: *program, content }
                }
                _ => return Err(self.member(&path, "is a hard link to what is not a file before it")),
            },
            Body::Device { .. } | Body::Fifo => return Err(self.member(&path, "is a device or a pipe")),
            Body::Whiteout | Body::Opaque => return Err(self.member(&path, "is a mark of container layers")),
        };
        self.keep(items, path, item)
    }

    fn read_zip(&self, file: File, path: &Path) -> Result<(BTreeMap<Vec<u8>, Item>, Source)> {
        let size = file.metadata().map_err(Error::file("read", path))?.len();
        let (mut zip, members) =
            ZipReader::new(BufReader::new(file), size, self.limits).map_err(|error| self.refused(error))?;
        let mut items = BTreeMap::new();
        for member in members {
            let name = member.path.clone();
            let item = match member.kind {
                ZipKind::Directory => Item::Directory,
                ZipKind::Symlink => {
                    let mut target = Vec::new();
                    zip.read(&member)
                        .map_err(|error| self.refused(error))?
                        .take(4096)
                        .read_to_end(&mut target)
                        .map_err(|error| self.refused(ArchiveError::from_io(error)))?;
                    Item::Symlink(target)
                }
                ZipKind::File => {
                    let program = match member.mode {
                        Some(mode) => mode & 0o111 != 0,
                        None => self.is_program(&mut zip, &member)?,
                    };
                    Item::File { program, content: Content::Zip(member) }
                }
                ZipKind::Other => return Err(self.member(&name, "is a device or a pipe")),
            };
            self.keep(&mut items, name, item)?;
        }
        Ok((self.checked(items)?, Source::Zip(zip)))
    }

    /// An archive made where files have no modes says by its content what is to be run.
    fn is_program(
        &self,
        zip: &mut ZipReader<BufReader<File>>,
        member: &larder_rootfs::ZipMember,
    ) -> Result<bool> {
        let mut start = Vec::new();
        let reader = zip.read(member).map_err(|error| self.refused(error))?;
        reader.take(4).read_to_end(&mut start).map_err(|error| self.refused(ArchiveError::from_io(error)))?;
        Ok(start.starts_with(b"\x7fELF") || start.starts_with(b"#!"))
    }

    fn keep(&self, items: &mut BTreeMap<Vec<u8>, Item>, path: Vec<u8>, item: Item) -> Result<()> {
        if path.is_empty() {
            return match item {
                Item::Directory => Ok(()),
                _ => Err(self.member(b".", "is not a directory")),
            };
        }
        match (items.get(&path), &item) {
            (None, _) | (Some(Item::Directory), Item::Directory) => {
                items.insert(path, item);
                Ok(())
            }
            _ => Err(self.member(&path, "is there twice")),
        }
    }

    /// Adds the directories that nobody named, and refuses what would leave the place where it is unpacked.
    fn checked(&self, mut items: BTreeMap<Vec<u8>, Item>) -> Result<BTreeMap<Vec<u8>, Item>> {
        let mut implied = Vec::new();
        for (path, item) in &items {
            for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
                match items.get(&path[..at]) {
                    Some(Item::Directory) => {}
                    None => implied.push(path[..at].to_vec()),
                    Some(_) => return Err(self.member(path, "lies below something that is not a directory")),
                }
            }
            if let Item::Symlink(target) = item
                && !stays(path, target)
            {
                return Err(self.member(path, "is a link that leads out of the archive"));
            }
        }
        for path in implied {
            items.entry(path).or_insert(Item::Directory);
        }
        let is_file = |item: &Item| matches!(item, Item::File { .. });
        if !items.values().any(is_file) {
            return Err(self.member(b"", "has no files"));
        }
        Ok(items)
    }

    fn write(&self, items: &BTreeMap<Vec<u8>, Item>, source: &mut Source, target: &Path) -> Result<Packed> {
        let failed = || Error::file("write", target);
        let file = File::create(target).map_err(failed())?;
        let out = Measured { out: file, hasher: Hasher::new(Algorithm::Sha256), size: 0 };
        let compressor = Compressor::new(out, self.level, self.threads).map_err(failed())?;
        let mut writer = ArchiveWriter::new(compressor).with_mtime(MTIME);
        let mut unpacked_size = 0_u64;
        for (path, item) in items {
            match item {
                Item::Directory => writer.directory(path, 0o755).map_err(failed())?,
                Item::Symlink(link) => writer.symlink(path, link).map_err(failed())?,
                Item::File { program, content } => {
                    let mode = if *program { 0o755 } else { 0o644 };
                    unpacked_size = unpacked_size.saturating_add(content.size());
                    // Hard links may multiply what is in the archive once.
                    if unpacked_size > self.limits.bytes {
                        let limit = self.limits.bytes;
                        return Err(
                            self.refused(ArchiveError::Limit { what: "unpacked bytes of an archive", limit })
                        );
                    }
                    let written = match (content, &mut *source) {
                        (Content::Zip(member), Source::Zip(zip)) => {
                            let mut reader = zip.read(member).map_err(|error| self.refused(error))?;
                            writer.file_with_mode(path, mode, member.size, &mut reader).and_then(|()| {
                                // The checksum is compared at the end of the member.
                                match reader.read(&mut [0])? {
                                    0 => Ok(()),
                                    _ => Err(io::ErrorKind::InvalidData.into()),
                                }
                            })
                        }
                        (Content::Tar { size, extents }, Source::Plain(file)) => {
                            let mut reader = Pieces { file, extents, at: 0, size: *size };
                            writer.file_with_mode(path, mode, *size, &mut reader)
                        }
                        (Content::Whole(size), Source::Plain(file)) => {
                            let extents = [Extent { at: 0, source: 0, offset: 0, len: *size }];
                            let mut reader = Pieces { file, extents: &extents, at: 0, size: *size };
                            writer.file_with_mode(path, mode, *size, &mut reader)
                        }
                        _ => return Err(Error::Task { what: "packing" }),
                    };
                    written.map_err(|error| match ArchiveError::from_io(error) {
                        ArchiveError::Read(error) if error.kind() != io::ErrorKind::InvalidData => {
                            failed()(error)
                        }
                        refused => self.refused(refused),
                    })?;
                }
            }
        }
        let compressor = writer.finish().map_err(failed())?;
        let Measured { hasher, size, .. } = compressor.finish().map_err(failed())?;
        Ok(Packed { digest: hasher.finish(), size, unpacked_size })
    }

    fn refused(&self, source: ArchiveError) -> Error {
        Error::Archive { what: self.what.clone(), source }
    }

    fn member(&self, path: &[u8], problem: &'static str) -> Error {
        let end = path.len().min(300);
        let member = String::from_utf8_lossy(&path[..end]).into_owned();
        Error::Member { what: self.what.clone(), member, problem }
    }
}

impl Content {
    fn size(&self) -> u64 {
        match self {
            Self::Tar { size, .. } | Self::Whole(size) => *size,
            Self::Zip(member) => member.size,
        }
    }
}

/// Whether a link of the archive leads to something in the archive, read as text: nothing in between is a link, because nothing
/// may lie below one.
fn stays(path: &[u8], target: &[u8]) -> bool {
    if target.is_empty() || target.starts_with(b"/") || target.contains(&0) {
        return false;
    }
    let mut depth = path.iter().filter(|byte| **byte == b'/').count();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => match depth.checked_sub(1) {
                Some(less) => depth = less,
                None => return false,
            },
            _ => depth += 1,
        }
    }
    true
}

/// The parts of a file; zeros between them.
struct Pieces<'f> {
    file: &'f File,
    extents: &'f [Extent],
    at: u64,
    size: u64,
}

impl Read for Pieces<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.at).unwrap_or(usize::MAX).min(out.len());
        if left == 0 {
            return Ok(0);
        }
        let next = self.extents.iter().find(|extent| self.at < extent.at + extent.len);
        let count = match next {
            Some(extent) if self.at >= extent.at => {
                let skip = self.at - extent.at;
                let here = usize::try_from(extent.len - skip).unwrap_or(usize::MAX).min(left);
                self.file.read_at(&mut out[..here], extent.offset + skip)?
            }
            hole => {
                let end = hole.map_or(self.size, |extent| extent.at);
                let here = usize::try_from(end - self.at).unwrap_or(usize::MAX).min(left);
                out[..here].fill(0);
                here
            }
        };
        self.at += count as u64;
        Ok(count)
    }
}

/// Hashes and counts what is written.
struct Measured {
    out: File,
    hasher: Hasher,
    size: u64,
}

impl Write for Measured {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.out.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.size += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// FORMAT: 1980-01-01T00:00:00Z.
const MTIME: u32 = 315_532_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        for (path, target, inside) in [
            ("bin/a", "b", true),
            ("bin/a", "../lib/b", true),
            ("bin/a", "../../b", false),
            ("a", "..", false),
            ("a", "b/../../c", false),
            ("a", "/etc/passwd", false),
            ("a/b/c", "./../../d", true),
            ("a", "", false),
        ] {
            assert_eq!(stays(path.as_bytes(), target.as_bytes()), inside, "{path} -> {target}");
        }
    }
}
