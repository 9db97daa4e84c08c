//! How fast bytes come, while somebody waits for them.

use crate::{Config, Error, Result};
use std::time::Duration;

/// Watches the rate of a transfer across its connections. Only time spent waiting for the network counts: a slow reader is
/// not the network's fault.
#[derive(Default)]
pub(crate) struct Pace {
    waited: Duration,
    bytes: u64,
    /// Bytes still to come before a transfer that was too slow is in good standing again.
    owed: u64,
}

impl Pace {
    /// Notes that `bytes` came after waiting for so long. An error once in a while if that is too slow.
    pub(crate) fn note(&mut self, config: &Config, what: &str, waited: Duration, bytes: u64) -> Result<()> {
        let Some(rate) = config.min_rate else { return Ok(()) };
        self.waited += waited;
        self.bytes += bytes;
        self.owed = self.owed.saturating_sub(bytes);
        if self.waited < config.idle_timeout {
            return Ok(());
        }
        let slow = (self.bytes as f64) < rate as f64 * self.waited.as_secs_f64();
        (self.waited, self.bytes) = (Duration::ZERO, 0);
        if !slow {
            return Ok(());
        }
        self.owed = (rate as f64 * config.idle_timeout.as_secs_f64()) as u64;
        Err(Error::Slow { what: what.to_owned(), rate })
    }

    /// Whether the transfer was too slow and has not made up for it. A byte now and then is no progress then.
    pub(crate) fn is_crawling(&self) -> bool {
        self.owed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crawling_ends_with_bytes_and_not_with_time() {
        let config =
            Config { min_rate: Some(100), idle_timeout: Duration::from_secs(10), ..Config::default() };
        let mut pace = Pace::default();
        let mut note = |seconds, bytes| {
            let outcome = pace.note(&config, "x", Duration::from_secs(seconds), bytes);
            (outcome.is_err(), pace.is_crawling())
        };
        assert_eq!(note(9, 1), (false, false));
        assert_eq!(note(1, 1), (true, true));
        assert_eq!(note(0, 500), (false, true));
        assert_eq!(note(5, 400), (false, true));
        assert_eq!(note(5, 100), (false, false));
        assert_eq!(note(10, 5_000), (false, false));
        let careless = Config { min_rate: None, ..config.clone() };
        assert!(pace.note(&careless, "x", Duration::from_secs(1_000), 0).is_ok());
    }
}
