//! What stands in for what is empty (Sprig's `defaults.go`), and copies.

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::value::Value;

use super::cast::is_empty;
use super::weight;

use Parameter::{Any, Bool};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::variadic("default", &[Any], Any, |args| {
        let given = args.value(1);
        Ok(if is_empty(&given) { args.value(0) } else { given })
    }),
    Function::new("empty", &[Any], |args| Ok(is_empty(&args.value(0)).into())),
    Function::variadic("coalesce", &[], Any, |args| {
        Ok(args.values.iter().find(|value| !is_empty(value)).cloned().unwrap_or_default())
    }),
    Function::variadic("all", &[], Any, |args| Ok((!args.values.iter().any(is_empty)).into())),
    Function::variadic("any", &[], Any, |args| Ok((!args.values.iter().all(is_empty)).into())),
    Function::new("ternary", &[Any, Any, Bool], |args| {
        let index = if args.is_true(2) { 0 } else { 1 };
        Ok(args.value(index))
    }),
    Function::new("deepCopy", &[Any], copy),
    Function::new("mustDeepCopy", &[Any], copy),
];

fn copy(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let value = args.value(0);
    if value.is_nil() {
        return Err(Fault::new("reflect: call of reflect.Value.Type on zero Value"));
    }
    weight::deep_copy(&value, args.run)
}

#[cfg(test)]
mod tests {
    use super::super::call::{call, value};
    use super::*;
    use crate::value::Map;

    #[test]
    fn zero_false_and_nothing_are_empty() {
        for empty in
            [Value::Nil, Value::int(0), Value::Float(0.0), false.into(), "".into(), Value::list(vec![])]
        {
            assert_eq!(call("default", &["d".into(), empty]), "d");
        }
        assert_eq!(call("default", &["d".into()]), "d");
        assert_eq!(call("coalesce", &["".into(), Value::int(0), "x".into()]), "x");
        assert_eq!(call("all", &[]), "true");
        assert_eq!(call("any", &[]), "false");
    }

    #[test]
    fn a_deep_copy_shares_nothing() {
        let inner = Map::new();
        let outer = Map::new();
        outer.set("inner", inner.clone().into());
        let copy = value("deepCopy", &[outer.into()]).expect("a copy");
        inner.set("late", Value::int(1));
        assert_eq!(crate::print::shown(&copy), "map[inner:map[]]");
    }
}
