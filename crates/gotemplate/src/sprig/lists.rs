//! Lists (Sprig's `list.go`). `mustX` and `X` differ only in Go, where one panics; the words are the same.

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::value::{Element, List, Value};

use super::cast;
use super::equality::deep_equal;
use super::strings::ITEM_BYTES;

use Parameter::{Any, Int};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::variadic("list", &[], Any, list),
    Function::variadic("tuple", &[], Any, list),
    Function::new("append", &[Any, Any], append),
    Function::new("push", &[Any, Any], append),
    Function::new("mustAppend", &[Any, Any], append),
    Function::new("mustPush", &[Any, Any], append),
    Function::new("prepend", &[Any, Any], prepend),
    Function::new("mustPrepend", &[Any, Any], prepend),
    Function::new("first", &[Any], |args| end(args, "Cannot find first on type", <[Value]>::first)),
    Function::new("mustFirst", &[Any], |args| end(args, "Cannot find first on type", <[Value]>::first)),
    Function::new("last", &[Any], |args| end(args, "Cannot find last on type", <[Value]>::last)),
    Function::new("mustLast", &[Any], |args| end(args, "Cannot find last on type", <[Value]>::last)),
    Function::new("rest", &[Any], |args| part(args, "Cannot find rest on type", |items| &items[1..])),
    Function::new("mustRest", &[Any], |args| part(args, "Cannot find rest on type", |items| &items[1..])),
    Function::new("initial", &[Any], |args| part(args, "Cannot find initial on type", without_last)),
    Function::new("mustInitial", &[Any], |args| part(args, "Cannot find initial on type", without_last)),
    Function::new("reverse", &[Any], reverse),
    Function::new("mustReverse", &[Any], reverse),
    Function::new("compact", &[Any], compact),
    Function::new("mustCompact", &[Any], compact),
    Function::new("uniq", &[Any], uniq),
    Function::new("mustUniq", &[Any], uniq),
    Function::variadic("without", &[Any], Any, without),
    Function::variadic("mustWithout", &[Any], Any, without),
    Function::new("has", &[Any, Any], has),
    Function::new("mustHas", &[Any, Any], has),
    Function::variadic("slice", &[Any], Any, slice),
    Function::variadic("mustSlice", &[Any], Any, slice),
    Function::variadic("concat", &[], Any, concat),
    Function::new("chunk", &[Int, Any], chunk),
    Function::new("mustChunk", &[Int, Any], chunk),
];

fn list(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    Ok(Value::list(std::mem::take(&mut args.values)))
}

/// The items of the first argument, which are about to be copied.
fn copied(args: &mut Arguments<'_>, otherwise: &str) -> Result<Vec<Value>, Fault> {
    let value = args.value(0);
    let list = cast::items(&value, otherwise)?;
    // Charged below what it costs: appending in a loop is usual, and only long lists matter.
    args.run.charge(list.items().len())?;
    Ok(list.items().to_vec())
}

fn append(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let mut items = copied(args, "Cannot push on type")?;
    items.push(args.value(1));
    Ok(Value::list(items))
}

fn prepend(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let mut items = copied(args, "Cannot prepend on type")?;
    items.insert(0, args.value(1));
    Ok(Value::list(items))
}

fn end(
    args: &mut Arguments<'_>,
    otherwise: &str,
    pick: fn(&[Value]) -> Option<&Value>,
) -> Result<Value, Fault> {
    let value = args.value(0);
    Ok(pick(cast::items(&value, otherwise)?.items()).cloned().unwrap_or_default())
}

/// Part of a list; a nil slice if there is nothing to take from.
fn part(args: &mut Arguments<'_>, otherwise: &str, pick: fn(&[Value]) -> &[Value]) -> Result<Value, Fault> {
    let items = copied(args, otherwise)?;
    if items.is_empty() {
        return Ok(List::null(Element::Any).into());
    }
    Ok(Value::list(pick(&items).to_vec()))
}

fn without_last(items: &[Value]) -> &[Value] {
    &items[..items.len() - 1]
}

fn reverse(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let mut items = copied(args, "Cannot find reverse on type")?;
    items.reverse();
    Ok(Value::list(items))
}

fn compact(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let mut items = copied(args, "Cannot compact on type")?;
    items.retain(|item| !cast::is_empty(item));
    Ok(Value::list(items))
}

fn uniq(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let mut kept: Vec<Value> = Vec::new();
    for item in copied(args, "Cannot find uniq on type")? {
        if !holds(args, &kept, &item)? {
            kept.push(item);
        }
    }
    Ok(Value::list(kept))
}

fn without(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let omitted: Vec<Value> = args.values.iter().skip(1).cloned().collect();
    let mut kept = Vec::new();
    for item in copied(args, "Cannot find without on type")? {
        if !holds(args, &omitted, &item)? {
            kept.push(item);
        }
    }
    Ok(Value::list(kept))
}

