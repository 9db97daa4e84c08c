//! The way in for bytes whose digest is not known yet: a client sends them piece by piece, through any process of the store,
//! and says at the end what they should hash to.

use crate::blob::{self, Blob, BlobKind};
use crate::database::{Durability, lock as guard};
use crate::layout::is_upload_id;
use crate::lock::{self, Claim, Held};
use crate::{Error, Lease, Result, Store, layout};
use larder_core::{Algorithm, Digest, Hasher, RepositoryName};
use rustix::rand::GetRandomFlags;
use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// What [`Store::upload`] found.
#[derive(Debug)]
pub enum OpenUpload {
    /// There is no such upload in this repository.
    Absent,
    /// Another process or thread is writing it.
    Busy,
    /// It is ours to go on with.
    Open(Upload),
}

/// A blob that is being sent, and the exclusive right to write it. Dropped without [`Upload::commit`] or [`Upload::cancel`], the
/// bytes stay for the next request; a collection drops uploads that nobody went on with.
pub struct Upload {
    store: Store,
    id: String,
    path: PathBuf,
    file: Held,
    offset: u64,
    limit: Option<u64>,
    /// Of the first `offset` bytes.
    hasher: Box<Hasher>,
    /// Whether the bytes are to be found by the next request.
    kept: bool,
}

/// How far this process has hashed uploads that are between two requests: without it each request would read everything that
/// came before. What is not here is read again.
#[derive(Default)]
pub(crate) struct Hashed {
    states: HashMap<String, (Hasher, u64, u64)>,
    /// Grows with every use: the least recently used state goes first.
    turn: u64,
}

impl Store {
    /// Starts an upload into a repository.
    pub fn create_upload(&self, repository: &RepositoryName) -> Result<Upload> {
        let directory = self.layout.uploads();
        let mut bytes = [0u8; 16];
        rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty())
            .map_err(|errno| Error::io("find a name in", &directory)(errno.into()))?;
        let mut id = String::with_capacity(32);
        for byte in bytes {
            write!(id, "{byte:02x}").expect("a string takes everything");
        }
        let path = self.layout.upload(repository, &id);
        // Nobody else knows the id, and a collection leaves young files alone.
        let file = lock::own(&path).map_err(Error::io("create", &path))?;
        Ok(self.open_upload(id, path, file, 0, Hasher::new(Algorithm::Sha256)))
    }

    /// Goes on with an upload, where the last request stopped. Ids are whatever clients send: what could not be one is `Absent`,
    /// like the id of an upload into another repository.
    pub fn upload(&self, repository: &RepositoryName, id: &str) -> Result<OpenUpload> {
        if !is_upload_id(id) {
            return Ok(OpenUpload::Absent);
        }
        let path = self.layout.upload(repository, id);
        let file = match lock::claim(&path).map_err(Error::io("open", &path))? {
            Claim::Owned => return Ok(OpenUpload::Busy),
            Claim::Gone => return Ok(OpenUpload::Absent),
            Claim::Free(file) => file,
        };
        let length = file.metadata().map_err(Error::io("read", &path))?.len();
        let (mut hasher, hashed) = match guard(&self.uploads).take(id) {
            // Another process may have gone on with it meanwhile; bytes are only ever added.
            Some((hasher, hashed)) if hashed <= length => (hasher, hashed),
            _ => (Hasher::new(Algorithm::Sha256), 0),
        };
        hash(&file, &mut hasher, hashed, length).map_err(Error::io("read", &path))?;
        Ok(OpenUpload::Open(self.open_upload(id.to_owned(), path, file, length, hasher)))
    }

    fn open_upload(&self, id: String, path: PathBuf, file: Held, offset: u64, hasher: Hasher) -> Upload {
        Upload {
            store: self.clone(),
            id,
            path,
            file,
            offset,
            limit: None,
            hasher: Box::new(hasher),
            kept: true,
        }
    }
}

impl Upload {
    /// Names it in the next request: 128 random bits, 32 hexadecimal digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How many bytes are there.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// From now on, bytes beyond `limit` are refused. There is no limit at first.
    pub fn set_limit(&mut self, limit: u64) {
        self.limit = Some(limit);
    }

