//! A program runs.

use crate::child::Child;
use crate::error::{Error, Result};
use crate::feed::{Feed, Step};
use crate::frame::DATA_LIMIT;
use crate::member::{Content, Member};
use crate::message::{Exit, Input, Limits, Reply, Request, Run};
use crate::spool::Spool;
use crate::wire::Wire;
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::pipe::fcntl_setpipe_size;
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

/// Answers one [`Request::Run`].
///
/// # Errors
///
/// Those that end the session; the program is ended before. Others go to the client.
pub(crate) fn run(wire: &mut Wire<'_>, spool: &mut Spool, prefix: &[OsString], order: &Run) -> Result<()> {
    let inline = inline(wire, &order.stdin)?;
    let outcome = inline.and_then(|inline| {
        let feed = Feed::new(&order.stdin, inline, spool)?;
        let child = Child::start(prefix, &order.argv, &order.env, feed.is_some())?;
        Running::new(child, feed, order.limits)?.finish(wire, spool)
    });
    match outcome {
        Ok(exit) => wire.send(&Reply::Exit(exit)),
        Err(error) if error.is_fatal() => Err(error),
        Err(error) => wire.send(&Reply::Failure(error.failure())),
    }
}

/// The bytes that follow the request. The outer error ends the session.
fn inline(wire: &mut Wire<'_>, input: &Input) -> Result<Result<Vec<u8>>> {
    let announced = match input {
        Input::None | Input::Blob(_) => 0,
        Input::Bytes(size) => *size,
        Input::Tar(members) => members.iter().fold(0, |sum: u64, member| match member.content {
            Content::Inline(size) => sum.saturating_add(size),
            Content::Blob(_) => sum,
        }),
    };
    let mut refusal = None;
    if announced > INLINE_LIMIT {
        refusal = Some(Error::Limit { what: "bytes with a request", limit: INLINE_LIMIT });
    }
    if let Input::Tar(members) = input
        && members.iter().any(|member| member.name.is_empty() || member.name.len() > Member::NAME_LIMIT)
    {
        refusal = Some(Error::Limit { what: "bytes of a name", limit: Member::NAME_LIMIT as u64 });
    }
    let mut bytes = Vec::new();
    loop {
        match wire.continued()? {
            Request::Data(_) if refusal.is_some() => {}
            Request::Data(more) => {
                bytes.extend_from_slice(more);
                if bytes.len() as u64 > announced {
                    return Err(Error::Unexpected {
                        what: "more data than announced",
                        expected: "their end",
                    });
                }
            }
            Request::End => break,
            Request::Ping => wire.send(&Reply::Pong)?,
            Request::Cancel => {}
            _ => return Err(Error::Unexpected { what: "another request", expected: "data of a program" }),
        }
    }
    if refusal.is_none() && (bytes.len() as u64) < announced {
        return Err(Error::Unexpected { what: "the end of the data", expected: "more of them" });
    }
    Ok(refusal.map_or(Ok(bytes), Err))
}

/// A child, its pipes, and what was counted.
struct Running {
    child: Child,
    feed: Option<Feed>,
    limits: Limits,
    stdin: Option<OwnedFd>,
    outputs: [Output; 2],
    start: Instant,
    exit: Exit,
}

struct Output {
    pipe: Option<OwnedFd>,
    /// Bytes that may still be sent.
    left: u64,
    /// Bytes that came.
    total: u64,
}

impl Running {
    fn new(mut child: Child, feed: Option<Feed>, limits: Limits) -> Result<Self> {
        let process = child.process();
        let stdin = process.stdin.take().map(OwnedFd::from);
        let stdout = process.stdout.take().map(OwnedFd::from);
        let stderr = process.stderr.take().map(OwnedFd::from);
        if let Some(pipe) = &stdin {
            let flags = fcntl_getfl(pipe).map_err(|source| child.failed("prepare", source.into()))?;
            fcntl_setfl(pipe, flags | OFlags::NONBLOCK)
                .map_err(|source| child.failed("prepare", source.into()))?;
            // A larger pipe is fewer switches between the two; where that is not allowed, nothing is lost.
            let _ = fcntl_setpipe_size(pipe, PIPE);
        }
        let output = |pipe, left| Output { pipe, left, total: 0 };
        let outputs = [output(stdout, limits.stdout_bytes), output(stderr, limits.stderr_bytes)];
        Ok(Self { child, feed, limits, stdin, outputs, start: Instant::now(), exit: Exit::default() })
    }

