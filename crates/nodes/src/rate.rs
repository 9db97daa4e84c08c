//! How many bytes may travel in a second.

use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Bytes per second. `20MB` is 20,000,000, `20MiB` is 20,971,520.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(u64);

impl Rate {
    /// So many bytes per second; at least one.
    pub fn new(bytes_per_second: u64) -> Self {
        Self(bytes_per_second.max(1))
    }

    /// Bytes per second.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("{text:?} is no rate: expected a number of bytes per second, as in 20MB or 512KiB");
        let text = text.strip_suffix("/s").unwrap_or(text);
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let number: u64 = text[..end].parse().map_err(|_| wrong())?;
        let unit: u64 = match text[end..].trim() {
            "" | "B" => 1,
            "k" | "K" | "kB" | "KB" => 1_000,
            "M" | "MB" => 1_000_000,
            "G" | "GB" => 1_000_000_000,
            "KiB" | "Ki" => 1 << 10,
            "MiB" | "Mi" => 1 << 20,
            "GiB" | "Gi" => 1 << 30,
            _ => return Err(wrong()),
        };
        number.checked_mul(unit).filter(|rate| *rate > 0).map(Self).ok_or_else(wrong)
    }
}

impl<'de> serde::Deserialize<'de> for Rate {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(u64),
            Text(String),
        }
        let wrong = |error: String| serde::de::Error::custom(format!("bandwidth: {error}"));
        match Either::deserialize(deserializer) {
            Ok(Either::Number(number)) => number.to_string().parse().map_err(wrong),
            Ok(Either::Text(text)) => text.parse().map_err(wrong),
            Err(_) => Err(wrong("it is no number of bytes per second, as in 20MB".into())),
        }
    }
}

impl serde::Serialize for Rate {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(self.0)
    }
}

/// Lets bytes pass at a rate, for all who share it. A pause is made up for by at most a quarter of a second's bytes.
#[derive(Debug)]
pub(crate) struct Valve {
    rate: Rate,
    /// When the bytes that were let through so far are paid for.
    paid: Mutex<Instant>,
}

const BURST: Duration = Duration::from_millis(250);

impl Valve {
    /// At this rate.
    pub(crate) fn new(rate: Rate) -> Self {
        Self { rate, paid: Mutex::new(Instant::now()) }
    }

    /// How long to wait before `bytes` more may go.
    pub(crate) fn price(&self, bytes: u64) -> Duration {
        let cost = Duration::from_secs_f64(bytes as f64 / self.rate.0 as f64);
        let now = Instant::now();
        let mut paid = self.paid.lock().expect("nothing panics while it holds this lock");
        let start = (*paid).max(now.checked_sub(BURST).unwrap_or(now));
        *paid = start + cost;
        start.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_people_write_them() {
        for (text, bytes) in [("20MB", 20_000_000), ("1KiB/s", 1024), ("7", 7), ("2 Gi", 2 << 30)] {
            assert_eq!(text.parse::<Rate>().unwrap().bytes(), bytes, "{text}");
        }
        for text in ["", "MB", "-1", "0", "1.5MB", "20 furlongs", "99999999999GB"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn bytes_are_paid_for() {
        let valve = Valve::new(Rate::new(1000));
        let mut waited = Duration::ZERO;
        for _ in 0..10 {
            waited = valve.price(500);
        }
        assert!(waited > Duration::from_millis(4000) && waited < Duration::from_millis(4600), "{waited:?}");
    }
}
