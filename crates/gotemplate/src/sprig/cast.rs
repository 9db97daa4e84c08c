//! What a value is as a number or a text: the rules of `spf13/cast` 1.7.0 and of Sprig's `strval` and `empty`.

use crate::function::{Fault, Run};
use crate::print;
use crate::text::Text;
use crate::value::{Element, List, Object, Value};

use super::instant::Named;

/// `cast.ToInt64`: 0 for what is no number. Floats are cut; those out of range give the smallest number, as on amd64.
pub(crate) fn to_int(value: &Value) -> i64 {
    match value {
        Value::Int(number, _) => *number,
        Value::Float(number) => truncate(*number),
        Value::Bool(value) => (*value).into(),
        Value::Text(text) => parse_int(trim_zero_decimal(&text.to_str()), 0).unwrap_or(0),
        Value::Object(object) => object.as_any().downcast_ref::<Named>().and_then(Named::cast).unwrap_or(0),
        Value::Nil | Value::List(_) | Value::Map(_) => 0,
    }
}

/// `cast.ToFloat64`: 0 for what is no number.
pub(crate) fn to_float(value: &Value) -> f64 {
    match value {
        Value::Int(number, crate::value::IntKind::Uint64 | crate::value::IntKind::Uint) => {
            number.cast_unsigned() as f64
        }
        Value::Int(number, _) => *number as f64,
        Value::Float(number) => *number,
        Value::Bool(value) => (*value).into(),
        Value::Text(text) => parse_float(&text.to_str()).unwrap_or(0.0),
        Value::Object(object) => {
            object.as_any().downcast_ref::<Named>().and_then(Named::cast).map_or(0.0, |number| number as f64)
        }
        Value::Nil | Value::List(_) | Value::Map(_) => 0.0,
    }
}

/// Go's conversion of a float to an integer on amd64.
pub(crate) fn truncate(number: f64) -> i64 {
    // 2⁶³ is not an i64; everything outside, and NaN, is "indefinite".
    if (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number) {
        number as i64
    } else {
        i64::MIN
    }
}

/// `strconv.ParseInt` for 64 bits: base 0 takes the base from the prefix and allows underscores after one.
pub(crate) fn parse_int(text: &str, base: u32) -> Option<i64> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    let (radix, digits) = if base == 0 { prefix(digits)? } else { (base, digits.to_owned()) };
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return None;
    }
    let number = i128::from_str_radix(&digits, radix).ok()?;
    i64::try_from(if negative { -number } else { number }).ok()
}

/// The base that the prefix says, and the digits without prefix and underscores.
fn prefix(digits: &str) -> Option<(u32, String)> {
    let lower = digits.to_ascii_lowercase();
    let (radix, rest) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    if !rest.contains('_') {
        return Some((radix, rest.to_owned()));
    }
    // Underscores stand between digits, or between the prefix and a digit; decimal numbers may have them too.
    let allowed = !rest.ends_with('_') && !rest.contains("__") && (radix != 10 || !rest.starts_with('_'));
    allowed.then(|| (radix, rest.replace('_', "")))
}

/// `strconv.ParseFloat` for 64 bits without hexadecimal floats; underscores may stand between digits.
pub(crate) fn parse_float(text: &str) -> Option<f64> {
    let between = |(at, _): (usize, &str)| {
        let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
        at > 0 && digit(text.as_bytes().get(at - 1)) && digit(text.as_bytes().get(at + 1))
    };
    if !text.match_indices('_').all(between) {
        return None;
    }
    let number: f64 = text.replace('_', "").parse().ok()?;
    let named = text.bytes().any(|byte| matches!(byte, b'n' | b'N'));
    (number.is_finite() || named).then_some(number)
}

/// `cast.trimZeroDecimal`: `3.00` is `3`.
fn trim_zero_decimal(text: &str) -> &str {
    let cut = text.trim_end_matches('0');
    match cut.strip_suffix('.') {
        Some(whole) if cut.len() < text.len() => whole,
        _ => text,
    }
}

