//! Archives as files on a node, by SFTP.

use crate::archive::Archive;
use crate::deliver::Attempt;
use crate::{Error, Result};
use larder_core::{Digest, Hasher};
use std::fs::File;
use std::io::{Read as _, Seek as _};
use std::os::fd::AsRawFd as _;

/// Makes the directory and the file, for the user that logs in, and removes files of deliveries that are long over, and other ones
/// of the same image: nobody goes on with them. SFTP runs without `sudo`: its user has to get through the directory above, too,
/// whose other contents are root's alone. Says how much of the file is there; what is longer than it should be is not the
/// beginning of it, and goes. Arguments: directory, file, how files of the image begin, size.
const PREPARE: &str = "set -e; umask 077; mkdir -p \"$1\"; find \"$1\" -type f -mmin +60 -exec rm -f {} +; \
                       for old in \"$3\"-*.tar; do [ \"$old\" = \"$2\" ] || rm -f -- \"$old\"; done; : >> \"$2\"; \
                       [ \"$(stat -c %s -- \"$2\")\" -le \"$4\" ] || : > \"$2\"; stat -c %s -- \"$2\"; \
                       if [ -n \"${SUDO_USER-}\" ]; then chmod a+x \"${1%/*}\"; chown \"$SUDO_USER\" \"$1\" \"$2\"; fi";

impl Attempt<'_> {
    /// Puts an archive on the node, going on where an earlier attempt stopped. Returns where it is.
    pub(crate) async fn upload(&self, archive: &Archive, image: &Digest) -> Result<String> {
        let node = self.connection.node();
        let archive = archive.clone();
        let written = tokio::task::spawn_blocking(move || write(&archive)).await;
        let (file, digest, size) =
            written.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
        let directory = format!("{}/archives", node.directory);
        // Named by its content: what is already there is the beginning of the same.
        let start = format!("{directory}/{}", image.hex());
        let path = format!("{start}-{}.tar", digest.hex());
        let whole = size.to_string();
        let words = ["sh", "-c", PREPARE, "larder", &directory, &path, &start, &whole];
        let prepared = self.connection.run(&words, b"").await?;
        let there = prepared.success(node.name(), "mkdir")?;
        // Nameless here, so that nothing is left of it; sftp reads it as this process has it.
        let local = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let limit = self.options.limit.into_iter().chain(node.bandwidth).map(crate::Rate::bytes).min();
        let quoted = path.replace('\\', "\\\\").replace('"', "\\\"");
        // It refuses to go on with what is whole already.
        if String::from_utf8_lossy(&there).lines().last() != Some(whole.as_str()) {
            let sent = self.connection.sftp(&format!("reput {local} \"{quoted}\"\n"), limit).await?;
            sent.success(node.name(), "sftp")?;
        }
        let answer = self.connection.run(&["sha256sum", "--", &path], b"").await?;
        let answer = answer.success(node.name(), "sha256sum")?;
        let found = String::from_utf8_lossy(&answer);
        // A noisy profile may have spoken before.
        if !found.split_whitespace().any(|word| word.ends_with(&digest.hex())) {
            self.discard(&path).await?;
            let (image, problem) = ("the archive".to_owned(), "it hashes to something else there".to_owned());
            return Err(Error::NotThere { node: node.name().into(), image, problem });
        }
        (self.flow.advanced)(size);
        Ok(path)
    }

    /// Removes an archive from the node.
    pub(crate) async fn discard(&self, path: &str) -> Result<()> {
        let output = self.connection.run(&["rm", "-f", "--", path], b"").await?;
        output.success(self.connection.node().name(), "rm").map(drop)
    }
}

fn write(archive: &Archive) -> Result<(File, Digest, u64)> {
    let directory = std::path::Path::new(crate::archive::SCRATCH);
    let mut file = tempfile::tempfile_in(directory).map_err(Error::file("write in", directory))?;
    let out = file.try_clone().map_err(Error::file("write in", directory))?;
    archive.write_to(out, &crate::host::Flow::free())?;
    let read = |file: &mut File| -> std::io::Result<(Digest, u64)> {
        file.rewind()?;
        let mut hasher = Hasher::new(larder_core::Algorithm::Sha256);
        let (mut buffer, mut size) = (vec![0; 256 << 10], 0);
        loop {
            let count = file.read(&mut buffer)?;
            if count == 0 {
                return Ok((hasher.finish(), size));
            }
            hasher.update(&buffer[..count]);
            size += count as u64;
        }
    };
    let (digest, size) = read(&mut file).map_err(Error::file("read in", directory))?;
    Ok((file, digest, size))
}
