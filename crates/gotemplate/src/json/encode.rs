//! `json.Marshal`.

use base64::Engine as _;

use crate::float;
use crate::sprig::{cast, weight};
use crate::value::{Element, List, Map, Value};

/// How JSON is written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// `json.Marshal`: one line; `<`, `>` and `&` are escaped.
    Plain,
    /// `json.MarshalIndent` with two blanks.
    Pretty,
    /// One line without the escapes for HTML.
    Raw,
}

/// The text, or Go's words for what JSON cannot hold.
pub(crate) fn encode(value: &Value, form: Form) -> Result<String, String> {
    let mut writer = Writer { out: String::new(), form, depth: 0 };
    writer.value(value)?;
    Ok(writer.out)
}

struct Writer {
    out: String,
    form: Form,
    depth: usize,
}

impl Writer {
    fn value(&mut self, value: &Value) -> Result<(), String> {
        match value {
            Value::Nil => self.out.push_str("null"),
            Value::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Value::Int(number, kind) => self.out.push_str(&kind.text(*number)),
            Value::Float(number) => self.float(*number)?,
            Value::Text(text) => self.text(text.as_bytes()),
            Value::List(list) if list.is_null() => self.out.push_str("null"),
            Value::List(list) if list.element == Element::Byte => {
                let text = base64::engine::general_purpose::STANDARD.encode(cast::bytes(list));
                self.text(text.as_bytes());
            }
            Value::List(list) => self.list(list)?,
            Value::Map(map) if map.is_null() => self.out.push_str("null"),
            Value::Map(map) => self.map(map)?,
            Value::Object(object) => self.value(&object.plain())?,
        }
        Ok(())
    }

    fn list(&mut self, list: &List) -> Result<(), String> {
        self.open('[')?;
        for (index, item) in list.items().iter().enumerate() {
            self.next(index);
            self.value(item)?;
        }
        self.close(']', list.items().is_empty());
        Ok(())
    }

    fn map(&mut self, map: &Map) -> Result<(), String> {
        self.open('{')?;
        for (index, (key, value)) in map.entries().iter().enumerate() {
            self.next(index);
            self.text(key.as_bytes());
            self.out.push(':');
            if self.form == Form::Pretty {
                self.out.push(' ');
            }
            self.value(value)?;
        }
        self.close('}', map.is_empty());
        Ok(())
    }

    fn open(&mut self, bracket: char) -> Result<(), String> {
        self.depth += 1;
        if self.depth > weight::DEPTH {
            return Err("json: unsupported value: encountered a cycle".to_owned());
        }
        self.out.push(bracket);
        Ok(())
    }

    fn next(&mut self, index: usize) {
        if index > 0 {
            self.out.push(',');
        }
        self.line();
    }

    fn close(&mut self, bracket: char, empty: bool) {
        self.depth -= 1;
        if !empty {
            self.line();
        }
        self.out.push(bracket);
    }

    fn line(&mut self) {
        if self.form == Form::Pretty {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n("  ", self.depth));
        }
    }

    /// `floatEncoder`: as JavaScript writes it, with an exponent below 1e-6 and from 1e21 on.
    fn float(&mut self, number: f64) -> Result<(), String> {
        if let Some(text) = float::not_finite(number) {
            return Err(format!("json: unsupported value: {text}"));
        }
        let size = number.abs();
        if size != 0.0 && !(1e-6..1e21).contains(&size) {
            let digits = format!("{number:e}");
            self.out.push_str(&if digits.contains("e-") { digits } else { digits.replace('e', "e+") });
        } else {
            self.out.push_str(&number.to_string());
        }
        Ok(())
    }

    fn text(&mut self, bytes: &[u8]) {
        self.out.push('"');
        for (rune, bytes) in crate::sprig::runes::split(bytes) {
            match rune {
                '"' | '\\' => {
                    self.out.push('\\');
                    self.out.push(rune);
                }
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{C}' => self.out.push_str("\\f"),
                '<' | '>' | '&' if self.form != Form::Raw => self.escape(rune),
                '\0'..='\u{1F}' | '\u{2028}' | '\u{2029}' => self.escape(rune),
                // A byte that is not UTF-8.
                char::REPLACEMENT_CHARACTER if bytes.len() == 1 => self.escape(rune),
                _ => self.out.push(rune),
            }
        }
        self.out.push('"');
    }

    fn escape(&mut self, rune: char) {
        self.out.push_str(&format!("\\u{:04x}", u32::from(rune)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_written_as_go_writes_them() {
        let cases = [
            (1e6, "1000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-7"),
            (0.000001, "0.000001"),
            (-0.0, "-0"),
            (123456789.125, "123456789.125"),
        ];
        for (number, text) in cases {
            assert_eq!(encode(&number.into(), Form::Plain).as_deref(), Ok(text));
        }
        assert_eq!(encode(&f64::NAN.into(), Form::Plain), Err("json: unsupported value: NaN".to_owned()));
    }

    #[test]
    fn texts_are_safe_in_html_unless_raw() {
        let value = Value::from("<a>&\u{2028}\u{1}\"");
        assert_eq!(encode(&value, Form::Plain).as_deref(), Ok(r#""\u003ca\u003e\u0026\u2028\u0001\"""#));
        assert_eq!(encode(&value, Form::Raw).as_deref(), Ok(r#""<a>&\u2028\u0001\"""#));
        assert_eq!(encode(&Value::text(b"\xff".as_slice()), Form::Plain).as_deref(), Ok(r#""\ufffd""#));
    }

    #[test]
    fn pretty_is_indented_but_for_what_is_empty() {
        let map = Map::new();
        map.set("a", Value::list(vec![Value::int(1)]));
        map.set("b", Map::new().into());
        let text = encode(&map.into(), Form::Pretty);
        assert_eq!(text.as_deref(), Ok("{\n  \"a\": [\n    1\n  ],\n  \"b\": {}\n}"));
    }
}
