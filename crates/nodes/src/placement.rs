//! Files that have to lie on nodes at a path of their own: archives of tools, and what is installed from them.

mod install;
mod transfer;

pub use install::{Installed, State};

use crate::rate::Valve;
use crate::retry::{may_pass, pause};
use crate::{Connection, Error, Fleet, Node, Rate, Result};
use larder_core::{Digest, Event, Progress};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A file, and where it has to be.
#[derive(Debug, Clone)]
pub struct Placement {
    /// What people call it.
    pub title: String,
    /// The file on this machine.
    pub source: PathBuf,
    /// What it hashes to.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// The directory on the node.
    pub directory: String,
    /// Its name there.
    pub file_name: String,
    /// What is installed from it.
    pub installation: Option<Installation>,
}

/// How a file, an archive of tools, is installed.
#[derive(Debug, Clone)]
pub struct Installation {
    /// Where its versions lie beside each other.
    pub base: String,
    /// The name of this one.
    pub key: String,
    /// What is in the archive, and where it goes; an empty word is all of it.
    pub pairs: Vec<(String, String)>,
}

/// How placements are sent.
#[derive(Clone)]
pub struct PlacementOptions {
    /// Nodes at the same time.
    pub jobs: usize,
    /// Attempts without progress before a node is given up.
    pub attempts: u32,
    /// To all nodes together.
    pub limit: Option<Rate>,
    /// What happens.
    pub progress: Progress,
}

/// What became of one node.
#[derive(Debug)]
pub struct PlacementReport {
    /// Which one.
    pub node: Node,
    /// What became of each placement, in their order.
    pub outcome: Result<Vec<Placed>>,
    /// Bytes that went over the network.
    pub sent: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// How long it took.
    pub elapsed: Duration,
}

/// A placement that is where it should be, hashed there.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Placed {
    /// What people call it.
    pub title: String,
    /// Where it is.
    pub path: String,
    /// It was there before.
    pub was_there: bool,
    /// What is installed now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed: Option<Installed>,
}

/// What is sent to a node, with everything that watches it.
pub(crate) struct Sending<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) valves: &'a [Arc<Valve>],
    pub(crate) advanced: &'a (dyn Fn(u64) + Send + Sync),
}

impl Fleet {
    /// The architecture of every node, in the words of Go.
    pub async fn architectures(&self, jobs: usize) -> Vec<(Node, Result<String>)> {
        self.each(jobs, |fleet, node| async move {
            let asked = async {
                let connection = fleet.connect(&node).await?;
                let architecture = enter(&connection).await;
                connection.close().await;
                architecture
            };
            let architecture = asked.await;
            (node, architecture)
        })
        .await
    }

    /// Sees to it that placements are on every node; `placements` says which belong to a node. Only what is missing or different is sent.
    pub async fn place(
        &self,
        placements: impl Fn(&Node) -> Vec<Arc<Placement>>,
        options: &PlacementOptions,
    ) -> Vec<PlacementReport> {
        let shared = options.limit.map(|rate| Arc::new(Valve::new(rate)));
        self.each(options.jobs, |fleet, node| {
            let (placements, options, shared) = (placements(&node), options.clone(), shared.clone());
            async move { fleet.place_on(node, &placements, &options, shared).await }
        })
        .await
    }

    /// Goes back to what was installed before, on every node.
    pub async fn roll_back(&self, bases: &[String], jobs: usize) -> Vec<(Node, Result<Vec<Installed>>)> {
        let bases: Arc<[String]> = bases.into();
        self.each(jobs, |fleet, node| {
            let bases = bases.clone();
            async move {
                let rolled = async {
                    let connection = fleet.connect(&node).await?;
                    let rolled = async {
                        enter(&connection).await?;
                        let mut all = Vec::new();
                        for base in bases.iter() {
                            all.push(install::roll_back(&connection, base).await?);
                        }
                        Ok(all)
                    };
                    let rolled = rolled.await;
                    connection.close().await;
                    rolled
                };
                let rolled = rolled.await;
                (node, rolled)
            }
        })
        .await
    }

