//! Where a session can be started.

use anyhow::{Context as _, Result};
use larder_core::Digest;
use larder_nodes::agent::{
    self, Agent, COMMAND, Form, Hello, Parcel, Program, Programs, Source, Started, Toll,
};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

pub(crate) type Session = Agent<ChildStdout, ChildStdin>;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The file of `larder-node`, built if need be.
pub(crate) fn node_program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || -> Result<PathBuf> {
        let cargo = std::process::Command::new(env!("CARGO"))
            .args(["build", "--package", "larder-agent", "--bin", "larder-node", "--message-format", "json"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()?;
        let lines = String::from_utf8(cargo.stdout)?;
        let executable = |line: &str| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            message["executable"].as_str().map(PathBuf::from)
        };
        lines.lines().filter_map(executable).next_back().context("larder-node was not built")
    };
    BUILT.get_or_init(|| build().expect("larder-node can be built")).clone()
}

pub(crate) fn programs() -> Programs {
    Programs::find(Some(&node_program()), &[], None).expect("larder-node is a program")
}

/// A shell on this machine that runs [`COMMAND`].
pub(crate) fn shell() -> Result<(Child, ChildStdout, ChildStdin)> {
    pipes(Command::new(COMMAND[0]).args(&COMMAND[1..]))
}

pub(crate) fn pipes(command: &mut Command) -> Result<(Child, ChildStdout, ChildStdin)> {
    // Not killed when it is dropped: it ends with its input, and cleans up.
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().context("no shell")?;
    let stdout = child.stdout.take().context("it is piped")?;
    let stdin = child.stdin.take().context("it is piped")?;
    Ok((child, stdout, stdin))
}

/// Starts a session in `directory` of this machine.
pub(crate) async fn start(directory: &Path) -> Result<(Child, Started<ChildStdout, ChildStdin>)> {
    let (child, stdout, stdin) = shell()?;
    let directory = directory.to_str().context("a name in UTF-8")?;
    let started = agent::start(stdout, stdin, &programs(), directory, Hello::default(), PATIENCE).await?;
    Ok((child, started))
}

/// As fast as it goes.
pub(crate) struct Free;

impl Toll for Free {
    fn price(&self, _: u64) -> Duration {
        Duration::ZERO
    }

    fn passed(&self, _: u64) {}
}

/// Ends a session, and waits until it is over on the other side.
pub(crate) async fn close(mut child: Child, started: Started<ChildStdout, ChildStdin>) -> Result<()> {
    drop(started);
    child.wait().await?;
    Ok(())
}

/// A blob in a file without a name.
pub(crate) fn parcel(content: &[u8]) -> Result<Parcel> {
    let mut file = tempfile::tempfile()?;
    file.write_all(content)?;
    let source = Source::File(Arc::new(file));
    Ok(Parcel { digest: Digest::of(content), size: content.len() as u64, source })
}

pub(crate) fn file(parcel: &Parcel) -> Result<File> {
    match &parcel.source {
        Source::File(file) => Ok(file.try_clone()?),
        Source::Packed(_) => anyhow::bail!("it is packed"),
    }
}

/// What a node has of a blob, for [`Agent::send`].
pub(crate) async fn kept(session: &mut Session, digest: Digest) -> Result<u64> {
    use larder_nodes::agent::Presence;
    Ok(match session.have(&[digest]).await?[0] {
        Presence::Whole(size) | Presence::Part(size) => size,
        Presence::Absent => 0,
    })
}

/// A program file as a client of another version would have it.
pub(crate) fn changed(directory: &Path) -> Result<Programs> {
    let path = directory.join("larder-node-amd64");
    let mut bytes = std::fs::read(node_program())?;
    // Behind the end of what the loader looks at.
    bytes.extend_from_slice(b"another version");
    std::fs::write(&path, bytes)?;
    let program = Program::read(&path, Form::Node)?;
    Ok(Programs::find(Some(&program.path), &[], None)?)
}

/// Bytes that do not repeat and are the same each time.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}
