//! The one seam between the drivers of runtimes and a node: run a program there, with input.

use crate::archive::Archive;
use crate::connection::Output;
use crate::session::Session;
use crate::{Connection, Error, Node, Result};
use std::sync::Arc;

/// What a program on a node reads.
pub(crate) enum Input<'a> {
    /// These bytes.
    Bytes(&'a [u8]),
    /// A tar, written while it is read.
    Archive(&'a Archive, &'a Flow),
}

/// Bytes on their way to a node: how fast they may go, and who is told.
#[derive(Clone)]
pub(crate) struct Flow {
    pub(crate) valves: Vec<Arc<crate::rate::Valve>>,
    pub(crate) advanced: Arc<dyn Fn(u64) + Send + Sync>,
}

impl Flow {
    /// As fast as it goes, and nobody is told.
    pub(crate) fn free() -> Self {
        Self { valves: Vec::new(), advanced: Arc::new(|_| {}) }
    }

    /// Waits until `bytes` more may go.
    pub(crate) async fn pass(&self, bytes: u64) {
        let wait = self.price(bytes);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
        (self.advanced)(bytes);
    }

    pub(crate) fn price(&self, bytes: u64) -> std::time::Duration {
        self.valves.iter().map(|valve| valve.price(bytes)).max().unwrap_or_default()
    }

    /// Waits until `bytes` more may go; for threads that may block.
    pub(crate) fn pass_blocking(&self, bytes: u64) {
        let wait = self.price(bytes);
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        (self.advanced)(bytes);
    }
}

/// A way to run programs on a node.
#[derive(Clone, Copy)]
pub(crate) enum Host<'a> {
    /// Each by a call of ssh.
    Ssh(&'a Connection),
    /// By `larder-node`.
    Agent(&'a Session<'a>),
}

impl Host<'_> {
    /// Runs a program on the node, and feeds it.
    pub(crate) async fn run(&self, argv: &[&str], input: Input<'_>) -> Result<Output> {
        match self {
            Self::Ssh(connection) => connection.run_with(argv, input).await,
            Self::Agent(session) => session.run(argv, input).await,
        }
    }

    /// The node.
    pub(crate) fn node(&self) -> &Node {
        match self {
            Self::Ssh(connection) => connection.node(),
            Self::Agent(session) => session.connection().node(),
        }
    }
}

impl Connection {
    /// Runs a program on the node, and feeds it.
    async fn run_with(&self, argv: &[&str], input: Input<'_>) -> Result<Output> {
        let (archive, flow) = match input {
            Input::Bytes(bytes) => return self.run(argv, bytes).await,
            Input::Archive(archive, flow) => (archive.clone(), flow.clone()),
        };
        let mut child = self.spawn(argv)?;
        let stdin = child.stdin.take().expect("it is piped").into_owned_fd();
        let failed = |source| Error::Program { program: "ssh", source };
        let pipe = std::fs::File::from(stdin.map_err(failed)?);
        // A thread of its own: files and pipes block. It ends with the pipe, which ends with the child.
        let feed = tokio::task::spawn_blocking(move || archive.write_to(pipe, &flow));
        let output = self.collect(child).await;
        let fed = feed.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()));
        match (output, fed) {
            // What the program says of its end tells more than that it did not read on.
            (Ok(output), Err(error)) if output.code == Some(0) => Err(error),
            (output, _) => output,
        }
    }
}
