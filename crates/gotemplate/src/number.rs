//! Constants in templates (text/template/parse, `newNumber`) and Go's integer literals (`strconv.ParseInt` with base 0).

use crate::node::Number;
use crate::quote::{Piece, unquote_char};

impl Number {
    /// `'a'`, with its quotes.
    pub(crate) fn character(literal: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(literal).into_owned();
        let Some((piece, length)) = unquote_char(&literal[1..], b'\'') else {
            return Err("invalid syntax".to_owned());
        };
        if &literal[1 + length..] != b"'" {
            return Err(format!("malformed character constant: {text}"));
        }
        let code = match piece {
            Piece::Byte(byte) => u32::from(byte),
            Piece::Rune(character) => u32::from(character),
        };
        Ok(Self {
            text,
            int: Some(i64::from(code)),
            uint: Some(u64::from(code)),
            float: Some(f64::from(code)),
            complex: None,
        })
    }

    /// An integer, a float or an imaginary number.
    pub(crate) fn parse(literal: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(literal).into_owned();
        if let Some(imaginary) = text.strip_suffix('i') {
            return match float(imaginary) {
                Some(number) => Ok(Self::complex_of(&text, 0.0, number)),
                None => Err(format!("illegal number syntax: {}", crate::quote::quote(literal))),
            };
        }
        let mut number = Self { uint: uint(&text), int: int(&text), ..Self::default() };
        if number.int == Some(0) {
            number.uint = Some(0);
        }
        if let Some(int) = number.int {
            number.float = Some(int as f64);
        } else if let Some(uint) = number.uint {
            number.float = Some(uint as f64);
        } else if let Some(value) = float(&text) {
            if !text.contains(['.', 'e', 'E', 'p', 'P']) {
                return Err(format!("integer overflow: {}", crate::quote::quote(literal)));
            }
            number.float = Some(value);
            number.set_integers(value);
        } else {
            return Err(format!("illegal number syntax: {}", crate::quote::quote(literal)));
        }
        number.text = text;
        Ok(number)
    }

    /// `1+2i`
    pub(crate) fn complex(literal: &[u8]) -> Result<Self, String> {
        let text = String::from_utf8_lossy(literal).into_owned();
        let bytes = text.as_bytes();
        let middle = (1..bytes.len()).rev().find(|at| {
            matches!(bytes[*at], b'+' | b'-') && !matches!(bytes[*at - 1], b'e' | b'E' | b'p' | b'P')
        });
        let parts = middle
            .and_then(|middle| Some((float(&text[..middle])?, float(text[middle..].strip_suffix('i')?)?)));
        match parts {
            Some((real, imaginary)) => Ok(Self::complex_of(&text, real, imaginary)),
            None => Err("syntax error scanning complex number".to_owned()),
        }
    }

    fn complex_of(text: &str, real: f64, imaginary: f64) -> Self {
        let mut number = Self { text: text.to_owned(), complex: Some((real, imaginary)), ..Self::default() };
        if imaginary == 0.0 {
            number.float = Some(real);
            number.set_integers(real);
        }
        number
    }

    fn set_integers(&mut self, value: f64) {
        if value.trunc() == value && value >= i64::MIN as f64 && value < i64::MAX as f64 {
            self.int = Some(value as i64);
        }
        if value.trunc() == value && value >= 0.0 && value < u64::MAX as f64 {
            self.uint = Some(value as u64);
        }
    }
}

/// `strconv.ParseInt(text, 0, 64)`
pub(crate) fn int(text: &str) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let value = uint(digits)?;
    if negative { 0i64.checked_sub_unsigned(value) } else { i64::try_from(value).ok() }
}

/// `strconv.ParseUint(text, 0, 64)`: with `0x`, `0o`, `0b`, a leading `0` for octal, and underscores between digits.
pub(crate) fn uint(text: &str) -> Option<u64> {
    let lower = text.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, &lower[..]),
    };
    let digits = strip_underscores(digits, digits.len() < lower.len())?;
    if !digits.bytes().all(|byte| char::from(byte).is_digit(radix)) {
        return None;
    }
    u64::from_str_radix(&digits, radix).ok()
}

/// `strconv.ParseFloat(text, 64)` for what the lexer takes for a number.
pub(crate) fn float(text: &str) -> Option<f64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let value = match lower.strip_prefix("0x") {
        Some(hexadecimal) => hexadecimal_float(&strip_underscores(hexadecimal, true)?)?,
        None if !lower.starts_with(|c: char| c.is_ascii_digit() || c == '.') => return None,
        None => strip_underscores(&lower, false)?.parse::<f64>().ok().filter(|value| value.is_finite())?,
    };
    Some(if negative { -value } else { value })
}

fn hexadecimal_float(text: &str) -> Option<f64> {
    let (mantissa, exponent) = text.split_once('p')?;
    let exponent: i32 = exponent.parse().ok()?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || digits.len() > 15 || !(-2000..2000).contains(&exponent) {
        return None;
    }
    let value = u64::from_str_radix(&digits, 16).ok()? as f64;
    let shift = exponent - 4 * i32::try_from(fraction.len()).ok()?;
    Some(value * 2f64.powi(shift)).filter(|value| value.is_finite())
}

/// Underscores may stand between digits and after the prefix of the base, and only alone.
fn strip_underscores(digits: &str, prefixed: bool) -> Option<String> {
    if !digits.contains('_') {
        return (!digits.is_empty()).then(|| digits.to_owned());
    }
    if digits.ends_with('_') || digits.contains("__") || (digits.starts_with('_') && !prefixed) {
        return None;
    }
    Some(digits.replace('_', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_have_all_types_that_can_hold_them() {
        let number = |text: &str| Number::parse(text.as_bytes());
        assert_eq!(number("1_000").map(|n| n.int), Ok(Some(1000)));
        assert_eq!(number("0x1F").map(|n| n.int), Ok(Some(31)));
        assert_eq!(number("017").map(|n| n.int), Ok(Some(15)));
        assert_eq!(number("-0").map(|n| (n.int, n.uint)), Ok((Some(0), Some(0))));
        assert_eq!(number("1e3").map(|n| (n.int, n.float)), Ok((Some(1000), Some(1000.0))));
        assert_eq!(number("1.5").map(|n| (n.int, n.float)), Ok((None, Some(1.5))));
        assert_eq!(number("0x1p-2").map(|n| n.float), Ok(Some(0.25)));
        assert_eq!(number("18446744073709551615").map(|n| (n.int, n.uint)), Ok((None, Some(u64::MAX))));
        assert_eq!(
            number("99999999999999999999"),
            Err("integer overflow: \"99999999999999999999\"".to_owned())
        );
        assert_eq!(number("1__0"), Err("illegal number syntax: \"1__0\"".to_owned()));
        assert_eq!(number("2i").map(|n| n.complex), Ok(Some((0.0, 2.0))));
        assert_eq!(Number::complex(b"1e-1-2.5i").map(|n| n.complex), Ok(Some((0.1, -2.5))));
        assert_eq!(Number::character(b"'a'").map(|n| n.int), Ok(Some(97)));
        assert_eq!(Number::character(b"'\\n'").map(|n| n.int), Ok(Some(10)));
    }
}
