//! Verbs over an empty store, and registries that do not answer.

use crate::program::Larder;
use serde_json::json;

/// Nothing listens here.
const NOBODY: &str = "127.0.0.1:1/team/app:1";

#[test]
fn an_empty_store_is_listed_counted_collected_and_verified() {
    let larder = Larder::new();
    assert_eq!(larder.run(&["list", "-o", "json"]).ends(0).json(), json!({ "images": [] }));
    assert_eq!(larder.run(&["list", "--quiet"]).ends(0).out, "");
    assert!(larder.run(&["ls"]).ends(0).out.starts_with("NAME  DIGEST"));
    let stats = larder.run(&["stats", "-o", "json"]).ends(0).json();
    assert_eq!(
        (&stats["images"], &stats["unique_bytes"], &stats["last_gc"]),
        (&json!(0), &json!(0), &json!(null))
    );
    let stats = larder.run(&["stats"]).ends(0).out;
    let words: Vec<&str> = stats.split_whitespace().collect();
    assert!(words.windows(3).any(|words| words == ["Last", "gc", "never"]), "{stats}");
    let collected = larder.run(&["gc", "--dry-run", "-o", "json"]).ends(0).json();
    assert_eq!(
        (&collected["dry_run"], &collected["freed_bytes"], &collected["names"]),
        (&json!(true), &json!(0), &json!([]))
    );
    assert!(larder.run(&["prune", "--older-than", "30d"]).ends(0).out.contains("0 B freed"));
    let verified = larder.run(&["verify", "-o", "json"]).ends(0).json();
    assert_eq!((&verified["whole"], &verified["damaged"]), (&json!(true), &json!([])));
    assert_eq!(larder.run(&["gc", "--quiet"]).ends(0).out, "");
}

#[test]
fn what_is_not_there_is_not_found() {
    let larder = Larder::new();
    for arguments in [
        &["inspect", "debian:12"][..],
        &["inspect", "--raw", "debian:12"],
        &["tag", "debian:12", "other"],
        &["remove", "debian:12"],
        &["rm", "debian:12"],
        &["pin", "debian:12"],
        &["unpin", "debian:12"],
        &["push", "debian:12", NOBODY],
        &["copy", "debian:12", "oci:layout"],
        &["mount", "debian:12", "there", "--pull", "never"],
        &["unpack", "debian:12", "there", "--pull", "never"],
    ] {
        let ran = larder.run(arguments).ends(3).says("error: ").says("debian:12");
        assert_eq!(ran.out, "", "{arguments:?}");
    }
    let ran =
        larder.run(&["inspect", "debian:12", "-o", "json"]).ends(3).says("hint: larder pull debian:12\n");
    let expected = json!({
        "message": "debian:12 is not in the store",
        "kind": "not found",
        "exit_code": 3,
        "hints": ["larder pull debian:12"],
    });
    assert_eq!(ran.json()["error"], expected);
    larder.run(&["copy", "oci:missing", "a"]).ends(3).says("missing");
    // Pulling would not help who wants to remove something.
    for arguments in [["remove", "debian:12"], ["pin", "debian:12"]] {
        let ran = larder.run(&arguments).ends(3).says("error: debian:12 is not a name in the store\n");
        ran.says("hint: `larder list` shows the names there are\n");
    }
    larder.run(&["remove", "--writable", "work"]).ends(3).says(
        "error: there is no writable layer work\nhint: `larder list --writable` shows those there are\n",
    );
}

#[test]
fn a_registry_that_does_not_answer_is_unavailable() {
    let larder = Larder::new();
    let ran = larder.run(&["pull", NOBODY]).ends(6).says("error: cannot pull 127.0.0.1:1/team/app:1: ");
    assert_eq!(ran.out, "");
    let report = larder.run(&["pull", NOBODY, "localhost:1/b", "--output", "json"]).ends(6);
    let report =
        report.says("0 images pulled, 2 failed: 127.0.0.1:1/team/app:1, localhost:1/b:latest").json();
    let images = report["images"].as_array().unwrap();
    assert_eq!(
        (&images[0]["reference"], &images[1]["reference"]),
        (&json!(NOBODY), &json!("localhost:1/b:latest"))
    );
    assert!(images.iter().all(|image| image["failure"]["kind"] == "unavailable"), "{report}");
    let quiet = larder.run(&["pull", "-q", NOBODY]).ends(6);
    assert!(
        quiet.err.lines().all(|line| line.starts_with("error: ") || line.starts_with("hint: ")),
        "{}",
        quiet.err
    );
    larder.run(&["login", "127.0.0.1:1", "-u", "me", "--password-stdin"]).ends(2).says("holds no password");
    larder.feed(&["login", "127.0.0.1:1", "-u", "me", "--password-stdin"], "secret\n").ends(6);
    assert!(!larder.path("home/.docker/config.json").exists(), "what was not checked is not kept");
}

#[test]
fn lists_of_images_come_from_files_and_from_standard_input() {
    let larder = Larder::new();
    larder.write("images.txt", "# ours\n127.0.0.1:1/a  # first\n\n127.0.0.1:1/b:2\n127.0.0.1:1/a:latest\n");
    let named = |ran: crate::program::Ran| -> Vec<String> {
        let images = ran.ends(6).json()["images"].as_array().unwrap().clone();
        images.iter().map(|image| image["reference"].as_str().unwrap().to_owned()).collect()
    };
    let both = larder.run(&["pull", "127.0.0.1:1/c", "--from-file", "images.txt", "-o", "json"]);
    assert_eq!(named(both), ["127.0.0.1:1/c:latest", "127.0.0.1:1/a:latest", "127.0.0.1:1/b:2"]);
    let fed = larder.feed(&["pull", "--from-file", "-", "-o", "json"], "127.0.0.1:1/d\n");
    assert_eq!(named(fed), ["127.0.0.1:1/d:latest"]);
    larder.write("bad.txt", "debian:12\nNOT VALID\n");
    larder.run(&["pull", "--from-file", "bad.txt"]).ends(2).says("bad.txt, line 2: ");
    larder.run(&["pull", "--from-file", "missing.txt"]).ends(3).says("missing.txt");
    larder.run(&["pull", "--from-file", "-"]).ends(2).says("names no image");
    let both = ["pull", "--from-file", "-", "--username", "me", "--password-stdin"];
    larder.feed(&both, "x").ends(2).says("both the list and the password");
}

#[test]
fn questions_need_a_terminal() {
    Larder::new().run(&["login", "127.0.0.1:1"]).ends(2).says("hint: give --username USER --password-stdin");
}

#[test]
fn logging_out_of_nothing_is_done() {
    let ran = Larder::new().run(&["logout", "registry.example", "-o", "json"]).ends(0);
    assert_eq!(ran.json(), json!({ "registry": "registry.example", "removed": false }));
}

#[test]
fn the_doctor_names_a_driver() {
    let report = Larder::new().run(&["doctor", "-o", "json"]).ends(0).json();
    assert!(["erofs", "overlay"].contains(&report["driver"].as_str().unwrap()), "{report}");
    assert!(report["checks"].as_array().unwrap().iter().any(|check| check["name"] == "store"), "{report}");
}

#[test]
fn a_place_that_cannot_be_a_store_is_an_error_with_a_code() {
    let larder = Larder::new();
    larder.write("file", "");
    let ran = larder.run(&["list", "--home", "file/store", "-o", "json"]);
    assert!(ran.code.is_some_and(|code| code > 0 && code < 10), "{ran:#?}");
    assert_eq!(ran.json()["error"]["exit_code"], ran.code.unwrap());
}
