//! Many nodes at once. One that is slow or broken holds up none of the others.

use crate::deliver::{Attempt, DeliverOptions, Delivered, tidy_up};
use crate::host::Flow;
use crate::probe::{Depth, Facts};
use crate::rate::Valve;
use crate::retry::{may_pass, pause};
use crate::session::Packing;
use crate::ssh::Ssh;
use crate::{Connection, Error, Method, Node, Result, Shipment, SshOptions};
use larder_core::Event;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

/// Nodes that can be reached. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fleet {
    ssh: Ssh,
    nodes: Arc<Vec<Node>>,
}

/// What became of one node.
#[derive(Debug)]
pub struct NodeReport {
    /// Which one.
    pub node: Node,
    /// What became of each image, if everything did what it should.
    pub outcome: Result<Vec<Delivered>>,
    /// By which method, if anything had to be done.
    pub method: Option<Method>,
    /// Bytes of blobs that went over the network, those of failed attempts included.
    pub sent: u64,
    /// How often it was tried.
    pub attempts: u32,
    /// How long it took.
    pub elapsed: Duration,
}

/// Nodes that are asked at the same time, however few may be sent to: those that do not answer hold up nobody.
pub const ASKED: usize = 64;
/// So many bytes that arrived and stay are progress.
const STRIDE: u64 = 64 << 10;

/// What deliveries to several nodes have in common: how fast they are together, how many are sent to at the same time, and what
/// was compressed for them. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Convoy {
    valve: Option<Arc<Valve>>,
    packing: Arc<Packing>,
    slots: Arc<Semaphore>,
}

impl Convoy {
    /// For deliveries with these options.
    pub fn new(options: &DeliverOptions) -> Self {
        let valve = options.limit.map(|rate| Arc::new(Valve::new(rate)));
        Self { valve, packing: Arc::default(), slots: Arc::new(Semaphore::new(options.jobs.max(1))) }
    }
}

impl Fleet {
    /// These nodes. Talks to nobody.
    pub fn new(options: SshOptions, nodes: Vec<Node>) -> Result<Self> {
        Ok(Self { ssh: Ssh::new(options)?, nodes: Arc::new(nodes) })
    }

    /// The nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The same nodes with another namespace of containerd.
    pub fn in_namespace(&self, namespace: &str) -> Result<Self> {
        let nodes: Result<Vec<Node>> =
            self.nodes.iter().map(|node| node.clone().in_namespace(namespace)).collect();
        Ok(Self { ssh: self.ssh.clone(), nodes: Arc::new(nodes?) })
    }

    pub(crate) fn ssh(&self) -> &Ssh {
        &self.ssh
    }

    /// A connection to a node.
    ///
    /// # Errors
    /// When it cannot be reached, is not the machine it should be, or does not let the user in.
    pub async fn connect(&self, node: &Node) -> Result<Connection> {
        Connection::open(&self.ssh, node).await
    }