/// Sprig's `strval`: as `%v` prints it, but bytes are a text. An error is a limit.
pub(crate) fn to_text(value: &Value) -> Result<Text, Fault> {
    Ok(match value {
        Value::Text(text) => text.clone(),
        Value::List(list) if list.element == Element::Byte => bytes(list).into(),
        Value::Object(object) => object.print().into(),
        _ => return sprint(value),
    })
}

/// As `%v` prints it. An error is a limit.
pub(crate) fn sprint(value: &Value) -> Result<Text, Fault> {
    Ok(print::print(std::slice::from_ref(value))?.into())
}

/// Sprig's `strslice`: the items of a list as texts without those that are nil; anything else is a list of one. Charged, each when
/// it is made.
pub(crate) fn to_texts(value: &Value, run: &mut dyn Run) -> Result<Vec<Text>, Fault> {
    match value {
        Value::Nil => Ok(Vec::new()),
        Value::List(list) => texts_of(list.items(), to_text, run),
        other => texts_of(std::slice::from_ref(other), to_text, run),
    }
}

/// The texts of values that are not nil, charged.
pub(crate) fn texts_of(
    values: &[Value],
    text_of: fn(&Value) -> Result<Text, Fault>,
    run: &mut dyn Run,
) -> Result<Vec<Text>, Fault> {
    let mut texts = Vec::with_capacity(values.len());
    for value in values.iter().filter(|value| !value.is_nil()) {
        let text = text_of(value)?;
        run.charge(text.len())?;
        texts.push(text);
    }
    Ok(texts)
}

/// The bytes of a `[]byte`.
pub(crate) fn bytes(list: &List) -> Vec<u8> {
    list.items().iter().map(|item| to_int(item) as u8).collect()
}

/// Sprig's `empty`: what `default` replaces.
pub(crate) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(object) => {
            object.as_any().downcast_ref::<Named>().is_some_and(|named| !named.is_true())
        }
        value => !value.is_true(),
    }
}

/// The items of a list, or Go's panic for what has none (`reflect.TypeOf(nil).Kind()`), or Sprig's words.
pub(crate) fn items<'v>(value: &'v Value, otherwise: &str) -> Result<&'v List, Fault> {
    match value {
        Value::List(list) => Ok(list),
        Value::Nil => Err(nil_dereference()),
        other => Err(Fault::new(format!("{otherwise} {}", other.kind()))),
    }
}

/// What Go says where a method of a nil pointer is called.
pub(crate) fn nil_dereference() -> Fault {
    Fault::new("runtime error: invalid memory address or nil pointer dereference")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_numbers_as_go_writes_them() {
        let int = |text: &str| to_int(&Value::from(text));
        assert_eq!(int("0x1f"), 31);
        assert_eq!(int("010"), 8);
        assert_eq!(int("08"), 0, "not octal");
        assert_eq!(int("0b11"), 3);
        assert_eq!(int("0o17"), 15);
        assert_eq!(int("1_000"), 1000);
        assert_eq!(int("1__0"), 0);
        assert_eq!(int("-5"), -5);
        assert_eq!(int("3.00"), 3);
        assert_eq!(int("3.50"), 0);
        assert_eq!(int(""), 0);
        assert_eq!(int("9223372036854775808"), 0, "out of range");
        assert_eq!(int("-9223372036854775808"), i64::MIN);
    }

    #[test]
    fn floats_are_cut_and_out_of_range_is_indefinite() {
        assert_eq!(truncate(-2.9), -2);
        assert_eq!(truncate(1e300), i64::MIN);
        assert_eq!(truncate(f64::NAN), i64::MIN);
        assert_eq!(parse_float("1e999"), None);
        assert_eq!(parse_float("inf"), Some(f64::INFINITY));
    }

    #[test]
    fn nil_items_are_no_texts() {
        let list = Value::list(vec![Value::int(1), Value::Nil, Value::from("a")]);
        assert_eq!(super::super::call::call("toStrings", &[list]), "[1 a]");
        assert_eq!(super::super::call::call("toStrings", &[Value::Nil]), "[]");
    }
}
