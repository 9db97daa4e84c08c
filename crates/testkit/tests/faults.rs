//! Every fault does what it says, seen by a client that hides nothing.

use larder_core::{Digest, MediaType};
use larder_testkit::{Access, Fault, FaultRegistry, Random, RawEnd, RawRequest, RawResponse, Rule};
use std::time::Duration;

const SIZE: usize = 300_000;

/// A registry with one blob of `SIZE` bytes and a manifest, `app:1`.
struct Scene {
    registry: FaultRegistry,
    content: Vec<u8>,
    blob: Digest,
    manifest: Digest,
}

impl Scene {
    fn new() -> Self {
        let registry = FaultRegistry::start();
        let content = Random::new(1).bytes(SIZE);
        let blob = registry.put_blob("app", content.clone());
        let manifest =
            registry.put_manifest("app", &MediaType::OCI_MANIFEST, "{\"schemaVersion\":2}", Some("1"));
        Self { registry, content, blob, manifest }
    }

    fn with(fault: Fault) -> Self {
        let scene = Self::new();
        scene.registry.fault(Rule::blobs().fault(fault));
        scene
    }

    fn url(&self) -> String {
        self.registry.url(&format!("/v2/app/blobs/{}", self.blob))
    }

    fn get(&self) -> RawResponse {
        RawRequest::get(&self.url()).send()
    }

    fn range(&self, range: &str) -> RawResponse {
        RawRequest::get(&self.url()).header("Range", range).send()
    }
}

#[test]
fn without_faults_everything_is_as_the_specification_says() {
    let scene = Scene::new();
    let response = scene.get();
    assert_eq!((response.status, response.end), (200, RawEnd::Complete));
    assert_eq!(response.body, scene.content);
    assert_eq!(response.header("docker-content-digest"), Some(scene.blob.to_string().as_str()));
    let part = scene.range("bytes=100-199");
    assert_eq!((part.status, part.body), (206, scene.content[100..200].to_vec()));
    assert_eq!(
        part.headers.iter().find(|(name, _)| name == "Content-Range").unwrap().1,
        "bytes 100-199/300000"
    );
    assert_eq!(scene.range("bytes=300000-").status, 416);

    let head = RawRequest::new("HEAD", &scene.registry.url("/v2/app/manifests/1")).send();
    assert_eq!(head.header("docker-content-digest"), Some(scene.manifest.to_string().as_str()));
    assert_eq!(head.header("content-type"), Some(MediaType::OCI_MANIFEST.as_str()));
    assert_eq!((head.header("content-length"), head.body.len()), (Some("19"), 0));
    assert_eq!(RawRequest::get(&scene.registry.url("/v2/other/manifests/1")).send().status, 404);
    assert_eq!(
        RawRequest::get(&scene.registry.url(&format!("/v2/other/blobs/{}", scene.blob))).send().status,
        404,
        "a blob is visible only in its own repository"
    );
    assert_eq!(
        RawRequest::get(&scene.registry.url("/v2/app/tags/list")).send().text(),
        r#"{"name":"app","tags":["1"]}"#
    );
}

#[test]
fn the_log_knows_what_was_asked_and_sent() {
    let scene = Scene::new();
    scene.get();
    scene.range("bytes=0-99");
    let log = scene.registry.requests_to("GET", "/v2/app/blobs/*");
    assert_eq!(log.len(), 2);
    assert_eq!((log[0].sent, log[0].status, log[0].range()), (SIZE as u64, Some(200), None));
    assert_eq!((log[1].sent, log[1].status, log[1].range()), (100, Some(206), Some("bytes=0-99")));
    assert_eq!(scene.registry.bytes_sent(&scene.blob), SIZE as u64 + 100);
    assert_eq!(scene.registry.count("GET|HEAD", "*"), 2);
    scene.registry.clear_log();
    assert_eq!((scene.registry.count("*", "*"), scene.registry.bytes_sent(&scene.blob)), (0, 0));
    scene.get();
    assert_eq!(scene.registry.total_sent(), SIZE as u64);
}

#[test]
fn answers_instead() {
    let scene = Scene::new();
    let hits = scene.registry.fault(Rule::blobs().nth(2).status(429, &[("Retry-After", "7")]));
    assert_eq!(scene.get().status, 200);
    let refused = scene.get();
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("7")));
    assert_eq!(scene.get().status, 200);
    assert_eq!((hits.count(), hits.seen()), (1, 3));
    assert!(scene.registry.requests()[1].faulted);

    let html = Scene::with(Fault::Html).get();
    assert_eq!(html.status, 200);
    assert!(html.header("content-type").unwrap().starts_with("text/html") && html.text().contains("<html>"));
    let garbage = Scene::with(Fault::Garbage("SSH-2.0-x\r\n".into())).get();
    assert_eq!((garbage.status, garbage.end), (0, RawEnd::Closed));
    let scene = Scene::with(Fault::Silence);
    let silent = RawRequest::get(&scene.url()).limit(Duration::from_millis(200)).send();
    assert_eq!((silent.status, silent.end), (0, RawEnd::TimedOut));
}