    fn finish(mut self, wire: &mut Wire<'_>, spool: &Spool) -> Result<Exit> {
        let mut buffer = vec![0; DATA_LIMIT / 4];
        let mut ended: Option<Instant> = None;
        while self.outputs.iter().any(|output| output.pipe.is_some()) {
            // A program that left others with its pipes behind is not waited for.
            if ended.is_some_and(|time| time.elapsed() >= LINGER) {
                break;
            }
            let [input, stdout, stderr] = self.wait(wire)?;
            self.listen(wire)?;
            if input {
                self.feed(spool)?;
            }
            let mut spoke = false;
            for (index, readable) in [stdout, stderr].into_iter().enumerate() {
                if readable {
                    spoke |= self.pass_on(index, &mut buffer, wire)?;
                }
            }
            if !spoke && ended.is_none() && self.child.poll()?.is_some() {
                ended = Some(Instant::now());
            }
            self.end_in_time();
        }
        self.stdin = None;
        loop {
            if let Some(status) = self.child.poll()? {
                return Ok(self.close(status));
            }
            wire.wait(&[], TICK)?;
            self.listen(wire)?;
            self.end_in_time();
        }
    }

    /// Waits for something to do; tells which of the pipes are ready: input, output, error.
    fn wait(&self, wire: &Wire<'_>) -> Result<[bool; 3]> {
        let pipes = [
            (&self.stdin, PollFlags::OUT),
            (&self.outputs[0].pipe, PollFlags::IN),
            (&self.outputs[1].pipe, PollFlags::IN),
        ];
        let mut indices = Vec::with_capacity(pipes.len());
        let mut fds = Vec::with_capacity(pipes.len());
        for (index, (pipe, flags)) in pipes.into_iter().enumerate() {
            if let Some(pipe) = pipe {
                indices.push(index);
                fds.push(PollFd::from_borrowed_fd(pipe.as_fd(), flags));
            }
        }
        let mut ready = [false; 3];
        for (index, events) in indices.into_iter().zip(wire.wait(&fds, TICK)?) {
            ready[index] = !events.is_empty();
        }
        Ok(ready)
    }

    /// What the client says meanwhile.
    fn listen(&mut self, wire: &mut Wire<'_>) -> Result<()> {
        loop {
            match wire.ready()? {
                None => return Ok(()),
                Some(Request::Ping) => wire.send(&Reply::Pong)?,
                Some(Request::Cancel) => self.end("cancelled"),
                Some(_) => {
                    let what = "another request";
                    return Err(Error::Unexpected { what, expected: "the end of the program" });
                }
            }
        }
    }

    fn feed(&mut self, spool: &Spool) -> Result<()> {
        let (Some(feed), Some(pipe)) = (&mut self.feed, &self.stdin) else { return Ok(()) };
        match feed.step(pipe.as_fd(), spool)? {
            Step::Full => {}
            Step::Done => {
                self.exit.stdin_whole = true;
                self.stdin = None;
            }
            Step::Refused => self.stdin = None,
        }
        Ok(())
    }

    /// Passes on what is there of one output; true if there was something.
    fn pass_on(&mut self, index: usize, buffer: &mut [u8], wire: &mut Wire<'_>) -> Result<bool> {
        let output = &mut self.outputs[index];
        let Some(pipe) = &output.pipe else { return Ok(false) };
        let count = match rustix::io::read(pipe, &mut *buffer) {
            Ok(0) => {
                output.pipe = None;
                return Ok(false);
            }
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => return Ok(true),
            Err(error) => return Err(self.child.failed("read the output of", error.into())),
        };
        output.total += count as u64;
        let sent = usize::try_from(output.left).unwrap_or(usize::MAX).min(count);
        output.left -= sent as u64;
        if sent > 0 {
            let bytes = &buffer[..sent];
            wire.send(&if index == 0 { Reply::Stdout(bytes) } else { Reply::Stderr(bytes) })?;
        }
        Ok(true)
    }

    fn end_in_time(&mut self) {
        let over = |seconds| self.start.elapsed() >= Duration::from_secs(seconds);
        if self.limits.seconds.is_some_and(over) {
            self.end("time limit");
        }
    }

    fn end(&mut self, why: &str) {
        self.child.kill();
        self.exit.ended.get_or_insert_with(|| why.to_owned());
    }

    fn close(mut self, status: std::process::ExitStatus) -> Exit {
        self.exit.status = status.code();
        self.exit.signal = status.signal();
        self.exit.stdout_bytes = self.outputs[0].total;
        self.exit.stderr_bytes = self.outputs[1].total;
        self.exit.stdin_bytes = self.feed.as_ref().map_or(0, |feed| feed.fed);
        std::mem::take(&mut self.exit)
    }
}

/// Bytes that may come with a request; more goes through the spool.
const INLINE_LIMIT: u64 = 8 << 20;
const PIPE: usize = 1 << 20;
const TICK: Duration = Duration::from_millis(50);
/// How long the pipes of a program that ended are still read.
const LINGER: Duration = Duration::from_millis(200);
