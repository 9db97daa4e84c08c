//! Everything that can be seen of a directory tree, in a form that can be compared.

use anyhow::{Context as _, Result};
use larder_core::{Algorithm, Digest, Hasher};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// The entries of a tree by path; the root is the empty path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// The entries.
    pub entries: BTreeMap<PathBuf, Listed>,
}

/// What can be seen of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it is.
    pub kind: ListedKind,
    /// Permission bits (07777).
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Names that mean this entry. For directories always 0: file systems count differently.
    pub links: u64,
    /// Another path of the same file: the first in order, empty for the first itself.
    pub same_as: Option<PathBuf>,
    /// Extended attributes, without those in `system.`.
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// The kinds of entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListedKind {
    /// A directory.
    Directory,
    /// A regular file.
    File {
        /// Length in bytes.
        size: u64,
        /// SHA-256 of the content.
        digest: Digest,
    },
    /// A symbolic link.
    Symlink(PathBuf),
    /// A character device: major, minor.
    CharDevice(u32, u32),
    /// A block device: major, minor.
    BlockDevice(u32, u32),
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

/// What [`Listing::differences`] leaves out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ignore {
    /// Modification times of everything.
    pub mtime: bool,
    /// Modification times of directories only: unpacking in another order changes them.
    pub directory_mtime: bool,
    /// Nanoseconds.
    pub nanoseconds: bool,
    /// Owners and groups.
    pub owner: bool,
    /// Extended attributes.
    pub xattrs: bool,
    /// All attributes of the root itself.
    pub root: bool,
}

impl Listing {
    /// Reads the tree at `root`; links are never followed, except `root` itself.
    pub fn of(root: &Path) -> Result<Self> {
        let mut listing = Self { entries: BTreeMap::new() };
        let root = root.canonicalize().with_context(|| format!("cannot find {}", root.display()))?;
        listing.read(&root, Path::new(""))?;
        let mut first: HashMap<(u64, u64), PathBuf> = HashMap::new();
        for (path, listed) in &mut listing.entries {
            if listed.kind != ListedKind::Directory && listed.links > 1 {
                let metadata = root.join(path).symlink_metadata().context("it changed while it was read")?;
                let inode = (metadata.dev(), metadata.ino());
                match first.get(&inode) {
                    Some(other) => listed.same_as = Some(other.clone()),
                    None => drop(first.insert(inode, path.clone())),
                }
            }
        }
        Ok(listing)
    }

    /// The paths, without the root.
    pub fn paths(&self) -> Vec<String> {
        self.entries
            .keys()
            .filter(|path| !path.as_os_str().is_empty())
            .map(|path| path.display().to_string())
            .collect()
    }

    /// One entry.
    pub fn get(&self, path: &str) -> Option<&Listed> {
        self.entries.get(Path::new(path))
    }

    /// What is different in `other`, one line each; empty where nothing is.
    pub fn differences(&self, other: &Self, ignore: Ignore) -> Vec<String> {
        let mut differences = Vec::new();
        for (path, left) in &self.entries {
            match other.entries.get(path) {
                None => differences.push(format!("only left:  {}", line(path, left))),
                Some(right) => {
                    let (left, right) = (ignore.apply(path, left), ignore.apply(path, right));
                    if left != right {
                        differences.push(format!(
                            "left:  {}\nright: {}",
                            line(path, &left),
                            line(path, &right)
                        ));
                    }
                }
            }
        }
        for (path, right) in &other.entries {
            if !self.entries.contains_key(path) {
                differences.push(format!("only right: {}", line(path, right)));
            }
        }
        differences
    }

    /// Insists that `other` is the same.
    ///
    /// # Panics
    /// With all differences otherwise.
    #[track_caller]
    pub fn assert_same(&self, other: &Self, ignore: Ignore) {
        let differences = self.differences(other, ignore);
        assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    }

    fn read(&mut self, root: &Path, path: &Path) -> Result<()> {
        // Joining an empty path would add a slash, and a slash follows links.
        let full = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(path) };
        let listed = Listed::of(&full).with_context(|| format!("cannot list {}", full.display()))?;
        let is_directory = listed.kind == ListedKind::Directory;
        self.entries.insert(path.to_owned(), listed);
        if is_directory {
            for entry in full.read_dir().with_context(|| format!("cannot read {}", full.display()))? {
                let name = entry.with_context(|| format!("cannot read {}", full.display()))?.file_name();
                self.read(root, &path.join(name))?;
            }
        }
        Ok(())
    }
}

impl Listed {
    fn of(path: &Path) -> Result<Self> {
        let metadata = path.symlink_metadata()?;
        let device = metadata.rdev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let kind = metadata.file_type();
        let kind = if kind.is_dir() {
            ListedKind::Directory
        } else if kind.is_file() {
            ListedKind::File { size: metadata.len(), digest: digest_of(path)? }
        } else if kind.is_symlink() {
            ListedKind::Symlink(path.read_link()?)
        } else if kind.is_char_device() {
            ListedKind::CharDevice(major, minor)
        } else if kind.is_block_device() {
            ListedKind::BlockDevice(major, minor)
        } else if kind.is_fifo() {
            ListedKind::Fifo
        } else {
            ListedKind::Socket
        };
        Ok(Self {
            mode: metadata.mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: (metadata.mtime(), metadata.mtime_nsec() as u32),
            links: if kind == ListedKind::Directory { 0 } else { metadata.nlink() },
            same_as: None,
            xattrs: xattrs_of(path)?,
            kind,
        })
    }
}

