//! Several sessions on one node.

use crate::conversation::{Node, header, hello, noise};
use larder_agent::{FrameType, Hello, Presence, Request};
use larder_core::Digest;

#[test]
fn who_comes_second_uses_what_the_first_brings() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(400_000, 1);
    let digest = Digest::of(&content);
    let mut first = Node::open(directory.path());
    first.say(&Request::Blob(header(digest, content.len(), 0)));
    first.say(&Request::Data(&content[..200_000]));
    first.say(&Request::Ping);
    assert_eq!(first.answer().frame_type, FrameType::Pong);

    let mut second = Node::open(directory.path());
    assert_eq!(second.have(&[digest]), [Presence::Part(200_000)]);
    second.say(&Request::Blob(header(digest, content.len(), 200_000)));
    // It says how far the other one is, and takes nothing meanwhile.
    assert_eq!(second.hear().unwrap().frame_type, FrameType::Progress);

    first.say(&Request::Data(&content[200_000..]));
    first.say(&Request::End);
    assert!(!first.answer().existed());
    assert!(second.answer().existed());
    // What was sent in vain is skipped.
    second.say(&Request::Data(&content[200_000..]));
    second.say(&Request::End);
    assert_eq!(second.have(&[digest]), [Presence::Whole(400_000)]);
    assert!(first.close() && second.close());
}

#[test]
fn who_waits_takes_over_from_one_that_dies() {
    let directory = tempfile::tempdir().unwrap();
    // What the second sends while it waits has to fit into its pipe.
    let content = noise(40_000, 2);
    let digest = Digest::of(&content);
    let mut first = Node::open(directory.path());
    first.say(&Request::Blob(header(digest, content.len(), 0)));
    first.say(&Request::Data(&content[..20_000]));
    first.say(&Request::Ping);
    first.answer();
    let mut second = Node::open(directory.path());
    second.say(&Request::Blob(header(digest, content.len(), 10_000)));
    second.say(&Request::Data(&content[10_000..30_000]));
    second.say(&Request::Data(&content[30_000..]));
    second.say(&Request::End);
    assert_eq!(second.hear().unwrap().frame_type, FrameType::Progress);
    first.kill();
    assert!(!second.answer().existed());
}

#[test]
fn eight_sessions_with_the_same_blobs_bring_each_once_and_right() {
    let directory = tempfile::tempdir().unwrap();
    let contents: Vec<Vec<u8>> = (0..6).map(|seed| noise(700_000, 10 + seed)).collect();
    let brought: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|turn| {
                let (contents, path) = (&contents, directory.path());
                scope.spawn(move || {
                    let mut node = Node::open(path);
                    let mut brought = 0;
                    for index in 0..contents.len() {
                        let content = &contents[(index + turn) % contents.len()];
                        brought += usize::from(!node.send(Digest::of(content), content, 0).existed());
                    }
                    assert!(node.close());
                    brought
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(brought, contents.len());
    let mut node = Node::open(directory.path());
    for content in &contents {
        let digest = Digest::of(content);
        assert_eq!(node.have(&[digest]), [Presence::Whole(700_000)]);
        let path = directory.path().join("blobs/sha256").join(digest.hex());
        assert_eq!(Digest::of(&std::fs::read(path).unwrap()), digest);
    }
}

#[test]
fn a_blob_that_another_session_counts_on_stays() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(1000, 3);
    let digest = Digest::of(&content);
    let mut first = Node::open(directory.path());
    let mut second = Node::open(directory.path());
    assert!(!first.send(digest, &content, 0).existed());
    assert_eq!(second.have(&[digest]), [Presence::Whole(1000)]);
    assert_eq!(first.release(&[digest]).kept, 1);
    assert_eq!(second.have(&[digest]), [Presence::Whole(1000)]);
    let released = second.release(&[digest]);
    assert_eq!((released.removed, released.removed_bytes), (1, 1000));
    assert_eq!(second.have(&[digest]), [Presence::Absent]);
}

#[test]
fn a_session_replaces_the_one_its_owner_left_behind() {
    let directory = tempfile::tempdir().unwrap();
    let owned = |owner: &str| Hello { owner: Some(owner.into()), ..hello() };
    let content = noise(1000, 4);
    let digest = Digest::of(&content);
    let (mut other, _) = Node::open_as(directory.path(), owned("b"));
    let (mut left, _) = Node::open_as(directory.path(), owned("a"));
    left.say(&Request::Blob(header(digest, 1000, 0)));
    left.say(&Request::Data(&content[..500]));
    left.say(&Request::Ping);
    left.answer();
    let (mut again, _) = Node::open_as(directory.path(), owned("a"));
    assert!(!left.child.wait().unwrap().success());
    assert!(!again.send(digest, &content, 500).existed());
    assert_eq!(other.have(&[digest]), [Presence::Whole(1000)]);
}
