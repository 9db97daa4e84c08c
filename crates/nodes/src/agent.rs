//! The other end of `larder-node`: a session over any pair of pipes (docs/formats/node-protocol.md).

mod error;
mod install;
mod line;
mod order;
mod packed;
mod parcel;
mod program;

pub use error::AgentError;
pub use install::{COMMAND, Started, start};
pub use larder_agent::{Exit, Hello, Limits, Presence, Released, Space, Swept, Welcome};
pub use order::{Entry, Order, Ran, Stdin};
pub use packed::Packed;
pub use parcel::{Parcel, Sent, Source, Toll};
pub use program::{Architecture, Form, Program, Programs};

use larder_agent::{Have, Release, Reply, Request, Sweep, Unpack, Unpacked, VERSION};
use larder_core::Digest;
use line::Line;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// A session with `larder-node`. Dropping it ends the session: programs on the node are killed, what arrived of a blob is kept.
///
/// Dropping a future of it in the middle leaves the line in the middle of a frame: every later call answers
/// [`AgentError::Interrupted`].
#[derive(Debug)]
pub struct Agent<R, W> {
    line: Line<R, W>,
    welcome: Welcome,
}

impl<R: AsyncRead + Unpin, W: AsyncWrite + Unpin> Agent<R, W> {
    /// Greets a `larder-node serve` at the other end of `reader` and `writer`. What a login shell printed before is skipped. Without
    /// a sign of life for `patience` the session is given up, here and on the node.
    ///
    /// # Errors
    /// If nobody is there, or not one that can be understood.
    pub async fn greet(reader: R, writer: W, hello: Hello, patience: Duration) -> Result<Self, AgentError> {
        let mut line = Line::new(reader, writer, patience);
        line.await_preface().await?;
        Self::introduce(line, hello).await
    }

    async fn introduce(mut line: Line<R, W>, hello: Hello) -> Result<Self, AgentError> {
        let idle_seconds = Some(hello.idle_seconds.unwrap_or(line.patience().as_secs().max(1)));
        line.begin()?;
        line.say(&Request::Hello(Hello { version: VERSION, idle_seconds, ..hello })).await?;
        let welcome = match line.hear().await? {
            Reply::Welcome(welcome) => welcome,
            Reply::Failure(failure) => return Err(AgentError::Failed(failure)),
            _ => return Err(AgentError::Unexpected("another answer than a welcome")),
        };
        line.end();
        Ok(Self { line, welcome })
    }

    /// What the node said about itself.
    pub fn welcome(&self) -> &Welcome {
        &self.welcome
    }

    /// Which blobs are in the node's spool, in the order asked. Whole ones stay until this session releases them or ends.
    pub async fn have(&mut self, digests: &[Digest]) -> Result<Vec<Presence>, AgentError> {
        let mut presences = Vec::with_capacity(digests.len());
        for digests in digests.chunks(BATCH) {
            let blobs = self
                .ask(&Request::Have(Have { digests: digests.to_vec() }), |reply| match reply {
                    Reply::Held(held) => Some(held.blobs),
                    _ => None,
                })
                .await?;
            if blobs.len() != digests.len() {
                return Err(AgentError::Unexpected("an answer about other blobs than were asked for"));
            }
            presences.extend(blobs);
        }
        Ok(presences)
    }

    /// Gives blobs up; they go from the node unless another session counts on them.
    pub async fn release(&mut self, digests: &[Digest]) -> Result<Released, AgentError> {
        let mut total = Released::default();
        for digests in digests.chunks(BATCH) {
            let released = self
                .ask(&Request::Release(Release { digests: digests.to_vec() }), |reply| match reply {
                    Reply::Released(released) => Some(released),
                    _ => None,
                })
                .await?;
            total.removed += released.removed;
            total.removed_bytes += released.removed_bytes;
            total.kept += released.kept;
        }
        Ok(total)
    }

    /// Removes blobs and parts that nobody uses and that were not touched for `keep`.
    pub async fn sweep(&mut self, keep: Duration) -> Result<Swept, AgentError> {
        let order = Sweep { keep_seconds: keep.as_secs() };
        self.ask(&Request::Sweep(order), |reply| match reply {
            Reply::Swept(swept) => Some(swept),
            _ => None,
        })
        .await
    }

    /// Begins to unpack layers, in place of those before. Their blobs are in the spool, or are sent next.
    pub async fn unpack(&mut self, order: Unpack) -> Result<(), AgentError> {
        let order = Request::Unpack(order);
        self.ask(&order, |reply| matches!(reply, Reply::Unpacking).then_some(())).await
    }

    /// Waits until they are unpacked.
    ///
    /// # Errors
    /// If one of them is not what it should be, or cannot be unpacked by itself; the session goes on then.
    pub async fn unpacked(&mut self) -> Result<Unpacked, AgentError> {
        self.ask(&Request::Await, |reply| match reply {
            Reply::Unpacked(unpacked) => Some(unpacked),
            _ => None,
        })
        .await
    }

    /// Asks for a sign of life.
    pub async fn ping(&mut self) -> Result<(), AgentError> {
        self.ask(&Request::Ping, |reply| matches!(reply, Reply::Pong).then_some(())).await
    }

    /// One question, one answer.
    async fn ask<T>(
        &mut self,
        request: &Request<'_>,
        answer: impl FnOnce(Reply<'_>) -> Option<T>,
    ) -> Result<T, AgentError> {
        self.line.begin()?;
        self.line.say(request).await?;
        let answer = match self.line.hear_alive().await? {
            Reply::Failure(failure) => Err(AgentError::Failed(failure)),
            reply => match answer(reply) {
                Some(answer) => Ok(answer),
                None => return Err(AgentError::Unexpected("an answer to another question")),
            },
        };
        self.line.end();
        answer
    }
}

/// Digests in one question: far below what fits into a frame.
const BATCH: usize = 4000;
