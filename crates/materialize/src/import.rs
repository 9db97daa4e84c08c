//! From a compressed layer to its raw tar and its list of members, in one pass over the bytes.
//!
//! ```text
//! this thread: read + inflate ──256 KiB buffers──► sha256 + write + scan
//!                   ▲────────────empty buffers───────────────┘
//! ```
//!
//! A second thread helps while there is a processor for it.

use crate::belt::{Belt, Sink};
use crate::scans::SCANS;
use crate::{Error, Result, Turns};
use larder_core::{Compression, Digest, Hasher};
use larder_rootfs::{Decoder, Layer, Limits, Scanner};
use larder_store::{Area, BeginDerived, Building, DerivedKey, Follower, Reserve, Store};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::thread;

/// Exclusive right to make the raw tar of one layer. Used while the blob is still arriving, or from a stored blob.
///
/// Nothing is trusted before [`LayerImport::run`] returned: dropped earlier, or killed, it leaves nothing behind that
/// anybody would use.
#[derive(Debug)]
pub struct LayerImport {
    building: Building,
    diff_id: Digest,
    limits: Limits,
}

/// What [`LayerImport::run`] made.
#[derive(Debug)]
pub struct Imported {
    /// Length of the raw tar.
    pub size: u64,
    /// The members of the layer, unless there are too many to keep; then they are read again from the raw tar.
    pub members: Option<Layer>,
}

/// What [`LayerImport::begin`] found.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "one per layer, and taken apart at once")]
pub enum ImportBegin {
    /// The raw tar is there already.
    Exists,
    /// Another process or thread is making it.
    Busy,
    /// It is ours to make.
    Import(LayerImport),
}

impl LayerImport {
    /// Asks for the right to make the raw tar of `diff_id`. Not for layers whose blob is the raw tar: that is used where
    /// it lies.
    pub fn begin(store: &Store, diff_id: &Digest, limits: &Limits) -> Result<ImportBegin> {
        let begun = store.begin_derived(&tar_key(diff_id)).map_err(Error::store("begin a layer"))?;
        Ok(match begun {
            BeginDerived::Exists(_) => ImportBegin::Exists,
            BeginDerived::Busy => ImportBegin::Busy,
            BeginDerived::Build(building) => {
                ImportBegin::Import(Self { building, diff_id: *diff_id, limits: limits.clone() })
            }
        })
    }

    /// Reads `compressed` to its end, checks the result against the diff id and puts the raw tar into the store. Blocks;
    /// the reading and inflating is done by the calling thread.
    ///
    /// # Errors
    /// [`Error::Layer`] for anything wrong with the stream or the tar, [`Error::DiffId`] if it is another layer. Nothing is
    /// kept then.
    pub fn run(self, compressed: impl Read, declared: Option<Compression>) -> Result<Imported> {
        self.pass(compressed, declared, || true)
    }

    /// The same with a blob of `size` bytes that is still arriving, in turn with other layers. While those keep all processors
    /// busy, the calling thread does everything.
    pub fn follow(
        self,
        blob: Follower,
        size: u64,
        declared: Option<Compression>,
        turns: &Turns,
    ) -> Result<Imported> {
        self.pass(turns.follow(blob, size), declared, || turns.is_free())
    }

    /// `spare` tells whether there is a processor for a second thread at the moment.
    fn pass(
        self,
        compressed: impl Read,
        declared: Option<Compression>,
        spare: impl Fn() -> bool,
    ) -> Result<Imported> {
        let path = self.building.path().to_owned();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(Error::file("create", &path))?;
        let belt = Belt::new(Output {
            file,
            hasher: Hasher::new(self.diff_id.algorithm()),
            scanner: Scanner::new(self.limits.clone()),
            reserve: Reserve::default(),
            size: 0,
            whole: true,
            failure: None,
        });
        let decoder = Decoder::new(compressed, declared, &self.limits);
        let read = thread::scope(|scope| {
            scope.spawn(|| belt.help());
            let _end = belt.end();
            pump(decoder, &belt, spare)
        });
        let layer = |source| Error::layer(&self.diff_id)(source);
        let Output { file, reserve, hasher, scanner, size, whole, failure } = belt.into_sink();
        // Where both failed, the output was first: it stops the reader, not the other way round.
        match failure {
            None => {}
            Some(Failure::Layer(source)) => return Err(layer(source)),
            Some(Failure::Write(source)) => return Err(Error::file("write", &path)(source)),
        }
        read.map_err(|error| layer(larder_rootfs::Error::from_io(error)))?;
        let found = hasher.finish();
        if found != self.diff_id {
            return Err(Error::DiffId { expected: self.diff_id, found: Box::new(found) });
        }
        let scanned = scanner.finish().map_err(layer)?;
        reserve.release(&file, size);
        self.building.commit(size, Some(self.diff_id)).map_err(Error::store("record a layer"))?;
        Ok(Imported { size, members: whole.then_some(scanned) })
    }
}

/// The name of the raw tar of a layer.
pub(crate) fn tar_key(diff_id: &Digest) -> DerivedKey {
    DerivedKey::new(Area::Layers, format!("{}-{}.tar", diff_id.algorithm().as_str(), diff_id.hex()))
}

/// Fills buffers until the end of the stream, or until nobody takes them any more.
fn pump(mut decoder: impl Read, belt: &Belt<Output>, spare: impl Fn() -> bool) -> std::io::Result<()> {
    while let Some(mut buffer) = belt.buffer() {
        buffer.length = 0;
        while buffer.length < buffer.bytes.len() {
            match decoder.read(&mut buffer.bytes[buffer.length..]) {
                Ok(0) => break,
                Ok(count) => buffer.length += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if buffer.length == 0 {
            break;
        }
        belt.put(buffer, spare());
    }
    belt.drain();
    Ok(())
}

/// The raw tar as it is written.
struct Output {
    file: File,
    hasher: Hasher,
    scanner: Scanner,
    reserve: Reserve,
    size: u64,
    /// The scanner has all members.
    whole: bool,
    failure: Option<Failure>,
}

enum Failure {
    Layer(larder_rootfs::Error),
    Write(std::io::Error),
}

impl Output {
    fn add(&mut self, bytes: &[u8]) -> std::result::Result<(), Failure> {
        self.scanner.feed(bytes).map_err(Failure::Layer)?;
        self.whole &= self.scanner.memory() <= SCANS;
        if !self.whole {
            // Checked, and that is all.
            drop(self.scanner.take());
        }
        self.size += bytes.len() as u64;
        self.reserve.ahead(&self.file, self.size, None);
        self.file.write_all(bytes).map_err(Failure::Write)?;
        self.hasher.update(bytes);
        Ok(())
    }
}

impl Sink for Output {
    fn take(&mut self, bytes: &[u8]) -> bool {
        self.failure = self.add(bytes).err();
        self.failure.is_none()
    }
}
