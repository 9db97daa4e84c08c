//! The functions of text/template itself (`funcs.go`).

use std::cmp::Ordering;

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::print;
use crate::rune;
use crate::text::Text;
use crate::value::{IntKind, List, Value};

const ANY: Parameter = Parameter::Any;

pub(crate) const FUNCTIONS: &[Function] = &[
    Function { name: "and", parameters: &[ANY], variadic: Some(ANY), run: special },
    Function { name: "or", parameters: &[ANY], variadic: Some(ANY), run: special },
    Function { name: "not", parameters: &[ANY], variadic: None, run: special },
    Function { name: "len", parameters: &[ANY], variadic: None, run: special },
    Function { name: "call", parameters: &[ANY], variadic: Some(ANY), run: special },
    Function { name: "eq", parameters: &[ANY], variadic: Some(ANY), run: eq },
    Function { name: "ne", parameters: &[ANY, ANY], variadic: None, run: ne },
    Function { name: "lt", parameters: &[ANY, ANY], variadic: None, run: lt },
    Function { name: "le", parameters: &[ANY, ANY], variadic: None, run: le },
    Function { name: "gt", parameters: &[ANY, ANY], variadic: None, run: gt },
    Function { name: "ge", parameters: &[ANY, ANY], variadic: None, run: ge },
    Function { name: "index", parameters: &[ANY], variadic: Some(ANY), run: index },
    Function { name: "slice", parameters: &[ANY], variadic: Some(ANY), run: slice },
    Function { name: "print", parameters: &[], variadic: Some(ANY), run: print_values },
    Function { name: "println", parameters: &[], variadic: Some(ANY), run: println_values },
    Function { name: "printf", parameters: &[Parameter::Text], variadic: Some(ANY), run: printf },
    Function { name: "html", parameters: &[], variadic: Some(ANY), run: html },
    Function { name: "js", parameters: &[], variadic: Some(ANY), run: js },
    Function { name: "urlquery", parameters: &[], variadic: Some(ANY), run: urlquery },
];

/// The evaluator does these itself, since they depend on how an argument is written.
fn special(_: &mut Arguments<'_>) -> Result<Value, Fault> {
    Err(Fault::new("is part of the language"))
}

/// Basic kinds: what can be compared with an operator (`basicKind`).
#[derive(PartialEq, Eq)]
enum Kind {
    Invalid,
    Bool,
    Int,
    Float,
    Text,
    Uint,
}

fn kind(value: &Value) -> Kind {
    match value {
        Value::Bool(_) => Kind::Bool,
        Value::Int(_, kind) if is_signed(*kind) => Kind::Int,
        Value::Int(..) => Kind::Uint,
        Value::Float(_) => Kind::Float,
        Value::Text(_) => Kind::Text,
        Value::Nil | Value::List(_) | Value::Map(_) | Value::Object(_) => Kind::Invalid,
    }
}

fn is_signed(kind: IntKind) -> bool {
    matches!(kind, IntKind::Int | IntKind::Int8 | IntKind::Int16 | IntKind::Int32 | IntKind::Int64)
}

/// An integer of any type as one that has them all.
fn wide(number: i64, kind: IntKind) -> i128 {
    if is_signed(kind) { i128::from(number) } else { i128::from(number as u64) }
}

fn eq(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (first, others) = arguments.values.split_first().expect("the signature has one");
    if others.is_empty() {
        return Err(Fault::new(NO_COMPARISON));
    }
    for other in others {
        if equal(first, other)? {
            return Ok(Value::Bool(true));
        }
    }
    Ok(Value::Bool(false))
}

fn ne(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    Ok(Value::Bool(!equal(&arguments.values[0], &arguments.values[1])?))
}

fn equal(left: &Value, right: &Value) -> Result<bool, Fault> {
    Ok(match (left, right) {
        (Value::Text(left), Value::Text(right)) => left == right,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Float(left), Value::Float(right)) => left == right,
        (Value::Int(left, left_kind), Value::Int(right, right_kind)) => {
            wide(*left, *left_kind) == wide(*right, *right_kind)
        }
        _ if kind(left) != kind(right) => {
            if !left.is_nil() && !right.is_nil() {
                return Err(incompatible(left, right));
            }
            false
        }
        _ => return identical(left, right),
    })
}

