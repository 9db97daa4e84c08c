//! Who served what, and how fast: counters that outlive the process.

use crate::database::{Durability, stored_size};
use crate::{Result, Store};
use larder_core::Tier;
use rusqlite::{Connection, params};
use std::time::Duration;

/// One request to a tier, and how it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Served {
    /// Who was asked.
    pub tier: Tier,
    /// Bytes that came.
    pub bytes: u64,
    /// How long it took.
    pub latency: Duration,
    /// How it went.
    pub outcome: Outcome,
}

/// How a request to a tier went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It had what was asked for.
    Hit,
    /// It did not have it.
    Miss,
    /// It failed to say.
    Error,
}

/// What a tier did since the store exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TierStats {
    /// Which tier.
    pub tier: Tier,
    /// Requests it answered with content.
    pub hits: u64,
    /// Requests it had nothing for.
    pub misses: u64,
    /// Requests it failed.
    pub errors: u64,
    /// Bytes it served.
    pub bytes: u64,
    /// Half of the hits were at least this fast. Rounded up by at most one sixteenth, like the others.
    pub p50: Option<Duration>,
    /// 95 of 100 hits were at least this fast.
    pub p95: Option<Duration>,
    /// 99 of 100 hits were at least this fast.
    pub p99: Option<Duration>,
}

impl Store {
    /// Adds to the counters, in one transaction.
    pub fn record(&self, served: &[Served]) -> Result<()> {
        if served.is_empty() {
            return Ok(());
        }
        self.database.write("count requests", Durability::Process, |db| {
            let mut count = db.prepare_cached(
                "INSERT INTO served (tier, outcome, count, bytes) VALUES (?1, ?2, 1, ?3)
                 ON CONFLICT (tier, outcome) DO UPDATE SET count = count + 1, bytes = bytes + ?3",
            )?;
            let mut latency = db.prepare_cached(
                "INSERT INTO latencies (tier, bucket, count) VALUES (?1, ?2, 1)
                 ON CONFLICT (tier, bucket) DO UPDATE SET count = count + 1",
            )?;
            for one in served {
                let tier = one.tier.as_str();
                count.execute(params![tier, one.outcome.as_str(), stored_size(one.bytes)])?;
                // How fast nothing comes says nothing about how fast something comes.
                if one.outcome == Outcome::Hit {
                    latency.execute(params![tier, bucket(one.latency)])?;
                }
            }
            Ok(())
        })
    }
}

impl Store {
    /// Adds many hits of a tier at once, without their latencies: for servers, which keep finer figures themselves.
    pub fn record_hits(&self, tier: Tier, hits: u64, bytes: u64) -> Result<()> {
        if hits == 0 {
            return Ok(());
        }
        self.database.write("count requests", Durability::Process, |db| {
            db.prepare_cached(
                "INSERT INTO served (tier, outcome, count, bytes) VALUES (?1, 'hit', ?2, ?3)
                 ON CONFLICT (tier, outcome) DO UPDATE SET count = count + ?2, bytes = bytes + ?3",
            )?
            .execute(params![tier.as_str(), stored_size(hits), stored_size(bytes)])
            .map(drop)
        })
    }
}

/// One entry per tier, nearest first.
pub(crate) fn tiers(db: &Connection) -> rusqlite::Result<Vec<TierStats>> {
    let mut counts = db.prepare_cached("SELECT outcome, count, bytes FROM served WHERE tier = ?1")?;
    let mut buckets =
        db.prepare_cached("SELECT bucket, count FROM latencies WHERE tier = ?1 ORDER BY bucket")?;
    let mut all = Vec::new();
    for tier in Tier::ALL {
        let mut stats =
            TierStats { tier, hits: 0, misses: 0, errors: 0, bytes: 0, p50: None, p95: None, p99: None };
        let mut rows = counts.query([tier.as_str()])?;
        while let Some(row) = rows.next()? {
            let count = row.get(1)?;
            match row.get_ref(0)?.as_str()? {
                "hit" => stats.hits = count,
                "miss" => stats.misses = count,
                _ => stats.errors = count,
            }
            stats.bytes += row.get::<_, u64>(2)?;
        }
        let histogram: Vec<(u32, u64)> = buckets
            .query_map([tier.as_str()], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<rusqlite::Result<_>>()?;
        [stats.p50, stats.p95, stats.p99] = [50, 95, 99].map(|percent| percentile(&histogram, percent));
        all.push(stats);
    }
    Ok(all)
}

/// FORMAT: sixteen buckets per power of two of microseconds, exact below 16.
fn bucket(latency: Duration) -> u32 {
    let micros = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
    if micros < 16 {
        return micros as u32;
    }
    let exponent = micros.ilog2();
    (exponent - 3) * 16 + (micros >> (exponent - 4)) as u32 % 16
}

/// The largest latency of a bucket.
fn upper_bound(bucket: u32) -> Duration {
    if bucket < 16 {
        return Duration::from_micros(bucket.into());
    }
    let shift = (bucket / 16 - 1).min(59);
    let next = u128::from(16 + bucket % 16 + 1) << shift;
    Duration::from_micros(u64::try_from(next - 1).unwrap_or(u64::MAX))
}

fn percentile(histogram: &[(u32, u64)], percent: u64) -> Option<Duration> {
    let total: u64 = histogram.iter().map(|(_, count)| count).sum();
    let wanted = (total * percent).div_ceil(100).max(1);
    let mut seen = 0;
    histogram.iter().find_map(|(bucket, count)| {
        seen += count;
        (seen >= wanted).then(|| upper_bound(*bucket))
    })
}

impl Outcome {
    /// FORMAT: the word in a row.
    fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Error => "error",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_tight_and_in_order() {
        let mut last = 0;
        for micros in (0..5_000).chain([1 << 20, (1 << 40) + 12_345, u64::MAX]) {
            let latency = Duration::from_micros(micros);
            let number = bucket(latency);
            assert!(number >= last);
            last = number;
            let bound = upper_bound(number);
            assert!(bound >= latency, "{micros}");
            assert!(bound.as_micros() <= u128::from(micros) * 17 / 16, "{micros}: {bound:?}");
        }
    }

    #[test]
    fn percentiles() {
        let histogram: Vec<_> = (1..=100).map(|micros| (bucket(Duration::from_micros(micros)), 1)).collect();
        let within = |percent: u64| {
            let found = percentile(&histogram, percent).unwrap().as_micros() as u64;
            assert!(found >= percent && found <= percent * 17 / 16, "{percent}: {found}");
        };
        [1, 50, 95, 99, 100].into_iter().for_each(within);
        assert_eq!(percentile(&[], 50), None);
    }
}
