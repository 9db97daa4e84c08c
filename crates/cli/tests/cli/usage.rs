//! Arguments, help, and what becomes of output that nobody reads.

use crate::program::{Larder, finish};
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

#[test]
fn without_arguments_there_is_help_and_a_usage_error() {
    let ran = Larder::new().run(&[]).ends(2).says("Usage: larder");
    assert_eq!(ran.out, "");
}

#[test]
fn version_and_help_go_to_standard_output() {
    let larder = Larder::new();
    assert_eq!(larder.run(&["--version"]).ends(0).out, format!("larder {}\n", env!("CARGO_PKG_VERSION")));
    let help = larder.run(&["--help"]).ends(0);
    for text in ["Exit codes:", "$OMYKUBE_HOME/larder", "LARDER_CERTS_DIR", "--output json"] {
        assert!(help.out.contains(text), "{text}");
    }
    assert_eq!(help.err, "");
}

#[test]
fn every_verb_of_the_list_has_help_with_an_example_and_its_json() {
    let larder = Larder::new();
    let help = larder.run(&["-h"]).ends(0).out;
    let list =
        help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let verbs: Vec<&str> =
        list.filter_map(|line| line.split_whitespace().next()).filter(|verb| *verb != "help").collect();
    for verb in [
        "pull", "push", "copy", "list", "inspect", "tag", "remove", "login", "logout", "stats", "gc", "prune",
    ] {
        assert!(verbs.contains(&verb), "{verb}");
    }
    for verb in verbs {
        let help = larder.run(&["help", verb]).ends(0).out;
        assert!(help.contains("Usage: larder ") && help.contains("Examples:"), "{verb}: {help}");
        assert!(
            help.contains("\nJSON:\n")
                || ["audit", "config", "completions", "nodes", "package"].contains(&verb),
            "{verb}: {help}"
        );
    }
}

#[test]
fn the_exit_codes_can_be_looked_up() {
    let larder = Larder::new();
    let asked = larder.run(&["help", "exit-codes"]).ends(0).out;
    let run = larder.run(&["exit-codes"]).ends(0).out;
    for line in ["  3  not found", "  4  denied", "  5  corrupt", "  6  unavailable", "130  interrupted"] {
        assert!(asked.contains(line) && run.contains(line), "{line}");
    }
}

#[test]
fn mistakes_are_named_with_what_was_meant() {
    let larder = Larder::new();
    larder.run(&["pul"]).ends(2).says("'pull'");
    larder.run(&["pull"]).ends(2).says("<REF>");
    larder.run(&["pull", "--quite", "a"]).ends(2).says("'--quiet'");
    larder.run(&["pull", "NotLower"]).ends(2).says("the repository must be lower case");
    larder.run(&["pull", "https://docker.io/x"]).ends(2).says("a reference has no scheme");
    larder.run(&["pull", "a", "--platform", "linux"]).ends(2).says("linux/arm64");
    larder
        .run(&["pull", "a", "--all-platforms", "--platform", "linux/amd64"])
        .ends(2)
        .says("cannot be used with");
    larder.run(&["pull", "a", "--username", "me"]).ends(2).says("--password-stdin");
    larder.run(&["prune", "--older-than", "soon"]).ends(2).says("30d");
    larder.run(&["gc", "--quota", "lots"]).ends(2).says("20GiB");
    larder.run(&["copy", "ftp://x", "y"]).ends(2).says("unknown transport ftp");
    larder.run(&["login", "host/path"]).ends(2).says("not a host name");
    larder.run(&["config", "show", "jbos"]).ends(2).says("'jobs'");
    assert!(!larder.path("store").exists(), "nothing is made before the arguments are understood");
}

#[test]
fn mistakes_are_json_too() {
    for arguments in [&["pull", "-o", "json"][..], &["--output=json", "pull"]] {
        let error = Larder::new().run(arguments).ends(2).says("error: ").json()["error"].clone();
        assert_eq!((&error["kind"], &error["exit_code"]), (&"usage".into(), &2.into()));
        assert!(error["message"].as_str().unwrap().contains("not provided: <REF>"), "{error}");
    }
}

#[test]
fn arguments_need_not_be_utf8_to_be_refused() {
    let larder = Larder::new();
    let odd = OsStr::from_bytes(b"\xff\xfe");
    finish(larder.command([OsStr::new("pull"), odd]), "").ends(2);
    finish(larder.command([odd]), "").ends(2);
    finish(larder.command([OsStr::new("--certs-dir"), odd, OsStr::new("list")]), "")
        .ends(2)
        .says("not UTF-8");
    let mut command = larder.command(["list"]);
    finish(
        {
            command.env("LARDER_JOBS", odd);
            command
        },
        "",
    )
    .ends(2)
    .says("LARDER_JOBS");
}

#[test]
fn completions_for_every_shell() {
    let larder = Larder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = larder.run(&["completions", shell]).ends(0).out;
        assert!(script.contains("all-platforms") && script.contains("unmount"), "{shell}");
    }
    larder.run(&["completions", "tcsh"]).ends(2).says("bash");
}

#[test]
fn man_pages_for_every_verb() {
    let larder = Larder::new();
    larder.run(&["man", "pages"]).ends(0);
    for page in ["larder.1", "larder-pull.1", "larder-config-show.1"] {
        let text = std::fs::read_to_string(larder.path("pages").join(page)).unwrap();
        assert!(text.contains(".TH"), "{page}");
    }
}

#[test]
fn a_reader_that_went_away_is_no_failure() {
    let larder = Larder::new();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = larder.command(["completions", "bash"]);
    let output = command.stdout(Stdio::from(writer)).output().unwrap();
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
}

#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let larder = Larder::new();
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let output = larder.command(["completions", "bash"]).stdout(full()).output().unwrap();
    assert_eq!(output.status.code(), Some(6), "the disk is full");
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: cannot write to standard output: "));
    let status = larder.command(["inspect", "a"]).stdout(full()).stderr(full()).status().unwrap();
    assert_eq!(status.code(), Some(3), "an error that nobody sees keeps its code");
}
