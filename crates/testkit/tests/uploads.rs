//! The push side, step by step.

use larder_core::{Digest, MediaType};
use larder_testkit::tools::tool;
use larder_testkit::{Access, Fault, FaultRegistry, Image, ImageBuilder, Random, RawEnd, RawRequest, Rule};

fn begin(registry: &FaultRegistry, query: &str) -> String {
    let begun = RawRequest::new("POST", &registry.url(&format!("/v2/app/blobs/uploads/{query}"))).send();
    assert_eq!(begun.status, 202);
    begun.header("location").expect("a 202 says where to").to_owned()
}

#[test]
fn chunks_in_order_and_nothing_else() {
    let registry = FaultRegistry::start();
    let content = Random::new(1).bytes(1000);
    let digest = Digest::of(&content);
    let location = begin(&registry, "");
    let patch = |range: &str, part: &[u8]| {
        RawRequest::new("PATCH", &location).header("Content-Range", range).body(part).send()
    };
    let first = patch("0-399", &content[..400]);
    assert_eq!((first.status, first.header("range")), (202, Some("0-399")));
    let gap = patch("500-599", &content[500..600]);
    assert_eq!((gap.status, gap.header("range")), (416, Some("0-399")));
    assert_eq!(RawRequest::get(&location).send().header("range"), Some("0-399"));
    assert_eq!(patch("400-899", &content[400..900]).status, 202);
    assert_eq!(registry.open_uploads(), [900]);
    let end = RawRequest::new("PUT", &format!("{location}&digest={digest}")).body(&content[900..]).send();
    assert_eq!((end.status, end.header("docker-content-digest")), (201, Some(digest.to_string().as_str())));
    assert_eq!(registry.blob("app", &digest).unwrap(), content);
    assert!(registry.open_uploads().is_empty());
    assert_eq!(registry.requests_to("PATCH", "*")[0].received, 400);
    let stateless = location.split('?').next().unwrap();
    assert_eq!(RawRequest::get(stateless).send().status, 404, "it is finished");
}

#[test]
fn wrong_digests_and_locations_are_refused() {
    let registry = FaultRegistry::start();
    let location = begin(&registry, "");
    let wrong = format!("{location}&digest={}", Digest::of(b"other"));
    assert_eq!(RawRequest::new("PUT", &wrong).body("content").send().status, 400);
    let location = begin(&registry, "");
    let stripped = location.split('?').next().unwrap();
    assert_eq!(RawRequest::new("PATCH", stripped).body("content").send().status, 400);
    assert_eq!(RawRequest::new("DELETE", &location).send().status, 204);
    assert_eq!(RawRequest::new("PATCH", &location).body("content").send().status, 404);
    registry.set_relative_locations(true);
    assert!(begin(&registry, "").starts_with("/v2/app/blobs/uploads/"));
}

#[test]
fn whole_chunked_and_sha512_blobs() {
    let registry = FaultRegistry::start();
    let digest = Digest::of(b"content");
    let url = registry.url(&format!("/v2/app/blobs/uploads/?digest={digest}"));
    assert_eq!(RawRequest::new("POST", &url).body("content").send().status, 201);
    assert_eq!(&registry.blob("app", &digest).unwrap()[..], b"content");
    let mut hasher = larder_core::Hasher::new(larder_core::Algorithm::Sha512);
    hasher.update(b"content");
    let long = hasher.finish();
    let location = begin(&registry, "");
    assert_eq!(
        RawRequest::new("PUT", &format!("{location}&digest={long}")).body("content").send().status,
        201
    );
    assert!(registry.blob("app", &long).is_some());
}

#[test]
fn mounts_need_a_right_on_the_source() {
    let registry = FaultRegistry::start();
    let digest = registry.put_blob("source", "content");
    let mount = || {
        let url = registry.url(&format!("/v2/app/blobs/uploads/?mount={digest}&from=source"));
        RawRequest::new("POST", &url).header("Authorization", "Basic dTpw").send().status
    };
    registry.set_access(Access::basic().user_with("u", "p", &[("app", "pull,push")]));
    assert_eq!((mount(), registry.blob("app", &digest)), (202, None));
    registry.set_access(Access::basic().user_with("u", "p", &[("app", "pull,push"), ("source", "pull")]));
    assert_eq!((mount(), registry.blob("app", &digest).is_some()), (201, true));
}

#[test]
fn an_interrupted_upload_keeps_what_arrived() {
    let registry = FaultRegistry::start();
    let content = Random::new(2).bytes(500_000);
    let digest = Digest::of(&content);
    let hits = registry.fault(Rule::on("PATCH", "*").nth(1).fault(Fault::ResetRequest(123_456)));
    let location = begin(&registry, "");
    let broken = RawRequest::new("PATCH", &location).body(&content[..]).send();
    assert_eq!((broken.status, broken.end, hits.count()), (0, RawEnd::Reset, 1));
    assert_eq!(registry.open_uploads(), [123_456]);
    let status = RawRequest::get(&location).send();
    assert_eq!((status.status, status.header("range")), (204, Some("0-123455")));
    assert_eq!(RawRequest::new("PATCH", &location).body(&content[123_456..]).send().status, 202);
    assert_eq!(RawRequest::new("PUT", &format!("{location}&digest={digest}")).send().status, 201);

    // The answer is lost, though the blob is there.
    registry.fault(Rule::on("PUT", "*").fault(Fault::Reset(0)));
    let location = begin(&registry, "");
    let url = format!("{location}&digest={}", Digest::of(b"x"));
    assert_eq!(
        RawRequest::new("PUT", &url).body("x").send().end,
        RawEnd::Complete,
        "a 201 has no body to cut"
    );
    registry.clear_faults();
}

