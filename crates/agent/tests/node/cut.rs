//! Cuts, kills and damage.

use crate::conversation::{Node, header, hello, noise};
use larder_agent::{BlobHeader, Code, Encoding, Have, Presence, Request};
use larder_core::{Algorithm, Digest, Hasher};
use std::path::PathBuf;

fn file(directory: &tempfile::TempDir, digest: &Digest) -> PathBuf {
    directory.path().join("blobs").join(digest.algorithm().as_str()).join(digest.hex())
}

/// All bytes that a client sends for a small delivery.
fn delivery(digest: Digest, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut say = |request: Request<'_>| request.encode(&mut bytes).unwrap();
    say(Request::Hello(hello()));
    say(Request::Have(Have { digests: vec![digest] }));
    say(Request::Blob(header(digest, content.len(), 0)));
    for piece in content.chunks(20) {
        say(Request::Data(piece));
        say(Request::Ping);
    }
    say(Request::End);
    bytes
}

#[test]
fn a_delivery_cut_at_any_byte_is_resumed_where_it_stopped() {
    let content = noise(90, 1);
    let digest = Digest::of(&content);
    let whole = delivery(digest, &content);
    let mut resumed = [false; 91];
    for cut in 0..=whole.len() {
        let directory = tempfile::tempdir().unwrap();
        let mut node = Node::start(directory.path());
        node.write(&whole[..cut]).unwrap();
        node.close();
        assert!(
            !file(&directory, &digest).exists() || cut == whole.len(),
            "cut at {cut}: the blob is there before its end was announced"
        );
        let mut node = Node::open(directory.path());
        match node.have(&[digest])[0] {
            Presence::Whole(size) => assert_eq!((cut, size), (whole.len(), 90)),
            Presence::Absent => assert!(!node.send(digest, &content, 0).existed()),
            Presence::Part(size) => {
                let size = usize::try_from(size).unwrap();
                assert!(size > 0, "cut at {cut}: an empty part is kept");
                resumed[size] = true;
                assert!(!node.send(digest, &content, size).existed());
            }
        }
        assert!(node.close());
        assert_eq!(std::fs::read(file(&directory, &digest)).unwrap(), content, "cut at {cut}");
    }
    assert_eq!(resumed.iter().filter(|seen| **seen).count(), 90, "every byte that arrived is kept");
}

#[test]
fn what_arrived_before_a_kill_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(3_000_000, 2);
    let digest = Digest::of(&content);
    let mut node = Node::open(directory.path());
    node.say(&Request::Blob(header(digest, content.len(), 0)));
    for piece in content[..2_000_000].chunks(100_000) {
        node.say(&Request::Data(piece));
    }
    // The answer comes after the data before it were written.
    node.say(&Request::Ping);
    node.answer();
    node.kill();
    let mut node = Node::open(directory.path());
    assert_eq!(node.have(&[digest]), [Presence::Part(2_000_000)]);
    // Earlier than the node could: what is beyond is cut off.
    assert!(!node.send(digest, &content, 1_500_000).existed());
    assert_eq!(std::fs::read(file(&directory, &digest)).unwrap(), content);
}

#[test]
fn wrong_bytes_are_thrown_away_and_said() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(300_000, 3);
    let digest = Digest::of(&content);
    let mut wrong = content.clone();
    wrong[200_000] ^= 1;
    let mut node = Node::open(directory.path());
    let failure = node.send(digest, &wrong, 0).failure();
    assert_eq!((failure.code, failure.digest), (Code::WrongBytes, Some(digest)));
    assert!(failure.words.contains("hashes to"), "{}", failure.words);
    assert_eq!(node.have(&[digest]), [Presence::Absent]);
    // The session goes on.
    assert!(!node.send(digest, &content, 0).existed());
    assert!(node.send(digest, &content, 0).existed());
    assert!(node.close());
}

#[test]
fn bytes_that_changed_in_a_part_are_found() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(300_000, 4);
    let digest = Digest::of(&content);
    Node::open(directory.path()).close();
    let mut damaged = content[..150_000].to_vec();
    damaged[7] ^= 0x40;
    std::fs::write(file(&directory, &digest).with_extension("part"), damaged).unwrap();
    let mut node = Node::open(directory.path());
    assert_eq!(node.have(&[digest]), [Presence::Part(150_000)]);
    assert_eq!(node.send(digest, &content, 150_000).failure().code, Code::WrongBytes);
    assert!(!node.send(digest, &content, 0).existed());
}

