//! What a child reads.

use crate::error::{Error, Result};
use crate::member::{Content, Member};
use crate::message::Input;
use crate::spool::Spool;
use larder_core::Digest;
use rustix::fs::sendfile;
use rustix::io::Errno;
use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::BorrowedFd;

/// The bytes for a child's standard input, in order. Blobs go from the spool into the pipe inside of the kernel.
#[derive(Debug)]
pub(crate) struct Feed {
    segments: VecDeque<Segment>,
    /// Bytes that went into the pipe.
    pub(crate) fed: u64,
}

/// What one [`Feed::step`] came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The pipe is full.
    Full,
    /// Everything went.
    Done,
    /// The child reads no more.
    Refused,
}

#[derive(Debug)]
enum Segment {
    Bytes { bytes: Vec<u8>, done: usize },
    Zeros(u64),
    Blob { digest: Digest, file: Option<File>, offset: u64, size: u64 },
}

impl Feed {
    /// Prepares `input`; `inline` are the bytes that came with the request. `None` if the child gets no input at all.
    ///
    /// # Errors
    ///
    /// If a blob is not there.
    pub(crate) fn new(input: &Input, inline: Vec<u8>, spool: &Spool) -> Result<Option<Self>> {
        let mut segments = VecDeque::new();
        match input {
            Input::None => return Ok(None),
            Input::Bytes(_) => segments.push_back(Segment::Bytes { bytes: inline, done: 0 }),
            Input::Blob(digest) => segments.push_back(Segment::blob(digest, spool)?),
            Input::Tar(members) => {
                let mut inline = inline.as_slice();
                for member in members {
                    let size = match &member.content {
                        Content::Inline(size) => *size,
                        Content::Blob(digest) => spool.read(digest)?.1,
                    };
                    let mut bytes = Member::header(&member.name, size);
                    match &member.content {
                        Content::Inline(size) => {
                            let (own, rest) = inline
                                .split_at(usize::try_from(*size).unwrap_or(usize::MAX).min(inline.len()));
                            bytes.extend_from_slice(own);
                            inline = rest;
                            segments.push_back(Segment::Bytes { bytes, done: 0 });
                        }
                        Content::Blob(digest) => {
                            segments.push_back(Segment::Bytes { bytes, done: 0 });
                            segments.push_back(Segment::Blob {
                                digest: *digest,
                                file: None,
                                offset: 0,
                                size,
                            });
                        }
                    }
                    segments.push_back(Segment::Zeros(Member::padding(size)));
                }
                segments.push_back(Segment::Zeros(Member::TRAILER));
            }
        }
        Ok(Some(Self { segments, fed: 0 }))
    }

    /// Fills the pipe, which must not block.
    pub(crate) fn step(&mut self, pipe: BorrowedFd<'_>, spool: &Spool) -> Result<Step> {
        loop {
            let Some(segment) = self.segments.front_mut() else { return Ok(Step::Done) };
            if segment.is_done() {
                self.segments.pop_front();
                continue;
            }
            match segment.step(pipe, spool) {
                Ok(count) => self.fed += count,
                Err(Refusal::Pipe(Errno::INTR)) => {}
                Err(Refusal::Pipe(Errno::AGAIN)) => return Ok(Step::Full),
                Err(Refusal::Pipe(_)) => return Ok(Step::Refused),
                Err(Refusal::Blob(error)) => return Err(error),
            }
        }
    }
}

enum Refusal {
    Pipe(Errno),
    Blob(Error),
}

impl Segment {
    fn blob(digest: &Digest, spool: &Spool) -> Result<Self> {
        let (file, size) = spool.read(digest)?;
        Ok(Self::Blob { digest: *digest, file: Some(file), offset: 0, size })
    }

    fn is_done(&self) -> bool {
        match self {
            Self::Bytes { bytes, done } => *done == bytes.len(),
            Self::Zeros(left) => *left == 0,
            Self::Blob { offset, size, .. } => offset == size,
        }
    }

    fn step(&mut self, pipe: BorrowedFd<'_>, spool: &Spool) -> std::result::Result<u64, Refusal> {
        match self {
            Self::Bytes { bytes, done } => {
                let count = rustix::io::write(pipe, &bytes[*done..]).map_err(Refusal::Pipe)?;
                *done += count;
                Ok(count as u64)
            }
            Self::Zeros(left) => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX).min(ZEROS.len());
                let count = rustix::io::write(pipe, &ZEROS[..most]).map_err(Refusal::Pipe)? as u64;
                *left -= count;
                Ok(count)
            }
            Self::Blob { digest, file, offset, size } => {
                // Opened when its turn comes: an archive may have more members than a process may have files.
                let opened = match file {
                    Some(opened) => opened,
                    None => {
                        let (opened, actual) = spool.read(digest).map_err(Refusal::Blob)?;
                        if actual != *size {
                            return Err(Refusal::Blob(Error::Shrunk { digest: *digest }));
                        }
                        file.insert(opened)
                    }
                };
                let most = usize::try_from(*size - *offset).unwrap_or(usize::MAX).min(PORTION);
                let before = *offset;
                match sendfile(pipe, &*opened, Some(offset), most) {
                    Ok(0) => Err(Refusal::Blob(Error::Shrunk { digest: *digest })),
                    Ok(_) => Ok(*offset - before),
                    Err(error @ (Errno::AGAIN | Errno::INTR | Errno::PIPE)) => Err(Refusal::Pipe(error)),
                    Err(error) => {
                        let path = spool.directory().to_owned();
                        Err(Refusal::Blob(Error::file("read a blob of", path, error)))
                    }
                }
            }
        }
    }
}

static ZEROS: [u8; 1024] = [0; 1024];
const PORTION: usize = 1 << 20;
