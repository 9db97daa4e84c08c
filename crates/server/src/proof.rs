//! Verifying on the first read: a blob is hashed once per process before the end of it is served, and again whenever its file
//! changed.
//!
//! Hashing runs beside sending, on another core, so it costs CPU (about 0.6 s per GB) but no latency. Afterwards a file is
//! trusted as long as inode, size and both times are what they were; whatever writes to it changes the last one.

use crate::source::Source;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use larder_core::{Digest, Hasher};
use larder_store::{Blob, Store};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Resolves to whether the bytes hash to the name. Many may wait for one.
pub(crate) type Proof = Shared<BoxFuture<'static, bool>>;

/// What is known to be sound.
#[derive(Clone)]
pub(crate) struct Proofs(Arc<Inner>);

struct Inner {
    store: Store,
    proven: Mutex<HashMap<Digest, Stamp>>,
    running: Mutex<HashMap<(Digest, Stamp), Proof>>,
}

/// Changes whenever a file is written to or replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            inode: metadata.ino(),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

impl Proofs {
    pub(crate) fn new(store: Store) -> Self {
        Self(Arc::new(Inner { store, proven: Mutex::default(), running: Mutex::default() }))
    }

    /// Opens a blob for serving. What is not proven yet is hashed meanwhile.
    pub(crate) fn open(&self, blob: &Blob) -> Result<Source, larder_store::Error> {
        let file = Arc::new(blob.open()?);
        let Ok(stamp) = Stamp::of(&file) else { return self.check(blob, file, None) };
        if lock(&self.0.proven).get(blob.digest()) == Some(&stamp) {
            return Ok(Source::proven(file));
        }
        self.check(blob, file, Some(stamp))
    }

    /// Notes that the bytes have just been hashed on their way in.
    pub(crate) fn trust(&self, blob: &Blob) {
        if let Ok(stamp) = blob.open().map_err(drop).and_then(|file| Stamp::of(&file).map_err(drop)) {
            self.note(*blob.digest(), stamp);
        }
    }

    fn note(&self, digest: Digest, stamp: Stamp) {
        let mut proven = lock(&self.0.proven);
        if proven.len() >= MOST {
            proven.clear();
        }
        proven.insert(digest, stamp);
    }

    fn check(
        &self,
        blob: &Blob,
        file: Arc<File>,
        stamp: Option<Stamp>,
    ) -> Result<Source, larder_store::Error> {
        let digest = *blob.digest();
        let size = blob.size();
        if size <= SMALL {
            let sound = self.verdict(digest, &file, size, stamp);
            return match sound {
                true => Ok(Source::proven(file)),
                false => Err(larder_store::Error::Damaged {
                    digest,
                    problem: "it hashes to something else".into(),
                }),
            };
        }
        let start = || {
            let (this, file) = (self.clone(), file.clone());
            let work = tokio::task::spawn_blocking(move || {
                let sound = this.verdict(digest, &file, size, stamp);
                if let Some(stamp) = stamp {
                    lock(&this.0.running).remove(&(digest, stamp));
                }
                sound
            });
            async move { work.await.unwrap_or(false) }.boxed().shared()
        };
        let proof = match stamp {
            Some(stamp) => lock(&self.0.running).entry((digest, stamp)).or_insert_with(start).clone(),
            None => start(),
        };
        Ok(Source::checking(file, proof))
    }

    /// Hashes, and sets aside what is damaged: the next request finds nothing, and brings it again if there is an upstream.
    fn verdict(&self, digest: Digest, file: &File, size: u64, stamp: Option<Stamp>) -> bool {
        let sound = hash(digest, file, size).is_ok_and(|found| found == digest);
        if !sound {
            // What matters is that it is not served; that it could not be moved shows with the next request.
            let _ = self.0.store.quarantine(&digest);
        } else if let Some(stamp) = stamp
            && Stamp::of(file).is_ok_and(|now| now == stamp)
        {
            self.note(digest, stamp);
        }
        sound
    }
}

fn hash(digest: Digest, file: &File, size: u64) -> io::Result<Digest> {
    let mut hasher = Hasher::new(digest.algorithm());
    let mut buffer = vec![0; (256 << 10).min(usize::try_from(size).unwrap_or(usize::MAX)).max(1)];
    let mut at = 0;
    loop {
        match file.read_at(&mut buffer, at) {
            Ok(0) => break,
            Ok(count) => {
                hasher.update(&buffer[..count]);
                at += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hasher.finish())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hashed at once rather than beside.
const SMALL: u64 = 128 << 10;
/// Proven blobs remembered: about 10 MB of memory.
const MOST: usize = 100_000;
