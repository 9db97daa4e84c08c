//! TOML in and out.

use crate::function::{Arguments, Fault, Function, Parameter};
use crate::sprig::{Instant, Zone, weight};
use crate::value::{Element, List, Map, Value};

use super::toml_text;

use Parameter::{Any, Text as Str};

pub(crate) const FUNCTIONS: &[Function] = &[
    // The error is the result.
    Function::new("toToml", &[Any], |args| match write(args) {
        Err(fault) if !fault.limit && fault.message.starts_with("toml:") => Ok(fault.message.into()),
        result => result,
    }),
    Function::new("mustToToml", &[Any], write),
    Function::new("fromToml", &[Str], read),
];

fn write(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let value = args.value(0);
    if !weight::charge(&value, args.run)? {
        return Err(Fault::limit(format!("a value is more than {} levels deep", weight::DEPTH)));
    }
    toml_text::encode(&value).map(Value::from).map_err(Fault::new)
}

/// The words of errors are those of another reader than Helm's.
fn read(args: &mut Arguments<'_>) -> Result<Value, Fault> {
    let text = args.text(0);
    args.run.charge(text.len().saturating_mul(weight::READ_BYTES))?;
    let text = text.to_str();
    Ok(match text.parse::<toml::Table>() {
        Ok(table) => map(table).into(),
        Err(error) => {
            let line =
                error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            super::json::error_map(format!("toml: line {line}: {}", error.message())).into()
        }
    })
}

fn map(table: toml::Table) -> Map {
    table.into_iter().map(|(key, item)| (key.into(), value(item))).collect()
}

fn value(item: toml::Value) -> Value {
    match item {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(number) => Value::int64(number),
        toml::Value::Float(number) => number.into(),
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(date) => moment(date).value(),
        toml::Value::Array(items) => {
            // BurntSushi's reader gives lists of tables a type of their own.
            let tables = !items.is_empty() && items.iter().all(toml::Value::is_table);
            let element = if tables { Element::Map } else { Element::Any };
            List::typed(element, items.into_iter().map(value).collect()).into()
        }
        toml::Value::Table(table) => map(table).into(),
    }
}

/// Dates and times without an offset are in zones that are named after what is missing.
fn moment(date: toml::value::Datetime) -> Instant {
    let (year, month, day) =
        date.date.map_or((0, 1, 1), |date| (date.year.into(), date.month.into(), date.day.into()));
    let time = date.time;
    let (hour, minute, second, nanoseconds) = time.map_or((0, 0, 0, 0), |time| {
        (time.hour.into(), time.minute.into(), time.second.unwrap_or(0).into(), time.nanosecond.unwrap_or(0))
    });
    let (offset, name) = match (date.offset, date.date, time) {
        (Some(toml::value::Offset::Z), ..) => (0, "UTC"),
        (Some(toml::value::Offset::Custom { minutes }), ..) => (i32::from(minutes) * 60, ""),
        (None, Some(_), Some(_)) => (0, "datetime-local"),
        (None, Some(_), None) => (0, "date-local"),
        (None, None, _) => (0, "time-local"),
    };
    Instant::local(
        [hour, minute, second],
        (year, month, day),
        nanoseconds,
        Zone::fixed(offset, name.to_owned()),
    )
}
