//! Frames over two pipes.

use super::error::AgentError;
use larder_agent::{FrameType, Frames, PREFACE, Reply, Request};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

/// Both directions of a session.
#[derive(Debug)]
pub(super) struct Line<R, W> {
    reader: R,
    writer: W,
    frames: Frames,
    out: Vec<u8>,
    patience: Duration,
    /// Signs of life that were asked for and did not come yet. They may come after what was waited for.
    pings: u32,
    /// True while something is under way. A future that was dropped leaves it so.
    is_busy: bool,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Line<R, W> {
    pub(super) fn new(reader: R, writer: W, patience: Duration) -> Self {
        Self { reader, writer, frames: Frames::new(), out: Vec::new(), patience, pings: 0, is_busy: false }
    }

    pub(super) fn patience(&self) -> Duration {
        self.patience
    }

    /// Something begins that only [`Line::end`] ends well.
    pub(super) fn begin(&mut self) -> Result<(), AgentError> {
        if std::mem::replace(&mut self.is_busy, true) { Err(AgentError::Interrupted) } else { Ok(()) }
    }

    pub(super) fn end(&mut self) {
        self.is_busy = false;
    }

    /// Writes one request.
    pub(super) async fn say(&mut self, request: &Request<'_>) -> Result<(), AgentError> {
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        request.encode(&mut out).ok_or(AgentError::TooLong)?;
        let result = self.push(&out).await;
        self.out = out;
        result
    }

    /// Writes bytes, and reads what comes meanwhile: [`Line::heard`] has it.
    pub(super) async fn push(&mut self, mut bytes: &[u8]) -> Result<(), AgentError> {
        while !bytes.is_empty() {
            let Self { reader, writer, frames, patience, .. } = self;
            // As much as there is room for; whoever is told twice a second what goes on does not fill a buffer.
            let space = frames.space()?;
            let step = async {
                tokio::select! {
                    written = writer.write(bytes) => written.map(Step::Written),
                    read = reader.read(space) => read.map(Step::Read),
                }
            };
            match timeout(*patience, step).await {
                Err(_) => return Err(AgentError::Stalled { after: *patience }),
                Ok(Ok(Step::Written(0))) => return Err(self.farewell(None).await),
                Ok(Ok(Step::Written(count))) => bytes = &bytes[count..],
                Ok(Ok(Step::Read(0))) => return Err(self.farewell(None).await),
                Ok(Ok(Step::Read(count))) => self.frames.filled(count),
                Ok(Err(error)) => return Err(self.farewell(Some(error)).await),
            }
        }
        let flushed = timeout(self.patience, self.writer.flush()).await;
        match flushed {
            Err(_) => Err(AgentError::Stalled { after: self.patience }),
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.farewell(Some(error)).await),
        }
    }

    /// Writes bytes to something that does not speak in frames yet.
    pub(super) async fn push_silently(&mut self, bytes: &[u8]) -> Result<(), AgentError> {
        let write = async {
            self.writer.write_all(bytes).await?;
            self.writer.flush().await
        };
        match timeout(self.patience, write).await {
            Err(_) => Err(AgentError::Stalled { after: self.patience }),
            // What it says in farewell is a line, and read as such.
            Ok(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            Ok(Err(error)) => Err(AgentError::Closed(Some(error))),
            Ok(Ok(())) => Ok(()),
        }
    }

    /// The next reply, waiting for it.
    pub(super) async fn hear(&mut self) -> Result<Reply<'_>, AgentError> {
        while !self.is_ready()? {
            match timeout(self.patience, self.fill()).await {
                Err(_) => return Err(AgentError::Stalled { after: self.patience }),
                Ok(filled) => filled?,
            }
        }
        self.take()
    }

