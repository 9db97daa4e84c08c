//! Committed bytes.

use crate::database::{Durability, Key, stored_size};
use crate::ingest::Begin;
use crate::layout::Layout;
use crate::{Error, Lease, Result, Store};
use larder_core::{Digest, Hasher, MediaType};
use rusqlite::{OptionalExtension as _, Transaction, params};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A blob in the store: whole, and hashed to its name when it was committed. It stays as long as a lease or a name keeps it;
/// a file that was opened stays readable regardless.
#[derive(Debug, Clone)]
pub struct Blob {
    digest: Digest,
    size: u64,
    path: PathBuf,
}

/// What a blob is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum BlobKind {
    /// A manifest or an index.
    Manifest,
    /// A configuration.
    Config,
    /// A layer.
    Layer,
    /// Anything else.
    Other,
}

impl Blob {
    /// What it hashes to.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Its length in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Where it is. Never write there.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it for reading.
    pub fn open(&self) -> Result<File> {
        File::open(&self.path).map_err(Error::io("open", &self.path))
    }
}

impl Store {
    /// Whether the store holds a blob: one indexed lookup.
    pub fn contains(&self, digest: &Digest) -> Result<bool> {
        self.database.read("look up a blob", |db| {
            db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([Key::from(digest)])
        })
    }

    /// Those of `digests` that the store does not hold, in the given order.
    pub fn missing(&self, digests: &[Digest]) -> Result<Vec<Digest>> {
        self.database.snapshot("look up blobs", |db| {
            let mut query = db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?;
            let mut missing = Vec::new();
            for digest in digests {
                if !query.exists([Key::from(digest)])? {
                    missing.push(*digest);
                }
            }
            Ok(missing)
        })
    }

    /// A blob, if the store holds it. A row whose file has vanished (deleted by hand) is dropped, so that the blob can be
    /// fetched again; a file that has not its size is [`Error::Damaged`].
    pub fn blob(&self, digest: &Digest) -> Result<Option<Blob>> {
        let Some(size) = self.recorded_size(digest)? else { return Ok(None) };
        let path = self.layout.blob(digest);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() == size => Ok(Some(Blob { digest: *digest, size, path })),
            Ok(metadata) => Err(Error::Damaged {
                digest: *digest,
                problem: format!("it has {} bytes instead of {size}", metadata.len()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.drop_vanished(digest)?;
                Ok(None)
            }
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Notes that blobs, and the names that point at them, are used now.
    pub fn touch(&self, digests: &[Digest]) -> Result<()> {
        let now = self.now();
        self.database.write("note a use", Durability::Process, |db| {
            let mut blobs = db.prepare_cached("UPDATE blobs SET used = ?2 WHERE digest = ?1")?;
            let mut names = db.prepare_cached("UPDATE names SET used = ?2 WHERE digest = ?1")?;
            for digest in digests {
                let key = Key::from(digest);
                blobs.execute(params![key, now])?;
                names.execute(params![key, now])?;
            }
            Ok(())
        })
    }

    /// Stores bytes at hand under their SHA-256 digest.
    pub fn put(&self, bytes: &[u8], kind: BlobKind, lease: &Lease) -> Result<Blob> {
        self.put_as(&Digest::of(bytes), bytes, kind, None, lease)
    }

    /// `digest` was computed from `bytes`.
    pub(crate) fn put_as(
        &self,
        digest: &Digest,
        bytes: &[u8],
        kind: BlobKind,
        media_type: Option<&str>,
        lease: &Lease,
    ) -> Result<Blob> {
        match self.begin_and_wait(digest, Some(bytes.len() as u64), lease)? {
            Begin::Exists(blob) => Ok(blob),
            Begin::Ingest(mut ingest) => {
                ingest.reset()?;
                ingest.write(bytes)?;
                ingest.commit_as(kind, media_type)
            }
            Begin::Busy => unreachable!("begin_and_wait waits"),
        }
    }

    /// Reads a small blob whole and checks its hash again. `Err` if it is damaged or has more than `limit` bytes.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>> {
        let Some(blob) = self.blob(digest)? else { return Ok(None) };
        if blob.size > limit {
            return Err(Error::TooLarge { digest: *digest, size: blob.size, limit });
        }
        let mut file = match File::open(&blob.path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.drop_vanished(digest)?;
                return Ok(None);
            }
            Err(error) => return Err(Error::io("open", blob.path)(error)),
        };
        let mut bytes = Vec::with_capacity(blob.size as usize);
        file.by_ref().take(blob.size + 1).read_to_end(&mut bytes).map_err(Error::io("read", &blob.path))?;
        let mut hasher = Hasher::new(digest.algorithm());
        hasher.update(&bytes);
        let actual = hasher.finish();
        if actual != *digest {
            return Err(Error::Damaged { digest: *digest, problem: format!("it hashes to {actual}") });
        }
        Ok(Some(bytes))
    }

    /// Notes how many bytes a layer has uncompressed, for the compression ratio in [`Stats`](crate::Stats).
    pub fn record_expanded(&self, layer: &Digest, bytes: u64) -> Result<()> {
        self.database.write("note the size of a layer", Durability::Process, |db| {
            db.prepare_cached("UPDATE blobs SET expanded = ?2 WHERE digest = ?1")?
                .execute(params![Key::from(layer), stored_size(bytes)])?;
            Ok(())
        })
    }

    fn recorded_size(&self, digest: &Digest) -> Result<Option<u64>> {
        self.database.read("look up a blob", |db| {
            db.prepare_cached("SELECT size FROM blobs WHERE digest = ?1")?
                .query_row([Key::from(digest)], |row| row.get(0))
                .optional()
        })
    }

    /// Looks again while nobody can write: a row that is seen now was written after its file, so the file is really gone.
    fn drop_vanished(&self, digest: &Digest) -> Result<()> {
        let path = self.layout.blob(digest);
        self.database.write("drop a vanished blob", Durability::Process, |db| {
            if !path.exists() {
                forget(db, digest)?;
            }
            Ok(())
        })
    }
}

/// Writes the row of a blob whose file is in place.
pub(crate) fn remember(
    db: &Transaction<'_>,
    blob: &Blob,
    kind: BlobKind,
    media_type: Option<&str>,
    now: crate::database::Nanos,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO blobs (digest, size, kind, media_type, created, used) VALUES (?1, ?2, ?3, ?4, ?5, ?5)
         ON CONFLICT (digest) DO UPDATE SET size = ?2, kind = ?3, media_type = ?4, created = ?5, used = ?5",
    )?
    .execute(params![Key::from(&blob.digest), stored_size(blob.size), kind.code(), media_type, now])?;
    Ok(())
}

