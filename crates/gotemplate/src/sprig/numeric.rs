//! Numbers (Sprig's `numeric.go`). Integer arithmetic is that of `int64` and wraps.

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::value::{Element, List, Value};

use super::cast::{self, to_float, to_int};
use super::decimal::{self, Decimal};

use Parameter::{Any, Float, Int, Text as Str};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("atoi", &[Str], |args| {
        Ok(Value::int(cast::parse_int(&args.text(0).to_str(), 10).unwrap_or(0)))
    }),
    Function::new("int", &[Any], |args| Ok(Value::int(to_int(&args.value(0))))),
    Function::new("int64", &[Any], |args| Ok(Value::int64(to_int(&args.value(0))))),
    Function::new("float64", &[Any], |args| Ok(to_float(&args.value(0)).into())),
    Function::new("toDecimal", &[Any], |args| {
        let text = cast::sprint(&args.value(0))?;
        Ok(Value::int64(cast::parse_int(&text.to_str(), 8).unwrap_or(0)))
    }),
    Function::new("add1", &[Any], |args| Ok(Value::int64(to_int(&args.value(0)).wrapping_add(1)))),
    Function::variadic("add", &[], Any, |args| fold(args, i64::wrapping_add)),
    Function::new("sub", &[Any, Any], |args| fold(args, i64::wrapping_sub)),
    Function::variadic("mul", &[Any], Any, |args| fold(args, i64::wrapping_mul)),
    Function::new("div", &[Any, Any], |args| divide(args, i64::wrapping_div)),
    Function::new("mod", &[Any, Any], |args| divide(args, i64::wrapping_rem)),
    Function::variadic("max", &[Any], Any, |args| fold(args, i64::max)),
    Function::variadic("biggest", &[Any], Any, |args| fold(args, i64::max)),
    Function::variadic("min", &[Any], Any, |args| fold(args, i64::min)),
    Function::variadic("maxf", &[Any], Any, |args| fold_floats(args, f64::max)),
    Function::variadic("minf", &[Any], Any, |args| fold_floats(args, f64::min)),
    Function::new("floor", &[Any], |args| Ok(to_float(&args.value(0)).floor().into())),
    Function::new("ceil", &[Any], |args| Ok(to_float(&args.value(0)).ceil().into())),
    Function::variadic("round", &[Any, Int], Float, round),
    Function::new("add1f", &[Any], |args| {
        args.values.push(Value::int(1));
        exact(args, Decimal::add)
    }),
    Function::variadic("addf", &[], Any, |args| {
        args.values.insert(0, Value::Float(0.0));
        exact(args, Decimal::add)
    }),
    Function::variadic("subf", &[Any], Any, |args| exact(args, Decimal::sub)),
    Function::variadic("mulf", &[Any], Any, |args| exact(args, Decimal::mul)),
    Function::variadic("divf", &[Any], Any, |args| exact(args, Decimal::div)),
    Function::new("until", &[Int], |args| {
        let count = args.int(0);
        let numbers = steps(args, 0, count, if count < 0 { -1 } else { 1 })?;
        Ok(list(&numbers))
    }),
    Function::new("untilStep", &[Int, Int, Int], |args| {
        let (start, stop, step) = (args.int(0), args.int(1), args.int(2));
        Ok(list(&steps(args, start, stop, step)?))
    }),
    Function::variadic("seq", &[], Int, sequence),
];

fn fold(args: &mut Arguments<'_>, operation: fn(i64, i64) -> i64) -> Result<Value, Fault> {
    Ok(Value::int64(args.values.iter().map(to_int).reduce(operation).unwrap_or(0)))
}

fn divide(args: &mut Arguments<'_>, operation: fn(i64, i64) -> i64) -> Result<Value, Fault> {
    let (dividend, divisor) = (to_int(&args.value(0)), to_int(&args.value(1)));
    if divisor == 0 {
        return Err(Fault::new("runtime error: integer divide by zero"));
    }
    Ok(Value::int64(operation(dividend, divisor)))
}

/// `math.Max` and `math.Min`: not a number wins, which Rust's do not let it.
fn fold_floats(args: &mut Arguments<'_>, operation: fn(f64, f64) -> f64) -> Result<Value, Fault> {
    let numbers = args.values.iter().map(to_float);
    let result = numbers
        .reduce(|one, other| if one.is_nan() || other.is_nan() { f64::NAN } else { operation(one, other) });
    Ok(result.unwrap_or(0.0).into())
}

/// Sprig's `round`: to so many places, up from the given fraction on (half, if none is given).
fn round(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let number = to_float(&args.value(0));
    let from = args.values.get(2).map_or(0.5, to_float);
    let power = 10f64.powf(args.int(1) as f64);
    let digits = power * number;
    let rounded = if digits - digits.trunc() >= from { digits.ceil() } else { digits.floor() };
    Ok((rounded / power).into())
}

