//! Floats as Go's `strconv.FormatFloat(f, 'g', -1, …)` writes them, and as `encoding/json` does.

/// `FormatFloat(value, 'g', -1, 64)` of a finite number.
pub(super) fn general(value: f64) -> String {
    arrange(&shortest(value), 6)
}

/// `FormatFloat(value, 'g', -1, 32)` of a finite number.
pub(super) fn general_32(value: f64) -> String {
    let value = value as f32;
    let digits = format!("{value:e}");
    let even = format!("{value:.*e}", precision(&digits));
    arrange(if even.parse() == Ok(value) { &even } else { &digits }, 6)
}

/// `FormatFloat(value, 'f', -1, 64)` of a finite whole number.
pub(super) fn whole(value: f64) -> String {
    arrange(&shortest(value), i32::MAX)
}

/// The fewest digits that give the same number again, as `d.ddde±x`. Of two that are equally near, Rust takes the greater one, Go
/// the even one, as Rust does for a given number of digits.
fn shortest(value: f64) -> String {
    let digits = format!("{value:e}");
    let even = format!("{value:.*e}", precision(&digits));
    if even.parse() == Ok(value) { even } else { digits }
}

fn precision(scientific: &str) -> usize {
    let mantissa = scientific.split('e').next().unwrap_or_default();
    mantissa.split_once('.').map_or(0, |(_, fraction)| fraction.len())
}

/// From `d.ddde±x` to Go's `%g`: an exponent below -4 or from `limit` on is written, with two digits at least.
fn arrange(scientific: &str, limit: i32) -> String {
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    if !(-4..limit).contains(&exponent) {
        let direction = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{mantissa}e{direction}{:02}", exponent.unsigned_abs());
    }
    let digits = mantissa.replace('.', "");
    if exponent < 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(exponent.unsigned_abs() as usize - 1));
    }
    let whole = exponent.unsigned_abs() as usize + 1;
    if digits.len() <= whole {
        return format!("{sign}{digits}{}", "0".repeat(whole - digits.len()));
    }
    format!("{sign}{}.{}", &digits[..whole], &digits[whole..])
}

#[cfg(test)]
mod tests {
    use super::{general, general_32, whole};

    #[test]
    fn exponents_begin_where_go_begins_them() {
        for (value, text) in [
            (0.0, "0"),
            (1.5, "1.5"),
            (100_000.5, "100000.5"),
            (1_234_567.5, "1.2345675e+06"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e21, "1e+21"),
            (-2.5e-7, "-2.5e-07"),
            (1e100, "1e+100"),
            (100_000.0, "100000"),
            (1_000_000.0, "1e+06"),
            (-775_905_808_070_696.2, "-7.759058080706962e+14"),
        ] {
            assert_eq!(general(value), text);
        }
        assert_eq!(whole(1_234_567_890_123_456_789.0), "1234567890123456800");
        assert_eq!(general_32(0.1), "0.1");
        assert_eq!(general_32(16_777_217.0), "1.6777216e+07");
    }
}