/// Values that have no operator: nil, lists, maps and structs.
fn identical(left: &Value, right: &Value) -> Result<bool, Fault> {
    let is_nil = |value: &Value| match value {
        Value::Nil => true,
        Value::List(list) => list.is_null(),
        _ => false,
    };
    if !left.is_nil() && !right.is_nil() && left.kind() != right.kind() {
        return Err(Fault::new(format!(
            "non-comparable types {}: {}, {}: {}",
            print::with_verb(left, 's'),
            left.type_name(),
            right.type_name(),
            print::shown(right)
        )));
    }
    if is_nil(left) || is_nil(right) {
        return Ok(is_nil(left) == is_nil(right));
    }
    match (left, right) {
        (Value::Object(left), Value::Object(right)) => {
            Ok(std::rc::Rc::ptr_eq(left, right) || left.print() == right.print())
        }
        _ => Err(Fault::new(format!(
            "non-comparable type {}: {}",
            print::with_verb(right, 's'),
            right.type_name()
        ))),
    }
}

fn incompatible(left: &Value, right: &Value) -> Fault {
    let (left, right) = (left.type_name(), right.type_name());
    Fault::new(format!("incompatible types for comparison: {left} and {right}"))
}

fn lt(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    less(&arguments.values[0], &arguments.values[1]).map(Value::Bool)
}

fn le(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (left, right) = (&arguments.values[0], &arguments.values[1]);
    Ok(Value::Bool(less(left, right)? || equal(left, right)?))
}

fn gt(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (left, right) = (&arguments.values[0], &arguments.values[1]);
    Ok(Value::Bool(!(less(left, right)? || equal(left, right)?)))
}

fn ge(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    Ok(Value::Bool(!less(&arguments.values[0], &arguments.values[1])?))
}

fn less(left: &Value, right: &Value) -> Result<bool, Fault> {
    let (left_kind, right_kind) = (kind(left), kind(right));
    if left_kind == Kind::Invalid || right_kind == Kind::Invalid {
        return Err(Fault::new(BAD_COMPARISON_TYPE));
    }
    Ok(match (left, right) {
        (Value::Int(left, left_kind), Value::Int(right, right_kind)) => {
            wide(*left, *left_kind) < wide(*right, *right_kind)
        }
        (Value::Float(left), Value::Float(right)) => left < right,
        (Value::Text(left), Value::Text(right)) => left.cmp(right) == Ordering::Less,
        (Value::Bool(_), Value::Bool(_)) => return Err(Fault::new(BAD_COMPARISON_TYPE)),
        _ => return Err(incompatible(left, right)),
    })
}

fn index(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let mut values = arguments.values.iter();
    let mut item = values.next().cloned().unwrap_or_default();
    if item.is_nil() {
        return Err(Fault::new("index of untyped nil"));
    }
    for index in values {
        item = match &item {
            Value::Nil => return Err(Fault::new("index of nil pointer")),
            Value::List(list) => {
                let at = position(index, list.items().len())?;
                match list.items().get(at) {
                    Some(item) => item.clone(),
                    None => return Err(Fault::new("reflect: slice index out of range")),
                }
            }
            Value::Text(text) => {
                let at = position(index, text.len())?;
                match text.as_bytes().get(at) {
                    Some(byte) => Value::Int(i64::from(*byte), IntKind::Uint8),
                    None => return Err(Fault::new("reflect: string index out of range")),
                }
            }
            Value::Map(map) => {
                let key = key(index)?;
                map.get(&key).unwrap_or_else(|| crate::call::missing(map).value)
            }
            Value::Object(object) if object.kind() == "map" => {
                let key = key(index)?;
                let entries = object.entries().unwrap_or_default();
                let found = entries.into_iter().find(|(name, _)| name.as_text() == Some(&key));
                found.map(|(_, value)| value).unwrap_or_default()
            }
            other => return Err(Fault::new(format!("can't index item of type {}", other.type_name()))),
        };
    }
    Ok(item)
}

/// An index into something of that length (`indexArg`); the length itself passes.
fn position(index: &Value, length: usize) -> Result<usize, Fault> {
    let number = match index {
        Value::Int(number, _) => *number,
        Value::Nil => return Err(Fault::new("cannot index slice/array with nil")),
        other => {
            return Err(Fault::new(format!("cannot index slice/array with type {}", other.type_name())));
        }
    };
    match usize::try_from(number) {
        Ok(position) if position <= length => Ok(position),
        _ => Err(Fault::new(format!("index out of range: {number}"))),
    }
}

