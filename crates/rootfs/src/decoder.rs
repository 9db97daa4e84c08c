//! Compressed bytes in, the raw tar out.

use crate::error::Error;
use crate::limits::Limits;
use flate2::{Decompress, FlushDecompress, Status};
use larder_core::Compression;
use std::io::{self, Read};
use zstd::stream::raw::{DParameter, InBuffer, Operation, OutBuffer};

/// Decompresses a layer: gzip (RFC 1952) of any number of members, zstd (RFC 8878) of any number of frames,
/// skippable ones included, or nothing at all.
///
/// - Reads the source to its end before it reports its own, so that a hash over the source sees every byte.
/// - Decompresses straight into the buffer it is given; large buffers (256 KiB) are fastest.
/// - Zeros after the last gzip member are padding; anything else there is an error, as is a stream that ends
///   early.
/// - Checksums are checked.
///
/// Its errors are [`Error`]s inside of [`io::Error`]s: [`Error::from_io`] takes them out.
#[derive(Debug)]
pub struct Decoder<R> {
    reader: R,
    buffer: Box<[u8]>,
    /// Bytes of the buffer not taken yet.
    start: usize,
    end: usize,
    /// Bytes taken from the reader, and given out.
    taken: u64,
    given: u64,
    stream: Stream,
    limits: Limits,
}

enum Stream {
    /// Nothing was read yet; what the label said.
    Unknown(Option<Compression>),
    None,
    Gzip(Decompress),
    /// Between gzip members.
    GzipEnd,
    /// Zeros after the last gzip member.
    Padding,
    /// The flag: a frame is complete.
    Zstd(Box<zstd::stream::raw::Decoder<'static>>, bool),
    End,
}

impl<R: Read> Decoder<R> {
    /// Decompresses `reader`. The first bytes decide what it is, whatever was declared.
    pub fn new(reader: R, declared: Option<Compression>, limits: &Limits) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        let stream = Stream::Unknown(declared);
        Self { reader, buffer, start: 0, end: 0, taken: 0, given: 0, stream, limits: limits.clone() }
    }

    /// Bytes taken from the reader and bytes given out so far.
    pub fn totals(&self) -> (u64, u64) {
        (self.taken, self.given)
    }