/// Writes the row of a blob whose file is in place, unless there is one that says more.
pub(crate) fn remember_new(
    db: &Transaction<'_>,
    blob: &Blob,
    kind: BlobKind,
    now: crate::database::Nanos,
) -> rusqlite::Result<()> {
    if db.prepare_cached("SELECT 1 FROM blobs WHERE digest = ?1")?.exists([Key::from(&blob.digest)])? {
        return Ok(());
    }
    remember(db, blob, kind, None, now)
}

/// Drops the row of a blob, and the verdict, which was about the bytes we held. Edges stay: they follow from the digest.
pub(crate) fn forget(db: &Transaction<'_>, digest: &Digest) -> rusqlite::Result<()> {
    let key = Key::from(digest);
    db.prepare_cached("DELETE FROM blobs WHERE digest = ?1")?.execute([key])?;
    db.prepare_cached("DELETE FROM verdicts WHERE digest = ?1")?.execute([key])?;
    Ok(())
}

/// A blob whose file is known to be whole.
pub(crate) fn at(layout: &Layout, digest: &Digest, size: u64) -> Blob {
    Blob { digest: *digest, size, path: layout.blob(digest) }
}

/// Reads to the end with one buffer and hashes; returns the length too.
pub(crate) fn hash(
    file: &mut impl Read,
    mut hasher: Hasher,
    mut seen: impl FnMut(&[u8]),
) -> io::Result<(Hasher, u64)> {
    let mut buffer = vec![0; 256 << 10];
    let mut length = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return Ok((hasher, length)),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                seen(&buffer[..count]);
                length += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl BlobKind {
    /// What a blob of this media type is for, as far as the type says so. Documents have to be read to be one.
    pub(crate) fn of(media_type: &MediaType) -> Option<Self> {
        if media_type.is_layer() {
            Some(Self::Layer)
        } else if media_type.is_image_config() {
            Some(Self::Config)
        } else {
            None
        }
    }

    /// FORMAT: the number in a row.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Manifest => 0,
            Self::Config => 1,
            Self::Layer => 2,
            Self::Other => 3,
        }
    }

    pub(crate) fn from_code(code: u8) -> Self {
        match code {
            0 => Self::Manifest,
            1 => Self::Config,
            2 => Self::Layer,
            _ => Self::Other,
        }
    }
}
