//! A blob, compressed for the way: once, however many nodes it goes to.

use larder_rootfs::FramePacker;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, Weak};

/// The zstd frames of a blob in a file without a name, which goes with the last user. Frames are sent while later ones are
/// still being made. Each stands for [`Packed::FRAME`] bytes, so that a delivery can continue at any of them.
#[derive(Debug)]
pub struct Packed {
    source: File,
    size: u64,
    file: File,
    state: Mutex<State>,
    changed: Condvar,
    /// The next frame that no thread has taken.
    next: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    /// Where each frame ends in the file.
    ends: Vec<u64>,
    failure: Option<(io::ErrorKind, String)>,
}

/// Takes a way to read the next piece into a buffer, and the piece's length; false ends it.
type Put<'a> = dyn FnMut(&mut dyn FnMut(&mut [u8]) -> io::Result<()>, usize) -> bool + 'a;

impl Packed {
    /// Bytes of the blob in one frame.
    pub const FRAME: u64 = 4 << 20;

    /// Begins to compress the first `size` bytes of `source` with so many threads, into a file in `directory`. The threads end when
    /// nobody holds the result any more.
    ///
    /// # Errors
    /// If the file cannot be made. Later failures are those of who reads it.
    pub fn start(source: File, size: u64, directory: &Path, threads: usize) -> io::Result<Arc<Self>> {
        let packed = Arc::new(Self {
            source,
            size,
            file: tempfile::tempfile_in(directory)?,
            state: Mutex::default(),
            changed: Condvar::new(),
            next: AtomicU64::new(0),
        });
        let threads = u64::try_from(threads.max(1)).unwrap_or(u64::MAX).min(packed.count().max(1));
        for _ in 0..threads {
            let weak = Arc::downgrade(&packed);
            std::thread::Builder::new().name("larder-pack".into()).spawn(move || work(&weak))?;
        }
        Ok(packed)
    }

    /// Bytes of the blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Waits until everything is compressed; then how large it is, in bytes.
    ///
    /// # Errors
    /// If the source cannot be read or the file cannot be written.
    pub fn wait(&self) -> io::Result<u64> {
        match self.count() {
            0 => Ok(0),
            count => self.place(count - 1).map(|(start, length)| start + length),
        }
    }

    /// Reads from the frame with this number to the end, in pieces of at most `limit` bytes: `put` gets a way to read the next
    /// piece, and its length; false ends it.
    pub(super) fn each_piece(&self, first: u64, limit: usize, put: &mut Put<'_>) {
        for number in first..self.count() {
            let (mut at, mut left) = match self.place(number) {
                Ok(place) => place,
                Err(error) => {
                    let mut error = Some(error);
                    put(&mut |_| Err(error.take().unwrap_or_else(|| io::ErrorKind::Other.into())), 0);
                    return;
                }
            };
            while left > 0 {
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(limit);
                if !put(&mut |buffer| self.file.read_exact_at(buffer, at), length) {
                    return;
                }
                at += length as u64;
                left -= length as u64;
            }
        }
    }

    fn count(&self) -> u64 {
        self.size.div_ceil(Self::FRAME)
    }

    /// Where a frame begins, and its length; waits for it.
    fn place(&self, number: u64) -> io::Result<(u64, u64)> {
        let index = usize::try_from(number).expect("frames are counted in memory");
        let state = self.state.lock().expect(UNPOISONED);
        let state = self
            .changed
            .wait_while(state, |state| state.failure.is_none() && state.ends.len() <= index)
            .expect(UNPOISONED);
        match (&state.failure, state.ends.get(index)) {
            (_, Some(end)) => {
                let start = if index == 0 { 0 } else { state.ends[index - 1] };
                Ok((start, end - start))
            }
            (Some((kind, words)), None) => Err(io::Error::new(*kind, words.clone())),
            (None, None) => unreachable!("the wait above ends with one of the two"),
        }
    }

    fn fail(&self, error: &io::Error) {
        self.state.lock().expect(UNPOISONED).failure.get_or_insert((error.kind(), error.to_string()));
        self.changed.notify_all();
    }

    /// Compresses the next frame; false if there is none.
    fn step(&self, packer: &mut FramePacker, buffer: &mut Vec<u8>) -> io::Result<bool> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        if number >= self.count() {
            return Ok(false);
        }
        let start = number * Self::FRAME;
        let length = (self.size - start).min(Self::FRAME);
        buffer.resize(usize::try_from(length).expect("a frame fits into memory"), 0);
        self.source.read_exact_at(buffer, start)?;
        let frame = packer.pack(buffer)?;
        let index = usize::try_from(number).expect("frames are counted in memory");
        let state = self.state.lock().expect(UNPOISONED);
        // In order: where it begins is known when those before it are there.
        let mut state = self
            .changed
            .wait_while(state, |state| state.failure.is_none() && state.ends.len() < index)
            .expect(UNPOISONED);
        if state.failure.is_some() {
            return Ok(false);
        }
        let begin = state.ends.last().copied().unwrap_or_default();
        self.file.write_all_at(frame, begin)?;
        state.ends.push(begin + frame.len() as u64);
        drop(state);
        self.changed.notify_all();
        Ok(true)
    }
}

fn work(weak: &Weak<Packed>) {
    let mut buffer = Vec::new();
    let mut packer = match FramePacker::new() {
        Ok(packer) => packer,
        Err(error) => {
            if let Some(packed) = weak.upgrade() {
                packed.fail(&error);
            }
            return;
        }
    };
    while let Some(packed) = weak.upgrade() {
        match packed.step(&mut packer, &mut buffer) {
            Ok(true) => {}
            Ok(false) => return,
            Err(error) => return packed.fail(&error),
        }
    }
}

const UNPOISONED: &str = "nothing panics while it holds this lock";
