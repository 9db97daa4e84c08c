//! Sending and running.

use crate::shell::{Free, close, file, kept, noise, parcel, start};
use anyhow::Result;
use larder_agent::Code;
use larder_core::Digest;
use larder_nodes::agent::{AgentError, Entry, Order, Packed, Parcel, Presence, Source, Stdin, Toll};
use std::io::{Seek as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[tokio::test]
async fn blobs_arrive_and_are_known_afterwards() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (_child, mut started) = start(directory.path()).await?;
    let session = &mut started.agent;
    let contents = [noise(3_000_000, 1), noise(10, 2), Vec::new()];
    for content in &contents {
        let parcel = parcel(content)?;
        let sent = session.send(&parcel, 0, &Free).await?;
        assert_eq!((sent.bytes, sent.resumed, sent.existing), (content.len() as u64, 0, false));
        assert_eq!(session.have(&[parcel.digest]).await?, [Presence::Whole(content.len() as u64)]);
        let path = directory.path().join("blobs/sha256").join(parcel.digest.hex());
        assert!(std::fs::read(path)? == *content);
    }
    // What is there already costs an announcement, and what is on its way until the node says so.
    let large = parcel(&contents[0])?;
    assert!(session.send(&large, large.size, &Free).await?.existing);
    let digests: Vec<Digest> = contents.iter().map(|content| Digest::of(content)).collect();
    let released = session.release(&digests).await?;
    assert_eq!((released.removed, released.removed_bytes), (3, 3_000_010));
    assert_eq!(session.have(&digests).await?, [Presence::Absent; 3]);
    // More questions than fit into one frame.
    let many: Vec<Digest> = (0..20_000_u32).map(|number| Digest::of(&number.to_le_bytes())).collect();
    assert_eq!(session.have(&many).await?.len(), many.len());
    Ok(())
}

#[tokio::test]
async fn a_wrong_idea_of_what_the_node_has_heals_itself() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (_child, mut started) = start(directory.path()).await?;
    let content = noise(900_000, 3);
    let parcel = parcel(&content)?;
    // Nothing of it is there.
    assert_eq!(started.agent.send(&parcel, 500_000, &Free).await?.resumed, 0);
    started.agent.release(&[parcel.digest]).await?;
    // The disk changed what was there.
    let part = directory.path().join("blobs/sha256").join(parcel.digest.hex()).with_extension("part");
    std::fs::write(part, vec![0; 500_000])?;
    assert_eq!(kept(&mut started.agent, parcel.digest).await?, 500_000);
    assert_eq!(started.agent.send(&parcel, 500_000, &Free).await?.resumed, 0);
    Ok(())
}

#[tokio::test]
async fn bytes_that_are_not_those_of_the_digest_are_an_error_and_the_session_goes_on() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (_child, mut started) = start(directory.path()).await?;
    let wrong = Parcel { digest: Digest::of(b"other"), ..parcel(&noise(300_000, 4))? };
    let error = started.agent.send(&wrong, 0, &Free).await.unwrap_err();
    assert!(matches!(&error, AgentError::Failed(failure) if failure.code == Code::WrongBytes), "{error:?}");
    // Shorter than it says: that is an error of this side.
    let short = Parcel { size: 400_000, ..parcel(&noise(300_000, 4))? };
    let error = started.agent.send(&short, 0, &Free).await.unwrap_err();
    assert!(matches!(error, AgentError::Source { .. }), "{error:?}");
    assert_eq!(started.agent.send(&parcel(b"right")?, 0, &Free).await?.bytes, 5);
    Ok(())
}

#[tokio::test]
async fn what_compresses_travels_compressed_and_continues_at_a_frame() -> Result<()> {
    let (directory, local) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (_child, mut started) = start(directory.path()).await?;
    let session = &mut started.agent;
    let line = "usr/share/doc/some/package/changelog.gz 0644 root root\n";
    let content = [line.repeat(150_000).into_bytes(), noise(1_000_000, 5)].concat();
    let plain = parcel(&content)?;
    let packed = Packed::start(file(&plain)?, plain.size, local.path(), 2)?;
    let parcel = Parcel { source: Source::Packed(Arc::clone(&packed)), ..plain.clone() };
    let sent = session.send(&parcel, 0, &Free).await?;
    assert_eq!(sent.bytes, packed.wait()?);
    assert!(sent.bytes < 1_200_000, "{}", sent.bytes);
    session.release(&[parcel.digest]).await?;
    // The node has the first frame and a half of the next.
    let part = directory.path().join("blobs/sha256").join(parcel.digest.hex()).with_extension("part");
    std::fs::write(&part, &content[..6_000_000])?;
    let sent = session.send(&parcel, 6_000_000, &Free).await?;
    assert_eq!(sent.resumed, Packed::FRAME);
    session.release(&[parcel.digest]).await?;
    // All of it, not verified yet.
    std::fs::write(&part, &content)?;
    let sent = session.send(&parcel, parcel.size, &Free).await?;
    assert_eq!((sent.bytes, sent.resumed), (0, parcel.size));
    assert_eq!(std::fs::read_dir(local.path())?.count(), 0, "what is made for the way has no name");
    Ok(())
}

