//! `values.schema.json`: whether values are what a chart expects (Helm, pkg/chart/common/util/jsonschema.go).

use super::acceptance;
use super::diagnostic::Diagnostic;
use super::node::ChartNode;
use boon::{Compiler, ErrorKind, Schemas, UrlLoader, ValidationError};
use larder_gotemplate::{Map, Value};
use std::cell::RefCell;
use std::error::Error as StdError;
use std::fmt::Write as _;
use std::rc::Rc;

/// Validates the values of a chart and of its subcharts, each with its own schema. What does not fit is returned in Helm's words;
/// schemas at other places are not fetched, which is added to `diagnostics`.
pub(crate) fn validate(chart: &ChartNode<'_>, values: &Map, diagnostics: &mut Vec<Diagnostic>) -> String {
    let mut problems = String::new();
    if let Some(schema) = chart.chart.schema() {
        let mut remote = Vec::new();
        if let Err(problem) = against(schema, values, &mut remote) {
            write!(problems, "{}:\n{problem}", chart.name()).expect("a text takes everything");
        }
        for url in remote {
            let message =
                format!("values.schema.json refers to {url}, which is not fetched; it accepts everything");
            diagnostics.push(Diagnostic::warning(chart.name(), message));
        }
    }
    for subchart in &chart.dependencies {
        match values.get(subchart.name()) {
            None | Some(Value::Nil) => {}
            Some(Value::Map(values)) => problems.push_str(&validate(subchart, &values, diagnostics)),
            Some(other) => {
                let (name, found) = (subchart.name(), other.type_name());
                writeln!(problems, "{name}:\ninvalid type for values: expected object (map), got {found}")
                    .expect("a text takes everything");
            }
        }
    }
    problems
}

fn against(schema: &[u8], values: &Map, remote: &mut Vec<String>) -> Result<(), String> {
    let mut schema: serde_json::Value = serde_json::from_slice(schema).map_err(|error| error.to_string())?;
    if acceptance::accepts(&schema, values) {
        return Ok(());
    }
    validate_with(&mut schema, values, remote)
}

/// By the whole validator.
fn validate_with(
    schema: &mut serde_json::Value,
    values: &Map,
    remote: &mut Vec<String>,
) -> Result<(), String> {
    let own = schema.get("$id").and_then(serde_json::Value::as_str).unwrap_or(PLACE).to_owned();
    cut_remote(schema, without_fragment(&own), remote);
    let mut compiler = Compiler::new();
    let asked = Rc::new(RefCell::new(Vec::new()));
    compiler.use_loader(Box::new(Elsewhere(asked.clone())));
    let mut schemas = Schemas::new();
    let compiled = compiler
        .add_resource(PLACE, schema.take())
        .and_then(|()| compiler.compile(PLACE, &mut schemas))
        .map_err(|error| error.to_string());
    remote.append(&mut asked.borrow_mut());
    let index = compiled?;
    schemas.validate(&to_json(values), index).map_err(|error| {
        let mut text = String::new();
        describe(&error, 0, &mut text);
        text.trim_start().to_owned() + "\n"
    })
}

/// Takes out references to schemas that are somewhere else: a chart must not decide what is read or asked for, and without them
/// what they are about is accepted.
fn cut_remote(schema: &mut serde_json::Value, own: &str, remote: &mut Vec<String>) {
    match schema {
        serde_json::Value::Array(items) => items.iter_mut().for_each(|item| cut_remote(item, own, remote)),
        serde_json::Value::Object(entries) => {
            if let Some(serde_json::Value::String(url)) = entries.get("$ref")
                && let Some((scheme, _)) = url.split_once(':')
                && scheme.chars().all(|c| c.is_ascii_alphanumeric())
                && without_fragment(url) != own
            {
                if !remote.contains(url) {
                    remote.push(url.clone());
                }
                entries.remove("$ref");
            }
            entries.values_mut().for_each(|value| cut_remote(value, own, remote));
        }
        _ => {}
    }
}

fn without_fragment(url: &str) -> &str {
    url.split('#').next().unwrap_or(url)
}

