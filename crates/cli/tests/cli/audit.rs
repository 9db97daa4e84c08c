//! `larder audit`, and what other verbs leave for it.

use crate::program::{Larder, Ran};
use larder_core::Compression;
use larder_testkit::ImageBuilder;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;

const NOBODY: &str = "127.0.0.1:1/team/app:1";

/// A store in which something was done: four records.
fn used() -> Larder {
    let larder = Larder::new();
    larder.run(&["gc"]).ends(0);
    larder.run(&["tag", "debian:12", "other:1"]).ends(3);
    larder.run(&["pull", NOBODY]).ends(6);
    larder.run(&["logout", "registry.example"]).ends(0);
    larder
}

/// One JSON object per line.
fn lines(ran: &Ran) -> Vec<Value> {
    ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn log(larder: &Larder) -> std::path::PathBuf {
    larder.path("store/audit/00000000000000000001.jsonl")
}

#[test]
fn what_is_done_is_written_down() {
    let larder = used();
    let shown = larder.run(&["audit", "show", "-o", "json"]).ends(0);
    assert_eq!(shown.out, std::fs::read_to_string(log(&larder)).unwrap(), "exactly as it is in the log");
    let lines = lines(&shown);
    let told: Vec<Value> = lines
        .iter()
        .map(|line| {
            json!([line["action"], line["outcome"], line["reason"], line["repository"], line["reference"]])
        })
        .collect();
    assert_eq!(
        told,
        [
            json!(["gc", "allowed", null, null, null]),
            json!(["tag", "failed", "not found", "docker.io/library/other", "1"]),
            json!(["pull", "failed", "unavailable", "127.0.0.1:1/team/app", "1"]),
            json!(["logout", "allowed", null, null, "registry.example"]),
        ]
    );
    for line in &lines {
        assert!(line["actor"].as_str().unwrap().contains("(uid "), "{line}");
        assert_eq!(line["login"], "local");
    }
    let text = larder.run(&["audit", "show"]).ends(0).out;
    assert_eq!(text.lines().count(), 4, "{text}");
    assert!(text.contains("docker.io/library/other:1 (not found)"), "{text}");
}

#[test]
fn where_names_moved_from_and_to_is_written_down() {
    let larder = Larder::new();
    let mut digests = Vec::new();
    for (seed, layout) in [(1, "first"), (2, "second")] {
        let image = ImageBuilder::new(seed).random_layers(1, 1_000, Compression::Gzip).build();
        image.write_layout(&larder.path(layout), Some("x")).unwrap();
        larder.run(&["copy", &format!("oci:{layout}:x"), "localhost/app:1"]).ends(0);
        digests.push(image.digest().to_string());
    }
    larder.run(&["tag", "localhost/app:1", "localhost/app:2"]).ends(0);
    larder.run(&["pin", "localhost/app:2"]).ends(0);
    larder.run(&["remove", "localhost/app:1", "localhost/app:2"]).ends(0);
    larder.run(&["gc"]).ends(0);
    let lines = lines(&larder.run(&["audit", "show", "-o", "json"]).ends(0));
    let told: Vec<Value> = lines
        .iter()
        .map(|line| {
            let reference = line["reference"].as_str().and_then(|text| text.split(' ').next());
            json!([line["action"], reference, line["before"], line["digest"]])
        })
        .collect();
    let (first, second) = (&digests[0], &digests[1]);
    assert_eq!(
        told,
        [
            json!(["copy", "1", null, first]),
            json!(["copy", "1", first, second]),
            json!(["tag", "2", null, second]),
            json!(["pin", "2", second, second]),
            json!(["remove", "1", second, null]),
            json!(["remove", "2", second, null]),
            json!(["gc", null, null, null]),
        ]
    );
    assert!(lines[6]["bytes"].as_u64().unwrap() > 1_000, "what was freed");
    let about = larder.run(&["audit", "show", "--digest", first]).ends(0).out;
    assert_eq!(about.lines().count(), 2, "{about}");
}

#[test]
fn what_only_looks_is_not_written_down() {
    let larder = Larder::new();
    for arguments in [
        &["list"][..],
        &["stats"],
        &["verify"],
        &["gc", "--dry-run"],
        &["inspect", "debian:12"],
        &["audit", "show"],
        &["audit", "verify"],
        &["config", "show"],
    ] {
        larder.run(arguments);
    }
    larder.run(&["pull", "--dry-run", NOBODY]).ends(6);
    assert!(!larder.path("store/audit").exists());
    let none = Larder::new().with("LARDER_AUDIT", "false");
    none.run(&["gc"]).ends(0);
    assert!(!none.path("store/audit").exists(), "it can be turned off");
}

#[test]
fn records_are_chosen_by_what_is_in_them() {
    let larder = used();
    let actions = |arguments: &[&str]| -> Vec<String> {
        let ran = larder.run(&[&["audit", "show", "-o", "json"], arguments].concat()).ends(0);
        lines(&ran).iter().map(|line| line["action"].as_str().unwrap().to_owned()).collect()
    };
    let all = ["gc", "tag", "pull", "logout"];
    assert_eq!(actions(&["--since", "1h"]), all);
    assert_eq!(actions(&["--actor", "(uid "]), all);
    assert_eq!(actions(&["--until", "1h"]), [""; 0]);
    assert_eq!(actions(&["--since", "2099-01-01T00:00:00Z"]), [""; 0]);
    assert_eq!(actions(&["--outcome", "failed"]), ["tag", "pull"]);
    assert_eq!(actions(&["--outcome", "denied,failed", "--repository", "team"]), ["pull"]);
    assert_eq!(actions(&["--action", "gc,logout"]), ["gc", "logout"]);
    assert_eq!(actions(&["--actor", "nobody else"]), [""; 0]);
    let digest = format!("sha256:{}", "0".repeat(64));
    assert_eq!(actions(&["--digest", &digest]), [""; 0]);
    larder.run(&["audit", "show", "--since", "yesterday"]).ends(2).says("neither a time like");
    larder.run(&["audit", "show", "--since", "1h", "--until", "2h"]).ends(2).says("not before --until");
}

#[test]
fn an_untouched_log_is_whole_and_a_changed_one_is_corrupt() {
    let larder = used();
    let whole = larder.run(&["audit", "verify"]).ends(0).out;
    assert!(whole.starts_with("the audit log is whole: 4 records in 1 file, from "), "{whole}");
    let end = whole.lines().last().unwrap().strip_prefix("end: ").unwrap().to_owned();
    larder.run(&["gc"]).ends(0);
    larder.run(&["audit", "verify", "--expect", &end]).ends(0);
    let other = format!("4:{}", "0".repeat(64));
    let ran = larder.run(&["audit", "verify", "--expect", &other]).ends(5);
    assert!(ran.out.contains("line 4, record 4: is not the record that was expected"), "{}", ran.out);
    larder.run(&["audit", "verify", "--expect", "4"]).ends(2).says("SEQUENCE:HASH");

    let text = std::fs::read_to_string(log(&larder)).unwrap();
    std::fs::write(log(&larder), text.replacen("team/app", "team/apx", 1)).unwrap();
    let ran = larder.run(&["audit", "verify"]).ends(5);
    let expected =
        format!("tampered: {}, line 3, record 3: was changed: it hashes to ", log(&larder).display());
    assert!(ran.out.starts_with(&expected), "{}", ran.out);
    let document = larder.run(&["audit", "verify", "-o", "json"]).ends(5).json();
    assert_eq!((&document["whole"], &document["records"]), (&json!(false), &json!(4)));
    let finding = &document["findings"][0];
    assert_eq!(
        (&finding["line"], &finding["record"], &finding["tampered"]),
        (&json!(3), &json!(3), &json!(true))
    );

    let ran = larder.run(&["verify"]).ends(5);
    assert!(ran.out.contains("00000000000000000001.jsonl: line 3 was changed"), "{}", ran.out);
    let ran = larder.run(&["verify", "--repair"]).ends(5);
    ran.says("cannot be repaired").says("larder audit verify");
}

#[test]
fn a_log_is_followed() {
    let larder = used();
    let mut command = larder.command(["audit", "show", "--follow", "-o", "json"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || -> Value { serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap() };
    for action in ["gc", "tag", "pull", "logout"] {
        assert_eq!(next()["action"], action);
    }
    larder.run(&["logout", "elsewhere.example"]).ends(0);
    assert_eq!(next()["reference"], "elsewhere.example");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_reader_of_the_log_may_go_away() {
    let larder = used();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = larder.command(["audit", "show", "--follow"]);
    let output = command.stdout(Stdio::from(writer)).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn old_records_are_trimmed_by_whole_files() {
    let larder = used();
    let ran = larder.run(&["audit", "trim", "--before", "0s", "-o", "json"]).ends(0);
    assert_eq!(
        ran.json(),
        json!({ "files": 0, "records": 0, "bytes": 0 }),
        "the file that is written to stays"
    );
    larder.run(&["audit", "trim"]).ends(2).says("--before");
}

#[test]
fn no_secret_reaches_the_log() {
    const CANARY: &str = "c4n4ry-hunter2";
    let larder = Larder::new().with("HTTPS_PROXY", &format!("http://user:{CANARY}@127.0.0.1:1"));
    larder.write(
        "store/config.yaml",
        &format!("registries:\n  127.0.0.1:1:\n    username: me\n    password: {CANARY}\n"),
    );
    let auth = format!("{{\"auths\":{{\"localhost:1\":{{\"identitytoken\":\"{CANARY}\"}}}}}}");
    larder.write("home/.docker/config.json", &auth);
    larder.feed(&["login", "127.0.0.1:1", "-u", "me", "--password-stdin"], CANARY).ends(6);
    larder.feed(&["pull", NOBODY, "--username", "me", "--password-stdin"], CANARY).ends(6);
    larder.run(&["pull", NOBODY]).ends(6);
    larder.run(&["pull", "localhost:1/a:1"]).ends(6);
    larder.run(&["copy", &format!("docker://{NOBODY}"), "oci:out"]).ends(6);
    larder.run(&["logout", "127.0.0.1:1"]);
    let mut files = 0;
    for entry in std::fs::read_dir(larder.path("store/audit")).unwrap() {
        let content = std::fs::read(entry.unwrap().path()).unwrap();
        assert!(!String::from_utf8_lossy(&content).contains(CANARY));
        files += 1;
    }
    assert_eq!(files, 2);
    assert_eq!(lines(&larder.run(&["audit", "show", "-o", "json"])).len(), 6);
}

#[test]
fn what_is_named_can_neither_break_a_line_nor_drive_a_terminal() {
    let larder = Larder::new();
    let dir = "here\n{\"format\":1}\u{1b}[2J\u{2028}";
    larder.run(&["mount", "debian:12", dir, "--pull", "never"]).ends(3);
    let shown = larder.run(&["audit", "show", "-o", "json"]).ends(0);
    let lines = lines(&shown);
    assert_eq!(lines.len(), 1);
    assert!(lines[0]["reference"].as_str().unwrap().ends_with(dir), "{shown:?}");
    let text = larder.run(&["audit", "show"]).ends(0).out;
    assert!(text.lines().count() == 1 && !text.contains('\u{1b}'), "{text:?}");
    larder.run(&["audit", "verify"]).ends(0);
}

#[test]
fn a_log_that_cannot_be_written_is_told_and_does_not_undo_what_was_done() {
    let larder = used();
    std::fs::remove_dir_all(larder.path("store/audit")).unwrap();
    larder.write("store/audit", "in the way");
    larder.run(&["logout", "registry.example"]).ends(0).says("cannot write the audit log");
}