#[test]
fn a_stalled_upload_is_not_read() {
    let registry = FaultRegistry::start();
    registry.fault(Rule::on("PATCH", "*").fault(Fault::StallRequest(1000)));
    let location = begin(&registry, "");
    let stalled = RawRequest::new("PATCH", &location)
        .body(vec![0; 50 << 20])
        .limit(std::time::Duration::from_millis(300))
        .send();
    assert_eq!((stalled.status, stalled.end), (0, RawEnd::TimedOut));
    assert_eq!(registry.open_uploads(), [1000]);
}

#[test]
fn curl_keeps_its_connection_and_sends_chunks() -> anyhow::Result<()> {
    let registry = FaultRegistry::start();
    let content = Random::new(3).bytes(3_000_000);
    let digest = Digest::of(&content);
    let location = begin(&registry, "");
    let url = format!("{location}&digest={digest}");
    // From a pipe curl cannot know the length: chunked, and it waits for 100 Continue.
    tool("curl")?
        .args(["-sS", "-f", "-T", "-", "-H", "Expect: 100-continue", &url])
        .input(content.clone())
        .limit(std::time::Duration::from_secs(30))
        .run()?;
    assert_eq!(registry.blob("app", &digest).expect("uploaded"), content);
    let put = &registry.requests_to("PUT", "*")[0];
    assert_eq!((put.header("transfer-encoding"), put.received), (Some("chunked"), 3_000_000));
    let blob = registry.url(&format!("/v2/app/blobs/{digest}"));
    let before = registry.connections();
    tool("curl")?.args(["-sS", "-f", "-o", "/dev/null", &blob, "-o", "/dev/null", &blob, "-I"]).run()?;
    tool("curl")?.args(["-sS", "-o", "/dev/null", &blob, "-o", "/dev/null", &blob]).run()?;
    assert_eq!(registry.connections() - before, 2, "one each");
    assert_eq!(registry.bytes_sent(&digest), 6_000_000);
    Ok(())
}

#[test]
fn manifests_are_checked() {
    let registry = FaultRegistry::start();
    let image = ImageBuilder::new(1).random_layers(1, 100, larder_core::Compression::Gzip).build();
    let put = |selector: &str, media_type: &str, raw: &[u8]| {
        RawRequest::new("PUT", &registry.url(&format!("/v2/app/manifests/{selector}")))
            .header("Content-Type", media_type)
            .body(raw)
            .send()
    };
    let oci = MediaType::OCI_MANIFEST;
    assert_eq!(put("1", oci.as_str(), image.raw()).status, 400, "its blobs are missing");
    for (_, content) in &image.blobs {
        registry.put_blob("app", content.clone());
    }
    let created = put("1", oci.as_str(), image.raw());
    assert_eq!(
        (created.status, created.header("docker-content-digest")),
        (201, Some(image.digest().to_string().as_str()))
    );
    assert_eq!(registry.tags("app"), ["1"]);
    assert_eq!(put("1", MediaType::OCI_INDEX.as_str(), image.raw()).status, 400);
    assert_eq!(put(&Digest::of(b"x").to_string(), oci.as_str(), image.raw()).status, 400);
    assert_eq!(put("1", oci.as_str(), &vec![b' '; 5 << 20]).status, 413);

    let referrer = Image::referrer(&image.descriptor, "application/x.sbom", "sbom");
    for (_, content) in &referrer.blobs {
        registry.put_blob("app", content.clone());
    }
    let attached = put(&referrer.digest().to_string(), oci.as_str(), referrer.raw());
    assert_eq!(attached.header("oci-subject"), Some(image.digest().to_string().as_str()));
    let list = |query: &str| {
        RawRequest::get(&registry.url(&format!("/v2/app/referrers/{}{query}", image.digest()))).send()
    };
    let all: serde_json::Value = serde_json::from_slice(&list("").body).unwrap();
    assert_eq!(all["manifests"][0]["digest"], referrer.digest().to_string());
    assert_eq!(all["manifests"][0]["artifactType"], "application/x.sbom");
    let none = list("?artifactType=other");
    assert_eq!(none.header("oci-filters-applied"), Some("artifactType"));
    assert!(none.text().contains("\"manifests\":[]"));
    registry.set_referrers_api(false);
    assert_eq!(list("").status, 404);
    let url = registry.url(&format!("/v2/app/manifests/{}", image.digest()));
    assert_eq!(RawRequest::new("DELETE", &url).send().status, 202);
    assert_eq!((RawRequest::get(&url).send().status, registry.tags("app").len()), (404, 0));
}

#[test]
fn tags_come_in_pages() {
    let registry = FaultRegistry::start();
    let image = ImageBuilder::new(1).build();
    for tag in ["a", "b", "c", "d", "e"] {
        image.push(&registry, "app", Some(tag));
    }
    let (mut path, mut seen) = ("/v2/app/tags/list?n=2".to_owned(), Vec::new());
    loop {
        let response = RawRequest::get(&registry.url(&path)).send();
        let page: serde_json::Value = serde_json::from_slice(&response.body).unwrap();
        seen.push(page["tags"].as_array().unwrap().len());
        match response.header("link") {
            Some(link) => path = link[1..].split('>').next().unwrap().to_owned(),
            None => break,
        }
    }
    assert_eq!(seen, [2, 2, 1]);
}