/// What is still asked for, such as the schema of schemas that `$schema` names, accepts everything.
struct Elsewhere(Rc<RefCell<Vec<String>>>);

impl UrlLoader for Elsewhere {
    fn load(&self, url: &str) -> Result<serde_json::Value, Box<dyn StdError>> {
        self.0.borrow_mut().push(url.to_owned());
        Ok(serde_json::Value::Bool(true))
    }
}

/// One line for each cause, indented as the Go library does it.
fn describe(error: &ValidationError<'_, '_>, indent: usize, text: &mut String) {
    let skipped = error.causes.len() == 1 && matches!(error.kind, ErrorKind::Reference { .. });
    let is_root = matches!(error.kind, ErrorKind::Schema { .. });
    if !skipped && !is_root {
        let place = error.instance_location.to_string();
        let blanks = "  ".repeat(indent.saturating_sub(1));
        write!(text, "\n{blanks}- at {}: {}", quoted(&place), reason(&error.kind))
            .expect("a text takes everything");
    }
    for cause in &error.causes {
        describe(cause, indent + usize::from(!skipped), text);
    }
}

/// The words of the Go library (santhosh-tekuri/jsonschema 6), of which `boon` is the Rust sibling with words of its own.
fn reason(kind: &ErrorKind<'_, '_>) -> String {
    let all = |names: &[&str]| names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
    match kind {
        ErrorKind::Type { got, want } => {
            let want: Vec<String> = want.iter().map(|kind| kind.to_string()).collect();
            format!("got {got}, want {}", want.join(" or "))
        }
        ErrorKind::Enum { want } if want.iter().all(is_primitive) => match want.as_slice() {
            [one] => format!("value must be {}", shown(one)),
            many => format!("value must be one of {}", many.iter().map(shown).collect::<Vec<_>>().join(", ")),
        },
        ErrorKind::Const { want } if is_primitive(want) => format!("value must be {}", shown(want)),
        ErrorKind::Format { got, want, err } => format!("{} is not valid {want}: {err}", shown(got)),
        ErrorKind::MinProperties { got, want } => format!("minProperties: got {got}, want {want}"),
        ErrorKind::MaxProperties { got, want } => format!("maxProperties: got {got}, want {want}"),
        ErrorKind::AdditionalProperties { got } => {
            let names: Vec<&str> = got.iter().map(AsRef::as_ref).collect();
            format!("additional properties {} not allowed", all(&names))
        }
        ErrorKind::Required { want } => match want.as_slice() {
            [one] => format!("missing property {}", quoted(one)),
            many => format!("missing properties {}", all(many)),
        },
        ErrorKind::Dependency { prop, missing } | ErrorKind::DependentRequired { prop, missing } => {
            format!("properties {} required, if {} exists", all(missing), quoted(prop))
        }
        ErrorKind::PropertyName { prop } => format!("invalid propertyName {}", quoted(prop)),
        ErrorKind::MinItems { got, want } => format!("minItems: got {got}, want {want}"),
        ErrorKind::MaxItems { got, want } => format!("maxItems: got {got}, want {want}"),
        ErrorKind::AdditionalItems { got } => format!("last {got} additionalItem(s) not allowed"),
        ErrorKind::MinLength { got, want } => format!("minLength: got {got}, want {want}"),
        ErrorKind::MaxLength { got, want } => format!("maxLength: got {got}, want {want}"),
        ErrorKind::Pattern { got, want } => {
            format!("{} does not match pattern {}", quoted(got), quoted(want))
        }
        ErrorKind::Minimum { got, want } => format!("minimum: got {got}, want {want}"),
        ErrorKind::Maximum { got, want } => format!("maximum: got {got}, want {want}"),
        ErrorKind::ExclusiveMinimum { got, want } => format!("exclusiveMinimum: got {got}, want {want}"),
        ErrorKind::ExclusiveMaximum { got, want } => format!("exclusiveMaximum: got {got}, want {want}"),
        ErrorKind::MultipleOf { got, want } => format!("multipleOf: got {got}, want {want}"),
        ErrorKind::Not => "'not' failed".into(),
        ErrorKind::AllOf => "'allOf' failed".into(),
        ErrorKind::AnyOf => "'anyOf' failed".into(),
        ErrorKind::OneOf(None) => "'oneOf' failed, none matched".into(),
        ErrorKind::OneOf(Some((first, second))) => {
            format!("'oneOf' failed, subschemas {first}, {second} matched")
        }
        // These say the same in both.
        other => other.to_string(),
    }
}

