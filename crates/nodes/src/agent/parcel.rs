//! A blob on its way to a node.

use super::error::AgentError;
use super::packed::Packed;
use super::{Agent, Line};
use larder_agent::{BlobHeader, Code, DATA_LIMIT, Encoding, Frame, FrameType, Reply, Request};
use larder_core::Digest;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;

/// A blob, and where its bytes are.
#[derive(Debug, Clone)]
pub struct Parcel {
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Its bytes.
    pub source: Source,
}

/// Where the bytes of a [`Parcel`] are.
#[derive(Debug, Clone)]
pub enum Source {
    /// In a file, as they are.
    File(Arc<File>),
    /// Compressed for the way.
    Packed(Arc<Packed>),
}

/// What bytes have to pay, and who is told of them.
pub trait Toll: Sync {
    /// How long to wait before so many bytes may go.
    fn price(&self, bytes: u64) -> Duration;

    /// So many bytes went into the line.
    fn passed(&self, bytes: u64);
}

/// What became of a [`Parcel`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sent {
    /// Bytes that went into the line for it.
    pub bytes: u64,
    /// Where it continued: bytes of it that were on the node before.
    pub resumed: u64,
    /// It was there already, or another session brought it.
    pub existing: bool,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Agent<R, W> {
    /// Sends a blob of which the node has the first `have` bytes ([`super::Presence`]). When this returns, the node has verified it. It
    /// stays until this session releases it or ends.
    ///
    /// # Errors
    /// If the bytes cannot be read or stored; the session goes on then. If the line fails.
    pub async fn send(&mut self, parcel: &Parcel, have: u64, toll: &dyn Toll) -> Result<Sent, AgentError> {
        let mut offset = parcel.start(have);
        let mut tries = 0;
        loop {
            tries += 1;
            match parcel.send(&mut self.line, offset, toll).await {
                // Somebody swept in between, or the part was found to be wrong.
                Err(AgentError::Failed(failure)) if failure.code == Code::Offset && tries < 3 => {
                    offset = parcel.start(failure.have.unwrap_or_default());
                }
                // The first bytes may have been damaged on the node's disk; those that were sent are not.
                Err(AgentError::Failed(failure))
                    if failure.code == Code::WrongBytes && offset > 0 && tries < 3 =>
                {
                    offset = 0;
                }
                other => return other,
            }
        }
    }
}

impl Parcel {
    /// Where sending starts if the node has so much.
    fn start(&self, have: u64) -> u64 {
        match &self.source {
            Source::File(_) => have.min(self.size),
            Source::Packed(_) if have >= self.size => self.size,
            Source::Packed(_) => have - have % Packed::FRAME,
        }
    }

    async fn send<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
        &self,
        line: &mut Line<R, W>,
        offset: u64,
        toll: &dyn Toll,
    ) -> Result<Sent, AgentError> {
        let encoding = match &self.source {
            Source::File(_) => Encoding::Identity,
            Source::Packed(_) => Encoding::Zstd,
        };
        line.begin()?;
        let header = BlobHeader { digest: self.digest, size: self.size, offset, encoding };
        line.say(&Request::Blob(header)).await?;
        let mut sent = Sent { bytes: 0, resumed: offset, existing: false };
        let mut frames = self.read(offset);
        let mut outcome = None;
        let mut unreadable = None;
        while outcome.is_none() {
            match line.alive(frames.recv()).await? {
                None => break,
                Some(Err(error)) => {
                    unreadable = Some(error);
                    break;
                }
                Some(Ok(frame)) => {
                    let count = (frame.len() - Frame::HEADER) as u64;
                    line.pay(toll.price(count)).await?;
                    line.push(&frame).await?;
                    sent.bytes += count;
                    toll.passed(count);
                }
            }
            while let Some(reply) = line.heard()? {
                outcome = outcome.or(self.outcome(reply)?);
            }
        }
        drop(frames);
        line.say(&Request::End).await?;
        let outcome = loop {
            match outcome {
                Some(outcome) => break outcome,
                None => outcome = self.outcome(line.hear_alive().await?)?,
            }
        };
        line.end();
        if let Some(source) = unreadable {
            return Err(AgentError::Source { digest: self.digest, source });
        }
        sent.existing = outcome?;
        Ok(sent)
    }

    /// What a reply says of this blob: whether it existed, or why it could not be stored; nothing if it only says how far it is.
    fn outcome(&self, reply: Reply<'_>) -> Result<Option<Result<bool, AgentError>>, AgentError> {
        match reply {
            Reply::Progress(_) => Ok(None),
            Reply::Stored(stored) if stored.digest == self.digest => Ok(Some(Ok(stored.existing))),
            // Nothing follows those.
            Reply::Failure(failure) if matches!(failure.code, Code::Protocol | Code::Version) => {
                Err(AgentError::Failed(failure))
            }
            Reply::Failure(failure) => Ok(Some(Err(AgentError::Failed(failure)))),
            _ => Err(AgentError::Unexpected("an answer about something else than the blob")),
        }
    }

    /// The frames of data from `offset`, read by a thread that may block; at most a few are read ahead.
    fn read(&self, offset: u64) -> mpsc::Receiver<io::Result<Vec<u8>>> {
        let (sender, receiver) = mpsc::channel(READ_AHEAD);
        let (source, size) = (self.source.clone(), self.size);
        tokio::task::spawn_blocking(move || {
            let mut put = |payload: &mut dyn FnMut(&mut [u8]) -> io::Result<()>, length: usize| {
                let mut frame = vec![0; Frame::HEADER + length];
                frame[..Frame::HEADER].copy_from_slice(&Frame::header(FrameType::Data, length));
                let result = payload(&mut frame[Frame::HEADER..]).map(|()| frame);
                let is_last = result.is_err();
                sender.blocking_send(result).is_ok() && !is_last
            };
            match source {
                Source::File(file) => {
                    let mut at = offset;
                    while at < size {
                        let length = usize::try_from(size - at).unwrap_or(usize::MAX).min(DATA_LIMIT);
                        if !put(&mut |buffer| file.read_exact_at(buffer, at), length) {
                            return;
                        }
                        at += length as u64;
                    }
                }
                Source::Packed(packed) => {
                    if offset < size {
                        packed.each_piece(offset / Packed::FRAME, DATA_LIMIT, &mut put);
                    }
                }
            }
        });
        receiver
    }
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Line<R, W> {
    /// Waits for something of this side, without being taken for dead.
    async fn alive<T>(&mut self, wait: impl Future<Output = T>) -> Result<T, AgentError> {
        let mut wait = std::pin::pin!(wait);
        loop {
            match tokio::time::timeout(self.patience() / 4, &mut wait).await {
                Ok(done) => return Ok(done),
                Err(_) => self.say(&Request::Ping).await?,
            }
        }
    }

    /// Waits until bytes are paid for.
    async fn pay(&mut self, price: Duration) -> Result<(), AgentError> {
        if price.is_zero() { Ok(()) } else { self.alive(tokio::time::sleep(price)).await }
    }
}

/// Frames that are read before they can be sent: enough to hide the disk behind the line.
const READ_AHEAD: usize = 4;
