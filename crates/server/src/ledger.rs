//! The running account of one request.

use crate::metrics::Metrics;
use crate::record::{Record, Sink};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Follows one request to its end, however it ends, and then writes its record.
pub(crate) struct Ledger {
    record: Record,
    started: Instant,
    metrics: Arc<Metrics>,
    sinks: Arc<[Sink]>,
}

impl Ledger {
    pub(crate) fn new(record: Record, started: Instant, metrics: Arc<Metrics>, sinks: Arc<[Sink]>) -> Self {
        Self { record, started, metrics, sinks }
    }

    pub(crate) fn sent(&mut self, bytes: u64) {
        self.record.sent += bytes;
    }

    pub(crate) fn failed(&mut self, error: &io::Error) {
        self.record.reason = Some(error.to_string());
        self.record.broken = true;
    }

    /// `left` bytes were not handed over any more.
    pub(crate) fn close(mut self, left: u64) {
        self.record.broken |= left > 0;
        self.record.elapsed = self.started.elapsed();
        self.metrics.request(&self.record);
        for sink in self.sinks.iter() {
            sink(&self.record);
        }
    }
}
