//! Files, environment and flags.

use crate::program::Larder;
use serde_json::json;

#[test]
fn later_places_win_and_are_named() {
    let larder = Larder::new().with("LARDER_CONNECTIONS", "7").with("LARDER_CERTS_DIR", "/a,/b");
    let file = larder.write("store/config.yaml", "jobs: 2\nconnections: 2\nquota: 10GB\n");
    let shown = larder.run(&["config", "show", "--output", "json", "--jobs", "9"]).ends(0).json();
    assert_eq!(shown["values"]["jobs"], 9);
    assert_eq!(shown["values"]["connections"], 7);
    assert_eq!(shown["values"]["quota"], "10GB");
    assert_eq!(shown["values"]["certs_dir"], json!(["/a", "/b"]));
    assert_eq!(shown["origins"]["jobs"], json!({ "flag": "--jobs" }));
    assert_eq!(shown["origins"]["connections"], json!({ "environment": "LARDER_CONNECTIONS" }));
    assert_eq!(shown["origins"]["quota"], json!({ "file": file }));
    assert_eq!(shown["origins"]["driver"], "default");
    assert_eq!(shown["origins"]["home"], json!({ "environment": "LARDER_HOME" }));
    assert_eq!(shown["files"][1], json!({ "path": file, "exists": true }));
}

#[test]
fn people_see_the_same() {
    let larder = Larder::new().with("LARDER_INSECURE", "a:5000,b");
    let text = larder.run(&["config", "show", "--driver", "overlay"]).ends(0).out;
    let line = |key: &str| {
        text.lines().find(|line| line.starts_with(key)).unwrap().split_whitespace().collect::<Vec<_>>()
    };
    assert_eq!(line("insecure")[1..], ["a:5000,b", "environment", "variable", "LARDER_INSECURE"]);
    assert_eq!(line("driver")[1..], ["overlay", "flag", "--driver"]);
    assert_eq!(line("jobs")[1..], ["4", "default"]);
    assert!(!larder.path("store").exists(), "showing the configuration makes no store");
}

#[test]
fn one_value_for_scripts() {
    let larder = Larder::new().with("LARDER_CERTS_DIR", "/a,/b");
    assert_eq!(larder.run(&["config", "show", "certs_dir"]).ends(0).out, "/a\n/b\n");
    assert_eq!(larder.run(&["config", "show", "quota"]).ends(0).out, "");
    assert_eq!(larder.run(&["config", "show", "jobs", "-o", "json"]).ends(0).json(), 4);
}

#[test]
fn every_key_has_a_variable() {
    let larder = Larder::new();
    let keys =
        larder.run(&["config", "keys", "-o", "json"]).ends(0).json()["keys"].as_array().unwrap().clone();
    assert!(keys.len() > 20);
    let key = keys.iter().find(|key| key["key"] == "certs_dir").unwrap();
    assert_eq!((&key["environment"], &key["list"]), (&json!("LARDER_CERTS_DIR"), &json!(true)));
    for key in &keys {
        let (name, variable) = (key["key"].as_str().unwrap(), key["environment"].as_str().unwrap());
        assert!(!key["description"].as_str().unwrap().is_empty());
        if name == "home" {
            continue;
        }
        // What `config show` prints can be given back through the variable.
        let value = larder.run(&["config", "show", name]).ends(0).out.trim_end().replace('\n', ",");
        let again = Larder::new().with(variable, &value).run(&["config", "show", name]).ends(0);
        assert_eq!((again.out.trim_end().replace('\n', ","), again.err.as_str()), (value, ""), "{name}");
    }
}

#[test]
fn an_empty_variable_is_not_set() {
    let shown = Larder::new().with("LARDER_ATTACHED", "").with("LARDER_CERTS_DIR", "");
    let shown = shown.run(&["config", "show", "-o", "json"]).ends(0).json();
    assert_eq!(
        (&shown["values"]["attached"], &shown["origins"]["certs_dir"]),
        (&json!(true), &json!("default"))
    );
}

