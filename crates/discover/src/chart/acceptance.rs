//! Whether values are certainly what a simple schema wants, without compiling the schema.
//!
//! INVARIANT: what is accepted here is accepted by JSON Schema, in every draft that the schema may be of. Whatever goes beyond the
//! keywords that nearly all charts use is not accepted, and the whole validator is asked; so it is for values that do not fit,
//! since it has the words for them.

use larder_gotemplate::{Map, Value};
use regex::Regex;
use serde_json::Value as Json;

/// Whether the schema is well-formed and the values fit, for certain.
pub(crate) fn accepts(schema: &Json, values: &Map) -> bool {
    let draft = match schema.get("$schema") {
        None => Draft::Any,
        Some(Json::String(name)) => {
            let name = name.strip_suffix('#').unwrap_or(name);
            // Either way of asking for it will do, as in Helm's validator.
            let place = name.strip_prefix("https://").or_else(|| name.strip_prefix("http://"));
            match place.unwrap_or_default() {
                "json-schema.org/draft-04/schema" => Draft::Fourth,
                "json-schema.org/schema"
                | "json-schema.org/draft-06/schema"
                | "json-schema.org/draft-07/schema"
                | "json-schema.org/draft/2019-09/schema"
                | "json-schema.org/draft/2020-12/schema" => Draft::Any,
                _ => return false,
            }
        }
        Some(_) => return false,
    };
    let simple = Simple { root: schema, draft };
    simple.is_simple(schema, 0) && simple.fits(schema, &Value::from(values.clone()), 0) == Some(true)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Draft {
    /// It lacks some keywords.
    Fourth,
    Any,
}

struct Simple<'a> {
    root: &'a Json,
    draft: Draft,
}

impl Simple<'_> {
    /// Whether all of a schema is well-formed and has only keywords that [`Self::fits`] knows.
    fn is_simple(&self, schema: &Json, depth: usize) -> bool {
        let entries = match schema {
            Json::Bool(_) => return self.draft == Draft::Any,
            Json::Object(entries) if depth <= DEPTH => entries,
            _ => return false,
        };
        let below = |schema: &Json| self.is_simple(schema, depth + 1);
        let schemas = |value: &Json| value.as_object().is_some_and(|schemas| schemas.values().all(below));
        let is_ref = entries.contains_key("$ref");
        entries.iter().all(|(keyword, value)| match keyword.as_str() {
            "title" | "description" => value.is_string(),
            "$comment" | "$schema" => value.is_string() && (depth == 0 || keyword == "$comment"),
            "default" => true,
            "examples" => value.is_array(),
            // References lead into the schema itself, whatever it is called.
            "$id" => depth == 0 && self.draft == Draft::Any && value.as_str().is_some_and(is_address),
            // Words of tools and authors, which mean nothing here.
            "form" | "render" | "hidden" | "sliderMin" | "sliderMax" | "sliderUnit" => !has_reference(value),
            // Istio's.
            "defaults" => below(value),
            "definitions" | "$defs" => schemas(value),
            // What else may stand beside it differs between drafts.
            "$ref" => value.as_str().is_some_and(|path| self.target(path).is_some()),
            _ if is_ref => false,
            "type" => match value {
                Json::Array(names) => {
                    let is_once = |name: &Json| names.iter().filter(|other| *other == name).count() == 1;
                    !names.is_empty() && names.iter().all(|name| is_type(name) && is_once(name))
                }
                name => is_type(name),
            },
            "properties" => schemas(value),
            "items" => below(value),
            "additionalProperties" => value.is_boolean() || below(value),
            "required" => value.as_array().is_some_and(|names| {
                let is_once = |name: &Json| names.iter().filter(|other| *other == name).count() == 1;
                !names.is_empty() && names.iter().all(|name| name.is_string() && is_once(name))
            }),
            "enum" => value.as_array().is_some_and(|values| {
                let is_once = |value: &Json| values.iter().filter(|other| *other == value).count() == 1;
                !values.is_empty() && values.iter().all(|value| is_scalar(value) && is_once(value))
            }),
            "minimum" | "maximum" => value.is_number(),
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties" | "maxProperties" => {
                value.is_u64()
            }
            "anyOf" | "allOf" | "oneOf" => {
                value.as_array().is_some_and(|all| !all.is_empty() && all.iter().all(below))
            }
            "not" => below(value),
            "const" => self.draft == Draft::Any && is_scalar(value),
            "pattern" => value.as_str().is_some_and(|pattern| plain(pattern).is_some()),
            _ => false,
        })
    }

    /// Whether a value fits; `None` where that is not certain.
    fn fits(&self, schema: &Json, value: &Value, depth: usize) -> Option<bool> {
        let entries = match schema {
            Json::Bool(fits) => return Some(*fits),
            Json::Object(entries) if depth <= DEPTH => entries,
            _ => return None,
        };
        if matches!(value, Value::Object(_)) || number(value).is_some_and(|number| number.abs() >= EXACT) {
            return None;
        }
        let below = |schema: &Json, value: &Value| self.fits(schema, value, depth + 1);
        for (keyword, wanted) in entries {
            let fits = match (keyword.as_str(), value) {
                ("$ref", _) => below(self.target(wanted.as_str()?)?, value)?,
                ("type", _) => match wanted {
                    Json::Array(names) => names.iter().any(|name| is_of_type(value, name)),
                    name => is_of_type(value, name),
                },
                ("properties", Value::Map(map)) => {
                    for (name, schema) in wanted.as_object()? {
                        if let Some(value) = map.get(name)
                            && !below(schema, &value)?
                        {
                            return Some(false);
                        }
                    }
                    true
                }
                ("additionalProperties", Value::Map(map)) => {
                    let known = entries.get("properties").and_then(Json::as_object);
                    for (name, value) in map.entries() {
                        let is_known = known.is_some_and(|known| known.contains_key(name.to_str().as_ref()));
                        if !is_known && !below(wanted, &value)? {
                            return Some(false);
                        }
                    }
                    true
                }
                ("items", Value::List(list)) => {
                    for value in list.items() {
                        if !below(wanted, value)? {
                            return Some(false);
                        }
                    }
                    true
                }
                ("required", Value::Map(map)) => {
                    wanted.as_array()?.iter().filter_map(Json::as_str).all(|name| map.contains(name))
                }
                ("enum", _) => wanted.as_array()?.iter().any(|wanted| is_equal(value, wanted)),
                ("const", _) => is_equal(value, wanted),
                ("minimum", _) => {
                    number(value).is_none_or(|number| number >= wanted.as_f64().unwrap_or(f64::NAN))
                }
                ("maximum", _) => {
                    number(value).is_none_or(|number| number <= wanted.as_f64().unwrap_or(f64::NAN))
                }
                ("minLength", Value::Text(text)) => {
                    text.to_str().chars().count() as u64 >= wanted.as_u64()?
                }
                ("maxLength", Value::Text(text)) => {
                    text.to_str().chars().count() as u64 <= wanted.as_u64()?
                }
                ("pattern", Value::Text(text)) => plain(wanted.as_str()?)?.is_match(&text.to_str()),
                ("minItems", Value::List(list)) => list.items().len() as u64 >= wanted.as_u64()?,
                ("maxItems", Value::List(list)) => list.items().len() as u64 <= wanted.as_u64()?,
                ("minProperties", Value::Map(map)) => map.len() as u64 >= wanted.as_u64()?,
                ("maxProperties", Value::Map(map)) => map.len() as u64 <= wanted.as_u64()?,
                ("not", _) => !below(wanted, value)?,
                ("allOf" | "anyOf" | "oneOf", _) => {
                    let all = wanted.as_array()?;
                    let mut fitting = 0;
                    for schema in all {
                        fitting += usize::from(below(schema, value)?);
                    }
                    match keyword.as_str() {
                        "allOf" => fitting == all.len(),
                        "anyOf" => fitting > 0,
                        _ => fitting == 1,
                    }
                }
                _ => true,
            };
            if !fits {
                return Some(false);
            }
        }
        Some(true)
    }

    /// What a reference within the schema is to: `#`, `#/definitions/name`, `#/$defs/name`.
    fn target(&self, path: &str) -> Option<&Json> {
        if path == "#" {
            return Some(self.root);
        }
        let (list, name) = path.strip_prefix("#/")?.split_once('/')?;
        let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
        (is_plain && matches!(list, "definitions" | "$defs")).then(|| self.root.get(list)?.get(name))?
    }
}

