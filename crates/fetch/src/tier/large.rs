//! A large blob from a registry: over one connection while that is fast, over several where it is not.

use super::BlobStream;
use crate::{Error, Result};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use larder_core::Descriptor;
use larder_remote::Repo;
use std::time::{Duration, Instant};

/// The bytes of a blob from some offset on.
///
/// The first range comes alone and tells how fast one connection is. While one is fast, the rest comes over one as well, since
/// every range costs: the registry (docker-registry reads 4 MiB of the file for each), memory and time here. Otherwise
/// ranges come over several connections at once, and are put in order.
pub(super) struct LargeBlob {
    repo: Repo,
    descriptor: Descriptor,
    connections: usize,
    stage: Stage,
}

enum Stage {
    /// Over one connection, up to some offset.
    Alone {
        stream: Box<larder_remote::BlobStream>,
        waited: Duration,
        bytes: u64,
    },
    Together(Ranges),
}

impl LargeBlob {
    pub(super) async fn open(
        repo: Repo,
        descriptor: Descriptor,
        offset: u64,
        connections: usize,
    ) -> Result<Self> {
        let stage = alone(&repo, &descriptor, offset, RANGE).await?;
        Ok(Self { repo, descriptor, connections, stage })
    }

    /// What comes after a stretch that one connection brought.
    async fn stage(&mut self, at: u64, fast: bool) -> Result<Stage> {
        if fast {
            return alone(&self.repo, &self.descriptor, at, STRETCH).await;
        }
        let (repo, descriptor) = (self.repo.clone(), self.descriptor.clone());
        Ok(Stage::Together(Ranges::new(repo, descriptor, at, self.connections)))
    }
}

async fn alone(repo: &Repo, descriptor: &Descriptor, at: u64, length: u64) -> Result<Stage> {
    let length = length.min(descriptor.size - at);
    let stream = repo.blob_part(descriptor, at, length).await.map_err(failed(descriptor))?;
    Ok(Stage::Alone { stream: Box::new(stream), waited: Duration::ZERO, bytes: 0 })
}

fn failed(descriptor: &Descriptor) -> impl Fn(larder_remote::Error) -> Error + use<> {
    let digest = descriptor.digest;
    move |source| Error::Remote { what: digest.to_string(), source }
}

#[async_trait]
impl BlobStream for LargeBlob {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let (at, fast) = match &mut self.stage {
                Stage::Together(ranges) => return ranges.next().await,
                Stage::Alone { stream, waited, bytes } => {
                    // Only waiting counts: a slow reader says nothing about the connection.
                    let began = Instant::now();
                    let chunk = stream.next().await.map_err(failed(&self.descriptor))?;
                    *waited += began.elapsed();
                    if let Some(chunk) = chunk {
                        *bytes += chunk.len() as u64;
                        return Ok(Some(chunk));
                    }
                    (stream.offset(), *bytes as f64 >= FAST as f64 * waited.as_secs_f64())
                }
            };
            if at >= self.descriptor.size {
                return Ok(None);
            }
            self.stage = self.stage(at, fast).await?;
        }
    }
}

/// Ranges that are fetched concurrently and passed on in order, so that hashing and inflating go on as if it were one stream.
struct Ranges {
    ranges: BoxStream<'static, Result<Vec<Bytes>>>,
    pieces: std::vec::IntoIter<Bytes>,
    rest: Bytes,
}

impl Ranges {
    fn new(repo: Repo, descriptor: Descriptor, offset: u64, connections: usize) -> Self {
        let starts = (offset..descriptor.size).step_by(RANGE as usize);
        let ranges = stream::iter(starts)
            .map(move |start| {
                let (repo, descriptor) = (repo.clone(), descriptor.clone());
                async move {
                    let length = RANGE.min(descriptor.size - start);
                    // A task of its own, so that the others go on while the consumer is busy.
                    let fetch =
                        tokio::spawn(async move { repo.blob_range(&descriptor, start, length).await });
                    let guard = AbortOnDrop(fetch);
                    guard.join().await
                }
            })
            .buffered(connections)
            .boxed();
        Self { ranges, pieces: Vec::new().into_iter(), rest: Bytes::new() }
    }

    async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.rest.is_empty() {
            if let Some(piece) = self.pieces.next() {
                self.rest = piece;
                continue;
            }
            match self.ranges.next().await.transpose()? {
                Some(range) => self.pieces = range.into_iter(),
                None => return Ok(None),
            }
        }
        Ok(Some(self.rest.split_to(self.rest.len().min(PIECE))))
    }
}

struct AbortOnDrop(tokio::task::JoinHandle<std::result::Result<Vec<Bytes>, larder_remote::Error>>);

impl AbortOnDrop {
    async fn join(mut self) -> Result<Vec<Bytes>> {
        match (&mut self.0).await {
            Ok(outcome) => outcome.map_err(|source| Error::Remote { what: "a range".into(), source }),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Only we abort it, and then nobody waits here; the runtime is going down.
                Err(_) => std::future::pending().await,
            },
        }
    }
}

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Blobs from this size on are large.
pub(super) const FROM: u64 = 64 << 20;
/// Bytes in a second from which on a connection is fast: then the line or this machine is what limits, and further ones bring
/// nothing. Measured over the first range, it includes the time in which TCP gets up to speed.
const FAST: u64 = 50 << 20;
/// What is fetched over one connection before that is judged again.
const STRETCH: u64 = 64 << 20;
/// What one of several connections brings at a time; the window in memory is this times their number.
const RANGE: u64 = 2 << 20;
/// Ranges are passed on in pieces of this size, so that a bounded number of chunks is a bounded number of bytes.
const PIECE: usize = 256 << 10;