fn is_primitive(value: &serde_json::Value) -> bool {
    !value.is_array() && !value.is_object()
}

fn shown(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => quoted(text),
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => "value".into(),
        serde_json::Value::Null => "<nil>".into(),
        other => other.to_string(),
    }
}

fn quoted(text: &str) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\t', "\\t").replace('\'', "\\'");
    format!("'{text}'")
}

/// Values as JSON. Whole floats are written as integers, which is what they are to a schema.
fn to_json(values: &Map) -> serde_json::Value {
    let entries = values.entries().into_iter().map(|(key, value)| (key.to_string(), json(&value)));
    serde_json::Value::Object(entries.collect())
}

fn json(value: &Value) -> serde_json::Value {
    match value {
        Value::Nil => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Int(number, _) => (*number).into(),
        Value::Float(number) if number.fract() == 0.0 && number.abs() < EXACT => (*number as i64).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.to_string().into(),
        Value::List(list) => list.items().iter().map(json).collect(),
        Value::Map(map) => to_json(map),
        Value::Object(object) => object.print().into(),
    }
}

/// Below this every whole number is itself as a float.
const EXACT: f64 = 9_007_199_254_740_992.0;
const PLACE: &str = "file:///values.schema.json";

#[cfg(test)]
mod tests {
    use super::super::values::read_values;
    use super::*;
    use proptest::prelude::*;

    fn accepted(schema: &str, values: &str) -> bool {
        let mut schema: serde_json::Value = serde_json::from_str(schema).expect("it is JSON");
        let values = read_values("v", values.as_bytes()).expect("it is YAML");
        let accepted = acceptance::accepts(&schema, &values);
        let whole = validate_with(&mut schema, &values, &mut Vec::new());
        assert!(!accepted || whole.is_ok(), "{schema} {whole:?}");
        accepted
    }

    #[test]
    fn simple_schemas_are_seen_to_fit_without_the_validator() {
        let schema = r##"{"$schema": "http://json-schema.org/draft-07/schema#", "title": "t", "type": "object",
            "required": ["a"], "additionalProperties": false,
            "definitions": {"port": {"type": "integer", "minimum": 1, "maximum": 65535}},
            "properties": {"a": {"type": ["string", "null"], "enum": ["x", null], "form": true}, "p": {"$ref": "#/definitions/port"},
            "l": {"type": "array", "items": {"anyOf": [{"type": "string", "minLength": 1}, {"const": 2}]}}}}"##;
        for good in ["a: x", "a:", "{a: x, p: 80, l: [s, 2]}"] {
            assert!(accepted(schema, good), "{good}");
        }
        for other in [
            "http://json-schema.org/schema#",
            "https://json-schema.org/schema",
            "https://json-schema.org/draft-07/schema#",
        ] {
            let schema = schema.replace("http://json-schema.org/draft-07/schema#", other);
            assert!(accepted(&schema, "a: x"), "{other}");
            assert!(!accepted(&schema, "a: y"), "{other}");
        }
        let schema =
            schema.replace(r#""title": "t""#, r#""$id": "https://example.com/x.json", "examples": [{}]"#);
        assert!(accepted(&schema, "a: x"));
        let pattern = r#"{"properties": {"a": {"pattern": "^sha256:[a-f0-9]{4}$"}}}"#;
        assert!(accepted(pattern, "a: sha256:00af") && accepted(pattern, "a: 1") && accepted(pattern, "a:"));
        assert!(!accepted(pattern, "a: sha256:00AF") && !accepted(pattern, "a: xsha256:00af"));
        for bad in [
            "b: x",
            "a: y",
            "{a: x, p: 0}",
            "{a: x, p: 1.5}",
            "{a: x, l: ['']}",
            "{a: x, l: [3]}",
            "{a: x, z: 1}",
        ] {
            assert!(!accepted(&schema, bad), "{bad}");
        }
    }

