//! Go's `time.Duration`: nanoseconds.

use crate::function::Fault;

/// `Duration.String`: `1h2m3.5s`.
pub(crate) fn print(nanoseconds: i64) -> String {
    let total = nanoseconds.unsigned_abs();
    let sign = if nanoseconds < 0 { "-" } else { "" };
    if total == 0 {
        return "0s".to_owned();
    }
    if total < SECOND {
        let (unit, name) = match total {
            0..1_000 => (1, "ns"),
            1_000..1_000_000 => (1_000, "µs"),
            _ => (1_000_000, "ms"),
        };
        return format!("{sign}{}{name}", fraction(total, unit));
    }
    let (minutes, seconds) = (total / SECOND / 60, total % (60 * SECOND));
    let seconds = fraction(seconds, SECOND);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{sign}{seconds}s"),
        (0, minutes) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

/// `value / unit` without trailing zeros.
fn fraction(value: u64, unit: u64) -> String {
    let (whole, rest) = (value / unit, value % unit);
    if rest == 0 {
        return whole.to_string();
    }
    let digits = unit.ilog10() as usize;
    format!("{whole}.{}", format!("{rest:0digits$}").trim_end_matches('0'))
}

/// `time.ParseDuration`.
pub(crate) fn parse(text: &str) -> Result<i64, Fault> {
    let invalid = || Fault::new(format!("time: invalid duration {}", quote(text)));
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut total: u64 = 0;
    while !rest.is_empty() {
        let number = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
        let (digits, after) = rest.split_at(number);
        let (whole, places) = digits.split_once('.').unwrap_or((digits, ""));
        if (whole.is_empty() && places.is_empty()) || places.contains('.') {
            return Err(invalid());
        }
        let named = after.find(|c: char| c == '.' || c.is_ascii_digit()).unwrap_or(after.len());
        let (name, after) = after.split_at(named);
        let quoted = || format!("{} in duration {}", quote(name), quote(text));
        let unit = match name {
            "" => {
                return Err(Fault::new(format!("time: missing unit in duration {}", quote(text))));
            }
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => SECOND,
            "m" => 60 * SECOND,
            "h" => 3600 * SECOND,
            _ => return Err(Fault::new(format!("time: unknown unit {}", quoted()))),
        };
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| invalid())? };
        let part = format!("0.{places}0").parse::<f64>().unwrap_or(0.0) * unit as f64;
        let value =
            whole.checked_mul(unit).and_then(|value| value.checked_add(part as u64)).ok_or_else(invalid)?;
        total = total.checked_add(value).filter(|total| *total <= 1 << 63).ok_or_else(invalid)?;
        rest = after;
    }
    if negative {
        return Ok(0i64.wrapping_sub_unsigned(total));
    }
    i64::try_from(total).map_err(|_| invalid())
}

/// `time.quote`, which errors of durations and times use: bytes that are not printable ASCII in hexadecimal.
pub(crate) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend(['\\', byte.into()]),
            b' '..=0x7F => out.push(byte.into()),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out.push('"');
    out
}

/// `Duration.Round` to seconds, halves away from zero.
pub(crate) fn round_to_seconds(nanoseconds: i64) -> i64 {
    let second = SECOND as i64;
    let rest = nanoseconds % second;
    let whole = nanoseconds - rest;
    if rest.abs() * 2 < second { whole } else { whole.saturating_add(second * nanoseconds.signum()) }
}

/// Sprig's `durationRound`: the largest unit alone.
pub(crate) fn rough(nanoseconds: i64) -> String {
    let size = nanoseconds.unsigned_abs();
    let hour = 3600 * SECOND;
    let units = [
        (hour * 24 * 365, "y"),
        (hour * 24 * 30, "mo"),
        (hour * 24, "d"),
        (hour, "h"),
        (60 * SECOND, "m"),
        (SECOND, "s"),
    ];
    let unit = units.iter().find(|(unit, _)| size > *unit);
    unit.map_or_else(|| "0s".to_owned(), |(unit, name)| format!("{}{name}", size / unit))
}

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_print_as_in_go() {
        for (nanoseconds, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_100, "1.1µs"),
            (2_200_000, "2.2ms"),
            (3_300_000_000, "3.3s"),
            (245_000_000_000, "4m5s"),
            (245_001_000_000, "4m5.001s"),
            (18_367_001_000_000, "5h6m7.001s"),
            (-3_600_000_000_000, "-1h0m0s"),
        ] {
            assert_eq!(print(nanoseconds), text);
            assert_eq!(parse(text).ok(), Some(nanoseconds), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_named() {
        let words = |text: &str| parse(text).expect_err(text).message;
        assert_eq!(words(""), "time: invalid duration \"\"");
        assert_eq!(words("3"), "time: missing unit in duration \"3\"");
        assert_eq!(words("3x"), "time: unknown unit \"x\" in duration \"3x\"");
        assert_eq!(parse("-1.5h").ok(), Some(-5_400_000_000_000));
        assert_eq!(parse(".5s").ok(), Some(500_000_000));
    }

    #[test]
    fn rough_durations_have_one_unit() {
        assert_eq!(rough(7_300_000_000_000), "2h");
        assert_eq!(rough(-90_000_000_000), "1m");
        assert_eq!(rough(1_000_000_000), "0s", "only what is more than a unit");
    }
}