    /// Gives the reader back.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// Gets more input if there is none; tells whether there is any.
    fn fill(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
            self.more()?;
        }
        Ok(self.start < self.end)
    }

    /// Adds to the input; 0 at the end.
    fn more(&mut self) -> io::Result<usize> {
        loop {
            match self.reader.read(&mut self.buffer[self.end..]) {
                Ok(count) => {
                    self.end += count;
                    self.taken += count as u64;
                    return Ok(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn open(&mut self, declared: Option<Compression>) -> io::Result<Stream> {
        while self.end < MAGIC && self.more()? > 0 {}
        let first = &self.buffer[..self.end];
        Ok(match Compression::sniff(first) {
            Compression::Gzip => Stream::Gzip(gzip()),
            Compression::Zstd => {
                let mut decoder = zstd::stream::raw::Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(self.limits.window_log))?;
                Stream::Zstd(Box::new(decoder), true)
            }
            Compression::None => {
                if first.starts_with(b"\xfd7zXZ\0") {
                    return Err(Error::Compression("xz").into());
                }
                if first.starts_with(b"BZh") && first.get(4..10) == Some(b"1AY&SY") {
                    return Err(Error::Compression("bzip2").into());
                }
                // An empty blob is no compressed stream, but an empty tar.
                if first.is_empty() && declared.is_some_and(|declared| declared != Compression::None) {
                    let compression = declared.unwrap_or(Compression::None);
                    return Err(self.damaged(compression, io::ErrorKind::UnexpectedEof.into()));
                }
                Stream::None
            }
        })
    }

    fn gunzip(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let more = self.fill()?;
            let Stream::Gzip(stream) = &mut self.stream else { return Ok(0) };
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let input = &self.buffer[self.start..self.end];
            let status = stream.decompress(input, out, FlushDecompress::None);
            let count = (stream.total_out() - before_out) as usize;
            let used = (stream.total_in() - before_in) as usize;
            self.start += used;
            match status {
                Ok(Status::StreamEnd) => self.stream = Stream::GzipEnd,
                Ok(Status::Ok | Status::BufError) if !more && count == 0 => {
                    return Err(self.damaged(Compression::Gzip, io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(Status::Ok | Status::BufError) if count == 0 && used == 0 => {
                    return Err(self.damaged(Compression::Gzip, io::ErrorKind::InvalidData.into()));
                }
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) => return Err(self.damaged(Compression::Gzip, error.into())),
            }
            if count > 0 || matches!(self.stream, Stream::GzipEnd) {
                return Ok(count);
            }
        }
    }

    fn unzstd(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let more = self.fill()?;
            let Stream::Zstd(stream, complete) = &mut self.stream else { return Ok(0) };
            if !more && *complete {
                self.stream = Stream::End;
                return Ok(0);
            }
            let mut input = InBuffer::around(&self.buffer[self.start..self.end]);
            let mut output = OutBuffer::around(&mut *out);
            let hint = stream.run(&mut input, &mut output);
            let (used, count) = (input.pos(), output.pos());
            match hint {
                Ok(hint) => *complete = hint == 0,
                Err(error) => return Err(self.damaged(Compression::Zstd, error)),
            }
            self.start += used;
            if count > 0 {
                return Ok(count);
            }
            if !more {
                return Err(self.damaged(Compression::Zstd, io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn copy(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            let count = self.reader.read(out)?;
            self.taken += count as u64;
            return Ok(count);
        }
        let count = out.len().min(self.end - self.start);
        out[..count].copy_from_slice(&self.buffer[self.start..self.start + count]);
        self.start += count;
        Ok(count)
    }

    /// Counts what was given out, and stops a bomb.
    fn account(&mut self, count: usize) -> io::Result<usize> {
        self.given += count as u64;
        if self.given > self.limits.bytes {
            return Err(
                Error::Limit { what: "uncompressed bytes of a layer", limit: self.limits.bytes }.into()
            );
        }
        let ratio = u64::from(self.limits.ratio);
        let used = self.taken - (self.end - self.start) as u64;
        if self.given > RATIO_FREE && self.given > used.saturating_mul(ratio) {
            return Err(Error::Limit { what: "uncompressed bytes per compressed byte", limit: ratio }.into());
        }
        Ok(count)
    }

    fn damaged(&self, compression: Compression, source: io::Error) -> io::Error {
        let offset = self.taken - (self.end - self.start) as u64;
        Error::Stream { compression, offset, source }.into()
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if out.is_empty() {
            return Ok(0);
        }
        loop {
            let count = match self.stream {
                Stream::Unknown(declared) => {
                    self.stream = self.open(declared)?;
                    continue;
                }
                Stream::None => self.copy(out)?,
                Stream::Gzip(_) => match self.gunzip(out)? {
                    0 => continue,
                    count => count,
                },
                Stream::GzipEnd => {
                    self.stream = match self.fill()?.then(|| self.buffer[self.start]) {
                        None => Stream::End,
                        Some(0) => Stream::Padding,
                        Some(_) => Stream::Gzip(gzip()),
                    };
                    continue;
                }
                Stream::Padding => {
                    while self.fill()? {
                        if self.buffer[self.start..self.end].iter().any(|byte| *byte != 0) {
                            return Err(self.damaged(Compression::Gzip, io::ErrorKind::InvalidData.into()));
                        }
                        self.start = self.end;
                    }
                    self.stream = Stream::End;
                    continue;
                }
                Stream::Zstd(..) => match self.unzstd(out)? {
                    0 => continue,
                    count => count,
                },
                Stream::End => return Ok(0),
            };
            return self.account(count);
        }
    }
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unknown(_) => "Unknown",
            Self::None => "None",
            Self::Gzip(_) | Self::GzipEnd | Self::Padding => "Gzip",
            Self::Zstd(..) => "Zstd",
            Self::End => "End",
        })
    }
}

fn gzip() -> Decompress {
    Decompress::new_gzip(15)
}

const BUFFER: usize = 256 << 10;
/// Bytes that tell the formats apart.
const MAGIC: usize = 10;
/// So much may come out of anything.
const RATIO_FREE: u64 = 64 << 20;