    async fn place_on(
        &self,
        node: Node,
        placements: &[Arc<Placement>],
        options: &PlacementOptions,
        shared: Option<Arc<Valve>>,
    ) -> PlacementReport {
        let started = Instant::now();
        let sent = AtomicU64::new(0);
        let own = node.bandwidth.map(|rate| Arc::new(Valve::new(rate)));
        let valves: Vec<Arc<Valve>> = shared.into_iter().chain(own).collect();
        let advanced = |bytes| {
            sent.fetch_add(bytes, Ordering::Relaxed);
            (options.progress)(Event::NodeAdvanced { node: node.name().to_owned(), bytes });
        };
        let (mut attempts, mut fruitless, mut before) = (0, 0, 0);
        let outcome = loop {
            attempts += 1;
            let attempt = async {
                let connection = self.connect(&node).await?;
                let sending = Sending { connection: &connection, valves: &valves, advanced: &advanced };
                let placed = sending.all(placements, options).await;
                connection.close().await;
                placed
            };
            let error = match attempt.await {
                Ok(placed) => break Ok(placed),
                Err(error) => error,
            };
            let now = sent.load(Ordering::Relaxed);
            fruitless = if now > before { 0 } else { fruitless + 1 };
            before = now;
            if !may_pass(&error) || fruitless >= options.attempts.max(1) || attempts >= MOST_ATTEMPTS {
                break Err(error);
            }
            pause(&node, &error, fruitless, &options.progress).await;
        };
        (options.progress)(Event::NodeFinished { node: node.name().to_owned() });
        let sent = sent.load(Ordering::Relaxed);
        PlacementReport { node, outcome, sent, attempts, elapsed: started.elapsed() }
    }
}

impl Sending<'_> {
    /// Waits until so many bytes more may go.
    pub(crate) async fn pass(&self, bytes: u64) {
        for valve in self.valves {
            let wait = valve.price(bytes);
            if !wait.is_zero() {
                tokio::time::sleep(wait).await;
            }
        }
    }

    async fn all(&self, placements: &[Arc<Placement>], options: &PlacementOptions) -> Result<Vec<Placed>> {
        enter(self.connection).await?;
        let there = self.survey(placements).await?;
        let node = self.connection.node().name();
        let bytes = placements.iter().zip(&there).map(|(placement, there)| there.missing(placement)).sum();
        (options.progress)(Event::NodeStarted { node: node.to_owned(), bytes });
        let mut placed = Vec::with_capacity(placements.len());
        for (placement, there) in placements.iter().zip(there) {
            let was_there = there.is(placement);
            if !was_there {
                self.send(placement, &there).await?;
            }
            let installed = match &placement.installation {
                Some(installation) => Some(self.install(placement, installation).await?),
                None => None,
            };
            placed.push(Placed {
                title: placement.title.clone(),
                path: placement.path(),
                was_there,
                installed,
            });
        }
        Ok(placed)
    }
}

impl Placement {
    /// Where it has to be.
    pub fn path(&self) -> String {
        format!("{}/{}", self.directory, self.file_name)
    }

    /// Where it grows: named by its content, so that what is there can only be the beginning of the same.
    pub(crate) fn part(&self) -> String {
        let mut hex = self.digest.hex();
        hex.truncate(16);
        format!("{}/.{}.{hex}.part", self.directory, self.file_name)
    }
}

/// Takes the rights of root where the user may, and says what the machine is.
async fn enter(connection: &Connection) -> Result<String> {
    let node = connection.node().name();
    let said = connection.run(&["sh", "-c", ENTER], b"").await?.success(node, "uname")?;
    let said = String::from_utf8_lossy(&said);
    // A noisy profile may have spoken before.
    let line = said.lines().rev().find_map(|line| line.strip_prefix("larder-enter "));
    let mut words = line.unwrap_or_default().split(' ');
    let (Some(root), Some(machine), None) = (words.next(), words.next(), words.next()) else {
        let said = said.chars().take(200).collect();
        return Err(Error::Answer { node: node.to_owned(), program: "uname", said });
    };
    connection.set_become_root(root == "sudo");
    Ok(match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
    .to_owned())
}

const ENTER: &str = "if [ \"$(id -u)\" = 0 ]; then r=root; elif sudo -n true 2>/dev/null; then r=sudo; else r=user; fi; \
                     printf 'larder-enter %s %s\\n' \"$r\" \"$(uname -m)\"";
/// A connection that brings a few bytes each time is given up one day.
const MOST_ATTEMPTS: u32 = 1000;
