//! The same on real nodes, over the system's ssh.

use crate::shell::{Free, PATIENCE, kept, noise, parcel, pipes, programs};
use anyhow::{Context as _, Result};
use larder_nodes::agent::{self, COMMAND, Hello, Order, Presence, Started, Stdin};
use larder_testkit::nodes::{Engine, Fleet, Node};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const DIRECTORY: &str = "/var/lib/larder-node";

/// As the words are for the shell that sshd starts.
fn quoted(word: &str) -> String {
    format!("'{word}'")
}

async fn connect(node: &Node) -> Result<(Child, Started<ChildStdout, ChildStdin>)> {
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-T", "-i"])
        .arg(node.key());
    ssh.arg("-o").arg(format!("UserKnownHostsFile={}", node.known_hosts().display()));
    let address = node.socket_address();
    ssh.args(["-p", &address.port().to_string(), "-l", node.user(), &address.ip().to_string()]);
    ssh.arg(COMMAND.map(quoted).join(" "));
    let (child, stdout, stdin) = pipes(&mut ssh)?;
    let hello =
        Hello { owner: Some("test".into()), paths: vec!["/var/lib/containerd".into()], ..Hello::default() };
    let started = agent::start(stdout, stdin, &programs(), DIRECTORY, hello, PATIENCE).await?;
    Ok((child, started))
}

#[tokio::test]
async fn a_node_is_reached_over_ssh_and_goes_on_after_a_reboot() -> Result<()> {
    let mut fleet = Fleet::start(1, &Engine::None)?;
    let blob = parcel(&noise(6_000_000, 1))?;
    let (child, mut started) = connect(&fleet[0]).await?;
    assert!(started.installed_bytes > 0);
    assert_eq!(started.agent.welcome().paths.len(), 1);
    // Half of it, and the power goes.
    let half = Half::default();
    let sending = tokio::time::timeout(Duration::from_secs(3), started.agent.send(&blob, 0, &half));
    assert!(sending.await.is_err());
    fleet[0].reboot()?;
    drop((started, child));
    let (_child, mut started) = connect(&fleet[0]).await?;
    assert_eq!(started.installed_bytes, 0, "the program outlives a reboot");
    let have = kept(&mut started.agent, blob.digest).await?;
    assert!(have >= 1_000_000 && have < blob.size, "{have}");
    let sent = started.agent.send(&blob, have, &Free).await?;
    assert_eq!((sent.resumed, sent.bytes), (have, blob.size - have));
    let ran = started.agent.run(&Order::new(["sha256sum"]).reading(Stdin::Blob(blob.digest))).await?;
    assert!(String::from_utf8(ran.stdout)?.starts_with(&blob.digest.hex()));
    started.agent.release(&[blob.digest]).await?;
    assert_eq!(started.agent.have(&[blob.digest]).await?, [Presence::Absent]);
    let listing = fleet[0].run(["find", DIRECTORY, "-type", "f"])?.text();
    let left: Vec<&str> = listing.lines().filter(|line| !line.contains("/bin/larder-node-")).collect();
    assert!(left.iter().all(|line| line.ends_with("/boot") || line.contains("/sessions/")), "{left:?}");
    Ok(())
}

/// Lets three megabytes pass and holds the rest back.
#[derive(Default)]
struct Half(AtomicU64);

impl agent::Toll for Half {
    fn price(&self, _: u64) -> Duration {
        Duration::from_secs(if self.0.load(Ordering::Relaxed) >= 3_000_000 { 60 } else { 0 })
    }

    fn passed(&self, bytes: u64) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_session_that_lost_its_connection_is_replaced() -> Result<()> {
    let fleet = Fleet::start(1, &Engine::None)?;
    let blob = parcel(&noise(4_000_000, 2))?;
    let (mut child, mut started) = connect(&fleet[0]).await?;
    let half = Half::default();
    let sending = tokio::time::timeout(Duration::from_secs(3), started.agent.send(&blob, 0, &half));
    assert!(sending.await.is_err());
    // Stopped, ssh answers nobody and closes nothing: as a line that is dead without a word.
    let pid = child.id().context("it runs")?.to_string();
    Command::new("kill").args(["-STOP", &pid]).status().await?;
    let (_second, mut again) = connect(&fleet[0]).await?;
    let have = kept(&mut again.agent, blob.digest).await?;
    assert!(have > 0);
    assert!(!again.agent.send(&blob, have, &Free).await?.existing);
    Command::new("kill").args(["-CONT", &pid]).status().await?;
    child.kill().await?;
    Ok(())
}
