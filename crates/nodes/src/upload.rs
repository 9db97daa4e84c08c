//! Archives as files on a node, by SFTP.

use crate::archive::Archive;
use crate::deliver::Attempt;
use crate::host::Flow;
use crate::sftp::{CHUNK, RemoteFile};
use crate::{Error, Result};
use larder_core::{Digest, Hasher};
use std::io::Read as _;
use std::os::fd::OwnedFd;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Makes the directory and the file, for the user that logs in, and removes files of deliveries that are long over, and other ones
/// of the same image: nobody goes on with them. SFTP runs without `sudo`: its user has to get through the directory above, too,
/// whose other contents are root's alone. Says how much of the file is there. Arguments: directory, file, how files of the image
/// begin.
const PREPARE: &str = "set -e; umask 077; mkdir -p \"$1\"; find \"$1\" -type f -mmin +1440 -exec rm -f {} +; \
                       for old in \"$3\"-*.tar; do [ \"$old\" = \"$2\" ] || rm -f -- \"$old\"; done; : >> \"$2\"; \
                       stat -c %s -- \"$2\"; \
                       if [ -n \"${SUDO_USER-}\" ]; then chmod a+x \"${1%/*}\"; chown \"$SUDO_USER\" \"$1\" \"$2\"; fi";

impl Attempt<'_> {
    /// Puts an archive on the node, going on where an earlier attempt stopped. Returns where it is.
    pub(crate) async fn upload(&self, archive: &Archive, image: &Digest) -> Result<String> {
        let node = self.connection.node();
        let directory = format!("{}/archives", node.directory);
        // Named by what is in it: what is already there is the beginning of the same.
        let start = format!("{directory}/{}", image.hex());
        let path = format!("{start}-{}.tar", archive.identity().hex());
        let argv = ["sh", "-c", PREPARE, "larder", &directory, &path, &start];
        let there = self.connection.run(&argv, b"").await?.success(node.name(), "mkdir")?;
        let there = String::from_utf8_lossy(&there);
        // A noisy profile may have spoken before.
        let have =
            there.lines().last().and_then(|line| line.trim().parse().ok()).ok_or_else(|| Error::Answer {
                node: node.name().into(),
                program: "stat",
                said: there.chars().take(200).collect(),
            })?;
        let (digest, size) = self.send(archive, &path, have).await?;
        let answer = self.connection.run(&["sha256sum", "--", &path], b"").await?;
        let answer = answer.success(node.name(), "sha256sum")?;
        let found = String::from_utf8_lossy(&answer);
        let is_same = found.split_whitespace().any(|word| word.trim_start_matches('\\') == digest.hex());
        if !is_same || have > size {
            self.discard(&path).await?;
            let (image, problem) = ("the archive".to_owned(), "it hashes to something else there".to_owned());
            return Err(Error::NotThere { node: node.name().into(), image, problem });
        }
        Ok(path)
    }

    /// Removes an archive from the node.
    pub(crate) async fn discard(&self, path: &str) -> Result<()> {
        let output = self.connection.run(&["rm", "-f", "--", path], b"").await?;
        output.success(self.connection.node().name(), "rm").map(drop)
    }

    /// Sends what follows the first `have` bytes; returns what all of it hashes to, and its size. Nothing of it is written here.
    async fn send(&self, archive: &Archive, path: &str, have: u64) -> Result<(Digest, u64)> {
        let Reading { mut chunks, writing } = read(archive)?;
        let mut file = RemoteFile::open(self.connection, path).await?;
        let mut hasher = Hasher::new(larder_core::Algorithm::Sha256);
        let mut at = 0;
        while let Some(chunk) = chunks.recv().await {
            hasher.update(&chunk);
            let known = usize::try_from(have.saturating_sub(at)).unwrap_or(usize::MAX).min(chunk.len());
            for (number, part) in chunk[known..].chunks(CHUNK).enumerate() {
                self.flow.pass(part.len() as u64).await;
                file.write(at + (known + number * CHUNK) as u64, part).await?;
            }
            at += chunk.len() as u64;
        }
        writing.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        file.close().await?;
        Ok((hasher.finish(), at))
    }
}

/// The bytes of an archive, as they are made.
struct Reading {
    chunks: mpsc::Receiver<Vec<u8>>,
    /// Says whether all of it could be made.
    writing: JoinHandle<Result<()>>,
}

/// Makes the bytes of an archive by threads that may block.
fn read(archive: &Archive) -> Result<Reading> {
    let failed = |source| Error::Program { program: "ssh", source };
    let (mut reader, writer) = std::io::pipe().map_err(failed)?;
    let archive = archive.clone();
    let writing = tokio::task::spawn_blocking(move || {
        // Nobody waits for these bytes here: they are paid for when they go.
        archive.write_to(OwnedFd::from(writer).into(), &Flow::free())
    });
    let (sender, receiver) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        loop {
            let mut chunk = vec![0; 256 << 10];
            let mut filled = 0;
            // A pipe gives less at once than is worth a message.
            while filled < chunk.len() {
                match reader.read(&mut chunk[filled..]) {
                    Ok(0) => break,
                    Ok(count) => filled += count,
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    // The writer says why.
                    Err(_) => return,
                }
            }
            chunk.truncate(filled);
            // Who waits for no more ends the writer with the pipe.
            if filled == 0 || sender.blocking_send(chunk).is_err() {
                return;
            }
        }
    });
    Ok(Reading { chunks: receiver, writing })
}
