//! What dead sessions leave.

use crate::conversation::{Node, hello, noise};
use larder_agent::{Hello, Presence, Reply, Request, Sweep, Swept};
use larder_core::Digest;
use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

fn age(path: &Path, seconds: u64) {
    let time = SystemTime::now() - Duration::from_secs(seconds);
    File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn marks_of_killed_sessions_go_and_those_of_living_ones_stay() {
    let directory = tempfile::tempdir().unwrap();
    let sessions = directory.path().join("sessions");
    let living = Node::open(directory.path());
    let mut killed = Node::open(directory.path());
    killed.kill();
    assert_eq!(files(&sessions).len(), 2);
    let (last, welcome) = Node::open_as(directory.path(), hello());
    assert_eq!(welcome.swept.files, 1);
    let mut expected = vec![living.child.id().to_string(), last.child.id().to_string()];
    expected.sort();
    assert_eq!(files(&sessions), expected);
    assert!(living.close() && last.close());
    assert_eq!(files(&sessions), Vec::<String>::new());
}

#[test]
fn parts_go_when_they_are_old_and_nobody_writes_them() {
    let directory = tempfile::tempdir().unwrap();
    let (old, young) = (noise(500, 1), noise(600, 2));
    let blobs = directory.path().join("blobs/sha256");
    Node::open(directory.path()).close();
    for (content, seconds) in [(&old, 7200), (&young, 1800)] {
        let path = blobs.join(Digest::of(content).hex()).with_extension("part");
        std::fs::write(&path, &content[..100]).unwrap();
        age(&path, seconds);
    }
    let digests = [Digest::of(&old), Digest::of(&young)];
    // Unless an age is given, nothing that may be resumed goes.
    let mut node = Node::open(directory.path());
    assert_eq!(node.have(&digests), [Presence::Part(100), Presence::Part(100)]);
    assert!(node.close());
    let (mut node, welcome) = Node::open_as(directory.path(), Hello { keep_seconds: Some(3600), ..hello() });
    assert_eq!(welcome.swept, Swept { files: 1, bytes: 100 });
    assert_eq!(node.have(&digests), [Presence::Absent, Presence::Part(100)]);
    // What a session counts on stays, however old.
    assert!(!node.send(digests[1], &young, 100).existed());
    age(&blobs.join(digests[1].hex()), 100_000);
    let mut other = Node::open(directory.path());
    other.say(&Request::Sweep(Sweep { keep_seconds: 0 }));
    assert_eq!(other.answer().read(), Reply::Swept(Swept::default()));
    assert!(node.close());
    other.say(&Request::Sweep(Sweep { keep_seconds: 0 }));
    assert_eq!(other.answer().read(), Reply::Swept(Swept { files: 1, bytes: 600 }));
}

#[test]
fn other_programs_go_once_no_session_runs_them() {
    let directory = tempfile::tempdir().unwrap();
    let bin = directory.path().join("bin");
    std::fs::create_dir_all(&bin).unwrap();
    let (older, newer) = (bin.join("larder-node-older"), bin.join("larder-node-newer"));
    for path in [&older, &newer] {
        std::fs::copy(env!("CARGO_BIN_EXE_larder-node"), path).unwrap();
    }
    let upload = format!(".new.{}", std::process::id());
    std::fs::write(bin.join(".new.1"), "given up").unwrap();
    age(&bin.join(".new.1"), 3600);
    std::fs::write(bin.join(".new.4194305"), "of no process: pids are smaller").unwrap();
    std::fs::write(bin.join(&upload), "growing").unwrap();
    let old = Node::open_with(&older, directory.path());
    assert_eq!(files(&bin), [upload.as_str(), "larder-node-older"], "the newer one is not in use yet");
    std::fs::copy(env!("CARGO_BIN_EXE_larder-node"), &newer).unwrap();
    let new = Node::open_with(&newer, directory.path());
    assert_eq!(files(&bin), [upload.as_str(), "larder-node-newer", "larder-node-older"]);
    assert!(old.close() && new.close());
    assert!(Node::open_with(&newer, directory.path()).close());
    assert_eq!(files(&bin), [upload.as_str(), "larder-node-newer"]);
}

#[test]
fn the_program_says_its_version_and_refuses_other_words() {
    let run = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_larder-node")).args(arguments).output().unwrap()
    };
    assert!(run(&["--version"]).stdout.starts_with(b"larder-node "));
    let refused = run(&["serve", "--everywhere"]);
    assert!(!refused.status.success());
    assert!(String::from_utf8(refused.stderr).unwrap().contains("unknown argument"));
}
