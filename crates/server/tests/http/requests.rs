//! Requests that are not what they should be.

use crate::house::{House, eventually, header};
use larder_core::Digest;
use larder_server::Settings;
use larder_testkit::RawEnd;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

#[test]
fn what_is_wrong_is_said_with_a_code_and_without_a_path() {
    let house = House::open();
    let digest = Digest::of(b"nothing");
    let home = house.home.path().to_str().unwrap().to_owned();
    let cases = [
        ("GET", format!("/v2/app/blobs/{digest}"), 404, "BLOB_UNKNOWN"),
        ("GET", "/v2/app/blobs/sha256:abc".into(), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/app/blobs/sha256:{}", "A".repeat(64)), 400, "DIGEST_INVALID"),
        ("GET", format!("/v2/app/blobs/md5:{}", "0".repeat(32)), 400, "DIGEST_INVALID"),
        ("GET", "/v2/app/blobs/sha256:..%2f..%2fetc".into(), 404, "NAME_INVALID"),
        ("GET", "/v2/app/manifests/latest".into(), 404, "MANIFEST_UNKNOWN"),
        ("GET", "/v2/app/manifests/.bad".into(), 400, "MANIFEST_INVALID"),
        ("GET", "/v2/APP/tags/list".into(), 400, "NAME_INVALID"),
        ("GET", "/v2/app/tags/list".into(), 404, "NAME_UNKNOWN"),
        ("GET", "/v2/app/tags/list?n=-1".into(), 400, "UNSUPPORTED"),
        ("PUT", format!("/v2/app/blobs/{digest}"), 405, "UNSUPPORTED"),
        ("DELETE", format!("/v2/app/blobs/{digest}"), 404, "BLOB_UNKNOWN"),
        ("DELETE", "/v2/app/manifests/latest".into(), 404, "MANIFEST_UNKNOWN"),
        ("PATCH", "/v2/app/blobs/uploads/nope".into(), 404, "BLOB_UPLOAD_UNKNOWN"),
        ("PATCH", "/v2/app/blobs/uploads/..%2f..%2fx".into(), 404, "NAME_INVALID"),
        ("GET", "/v2/app/referrers/sha256:x".into(), 400, "DIGEST_INVALID"),
        ("GET", "/nothing".into(), 404, "NAME_INVALID"),
        ("GET", "/v2/app/tags/list?n=%zz".into(), 400, "UNSUPPORTED"),
        ("POST", "/v2/app/blobs/uploads/?digest-algorithm=md5".into(), 400, "DIGEST_INVALID"),
    ];
    for (method, path, status, code) in cases {
        let answer = house.send(method, &path).send();
        let body = String::from_utf8(answer.body.clone()).unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {body}");
        assert!(body.contains(&format!("\"code\":\"{code}\"")), "{method} {path}: {body}");
        assert!(!body.contains(&home), "{body}");
        assert!(header(&answer, "x-request-id").is_some());
    }
}

#[test]
fn absurd_numbers_cost_nothing() {
    let house = House::open();
    for n in ["0", "1", "9223372036854775808", "18446744073709551615", "99999999999999999999999"] {
        assert_eq!(house.get(&format!("/v2/_catalog?n={n}")).status, 200, "{n}");
    }
    let claim = "999999999999999999";
    let upload = house.send("POST", "/v2/app/blobs/uploads/").header("Content-Length", claim);
    assert_eq!(upload.send().status, 202, "an announced length is not a body, and a session takes none");
    let manifest = house.send("PUT", "/v2/app/manifests/x").header("Content-Length", claim).body("{}");
    assert_eq!(manifest.send().status, 413);
}

#[test]
fn a_manifest_has_at_most_four_mebibytes() {
    let house = House::open();
    let text = |length: usize| {
        let frame = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"x":""}}"#;
        frame.replace("\"\"", &format!("\"{}\"", "y".repeat(length - frame.len())))
    };
    let kind = "application/vnd.oci.image.index.v1+json";
    let put = |length| {
        house
            .send("PUT", "/v2/app/manifests/big")
            .header("Content-Type", kind)
            .body(text(length))
            .send()
            .status
    };
    assert_eq!(put(4 << 20), 201);
    assert_eq!(put((4 << 20) + 1), 413);
    assert_eq!(house.get("/v2/app/manifests/big").body.len(), 4 << 20);
}

/// The same bytes as a manifest and as an index (CVE-2021-41190), and a type that is not the document's own.
#[test]
fn a_document_is_one_thing() {
    let house = House::open();
    let digest = Digest::of(b"x");
    let both = format!(
        r#"{{"schemaVersion":2,"config":{{"mediaType":"a/b","digest":"{digest}","size":1}},"layers":[],"manifests":[]}}"#
    );
    let index = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
    let image = "application/vnd.oci.image.manifest.v1+json";
    for (body, kind) in
        [(both.as_str(), image), (index, image), ("[]", image), ("", image), ("{\"a\":", image)]
    {
        let put = house.send("PUT", "/v2/app/manifests/x").header("Content-Type", kind).body(body);
        let answer = put.send();
        assert_eq!(answer.status, 400, "{body}: {}", String::from_utf8_lossy(&answer.body));
    }
}