    #[test]
    fn what_is_not_simple_is_left_to_the_validator() {
        for schema in [
            r#"{"pattern": "\\d"}"#,
            r#"{"properties": {"a": {"pattern": "[a[b]]"}}}"#,
            r#"{"properties": {"a": {"pattern": "("}}}"#,
            r#"{"$id": "urn:x"}"#,
            r#"{"$schema": "ftp://json-schema.org/schema"}"#,
            r#"{"examples": 1}"#,
            r#"{"type": "text"}"#,
            r#"{"properties": {"a": {"required": "a"}}}"#,
            r#"{"$ref": "https://example.com/x"}"#,
            r##"{"$ref": "#/definitions/none"}"##,
            r#"{"$schema": "https://example.com/x"}"#,
            r#"{"$schema": "http://json-schema.org/draft-04/schema#", "properties": {"a": true}}"#,
            r#"{"properties": {"a": {"$id": "x"}}}"#,
        ] {
            assert!(!accepted(schema, "a: 1"), "{schema}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_at_once_is_accepted_by_the_validator(
            rules in prop::collection::vec(prop::sample::select(RULES), 1..5),
            inner in prop::collection::vec(prop::sample::select(RULES), 1..4),
            value in prop::sample::select(VALUES),
            draft in prop::sample::select(&["draft-04/schema#", "draft-06/schema#", "draft-07/schema#", "draft/2020-12/schema", "schema#"][..]),
            site in prop::sample::select(&["http", "https"][..]),
        ) {
            let schema = format!(
                r#"{{"$schema": "{site}://json-schema.org/{draft}", "properties": {{"a": {{{}, "items": {{{}}}}}}}}}"#,
                rules.join(", "),
                inner.join(", ")
            );
            accepted(&schema, &format!("a: {value}"));
        }
    }

    const RULES: &[&str] = &[
        r#""type": "string""#,
        r#""type": ["integer", "null"]"#,
        r#""type": "number""#,
        r#""type": "object""#,
        r#""type": "array""#,
        r#""enum": [1, "x", null, false]"#,
        r#""const": 1"#,
        r#""minimum": 1"#,
        r#""maximum": 1.5"#,
        r#""minLength": 2"#,
        r#""maxLength": 2"#,
        r#""minItems": 1"#,
        r#""maxItems": 1"#,
        r#""minProperties": 1"#,
        r#""maxProperties": 1"#,
        r#""required": ["x"]"#,
        r#""additionalProperties": false"#,
        r#""additionalProperties": {"type": "string"}"#,
        r#""properties": {"x": {"type": "integer"}}"#,
        r#""not": {"type": "string"}"#,
        r#""anyOf": [{"minimum": 2}, {"type": "string"}]"#,
        r#""oneOf": [{"type": "integer"}, {"minimum": 2}]"#,
        r#""allOf": [{"type": "integer"}, {"maximum": 2}]"#,
        r#""pattern": "^[x-z]+$|^-""#,
        r#""pattern": "(y|z)z*$""#,
        r#""pattern": "x{2,3}""#,
        r#""pattern": "[""#,
        r#""examples": [1]"#,
        r#""examples": 1"#,
        r#""$id": "https://example.com/a""#,
        r#""default": []"#,
        r#""description": "d""#,
        r#""title": 1"#,
        r#""required": []"#,
        r#""exclusiveMinimum": 1"#,
        r#""format": "date""#,
    ];
    const VALUES: &[&str] = &[
        "1",
        "2",
        "1.0",
        "1.5",
        "-1",
        "x",
        "xyz",
        "''",
        "null",
        "true",
        "false",
        "[]",
        "[1]",
        "[x, 2]",
        "{}",
        "{x: 1}",
        "{x: y}",
        "{y: z, x: 1}",
        "1e20",
        "9007199254740993",
    ];
}
