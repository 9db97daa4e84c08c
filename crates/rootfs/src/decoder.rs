//! Compressed bytes in, the raw tar out.

use crate::error::Error;
use crate::limits::Limits;
use flate2::{Decompress, FlushDecompress, Status};
use larder_core::Compression;
use liblzma::stream::Action;
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
    /// bzip2 and xz are read too, which layers never have.
    any: bool,
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
    Bzip2(Box<bzip2::Decompress>),
    /// Between bzip2 streams.
    Bzip2End,
    Xz(Box<liblzma::stream::Stream>),
    End,
}

impl<R: Read> Decoder<R> {
    /// Decompresses `reader`. The first bytes decide what it is, whatever was declared.
    pub fn new(reader: R, declared: Option<Compression>, limits: &Limits) -> Self {
        let buffer = vec![0; BUFFER].into_boxed_slice();
        let stream = Stream::Unknown(declared);
        let limits = limits.clone();
        Self { reader, buffer, start: 0, end: 0, taken: 0, given: 0, stream, limits, any: false }
    }

    /// Decompresses what is no layer, so that it may also be bzip2 or xz, of any number of streams.
    pub fn of_anything(reader: R, limits: &Limits) -> Self {
        Self { any: true, ..Self::new(reader, None, limits) }
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

    /// Adds to the input, moving what is left to the front where there is no room; whether there was more.
    fn top_up(&mut self) -> io::Result<bool> {
        if self.end == self.buffer.len() {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        Ok(self.more()? > 0)
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
                    if self.any {
                        let flags = liblzma::stream::CONCATENATED;
                        let decoder = liblzma::stream::Stream::new_stream_decoder(XZ_MEMORY, flags)?;
                        return Ok(Stream::Xz(Box::new(decoder)));
                    }
                    return Err(Error::Compression("xz").into());
                }
                if is_bzip2(first) {
                    if self.any {
                        return Ok(Stream::Bzip2(Box::new(bzip2::Decompress::new(false))));
                    }
                    return Err(Error::Compression("bzip2").into());
                }
                // An empty blob is no compressed stream, but an empty tar.
                if first.is_empty() && declared.is_some_and(|declared| declared != Compression::None) {
                    let compression = declared.unwrap_or(Compression::None);
                    return Err(self.damaged(compression.as_str(), io::ErrorKind::UnexpectedEof.into()));
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
                    return Err(self.damaged("gzip", io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(Status::Ok | Status::BufError) if count == 0 && used == 0 => {
                    return Err(self.damaged("gzip", io::ErrorKind::InvalidData.into()));
                }
                Ok(Status::Ok | Status::BufError) => {}
                Err(error) => return Err(self.damaged("gzip", error.into())),
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
                Err(error) => return Err(self.damaged("zstd", error)),
            }
            self.start += used;
            if count > 0 {
                return Ok(count);
            }
            if !more {
                return Err(self.damaged("zstd", io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    fn unbzip2(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let more = self.fill()?;
            let Stream::Bzip2(stream) = &mut self.stream else { return Ok(0) };
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            let status = stream.decompress(&self.buffer[self.start..self.end], out);
            let count = (stream.total_out() - before_out) as usize;
            let used = (stream.total_in() - before_in) as usize;
            self.start += used;
            match status {
                Ok(bzip2::Status::StreamEnd) => {
                    self.stream = Stream::Bzip2End;
                    return Ok(count);
                }
                Ok(_) if count > 0 => return Ok(count),
                Ok(_) if !more => {
                    return Err(self.damaged("bzip2", io::ErrorKind::UnexpectedEof.into()));
                }
                Ok(_) if used == 0 => {
                    return Err(self.damaged("bzip2", io::ErrorKind::InvalidData.into()));
                }
                Ok(_) => {}
                Err(error) => return Err(self.damaged("bzip2", error.into())),
            }
        }
    }

    fn unxz(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let more = self.fill()?;
            let Stream::Xz(stream) = &mut self.stream else { return Ok(0) };
            let (before_in, before_out) = (stream.total_in(), stream.total_out());
            // Only at the end of the input does the decoder know that no other stream follows.
            let action = if more { Action::Run } else { Action::Finish };
            let status = stream.process(&self.buffer[self.start..self.end], out, action);
            let count = (stream.total_out() - before_out) as usize;
            let used = (stream.total_in() - before_in) as usize;
            self.start += used;
            match status {
                Ok(liblzma::stream::Status::StreamEnd) => {
                    self.stream = Stream::End;
                    return Ok(count);
                }
                Ok(_) if count > 0 => return Ok(count),
                Ok(_) if !more => return Err(self.damaged("xz", io::ErrorKind::UnexpectedEof.into())),
                Ok(_) if used == 0 => return Err(self.damaged("xz", io::ErrorKind::InvalidData.into())),
                Ok(_) => {}
                Err(error) => return Err(self.damaged("xz", error.into())),
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

    fn damaged(&self, compression: &'static str, source: io::Error) -> io::Error {
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
                            return Err(self.damaged("gzip", io::ErrorKind::InvalidData.into()));
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
                Stream::Bzip2(_) => match self.unbzip2(out)? {
                    0 => continue,
                    count => count,
                },
                Stream::Bzip2End => {
                    while self.end - self.start < MAGIC && self.top_up()? {}
                    let next = &self.buffer[self.start..self.end];
                    self.stream = match next {
                        [] => Stream::End,
                        next if is_bzip2(next) => Stream::Bzip2(Box::new(bzip2::Decompress::new(false))),
                        _ => return Err(self.damaged("bzip2", io::ErrorKind::InvalidData.into())),
                    };
                    continue;
                }
                Stream::Xz(_) => match self.unxz(out)? {
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
            Self::Bzip2(_) | Self::Bzip2End => "Bzip2",
            Self::Xz(_) => "Xz",
            Self::End => "End",
        })
    }
}

fn gzip() -> Decompress {
    Decompress::new_gzip(15)
}

fn is_bzip2(first: &[u8]) -> bool {
    // An empty stream has the end mark where the first block would be.
    first.starts_with(b"BZh") && matches!(first.get(4..10), Some(b"1AY&SY" | b"\x17\x72\x45\x38\x50\x90"))
}

const BUFFER: usize = 256 << 10;
/// What an xz stream may make its reader allocate: `xz -9` needs 65 MiB.
const XZ_MEMORY: u64 = 160 << 20;
/// Bytes that tell the formats apart.
const MAGIC: usize = 10;
/// So much may come out of anything.
const RATIO_FREE: u64 = 64 << 20;
