//! `goyaml.v3` of `sigs.k8s.io/yaml` with an indentation of two: what Helm's `toYamlPretty` writes. Values do not go through JSON.

use super::emitter::{Dialect, emit_value};
use super::writer::Writer;
use super::{Error, float};
use crate::value::{Object, Value};

/// The YAML of a value; ends with a line end.
pub fn emit_pretty(value: &Value) -> Result<String, Error> {
    let mut writer = Writer::spacious();
    emit_value(&mut writer, value, 0, Dialect::Straight)?;
    Ok(writer.finish())
}

/// Times are scalars of their own, durations and versions texts; structs have the names of their fields in small letters.
pub(super) fn emit_object(writer: &mut Writer, object: &dyn Object, depth: usize) -> Result<(), Error> {
    match (object.type_name(), object.plain()) {
        ("time.Time", plain) => writer.plain(&plain.as_text().map(ToString::to_string).unwrap_or_default()),
        ("time.Duration", _) => writer.text(&object.print()),
        (_, Value::Map(map)) => {
            let lower =
                map.entries().into_iter().map(|(key, value)| (key.to_str().to_lowercase().into(), value));
            emit_value(writer, &Value::Map(lower.collect()), depth + 1, Dialect::Straight)?;
        }
        (_, plain) => emit_value(writer, &plain, depth + 1, Dialect::Straight)?,
    }
    Ok(())
}

/// A float as go-yaml writes it.
pub(super) fn number_text(number: f64) -> String {
    if number.is_nan() {
        ".nan".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { ".inf" } else { "-.inf" }.to_owned()
    } else {
        float::general(number)
    }
}

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
