//! A preheat that this process works on.

use super::state::{Hold, NodePhase, PreheatPhase, PreheatState, PreheatedNode, Preheats};
use crate::{Error, Failure, Result};
use larder_core::{Event, Kind};
use larder_nodes::{Before, Convoy, DeliverOptions, Fleet, Node, RolledBack, Shipment, Staleness};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// The state of a preheat, which is on disk no later than anything that it says of a node happens there.
#[derive(Debug)]
pub(super) struct Run {
    preheats: Preheats,
    id: String,
    state: Mutex<PreheatState>,
    is_dirty: AtomicBool,
    is_cancelled: tokio::sync::watch::Sender<bool>,
    _hold: Hold,
}

/// How often progress is written, and a wish to stop is looked for.
const TICK: Duration = Duration::from_millis(300);
/// The first pause between attempts at what is not a delivery, and the number of attempts.
const PAUSE: Duration = Duration::from_millis(500);
const ATTEMPTS: u32 = 5;

impl Run {
    pub(super) fn new(preheats: Preheats, state: PreheatState, hold: Hold) -> Result<Arc<Self>> {
        preheats.write(&state)?;
        let (is_cancelled, _) = tokio::sync::watch::channel(false);
        let id = state.id.clone();
        let is_dirty = AtomicBool::new(false);
        Ok(Arc::new(Self { preheats, id, state: Mutex::new(state), is_dirty, is_cancelled, _hold: hold }))
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn state(&self) -> MutexGuard<'_, PreheatState> {
        // What a thread wrote before it panicked is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state, and has it on disk when this returns.
    pub(super) fn record(&self, change: impl FnOnce(&mut PreheatState)) -> Result<()> {
        let mut state = self.state();
        change(&mut state);
        self.is_dirty.store(false, Ordering::Relaxed);
        self.preheats.write(&state)
    }

    /// The same for one node.
    fn record_of(&self, node: &Node, change: impl FnOnce(&mut PreheatedNode)) -> Result<()> {
        self.record(|state| {
            if let Some(entry) = state.nodes.iter_mut().find(|entry| entry.node == node.name()) {
                change(entry);
            }
        })
    }

    /// Counts what goes to nodes; on disk a little later.
    pub(super) fn watch(&self, event: &Event) {
        let (Event::NodeStarted { node, bytes } | Event::NodeAdvanced { node, bytes }) = event else {
            return;
        };
        if let Some(entry) = self.state().nodes.iter_mut().find(|entry| entry.node == *node) {
            match event {
                Event::NodeStarted { .. } => entry.missing = *bytes,
                _ => entry.sent += bytes,
            }
            self.is_dirty.store(true, Ordering::Relaxed);
        }
    }

    /// Writes progress and looks for a wish to stop, for as long as somebody polls it.
    pub(super) async fn tick(&self) {
        loop {
            tokio::time::sleep(TICK).await;
            if self.preheats.is_cancelled(&self.id) {
                self.is_cancelled.send_replace(true);
            }
            if self.is_dirty.swap(false, Ordering::Relaxed) {
                // The next tick tries again; what has to be on disk is written elsewhere.
                let _ = self.preheats.write(&self.state());
            }
        }
    }

    pub(super) fn is_cancelled(&self) -> bool {
        *self.is_cancelled.borrow()
    }

    /// Ends when somebody wishes to stop.
    pub(super) async fn cancelled(&self) {
        let mut receiver = self.is_cancelled.subscribe();
        // The sender lives as long as this.
        let _ = receiver.wait_for(|is_cancelled| *is_cancelled).await;
    }

    /// Brings one node its images. What becomes of it is in the state.
    pub(super) async fn bring(
        &self,
        fleet: &Fleet,
        node: &Node,
        shipments: &[Arc<Shipment>],
        options: &DeliverOptions,
        convoy: &Convoy,
    ) -> Result<()> {
        let started = Instant::now();
        let ended = tokio::select! {
            ended = self.try_to_bring(fleet, node, shipments, options, convoy) => ended,
            () = self.cancelled() => Err(Failure {
                message: format!("{}: it was cancelled", node.name()),
                kind: Kind::Unavailable,
                hints: Vec::new(),
            }),
        };
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.record_of(node, |entry| {
            entry.elapsed += elapsed;
            entry.phase = if ended.is_ok() { NodePhase::Done } else { NodePhase::Failed };
            entry.failure = ended.err();
        })
    }

    async fn try_to_bring(
        &self,
        fleet: &Fleet,
        node: &Node,
        shipments: &[Arc<Shipment>],
        options: &DeliverOptions,
        convoy: &Convoy,
    ) -> std::result::Result<(), Failure> {
        let told = |error: Error| Failure::from(&error);
        let clock = &options.clock;
        let known = self.before(node);
        let before = match known {
            // What an interrupted run noted is from before it changed anything.
            Some(before) => before,
            None => {
                let stale = self.staleness();
                let look = || fleet.look_before(node, shipments, &stale, clock());
                let before = self.insist(look).await.map_err(|error| told(error.into()))?;
                self.record_of(node, |entry| entry.before = Some(before.clone())).map_err(told)?;
                before
            }
        };
        if before.is_moving() {
            let guard = || fleet.guard(node, &before, &self.id, clock());
            self.insist(guard).await.map_err(|error| told(error.into()))?;
        }
        self.record_of(node, |entry| entry.phase = NodePhase::Sending).map_err(told)?;
        let report = fleet.deliver_to(node.clone(), shipments, options, convoy).await;
        self.record_of(node, |entry| {
            entry.attempts += report.attempts;
            if let Ok(delivered) = &report.outcome {
                entry.delivered.clone_from(delivered);
            }
        })
        .map_err(told)?;
        report.outcome.map(drop).map_err(|error| told(error.into()))
    }

    /// Makes one node what it was before. What becomes of it is in the state.
    pub(super) async fn take_back(&self, fleet: &Fleet, node: &Node) -> Result<()> {
        let Some(before) = self.before(node) else {
            // Nothing was done there.
            return self.record_of(node, |entry| {
                if entry.phase != NodePhase::Failed {
                    entry.phase = NodePhase::RolledBack;
                    entry.rolled_back = Some(RolledBack::default());
                }
            });
        };
        let ended = self.insist(|| fleet.take_back(node, &before, &self.id)).await;
        self.record_of(node, |entry| match ended {
            Ok(told) => {
                entry.phase = NodePhase::RolledBack;
                // Of several runs, what any of them did.
                let mut all = entry.rolled_back.take().unwrap_or_default();
                all.restored.extend(told.restored);
                all.removed.extend(told.removed);
                all.left = told.left;
                entry.rolled_back = Some(all);
                entry.stuck = None;
            }
            Err(error) => {
                entry.phase = NodePhase::Stuck;
                entry.stuck = Some(Failure::from(&Error::from(error)));
            }
        })
    }

    /// Removes from a node what was only there for a rollback. What cannot be removed is removed by later runs.
    pub(super) async fn release(&self, fleet: &Fleet, node: &Node) {
        if self.before(node).is_some_and(|before| before.is_moving()) {
            let _ = self.insist(|| fleet.release(node, &self.id)).await;
        }
    }

    /// Ends it.
    pub(super) fn finish(&self, phase: PreheatPhase, options: &DeliverOptions) -> Result<()> {
        let now = (options.clock)().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.record(|state| {
            state.phase = phase;
            state.ended = Some(now);
        })
    }

    fn before(&self, node: &Node) -> Option<Before> {
        self.state()
            .nodes
            .iter()
            .find(|entry| entry.node == node.name())
            .and_then(|entry| entry.before.clone())
    }

    /// Which guards of which preheats may go: of those known here, the ones that are over.
    fn staleness(&self) -> Staleness {
        let (preheats, own) = (self.preheats.clone(), self.id.clone());
        Arc::new(move |id| match preheats.read(id) {
            _ if id == own => Some(false),
            Ok(state) => Some(!state.is_open() && !preheats.is_running(id)),
            Err(Error::NoPreheat { .. }) => None,
            Err(_) => Some(false),
        })
    }

    /// Tries again what may go better another time.
    async fn insist<T, F: Future<Output = larder_nodes::Result<T>>>(
        &self,
        work: impl Fn() -> F,
    ) -> larder_nodes::Result<T> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            match work().await {
                Err(error) if attempt < ATTEMPTS && error.is_passing() => {
                    tokio::time::sleep(PAUSE * 2_u32.pow(attempt - 1)).await;
                }
                ended => return ended,
            }
        }
    }
}
