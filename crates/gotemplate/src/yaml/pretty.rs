//! `goyaml.v3` of `sigs.k8s.io/yaml` with an indentation of two: what Helm's `toYamlPretty` writes. Values do not go through JSON.

use super::writer::Writer;
use super::{Error, float, key_order};
use crate::value::{IntKind, Object, Value};

/// The YAML of a value; ends with a line end.
pub fn emit_pretty(value: &Value) -> Result<String, Error> {
    let mut writer = Writer::spacious();
    emit_value(&mut writer, value, 0)?;
    Ok(writer.finish())
}

fn emit_value(writer: &mut Writer, value: &Value, depth: usize) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::Limit { line: 0, limit: MAX_DEPTH, what: "levels" });
    }
    match value {
        Value::Nil => writer.plain("null"),
        Value::Bool(value) => writer.plain(if *value { "true" } else { "false" }),
        Value::Int(number, IntKind::Uint64 | IntKind::Uint) => {
            writer.plain(&number.cast_unsigned().to_string());
        }
        Value::Int(number, _) => writer.plain(&number.to_string()),
        Value::Float(number) => writer.plain(&number_text(*number)),
        Value::Text(text) => writer.text(&text.to_str()),
        Value::List(list) if list.items().is_empty() => writer.empty("[]"),
        Value::List(list) => {
            writer.begin_list();
            for item in list.items() {
                writer.item();
                emit_value(writer, item, depth + 1)?;
            }
            writer.end_list();
        }
        Value::Map(map) if map.is_empty() => writer.empty("{}"),
        Value::Map(map) => {
            let entries = map.entries().into_iter().map(|(key, value)| (key.to_string(), value));
            writer.begin_map();
            for (key, value) in key_order::sort(entries.collect()) {
                writer.key(&key);
                emit_value(writer, &value, depth + 1)?;
            }
            writer.end_map();
        }
        Value::Object(object) => emit_object(writer, &**object, depth)?,
    }
    Ok(())
}

/// Times are scalars of their own, durations and versions texts; structs have the names of their fields in small letters.
fn emit_object(writer: &mut Writer, object: &dyn Object, depth: usize) -> Result<(), Error> {
    match (object.type_name(), object.plain()) {
        ("time.Time", plain) => writer.plain(&plain.as_text().map(ToString::to_string).unwrap_or_default()),
        ("time.Duration", _) => writer.text(&object.print()),
        (_, Value::Map(map)) => {
            let lower =
                map.entries().into_iter().map(|(key, value)| (key.to_str().to_lowercase().into(), value));
            emit_value(writer, &Value::Map(lower.collect()), depth + 1)?;
        }
        (_, plain) => emit_value(writer, &plain, depth + 1)?,
    }
    Ok(())
}

fn number_text(number: f64) -> String {
    if number.is_nan() {
        ".nan".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { ".inf" } else { "-.inf" }.to_owned()
    } else {
        float::general(number)
    }
}

/// Lists and maps inside of each other.
const MAX_DEPTH: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Map;

    #[test]
    fn lists_stand_to_the_right_of_their_key() {
        let inner: Map = [("b".into(), Value::from("yes")), ("c".into(), Value::list(vec![Value::int(1)]))]
            .into_iter()
            .collect();
        let map: Map =
            [("a".into(), Value::list(vec![inner.into(), Value::Nil])), ("f".into(), Value::Float(1e6))]
                .into_iter()
                .collect();
        let text = emit_pretty(&map.into());
        assert_eq!(text.as_deref(), Ok("a:\n  - b: \"yes\"\n    c:\n      - 1\n  - null\nf: 1e+06\n"));
    }
}
