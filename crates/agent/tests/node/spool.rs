//! What the node says about itself, full disks, and what is no protocol.

use crate::conversation::{Node, header, hello, noise};
use larder_agent::{Code, Frame, FrameType, Hello, Presence, Request};
use larder_core::Digest;
use larder_testkit::Tmpfs;

#[test]
fn a_node_says_what_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let paths = vec!["/proc".into(), "/no/such/path/anywhere".into()];
    let (node, welcome) = Node::open_as(directory.path(), Hello { paths, ..hello() });
    assert_eq!(welcome.architecture, std::env::consts::ARCH);
    assert!(welcome.processors > 0 && welcome.spool.free_bytes > 0 && welcome.spool.total_bytes > 0);
    assert_eq!(welcome.paths[1].path, "/");
    assert_ne!(welcome.paths[0].device, welcome.spool.device);
    assert!(node.close());
}

#[test]
fn a_full_disk_is_an_error_before_and_in_the_middle() -> anyhow::Result<()> {
    let tmpfs = Tmpfs::mount(1 << 20)?;
    let content = noise(900_000, 1);
    let digest = Digest::of(&content);
    let mut node = Node::open(tmpfs.path());
    // Known from the announcement.
    node.say(&Request::Blob(header(digest, 5_000_000, 0)));
    let failure = node.answer().failure();
    assert_eq!(failure.code, Code::DiskFull);
    assert!(failure.words.contains("5000000 more bytes"), "{}", failure.words);
    node.say(&Request::End);
    // Somebody else fills it meanwhile.
    node.say(&Request::Blob(header(digest, content.len(), 0)));
    node.say(&Request::Data(&content[..100_000]));
    node.say(&Request::Ping);
    node.answer();
    let ballast = tmpfs.fill(64 << 10)?;
    for piece in content[100_000..].chunks(100_000) {
        node.say(&Request::Data(piece));
    }
    node.say(&Request::End);
    let failure = node.answer().failure();
    assert_eq!((failure.code, failure.digest), (Code::DiskFull, Some(digest)));
    assert_eq!(node.have(&[digest]), [Presence::Absent]);
    assert!(tmpfs.free()? > 64 << 10, "what could not be stored does not stay in the way");
    std::fs::remove_file(ballast)?;
    assert!(!node.send(digest, &content, 0).existed());
    Ok(())
}

#[test]
fn after_a_reboot_whole_blobs_are_read_again_before_they_count() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(200_000, 2);
    let digest = Digest::of(&content);
    let damaged = noise(100, 3);
    let mut node = Node::open(directory.path());
    assert!(!node.send(digest, &content, 0).existed());
    assert!(!node.send(Digest::of(&damaged), &damaged, 0).existed());
    assert!(node.close());
    let boot = directory.path().join("boot");
    let own = std::fs::read(&boot).unwrap();
    std::fs::write(&boot, "another boot\n").unwrap();
    let path = directory.path().join("blobs/sha256").join(Digest::of(&damaged).hex());
    std::fs::write(path, vec![0; 100]).unwrap();
    let mut node = Node::open(directory.path());
    assert_eq!(std::fs::read(&boot).unwrap(), own);
    assert_eq!(node.have(&[digest, Digest::of(&damaged)]), [Presence::Part(200_000), Presence::Part(100)]);
    // Nothing has to be sent.
    assert!(!node.send(digest, &content, content.len()).existed());
    assert_eq!(node.send(Digest::of(&damaged), &damaged, 100).failure().code, Code::WrongBytes);
    assert!(!node.send(Digest::of(&damaged), &damaged, 0).existed());
}

#[test]
fn what_is_no_protocol_ends_the_session_with_words() {
    let directory = tempfile::tempdir().unwrap();
    let frame = |frame_type, payload: &[u8]| {
        let mut bytes = Vec::new();
        Frame { frame_type, payload }.encode(&mut bytes);
        bytes
    };
    let old = frame(FrameType::Hello, br#"{"version":0}"#);
    let wrong = [
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), Code::Protocol),
        (frame(FrameType::Have, br#"{"digests":[]}"#), Code::Protocol),
        (frame(FrameType::Hello, b"{"), Code::Protocol),
        (frame(FrameType::Exit, b"{}"), Code::Protocol),
        (vec![FrameType::Hello as u8, 0xff, 0xff, 0xff, 0xff], Code::Protocol),
        (old, Code::Version),
    ];
    for (bytes, code) in wrong {
        let mut node = Node::start(directory.path());
        node.write(&bytes).unwrap();
        assert_eq!(node.answer().failure().code, code, "{bytes:?}");
        assert_eq!(node.hear(), None);
        assert!(!node.close());
    }
    let paths = vec![String::from("/"); 65];
    let mut node = Node::start(directory.path());
    node.say(&Request::Hello(Hello { paths, ..hello() }));
    assert_eq!(node.answer().failure().code, Code::Limit);
}

#[test]
fn silence_in_the_middle_of_a_blob_ends_the_session_and_keeps_the_part() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(1000, 4);
    let digest = Digest::of(&content);
    let (mut node, _) = Node::open_as(directory.path(), Hello { idle_seconds: Some(1), ..hello() });
    node.say(&Request::Blob(header(digest, 1000, 0)));
    node.say(&Request::Data(&content[..300]));
    let failure = node.answer().failure();
    assert!(failure.words.contains("nothing came for 1 s"), "{}", failure.words);
    assert_eq!(node.hear(), None);
    assert_eq!(Node::open(directory.path()).have(&[digest]), [Presence::Part(300)]);
}
