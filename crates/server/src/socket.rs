//! The bytes of a connection. On plain TCP, file contents go from the page cache to the socket without passing through this
//! process: `sendfile(2)`.
//!
//! hyper writes what it is given, so a stretch of a file travels through it as a placeholder: a slice of [`blank`] of the same
//! length. Where such a slice would be written, [`Socket`] sends the stretch instead. Both sides share a queue of stretches;
//! HTTP/1 answers are written in order, so the queue needs no keys.

use rustix::fs::sendfile;
use std::collections::VecDeque;
use std::fs::File;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep};

/// A piece of a file to be sent.
#[derive(Debug)]
pub(crate) struct Stretch {
    pub(crate) file: Arc<File>,
    pub(crate) offset: u64,
    pub(crate) length: usize,
}

/// The stretches that wait to be sent on one connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stretches(Arc<Mutex<VecDeque<Stretch>>>);

impl Stretches {
    pub(crate) fn push(&self, stretch: Stretch) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(stretch);
    }

    /// Sends at most `limit` bytes of the first stretch, without waiting.
    fn send(&self, socket: &TcpStream, limit: usize) -> io::Result<usize> {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(first) = queue.front_mut() else {
            return Err(io::Error::other("a placeholder without a stretch of a file"));
        };
        let mut offset = first.offset;
        let sent = sendfile(socket, &*first.file, Some(&mut offset), first.length.min(limit))?;
        if sent == 0 {
            // Whoever shortened the file must not make us send something else in its place.
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than it was"));
        }
        first.offset += sent as u64;
        first.length -= sent;
        if first.length == 0 {
            queue.pop_front();
        }
        Ok(sent)
    }
}

/// A plain connection.
pub(crate) struct Socket {
    stream: TcpStream,
    stretches: Stretches,
    pace: Pace,
}

impl Socket {
    pub(crate) fn new(stream: TcpStream, stall: Duration, slowest: u64) -> Self {
        Self { stream, stretches: Stretches::default(), pace: Pace::new(stall, slowest) }
    }

    pub(crate) fn stretches(&self) -> Stretches {
        self.stretches.clone()
    }

    fn poll_send(&self, cx: &mut Context<'_>, limit: usize) -> Poll<io::Result<usize>> {
        loop {
            std::task::ready!(self.stream.poll_write_ready(cx))?;
            let sent = self.stream.try_io(Interest::WRITABLE, || self.stretches.send(&self.stream, limit));
            match sent {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                outcome => return Poll::Ready(outcome),
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let filled: Vec<IoSlice<'_>>;
        let outcome = match slices.iter().find(|slice| !slice.is_empty()) {
            None => return Poll::Ready(Ok(0)),
            Some(first) if is_blank(first) => self.poll_send(cx, first.len()),
            // What stands before the first placeholder goes now, the rest with the next call.
            Some(_) if slices.iter().any(|slice| is_blank(slice)) => {
                filled = slices.iter().take_while(|slice| !is_blank(slice)).copied().collect();
                Pin::new(&mut self.stream).poll_write_vectored(cx, &filled)
            }
            Some(_) => Pin::new(&mut self.stream).poll_write_vectored(cx, slices),
        };
        self.pace.check(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A connection whose bytes are made here (TLS), with the same bound on slow readers.
pub(crate) struct Paced<S> {
    stream: S,
    pace: Pace,
}

impl<S> Paced<S> {
    pub(crate) fn new(stream: S, stall: Duration, slowest: u64) -> Self {
        Self { stream, pace: Pace::new(stall, slowest) }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.pace.check(cx, outcome)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.pace.check(cx, outcome)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Cuts a reader that takes less than `slowest` bytes in `stall`, as long as there is something to take.
struct Pace {
    stall: Duration,
    slowest: u64,
    /// Set while the other side does not take what we have.
    alarm: Option<Pin<Box<Sleep>>>,
    moved: u64,
}

impl Pace {
    fn new(stall: Duration, slowest: u64) -> Self {
        Self { stall, slowest, alarm: None, moved: 0 }
    }

    fn check(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        match outcome {
            Poll::Ready(Ok(count)) => {
                self.moved += count as u64;
                if self.moved >= self.slowest {
                    self.alarm = None;
                    self.moved = 0;
                }
                Poll::Ready(Ok(count))
            }
            Poll::Pending => {
                let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep(self.stall)));
                if alarm.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                if self.moved >= self.slowest {
                    alarm.as_mut().reset(Instant::now() + self.stall);
                    self.moved = 0;
                    let _ = alarm.as_mut().poll(cx);
                    return Poll::Pending;
                }
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the other side does not read")))
            }
            failed => failed,
        }
    }
}

/// Memory whose address means "a stretch of a file". Never touched, so it takes address space only.
pub(crate) fn blank() -> &'static [u8] {
    static BLANK: OnceLock<&'static [u8]> = OnceLock::new();
    BLANK.get_or_init(|| Vec::leak(vec![0; BLANK_SIZE]))
}

fn is_blank(slice: &[u8]) -> bool {
    let range = blank().as_ptr_range();
    !slice.is_empty() && range.contains(&slice.as_ptr())
}

/// The largest placeholder.
pub(crate) const BLANK_SIZE: usize = 4 << 20;