#[test]
fn rules_by_turn_and_range() {
    let scene = Scene::new();
    scene.registry.fault(Rule::blobs().first(2).fault(Fault::Status(503)));
    scene.registry.fault(Rule::blobs().from(4).fault(Fault::Status(502)));
    let statuses: Vec<u16> = (0..5).map(|_| scene.get().status).collect();
    assert_eq!(statuses, [503, 503, 200, 502, 502]);
    scene.registry.clear_faults();
    scene.registry.fault(Rule::blob(&scene.blob).ranged(true).fault(Fault::Status(500)));
    assert_eq!((scene.get().status, scene.range("bytes=0-1").status), (200, 500));
}

#[test]
fn wrong_bodies() {
    let scene = Scene::with(Fault::WrongByte(1000));
    let wrong = scene.get();
    let differing: Vec<usize> = (0..SIZE).filter(|at| wrong.body[*at] != scene.content[*at]).collect();
    assert_eq!((wrong.body.len(), differing), (SIZE, vec![1000]));

    let short = Scene::with(Fault::ShortBody(10)).get();
    assert_eq!((short.body.len(), short.end), (SIZE - 10, RawEnd::Complete));
    let long = Scene::with(Fault::LongBody(10)).get();
    assert_eq!((long.body.len(), long.end), (SIZE + 10, RawEnd::Complete));
    assert_eq!(Scene::with(Fault::Body("other".into())).get().text(), "other");
    let scene = Scene::with(Fault::EndlessBody);
    let endless = RawRequest::get(&scene.url()).at_most(3 * SIZE).send();
    assert_eq!(endless.end, RawEnd::TooLong);

    let scene = Scene::with(Fault::Gzip);
    let gzip = scene.get();
    assert_eq!(gzip.header("content-encoding"), Some("gzip"));
    let mut back = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&gzip.body[..]), &mut back).unwrap();
    assert_eq!(back, scene.content);
}

#[test]
fn huge_manifests_and_lying_headers() {
    let scene = Scene::new();
    scene.registry.fault(Rule::manifests().nth(1).fault(Fault::HugeBody(100 << 20)));
    let url = scene.registry.url("/v2/app/manifests/1");
    let huge = RawRequest::get(&url).at_most(1 << 20).send();
    assert_eq!((huge.header("content-length"), huge.end), (Some("104857600"), RawEnd::TooLong));

    let lie = Digest::of(b"lie").to_string();
    let rule = Rule::manifests()
        .fault(Fault::Header("docker-content-digest".into(), Some(lie.clone())))
        .fault(Fault::Header("Content-Type".into(), Some("text/plain".into())))
        .fault(Fault::Header("ETag".into(), None));
    scene.registry.fault(rule);
    for method in ["GET", "HEAD"] {
        let response = RawRequest::new(method, &url).send();
        assert_eq!(response.header("docker-content-digest"), Some(lie.as_str()), "{method}");
        assert_eq!(response.header("content-type"), Some("text/plain"));
        assert_eq!(response.header("etag"), None);
    }
}

#[test]
fn ranges_ignored_or_wrong() {
    let ignored = Scene::with(Fault::IgnoreRange).range("bytes=5-9");
    assert_eq!((ignored.status, ignored.body.len()), (200, SIZE));
    let scene = Scene::with(Fault::WrongRange(100));
    let wrong = scene.range("bytes=1000-");
    assert_eq!((wrong.status, wrong.header("content-range")), (206, Some("bytes 1100-299999/300000")));
    assert_eq!(wrong.body, scene.content[1100..]);
    assert_eq!(Scene::with(Fault::StatusOnly(206)).get().status, 206);
}

#[test]
fn framings() {
    let scene = Scene::with(Fault::NoContentLength);
    let response = scene.get();
    assert_eq!((response.header("content-length"), response.end), (None, RawEnd::Complete));
    assert_eq!(response.body, scene.content);
    let scene = Scene::with(Fault::Chunked);
    let response = scene.get();
    assert_eq!(response.header("transfer-encoding"), Some("chunked"));
    assert_eq!((response.body, response.end), (scene.content.clone(), RawEnd::Complete));
    // A cut in a chunked body is the only way to see that it is one.
    scene.registry.fault(Rule::blobs().fault(Fault::Cut(70_000)));
    let response = scene.get();
    assert_eq!((response.body.len(), response.end), (70_000, RawEnd::Closed));
}

