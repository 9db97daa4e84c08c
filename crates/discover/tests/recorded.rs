//! What templates were recorded to give in Helm 4.2.3 is asked of it again: the tables that the language is tested with say what Helm
//! says.

use larder_testkit::tools::{HelmLibrary, HelmRequest};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Templates whose answers depend on the moment or on chance are compared by their shape, elsewhere.
const BY_CHANCE: [&str; 4] = ["certificates", "random", "dates", "differences"];

#[test]
fn the_recorded_tables_are_helms_answers() {
    let tables = Path::new(env!("CARGO_MANIFEST_DIR")).join("../gotemplate/tests");
    let place = tempfile::tempdir().unwrap();
    let (mut requests, mut expected) = (Vec::new(), Vec::new());
    for directory in ["language", "sprig"] {
        let mut files: Vec<PathBuf> =
            fs::read_dir(tables.join(directory)).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        for file in files {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            if BY_CHANCE.contains(&name.as_str()) {
                continue;
            }
            let table: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            for (at, case) in table["cases"].as_array().unwrap().iter().enumerate() {
                let chart = place.path().join(format!("{name}-{at}"));
                fs::create_dir_all(chart.join("templates")).unwrap();
                fs::write(chart.join("Chart.yaml"), "apiVersion: v2\nname: c\nversion: 1.2.3\n").unwrap();
                fs::write(chart.join("values.yaml"), table["values"].to_string()).unwrap();
                fs::write(chart.join("templates/t.yaml"), case[0].as_str().unwrap()).unwrap();
                requests.push(HelmRequest {
                    chart,
                    values: Vec::new(),
                    name: "r".into(),
                    namespace: "n".into(),
                    manifest: false,
                });
                expected.push((name.clone(), case.clone()));
            }
        }
    }
    assert!(expected.len() > 4_000, "{}", expected.len());
    let answers = HelmLibrary::installed().unwrap().render(&requests).unwrap();
    let mut different = Vec::new();
    for ((name, case), answer) in expected.iter().zip(&answers) {
        let is_same = match &answer.texts {
            Ok(texts) => {
                let text = texts.get("c/templates/t.yaml").map(String::as_str).unwrap_or_default();
                case[1]["out"] == text
            }
            Err(error) => case[1]["error"].as_str().is_some_and(|recorded| error.contains(recorded)),
        };
        if !is_same {
            different.push(format!("{name}: {case}\n  {:?}", answer.texts));
        }
    }
    assert!(
        different.is_empty(),
        "{} of {}:\n{}",
        different.len(),
        expected.len(),
        different[..different.len().min(20)].join("\n")
    );
}
