//! When to try again.

use crate::{Config, Error, Result};
use larder_core::{Classify, Event};
use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What all operations of a client share: the source of jitter and the budget of retries.
pub(crate) struct Patience {
    jitter: AtomicU64,
    budget: AtomicU32,
}

impl Patience {
    pub(crate) fn new(config: &Config) -> Self {
        Self { jitter: AtomicU64::new(config.seed), budget: AtomicU32::new(config.retry_budget) }
    }

    /// A number in `0.0..1.0` (splitmix64).
    fn fraction(&self) -> f64 {
        let mut z = self
            .jitter
            .fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed)
            .wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn spend(&self) -> bool {
        self.budget.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
    }

    fn refund(&self, most: u32) {
        let _ = self
            .budget
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| (left < most).then(|| left + 1));
    }
}

/// How long an operation goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manners {
    /// Attempts without progress.
    pub(crate) attempts: u32,
    /// The longest time that is waited for because the server asked for it. Where it asks for more, it gets all of it: the
    /// operation ends.
    pub(crate) longest_wait: Option<Duration>,
}

/// The attempts of one operation. Only attempts without progress count.
pub(crate) struct Attempts {
    config: Arc<Config>,
    patience: Arc<Patience>,
    manners: Manners,
    fruitless: u32,
}

impl Attempts {
    pub(crate) fn new(config: Arc<Config>, patience: Arc<Patience>, manners: Manners) -> Self {
        Self { config, patience, manners, fruitless: 0 }
    }

    /// Whether nothing has failed since the last progress.
    pub(crate) fn fresh(&self) -> bool {
        self.fruitless == 0
    }

    /// Notes that the last attempt got somewhere.
    pub(crate) fn progressed(&mut self) {
        self.fruitless = 0;
        self.patience.refund(self.config.retry_budget);
    }

    /// Waits for the next attempt, or gives the error back when there is none left.
    ///
    /// After progress the next attempt follows at once: a connection that breaks every few megabytes costs a round trip
    /// each time and nothing else.
    pub(crate) async fn wait(&mut self, what: &str, error: Error, progress: bool) -> Result<()> {
        if progress {
            self.progressed();
        } else {
            self.fruitless += 1;
            if self.fruitless >= self.manners.attempts || !self.patience.spend() {
                return Err(error);
            }
        }
        if self.manners.longest_wait.is_some_and(|longest| error.retry_after() > Some(longest)) {
            return Err(error);
        }
        let delay = self.delay(&error);
        (self.config.progress)(Event::Retrying { what: what.to_owned(), reason: reason(&error), delay });
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        Ok(())
    }

    fn delay(&self, error: &Error) -> Duration {
        if let Some(asked) = error.retry_after() {
            return asked.min(self.config.retry_after_max);
        }
        if self.fruitless == 0 {
            return Duration::ZERO;
        }
        let doubled = self.config.backoff_base.saturating_mul(1 << (self.fruitless - 1).min(20));
        // Between half and the whole, so that clients that failed together do not come back together.
        doubled.min(self.config.backoff_max).mul_f64(0.5 + self.patience.fraction() / 2.0)
    }
}

/// What went wrong, in our words, and its first cause. What the libraries in between call it tells nobody more.
fn reason(error: &Error) -> String {
    let mut cause = error.source();
    while let Some(deeper) = cause.and_then(std::error::Error::source) {
        cause = Some(deeper);
    }
    let Some(cause) = cause else { return error.to_string() };
    let cause = cause.to_string();
    let words = cause.split_once(" (os error").map_or(&*cause, |(words, _)| words);
    format!("{error}: {words}")
}

/// Reads `Retry-After` (RFC 9110 §10.2.3): seconds, or a date. Fractions are tolerated; nonsense is no answer.
pub(crate) fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<f64>() {
        return (seconds.is_finite() && seconds >= 0.0).then(|| Duration::from_secs_f64(seconds.min(1e9)));
    }
    Some(http_date(value)?.duration_since(now).unwrap_or_default())
}

/// Reads an IMF-fixdate such as `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110 §5.6.7).
fn http_date(value: &str) -> Option<SystemTime> {
    let mut parts = value.split_ascii_whitespace();
    let (_, day, month, year) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let (time, zone) = (parts.next()?, parts.next()?);
    let day: i64 = day.parse().ok().filter(|day| (1..=31).contains(day))?;
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = months.iter().position(|name| *name == month)? as i64 + 1;
    let year: i64 = year.parse().ok().filter(|year| (1970..=9999).contains(year))?;
    let mut clock =
        time.splitn(3, ':').map(|part| part.parse::<i64>().ok().filter(|part| (0..=60).contains(part)));
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    if zone != "GMT" {
        return None;
    }
    // Days since 1970-01-01 in the proleptic Gregorian calendar, years beginning in March.
    let (shifted, from_march) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (shifted.div_euclid(400), shifted.rem_euclid(400));
    let of_year = (153 * from_march + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn manners(config: &Config) -> Manners {
        Manners { attempts: config.attempts, longest_wait: None }
    }

    #[test]
    fn reads_seconds_dates_and_nothing_else() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        let read = |value| retry_after(value, now);
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("0.5"), Some(Duration::from_millis(500)));
        assert_eq!(read("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        assert_eq!(read("Sun, 06 Nov 1994 08:50:07 GMT"), Some(Duration::from_secs(30)));
        assert_eq!(
            read("Thu, 29 Feb 1996 00:00:00 GMT"),
            Some(Duration::from_secs(825_552_000 - 784_111_777))
        );
        assert_eq!(read("Sat, 05 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        for bad in
            ["", "-1", "soon", "NaN", "inf", "Sun, 06 Foo 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08:49:37 CET"]
        {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn waits_grow_and_are_capped() {
        let config = Arc::new(Config { backoff_base: Duration::from_millis(100), ..Config::default() });
        let mut attempts = Attempts::new(config.clone(), Arc::new(Patience::new(&config)), manners(&config));
        let error = Error::Stalled { what: String::new(), after: Duration::ZERO };
        assert_eq!(attempts.delay(&error), Duration::ZERO);
        for (fruitless, least, most) in [(1, 50, 100), (2, 100, 200), (4, 400, 800), (40, 5_000, 10_000)] {
            attempts.fruitless = fruitless;
            let delay = attempts.delay(&error).as_millis();
            assert!((least..=most).contains(&delay), "{fruitless}: {delay} ms");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_jitter() {
        let draw = |seed| {
            let patience = Patience::new(&Config { seed, ..Config::default() });
            (0..4).map(|_| patience.fraction().to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[tokio::test]
    async fn the_budget_ends_retries_for_everybody() {
        let config = Arc::new(Config {
            retry_budget: 2,
            attempts: 100,
            backoff_base: Duration::ZERO,
            ..Config::default()
        });
        let patience = Arc::new(Patience::new(&config));
        let error = || Error::Stalled { what: String::new(), after: Duration::ZERO };
        let mut first = Attempts::new(config.clone(), patience.clone(), manners(&config));
        assert!(first.wait("a", error(), false).await.is_ok());
        assert!(first.wait("a", error(), false).await.is_ok());
        let mut second = Attempts::new(config.clone(), patience.clone(), manners(&config));
        assert!(second.wait("b", error(), false).await.is_err());
        second.progressed();
        assert!(second.wait("b", error(), false).await.is_ok());
    }

    proptest! {
        #[test]
        fn never_panics(value in ".{0,60}") {
            let _ = retry_after(&value, UNIX_EPOCH);
        }
    }
}
