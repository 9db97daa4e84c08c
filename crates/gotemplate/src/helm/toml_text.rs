//! TOML as BurntSushi's encoder 1.6 writes it.

use crate::float;
use crate::sprig::weight;
use crate::value::{IntKind, List, Map, Object, Value};

/// The text, or the encoder's words for what TOML cannot hold.
pub(super) fn encode(value: &Value) -> Result<String, String> {
    let mut writer = Writer { out: String::new() };
    match value {
        Value::Nil => return Err("reflect: call of reflect.Value.Type on zero Value".to_owned()),
        Value::List(list) if list.is_null() => writer.element(value)?,
        _ => writer.encode(&mut Vec::new(), value)?,
    }
    Ok(writer.out)
}

struct Writer {
    out: String,
}

/// What TOML would call a value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Nothing,
    Table,
    Tables,
    Other,
}

impl Writer {
    fn encode(&mut self, key: &mut Vec<String>, value: &Value) -> Result<(), String> {
        if key.len() > weight::DEPTH {
            return Err("toml: value is nested too deeply".to_owned());
        }
        match kind(value)? {
            Kind::Nothing => Ok(()),
            Kind::Table => self.table(key, &table(value)),
            Kind::Tables => self.tables(key, value.as_list().map(List::items).unwrap_or_default()),
            Kind::Other if key.is_empty() => self.element(value),
            Kind::Other => {
                self.indent(key);
                let name = key.last().map(|name| quoted_key(name)).unwrap_or_default();
                self.out.push_str(&name);
                self.out.push_str(" = ");
                self.element(value)?;
                self.line();
                Ok(())
            }
        }
    }

    fn table(&mut self, key: &mut Vec<String>, map: &Map) -> Result<(), String> {
        if key.len() == 1 {
            self.line();
        }
        if !key.is_empty() {
            self.header(key, "[", "]");
        }
        self.entries(key, map)
    }

    fn tables(&mut self, key: &mut Vec<String>, items: &[Value]) -> Result<(), String> {
        if key.is_empty() {
            return Err("toml: top-level values must be Go maps or structs".to_owned());
        }
        for item in items {
            self.line();
            self.header(key, "[[", "]]");
            self.entries(key, &table(item))?;
        }
        Ok(())
    }

    fn header(&mut self, key: &[String], open: &str, close: &str) {
        self.indent(key);
        let names: Vec<String> = key.iter().map(|name| quoted_key(name)).collect();
        self.out.push_str(&format!("{open}{}{close}", names.join(".")));
        self.line();
    }

    /// First what stands in the table itself, then the tables below it.
    fn entries(&mut self, key: &mut Vec<String>, map: &Map) -> Result<(), String> {
        let (below, own) = partition(map)?;
        for (name, value) in own.iter().chain(&below) {
            key.push(name.clone());
            self.encode(key, value)?;
            key.pop();
        }
        Ok(())
    }

    fn indent(&mut self, key: &[String]) {
        self.out.extend(std::iter::repeat_n("  ", key.len() - 1));
    }

    /// A line end, but not as the first thing.
    fn line(&mut self) {
        if !self.out.is_empty() {
            self.out.push('\n');
        }
    }

    /// `eElement`: a value within a line.
    fn element(&mut self, value: &Value) -> Result<(), String> {
        match value {
            // The encoder asks what type nothing has.
            Value::Nil => return Err("reflect: call of reflect.Value.Type on zero Value".to_owned()),
            Value::Bool(value) => self.out.push_str(if *value { "true" } else { "false" }),
            Value::Int(number, IntKind::Uint64 | IntKind::Uint) => {
                self.out.push_str(&number.cast_unsigned().to_string());
            }
            Value::Int(number, _) => self.out.push_str(&number.to_string()),
            Value::Float(number) => self.float(*number),
            Value::Text(text) => self.text(&text.to_str()),
            Value::List(list) => {
                self.out.push('[');
                for (index, item) in list.items().iter().enumerate() {
                    if index > 0 {
                        self.out.push_str(", ");
                    }
                    self.element(item)?;
                }
                self.out.push(']');
            }
            Value::Map(map) => self.inline(map)?,
            Value::Object(object) => self.object(&**object)?,
        }
        Ok(())
    }

