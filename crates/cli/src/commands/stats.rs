//! `larder stats`.

use crate::exit::Exit;
use crate::invocation::Invocation;
use crate::table::Table;
use crate::words::{ago, size};
use anyhow::Result;
use serde::Serialize;
use std::time::{Duration, SystemTime};

/// Say how full the store is and how well it serves
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = format!("{EXAMPLES}\n\n{DOCUMENT}"))]
pub(crate) struct Args {}

const EXAMPLES: &str = "\
Examples:
  larder stats
  larder stats --output json | jq .free_bytes";

const DOCUMENT: &str = "\
total is what the images would take without sharing, unique what their blobs take, derived what is
unpacked or indexed for mounting, package what the archives of tools take, partial what interrupted
downloads take, stored the last four together.

JSON:
  {\"images\", \"manifests\", \"layers\", \"blobs\", \"total_bytes\", \"unique_bytes\", \"derived_bytes\",
   \"packages\", \"package_bytes\", \"partial_bytes\", \"stored_bytes\", \"free_bytes\",
   \"compression_ratio\", \"last_gc\", \"tiers\": [{\"tier\": \"memory\" | \"disk\" | \"remote\" |
   \"registry\", \"hits\", \"misses\", \"errors\", \"hit_rate\", \"bytes\",
   \"p50_us\", \"p95_us\", \"p99_us\"}]}";

#[derive(Serialize)]
struct Document {
    images: u64,
    manifests: u64,
    layers: u64,
    blobs: u64,
    total_bytes: u64,
    unique_bytes: u64,
    derived_bytes: u64,
    packages: u64,
    package_bytes: u64,
    partial_bytes: u64,
    stored_bytes: u64,
    free_bytes: u64,
    compression_ratio: Option<f64>,
    last_gc: Option<u64>,
    tiers: Vec<Tier>,
}

#[derive(Serialize)]
struct Tier {
    tier: &'static str,
    hits: u64,
    misses: u64,
    errors: u64,
    hit_rate: Option<f64>,
    bytes: u64,
    p50_us: Option<u64>,
    p95_us: Option<u64>,
    p99_us: Option<u64>,
}

pub(crate) fn run(invocation: &Invocation) -> Result<Exit> {
    let stats = invocation.engine()?.stats()?;
    let micros = |latency: Option<Duration>| latency.map(|latency| latency.as_micros() as u64);
    let since_1970 =
        |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let tiers = stats.tiers.iter().map(|tier| Tier {
        tier: tier.tier.as_str(),
        hits: tier.hits,
        misses: tier.misses,
        errors: tier.errors,
        hit_rate: rate(tier.hits, tier.misses),
        bytes: tier.bytes,
        p50_us: micros(tier.p50),
        p95_us: micros(tier.p95),
        p99_us: micros(tier.p99),
    });
    let document = Document {
        images: stats.images,
        manifests: stats.manifests,
        layers: stats.layers,
        blobs: stats.blobs,
        total_bytes: stats.total_bytes,
        unique_bytes: stats.unique_bytes,
        derived_bytes: stats.derived_bytes,
        packages: stats.packages,
        package_bytes: stats.package_bytes,
        partial_bytes: stats.partial_bytes,
        stored_bytes: stats.stored_bytes,
        free_bytes: stats.free_bytes,
        compression_ratio: stats.compression_ratio,
        last_gc: stats.last_gc.map(since_1970),
        tiers: tiers.collect(),
    };
    invocation.answer(&document, || show(&document, SystemTime::now()))?;
    Ok(Exit::Done)
}

/// Hits among the requests that got an answer.
fn rate(hits: u64, misses: u64) -> Option<f64> {
    (hits + misses > 0).then(|| hits as f64 / (hits + misses) as f64)
}

fn show(stats: &Document, now: SystemTime) -> String {
    let mut table = Table::facts();
    table.row(["Images", &stats.images.to_string()]);
    table.row(["Blobs", &format!("{}: {} manifests, {} layers", stats.blobs, stats.manifests, stats.layers)]);
    let shared = match stats.unique_bytes {
        0 => String::new(),
        unique => format!(", {:.1} times shared", stats.total_bytes as f64 / unique as f64),
    };
    table.row(["Unique", &format!("{} of {}{shared}", size(stats.unique_bytes), size(stats.total_bytes))]);
    table.row(["Derived", &size(stats.derived_bytes)]);
    table.row(["Packages", &format!("{}: {}", stats.packages, size(stats.package_bytes))]);
    table.row(["Partial", &size(stats.partial_bytes)]);
    table.row(["Stored", &format!("{}, {} free", size(stats.stored_bytes), size(stats.free_bytes))]);
    if let Some(ratio) = stats.compression_ratio {
        table.row(["Compression", &format!("{ratio:.1} times")]);
    }
    let collected =
        stats.last_gc.map(|seconds| ago(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds), now));
    table.row(["Last gc", collected.as_deref().unwrap_or("never")]);
    let mut text = table.to_string();
    if !stats.tiers.is_empty() {
        let mut table = Table::new(&[
            "TIER",
            ">HITS",
            ">MISSES",
            ">ERRORS",
            ">HIT RATE",
            ">SERVED",
            ">P50",
            ">P95",
            ">P99",
        ]);
        for tier in &stats.tiers {
            table.row([
                tier.tier.to_owned(),
                tier.hits.to_string(),
                tier.misses.to_string(),
                tier.errors.to_string(),
                tier.hit_rate.map_or_else(|| "–".into(), |rate| format!("{:.1} %", rate * 100.0)),
                size(tier.bytes),
                latency(tier.p50_us),
                latency(tier.p95_us),
                latency(tier.p99_us),
            ]);
        }
        text.push_str(&format!("\n{table}"));
    }
    text
}

fn latency(micros: Option<u64>) -> String {
    match micros {
        None => "–".into(),
        Some(micros @ 0..1_000) => format!("{micros} µs"),
        Some(micros @ 1_000..1_000_000) => format!("{:.1} ms", micros as f64 / 1e3),
        Some(micros) => format!("{:.1} s", micros as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_and_rates() {
        assert_eq!(
            [None, Some(7), Some(1_234), Some(2_500_000)].map(latency),
            ["–", "7 µs", "1.2 ms", "2.5 s"]
        );
        assert_eq!((rate(0, 0), rate(3, 1)), (None, Some(0.75)));
    }
}