/// `execDecimalOp`: the numbers are decimals while they are worked with, so that 0.1 and 0.2 are 0.3.
fn exact(args: &mut Arguments<'_>, operation: decimal::Operation) -> Result<Value, Fault> {
    let mut numbers = args.values.iter().map(|value| Decimal::new(to_float(value)));
    let Some(first) = numbers.next() else { return Ok(Value::Float(0.0)) };
    let mut result = first?;
    for number in numbers {
        result = operation(result, number?)?;
    }
    Ok(result.to_float().into())
}

/// `untilStep`, charged.
fn steps(args: &mut Arguments<'_>, start: i64, stop: i64, step: i64) -> Result<Vec<i64>, Fault> {
    let forward = stop >= start;
    if step == 0 || forward != (step > 0) {
        return Ok(Vec::new());
    }
    let distance = (i128::from(stop) - i128::from(start)).unsigned_abs();
    let count = distance.div_ceil(u128::from(step.unsigned_abs()));
    args.run.charge(usize::try_from(count).unwrap_or(usize::MAX).saturating_mul(NUMBER_BYTES))?;
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    Ok((0..count).map(|index| start.wrapping_add(index.wrapping_mul(step))).collect())
}

fn list(numbers: &[i64]) -> Value {
    List::typed(Element::Int, numbers.iter().map(|number| Value::int(*number)).collect()).into()
}

fn sequence(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let parameters: Vec<i64> = (0..args.values.len()).map(|index| args.int(index)).collect();
    let (start, step, end) = match parameters[..] {
        [end] => (1, if end < 1 { -1 } else { 1 }, end),
        [start, end] => (start, if end < start { -1 } else { 1 }, end),
        [start, step, end] => (start, step, end),
        _ => return Ok("".into()),
    };
    let backward = end < start;
    if backward && step > 0 {
        return Ok("".into());
    }
    let numbers = steps(args, start, end.wrapping_add(if backward { -1 } else { 1 }), step)?;
    let texts: Vec<String> = numbers.iter().map(i64::to_string).collect();
    Ok(texts.join(" ").into())
}

/// What a number in a list costs.
const NUMBER_BYTES: usize = 24;

#[cfg(test)]
mod tests {
    use super::super::call::{call, fault};
    use super::*;

    fn ints(numbers: &[i64]) -> Vec<Value> {
        numbers.iter().map(|number| Value::int(*number)).collect()
    }

    #[test]
    fn sequences_end_where_sprigs_do() {
        assert_eq!(call("seq", &ints(&[5])), "1 2 3 4 5");
        assert_eq!(call("seq", &ints(&[-3])), "1 0 -1 -2 -3");
        assert_eq!(call("seq", &ints(&[0])), "1 0");
        assert_eq!(call("seq", &ints(&[0, 2])), "0 1 2");
        assert_eq!(call("seq", &ints(&[2, -2])), "2 1 0 -1 -2");
        assert_eq!(call("seq", &ints(&[0, 2, 10])), "0 2 4 6 8 10");
        assert_eq!(call("seq", &ints(&[0, -2, -5])), "0 -2 -4");
        assert_eq!(call("until", &ints(&[-2])), "[0 -1]");
        assert_eq!(call("untilStep", &ints(&[3, 10, 3])), "[3 6 9]");
        assert_eq!(call("untilStep", &ints(&[3, 10, 0])), "[]");
    }

    #[test]
    fn long_lists_are_refused_before_they_are_made() {
        assert_eq!(fault("until", &ints(&[i64::MAX])), "spent");
        assert_eq!(fault("untilStep", &ints(&[i64::MIN, i64::MAX, 1])), "spent");
        assert_eq!(fault("seq", &ints(&[1 << 60])), "spent");
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(call("addf", &[Value::Float(0.1), Value::Float(0.2)]), "0.3");
        assert_eq!(call("divf", &[Value::int(10), Value::int(3)]), "3.3333333333333335");
        assert_eq!(call("round", &[Value::Float(123.5555), Value::int(3)]), "123.556");
        assert_eq!(call("round", &[Value::Float(123.3), Value::int(0), Value::Float(0.2)]), "124");
    }

    #[test]
    fn division_by_nothing_is_gos_panic() {
        assert_eq!(fault("div", &ints(&[1, 0])), "runtime error: integer divide by zero");
        assert_eq!(call("div", &ints(&[i64::MIN, -1])), i64::MIN.to_string());
        assert_eq!(fault("divf", &ints(&[1, 0])), "decimal division by 0");
    }
}
