//! Times as text (RFC 3339).

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

/// A time as RFC 3339 writes it: in UTC and with nanoseconds, so that texts compare as times do.
///
/// Reads any RFC 3339 time of the years 1970 to 9999: with or without fraction, with `Z` or an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub SystemTime);

/// The text is not a time of RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected a time like 2026-01-31T12:00:00Z")]
pub struct NotATimestamp;

impl Timestamp {
    /// The 30 bytes of `2026-01-31T12:00:00.000000000Z`. Times outside of 1970 to 9999 are moved to the nearest end.
    pub(crate) fn write(self, output: &mut Vec<u8>) {
        let since = self.0.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seconds = since.as_secs().min(LAST_SECOND);
        let (year, month, day) = date_of(seconds / DAY);
        let of_day = seconds % DAY;
        number(output, year, 4);
        output.push(b'-');
        number(output, month, 2);
        output.push(b'-');
        number(output, day, 2);
        output.push(b'T');
        number(output, of_day / 3_600, 2);
        output.push(b':');
        number(output, of_day / 60 % 60, 2);
        output.push(b':');
        number(output, of_day % 60, 2);
        output.push(b'.');
        number(output, u64::from(since.subsec_nanos()), 9);
        output.push(b'Z');
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = Vec::with_capacity(30);
        self.write(&mut text);
        f.pad(std::str::from_utf8(&text).unwrap_or_default())
    }
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let bytes = text.as_bytes();
        let separators = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
        if bytes.len() < 20
            || separators.iter().any(|(at, separator)| bytes[*at] != *separator)
            || !matches!(bytes[10], b'T' | b't' | b' ')
        {
            return Err(NotATimestamp);
        }
        let (year, month, day) = (digits(&bytes[..4])?, digits(&bytes[5..7])?, digits(&bytes[8..10])?);
        let (hour, minute) = (digits(&bytes[11..13])?, digits(&bytes[14..16])?);
        let second = digits(&bytes[17..19])?;
        // A leap second is counted as the second after it.
        if !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 60 || year < 1970 {
            return Err(NotATimestamp);
        }
        let days = days_of(year, month, day);
        if day == 0 || date_of(days) != (year, month, day) {
            return Err(NotATimestamp);
        }
        let mut rest = &bytes[19..];
        let mut nanos = 0;
        if let Some(fraction) = rest.strip_prefix(b".") {
            let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let counted = length.min(9);
            if length == 0 {
                return Err(NotATimestamp);
            }
            nanos = digits(&fraction[..counted])? * 10_u64.pow(9 - counted as u32);
            rest = &fraction[length..];
        }
        let offset: i64 = match rest {
            b"Z" | b"z" => 0,
            [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
                let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
                if hours > 23 || minutes > 59 {
                    return Err(NotATimestamp);
                }
                let seconds = (hours * 3_600 + minutes * 60) as i64;
                if *sign == b'+' { seconds } else { -seconds }
            }
            _ => return Err(NotATimestamp),
        };
        let seconds = (days * DAY + hour * 3_600 + minute * 60 + second) as i64 - offset;
        let seconds = u64::try_from(seconds).map_err(|_| NotATimestamp)?;
        if seconds > LAST_SECOND {
            return Err(NotATimestamp);
        }
        Ok(Self(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos as u32)))
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

fn number(output: &mut Vec<u8>, value: u64, width: usize) {
    let mut digits = [b'0'; 20];
    let mut rest = value;
    for digit in digits[..width].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    output.extend_from_slice(&digits[..width]);
}

fn digits(bytes: &[u8]) -> Result<u64, NotATimestamp> {
    bytes.iter().try_fold(0, |value, byte| match byte {
        b'0'..=b'9' => Ok(value * 10 + u64::from(byte - b'0')),
        _ => Err(NotATimestamp),
    })
}

/// Year, month and day of a day since 1970 in the Gregorian calendar. Years are counted from March here, so that the leap day is
/// the last of its year; 400 of them have 146,097 days.
fn date_of(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year + era * 400 + u64::from(month <= 2), month, day)
}

/// The opposite of [`date_of`].
fn days_of(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, of_era) = (year / 400, year % 400);
    let from_march = (month + 9) % 12;
    let of_year = (153 * from_march + 2) / 5 + day.saturating_sub(1);
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

const DAY: u64 = 86_400;
/// 9999-12-31T23:59:59Z.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (seconds, nanos, text) in [
            (0, 0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400, 5, "2000-02-29T00:00:00.000000005Z"),
            (1_709_251_199, 999_999_999, "2024-02-29T23:59:59.999999999Z"),
            (4_107_542_400, 0, "2100-03-01T00:00:00.000000000Z"),
            (LAST_SECOND, 0, "9999-12-31T23:59:59.000000000Z"),
        ] {
            let time = Timestamp(SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos));
            assert_eq!(time.to_string(), text);
            assert_eq!(text.parse(), Ok(time));
        }
    }

    #[test]
    fn every_day_goes_both_ways() {
        let mut expected = 0;
        for year in 1970..2410 {
            for month in 1..=12 {
                for day in 1..=31 {
                    let days = days_of(year, month, day);
                    if date_of(days) == (year, month, day) {
                        assert_eq!(days, expected);
                        expected += 1;
                    }
                }
            }
        }
        assert_eq!(expected, 440 * 365 + 107);
    }

    #[test]
    fn what_people_write() {
        let parse = |text: &str| text.parse::<Timestamp>().map(|time| time.to_string());
        let noon = Ok("2026-01-31T12:00:00.000000000Z".to_owned());
        assert_eq!(parse("2026-01-31T12:00:00Z"), noon);
        assert_eq!(parse("2026-01-31 13:30:00+01:30"), noon);
        assert_eq!(parse("2026-01-31t07:00:00.000-05:00"), noon);
        for wrong in [
            "",
            "2026-01-31",
            "2026-01-31T12:00:00",
            "2026-02-30T12:00:00Z",
            "2026-13-01T12:00:00Z",
            "2026-01-00T12:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00:00+1:00",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+00:01",
            "2026-01-31T12:00:00Zx",
            "２026-01-31T12:00:00Z",
        ] {
            assert_eq!(parse(wrong), Err(NotATimestamp), "{wrong}");
        }
    }
}
