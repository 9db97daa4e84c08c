//! From a compressed layer to its raw tar and its list of members, in one pass over the bytes.
//!
//! ```text
//! this thread: read + inflate ──256 KiB buffers──► second thread: sha256 + write + scan
//!                   ▲────────────empty buffers────────────┘
//! ```

use crate::scans::SCANS;
use crate::{Error, Result};
use larder_core::{Compression, Digest, Hasher};
use larder_rootfs::{Decoder, Layer, Limits, Scanner};
use larder_store::{Area, BeginDerived, Building, DerivedKey, Store};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
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
        let path = self.building.path().to_owned();
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.map_err(Error::file("create", &path))?;
        let (full, arriving) = sync_channel(BUFFERS);
        let (returning, empty) = sync_channel(BUFFERS);
        for _ in 0..BUFFERS {
            // Has room for all of them.
            let _ = returning.send(Filled { bytes: vec![0; BUFFER], length: 0 });
        }
        let sink = Sink {
            file,
            hasher: Hasher::new(self.diff_id.algorithm()),
            scanner: Scanner::new(self.limits.clone()),
        };
        let (read, written) = thread::scope(|scope| {
            let writer = scope.spawn(|| sink.drain(arriving, returning));
            let decoder = Decoder::new(compressed, declared, &self.limits);
            let read = pump(decoder, full, &empty);
            (read, writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        let layer = |source| Error::layer(&self.diff_id)(source);
        // Where both failed, the writer was first: it stops the reader, not the other way round.
        let Drained { size, found, scanner, whole } = match written {
            Ok(written) => written,
            Err(Failure::Layer(source)) => return Err(layer(source)),
            Err(Failure::Write(source)) => return Err(Error::file("write", &path)(source)),
        };
        read.map_err(|error| layer(larder_rootfs::Error::from_io(error)))?;
        if found != self.diff_id {
            return Err(Error::DiffId { expected: self.diff_id, found: Box::new(found) });
        }
        let scanned = scanner.finish().map_err(layer)?;
        self.building.commit(size, Some(self.diff_id)).map_err(Error::store("record a layer"))?;
        Ok(Imported { size, members: whole.then_some(scanned) })
    }
}

/// The name of the raw tar of a layer.
pub(crate) fn tar_key(diff_id: &Digest) -> DerivedKey {
    DerivedKey::new(Area::Layers, format!("{}-{}.tar", diff_id.algorithm().as_str(), diff_id.hex()))
}

/// A buffer that goes round: its memory is zeroed and touched once.
struct Filled {
    bytes: Vec<u8>,
    length: usize,
}

/// Fills buffers until the end of the stream, or until nobody takes them any more.
#[expect(
    clippy::needless_pass_by_value,
    reason = "dropping the sender tells the other side that this is the end"
)]
fn pump(mut decoder: impl Read, full: SyncSender<Filled>, empty: &Receiver<Filled>) -> std::io::Result<()> {
    while let Ok(mut buffer) = empty.recv() {
        buffer.length = 0;
        while buffer.length < BUFFER {
            match decoder.read(&mut buffer.bytes[buffer.length..]) {
                Ok(0) => break,
                Ok(count) => buffer.length += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if buffer.length == 0 || full.send(buffer).is_err() {
            break;
        }
    }
    Ok(())
}

struct Sink {
    file: File,
    hasher: Hasher,
    scanner: Scanner,
}

struct Drained {
    size: u64,
    found: Digest,
    scanner: Scanner,
    /// The scanner has all members.
    whole: bool,
}

enum Failure {
    Layer(larder_rootfs::Error),
    Write(std::io::Error),
}

impl Sink {
    #[expect(clippy::needless_pass_by_value, reason = "dropping the sender stops the reader")]
    fn drain(
        mut self,
        arriving: Receiver<Filled>,
        returning: SyncSender<Filled>,
    ) -> std::result::Result<Drained, Failure> {
        let (mut size, mut whole) = (0, true);
        for buffer in arriving {
            let bytes = &buffer.bytes[..buffer.length];
            self.scanner.feed(bytes).map_err(Failure::Layer)?;
            whole &= self.scanner.memory() <= SCANS;
            if !whole {
                // Checked, and that is all.
                drop(self.scanner.take());
            }
            self.file.write_all(bytes).map_err(Failure::Write)?;
            self.hasher.update(bytes);
            size += bytes.len() as u64;
            // The reader may have ended already.
            let _ = returning.send(buffer);
        }
        Ok(Drained { size, found: self.hasher.finish(), scanner: self.scanner, whole })
    }
}

/// Fits the second-level cache together with what the inflater needs.
const BUFFER: usize = 256 << 10;
const BUFFERS: usize = 8;
