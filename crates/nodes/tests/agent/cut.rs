//! Lines that are cut anywhere.

use crate::shell::{Free, PATIENCE, noise, parcel, programs, shell};
use anyhow::{Context as _, Result};
use larder_core::{Classify as _, Kind};
use larder_nodes::agent::{self, AgentError, Hello, Order, Parcel, Presence, Stdin};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::AsyncWrite;
use tokio::process::{ChildStdin, ChildStdout};

/// Takes so many bytes and then breaks.
struct Fuse {
    inner: ChildStdin,
    left: usize,
}

impl AsyncWrite for Fuse {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let most = bytes.len().min(self.left);
        if most == 0 {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let written = Pin::new(&mut self.inner).poll_write(context, &bytes[..most]);
        if let Poll::Ready(Ok(count)) = written {
            self.left -= count;
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// One attempt over a line that lasts for `left` bytes.
async fn attempt(directory: &str, parcels: &[Parcel], left: usize) -> Result<u64, AgentError> {
    let (mut child, stdout, inner) = shell().expect("a shell");
    let outcome = converse(stdout, inner, directory, parcels, left).await;
    // What was in the pipe arrives before its end.
    child.wait().await.expect("it ends with its input");
    outcome
}

async fn converse(
    stdout: ChildStdout,
    inner: ChildStdin,
    directory: &str,
    parcels: &[Parcel],
    left: usize,
) -> Result<u64, AgentError> {
    let fuse = Fuse { inner, left };
    let hello = Hello { owner: Some("cut".into()), ..Hello::default() };
    let mut agent = agent::start(stdout, fuse, &programs(), directory, hello, PATIENCE).await?.agent;
    let digests: Vec<_> = parcels.iter().map(|parcel| parcel.digest).collect();
    let mut bytes = 0;
    for (parcel, presence) in parcels.iter().zip(agent.have(&digests).await?) {
        match presence {
            Presence::Whole(_) => {}
            Presence::Part(have) => bytes += agent.send(parcel, have, &Free).await?.bytes,
            Presence::Absent => bytes += agent.send(parcel, 0, &Free).await?.bytes,
        }
    }
    for parcel in parcels {
        let ran = agent.run(&Order::new(["sha256sum"]).reading(Stdin::Blob(parcel.digest))).await?;
        assert!(ran.stdout.starts_with(parcel.digest.hex().as_bytes()));
    }
    agent.release(&digests).await?;
    Ok(bytes)
}

#[tokio::test]
async fn a_delivery_over_lines_that_break_ends_well_and_leaves_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().to_str().context("a name")?;
    // With the program there, a line has to last for a few hundred bytes to be of use.
    attempt(path, &[], usize::MAX).await?;
    let parcels = [parcel(&noise(700_000, 1))?, parcel(&noise(5_000, 2))?, parcel(&noise(300_000, 3))?];
    let mut state = 12345_usize;
    let mut cuts = 0;
    loop {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let left = 1 + (state >> 33) % 150_000;
        match attempt(path, &parcels, left).await {
            Ok(_) => break,
            Err(error) => {
                assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
                cuts += 1;
                assert!(cuts < 100, "no progress: {error:?}");
            }
        }
    }
    assert!(cuts >= 5, "{cuts}");
    for folder in ["blobs/sha256", "sessions"] {
        let left = std::fs::read_dir(directory.path().join(folder))?.count();
        assert_eq!(left, 0, "{folder}");
    }
    Ok(())
}

#[tokio::test]
async fn an_upload_of_the_program_that_is_cut_leaves_nothing() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let path = directory.path().to_str().context("a name")?;
    for left in [30, 200, 1000, 500_000] {
        let error = attempt(path, &[], left).await.unwrap_err();
        assert!(matches!(error, AgentError::Closed(_) | AgentError::Stalled { .. }), "{left}: {error:?}");
        let bin = directory.path().join("bin");
        assert!(!bin.exists() || std::fs::read_dir(&bin)?.count() == 0, "{left}: the upload stays");
    }
    attempt(path, &[], usize::MAX).await?;
    Ok(())
}
