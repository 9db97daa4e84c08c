//! Floats as texts (`strconv.FormatFloat`).

/// What Go calls a number that is none, or is infinite.
pub(crate) fn not_finite(value: f64) -> Option<&'static str> {
    match value {
        value if value.is_nan() => Some("NaN"),
        f64::INFINITY => Some("+Inf"),
        f64::NEG_INFINITY => Some("-Inf"),
        _ => None,
    }
}

/// The number in format `e`, `f`, `g`, `x`, `b` or their capitals, with so many digits, or as many as it takes to read the same
/// number again.
pub(crate) fn format(value: f64, verb: char, precision: Option<usize>) -> String {
    if let Some(word) = not_finite(value) {
        return word.to_owned();
    }
    let text = match verb.to_ascii_lowercase() {
        'e' => exponential(value, precision),
        'f' => match precision {
            Some(precision) => {
                let (exact, zeros) = exact(precision);
                format!("{value:.exact$}{}", "0".repeat(zeros))
            }
            None => format!("{value}"),
        },
        'x' => hexadecimal(value, precision),
        'b' => binary(value),
        _ => general(value, precision),
    };
    if verb.is_ascii_uppercase() { text.to_ascii_uppercase() } else { text }
}

/// How many of so many digits a float can have, and how many zeros follow.
fn exact(precision: usize) -> (usize, usize) {
    let digits = precision.min(MOST_DIGITS);
    (digits, precision - digits)
}

/// Go writes the exponent with a sign and at least two digits.
fn exponential(value: f64, precision: Option<usize>) -> String {
    let text = match precision {
        Some(precision) => format!("{value:.*e}", exact(precision).0),
        None => format!("{value:e}"),
    };
    let (mantissa, exponent) = text.split_once('e').expect("this format has an exponent");
    let zeros = "0".repeat(precision.map_or(0, |precision| exact(precision).1));
    with_exponent(&format!("{mantissa}{zeros}"), 'e', exponent.parse().expect("the exponent is a number"))
}

fn with_exponent(mantissa: &str, mark: char, exponent: i32) -> String {
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}{mark}{sign}{:02}", exponent.unsigned_abs())
}

/// `%g`: exponents from the precision on, or below -4; without precision from 21 on in JSON, but from 6 digits' worth here.
fn general(value: f64, precision: Option<usize>) -> String {
    let precision = precision.map(|precision| precision.max(1));
    let text = match precision {
        Some(precision) => format!("{:.*e}", exact(precision - 1).0, value.abs()),
        None => format!("{:e}", value.abs()),
    };
    let (mantissa, exponent) = text.split_once('e').expect("this format has an exponent");
    let exponent: i32 = exponent.parse().expect("the exponent is a number");
    let mut digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    while digits.len() > 1 && digits.ends_with('0') {
        digits.pop();
    }
    // Go counts no digits of zero.
    let (count, point) = if value == 0.0 { (0, 0) } else { (digits.len() as i32, exponent + 1) };
    // The shortest form goes by a precision of 6, whatever its digits.
    let mut most = precision.map_or(6, |precision| i32::try_from(precision).unwrap_or(i32::MAX));
    if precision.is_some() && most > count && count >= point {
        most = count;
    }
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let exponent = point - 1;
    if value != 0.0 && (exponent < -4 || exponent >= most) {
        let (first, rest) = digits.split_at(1);
        let mantissa = if rest.is_empty() { first.to_owned() } else { format!("{first}.{rest}") };
        return format!("{sign}{}", with_exponent(&mantissa, 'e', exponent));
    }
    let decimals = usize::try_from(count - point).unwrap_or(0);
    if value == 0.0 {
        return format!("{sign}0");
    }
    if point <= 0 {
        return format!("{sign}0.{}{digits}", "0".repeat(point.unsigned_abs() as usize));
    }
    if decimals == 0 {
        return format!("{sign}{digits}{}", "0".repeat((point - count).unsigned_abs() as usize));
    }
    let (whole, fraction) = digits.split_at(digits.len() - decimals);
    format!("{sign}{whole}.{fraction}")
}

