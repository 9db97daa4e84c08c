//! Tables of templates with what Helm 4.2.3 made of them.

use larder_gotemplate::{Element, Map, RunOptions, Templates, Value, helm, yaml};
use serde_json::value::RawValue;

/// Values, and our templates with what Helm made of them: `out` or `error`.
#[derive(serde::Deserialize)]
pub(crate) struct Table {
    values: Box<RawValue>,
    pub(crate) cases: Vec<(String, Answer)>,
}

#[derive(serde::Deserialize, PartialEq, Debug)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Answer {
    Out(String),
    Error(String),
}

impl Table {
    pub(crate) fn read(json: &str) -> Self {
        serde_json::from_str(json).expect("a table")
    }

    /// What we make of a template. Values are new each time: templates can change them.
    pub(crate) fn answer(&self, template: &str) -> Answer {
        let data = Map::typed(Element::Values);
        data.set("Values", typed(&yaml::parse(self.values.get().as_bytes()).expect("values are YAML")));
        data.set("Template", typed(&map(&[("Name", FILE), ("BasePath", "c/templates")])));
        data.set("Release", map(&[("Name", "r"), ("Namespace", "n")]));
        data.set("Chart", map(&[("Name", "c"), ("Version", "1.2.3")]));
        let options = RunOptions { now: (1_709_210_096, 789_000_000), ..RunOptions::default() };
        let mut templates = Templates::new(helm());
        let result = templates
            .parse(FILE, template)
            .and_then(|()| templates.execute(FILE, &Value::from(data), &options));
        match result {
            Ok(output) => Answer::Out(output.text.to_string()),
            Err(error) => Answer::Error(error.helm()),
        }
    }
}

fn map(entries: &[(&str, &str)]) -> Value {
    Value::from(entries.iter().map(|(key, value)| ((*key).into(), Value::from(*value))).collect::<Map>())
}

/// As Helm's own type of maps.
fn typed(map: &Value) -> Value {
    let mut map = map.as_map().expect("values are a map").clone();
    map.element = Element::Values;
    Value::from(map)
}

/// All cases of a table, of which there are `least`, have Helm's answer.
pub(crate) fn compare(json: &str, least: usize) {
    let table = Table::read(json);
    assert!(table.cases.len() >= least);
    let mut different = String::new();
    for (template, expected) in &table.cases {
        let found = table.answer(template);
        if found != *expected {
            different += &format!("{template}\n  {expected:?}\n  {found:?}\n");
        }
    }
    assert!(different.is_empty(), "{different}");
}

const FILE: &str = "c/templates/t.yaml";
