//! Programs that a session runs.

use crate::conversation::{Heard, Node, noise};
use larder_agent::{Code, Content, Exit, Input, Limits, Member, Reply, Request, Run};
use larder_core::Digest;
use std::path::Path;
use std::time::{Duration, Instant};

fn order(argv: &[&str], stdin: Input) -> Run {
    let limits = Limits { seconds: Some(60), stdout_bytes: 1 << 20, stderr_bytes: 1 << 20 };
    Run { argv: argv.iter().map(|word| (*word).to_owned()).collect(), env: Vec::new(), stdin, limits }
}

fn exit(heard: &Heard) -> Exit {
    match heard.read() {
        Reply::Exit(exit) => exit,
        other => panic!("{other:?} is no exit"),
    }
}

/// Waits for `condition`.
fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < Duration::from_secs(20), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_alive(pid: &str) -> bool {
    // A zombie has no command line any more.
    std::fs::read(Path::new("/proc").join(pid).join("cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn arguments_arrive_as_they_are_and_the_outcome_comes_back() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    let mut run = order(&["printf", "%s|", "a b", "$(id)", "", "'\"\n"], Input::None);
    assert_eq!(node.run(run.clone(), b"").0, b"a b|$(id)||'\"\n|");
    run.argv = vec!["sh".into(), "-c".into(), "echo $LARDER_TEST; echo no >&2; exit 7".into()];
    run.env = vec![("LARDER_TEST".into(), "x y".into())];
    let (out, err, heard) = node.run(run, b"");
    assert_eq!((out.as_slice(), err.as_slice()), (b"x y\n".as_slice(), b"no\n".as_slice()));
    assert_eq!(exit(&heard).status, Some(7));
    let (.., heard) = node.run(order(&["sh", "-c", "kill -9 $$"], Input::None), b"");
    assert_eq!((exit(&heard).status, exit(&heard).signal), (None, Some(9)));
}

#[test]
fn programs_that_do_not_start_are_errors() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    for program in ["no-such-program-anywhere", "/etc/passwd", "/etc", "", "./../sh"] {
        let (.., heard) = node.run(order(&[program], Input::None), b"");
        assert_eq!(heard.failure().code, Code::NoProgram, "{program:?}");
    }
    let file = directory.path().join("script");
    std::fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let (_, err, heard) = node.run(order(&[file.to_str().unwrap()], Input::None), b"");
    assert_eq!(exit(&heard).status, Some(1));
    assert!(String::from_utf8(err).unwrap().contains("cannot start"));
}

#[test]
fn bytes_and_blobs_reach_the_program() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(3_000_000, 1);
    let digest = Digest::of(&content);
    let mut node = Node::open(directory.path());
    let (out, ..) = node.run(order(&["sha256sum"], Input::Bytes(3_000_000)), &content);
    assert!(String::from_utf8(out).unwrap().starts_with(&digest.hex()));
    assert_eq!(node.run(order(&["cat"], Input::Blob(digest)), b"").2.failure().code, Code::Absent);
    assert!(!node.send(digest, &content, 0).existed());
    let (out, _, heard) = node.run(order(&["sha256sum"], Input::Blob(digest)), b"");
    assert!(String::from_utf8(out).unwrap().starts_with(&digest.hex()));
    assert_eq!((exit(&heard).stdin_bytes, exit(&heard).stdin_whole), (3_000_000, true));
}

#[test]
fn tar_reads_the_archive_as_it_was_meant() {
    let directory = tempfile::tempdir().unwrap();
    let contents = [noise(1_000_000, 2), noise(512, 3), Vec::new()];
    let mut node = Node::open(directory.path());
    for content in &contents {
        node.send(Digest::of(content), content, 0);
    }
    let long = format!("blobs/sha512/{}", "f".repeat(128));
    let member = |name: &str, content| Member { name: name.into(), content };
    let members = vec![
        member("oci-layout", Content::Inline(30)),
        member("blobs/a", Content::Blob(Digest::of(&contents[0]))),
        member(&long, Content::Blob(Digest::of(&contents[1]))),
        member("größe", Content::Inline(600)),
        member("empty", Content::Blob(Digest::of(&contents[2]))),
    ];
    let inline = noise(630, 4);
    let stdin = Input::Tar(members);
    let mut list = order(&["tar", "-tv", "--numeric-owner", "--utc"], stdin.clone());
    list.env = vec![("LC_ALL".into(), "C.UTF-8".into())];
    let (out, err, heard) = node.run(list, &inline);
    assert_eq!((exit(&heard).status, String::from_utf8(err).unwrap().as_str()), (Some(0), ""));
    let listing = String::from_utf8(out).unwrap();
    let lines: Vec<Vec<&str>> = listing.lines().map(|line| line.split_whitespace().collect()).collect();
    let seen: Vec<(&str, &str)> = lines.iter().map(|line| (line[2], line[5])).collect();
    let expected =
        [("30", "oci-layout"), ("1000000", "blobs/a"), ("512", &long), ("600", "größe"), ("0", "empty")];
    assert_eq!(seen, expected);
    assert!(lines.iter().all(|line| line[..2] == ["-rw-r--r--", "0/0"] && line[3] == "1970-01-01"));
    let target = tempfile::tempdir().unwrap();
    let (.., heard) = node.run(order(&["tar", "-xC", target.path().to_str().unwrap()], stdin), &inline);
    assert_eq!(exit(&heard).status, Some(0));
    let read = |name: &str| std::fs::read(target.path().join(name)).unwrap();
    assert!(read("blobs/a") == contents[0] && read(&long) == contents[1] && read("empty").is_empty());
    assert!(read("oci-layout") == inline[..30] && read("größe") == inline[30..]);
}