#[test]
fn where_the_store_is() {
    let home = |larder: &Larder, arguments: &[&str]| {
        let mut command = larder.command(["config", "show", "home"]);
        command.args(arguments).env_remove("LARDER_HOME");
        crate::program::finish(command, "").ends(0).out.trim_end().to_owned()
    };
    let base = Larder::new().with("OMYKUBE_HOME", "/base");
    assert_eq!(home(&base, &[]), "/base/larder");
    assert_eq!(home(&base, &["--home", "/flag"]), "/flag");
    assert_eq!(
        base.run(&["config", "show", "home"]).ends(0).out.trim_end(),
        base.path("store").to_str().unwrap()
    );
    let relative = home(&base, &["--home", "here"]);
    assert!(relative.starts_with('/') && relative.ends_with("/here"), "{relative}");
    let stated = Larder::new();
    let file = stated.write("own.yaml", "home: /stated\n");
    assert_eq!(home(&stated, &["--config", file.to_str().unwrap()]), "/stated");
}

#[test]
fn a_misspelled_variable_is_a_warning() {
    let larder = Larder::new().with("LARDER_JBOS", "1").with("LARDER_REGISTRIES", "x");
    let ran = larder.run(&["config", "show", "jobs"]).ends(0);
    assert_eq!(ran.out, "4\n");
    let ran = ran.says("warning: LARDER_JBOS is not a setting and has no effect; did you mean LARDER_JOBS?");
    ran.says("registries can be set in config.yaml only");
    assert_eq!(larder.run(&["config", "show", "jobs", "--quiet"]).ends(0).err, "");
}

#[test]
fn mistakes_name_the_place_and_the_key() {
    let larder = Larder::new();
    let file = larder.write("store/config.yaml", "jbos: 2\n");
    let shown = file.to_str().unwrap();
    larder.run(&["list"]).ends(2).says(shown).says("\"jbos\"").says("hint: did you mean jobs?");
    larder.write("store/config.yaml", "quota: lots\n");
    larder.run(&["list"]).ends(2).says(shown).says("quota").says("is not a size");
    larder.write("store/config.yaml", "jobs: [\n");
    larder.run(&["list"]).ends(2).says(shown);
    larder.write("store/config.yaml", "home: /elsewhere\n");
    larder.run(&["list"]).ends(2).says(shown).says("home");
    larder.write("store/config.yaml", "# nothing\n");
    larder.run(&["list", "--jobs", "0"]).ends(2).says("jobs");
    Larder::new()
        .with("LARDER_QUOTA", "lots")
        .run(&["list"])
        .ends(2)
        .says("environment variable LARDER_QUOTA");
    Larder::new().with("LARDER_DRIVER", "magic").run(&["list"]).ends(2).says("magic");
}

#[test]
fn a_file_that_was_named_must_be_there() {
    let larder = Larder::new();
    larder.run(&["list", "--config", "missing.yaml"]).ends(3).says("missing.yaml");
    larder.write("store/config.yaml", "jbos: 2\n");
    let file = larder.write("own.yaml", "jobs: 3\n");
    let shown =
        larder.run(&["config", "show", "-o", "json", "--config", file.to_str().unwrap()]).ends(0).json();
    assert_eq!((&shown["values"]["jobs"], shown["files"].as_array().unwrap().len()), (&json!(3), 1));
}

#[test]
fn passwords_are_never_shown() {
    let larder = Larder::new();
    larder.write("store/config.yaml", "registries:\n  r.example:\n    username: me\n    password: hunter2\n");
    for format in ["text", "json"] {
        let ran = larder.run(&["config", "show", "--output", format]).ends(0);
        assert!(ran.out.contains("***") && !ran.out.contains("hunter2"), "{}", ran.out);
    }
}
