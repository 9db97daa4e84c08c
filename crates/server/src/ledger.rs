//! The running account of one request.

use crate::metrics::Metrics;
use crate::record::{Record, Sink};
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Follows one request to its end, however it ends, and then writes its record: also when the client leaves before there is an
/// answer, and everything about the request is dropped where it stands.
pub(crate) struct Ledger {
    pub(crate) record: Record,
    started: Instant,
    metrics: Arc<Metrics>,
    sinks: Arc<[Sink]>,
    closed: bool,
}

impl Ledger {
    pub(crate) fn new(record: Record, metrics: Arc<Metrics>, sinks: Arc<[Sink]>) -> Self {
        Self { record, started: Instant::now(), metrics, sinks, closed: false }
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
        self.write();
    }

    fn write(&mut self) {
        self.closed = true;
        self.record.elapsed = self.started.elapsed();
        self.metrics.request(&self.record);
        for sink in self.sinks.iter() {
            sink(&self.record);
        }
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        if !self.closed {
            self.record.status = LEFT;
            self.record.broken = true;
            self.record.reason.get_or_insert_with(|| "the client left before the answer".into());
            self.write();
        }
    }
}

/// What nginx and others log for a client that did not wait; never sent.
const LEFT: u16 = 499;
