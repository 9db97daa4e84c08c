//! The way in: bytes are written next to the store's blobs, hashed as they come, and appear among them whole or not at all.

use crate::blob::{self, Blob, BlobKind};
use crate::database::Durability;
use crate::document;
use crate::follow::{Follower, Shared};
use crate::lock::{self, Held};
use crate::reserve::Reserve;
use crate::{Error, Lease, Result, Store, layout};
use larder_core::{Digest, Hasher};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What [`Store::begin`] found.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per blob, and taken apart at once")]
pub enum Begin {
    /// The store holds it already; it is under the lease now.
    Exists(Blob),
    /// Another process or thread is writing it. Ask again later.
    Busy,
    /// It is ours to write.
    Ingest(Ingest),
}

/// Exclusive right to write one blob. Dropped without [`Ingest::commit`], what was written is kept, and the next
/// [`Store::begin`] continues there.
#[derive(Debug)]
pub struct Ingest {
    store: Store,
    /// Keeps the digest from being collected from before the first byte until somebody else holds it.
    _lease: Lease,
    digest: Digest,
    size: Option<u64>,
    part: PathBuf,
    /// Reads and writes give their offset.
    file: Held,
    offset: u64,
    /// Bytes kept from an earlier attempt.
    resumed: u64,
    /// Of the first `offset` bytes; `None` until kept bytes are replayed.
    hasher: Option<Hasher>,
    /// Who reads along.
    followed: Option<(Arc<File>, Arc<Shared>)>,
    reserve: Reserve,
}

impl Store {
    /// Starts, or continues, writing a blob. From here on it is under `lease`, whether it exists already or not, so that no
    /// collection removes what the caller is about to rely on. `size` is what the descriptor promises.
    ///
    /// A file that is in place but unknown to the database (a crash just before its row, another tool) is hashed and taken
    /// over. A damaged one is set aside and written anew.
    pub fn begin(&self, digest: &Digest, size: Option<u64>, lease: &Lease) -> Result<Begin> {
        self.begin_with(digest, size, lease, lock::try_own)
    }

    /// Like [`Store::begin`], but never `Busy`.
    pub(crate) fn begin_and_wait(&self, digest: &Digest, size: Option<u64>, lease: &Lease) -> Result<Begin> {
        self.begin_with(digest, size, lease, |path| lock::own(path).map(Some))
    }

    fn begin_with(
        &self,
        digest: &Digest,
        size: Option<u64>,
        lease: &Lease,
        own: impl FnOnce(&Path) -> io::Result<Option<Held>>,
    ) -> Result<Begin> {
        // The lease row comes before every look at the store: a collection that does not see it has deleted its rows already,
        // so that what is found below stays.
        lease.add(&[*digest])?;
        if let Some(blob) = self.sound_blob(digest)? {
            return Ok(Begin::Exists(blob));
        }
        let part = self.layout.part(digest);
        let Some(file) = own(&part).map_err(Error::io("open", &part))? else { return Ok(Begin::Busy) };
        // Whoever had the part file until now may have committed it.
        let found = match self.sound_blob(digest)? {
            Some(blob) => Some(blob),
            None => self.adopt(digest)?,
        };
        if let Some(blob) = found {
            layout::remove(&part)?;
            return Ok(Begin::Exists(blob));
        }
        let mut offset = file.metadata().map_err(Error::io("read", &part))?.len();
        if size.is_some_and(|size| offset > size) {
            file.set_len(0).map_err(Error::io("truncate", &part))?;
            offset = 0;
        }
        let hasher = (offset == 0).then(|| Hasher::new(digest.algorithm()));
        Ok(Begin::Ingest(Ingest {
            store: self.clone(),
            _lease: lease.clone(),
            digest: *digest,
            size,
            part,
            file,
            offset,
            resumed: offset,
            hasher,
            followed: None,
            reserve: Reserve::default(),
        }))
    }

