//! Where everything is: the only file that knows a path of the store.

use crate::{Area, Error, Result};
use larder_core::{Algorithm, Digest, RepositoryName};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// FORMAT: the whole content of `oci-layout` (OCI image-spec, image-layout.md).
pub(crate) const OCI_LAYOUT: &str = r#"{"imageLayoutVersion":"1.0.0"}"#;

/// The paths of one store.
#[derive(Debug)]
pub(crate) struct Layout {
    home: PathBuf,
}

impl Layout {
    pub(crate) fn new(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }

    /// Makes the directories that are missing. Nobody but the owner may look inside: images can be private.
    pub(crate) fn create_directories(&self) -> Result<()> {
        let mut builder = DirBuilder::new();
        builder.mode(0o700).recursive(true);
        builder.create(&self.home).map_err(Error::io("create", &self.home))?;
        builder.recursive(false);
        for name in DIRECTORIES {
            let path = self.home.join(name);
            match builder.create(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("create", path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    pub(crate) fn home(&self) -> &Path {
        &self.home
    }

    pub(crate) fn oci_layout(&self) -> PathBuf {
        self.home.join("oci-layout")
    }

    pub(crate) fn index_json(&self) -> PathBuf {
        self.home.join("index.json")
    }

    pub(crate) fn index_yaml(&self) -> PathBuf {
        self.home.join("index.yaml")
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.home.join("larder.db")
    }

    /// SQLite's files, the database itself first.
    pub(crate) fn database_files(&self) -> [PathBuf; 3] {
        ["", "-wal", "-shm"].map(|side| self.home.join(format!("larder.db{side}")))
    }

    /// Where a new database is built.
    pub(crate) fn new_database(&self) -> PathBuf {
        self.home.join(NEW_DATABASE)
    }

    /// Shared by all who have the database open.
    pub(crate) fn open_lock(&self) -> PathBuf {
        self.home.join("open.lock")
    }

    /// Held while the layout is made or checked, and while the indexes are written.
    pub(crate) fn layout_lock(&self) -> PathBuf {
        self.home.join("layout.lock")
    }

    /// Shared by commits, exclusive for sweeps.
    pub(crate) fn store_lock(&self) -> PathBuf {
        self.home.join("store.lock")
    }

    /// Passed through on the way to `store.lock`, so that a waiting sweep is not overtaken for ever.
    pub(crate) fn store_gate(&self) -> PathBuf {
        self.home.join("store.gate")
    }

    pub(crate) fn blobs(&self, algorithm: Algorithm) -> PathBuf {
        self.home.join("blobs").join(algorithm.as_str())
    }

    /// Whether there is any blob, with or without row.
    pub(crate) fn has_blobs(&self) -> Result<bool> {
        for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
            let path = self.blobs(algorithm);
            let mut entries = fs::read_dir(&path).map_err(Error::io("list", path))?;
            if entries.next().is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        let mut path = self.blobs(digest.algorithm());
        path.push(digest.hex());
        path
    }

    pub(crate) fn ingest(&self) -> PathBuf {
        self.home.join("ingest")
    }

    pub(crate) fn part(&self, digest: &Digest) -> PathBuf {
        self.home.join("ingest").join(format!("{}-{}{PART}", digest.algorithm().as_str(), digest.hex()))
    }

    pub(crate) fn uploads(&self) -> PathBuf {
        self.home.join("uploads")
    }

    /// FORMAT: the id and the start of the hash of the repository, so that an id is good in its repository only.
    pub(crate) fn upload(&self, repository: &RepositoryName, id: &str) -> PathBuf {
        let mut whose = Digest::of(repository.to_string().as_bytes()).hex();
        whose.truncate(UPLOAD_ID);
        self.uploads().join(format!("{id}-{whose}"))
    }

    pub(crate) fn leases(&self) -> PathBuf {
        self.home.join("leases")
    }

    pub(crate) fn lease(&self, id: &str) -> PathBuf {
        self.home.join("leases").join(id)
    }

    /// The audit log; its files are named in `audit/files.rs`.
    pub(crate) fn audit(&self) -> PathBuf {
        self.home.join("audit")
    }

    pub(crate) fn area(&self, area: Area) -> PathBuf {
        self.home.join(area.as_str())
    }

    pub(crate) fn derived(&self, area: Area, name: &str) -> PathBuf {
        self.home.join(area.as_str()).join(name)
    }

    /// Where a derived thing grows. Names of derived things do not start with a dot, so the two never meet.
    pub(crate) fn building(&self, area: Area, name: &str) -> PathBuf {
        self.home.join(area.as_str()).join(format!(".{name}{BUILDING}"))
    }

    pub(crate) fn building_lock(&self, area: Area, name: &str) -> PathBuf {
        self.home.join(area.as_str()).join(format!(".{name}{LOCK}"))
    }

    /// A free name for a damaged blob.
    pub(crate) fn quarantine(&self, digest: &Digest) -> PathBuf {
        self.aside(&format!("{}-{}", digest.algorithm().as_str(), digest.hex()))
    }

    /// A free name under `quarantine/`.
    pub(crate) fn aside(&self, base: &str) -> PathBuf {
        let directory = self.home.join("quarantine");
        (0u32..)
            .map(|n| directory.join(if n == 0 { base.to_owned() } else { format!("{base}.{n}") }))
            .find(|path| fs::symlink_metadata(path).is_err())
            .expect("fewer than 2^32 files have the same name")
    }
}

/// The digest a file under `blobs/` or `ingest/` is named after.
pub(crate) fn digest_of_blob(algorithm: Algorithm, file_name: &str) -> Option<Digest> {
    format!("{}:{file_name}", algorithm.as_str()).parse().ok()
}

pub(crate) fn digest_of_part(file_name: &str) -> Option<Digest> {
    file_name.strip_suffix(PART)?.replacen('-', ":", 1).parse().ok()
}

/// Whether `id` may be the id of an upload: anything else never gets near a path.
pub(crate) fn is_upload_id(id: &str) -> bool {
    id.len() == UPLOAD_ID && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}

/// Whether a file under `uploads/` is one.
pub(crate) fn is_upload(file_name: &str) -> bool {
    file_name.split_once('-').is_some_and(|(id, whose)| is_upload_id(id) && is_upload_id(whose))
}

/// The name of the thing that grows in `.NAME.building`, or is guarded by `.NAME.lock`.
pub(crate) fn name_of_building(file_name: &str) -> Option<&str> {
    let name = file_name.strip_prefix('.')?;
    name.strip_suffix(BUILDING).or_else(|| name.strip_suffix(LOCK))
}

/// Replaces a file so that a reader, and a start after a crash, sees the old content or the new one, never a part.
pub(crate) fn replace(path: &Path, content: &[u8]) -> Result<()> {
    put(path, content, File::sync_data)?;
    sync_directory(path.parent().unwrap_or(Path::new(".")))
}

/// Replaces a file that can be made again: after a power cut it may be the old one, or empty ([`is_empty_or_gone`]).
pub(crate) fn replace_lightly(path: &Path, content: &[u8]) -> Result<()> {
    put(path, content, |_| Ok(()))
}

/// Whether a file has to be written again, because a power cut undid [`replace_lightly`] or it was never there.
pub(crate) fn is_empty_or_gone(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(metadata.len() == 0),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

fn put(path: &Path, content: &[u8], sync: impl FnOnce(&File) -> io::Result<()>) -> Result<()> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}-{number}", std::process::id()));
    let write = || {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
        file.write_all(content)?;
        sync(&file)?;
        fs::rename(&temporary, path)
    };
    write().map_err(|error| {
        // The error that matters is the first one.
        let _ = fs::remove_file(&temporary);
        Error::io("write", path)(error)
    })
}

/// Whether `name` is a leftover of [`replace`] of the files at the top of the store.
pub(crate) fn is_temporary(name: &str) -> bool {
    [".index.json.", ".index.yaml.", ".oci-layout.", NEW_DATABASE]
        .iter()
        .any(|prefix| name.starts_with(prefix))
}

/// Makes the entries of a directory durable.
pub(crate) fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(Error::io("sync", path))
}

/// Removes a file or a whole directory; one that is gone already is fine.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let result = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::io("remove", path)(error)),
        _ => Ok(()),
    }
}

const DIRECTORIES: [&str; 10] = [
    "blobs",
    "blobs/sha256",
    "blobs/sha512",
    "ingest",
    "uploads",
    "layers",
    "disks",
    "rw",
    "leases",
    "quarantine",
];

/// Hexadecimal digits of 128 bits.
const UPLOAD_ID: usize = 32;

const NEW_DATABASE: &str = ".larder.db.new";
const PART: &str = ".part";
const BUILDING: &str = ".building";
const LOCK: &str = ".lock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_digests_go_both_ways() {
        let layout = Layout::new(Path::new("/s"));
        let digest = Digest::of(b"x");
        let part = layout.part(&digest);
        assert_eq!(digest_of_part(part.file_name().unwrap().to_str().unwrap()), Some(digest));
        assert_eq!(digest_of_blob(Algorithm::Sha256, &digest.hex()), Some(digest));
        assert_eq!(digest_of_blob(Algorithm::Sha512, &digest.hex()), None);
        assert_eq!(digest_of_part("sha256-x.part"), None);
        let building = layout.building(Area::Layers, "a.tar");
        assert_eq!(name_of_building(building.file_name().unwrap().to_str().unwrap()), Some("a.tar"));
        assert_eq!(name_of_building("a.tar"), None);
    }
}