fn is_type(name: &Json) -> bool {
    let known = ["array", "boolean", "integer", "null", "number", "object", "string"];
    name.as_str().is_some_and(|name| known.contains(&name))
}

fn is_of_type(value: &Value, name: &Json) -> bool {
    match name.as_str().unwrap_or_default() {
        "array" => matches!(value, Value::List(_)),
        "boolean" => matches!(value, Value::Bool(_)),
        "integer" => number(value).is_some_and(|number| number.fract() == 0.0),
        "null" => matches!(value, Value::Nil),
        "number" => number(value).is_some(),
        "object" => matches!(value, Value::Map(_)),
        "string" => matches!(value, Value::Text(_)),
        _ => false,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number, _) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

fn is_scalar(value: &Json) -> bool {
    match value {
        Json::Number(number) => number.as_f64().is_some_and(|number| number.abs() < EXACT),
        Json::Array(_) | Json::Object(_) => false,
        _ => true,
    }
}

fn is_equal(value: &Value, wanted: &Json) -> bool {
    match (value, wanted) {
        (Value::Nil, Json::Null) => true,
        (Value::Bool(value), Json::Bool(wanted)) => value == wanted,
        (Value::Text(value), Json::String(wanted)) => value.as_bytes() == wanted.as_bytes(),
        (value, Json::Number(wanted)) => {
            number(value).zip(wanted.as_f64()).is_some_and(|(value, wanted)| value == wanted)
        }
        _ => false,
    }
}

/// A pattern that means the same here and in JavaScript; `None` for all others.
fn plain(pattern: &str) -> Option<Regex> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "^$-_:/%,@ +*(|)[]{}".contains(c);
    let is_odd = ["[]", "[^]", "--"].iter().any(|odd| pattern.contains(odd));
    // A class within a class is one only here.
    let is_nested = pattern.split('[').skip(1).any(|rest| !rest.contains(']'));
    (pattern.chars().all(is_plain) && !is_odd && !is_nested).then(|| Regex::new(pattern).ok())?
}

/// An absolute address without a fragment.
fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_alphanumeric())
            && rest.chars().all(|c| c.is_ascii_alphanumeric() || "./-_".contains(c))
    })
}

/// Whether something in it could be taken for a schema elsewhere.
fn has_reference(value: &Json) -> bool {
    match value {
        Json::Array(items) => items.iter().any(has_reference),
        Json::Object(entries) => {
            entries.iter().any(|(key, value)| key.starts_with('$') || key == "id" || has_reference(value))
        }
        _ => false,
    }
}

/// Schemas inside of each other.
const DEPTH: usize = 48;
/// Below this every whole number is itself as a float.
const EXACT: f64 = 9_007_199_254_740_992.0;