    /// Does something with every node, at most `jobs` at the same time. In the order of the nodes.
    pub async fn each<T, F>(&self, jobs: usize, work: impl Fn(Self, Node) -> F) -> Vec<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let slots = Arc::new(Semaphore::new(jobs.max(1)));
        let mut tasks = JoinSet::new();
        for (at, node) in self.nodes.iter().enumerate() {
            let (work, slots) = (work(self.clone(), node.clone()), slots.clone());
            tasks.spawn(async move {
                let _slot = slots.acquire_owned().await;
                (at, work.await)
            });
        }
        let mut all: Vec<Option<T>> = self.nodes.iter().map(|_| None).collect();
        while let Some(ended) = tasks.join_next().await {
            match ended {
                Ok((at, value)) => all[at] = Some(value),
                Err(panic) => std::panic::resume_unwind(panic.into_panic()),
            }
        }
        all.into_iter().flatten().collect()
    }

    /// Asks every node what it is and has.
    pub async fn probe(&self, depth: Depth, jobs: usize) -> Vec<(Node, Result<Facts>)> {
        self.each(jobs, |fleet, node| async move {
            let facts = async {
                let connection = fleet.connect(&node).await?;
                let facts = Facts::of(&connection, depth).await;
                connection.close().await;
                facts
            };
            let facts = facts.await;
            (node, facts)
        })
        .await
    }

    /// Brings all shipments to all nodes.
    pub async fn deliver(&self, shipments: Vec<Arc<Shipment>>, options: &DeliverOptions) -> Vec<NodeReport> {
        let shipments = Arc::new(shipments);
        let convoy = Convoy::new(options);
        self.each(ASKED.max(options.jobs), |fleet, node| {
            let (shipments, options, convoy) = (shipments.clone(), options.clone(), convoy.clone());
            async move { fleet.deliver_to(node, &shipments, &options, &convoy).await }
        })
        .await
    }

    /// Brings these shipments to one node, in as many attempts as are worth it.
    pub async fn deliver_to(
        &self,
        node: Node,
        shipments: &[Arc<Shipment>],
        options: &DeliverOptions,
        convoy: &Convoy,
    ) -> NodeReport {
        let started = Instant::now();
        let sent = Arc::new(AtomicU64::new(0));
        let own = node.bandwidth.map(|rate| Arc::new(Valve::new(rate)));
        let (progress, name, counter) = (options.progress.clone(), node.name().to_owned(), sent.clone());
        let flow = Flow {
            valves: convoy.valve.iter().cloned().chain(own).collect(),
            advanced: Arc::new(move |bytes| {
                counter.fetch_add(bytes, Ordering::Relaxed);
                progress(Event::NodeAdvanced { node: name.clone(), bytes });
            }),
        };
        let (mut attempts, mut fruitless) = (0, 0);
        let mut least_missing = u64::MAX;
        let mut method = None;
        let outcome = loop {
            attempts += 1;
            let mut missing = u64::MAX;
            let (keeps, before) = (AtomicBool::new(false), sent.load(Ordering::Relaxed));
            let attempt = async {
                let connection = self.connect(&node).await?;
                let attempt = Attempt {
                    connection: &connection,
                    shipments,
                    options,
                    flow: &flow,
                    owner: self.ssh.owner(),
                    packing: &convoy.packing,
                    slots: &convoy.slots,
                    is_again: attempts > 1,
                    keeps: &keeps,
                };
                let ended = attempt.run(|bytes| {
                    missing = bytes;
                    (options.progress)(Event::NodeStarted { node: node.name().to_owned(), bytes });
                });
                let ended = ended.await;
                connection.close().await;
                ended
            };
            let error = match attempt.await {
                Ok((by, delivered)) => {
                    method = by;
                    break Ok(delivered);
                }
                Err(error) => error,
            };
            let stayed = sent.load(Ordering::Relaxed) - before;
            let progressed = missing < least_missing || (keeps.load(Ordering::Relaxed) && stayed >= STRIDE);
            fruitless = if progressed { 0 } else { fruitless + 1 };
            least_missing = least_missing.min(missing);
            // A node that starts again lets people in before it has its runtime.
            let starts = matches!(error, Error::NoRuntime { .. }) && least_missing < u64::MAX;
            if !(starts || may_pass(&error)) || fruitless >= options.attempts {
                break Err(error);
            }
            pause(&node, &error, fruitless, &options.progress).await;
        };
        let was_reached = least_missing < u64::MAX && !options.dry_run;
        if was_reached && outcome.as_ref().is_err_and(|error| !is_out_of_reach(error)) {
            let tidied = async {
                let connection = self.connect(&node).await?;
                let tidied = tidy_up(&connection, shipments, options, self.ssh.owner()).await;
                connection.close().await;
                tidied
            };
            // Why the delivery failed is told; what is left is for the next one.
            let _: Result<()> = tidied.await;
        }
        (options.progress)(Event::NodeFinished { node: node.name().to_owned() });
        NodeReport {
            node,
            outcome,
            method,
            sent: sent.load(Ordering::Relaxed),
            attempts,
            elapsed: started.elapsed(),
        }
    }
}

/// Whether there is no use in going there again.
fn is_out_of_reach(error: &Error) -> bool {
    matches!(
        error,
        Error::Unreachable { .. }
            | Error::Silent { .. }
            | Error::NoHost { .. }
            | Error::UnknownHost { .. }
            | Error::ChangedHost { .. }
            | Error::Login { .. }
    )
}
