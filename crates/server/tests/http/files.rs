//! Blobs on the wire: whole, in parts, one after another, damaged.

use crate::house::{House, eventually, header, noise};
use larder_core::Digest;
use larder_testkit::RawEnd;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::fs::FileExt as _;

#[test]
fn every_range_of_a_blob_is_that_range() {
    let house = House::open();
    for length in [1, 1023, 1024, 1025, 200_000, 5_000_000] {
        let bytes = noise(length);
        let digest = house.hold("localhost/app", &bytes);
        let path = format!("/v2/app/blobs/{digest}");
        // Twice: while it is being hashed, and afterwards.
        for _ in 0..2 {
            let whole = house.get(&path);
            assert_eq!((whole.status, whole.end), (200, RawEnd::Complete), "{length}");
            assert!(whole.body == bytes, "{length}: other bytes");
            assert_eq!(header(&whole, "docker-content-digest"), Some(digest.to_string().as_str()));
        }
        for (first, last) in
            [(0, 0), (length / 2, length - 1), (length / 3, length / 2), (length - 1, length + 5)]
        {
            let range = format!("bytes={first}-{last}");
            let part = house.send("GET", &path).header("Range", &range).send();
            assert_eq!(part.status, 206, "{length} {range}");
            let end = last.min(length - 1) + 1;
            assert!(part.body == bytes[first..end], "{length} {range}");
            let expected = format!("bytes {first}-{}/{length}", end - 1);
            assert_eq!(header(&part, "content-range"), Some(expected.as_str()));
        }
        let beyond = house.send("GET", &path).header("Range", &format!("bytes={length}-")).send();
        assert_eq!(beyond.status, 416);
        assert_eq!(header(&beyond, "content-range"), Some(format!("bytes */{length}").as_str()));
    }
}

/// Stretches of files and plain answers share one connection and keep their order.
#[test]
fn answers_on_one_connection_come_in_order() {
    let house = House::open();
    let blobs: Vec<Vec<u8>> = (1..20).map(|n| noise(n * 37_000)).collect();
    let digests: Vec<Digest> = blobs.iter().map(|bytes| house.hold("localhost/app", bytes)).collect();
    let mut stream = TcpStream::connect(house.address).unwrap();
    let mut requests = String::new();
    for digest in &digests {
        requests.push_str(&format!("GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n"));
        requests.push_str("GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n");
        requests.push_str(&format!("HEAD /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n"));
    }
    requests.push_str("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let mut writer = stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(requests.as_bytes()).unwrap());
    let mut all = Vec::new();
    stream.read_to_end(&mut all).unwrap();
    sender.join().unwrap();
    let mut rest = all.as_slice();
    for bytes in &blobs {
        assert!(take_answer(&mut rest, bytes.len()) == *bytes);
        assert_eq!(take_answer(&mut rest, 2), b"{}");
        assert!(take_answer(&mut rest, 0).is_empty());
    }
    assert_eq!(take_answer(&mut rest, 3), b"ok\n");
    assert!(rest.is_empty());
}

fn take_answer<'a>(rest: &mut &'a [u8], length: usize) -> &'a [u8] {
    let end = rest.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
    let body = &rest[end..end + length];
    *rest = &rest[end + length..];
    body
}

/// Whatever happens to the file, and whenever: nobody gets a whole answer with wrong bytes.
#[test]
fn a_changed_file_is_never_served_as_a_whole() {
    for length in [500, 100_000, 3_000_000] {
        for at in [0, length / 2, length - 1] {
            for served_before in [false, true] {
                let house = House::open();
                let bytes = noise(length);
                let digest = house.hold("localhost/app", &bytes);
                let path = format!("/v2/app/blobs/{digest}");
                if served_before {
                    assert_eq!(house.get(&path).body, bytes);
                }
                let file = house.home.path().join("blobs/sha256").join(digest.hex());
                let file = std::fs::File::options().write(true).open(file).unwrap();
                file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
                for attempt in 0..3 {
                    let answer = house.get(&path);
                    let whole = answer.status == 200 && answer.end == RawEnd::Complete;
                    assert!(!whole, "{length} {at} {served_before} {attempt}");
                    let part = house.send("GET", &path).header("Range", &format!("bytes={at}-{at}")).send();
                    assert!(
                        part.status != 206 || part.end != RawEnd::Complete,
                        "{length} {at}: the flipped byte"
                    );
                }
                assert_eq!(house.get(&path).status, 404, "it was set aside");
            }
        }
    }
}

#[test]
fn a_shortened_or_lengthened_file_is_not_served() {
    for length in [100_usize, 1_000_000] {
        for change in [-1_i64, 1] {
            let house = House::open();
            let digest = house.hold("localhost/app", &noise(length));
            let path = format!("/v2/app/blobs/{digest}");
            assert_eq!(house.get(&path).status, 200);
            let file = house.home.path().join("blobs/sha256").join(digest.hex());
            let file = std::fs::File::options().write(true).open(file).unwrap();
            file.set_len((length as i64 + change) as u64).unwrap();
            let answer = house.get(&path);
            assert!(answer.status != 200 || answer.end != RawEnd::Complete, "{length} {change}");
        }
    }
}

#[test]
fn a_client_that_leaves_is_recorded_as_cut_off() {
    let house = House::open();
    let digest = house.hold("localhost/app", &noise(40_000_000));
    let path = format!("/v2/app/blobs/{digest}");
    let part = house.send("GET", &path).at_most(1000).send();
    assert_eq!((part.status, part.end), (200, RawEnd::TooLong));
    eventually("the record of the cut", || {
        let records = house.records.lock().unwrap();
        records.iter().any(|record| record.broken && record.route == "blob" && record.sent < 40_000_000)
    });
}

#[test]
fn what_is_served_is_counted_here_and_in_the_store() {
    let house = House::open();
    let digest = house.hold("localhost/app", &noise(1000));
    for _ in 0..3 {
        assert_eq!(house.get(&format!("/v2/app/blobs/{digest}")).status, 200);
    }
    let metrics = String::from_utf8(house.get("/metrics").body).unwrap();
    assert!(metrics.contains("larder_tier_hits_total{tier=\"disk\"} 3"), "{metrics}");
    assert!(metrics.contains("larder_tier_bytes_total{tier=\"disk\"} 3000"), "{metrics}");
    eventually("the store's statistics", || {
        let stats = house.store.stats().unwrap();
        stats.tiers.iter().any(|tier| tier.tier.as_str() == "disk" && (tier.hits, tier.bytes) == (3, 3000))
    });
}