#[test]
fn endings_come_at_the_exact_byte() {
    for after in [0, 1, 65_536, 123_457] {
        let scene = Scene::with(Fault::Reset(after));
        let response = scene.get();
        assert_eq!(response.header("content-length"), Some("300000"));
        assert_eq!((response.body.len() as u64, response.end), (after, RawEnd::Reset));
        assert_eq!(scene.registry.bytes_sent(&scene.blob), after);
        // Every request again, from where the last one stopped.
        let next = scene.range(&format!("bytes={after}-"));
        assert_eq!((next.status, next.body.len() as u64, next.end), (206, after, RawEnd::Reset));

        let response = Scene::with(Fault::Cut(after)).get();
        assert_eq!((response.body.len() as u64, response.end), (after, RawEnd::Closed));
    }
    let scene = Scene::with(Fault::Stall(5000));
    let response = RawRequest::get(&scene.url()).limit(Duration::from_millis(200)).send();
    assert_eq!((response.body.len(), response.end), (5000, RawEnd::TimedOut));
    // Longer than the whole answer: nothing is missing, but it ends that way.
    assert_eq!(Scene::with(Fault::Reset(SIZE as u64 + 1)).get().body.len(), SIZE);
    let response = Scene::with(Fault::ResetRequest(0)).get();
    assert_eq!((response.status, response.end), (0, RawEnd::Reset));
}

#[test]
fn slowness() {
    let delayed = Scene::with(Fault::Delay(Duration::from_millis(300))).get();
    assert!(delayed.elapsed >= Duration::from_millis(300) && delayed.status == 200);
    let throttled = Scene::with(Fault::Throttle(600_000)).get();
    assert!((0.35..3.0).contains(&throttled.elapsed.as_secs_f64()), "{:?}", throttled.elapsed);
    assert_eq!(throttled.body.len(), SIZE);
    let scene = Scene::with(Fault::Throttle(1));
    let crawl = RawRequest::get(&scene.url()).at_most(2).send();
    assert!(crawl.elapsed >= Duration::from_millis(900), "{:?}", crawl.elapsed);
}

#[test]
fn redirects() {
    let other = FaultRegistry::start();
    let scene = Scene::new();
    other.put_blob("x", scene.content.clone());
    let location = format!("http://{}/elsewhere{{path}}?d={{digest}}", other.host());
    scene.registry.fault(Rule::blobs().nth(1).fault(Fault::Redirect { status: 302, location }));
    let response = scene.get();
    let expected = format!("http://{}/elsewhere/v2/app/blobs/{}?d={}", other.host(), scene.blob, scene.blob);
    assert_eq!((response.status, response.header("location")), (302, Some(expected.as_str())));
    scene.registry.clear_faults();

    scene.registry.fault(Rule::blobs().fault(Fault::RedirectChain(3)));
    let mut response = scene.get();
    let mut hops = 0;
    while response.status == 307 {
        hops += 1;
        response = RawRequest::get(response.header("location").unwrap()).send();
    }
    assert_eq!((hops, response.body), (3, scene.content.clone()));
    scene.registry.clear_faults();

    scene.registry.set_access(Access::basic().user("u", "p"));
    scene.registry.fault(Rule::blobs().fault(Fault::SignedRedirect { host: None, uses: 2 }));
    let response = RawRequest::get(&scene.url()).header("Authorization", "Basic dTpw").send();
    let signed = response.header("location").unwrap().to_owned();
    assert_eq!(RawRequest::get(&signed).send().body, scene.content, "no credentials needed");
    assert_eq!(RawRequest::get(&signed).header("Range", "bytes=10-").send().status, 206);
    assert_eq!(RawRequest::get(&signed).send().status, 403, "used up");
    let signed = other.signed_url(&scene.blob, u32::MAX);
    assert_eq!(RawRequest::get(&signed).send().status, 200);
    other.expire_signed_urls();
    assert_eq!(RawRequest::get(&signed).send().status, 403);
    let location = Scene::new();
    location.registry.fault(Rule::uploads().fault(Fault::LocationHost("other.invalid:5".into())));
    let begun = RawRequest::new("POST", &location.registry.url("/v2/app/blobs/uploads/")).send();
    assert!(begun.header("location").unwrap().starts_with("http://other.invalid:5/v2/app/blobs/uploads/"));
}

#[test]
fn down_and_up_again_on_the_same_port() {
    let scene = Scene::with(Fault::Stall(10));
    let url = scene.url();
    let waiting = std::thread::spawn(move || RawRequest::get(&url).send());
    larder_testkit::eventually("a request is stuck", Duration::from_secs(10), || {
        (scene.registry.active_requests() == 1).then_some(())
    });
    scene.registry.down();
    let broken = waiting.join().unwrap();
    assert_ne!(broken.end, RawEnd::Complete);
    let refused = std::net::TcpStream::connect(scene.registry.address()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    scene.registry.clear_faults();
    scene.registry.up();
    assert_eq!(scene.get().body, scene.content);
}
