//! Sizes and durations as people write them: `10GB`, `512MiB`, `30d`, `15m`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// A span of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

const SIZES: [(&str, u64); 9] = [
    ("kib", 1 << 10),
    ("mib", 1 << 20),
    ("gib", 1 << 30),
    ("tib", 1 << 40),
    ("kb", 1_000),
    ("mb", 1_000_000),
    ("gb", 1_000_000_000),
    ("tb", 1_000_000_000_000),
    ("b", 1),
];

const SPANS: [(&str, u64); 6] =
    [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000), ("w", 604_800_000)];

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let (number, unit) = split(&lower);
        let factor = match unit {
            "" => 1,
            "k" => 1 << 10,
            "m" => 1 << 20,
            "g" => 1 << 30,
            "t" => 1 << 40,
            unit => SIZES.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).unwrap_or(0),
        };
        scale(number, factor)
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not a size; write for example 500MB or 20GiB"))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let lower = text.trim().to_ascii_lowercase();
        let (number, unit) = split(&lower);
        let factor = match (number, unit) {
            ("0", "") => 1,
            _ => SPANS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor).unwrap_or(0),
        };
        scale(number, factor)
            .map(|millis| Self(Duration::from_millis(millis)))
            .ok_or_else(|| format!("{text:?} is not a time span; write for example 90s, 15m, 12h or 30d"))
    }
}

fn split(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..end], text[end..].trim())
}

fn scale(number: &str, factor: u64) -> Option<u64> {
    if factor == 0 || number.is_empty() {
        return None;
    }
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(factor);
    }
    let value = number.parse::<f64>().ok()? * factor as f64;
    (value.is_finite() && value < u64::MAX as f64).then_some(value as u64)
}

impl fmt::Display for Bytes {
    /// Three significant digits and a decimal unit, as registries and disks count.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value = self.0 as f64;
        let mut unit = "B";
        for next in ["kB", "MB", "GB", "TB"] {
            if value < 999.5 {
                break;
            }
            value /= 1000.0;
            unit = next;
        }
        let text = match (unit, value) {
            ("B", _) => format!("{value} {unit}"),
            (_, v) if v < 9.995 => format!("{value:.2} {unit}"),
            (_, v) if v < 99.95 => format!("{value:.1} {unit}"),
            _ => format!("{value:.0} {unit}"),
        };
        f.pad(&text)
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis() as u64;
        if millis == 0 {
            return f.pad("0s");
        }
        let (name, factor) = SPANS
            .iter()
            .rev()
            .find(|(_, factor)| millis >= *factor && millis.is_multiple_of(*factor))
            .unwrap_or(&SPANS[0]);
        f.pad(&format!("{}{name}", millis / factor))
    }
}

macro_rules! as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.exact())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = serde_json::Value::deserialize(deserializer)?;
                let text = match &value {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

impl Bytes {
    /// A form that parses back to the same number.
    fn exact(self) -> String {
        for (name, factor) in [
            ("TB", 1_000_000_000_000),
            ("GB", 1_000_000_000),
            ("MB", 1_000_000),
            ("GiB", 1 << 30),
            ("MiB", 1 << 20),
        ] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return format!("{}{name}", self.0 / factor);
            }
        }
        self.0.to_string()
    }
}

impl Span {
    fn exact(self) -> String {
        self.to_string()
    }
}

as_text!(Bytes);
as_text!(Span);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0", 0),
            ("10", 10),
            ("10GB", 10_000_000_000),
            ("1.5 GiB", 3 << 29),
            ("4k", 4096),
            ("2TB", 2_000_000_000_000),
        ] {
            assert_eq!(text.parse(), Ok(Bytes(bytes)), "{text}");
        }
        for text in ["", "x", "-1", "10XB", "GB", "1e400GB", "99999999999999999999"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        assert_eq!(Bytes(170_300_000).to_string(), "170 MB");
        assert_eq!(Bytes(1_234).to_string(), "1.23 kB");
        assert_eq!(Bytes(12).to_string(), "12 B");
    }

    #[test]
    fn spans() {
        for (text, seconds) in [("0", 0), ("90s", 90), ("15m", 900), ("30d", 2_592_000), ("1.5h", 5_400)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs(seconds))), "{text}");
        }
        for text in ["", "5", "d", "-1d", "3y"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert_eq!(Span(Duration::from_secs(900)).to_string(), "15m");
    }

    #[test]
    fn exact_forms_round_trip() {
        for bytes in [0, 1, 999, 1 << 20, 10_000_000_000, 3 << 29] {
            assert_eq!(Bytes(bytes).exact().parse(), Ok(Bytes(bytes)));
        }
        for millis in [0, 1, 1500, 60_000, 86_400_000] {
            let span = Span(Duration::from_millis(millis));
            assert_eq!(span.exact().parse(), Ok(span));
        }
    }
}
