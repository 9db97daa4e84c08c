//! What answers are made of.

use crate::ledger::Ledger;
use crate::socket::{BLANK_SIZE, Stretch, Stretches, blank};
use crate::source::{Source, Window};
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

/// The body of an answer. Its [`Ledger`] learns what was handed over, and writes its record when the body is dropped:
/// whole or not.
pub(crate) struct Body {
    content: Content,
    ledger: Option<Ledger>,
}

enum Content {
    Empty,
    Bytes(Bytes),
    File(FileBody),
}

/// Part of an answer: bytes, or the place of a stretch of a file.
pub(crate) enum Chunk {
    Bytes(Bytes),
    Blank(usize),
}

impl Body {
    pub(crate) fn empty() -> Self {
        Self { content: Content::Empty, ledger: None }
    }

    pub(crate) fn bytes(bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self { content: if bytes.is_empty() { Content::Empty } else { Content::Bytes(bytes) }, ledger: None }
    }

    /// `start..end` of a blob. `stretches` is there if the connection sends files by itself.
    pub(crate) fn file(source: Source, start: u64, end: u64, stretches: Option<Stretches>) -> Self {
        Self {
            content: Content::File(FileBody { source, at: start, end, stretches, reading: None }),
            ledger: None,
        }
    }

    pub(crate) fn with_ledger(mut self, ledger: Ledger) -> Self {
        self.ledger = Some(ledger);
        self
    }

    /// Bytes that are still to come.
    pub(crate) fn remaining(&self) -> u64 {
        match &self.content {
            Content::Empty => 0,
            Content::Bytes(bytes) => bytes.len() as u64,
            Content::File(file) => file.end - file.at,
        }
    }
}

impl http_body::Body for Body {
    type Data = Chunk;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Chunk>, io::Error>>> {
        let this = &mut *self;
        let outcome = match &mut this.content {
            Content::Empty => return Poll::Ready(None),
            Content::Bytes(bytes) => Ok(Chunk::Bytes(std::mem::take(bytes))),
            Content::File(file) if file.at == file.end => return Poll::Ready(None),
            Content::File(file) => std::task::ready!(file.poll_chunk(cx)),
        };
        if let Content::Bytes(_) = &this.content {
            this.content = Content::Empty;
        }
        match (outcome, &mut this.ledger) {
            (Ok(chunk), ledger) => {
                if let Some(ledger) = ledger {
                    ledger.sent(chunk.remaining() as u64);
                }
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
            (Err(error), ledger) => {
                if let Some(ledger) = ledger {
                    ledger.failed(&error);
                }
                Poll::Ready(Some(Err(error)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.remaining() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining())
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        let left = self.remaining();
        if let Some(ledger) = self.ledger.take() {
            ledger.close(left);
        }
    }
}

/// A stretch of a blob on its way out.
struct FileBody {
    source: Source,
    at: u64,
    end: u64,
    stretches: Option<Stretches>,
    /// A piece being read from disk, where it cannot be sent straight from the file.
    reading: Option<tokio::task::JoinHandle<io::Result<Bytes>>>,
}

impl FileBody {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Chunk>> {
        if let Some(reading) = &mut self.reading {
            let bytes = std::task::ready!(Pin::new(reading).poll(cx));
            self.reading = None;
            let bytes = bytes.map_err(io::Error::other)??;
            self.at += bytes.len() as u64;
            return Poll::Ready(Ok(Chunk::Bytes(bytes)));
        }
        let Window { until } = std::task::ready!(self.source.poll_window(self.at, self.end, cx))?;
        let length = usize::try_from(until - self.at).unwrap_or(BLANK_SIZE);
        if let Some(stretches) = &self.stretches {
            let length = length.min(BLANK_SIZE);
            self.source.expect(self.at, length as u64);
            stretches.push(Stretch { file: self.source.file().clone(), offset: self.at, length });
            self.at += length as u64;
            return Poll::Ready(Ok(Chunk::Blank(length)));
        }
        let (file, at, length) = (self.source.file().clone(), self.at, length.min(READ));
        self.reading = Some(tokio::task::spawn_blocking(move || {
            use std::os::unix::fs::FileExt as _;
            let mut buffer = vec![0; length];
            file.read_exact_at(&mut buffer, at)?;
            Ok(Bytes::from(buffer))
        }));
        self.poll_chunk(cx)
    }
}

impl Buf for Chunk {
    fn remaining(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Blank(length) => *length,
        }
    }

    fn chunk(&self) -> &[u8] {
        match self {
            Self::Bytes(bytes) => bytes,
            Self::Blank(length) => &blank()[..*length],
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match slices.first_mut() {
            Some(first) if self.has_remaining() => {
                *first = IoSlice::new(self.chunk());
                1
            }
            _ => 0,
        }
    }

    fn advance(&mut self, count: usize) {
        match self {
            Self::Bytes(bytes) => bytes.advance(count),
            Self::Blank(length) => *length -= count,
        }
    }
}

/// What is read at once for connections that cannot send files.
const READ: usize = 128 << 10;