/// An index into a map (`prepareArg`).
fn key(index: &Value) -> Result<Text, Fault> {
    match index {
        Value::Text(text) => Ok(text.clone()),
        Value::Nil => Err(Fault::new("value is nil; should be of type string")),
        other => Err(Fault::new(format!("value has type {}; should be string", other.type_name()))),
    }
}

fn slice(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (item, indexes) = arguments.values.split_first().expect("the signature has one");
    if item.is_nil() {
        return Err(Fault::new("slice of untyped nil"));
    }
    if indexes.len() > 3 {
        return Err(Fault::new(format!("too many slice indexes: {}", indexes.len())));
    }
    let length = match item {
        Value::Text(_) if indexes.len() == 3 => return Err(Fault::new("cannot 3-index slice a string")),
        Value::Text(text) => text.len(),
        Value::List(list) => list.items().len(),
        other => return Err(Fault::new(format!("can't slice item of type {}", other.type_name()))),
    };
    let mut range = [0, length, length];
    for (place, index) in range.iter_mut().zip(indexes) {
        *place = position(index, length)?;
    }
    let [start, end, most] = range;
    if start > end {
        return Err(Fault::new(format!("invalid slice index: {start} > {end}")));
    }
    if indexes.len() == 3 && end > most {
        return Err(Fault::new(format!("invalid slice index: {end} > {most}")));
    }
    Ok(match item {
        Value::Text(text) => Value::text(&text.as_bytes()[start..end]),
        Value::List(list) => Value::from(List::typed(list.element, list.items()[start..end].to_vec())),
        _ => unreachable!("what has a length was matched above"),
    })
}

fn print_values(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    print::print(&arguments.values).map(Value::text)
}

fn println_values(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    print::println(&arguments.values).map(Value::text)
}

fn printf(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let (format, values) = arguments.values.split_first().expect("the signature has one");
    let format = format.as_text().expect("the signature says text");
    print::printf(format.as_bytes(), values).map(Value::text)
}

/// All arguments as one text (`evalArgs`).
fn joined(arguments: &Arguments<'_>) -> Result<Vec<u8>, Fault> {
    let values: Vec<_> = arguments
        .values
        .iter()
        .map(|value| if value.is_nil() { Value::from("<no value>") } else { value.clone() })
        .collect();
    print::print(&values)
}

fn html(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let mut out = Vec::new();
    for byte in joined(arguments)? {
        match byte {
            0 => out.extend_from_slice("\u{fffd}".as_bytes()),
            b'"' => out.extend_from_slice(b"&#34;"),
            b'\'' => out.extend_from_slice(b"&#39;"),
            b'&' => out.extend_from_slice(b"&amp;"),
            b'<' => out.extend_from_slice(b"&lt;"),
            b'>' => out.extend_from_slice(b"&gt;"),
            _ => out.push(byte),
        }
    }
    Ok(Value::text(out))
}

fn js(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let text = joined(arguments)?;
    let mut out = Vec::new();
    for (at, character) in rune::runes(&text) {
        match character {
            '\\' => out.extend_from_slice(b"\\\\"),
            '\'' => out.extend_from_slice(b"\\'"),
            '"' => out.extend_from_slice(b"\\\""),
            '<' => out.extend_from_slice(b"\\u003C"),
            '>' => out.extend_from_slice(b"\\u003E"),
            '&' => out.extend_from_slice(b"\\u0026"),
            '=' => out.extend_from_slice(b"\\u003D"),
            '\0'..' ' => out.extend_from_slice(format!("\\u{:04X}", u32::from(character)).as_bytes()),
            ' '..='\x7f' => out.push(text[at]),
            _ if rune::is_print(character) => {
                let length = rune::first(&text[at..]).map_or(1, |(_, length)| length);
                out.extend_from_slice(&text[at..at + length]);
            }
            _ => out.extend_from_slice(format!("\\u{:04X}", u32::from(character)).as_bytes()),
        }
    }
    Ok(Value::text(out))
}

/// `url.QueryEscape`
fn urlquery(arguments: &mut Arguments<'_>) -> Result<Value, Fault> {
    let mut out = String::new();
    for byte in joined(arguments)? {
        match byte {
            b' ' => out.push('+'),
            b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    Ok(Value::text(out))
}

const NO_COMPARISON: &str = "missing argument for comparison";
const BAD_COMPARISON_TYPE: &str = "invalid type for comparison";
