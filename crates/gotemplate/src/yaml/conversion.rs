//! From nodes to values: what `sigs.k8s.io/yaml` gives for an `interface {}`, by way of JSON.

use super::documents::{self, Limits};
use super::node::{Node, NodeKind, Scalar};
use super::scalar::{Mismatch, Resolved};
use super::{Error, float, inline};
use crate::value::{Map, Value};

/// The first document, as `yaml.Unmarshal` of `sigs.k8s.io/yaml` into an `interface {}`: numbers are `float64`, keys are texts, of a
/// key that stands there twice the last one counts. Nothing is nil.
pub fn parse(bytes: &[u8]) -> Result<Value, Error> {
    parse_with(bytes, &Limits::default())
}

/// [`parse`] with other limits.
pub fn parse_with(bytes: &[u8], limits: &Limits) -> Result<Value, Error> {
    if bytes.len() <= limits.bytes {
        check_characters(&documents::decode(bytes)?)?;
    }
    match documents::first(bytes, limits) {
        None => Ok(Value::Nil),
        Some(node) => to_value(&node?),
    }
}

/// A node as [`parse`] would give it.
pub fn to_value(node: &Node) -> Result<Value, Error> {
    match &node.kind {
        NodeKind::Scalar(scalar) => scalar_value(scalar, node.line),
        NodeKind::List(items) => Ok(Value::list(items.iter().map(to_value).collect::<Result<_, _>>()?)),
        NodeKind::Map(entries) => {
            let map = Map::new();
            for (key, value) in entries {
                map.set(key_text(key)?, to_value(value)?);
            }
            Ok(Value::from(map))
        }
    }
}

/// The error that [`to_value`] would give, without making a value.
pub fn check(node: &Node) -> Result<(), Error> {
    match &node.kind {
        NodeKind::Scalar(scalar) => match resolve(scalar, node.line)? {
            Resolved::Float(number) if !number.is_finite() => Err(infinite(number)),
            _ => Ok(()),
        },
        NodeKind::List(items) => items.iter().try_for_each(check),
        NodeKind::Map(entries) => entries.iter().try_for_each(|(key, value)| {
            match key.as_scalar().map(|scalar| resolve(scalar, key.line)).transpose()? {
                None | Some(Resolved::Nil | Resolved::Uint(_)) => Err(Error::Key { line: key.line }),
                Some(_) => check(value),
            }
        }),
    }
}

/// What a Go field of type `string` gets: of a number or a boolean its text, as `sigs.k8s.io/yaml` writes it. `None` for a list, a
/// map, or what is no scalar of JSON; null is the empty text.
pub fn to_text(node: &Node) -> Option<String> {
    let scalar = node.as_scalar()?;
    Some(match scalar.resolve().ok()? {
        Resolved::Nil => String::new(),
        Resolved::Bool(value) => value.to_string(),
        Resolved::Int(number) => number.to_string(),
        Resolved::Uint(number) => number.to_string(),
        Resolved::Float(number) if number.is_finite() => float::general(number),
        Resolved::Float(number) => not_finite(number, ["+Inf", "-Inf", "NaN"]),
        Resolved::Text | Resolved::Timestamp => scalar.text.clone(),
        Resolved::Binary(bytes) => json_text(&bytes),
    })
}

fn scalar_value(scalar: &Scalar, line: u32) -> Result<Value, Error> {
    Ok(match resolve(scalar, line)? {
        Resolved::Nil => Value::Nil,
        Resolved::Bool(value) => Value::Bool(value),
        Resolved::Int(number) => Value::Float(number as f64),
        Resolved::Uint(number) => Value::Float(number as f64),
        Resolved::Float(number) if number.is_finite() => Value::Float(number),
        Resolved::Float(number) => {
            return Err(infinite(number));
        }
        Resolved::Text | Resolved::Timestamp => Value::from(scalar.text.as_str()),
        // JSON has no bytes: each one that is not UTF-8 becomes U+FFFD.
        Resolved::Binary(bytes) => Value::from(json_text(&bytes)),
    })
}

fn infinite(number: f64) -> Error {
    Error::Number { text: not_finite(number, ["+Inf", "-Inf", "NaN"]) }
}

/// The key of a JSON object (`convertToJSONableObject`).
fn key_text(node: &Node) -> Result<String, Error> {
    let unsupported = Error::Key { line: node.line };
    let Some(scalar) = node.as_scalar() else {
        return Err(unsupported);
    };
    Ok(match resolve(scalar, node.line)? {
        Resolved::Text | Resolved::Timestamp => scalar.text.clone(),
        Resolved::Int(number) => number.to_string(),
        Resolved::Bool(value) => value.to_string(),
        Resolved::Float(number) if number.is_finite() => float::general_32(number),
        Resolved::Float(number) => not_finite(number, [".inf", "-.inf", ".nan"]),
        Resolved::Binary(bytes) => json_text(&bytes),
        Resolved::Nil | Resolved::Uint(_) => return Err(unsupported),
    })
}

fn resolve(scalar: &Scalar, line: u32) -> Result<Resolved, Error> {
    scalar.resolve().map_err(|mismatch| match mismatch {
        Mismatch::Base64 => Error::Binary { line },
        Mismatch::Tag(found) => {
            let tag = scalar.tag.as_deref().unwrap_or_default().replace(super::scalar::TAG_PREFIX, "!!");
            Error::Tag { line, found, text: scalar.text.clone(), tag }
        }
    })
}

fn not_finite(number: f64, names: [&str; 3]) -> String {
    let name = if number.is_nan() {
        names[2]
    } else if number > 0.0 {
        names[0]
    } else {
        names[1]
    };
    name.to_owned()
}

/// Bytes as a text of JSON: Go replaces each byte that is not part of UTF-8 by U+FFFD.
pub(super) fn json_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// go-yaml's reader refuses a stream with such characters, wherever they stand.
fn check_characters(text: &str) -> Result<(), Error> {
    if inline::is_harmless(text) {
        return Ok(());
    }
    let refused = text.char_indices().find(|(_, character)| !super::writer::is_allowed(*character));
    match refused {
        None => Ok(()),
        Some((at, _)) => {
            let line = 1 + text[..at].bytes().filter(|byte| *byte == b'\n').count();
            Err(Error::ControlCharacter { line: u32::try_from(line).unwrap_or(u32::MAX) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checking_gives_the_errors_of_converting() {
        let texts = [
            "a: 1\nb: [x, {y: .5}]\n",
            "a: .inf\n",
            "a: [b, {c: -.inf}]\n",
            "~: 1\n",
            "18446744073709551615: 1\n",
            ".inf: 1\n",
            "? [a]\n: 1\n",
            "a: !!binary x\n",
            "!!int a: .nan\n",
            "a: !!int b\n",
            "a: {null: .inf}\n",
        ];
        for text in texts {
            let node = documents::first(text.as_bytes(), &Limits::default()).unwrap().unwrap();
            assert_eq!(check(&node).err(), to_value(&node).err(), "{text}");
        }
    }
}