impl Ignore {
    fn apply(self, path: &Path, listed: &Listed) -> Listed {
        let mut listed = listed.clone();
        let root = self.root && path.as_os_str().is_empty();
        let is_directory = listed.kind == ListedKind::Directory;
        if root || self.mtime || (self.directory_mtime && is_directory) {
            listed.mtime = (0, 0);
        }
        if self.nanoseconds {
            listed.mtime.1 = 0;
        }
        if root || self.owner {
            (listed.uid, listed.gid) = (0, 0);
        }
        if root || self.xattrs {
            listed.xattrs.clear();
        }
        if root {
            listed.mode = 0;
        }
        listed
    }
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.iter().try_for_each(|(path, listed)| writeln!(f, "{}", line(path, listed)))
    }
}

fn line(path: &Path, listed: &Listed) -> String {
    let (letter, detail) = match &listed.kind {
        ListedKind::Directory => ('d', String::new()),
        ListedKind::File { size, digest } => ('-', format!(" {size} {}", digest.short())),
        ListedKind::Symlink(target) => ('l', format!(" -> {target:?}")),
        ListedKind::CharDevice(major, minor) => ('c', format!(" {major},{minor}")),
        ListedKind::BlockDevice(major, minor) => ('b', format!(" {major},{minor}")),
        ListedKind::Fifo => ('p', String::new()),
        ListedKind::Socket => ('s', String::new()),
    };
    let Listed { mode, uid, gid, mtime: (seconds, nanos), links, same_as, xattrs, .. } = listed;
    let mut text = format!("{letter}{mode:04o} {uid}:{gid} {seconds}.{nanos:09} n{links} {path:?}{detail}");
    if let Some(other) = same_as {
        text.push_str(&format!(" = {other:?}"));
    }
    for (name, value) in xattrs {
        text.push_str(&format!(" {}={:?}", name.escape_ascii(), value.escape_ascii().to_string()));
    }
    text
}

fn digest_of(path: &Path) -> Result<Digest> {
    let mut file = std::fs::File::open(path)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut buffer = vec![0; 128 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hasher.finish()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn xattrs_of(path: &Path) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut names = vec![0u8; 64 << 10];
    let len = match rustix::fs::llistxattr(path, &mut names[..]) {
        Ok(len) => len,
        Err(rustix::io::Errno::NOTSUP) => 0,
        Err(error) => return Err(error).context("cannot list extended attributes"),
    };
    let mut xattrs = BTreeMap::new();
    for name in names[..len].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        if name.starts_with(b"system.") {
            continue;
        }
        let mut value = vec![0u8; 64 << 10];
        let len = rustix::fs::lgetxattr(path, std::ffi::OsStr::from_bytes(name), &mut value[..])
            .context("cannot read an extended attribute")?;
        value.truncate(len);
        xattrs.insert(name.to_vec(), value);
    }
    Ok(xattrs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{CWD, FileType, Mode, XattrFlags};

    #[test]
    fn sees_every_difference() -> Result<()> {
        let (a, b) = (tempfile::tempdir()?, tempfile::tempdir()?);
        for dir in [a.path(), b.path()] {
            std::fs::create_dir(dir.join("d"))?;
            std::fs::write(dir.join("d/f"), "same")?;
            std::fs::hard_link(dir.join("d/f"), dir.join("e"))?;
            std::os::unix::fs::symlink("d/f", dir.join("l"))?;
            rustix::fs::mknodat(
                CWD,
                dir.join("null"),
                FileType::CharacterDevice,
                Mode::RUSR,
                rustix::fs::makedev(1, 3),
            )?;
        }
        let times = Ignore { mtime: true, ..Ignore::default() };
        let left = Listing::of(a.path())?;
        left.assert_same(&Listing::of(b.path())?, times);
        assert_eq!(left.paths(), ["d", "d/f", "e", "l", "null"]);
        assert_eq!(left.get("e").unwrap().same_as.as_deref(), Some(Path::new("d/f")));
        assert_eq!(left.get("null").unwrap().kind, ListedKind::CharDevice(1, 3));

        rustix::fs::setxattr(b.path().join("d/f"), "user.x", b"1", XattrFlags::empty())?;
        std::fs::remove_file(b.path().join("l"))?;
        std::fs::write(b.path().join("new"), "")?;
        let right = Listing::of(b.path())?;
        let differences = left.differences(&right, times).join("\n");
        for part in ["user.x=\"1\"", "only left:  l0777", "only right: -0644"] {
            assert!(differences.contains(part), "{part}: {differences}");
        }
        assert!(left.differences(&right, Ignore { xattrs: true, ..times }).len() == 2, "{differences}");
        Ok(())
    }
}