/// `%b`: the mantissa as an integer and the power of two it is multiplied with.
fn binary(value: f64) -> String {
    let (mantissa, exponent) = parts(value);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    format!("{sign}{mantissa}p{exponent:+}")
}

/// `%x`: `0x1.8p+01`
fn hexadecimal(value: f64, precision: Option<usize>) -> String {
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let (mut mantissa, exponent) = parts(value);
    let mut exponent = exponent + 52;
    if mantissa == 0 {
        exponent = 0;
    } else {
        // The first digit is 1: bit 60 is in front of the point and 15 digits follow.
        mantissa <<= 8;
        while mantissa >> 60 == 0 {
            mantissa <<= 1;
            exponent -= 1;
        }
    }
    if let Some(precision) = precision.filter(|precision| *precision < 15) {
        let shift = precision * 4;
        let extra = (mantissa << shift) & ((1 << 60) - 1);
        mantissa >>= 60 - shift;
        if extra | (mantissa & 1) > 1 << 59 {
            mantissa += 1;
        }
        mantissa <<= 60 - shift;
        if mantissa >> 61 != 0 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let digits = format!("{:015x}", mantissa & ((1 << 60) - 1));
    let fraction = match precision {
        Some(precision) => {
            let zeros = "0".repeat(precision.saturating_sub(digits.len()));
            format!("{}{zeros}", &digits[..precision.min(digits.len())])
        }
        None => digits.trim_end_matches('0').to_owned(),
    };
    let point = if fraction.is_empty() { "" } else { "." };
    with_exponent(&format!("{sign}0x{}{point}{fraction}", mantissa >> 60), 'p', exponent)
}

/// Mantissa and exponent: the number is `mantissa * 2^exponent`.
fn parts(value: f64) -> (u64, i32) {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32;
    let fraction = bits & ((1 << 52) - 1);
    if exponent == 0 { (fraction, 1 - 1075) } else { (fraction | 1 << 52, exponent - 1075) }
}

/// The smallest float has 1074 digits after the point.
const MOST_DIGITS: usize = 1100;

#[cfg(test)]
mod tests {
    use super::format;

    #[test]
    fn shortest_forms_are_those_of_go() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (100_000.0, "100000"),
            (1e6, "1e+06"),
            (1_234_567.0, "1.234567e+06"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5, "1.5"),
            (-2.25e-7, "-2.25e-07"),
            (1e21, "1e+21"),
            (123_456.5, "123456.5"),
            (f64::MAX, "1.7976931348623157e+308"),
            (5e-324, "5e-324"),
        ] {
            assert_eq!(format(value, 'g', None), text);
        }
        assert_eq!(format(f64::NEG_INFINITY, 'g', None), "-Inf");
        assert_eq!(format(f64::NAN, 'e', Some(2)), "NaN");
    }

    #[test]
    fn precision_counts_as_in_go() {
        assert_eq!(format(100_000.0, 'g', Some(3)), "1e+05");
        assert_eq!(format(123.456, 'g', Some(4)), "123.5");
        assert_eq!(format(123.456, 'G', Some(1)), "1E+02");
        assert_eq!(format(2.5, 'f', Some(0)), "2");
        assert_eq!(format(1.0, 'e', Some(6)), "1.000000e+00");
        assert_eq!(format(1.5, 'x', None), "0x1.8p+00");
        assert_eq!(format(1.5, 'X', Some(0)), "0X1P+01");
        assert_eq!(format(1.0, 'b', None), "4503599627370496p-52");
        for verb in ['e', 'f', 'x'] {
            let text = format(1.5, verb, Some(100_000));
            assert_eq!(text.split(['.', 'e', 'p']).nth(1).map(str::len), Some(100_000), "{verb}");
        }
        assert_eq!(format(1.5, 'g', Some(1_000_000)), "1.5");
    }
}