    /// A blob as it should be; one that is visibly damaged is set aside, so that it can be fetched again.
    pub(crate) fn sound_blob(&self, digest: &Digest) -> Result<Option<Blob>> {
        match self.blob(digest) {
            Err(Error::Damaged { .. }) => {
                self.quarantine(digest)?;
                Ok(None)
            }
            other => other,
        }
    }

    /// Takes over a file without row. The caller owns the part file, so nobody else adopts or commits this digest.
    fn adopt(&self, digest: &Digest) -> Result<Option<Blob>> {
        let path = self.layout.blob(digest);
        if !path.try_exists().map_err(Error::io("read", &path))? {
            return Ok(None);
        }
        // A sweep that started before our lease may still be on its way to this file. After this it is through.
        drop(lock::commit(&self.layout)?);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("open", path)(error)),
        };
        let failed = || Error::io("read", &path);
        let mut head = Vec::new();
        let (hasher, size) = blob::hash(&mut file, Hasher::new(digest.algorithm()), |bytes| {
            if head.len() as u64 <= larder_core::MANIFEST_LIMIT {
                head.extend_from_slice(bytes);
            }
        })
        .map_err(failed())?;
        if hasher.finish() != *digest {
            self.quarantine(digest)?;
            return Ok(None);
        }
        // Whoever put it there may not have made it durable.
        file.sync_data().map_err(failed())?;
        layout::sync_directory(&self.layout.blobs(digest.algorithm()))?;
        let found = blob::at(&self.layout, digest, size);
        let edges = document::edges(digest, &head, None);
        let kind = if edges.is_some() { BlobKind::Manifest } else { BlobKind::Other };
        let now = self.now();
        self.database.write("take over a blob", Durability::Process, |db| {
            blob::remember(db, &found, kind, None, now)?;
            document::connect(db, edges.as_deref().unwrap_or_default())
        })?;
        Ok(Some(found))
    }
}

impl Ingest {
    /// What is being written.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// How many bytes are there: those kept from before, and those written since.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Hashes the kept bytes, showing them to `f` piece by piece. Needed before [`Ingest::write`] and [`Ingest::commit`] where
    /// [`Ingest::offset`] is not zero at first.
    pub fn replay(&mut self, f: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut hasher = Hasher::new(self.digest.algorithm());
        let mut buffer = vec![0; 256 << 10];
        let mut at = 0;
        while at < self.offset {
            let want = buffer.len().min(usize::try_from(self.offset - at).unwrap_or(usize::MAX));
            self.file.read_exact_at(&mut buffer[..want], at).map_err(Error::io("read", &self.part))?;
            hasher.update(&buffer[..want]);
            f(&buffer[..want]);
            at += want as u64;
        }
        self.hasher = Some(hasher);
        Ok(())
    }

    /// A reader of everything from the first byte on, kept bytes included, while it is being written. Any number of them.
    pub fn follow(&mut self) -> Result<Follower> {
        if self.followed.is_none() {
            // A file of its own: a duplicate would keep our lock alive as long as the reader lives.
            let file = File::open(&self.part).map_err(Error::io("open", &self.part))?;
            self.followed = Some((Arc::new(file), Shared::starting_at(self.offset)));
        }
        let (file, shared) = self.followed.as_ref().expect("it was just made");
        Ok(Follower::new(file.clone(), shared.clone()))
    }

    fn end_following(&mut self) {
        if let Some((_, followed)) = self.followed.take() {
            followed.give_up();
        }
    }

