//! Requests that are too large, or ask for too much.

use crate::raw::{manifest, noise, push_blob};
use larder_testkit::{Home, RawRequest};

#[test]
fn a_manifest_may_have_four_mebibytes_and_no_byte_more() {
    let home = Home::new().unwrap();
    let server = home.serve(["--offline"]).unwrap();
    let url = server.url("/v2/app/manifests/large");
    let sized = |size: usize| {
        let head = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[],"annotations":{"a":""#;
        let tail = r#""}}"#;
        format!("{head}{}{tail}", "x".repeat(size - head.len() - tail.len()))
    };
    let put = |body: String| {
        RawRequest::new("PUT", &url)
            .header("Content-Type", "application/vnd.oci.image.index.v1+json")
            .body(body)
    };
    let answer = put(sized(4 << 20)).send();
    assert_eq!(answer.status, 201, "{}", answer.text());
    let whole = sized((4 << 20) + 1);
    let announced = put(whole.clone()).send();
    let in_chunks = put(whole).header("Transfer-Encoding", "chunked").send();
    for answer in [announced, in_chunks] {
        assert_eq!(answer.status, 413, "{}", answer.text());
        assert!(answer.text().contains("\"SIZE_INVALID\""), "{}", answer.text());
    }
    assert_eq!(manifest(&server, "app", "large").send().body.len(), 4 << 20);
}

#[test]
fn a_blob_over_the_limit_is_refused_before_and_while_it_comes() {
    let home = Home::new().unwrap();
    let config = home.write("small.yaml", "serve:\n  offline: true\n  max_blob: 100kb\n").unwrap();
    let server = home.serve(["--config".as_ref(), config.as_os_str()]).unwrap();
    assert_eq!(push_blob(&server, "app", &noise(1, 100_000)).status, 201);
    assert_eq!(push_blob(&server, "app", &noise(2, 100_001)).status, 413);
    let url = crate::raw::open(&server, "app").unwrap();
    let chunked = RawRequest::new("PATCH", &url).header("Transfer-Encoding", "chunked");
    assert_eq!(chunked.body(noise(3, 300_000)).send().status, 413);
}

#[test]
fn a_head_without_end_is_refused() {
    let home = Home::new().unwrap();
    let server = home.serve(["--offline"]).unwrap();
    let url = server.url("/v2/");
    assert_eq!(RawRequest::get(&url).header("X-Long", &"x".repeat(20_000)).send().status, 200);
    assert_eq!(RawRequest::get(&url).header("X-Long", &"x".repeat(1 << 20)).send().status, 431);
    let many = (0..200).fold(RawRequest::get(&url), |request, at| request.header(&format!("X-{at}"), "y"));
    assert_eq!(many.send().status, 431);
    let long = server.url(&format!("/v2/{}/manifests/1", "a/".repeat(200_000)));
    let answer = RawRequest::get(&long).send();
    assert!(matches!(answer.status, 400 | 404 | 414 | 431), "{}", answer.status);
    assert_eq!(RawRequest::get(&url).send().status, 200);
}

#[test]
fn absurd_numbers_are_answered_or_refused_never_obeyed() {
    let home = Home::new().unwrap();
    let server = home.serve(["--offline"]).unwrap();
    let image = larder_testkit::ImageBuilder::new(1).build();
    crate::raw::push(&server, "app", &image, "1");
    let digest = image.descriptor.digest;
    for number in
        ["9223372036854775808", "18446744073709551615", "18446744073709551616", "-1", "1e9", "0", "%00", ""]
    {
        for path in ["/v2/_catalog", "/v2/app/tags/list", &format!("/v2/app/referrers/{digest}")] {
            let answer = RawRequest::get(&server.url(&format!("{path}?n={number}"))).send();
            assert!(matches!(answer.status, 200 | 400), "{path}?n={number}: {}", answer.status);
        }
        let path = server.url(&format!("/v2/app/blobs/{}", image.blobs[0].0.digest));
        for range in [format!("bytes={number}-"), format!("bytes=-{number}"), format!("bytes=0-{number}")] {
            let answer = RawRequest::get(&path).header("Range", &range).send();
            assert!(matches!(answer.status, 200 | 206 | 416), "{range}: {}", answer.status);
        }
    }
}
