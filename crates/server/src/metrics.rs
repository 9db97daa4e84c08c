//! Counters for Prometheus.

use crate::record::Record;
use crate::{Freshness, UpstreamState};
use larder_core::Tier;
use larder_store::{Stats, Store};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

/// Everything this server counts. Names follow the Prometheus conventions: base units, `_total` for counters.
pub(crate) struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    seconds: Family<RouteLabels, Histogram, fn() -> Histogram>,
    sent: Family<RouteLabels, Counter>,
    received: Counter,
    broken: Counter,
    stale: Counter,
    answers: Family<FreshnessLabels, Counter>,
    hits: Family<TierLabels, Counter>,
    hit_bytes: Family<TierLabels, Counter>,
    /// What of the hits the store's own statistics have already, per tier.
    written: Mutex<[(u64, u64); 2]>,
    pub(crate) connections: Gauge,
    pub(crate) refused_connections: Counter,
    upstream_up: Family<UpstreamLabels, Gauge>,
    upstream_requests: Family<UpstreamLabels, Gauge<f64, AtomicU64>>,
    upstream_errors: Family<UpstreamLabels, Gauge<f64, AtomicU64>>,
    upstream_bytes: Family<UpstreamLabels, Gauge<f64, AtomicU64>>,
    upstream_stale: Family<UpstreamLabels, Gauge<f64, AtomicU64>>,
    store_bytes: Gauge,
    store_blobs: Gauge,
    store_images: Gauge,
    quota_bytes: Gauge,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: &'static str,
    method: String,
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    route: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FreshnessLabels {
    from: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TierLabels {
    tier: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UpstreamLabels {
    registry: String,
}

impl Metrics {
    pub(crate) fn new(quota: Option<u64>) -> Self {
        let mut registry = Registry::with_prefix("larder");
        let metrics = Self {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            sent: Family::default(),
            received: Counter::default(),
            broken: Counter::default(),
            stale: Counter::default(),
            answers: Family::default(),
            hits: Family::default(),
            hit_bytes: Family::default(),
            written: Mutex::default(),
            connections: Gauge::default(),
            refused_connections: Counter::default(),
            upstream_up: Family::default(),
            upstream_requests: Family::default(),
            upstream_errors: Family::default(),
            upstream_bytes: Family::default(),
            upstream_stale: Family::default(),
            store_bytes: Gauge::default(),
            store_blobs: Gauge::default(),
            store_images: Gauge::default(),
            quota_bytes: Gauge::default(),
            registry: Registry::default(),
        };
        let m = &metrics;
        registry.register("http_requests", "Requests answered", m.requests.clone());
        registry.register(
            "http_request_seconds",
            "From the head of a request to the end of its answer",
            m.seconds.clone(),
        );
        registry.register("http_sent_bytes", "Bytes of answers", m.sent.clone());
        registry.register("http_received_bytes", "Bytes of request bodies", m.received.clone());
        registry.register("http_broken", "Answers that ended early", m.broken.clone());
        registry.register("http_connections", "Open connections", m.connections.clone());
        registry.register(
            "http_refused_connections",
            "Connections closed because there were too many",
            m.refused_connections.clone(),
        );
        registry.register(
            "stale_answers",
            "Answers from the store because an upstream was not reachable",
            m.stale.clone(),
        );
        registry.register(
            "tier_hits",
            "Manifests and blobs served, by the tier they came from",
            m.hits.clone(),
        );
        registry.register("tier_bytes", "Bytes of manifests and blobs served, by tier", m.hit_bytes.clone());
        registry.register(
            "answers",
            "Answers about repositories with an upstream, by where they came from",
            m.answers.clone(),
        );
        registry.register(
            "upstream_up",
            "1 if the last attempt to speak to the upstream succeeded",
            m.upstream_up.clone(),
        );
        registry.register(
            "upstream_requests_total",
            "Requests sent to the upstream",
            m.upstream_requests.clone(),
        );
        registry.register(
            "upstream_errors_total",
            "Requests to the upstream that failed",
            m.upstream_errors.clone(),
        );
        registry.register("upstream_bytes_total", "Bytes the upstream sent", m.upstream_bytes.clone());
        registry.register(
            "upstream_stale_total",
            "Answers given from the store in its place",
            m.upstream_stale.clone(),
        );
        registry.register("store_bytes", "Bytes of blobs in the store", m.store_bytes.clone());
        registry.register("store_blobs", "Blobs in the store", m.store_blobs.clone());
        registry.register("store_images", "Names in the store", m.store_images.clone());
        registry.register(
            "store_quota_bytes",
            "What the store may take; 0 without limit",
            m.quota_bytes.clone(),
        );
        m.quota_bytes.set(quota.and_then(|bytes| i64::try_from(bytes).ok()).unwrap_or(0));
        Self { registry, ..metrics }
    }

    pub(crate) fn request(&self, record: &Record) {
        let route = record.route;
        let method = match record.method.as_str() {
            known @ ("GET" | "HEAD" | "PUT" | "POST" | "PATCH" | "DELETE") => known.to_owned(),
            _ => "other".to_owned(),
        };
        self.requests.get_or_create(&RequestLabels { route, method, status: record.status }).inc();
        self.seconds.get_or_create(&RouteLabels { route }).observe(record.elapsed.as_secs_f64());
        self.sent.get_or_create(&RouteLabels { route }).inc_by(record.sent);
        self.received.inc_by(record.received);
        if record.broken {
            self.broken.inc();
        }
        if matches!(route, "manifest" | "blob") && matches!(record.status, 200 | 206) && method_reads(record)
        {
            let tier = match record.freshness {
                Some(Freshness::Fetched) => Tier::Registry,
                _ => Tier::Disk,
            };
            let labels = TierLabels { tier: tier.as_str() };
            self.hits.get_or_create(&labels).inc();
            self.hit_bytes.get_or_create(&labels).inc_by(record.sent);
        }
        if let Some(freshness) = record.freshness {
            let from = match freshness {
                Freshness::Fresh => "store",
                Freshness::Confirmed => "confirmed",
                Freshness::Fetched => "upstream",
                Freshness::Stale => "stale",
            };
            self.answers.get_or_create(&FreshnessLabels { from }).inc();
            if freshness == Freshness::Stale {
                self.stale.inc();
            }
        }
    }

    /// Adds what was served since the last time to the statistics of the store, which outlive this process.
    pub(crate) fn write(&self, store: &Store) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        for (tier, written) in [Tier::Disk, Tier::Registry].into_iter().zip(written.iter_mut()) {
            let labels = TierLabels { tier: tier.as_str() };
            let now = (self.hits.get_or_create(&labels).get(), self.hit_bytes.get_or_create(&labels).get());
            // Statistics that cannot be written now are written with the next ones.
            if store.record_hits(tier, now.0 - written.0, now.1 - written.1).is_ok() {
                *written = now;
            }
        }
    }

    /// All of it in the OpenMetrics text format, which Prometheus reads.
    pub(crate) fn text(&self, store: &Store, upstreams: &[UpstreamState]) -> String {
        for state in upstreams {
            let labels = UpstreamLabels { registry: state.registry.to_string() };
            if let Some(reachable) = state.reachable {
                self.upstream_up.get_or_create(&labels).set(i64::from(reachable));
            }
            self.upstream_requests.get_or_create(&labels).set(state.requests as f64);
            self.upstream_errors.get_or_create(&labels).set(state.errors as f64);
            self.upstream_bytes.get_or_create(&labels).set(state.bytes as f64);
            self.upstream_stale.get_or_create(&labels).set(state.stale as f64);
        }
        // Without the store's figures the others are still worth having.
        if let Ok(stats) = store.stats() {
            self.store(&stats);
        }
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn store(&self, stats: &Stats) {
        let number = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        self.store_bytes.set(number(stats.unique_bytes));
        self.store_blobs.set(number(stats.blobs));
        self.store_images.set(number(stats.images));
    }
}

fn method_reads(record: &Record) -> bool {
    record.method == "GET"
}

/// From half a millisecond to half an hour.
const BUCKETS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 60.0, 300.0, 1800.0];
