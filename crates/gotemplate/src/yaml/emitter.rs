//! From values to YAML: `yaml.Marshal` of `sigs.k8s.io/yaml`, which writes JSON, reads that as YAML and writes it again.

use super::conversion::json_text;
use super::writer::{self, Writer};
use super::{Error, float, key_order, pretty};
use crate::float::not_finite;
use crate::text::Text;
use crate::value::{Element, List, Map, Value};
use base64::Engine as _;

/// The YAML of a value, byte for byte what Go gives; ends with a line end. An error where Go has one, which is where Helm's
/// `toYaml` gives nothing.
pub fn emit(value: &Value) -> Result<String, Error> {
    let mut writer = Writer::default();
    emit_value(&mut writer, value, 0, Dialect::Json)?;
    Ok(writer.finish())
}

/// Which way a value takes to YAML.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Dialect {
    /// By JSON: there are no bytes, nil lists and maps are null, and texts and keys are what is left of them.
    Json,
    /// Straight ([`pretty`]).
    Straight,
}

pub(super) fn emit_value(
    writer: &mut Writer,
    value: &Value,
    depth: usize,
    dialect: Dialect,
) -> Result<(), Error> {
    let is_json = dialect == Dialect::Json;
    if depth > MAX_DEPTH {
        return Err(Error::Limit { line: 0, limit: MAX_DEPTH, what: "levels" });
    }
    match value {
        Value::Nil => writer.plain("null"),
        Value::Bool(value) => writer.plain(if *value { "true" } else { "false" }),
        Value::Int(number, kind) => writer.plain(&kind.text(*number)),
        Value::Float(number) if is_json => writer.plain(&number_text(*number)?),
        Value::Float(number) => writer.plain(&pretty::number_text(*number)),
        Value::Text(text) if is_json => writer.text(&json_round(text)?),
        Value::Text(text) => writer.text(&text.to_str()),
        Value::List(list) if is_json && list.element == Element::Byte => writer.text(&bytes_text(list)),
        Value::List(list) if is_json && list.is_null() => writer.plain("null"),
        Value::List(list) => emit_list(writer, list, depth, dialect)?,
        Value::Map(map) if is_json && map.is_null() => writer.plain("null"),
        Value::Map(map) => emit_map(writer, map, depth, dialect)?,
        Value::Object(object) if is_json => emit_value(writer, &object.plain(), depth + 1, dialect)?,
        Value::Object(object) => pretty::emit_object(writer, &**object, depth)?,
    }
    Ok(())
}

fn emit_list(writer: &mut Writer, list: &List, depth: usize, dialect: Dialect) -> Result<(), Error> {
    if list.items().is_empty() {
        writer.empty("[]");
        return Ok(());
    }
    writer.begin_list();
    for item in list.items() {
        writer.item();
        emit_value(writer, item, depth + 1, dialect)?;
    }
    writer.end_list();
    Ok(())
}

fn emit_map(writer: &mut Writer, map: &Map, depth: usize, dialect: Dialect) -> Result<(), Error> {
    if map.is_empty() {
        writer.empty("{}");
        return Ok(());
    }
    let mut entries = Vec::with_capacity(map.len());
    for (key, value) in map.entries() {
        let key = match dialect {
            Dialect::Json => json_key(&key)?,
            Dialect::Straight => key.to_string(),
        };
        entries.push((key, value));
    }
    writer.begin_map();
    for (key, value) in key_order::sort(entries) {
        writer.key(&key);
        emit_value(writer, &value, depth + 1, dialect)?;
    }
    writer.end_map();
    Ok(())
}

/// A float as JSON writes it, as go-yaml reads that, and writes it again: whole numbers below 2^64 become integers.
fn number_text(number: f64) -> Result<String, Error> {
    if let Some(text) = not_finite(number) {
        return Err(Error::Number { text: text.to_owned() });
    }
    let whole = number.fract() == 0.0
        && number > -9_223_372_036_854_775_809.0
        && number < 18_446_744_073_709_551_616.0;
    if !whole {
        return Ok(float::general(number));
    }
    // The shortest digits, filled up with zeros, as JSON has them: with them a number can come to lie outside of 64 bits.
    let digits = float::whole(number);
    if digits.parse::<i64>().is_ok() || digits.parse::<u64>().is_ok() {
        return Ok(if number == 0.0 { "0".to_owned() } else { digits });
    }
    Ok(float::general(number))
}

fn bytes_text(list: &List) -> String {
    let byte = |value: &Value| match value {
        Value::Int(number, _) => number.to_le_bytes()[0],
        _ => 0,
    };
    let bytes: Vec<u8> = list.items().iter().map(byte).collect();
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// A text after it went through JSON and go-yaml's scanner.
fn json_round(text: &Text) -> Result<String, Error> {
    let text = json_text(text.as_bytes());
    // JSON escapes what is below a blank, U+2028 and U+2029; the rest go-yaml's reader sees as it is.
    let refused = |character: char| u32::from(character) >= 0x20 && !writer::is_allowed(character);
    if text.chars().any(refused) {
        return Err(Error::ControlCharacter { line: 1 });
    }
    Ok(if text.contains('\u{85}') { fold_next_lines(&text) } else { text })
}

/// A key as [`json_round`]; go-yaml does not find a `:` behind more than 1024 characters or in another line.
fn json_key(key: &Text) -> Result<String, Error> {
    let text = json_round(key)?;
    if text.len() > MAX_KEY / 6 || key.as_bytes().windows(2).any(|pair| pair == "\u{85}".as_bytes()) {
        let text = json_text(key.as_bytes());
        let characters: usize = text.chars().map(json_width).sum();
        if characters + 2 > MAX_KEY || text.contains('\u{85}') {
            return Err(Error::Syntax {
                line: 1,
                column: 1,
                reason: "did not find expected ',' or '}'".to_owned(),
            });
        }
    }
    Ok(text)
}

/// Characters that `encoding/json` writes for one.
fn json_width(character: char) -> usize {
    match character {
        '"' | '\\' | '\n' | '\r' | '\t' | '\u{8}' | '\u{c}' => 2,
        '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => 6,
        _ => 1,
    }
}

/// U+0085 is a line break in YAML 1.1, and line breaks in quoted texts are folded, together with the blanks around them. Escaped
/// blanks (tabs in JSON) are none.
fn fold_next_lines(text: &str) -> String {
    let mut folded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\u{85}') {
        folded.push_str(rest[..at].trim_end_matches(' '));
        let after = rest[at..].trim_start_matches(['\u{85}', ' ']);
        let run = &rest[at..rest.len() - after.len()];
        match run.chars().filter(|character| *character == '\u{85}').count() - 1 {
            0 => folded.push(' '),
            more => folded.extend(std::iter::repeat_n('\n', more)),
        }
        rest = after;
    }
    folded.push_str(rest);
    folded
}

/// Lists and maps inside of each other. Go allows 10,000.
const MAX_DEPTH: usize = 1000;

/// Characters of a simple key.
const MAX_KEY: usize = 1024;
