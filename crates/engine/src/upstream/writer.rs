//! The thread that hashes and writes a blob while it arrives.

use super::trouble;
use bytes::Bytes;
use larder_core::Kind;
use larder_server::Trouble;
use larder_store::{BlobKind, Follower, Ingest};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Writes a blob on a thread of its own, fed by a bounded channel: a slow disk slows the network down instead of filling
/// memory. Dropped without [`Writer::commit`], what arrived is kept for the next attempt, and followers get an error.
pub(super) struct Writer {
    commands: Option<mpsc::Sender<Command>>,
    worker: Option<JoinHandle<Result<(), larder_store::Error>>>,
}

enum Command {
    Write(Bytes),
    Discard,
    Commit,
}

/// Pieces between the network and the disk.
const PIECES: usize = 16;

impl Writer {
    /// Starts to write; kept bytes are hashed first. The follower sees everything from the first byte on.
    pub(super) fn start(mut ingest: Ingest, kind: BlobKind) -> Result<(Self, Follower), Trouble> {
        let follower = ingest.follow().map_err(|error| trouble::store(&error))?;
        let (commands, mut receiver) = mpsc::channel(PIECES);
        let worker = tokio::task::spawn_blocking(move || {
            if ingest.offset() > 0 {
                ingest.replay(&mut |_| {})?;
            }
            while let Some(command) = receiver.blocking_recv() {
                match command {
                    Command::Write(piece) => ingest.write(&piece)?,
                    Command::Discard => return ingest.discard(),
                    Command::Commit => return ingest.commit(kind).map(drop),
                }
            }
            Ok(())
        });
        Ok((Self { commands: Some(commands), worker: Some(worker) }, follower))
    }

    pub(super) async fn write(&mut self, piece: Bytes) -> Result<(), Trouble> {
        self.send(Command::Write(piece)).await
    }

    /// Throws away what arrived: it came from somebody who sends wrong bytes.
    pub(super) async fn discard(mut self) -> Result<(), Trouble> {
        self.send(Command::Discard).await?;
        self.finish().await
    }

    /// Checks size and hash and makes the blob part of the store.
    pub(super) async fn commit(mut self) -> Result<(), Trouble> {
        self.send(Command::Commit).await?;
        self.finish().await
    }

    async fn send(&mut self, command: Command) -> Result<(), Trouble> {
        if let Some(commands) = &self.commands
            && commands.send(command).await.is_ok()
        {
            return Ok(());
        }
        self.finish().await?;
        Err(trouble::plain(Kind::Internal, "the thread that writes a blob ended early"))
    }

    /// Stops and keeps what arrived. Returns when the thread has let go of it, so that the next attempt can go on.
    pub(super) async fn stop(mut self) {
        // Whatever went wrong with writing now matters less than what stopped it.
        drop(self.finish().await);
    }

    async fn finish(&mut self) -> Result<(), Trouble> {
        self.commands = None;
        match self.worker.take() {
            None => Ok(()),
            Some(worker) => match worker.await {
                Ok(outcome) => outcome.map_err(|error| trouble::store(&error)),
                Err(_) => Err(trouble::lost("writing a blob")),
            },
        }
    }
}