#[test]
fn a_program_that_stops_reading_is_no_error_of_the_node() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(4_000_000, 5);
    let mut node = Node::open(directory.path());
    node.send(Digest::of(&content), &content, 0);
    let stdin = Input::Blob(Digest::of(&content));
    let (_, err, heard) =
        node.run(order(&["sh", "-c", "head -c 10 >/dev/null; echo enough >&2; exit 3"], stdin), b"");
    assert_eq!(err, b"enough\n");
    assert_eq!((exit(&heard).status, exit(&heard).stdin_whole), (Some(3), false));
    assert!(node.close());
}

#[test]
fn endless_output_is_counted_and_cut() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    let mut run = order(&["sh", "-c", "head -c 50000000 /dev/zero; head -c 5000 /dev/zero >&2"], Input::None);
    run.limits.stdout_bytes = 100_000;
    let (out, err, heard) = node.run(run, b"");
    assert_eq!((out.len(), err.len()), (100_000, 5000));
    assert_eq!((exit(&heard).stdout_bytes, exit(&heard).status), (50_000_000, Some(0)));
}

#[test]
fn a_program_ends_at_its_time_or_when_it_is_cancelled() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    let mut run = order(&["sh", "-c", "sleep 300 & sleep 300"], Input::None);
    run.limits.seconds = Some(1);
    let (.., heard) = node.run(run, b"");
    assert_eq!((exit(&heard).signal, exit(&heard).ended.as_deref()), (Some(9), Some("time limit")));

    node.say(&Request::Run(order(&["sh", "-c", "echo on; sleep 300"], Input::None)));
    node.say(&Request::End);
    assert_eq!(node.answer().read(), Reply::Stdout(b"on\n"));
    node.say(&Request::Ping);
    assert_eq!(node.answer().read(), Reply::Pong);
    node.say(&Request::Cancel);
    let heard = node.outcome().2;
    assert_eq!(exit(&heard).ended.as_deref(), Some("cancelled"));
    assert!(node.close());
}

#[test]
fn a_program_that_leaves_others_behind_is_not_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    let start = Instant::now();
    let (out, _, heard) = node.run(order(&["sh", "-c", "setsid sleep 30 & echo $!"], Input::None), b"");
    assert_eq!(exit(&heard).status, Some(0));
    assert!(start.elapsed() < Duration::from_secs(15));
    let pid = String::from_utf8(out).unwrap();
    let _ = std::process::Command::new("kill").arg(pid.trim()).status();
}

#[test]
fn the_end_of_the_input_ends_the_whole_group_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    node.say(&Request::Run(order(&["sh", "-c", "sleep 300 & echo $! $$; wait"], Input::None)));
    node.say(&Request::End);
    let heard = node.answer();
    let Reply::Stdout(bytes) = heard.read() else { panic!("{heard:?}") };
    let pids: Vec<String> =
        String::from_utf8(bytes.to_vec()).unwrap().split_whitespace().map(str::to_owned).collect();
    // One that becomes another program has no command line for a moment.
    eventually("the group", || pids.len() == 2 && pids.iter().all(|pid| is_alive(pid)));
    node.hang_up();
    let start = Instant::now();
    node.child.wait().unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
    eventually("the end of the group", || !pids.iter().any(|pid| is_alive(pid)));
}

#[test]
fn a_killed_session_takes_its_program_along() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    node.say(&Request::Run(order(&["sh", "-c", "echo $$; exec sleep 300"], Input::None)));
    node.say(&Request::End);
    let heard = node.answer();
    let Reply::Stdout(bytes) = heard.read() else { panic!("{heard:?}") };
    let pid = String::from_utf8(bytes.to_vec()).unwrap().trim().to_owned();
    eventually("the program", || is_alive(&pid));
    node.kill();
    eventually("the end of the program", || !is_alive(&pid));
}

#[test]
fn requests_beyond_the_bounds_are_refused_and_the_session_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let mut node = Node::open(directory.path());
    node.say(&Request::Run(order(&["cat"], Input::Bytes(u64::MAX))));
    for _ in 0..100 {
        node.say(&Request::Data(&[0; 200_000]));
    }
    node.say(&Request::End);
    assert_eq!(node.answer().failure().code, Code::Limit);
    let nameless = Member { name: String::new(), content: Content::Inline(0) };
    let (.., heard) = node.run(order(&["cat"], Input::Tar(vec![nameless])), b"");
    assert_eq!(heard.failure().code, Code::Limit);
    assert_eq!(node.run(order(&["echo", "on"], Input::None), b"").0, b"on\n");
}
