//! The two pipes of a session.

use crate::error::{Error, Result};
use crate::frame::Frames;
use crate::message::{Reply, Request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

/// Reads requests, writes replies. Whether the pipes block or not makes no difference.
#[derive(Debug)]
pub(crate) struct Wire<'a> {
    input: BorrowedFd<'a>,
    output: BorrowedFd<'a>,
    frames: Frames,
    out: Vec<u8>,
    /// When bytes came last.
    heard: Instant,
    /// Silence that ends the session in the middle of something.
    pub(crate) idle: Option<Duration>,
}

impl<'a> Wire<'a> {
    pub(crate) fn new(input: BorrowedFd<'a>, output: BorrowedFd<'a>) -> Self {
        Self { input, output, frames: Frames::new(), out: Vec::new(), heard: Instant::now(), idle: None }
    }

    /// The next request; however long it takes. `None` if the client closed between requests.
    pub(crate) fn request(&mut self) -> Result<Option<Request<'_>>> {
        while !self.has_frame()? {
            match self.fill() {
                Ok(()) => {}
                Err(Error::Closed) if !self.frames.is_pending() => return Ok(None),
                Err(error) => return Err(error),
            }
        }
        self.take().map(Some)
    }

    /// The next request in the middle of something: the end of the input is an error here, and so is silence.
    pub(crate) fn continued(&mut self) -> Result<Request<'_>> {
        self.heard = Instant::now();
        while !self.has_frame()? {
            if let Some(after) = self.idle
                && self.heard.elapsed() >= after
            {
                return Err(Error::Idle { after });
            }
            if self.readable(Duration::from_secs(1))? {
                self.fill()?;
            }
        }
        self.take()
    }

    /// What came without waiting for it. For use after [`Wire::wait`].
    pub(crate) fn ready(&mut self) -> Result<Option<Request<'_>>> {
        if !self.has_frame()? && self.readable(Duration::ZERO)? {
            self.fill()?;
        }
        if self.has_frame()? { self.take().map(Some) } else { Ok(None) }
    }

    /// Waits until the client sent something, or one of `others` can do something, at most for `limit`. Tells what each of the
    /// others can do.
    ///
    /// # Errors
    ///
    /// [`Error::Idle`] if the client is silent for too long, [`Error::Closed`] if it is gone, also when what it sent before was
    /// not read yet.
    pub(crate) fn wait(&self, others: &[PollFd<'_>], limit: Duration) -> Result<Vec<PollFlags>> {
        if let Some(after) = self.idle
            && self.heard.elapsed() >= after
        {
            return Err(Error::Idle { after });
        }
        let timeout = Timespec::try_from(limit).expect("limits are short");
        let mut all = Vec::with_capacity(others.len() + 1);
        all.push(PollFd::from_borrowed_fd(self.input, PollFlags::IN | PollFlags::RDHUP));
        all.extend(others.iter().cloned());
        match poll(&mut all, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(Error::Receive(error.into())),
        }
        let gone = PollFlags::HUP | PollFlags::RDHUP | PollFlags::ERR | PollFlags::NVAL;
        if all[0].revents().intersects(gone) {
            return Err(Error::Closed);
        }
        Ok(all[1..].iter().map(PollFd::revents).collect())
    }

    /// As [`Wire::wait`] for a client that has nothing to say: it only has to be there.
    pub(crate) fn pause(&self, limit: Duration) -> Result<()> {
        let timeout = Timespec::try_from(limit).expect("limits are short");
        // Without IN: data of the client may wait in the pipe all the time.
        let mut fds = [PollFd::from_borrowed_fd(self.input, PollFlags::RDHUP)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(0) | Err(Errno::INTR) => Ok(()),
            Ok(_) => Err(Error::Closed),
            Err(error) => Err(Error::Receive(error.into())),
        }
    }

    /// Writes a reply; returns when all of it is in the pipe.
    pub(crate) fn send(&mut self, reply: &Reply<'_>) -> Result<()> {
        self.out.clear();
        reply.encode(&mut self.out).ok_or(Error::Answer)?;
        let mut rest = self.out.as_slice();
        while !rest.is_empty() {
            rest = &rest[write(self.output, rest)?..];
        }
        Ok(())
    }

    /// Writes bytes that are no frame.
    pub(crate) fn send_raw(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            bytes = &bytes[write(self.output, bytes)?..];
        }
        Ok(())
    }

    fn has_frame(&mut self) -> Result<bool> {
        Ok(self.frames.is_ready()?)
    }

    fn take(&mut self) -> Result<Request<'_>> {
        let frame = self.frames.take()?.expect("a frame is there: it was just looked for");
        Ok(Request::decode(frame)?)
    }

    /// Whether reading would not wait; the end of the input counts.
    fn readable(&self, limit: Duration) -> Result<bool> {
        let timeout = Timespec::try_from(limit).expect("limits are short");
        let mut fds = [PollFd::from_borrowed_fd(self.input, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(count) => Ok(count > 0),
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(Error::Receive(error.into())),
        }
    }

    /// Reads once.
    fn fill(&mut self) -> Result<()> {
        let space = self.frames.space()?;
        match rustix::io::read(self.input, space) {
            Ok(0) => Err(Error::Closed),
            Ok(count) => {
                self.frames.filled(count);
                self.heard = Instant::now();
                Ok(())
            }
            Err(Errno::INTR) => Ok(()),
            Err(Errno::AGAIN) => until(self.input, PollFlags::IN).map_err(Error::Receive),
            Err(error) => Err(Error::Receive(error.into())),
        }
    }
}

fn write(output: BorrowedFd<'_>, bytes: &[u8]) -> Result<usize> {
    match rustix::io::write(output, bytes) {
        Ok(count) => Ok(count),
        Err(Errno::INTR) => Ok(0),
        Err(Errno::AGAIN) => until(output, PollFlags::OUT).map(|()| 0).map_err(Error::Send),
        Err(error) => Err(Error::Send(error.into())),
    }
}

fn until(fd: BorrowedFd<'_>, flags: PollFlags) -> io::Result<()> {
    match poll(&mut [PollFd::from_borrowed_fd(fd.as_fd(), flags)], None) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
