//! Numbers in scalars: Go's `strconv.ParseInt` with base 0 and `ParseFloat`, as go-yaml calls them.

use super::scalar::Resolved;

/// A scalar that begins with a digit or a sign.
pub(super) fn number(text: &str) -> Option<Resolved> {
    let plain = text.replace('_', "");
    if let Some(found) = integer(&plain, None) {
        return Some(found);
    }
    if is_float(&plain)
        && let Some(value) = float(&plain)
    {
        return Some(Resolved::Float(value));
    }
    // Go's own prefix rules have had their say; what is left is a sign behind the prefix.
    if let Some(rest) = plain.strip_prefix("0b") {
        return integer(rest, Some(2));
    }
    let rest = plain.strip_prefix("-0b")?;
    i64::from_str_radix(&format!("-{rest}"), 2).ok().map(Resolved::Int)
}

/// `ParseFloat`: a decimal number, in range; underscores may stand between digits.
pub(super) fn float(text: &str) -> Option<f64> {
    let shape = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-' | b'_');
    if !text.bytes().all(shape) {
        return None;
    }
    let digit = |text: &str, last: bool| {
        let byte = if last { text.bytes().last() } else { text.bytes().next() };
        byte.is_some_and(|byte| byte.is_ascii_digit())
    };
    let mut parts = text.split('_');
    let mut before = parts.next()?;
    for part in parts {
        if !digit(before, true) || !digit(part, false) {
            return None;
        }
        before = part;
    }
    text.replace('_', "").parse::<f64>().ok().filter(|value| value.is_finite())
}

/// `ParseInt`, then `ParseUint`. Without a base, `0x`, `0o`, `0b` and a leading `0` say which.
fn integer(text: &str, base: Option<u32>) -> Option<Resolved> {
    let (negative, signed, digits) = match text.as_bytes().first()? {
        b'-' => (true, true, &text[1..]),
        b'+' => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let (base, digits) = match base {
        Some(base) => (base, digits),
        None => prefix(digits),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return None;
    }
    let value = u64::from_str_radix(digits, base).ok()?;
    match (negative, i64::try_from(value)) {
        (false, Ok(value)) => Some(Resolved::Int(value)),
        // `ParseUint` takes no sign.
        (false, Err(_)) => (!signed).then_some(Resolved::Uint(value)),
        (true, Ok(value)) => Some(Resolved::Int(-value)),
        (true, Err(_)) => (value == 1 << 63).then_some(Resolved::Int(i64::MIN)),
    }
}

fn prefix(digits: &str) -> (u32, &str) {
    let bytes = digits.as_bytes();
    if bytes.len() < 2 || bytes[0] != b'0' {
        return (10, digits);
    }
    match bytes[1] {
        b'x' | b'X' => (16, &digits[2..]),
        b'o' | b'O' => (8, &digits[2..]),
        b'b' | b'B' => (2, &digits[2..]),
        _ => (8, &digits[1..]),
    }
}

/// `^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['-', '+']).unwrap_or(exponent))),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let shape = match mantissa.split_once('.') {
        Some((whole, fraction)) => {
            digits(whole) && digits(fraction) && !(whole.is_empty() && fraction.is_empty())
        }
        None => !mantissa.is_empty() && digits(mantissa),
    };
    shape && exponent.is_none_or(|exponent| !exponent.is_empty() && digits(exponent))
}