    /// Appends. All of `bytes` is written, or (on error) nothing counts: the same call may be repeated.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let Some(hasher) = &mut self.hasher else {
            return Err(Error::NotReplayed { digest: self.digest, offset: self.offset });
        };
        let end = self.offset + bytes.len() as u64;
        if let Some(size) = self.size
            && end > size
        {
            return Err(Error::TooLong { digest: self.digest, size });
        }
        self.reserve.ahead(&self.file, end, self.size);
        if let Err(error) = self.file.write_all_at(bytes, self.offset) {
            // What did arrive is good, but a shorter file is easier to explain.
            let _ = self.file.set_len(self.offset);
            return Err(Error::io("write", &self.part)(error));
        }
        if let Some((_, followed)) = &self.followed {
            followed.advance(end);
        }
        hasher.update(bytes);
        self.offset = end;
        Ok(())
    }

    /// Forgets all bytes, for example because the other side cannot continue where we stopped.
    pub fn reset(&mut self) -> Result<()> {
        self.end_following();
        self.reserve = Reserve::default();
        self.file.set_len(0).map_err(Error::io("truncate", &self.part))?;
        self.offset = 0;
        self.resumed = 0;
        self.hasher = Some(Hasher::new(self.digest.algorithm()));
        Ok(())
    }

    /// Checks size and hash and makes the blob part of the store: durable, and under the lease. Bytes that are too few are
    /// kept for the next attempt; bytes that do not hash to the name are deleted.
    pub fn commit(self, kind: BlobKind) -> Result<Blob> {
        self.commit_as(kind, None)
    }

    pub(crate) fn commit_as(mut self, kind: BlobKind, media_type: Option<&str>) -> Result<Blob> {
        let digest = self.digest;
        let Some(hasher) = self.hasher.take() else {
            return Err(Error::NotReplayed { digest, offset: self.offset });
        };
        if let Some(size) = self.size
            && self.offset < size
        {
            return Err(Error::TooShort { digest, size, actual: self.offset });
        }
        let actual = hasher.finish();
        if actual != digest {
            if let Some((_, followed)) = &self.followed {
                followed.corrupt();
            }
            layout::remove(&self.part)?;
            return Err(Error::Corrupt { digest, actual: Box::new(actual), resumed: self.resumed });
        }
        // The bytes are known to be right; who reads along need not wait for the disk.
        if let Some((_, followed)) = &self.followed {
            followed.verified();
        }
        let edges = match kind {
            BlobKind::Manifest => self.edges(media_type)?,
            _ => Vec::new(),
        };
        std::mem::take(&mut self.reserve).release(&self.file, self.offset);
        self.file.sync_data().map_err(Error::io("sync", &self.part))?;

        let blob = blob::at(&self.store.layout, &digest, self.offset);
        // INVARIANT: bytes durable, then the name, then the row. A crash in between leaves a whole file without row, which
        // the next `begin` takes over. No sweep runs meanwhile, so none takes the file for an orphan or removes it after an
        // earlier row of it.
        let _no_sweep = lock::commit(&self.store.layout)?;
        fs::rename(&self.part, blob.path()).map_err(Error::io("rename", &self.part))?;
        layout::sync_directory(&self.store.layout.blobs(digest.algorithm()))?;
        let now = self.store.now();
        self.store.database.write("record a blob", Durability::Process, |db| {
            blob::remember(db, &blob, kind, media_type, now)?;
            document::connect(db, &edges)
        })?;
        Ok(blob)
    }

    /// Deletes what was written.
    pub fn discard(self) -> Result<()> {
        layout::remove(&self.part)
    }

    /// A manifest keeps its children from being collected, however it came in.
    fn edges(&self, media_type: Option<&str>) -> Result<Vec<document::Edge>> {
        if self.offset > larder_core::MANIFEST_LIMIT {
            return Ok(Vec::new());
        }
        let mut raw = Vec::new();
        File::open(&self.part)
            .and_then(|mut file| file.read_to_end(&mut raw))
            .map_err(Error::io("read", &self.part))?;
        Ok(document::edges(&self.digest, &raw, media_type).unwrap_or_default())
    }
}

impl Drop for Ingest {
    fn drop(&mut self) {
        self.end_following();
        // Leave no empty litter. The lock is still ours, so the path is ours too, unless we have committed.
        if self.offset == 0 {
            let _ = layout::remove(&self.part);
        }
    }
}