    /// As [`Line::hear`], asking for signs of life meanwhile.
    pub(super) async fn hear_alive(&mut self) -> Result<Reply<'_>, AgentError> {
        let mut heard = Instant::now();
        while !self.is_ready()? {
            match timeout(self.patience / 4, self.fill()).await {
                Ok(filled) => {
                    filled?;
                    heard = Instant::now();
                }
                Err(_) if heard.elapsed() >= self.patience => {
                    return Err(AgentError::Stalled { after: self.patience });
                }
                Err(_) => {
                    self.say(&Request::Ping).await?;
                    self.pings += 1;
                }
            }
        }
        self.take()
    }

    /// A reply that came already.
    pub(super) fn heard(&mut self) -> Result<Option<Reply<'_>>, AgentError> {
        if self.is_ready()? { self.take().map(Some) } else { Ok(None) }
    }

    /// Whether a reply is there, apart from signs of life.
    fn is_ready(&mut self) -> Result<bool, AgentError> {
        while self.pings > 0 && self.frames.peek()? == Some(FrameType::Pong) {
            self.frames.take()?;
            self.pings -= 1;
        }
        Ok(self.frames.is_ready()?)
    }

    /// Reads once; cancel safe.
    pub(super) async fn fill(&mut self) -> Result<(), AgentError> {
        let space = self.frames.space()?;
        match self.reader.read(space).await {
            Ok(0) => Err(AgentError::Closed(None)),
            Ok(count) => {
                self.frames.filled(count);
                Ok(())
            }
            Err(error) => Err(AgentError::Closed(Some(error))),
        }
    }

    /// Reads lines until one is `larder-node`'s: what a login shell prints may come before.
    pub(super) async fn await_preface(&mut self) -> Result<(), AgentError> {
        match self.await_line(&["larder-node/1 ready"]).await? {
            line if line.as_bytes() == PREFACE.trim_ascii_end() => Ok(()),
            said => Err(AgentError::NotThere { said }),
        }
    }

    /// The next line that begins with one of `beginnings`. Nothing after it is read.
    pub(super) async fn await_line(&mut self, beginnings: &[&str]) -> Result<String, AgentError> {
        let mut line = Vec::new();
        let mut said = Vec::new();
        for _ in 0..NOISE {
            // Byte by byte: what follows belongs to somebody else. These are a handful of bytes in a buffered pipe.
            let byte = match timeout(self.patience, self.reader.read_u8()).await {
                Err(_) if said.is_empty() => return Err(AgentError::Stalled { after: self.patience }),
                Ok(Err(error)) if said.is_empty() && line.is_empty() => {
                    return Err(AgentError::Closed(Some(error)));
                }
                Ok(Ok(byte)) => byte,
                _ => break,
            };
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            if beginnings.iter().any(|beginning| text.starts_with(beginning)) {
                return Ok(text);
            }
            said.append(&mut line);
            said.push(b'\n');
        }
        said.extend_from_slice(&line);
        let said = String::from_utf8_lossy(&said).trim().chars().take(300).collect();
        Err(AgentError::NotThere { said })
    }

    fn take(&mut self) -> Result<Reply<'_>, AgentError> {
        let frame = self.frames.take()?.expect("a frame is whole: it was just looked for");
        Ok(Reply::decode(frame)?)
    }

    /// The node closed: perhaps it said why before that.
    async fn farewell(&mut self, error: Option<io::Error>) -> AgentError {
        while let Ok(Ok(())) = timeout(LAST_WORDS, self.fill()).await {}
        while let Ok(Some(reply)) = self.heard() {
            if let Reply::Failure(failure) = reply {
                return AgentError::Failed(failure);
            }
        }
        AgentError::Closed(error)
    }
}

enum Step {
    Written(usize),
    Read(usize),
}

/// Bytes of greetings that are skipped.
const NOISE: usize = 64 << 10;
const LAST_WORDS: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use larder_agent::{Exit, Frame};

    /// A node that is asked for a sign of life when it has just ended what it was asked for.
    #[tokio::test]
    async fn a_sign_of_life_that_comes_late_answers_nothing_else() {
        let (ours, mut node) = tokio::io::duplex(1 << 16);
        let (reader, writer) = tokio::io::split(ours);
        let mut line = Line::new(reader, writer, Duration::from_millis(400));
        let silent = async {
            let mut ping = [0; Frame::HEADER];
            node.read_exact(&mut ping).await.unwrap();
            let mut out = Vec::new();
            Reply::Exit(Exit { status: Some(0), ..Exit::default() }).encode(&mut out).unwrap();
            Reply::Pong.encode(&mut out).unwrap();
            Reply::Unpacking.encode(&mut out).unwrap();
            Reply::Pong.encode(&mut out).unwrap();
            node.write_all(&out).await.unwrap();
        };
        let talk = async {
            assert!(matches!(line.hear_alive().await.unwrap(), Reply::Exit(_)));
            assert_eq!(line.hear().await.unwrap(), Reply::Unpacking);
            // Nobody is owed this one.
            assert_eq!(line.hear().await.unwrap(), Reply::Pong);
        };
        tokio::join!(silent, talk);
    }
}