#[tokio::test]
async fn a_source_that_cannot_be_read_is_said_by_all_who_wait_for_it() -> Result<()> {
    let (directory, local) = (tempfile::tempdir()?, tempfile::tempdir()?);
    let (_child, mut started) = start(directory.path()).await?;
    let plain = parcel(&noise(5_000_000, 6))?;
    let packed = Packed::start(file(&plain)?, 20_000_000, local.path(), 2)?;
    assert!(packed.wait().is_err());
    let parcel = Parcel { size: 20_000_000, source: Source::Packed(packed), ..plain };
    let error = started.agent.send(&parcel, 0, &Free).await.unwrap_err();
    assert!(matches!(error, AgentError::Source { .. }), "{error:?}");
    started.agent.ping().await?;
    Ok(())
}

/// Half a second for each frame, and the count of what went.
#[derive(Default)]
struct Slow(AtomicU64);

impl Toll for Slow {
    fn price(&self, _: u64) -> Duration {
        Duration::from_millis(500)
    }

    fn passed(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn bytes_pay_before_they_go_and_are_counted() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (_child, mut started) = start(directory.path()).await?;
    let (slow, begin) = (Slow::default(), Instant::now());
    started.agent.send(&parcel(&noise(600_000, 7))?, 0, &slow).await?;
    assert!(begin.elapsed() >= Duration::from_millis(1500));
    assert_eq!(slow.0.into_inner(), 600_000);
    Ok(())
}

#[tokio::test]
async fn a_program_reads_an_archive_of_blobs_and_bytes() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (_child, mut started) = start(directory.path()).await?;
    let blob = parcel(&noise(2_000_000, 8))?;
    started.agent.send(&blob, 0, &Free).await?;
    let entries = vec![
        ("index.json".to_owned(), Entry::Bytes(vec![b'x'; 300_000])),
        ("blobs/one".to_owned(), Entry::Blob(blob.digest)),
        ("oci-layout".to_owned(), Entry::Bytes(Vec::new())),
    ];
    let order = Order::new(["tar", "-tv"]).reading(Stdin::Tar(entries));
    let ran = started.agent.run(&order).await?;
    assert_eq!((ran.exit.status, ran.stderr.as_slice()), (Some(0), b"".as_slice()));
    let listing = String::from_utf8(ran.stdout)?;
    assert!(listing.contains(" 2000000 ") && listing.lines().count() == 3, "{listing}");
    let mut temporary = tempfile::tempfile()?;
    temporary.write_all(&noise(2_000_000, 8))?;
    temporary.rewind()?;
    let ran = started.agent.run(&Order::new(["sha256sum"]).reading(Stdin::Blob(blob.digest))).await?;
    assert!(String::from_utf8(ran.stdout)?.starts_with(&blob.digest.hex()));
    let ran = started.agent.run(&Order::new(["cat"]).reading(Stdin::Bytes(b"to and fro".to_vec()))).await?;
    assert_eq!(ran.stdout, b"to and fro");
    let error = started.agent.run(&Order::new(["no-such-program-anywhere"])).await.unwrap_err();
    assert!(matches!(&error, AgentError::Failed(failure) if failure.code == Code::NoProgram), "{error:?}");
    Ok(())
}

#[tokio::test]
async fn a_call_that_is_given_up_in_its_middle_ends_the_session_and_keeps_the_part() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let (child, mut started) = start(directory.path()).await?;
    let parcel = parcel(&noise(2_000_000, 9))?;
    let slow = Slow::default();
    let cut = tokio::time::timeout(Duration::from_millis(1200), started.agent.send(&parcel, 0, &slow)).await;
    assert!(cut.is_err());
    let error = started.agent.ping().await.unwrap_err();
    assert!(matches!(error, AgentError::Interrupted), "{error:?}");
    close(child, started).await?;
    let (_child, mut started) = start(directory.path()).await?;
    let have = kept(&mut started.agent, parcel.digest).await?;
    assert_eq!(have, slow.0.into_inner());
    let sent = started.agent.send(&parcel, have, &Free).await?;
    assert_eq!((sent.resumed, sent.bytes), (have, 2_000_000 - have));
    Ok(())
}