#[test]
fn too_many_too_few_and_misplaced_bytes_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(1000, 5);
    let digest = Digest::of(&content);
    let mut node = Node::open(directory.path());

    node.say(&Request::Blob(header(digest, 999, 0)));
    node.say(&Request::Data(&content));
    node.say(&Request::End);
    assert_eq!(node.answer().failure().code, Code::WrongBytes);
    assert_eq!(node.have(&[digest]), [Presence::Absent]);

    node.say(&Request::Blob(header(digest, 1000, 0)));
    node.say(&Request::Data(&content[..600]));
    node.say(&Request::End);
    let failure = node.answer().failure();
    assert_eq!((failure.code, failure.have), (Code::Incomplete, Some(600)));

    let failure = node.send(digest, &content, 700).failure();
    assert_eq!((failure.code, failure.have), (Code::Offset, Some(600)));
    assert!(!node.send(digest, &content, 600).existed());

    node.say(&Request::Blob(header(digest, 1001, 1000)));
    node.say(&Request::End);
    assert_eq!(node.answer().failure().code, Code::WrongBytes);
    assert_eq!(node.have(&[digest]), [Presence::Whole(1000)]);
}

#[test]
fn sha512_and_empty_blobs_are_blobs() {
    let directory = tempfile::tempdir().unwrap();
    let content = noise(70_000, 6);
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(&content);
    let digest = hasher.finish();
    let mut node = Node::open(directory.path());
    assert!(!node.send(digest, &content, 0).existed());
    assert!(!node.send(Digest::of(b""), b"", 0).existed());
    assert_eq!(node.have(&[digest, Digest::of(b"")]), [Presence::Whole(70_000), Presence::Whole(0)]);
}

fn compressed(pieces: &[&[u8]]) -> Vec<u8> {
    pieces.iter().flat_map(|piece| zstd::bulk::compress(piece, 3).unwrap()).collect()
}

#[test]
fn compressed_blobs_continue_at_a_frame() {
    let directory = tempfile::tempdir().unwrap();
    let content = [noise(10_000, 7), vec![b'x'; 900_000], noise(90_000, 8)].concat();
    let digest = Digest::of(&content);
    let size = content.len() as u64;
    let head = compressed(&[&content[..400_000]]);
    let tail = compressed(&[&content[400_000..700_000], &content[700_000..]]);
    let mut node = Node::open(directory.path());
    let announce = |offset| BlobHeader { digest, size, offset, encoding: Encoding::Zstd };
    node.say(&Request::Blob(announce(0)));
    for byte in &head {
        node.say(&Request::Data(std::slice::from_ref(byte)));
    }
    node.say(&Request::Data(&tail[..50]));
    node.say(&Request::End);
    let have = node.answer().failure().have.unwrap();
    assert!(have >= 400_000);
    node.say(&Request::Blob(announce(400_000)));
    node.say(&Request::Data(&tail));
    node.say(&Request::End);
    assert!(!node.answer().existed());
    assert_eq!(std::fs::read(file(&directory, &digest)).unwrap(), content);
}

#[test]
fn bombs_and_damaged_encodings_leave_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let digest = Digest::of(b"x");
    let mut node = Node::open(directory.path());
    let mut send = |bytes: &[u8]| {
        let announced = BlobHeader { digest, size: 1000, offset: 0, encoding: Encoding::Zstd };
        node.say(&Request::Blob(announced));
        node.say(&Request::Data(bytes));
        node.say(&Request::End);
        let code = node.answer().failure().code;
        assert_eq!(node.have(&[digest]), [Presence::Absent]);
        code
    };
    assert_eq!(send(&compressed(&[&vec![0; 50_000_000]])), Code::WrongBytes);
    assert_eq!(send(b"not zstd at all"), Code::WrongBytes);
    // A frame that asks for a window of 16 MiB (RFC 8878, 3.1.1.1.2).
    assert_eq!(send(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 14 << 3, 0x01, 0x00, 0x00]), Code::WrongBytes);
}