    /// Appends. All of `bytes` is written, or (on error) nothing counts: the same call may be repeated.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let end = self.offset + bytes.len() as u64;
        if let Some(limit) = self.limit
            && end > limit
        {
            return Err(Error::UploadTooLarge { id: self.id.clone(), limit });
        }
        if let Err(error) = self.file.write_all_at(bytes, self.offset) {
            // The next request asks the file how far we are.
            let _ = self.file.set_len(self.offset);
            return Err(Error::io("write", &self.path)(error));
        }
        self.hasher.update(bytes);
        self.offset = end;
        Ok(())
    }

    /// Makes the bytes a blob: durable, and under the lease. Bytes that do not hash to `digest` are deleted
    /// ([`Error::Corrupt`]); any other error keeps the upload.
    pub fn commit(mut self, digest: &Digest, lease: &Lease) -> Result<Blob> {
        let actual = match digest.algorithm() {
            Algorithm::Sha256 => Hasher::clone(&self.hasher).finish(),
            Algorithm::Sha512 => {
                let mut hasher = Hasher::new(Algorithm::Sha512);
                hash(&self.file, &mut hasher, 0, self.offset).map_err(Error::io("read", &self.path))?;
                hasher.finish()
            }
        };
        if actual != *digest {
            self.remove()?;
            return Err(Error::Corrupt { digest: *digest, actual: Box::new(actual), resumed: 0 });
        }
        // The lease comes before every look at the store, see `Store::begin`.
        lease.add(&[*digest])?;
        if let Some(blob) = self.store.sound_blob(digest)? {
            self.remove()?;
            return Ok(blob);
        }
        self.file.sync_data().map_err(Error::io("sync", &self.path))?;
        let blob = blob::at(&self.store.layout, digest, self.offset);
        // INVARIANT: bytes durable, then the name, then the row, and no sweep in between; as for an ingest. If somebody ingests
        // the same digest meanwhile, one file replaces the other, and both are right.
        let _no_sweep = lock::commit(&self.store.layout)?;
        fs::rename(&self.path, blob.path()).map_err(Error::io("rename", &self.path))?;
        self.kept = false;
        layout::sync_directory(&self.store.layout.blobs(digest.algorithm()))?;
        let now = self.store.now();
        self.store.database.write("record a blob", Durability::Process, |db| {
            blob::remember_new(db, &blob, BlobKind::Other, now)
        })?;
        Ok(blob)
    }

    /// Deletes what was sent.
    pub fn cancel(mut self) -> Result<()> {
        self.remove()
    }

    fn remove(&mut self) -> Result<()> {
        layout::remove(&self.path)?;
        self.kept = false;
        Ok(())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.kept {
            // Before the lock ends: whoever gets it next finds the state.
            let hasher = std::mem::replace(&mut *self.hasher, Hasher::new(Algorithm::Sha256));
            guard(&self.store.uploads).put(&self.id, hasher, self.offset);
        }
    }
}

impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload").field("id", &self.id).field("offset", &self.offset).finish_non_exhaustive()
    }
}

impl Hashed {
    pub(crate) fn shared() -> Arc<Mutex<Self>> {
        Arc::default()
    }

    fn take(&mut self, id: &str) -> Option<(Hasher, u64)> {
        self.states.remove(id).map(|(hasher, hashed, _)| (hasher, hashed))
    }

    fn put(&mut self, id: &str, hasher: Hasher, hashed: u64) {
        if self.states.len() >= STATES
            && let Some(oldest) =
                self.states.iter().min_by_key(|(_, (.., turn))| *turn).map(|(id, _)| id.clone())
        {
            self.states.remove(&oldest);
        }
        self.turn += 1;
        self.states.insert(id.to_owned(), (hasher, hashed, self.turn));
    }
}

/// Adds the bytes from `at` up to `end`.
fn hash(file: &File, hasher: &mut Hasher, mut at: u64, end: u64) -> std::io::Result<()> {
    if at == end {
        return Ok(());
    }
    let mut buffer = vec![0; 256 << 10];
    while at < end {
        let want = buffer.len().min(usize::try_from(end - at).unwrap_or(usize::MAX));
        file.read_exact_at(&mut buffer[..want], at)?;
        hasher.update(&buffer[..want]);
        at += want as u64;
    }
    Ok(())
}

/// Uploads of which the state is kept between requests; each takes about 200 bytes.
const STATES: usize = 1_024;