fn has(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (needle, haystack) = (args.value(0), args.value(1));
    if haystack.is_nil() {
        return Ok(false.into());
    }
    let list = cast::items(&haystack, "Cannot find has on type")?;
    Ok(holds(args, list.items(), &needle)?.into())
}

/// Sprig's `inList`.
fn holds(args: &mut Arguments<'_>, items: &[Value], needle: &Value) -> Result<bool, Fault> {
    args.run.charge(items.len() / 8)?;
    for item in items {
        if deep_equal(needle, item, args.run)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn slice(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let value = args.value(0);
    let list = cast::items(&value, "list should be type of slice or array but")?;
    if list.items().is_empty() {
        return Ok(Value::Nil);
    }
    let length = list.items().len() as i64;
    let start = args.values.get(1).map_or(0, cast::to_int);
    let end = args.values.get(2).map_or(length, cast::to_int);
    if start < 0 || end < start || end > length {
        return Err(Fault::new("reflect.Value.Slice: slice index out of bounds"));
    }
    args.run.charge((end - start) as usize)?;
    Ok(List::typed(list.element, list.items()[start as usize..end as usize].to_vec()).into())
}

fn concat(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let mut all = Vec::new();
    for value in &args.values {
        let items = cast::items(value, "Cannot concat type")
            .map_err(|fault| match value {
                Value::Nil => fault,
                _ => Fault::new(format!("{fault} as list")),
            })?
            .items();
        args.run.charge(items.len() * ITEM_BYTES)?;
        all.extend_from_slice(items);
    }
    Ok(if all.is_empty() { List::null(Element::Any).into() } else { Value::list(all) })
}

/// Sprig's arithmetic, in floats, with Go's panic where it gives no length.
fn chunk(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (size, value) = (args.int(0), args.value(1));
    let items = cast::items(&value, "Cannot chunk type")?.items();
    let length = items.len() as f64;
    let count = cast::truncate(((length - 1.0) / size as f64).floor() + 1.0);
    let range = || Fault::new("runtime error: makeslice: len out of range");
    let count = usize::try_from(count).map_err(|_| range())?;
    args.run.charge(items.len() * ITEM_BYTES)?;
    if count > 0 && size <= 0 {
        return Err(range());
    }
    let chunks = items.chunks(size.max(1) as usize).take(count);
    Ok(List::typed(Element::List, chunks.map(|chunk| Value::list(chunk.to_vec())).collect()).into())
}

#[cfg(test)]
mod tests {
    use super::super::call::{call, fault, value};
    use super::*;

    fn texts(items: &[&str]) -> Value {
        List::typed(Element::Text, items.iter().map(|item| Value::from(*item)).collect()).into()
    }

    #[test]
    fn a_list_of_texts_becomes_one_of_anything_but_in_slice() {
        let list = texts(&["a", "b"]);
        let of =
            |name: &str, arguments: &[Value]| value(name, arguments).expect(name).type_name().into_owned();
        assert_eq!(of("append", &[list.clone(), "c".into()]), "[]interface {}");
        assert_eq!(of("slice", &[list.clone(), Value::int(1)]), "[]string");
        assert_eq!(of("chunk", &[Value::int(1), list]), "[][]interface {}");
    }

    #[test]
    fn what_is_equal_is_of_one_type() {
        let list = Value::list(vec![Value::int(1), Value::Float(1.0), Value::int(1), Value::int64(1)]);
        assert_eq!(call("uniq", &[list]), "[1 1 1]");
    }

    #[test]
    fn what_is_no_list_is_refused_in_sprigs_words() {
        assert_eq!(fault("first", &["abc".into()]), "Cannot find first on type string");
        assert_eq!(
            fault("first", &[Value::Nil]),
            "runtime error: invalid memory address or nil pointer dereference"
        );
        assert_eq!(fault("concat", &[Value::int(1)]), "Cannot concat type int as list");
        assert_eq!(call("has", &[Value::int(1), Value::Nil]), "false");
    }

    #[test]
    fn nothing_left_is_a_nil_slice() {
        for name in ["rest", "initial"] {
            assert!(
                value(name, &[Value::list(vec![])]).expect(name).as_list().is_some_and(List::is_null),
                "{name}"
            );
        }
        assert!(value("first", &[Value::list(vec![])]).expect("first").is_nil());
    }

    #[test]
    fn chunks_of_no_size_panic_as_in_go() {
        let list = Value::list(vec![Value::int(1), Value::int(2), Value::int(3)]);
        assert_eq!(call("chunk", &[Value::int(2), list.clone()]), "[[1 2] [3]]");
        assert_eq!(fault("chunk", &[Value::int(0), list]), "runtime error: makeslice: len out of range");
    }
}
