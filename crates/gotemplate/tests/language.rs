//! The language against what Helm 4.2.3 answers: a table for each part of it, recorded.

use larder_gotemplate::{Map, RunOptions, Templates, Value, helm, yaml};
use serde_json::value::RawValue;

/// Values, and our templates with what Helm made of them: `out` or `error`.
#[derive(serde::Deserialize)]
struct Table {
    values: Box<RawValue>,
    cases: Vec<(String, Answer)>,
}

#[derive(serde::Deserialize, PartialEq, Debug)]
#[serde(rename_all = "lowercase")]
enum Answer {
    Out(String),
    Error(String),
}

fn answer(template: &str, values: &Value) -> Answer {
    let data = Map::new();
    data.set("Values", values.clone());
    data.set("Template", map(&[("Name", FILE), ("BasePath", "c/templates")]));
    data.set("Release", map(&[("Name", "r"), ("Namespace", "n")]));
    data.set("Chart", map(&[("Name", "c"), ("Version", "1.2.3")]));
    let mut templates = Templates::new(helm());
    let result = templates
        .parse(FILE, template)
        .and_then(|()| templates.execute(FILE, &Value::from(data), &RunOptions::default()));
    match result {
        Ok(output) => Answer::Out(output.text.to_string()),
        Err(error) => Answer::Error(error.helm()),
    }
}

fn map(entries: &[(&str, &str)]) -> Value {
    Value::from(entries.iter().map(|(key, value)| ((*key).into(), Value::from(*value))).collect::<Map>())
}

fn compare(table: &str, least: usize) {
    let table: Table = serde_json::from_str(table).unwrap();
    let values = yaml::parse(table.values.get().as_bytes()).unwrap();
    assert!(table.cases.len() >= least);
    let mut different = String::new();
    for (template, expected) in &table.cases {
        let found = answer(template, &values);
        if found != *expected {
            different += &format!("{template}\n  {expected:?}\n  {found:?}\n");
        }
    }
    assert!(different.is_empty(), "{different}");
}

#[test]
fn constants() {
    compare(include_str!("language/constants.json"), 70);
}

#[test]
fn texts_and_errors_of_the_parser() {
    compare(include_str!("language/text.json"), 140);
}

#[test]
fn control_structures_and_templates() {
    compare(include_str!("language/flow.json"), 140);
}

#[test]
fn fields() {
    compare(include_str!("language/fields.json"), 70);
}

#[test]
fn functions_of_go() {
    compare(include_str!("language/builtins.json"), 90);
}

#[test]
fn comparison() {
    compare(include_str!("language/compare.json"), 250);
}

#[test]
fn formats() {
    compare(include_str!("language/printf.json"), 50);
}

#[test]
fn calls_and_types_of_arguments() {
    compare(include_str!("language/calls.json"), 90);
}

const FILE: &str = "c/templates/t.yaml";
