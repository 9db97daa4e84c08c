//! Files inside a directory or inside an uncompressed tar, by name: what layouts and archives are made of.

use crate::{Error, Result};
use larder_core::{Classify, Kind};
use larder_rootfs::{Body, Limits, Scanner};
use rustix::fs::OFlags;
use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

/// A set of named files to read from.
pub(crate) enum Files {
    /// A directory.
    Dir(PathBuf),
    /// A tar: where each file's bytes lie.
    Tar { path: PathBuf, entries: HashMap<String, (u64, u64)> },
}

/// How many symbolic links (old `docker save` shares layers that way) are followed.
const LINKS: u32 = 4;

impl Files {
    /// Opens a directory or a tar. A compressed tar is refused with a word on how to unpack it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let failed = |source| Error::File { action: "cannot open", path: path.to_owned(), source };
        let mut file = open_at_once(path).map_err(failed)?;
        let meta = file.metadata().map_err(failed)?;
        if meta.is_dir() {
            return Ok(Self::Dir(path.to_owned()));
        }
        // A pipe or a device would hang or never end.
        if !meta.is_file() {
            let problem = "neither a regular file nor a directory".to_owned();
            return Err(Error::Archive { path: path.to_owned(), problem });
        }
        let mut buffer = vec![0; 1 << 20];
        let mut scanner = Scanner::new(Limits { entries: 200_000, ..Limits::default() });
        let broken =
            |source| Error::Rootfs { action: format!("cannot read the archive {}", path.display()), source };
        let mut first = true;
        loop {
            let count = file.read(&mut buffer).map_err(failed)?;
            if count == 0 {
                break;
            }
            if std::mem::take(&mut first)
                && larder_core::Compression::sniff(&buffer[..count]) != larder_core::Compression::None
            {
                let problem = "the archive is compressed; decompress it first".to_owned();
                return Err(Error::Archive { path: path.to_owned(), problem });
            }
            scanner.feed(&buffer[..count]).map_err(broken)?;
        }
        let layer = scanner.finish().map_err(broken)?;
        let mut entries = HashMap::new();
        let mut links: Vec<(String, String)> = Vec::new();
        for entry in layer.entries() {
            let Ok(name) = std::str::from_utf8(&entry.path) else { continue };
            match &entry.body {
                Body::File(content) => {
                    let offset = content.extents.first().map_or(0, |extent| extent.offset);
                    entries.insert(name.to_owned(), (offset, content.size));
                }
                Body::Symlink(target) => {
                    let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
                    links.extend(join(parent, target).map(|target| (name.to_owned(), target)));
                }
                Body::HardLink(target) => {
                    links.extend(join("", target).map(|target| (name.to_owned(), target)));
                }
                _ => {}
            }
        }
        for _ in 0..LINKS {
            for (name, target) in &links {
                if let Some(found) = entries.get(target).copied() {
                    entries.insert(name.clone(), found);
                }
            }
        }
        Ok(Self::Tar { path: path.to_owned(), entries })
    }

    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Dir(path) | Self::Tar { path, .. } => path,
        }
    }

    /// Opens a file inside; `None` when there is none. Returns its size, too.
    pub(crate) fn get(&self, name: &str) -> Result<Option<(Box<dyn Read + Send>, u64)>> {
        match self {
            Self::Dir(dir) => {
                if !stays_inside(name) {
                    let problem = format!("it names {name:?}, which is not inside");
                    return Err(Error::Archive { path: dir.clone(), problem });
                }
                match open_regular(&dir.join(name)) {
                    Ok((file, size)) => Ok(Some((Box::new(file), size))),
                    Err(error) if error.kind() == Kind::NotFound => Ok(None),
                    Err(error) => Err(error),
                }
            }
            Self::Tar { path, entries } => {
                let Some((offset, size)) = entries.get(name).copied() else { return Ok(None) };
                let failed = |source| Error::File { action: "cannot read", path: path.clone(), source };
                let (mut file, _) = open_regular(path)?;
                file.seek(SeekFrom::Start(offset)).map_err(failed)?;
                Ok(Some((Box::new(file.take(size)), size)))
            }
        }
    }

    /// A small file, whole. Larger than `limit` is an error, whatever the archive says about its size.
    pub(crate) fn small(&self, name: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some((reader, size)) = self.get(name)? else { return Ok(None) };
        let large = || Error::Archive {
            path: self.path().to_owned(),
            problem: format!("{name} is larger than {limit} bytes"),
        };
        if size > limit {
            return Err(large());
        }
        let mut bytes = Vec::new();
        let failed = |source| Error::File { action: "cannot read", path: self.path().join(name), source };
        reader.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > limit { Err(large()) } else { Ok(Some(bytes)) }
    }
}

/// Opens without waiting for anybody: a pipe without a writer would block for ever.
fn open_at_once(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Opens a regular file and nothing else. Returns its size, too.
fn open_regular(path: &Path) -> Result<(File, u64)> {
    let failed = |source| Error::File { action: "cannot open", path: path.to_owned(), source };
    let file = open_at_once(path).map_err(failed)?;
    let meta = file.metadata().map_err(failed)?;
    if !meta.is_file() {
        return Err(Error::Archive { path: path.to_owned(), problem: "not a regular file".into() });
    }
    Ok((file, meta.len()))
}

/// Whether a name that a manifest gives leads down from where it is.
fn stays_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    !name.is_empty() && parts.all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
}

/// A link target relative to `parent`, without leaving the archive.
fn join(parent: &str, target: &[u8]) -> Option<String> {
    let target = std::str::from_utf8(target).ok()?;
    let mut parts: Vec<&str> = if target.starts_with('/') { Vec::new() } else { parent.split('/').collect() };
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    parts.retain(|part| !part.is_empty());
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside() {
        assert_eq!(join("abc", b"../def/layer.tar").as_deref(), Some("def/layer.tar"));
        assert_eq!(join("abc", b"../../etc/passwd"), None);
        assert_eq!(join("", b"/x").as_deref(), Some("x"));
    }

    #[test]
    fn names_stay_inside() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), b"x").unwrap();
        let inside = dir.path().join("inside");
        std::fs::create_dir_all(inside.join("a")).unwrap();
        std::fs::write(inside.join("a/b"), b"x").unwrap();
        let files = Files::open(&inside).unwrap();
        for name in ["../secret", "a/../../secret", "/etc/passwd", ""] {
            assert!(matches!(files.get(name), Err(Error::Archive { .. })), "{name}");
        }
        for name in ["a/b", "./a/b"] {
            assert!(files.get(name).unwrap().is_some(), "{name}");
        }
        assert!(files.get("a").is_err(), "a directory is no file");
    }

    #[test]
    fn bounded_reads() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("index.json"), vec![b' '; 100]).unwrap();
        let files = Files::open(dir.path()).unwrap();
        assert!(files.small("index.json", 99).is_err());
        assert_eq!(files.small("index.json", 100).unwrap().unwrap().len(), 100);
        assert!(files.small("absent", 1).unwrap().is_none());
    }
}