#[test]
fn silence_is_not_waited_for() {
    let settings = Settings {
        head_timeout: Duration::from_millis(300),
        stall_timeout: Duration::from_millis(600),
        ..Settings::default()
    };
    let rules = serde_json::json!({"rules": [{"repositories": ["**"], "anonymous": true, "allow": ["pull", "push"]}]});
    let house = House::with(settings, rules);
    let mut rest = Vec::new();
    for head in [
        "",
        "GET /v2/ HTTP/1.1\r\nHost:",
        "PUT /v2/app/manifests/x HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    ] {
        let mut stream = TcpStream::connect(house.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let start = Instant::now();
        rest.clear();
        stream.read_to_end(&mut rest).unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "{head:?}");
    }
    assert!(rest.starts_with(b"HTTP/1.1 408"), "{}", String::from_utf8_lossy(&rest));
    // Somebody who does not read what was asked for is cut off as well.
    let digest = house.hold("localhost/app", &vec![7; 60_000_000]);
    let mut stream = TcpStream::connect(house.address).unwrap();
    stream.write_all(format!("GET /v2/app/blobs/{digest} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    eventually("what arrived is kept", || {
        house.records.lock().unwrap().iter().any(|record| record.route == "blob" && record.broken)
    });
}

#[test]
fn a_crowd_of_silent_connections_pushes_out_itself() {
    let settings = Settings { connections: 50, ..Settings::default() };
    let rules =
        serde_json::json!({"rules": [{"repositories": ["**"], "anonymous": true, "allow": ["pull"]}]});
    let house = House::with(settings, rules);
    let mut kept = TcpStream::connect(house.address).unwrap();
    kept.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut buffer = [0; 1024];
    assert!(kept.read(&mut buffer).unwrap() > 0);
    let silent: Vec<TcpStream> = (0..500).map(|_| TcpStream::connect(house.address).unwrap()).collect();
    for _ in 0..20 {
        assert_eq!(house.get("/v2/").status, 200);
    }
    // Who has been served stays.
    kept.write_all(b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(kept.read(&mut buffer).unwrap() > 0);
    drop(silent);
}

#[test]
fn an_upload_survives_whoever_sends_it() {
    let house = House::open();
    let bytes = crate::house::noise(3_000_000);
    let digest = Digest::of(&bytes);
    let opened = house.send("POST", "/v2/app/blobs/uploads/").send();
    let location = header(&opened, "location").unwrap().to_owned();
    // Two thirds of it arrive, and then the connection is gone.
    let mut stream = TcpStream::connect(house.address).unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", bytes.len());
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(&bytes[..2_000_000]).unwrap();
    drop(stream);
    let mut offset = 0;
    eventually("what arrived is kept", || {
        let state = house.get(&location);
        let end = header(&state, "range").and_then(|range| range.strip_prefix("0-")?.parse::<usize>().ok());
        offset = end.map_or(0, |end| end + 1);
        state.status == 204 && offset > 1_000_000
    });
    let rest =
        house.send("PATCH", &location).header("Content-Range", &format!("{offset}-{}", bytes.len() - 1));
    let rest = rest.body(&bytes[offset..]).send();
    assert_eq!(rest.status, 202);
    let done = house.send("PUT", &format!("{location}?digest={digest}")).send();
    assert_eq!((done.status, done.end), (201, RawEnd::Complete));
    assert!(house.get(&format!("/v2/app/blobs/{digest}")).body == bytes);
}

#[test]
fn a_request_whose_client_leaves_early_is_recorded() {
    let house = House::open();
    let opened = house.send("POST", "/v2/app/blobs/uploads/").send();
    let location = header(&opened, "location").unwrap().to_owned();
    let mut stream = TcpStream::connect(house.address).unwrap();
    let head = format!("PATCH {location} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc");
    stream.write_all(head.as_bytes()).unwrap();
    drop(stream);
    eventually("its record", || {
        house.records.lock().unwrap().iter().any(|record| record.method == "PATCH" && record.status >= 400)
    });
}

#[test]
fn numbers_at_the_edge_are_refused_and_break_nothing() {
    let house = House::open();
    let opened = house.send("POST", "/v2/app/blobs/uploads/").send();
    let location = header(&opened, "location").unwrap().to_owned();
    let patch = house.send("PATCH", &location).header("Content-Range", "0-18446744073709551615").send();
    assert_eq!(patch.status, 416);
    let config = house.hold("localhost/app", b"{}");
    for size in ["1", "77", "4503599627370497", "9223372036854775808", "18446744073709551615"] {
        let manifest = format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{{"mediaType":"a/b","digest":"{config}","size":{size}}},"layers":[]}}"#
        );
        let put = house.send("PUT", "/v2/app/manifests/x");
        let put =
            put.header("Content-Type", "application/vnd.oci.image.manifest.v1+json").body(manifest).send();
        assert_eq!(put.status, 400, "{size}");
    }
}

#[test]
fn a_request_has_one_host() {
    let house = House::open();
    for (hosts, status) in [("", "400"), ("Host: a\r\nHost: b\r\n", "400"), ("Host: a\r\n", "200")] {
        let mut stream = TcpStream::connect(house.address).unwrap();
        stream
            .write_all(format!("GET /v2/ HTTP/1.1\r\n{hosts}Connection: close\r\n\r\n").as_bytes())
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{hosts:?}: {answer}");
    }
}