    fn object(&mut self, object: &dyn Object) -> Result<(), String> {
        match object.type_name() {
            // Without quotes, which a text would have.
            "time.Time" => {
                self.out.push_str(&object.plain().as_text().map(ToString::to_string).unwrap_or_default());
            }
            "time.Duration" => self.text(&object.print()),
            _ => self.element(&object.plain())?,
        }
        Ok(())
    }

    /// A comma follows every entry but the last, also when nothing is written for that one.
    fn inline(&mut self, map: &Map) -> Result<(), String> {
        let (below, own) = partition(map)?;
        self.out.push('{');
        for (group, more) in [(&own, !below.is_empty()), (&below, false)] {
            for (index, (name, value)) in group.iter().enumerate() {
                if kind(value)? == Kind::Nothing {
                    continue;
                }
                self.out.push_str(&quoted_key(name));
                self.out.push_str(" = ");
                self.element(value)?;
                if more || index + 1 < group.len() {
                    self.out.push_str(", ");
                }
            }
        }
        self.out.push('}');
        Ok(())
    }

    fn float(&mut self, number: f64) {
        if number.is_nan() {
            self.out.push_str("nan");
        } else if number.is_infinite() {
            self.out.push_str(if number > 0.0 { "inf" } else { "-inf" });
        } else {
            let digits = float::format(number, 'g', None);
            let has_point = digits.contains(['e', '.']);
            self.out.push_str(&digits);
            if !has_point {
                self.out.push_str(".0");
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.out.push_str(&quoted(text));
    }
}

/// `tomlTypeOfGo`; also finds what no list may hold.
fn kind(value: &Value) -> Result<Kind, String> {
    kind_at(value, 0)
}

fn kind_at(value: &Value, depth: usize) -> Result<Kind, String> {
    if depth > weight::DEPTH {
        return Err("toml: value is nested too deeply".to_owned());
    }
    Ok(match value {
        Value::Nil => Kind::Nothing,
        Value::List(list) if list.is_null() => Kind::Nothing,
        Value::Map(map) if map.is_null() => Kind::Nothing,
        Value::Map(_) => Kind::Table,
        Value::Object(object) if object.kind() == "struct" && matches!(object.plain(), Value::Map(_)) => {
            Kind::Table
        }
        Value::List(list) => {
            let mut tables = !list.items().is_empty();
            for item in list.items() {
                match kind_at(item, depth + 1)? {
                    Kind::Nothing => return Err("toml: cannot encode array with nil element".to_owned()),
                    Kind::Table => {}
                    Kind::Tables | Kind::Other => tables = false,
                }
            }
            if tables { Kind::Tables } else { Kind::Other }
        }
        _ => Kind::Other,
    })
}

fn table(value: &Value) -> Map {
    match value {
        Value::Map(map) => map.clone(),
        Value::Object(object) => object.plain().as_map().cloned().unwrap_or_default(),
        _ => Map::new(),
    }
}

type Entries = Vec<(String, Value)>;

/// The entries that are tables, and the others.
fn partition(map: &Map) -> Result<(Entries, Entries), String> {
    let (mut below, mut own) = (Entries::new(), Entries::new());
    for (name, value) in map.entries() {
        let group = if matches!(kind(&value)?, Kind::Table | Kind::Tables) { &mut below } else { &mut own };
        group.push((name.to_string(), value));
    }
    Ok((below, own))
}

/// `Key.maybeQuoted`
fn quoted_key(name: &str) -> String {
    let bare = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if bare && !name.is_empty() { name.to_owned() } else { quoted(name) }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{C}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1F}' | '\u{7F}' => out.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => out.push(character),
        }
    }
    out.push('"');
    out
}
