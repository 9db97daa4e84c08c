//! Uploads, whole and in parts, through interruptions.

use crate::server::{Reply, Request, Server, basic, config, image, layer, noise, repository, trusting};
use async_trait::async_trait;
use larder_core::{Classify, Digest, Document, Event, Kind, MediaType, Tag, silent};
use larder_remote::{Auth, BlobOpener, Config, Error};
use std::sync::{Arc, Mutex};
use tokio::io::AsyncRead;

pub(crate) struct Memory(pub(crate) Vec<u8>);

#[async_trait]
impl BlobOpener for Memory {
    async fn open_at(&self, offset: u64) -> std::io::Result<Box<dyn AsyncRead + Send + Unpin>> {
        Ok(Box::new(std::io::Cursor::new(self.0[offset as usize..].to_vec())))
    }
}

/// What an uploading registry remembers.
#[derive(Default)]
struct Shelf {
    upload: Vec<u8>,
    blobs: Vec<Vec<u8>>,
}

const UPLOAD: &str = "/v2/a/b/blobs/uploads/1";

/// A registry that takes uploads properly. `hook` may answer first.
async fn registry(
    shelf: Arc<Mutex<Shelf>>,
    hook: impl Fn(&Request, &mut Shelf) -> Option<Reply> + Send + Sync + 'static,
) -> Server {
    Server::start(move |request| {
        let mut shelf = shelf.lock().unwrap();
        if let Some(reply) = hook(request, &mut shelf) {
            return reply;
        }
        let here = |status, shelf: &Shelf| {
            Reply::new(status)
                .header("Location", format!("{UPLOAD}?_state={}", shelf.upload.len()))
                .header("Range", format!("0-{}", shelf.upload.len().saturating_sub(1)))
        };
        match (request.method.as_str(), request.path()) {
            ("HEAD", path) => {
                let found = shelf.blobs.iter().find(|blob| path.ends_with(&Digest::of(blob).to_string()));
                found.map_or(Reply::new(404), |blob| Reply::ok(blob.clone()))
            }
            ("POST", "/v2/a/b/blobs/uploads/") => {
                shelf.upload.clear();
                here(202, &shelf)
            }
            ("GET", UPLOAD) => here(204, &shelf),
            ("PATCH", UPLOAD) => {
                let expected =
                    format!("{}-{}", shelf.upload.len(), shelf.upload.len() + request.body.len() - 1);
                if request.header("content-range") != Some(&expected)
                    || !request.target.contains(&format!("_state={}", shelf.upload.len()))
                {
                    return here(416, &shelf);
                }
                shelf.upload.extend_from_slice(&request.body);
                here(202, &shelf)
            }
            ("PUT", UPLOAD) => {
                shelf.upload.extend_from_slice(&request.body);
                let blob = std::mem::take(&mut shelf.upload);
                let digest = Digest::of(&blob).to_string().replace(':', "%3A");
                if !request.target.contains(&format!("digest={digest}")) {
                    return Reply::new(400).body(r#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
                }
                shelf.blobs.push(blob);
                Reply::new(201)
            }
            _ => Reply::new(405),
        }
    })
    .await
}

fn small_parts() -> Config {
    Config { push_chunk: 1 << 20, ..config() }
}

fn methods(server: &Server) -> Vec<String> {
    server.requests().iter().map(|request| request.method.clone()).collect()
}

#[tokio::test]
async fn small_blobs_go_in_one_request_and_known_ones_in_none() {
    let shelf = Arc::new(Mutex::new(Shelf::default()));
    let server = registry(shelf.clone(), |_, _| None).await;
    let content = noise(1_000);
    let repo = server.anonymous();
    for _ in 0..2 {
        repo.push_blob(&layer(&content), &Memory(content.clone()), &silent()).await.unwrap();
    }
    assert_eq!(methods(&server), ["HEAD", "POST", "PUT", "HEAD"]);
    assert_eq!(shelf.lock().unwrap().blobs, [content]);
    repo.push_blob(&layer(b""), &Memory(Vec::new()), &silent()).await.unwrap();
    assert_eq!(shelf.lock().unwrap().blobs.len(), 2);
}

#[tokio::test]
async fn large_blobs_go_in_parts_that_are_counted_once() {
    let shelf = Arc::new(Mutex::new(Shelf::default()));
    let server = registry(shelf.clone(), |_, _| None).await;
    let content = noise((5 << 20) / 2);
    let counted = Arc::new(Mutex::new(Vec::new()));
    let log = counted.clone();
    let progress: larder_core::Progress = Arc::new(move |event| {
        if let Event::BlobAdvanced { bytes, .. } = event {
            log.lock().unwrap().push(bytes);
        }
    });
    server
        .repo(small_parts(), Auth::Anonymous)
        .push_blob(&layer(&content), &Memory(content.clone()), &progress)
        .await
        .unwrap();
    assert_eq!(methods(&server), ["HEAD", "POST", "PATCH", "PATCH", "PATCH", "PUT"]);
    let ranges: Vec<_> = server
        .requests()
        .iter()
        .filter_map(|request| request.header("content-range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, ["0-1048575", "1048576-2097151", "2097152-2621439"]);
    assert_eq!(*counted.lock().unwrap(), [1 << 20, 1 << 20, 1 << 19]);
    assert!(shelf.lock().unwrap().blobs == [content]);
}

#[tokio::test]
async fn a_registry_may_ask_for_larger_parts() {
    let server = registry(Arc::default(), |request, _| {
        (request.method == "POST").then(|| {
            Reply::new(202)
                .header("Location", format!("{UPLOAD}?_state=0"))
                .header("OCI-Chunk-Min-Length", 2 << 20)
        })
    })
    .await;
    let content = noise((5 << 20) / 2);
    server
        .repo(small_parts(), Auth::Anonymous)
        .push_blob(&layer(&content), &Memory(content.clone()), &silent())
        .await
        .unwrap();
    assert_eq!(methods(&server), ["HEAD", "POST", "PATCH", "PATCH", "PUT"]);
}

#[tokio::test]
async fn an_interrupted_upload_goes_on_where_the_registry_says() {
    let content = noise(3 << 20);
    let turn = Mutex::new(0);
    let shelf = Arc::new(Mutex::new(Shelf::default()));
    let server = registry(shelf.clone(), move |request, shelf| {
        let mut turn = turn.lock().unwrap();
        if request.method != "PATCH" {
            return None;
        }
        *turn += 1;
        match *turn {
            // Takes a part of the part, then the connection breaks.
            1 | 3 => {
                shelf.upload.extend_from_slice(&request.body[..300_000]);
                Some(Reply::hang_up())
            }
            // Is busy, having taken nothing.
            2 => Some(Reply::new(503)),
            _ => None,
        }
    })
    .await;
    server
        .repo(small_parts(), Auth::Anonymous)
        .push_blob(&layer(&content), &Memory(content.clone()), &silent())
        .await
        .unwrap();
    assert!(shelf.lock().unwrap().blobs == [content]);
    assert_eq!(
        methods(&server).iter().filter(|method| *method == "POST").count(),
        1,
        "never from the beginning"
    );
    let starts: Vec<_> = server
        .requests()
        .iter()
        .filter_map(|request| Some(request.header("content-range")?.split('-').next()?.to_owned()))
        .collect();
    assert_eq!(starts[..4], ["0", "300000", "300000", "600000"]);
}

#[tokio::test]
async fn a_lost_session_starts_again_and_not_forever() {
    let content = noise(2 << 20);
    let turn = Mutex::new(0);
    let shelf = Arc::new(Mutex::new(Shelf::default()));
    let server = registry(shelf.clone(), move |request, _| {
        let mut turn = turn.lock().unwrap();
        *turn += i32::from(request.method == "PATCH");
        (request.method == "PATCH" && *turn == 2).then(|| Reply::new(404))
    })
    .await;
    let push = |server: &Server| {
        let (repo, content) = (server.repo(small_parts(), Auth::Anonymous), content.clone());
        async move { repo.push_blob(&layer(&content), &Memory(content), &silent()).await }
    };
    push(&server).await.unwrap();
    assert!(shelf.lock().unwrap().blobs.len() == 1);
    let hopeless = registry(Arc::default(), |request, shelf| {
        (request.method == "PATCH" && !shelf.upload.is_empty()).then(|| Reply::new(404))
    })
    .await;
    assert_eq!(push(&hopeless).await.unwrap_err().kind(), Kind::NotFound);
    assert!(hopeless.requests().len() < 40);
}

#[tokio::test]
async fn a_registry_without_parts_gets_the_whole() {
    let content = noise(2 << 20);
    let shelf = Arc::new(Mutex::new(Shelf::default()));
    let server =
        registry(shelf.clone(), |request, _| (request.method == "PATCH").then(|| Reply::new(405))).await;
    server
        .repo(small_parts(), Auth::Anonymous)
        .push_blob(&layer(&content), &Memory(content.clone()), &silent())
        .await
        .unwrap();
    assert!(shelf.lock().unwrap().blobs == [content]);
}

#[tokio::test]
async fn an_answer_lost_at_the_end_is_found_out() {
    let content = noise(1_000);
    let first = Mutex::new(true);
    let shelf = Arc::new(Mutex::new(Shelf::default()));
    let server = registry(shelf.clone(), move |request, shelf| {
        let first = request.method == "PUT" && std::mem::take(&mut *first.lock().unwrap());
        if request.method == "GET" {
            return Some(Reply::new(404));
        }
        first.then(|| {
            shelf.blobs.push(request.body.clone());
            Reply::hang_up()
        })
    })
    .await;
    server.anonymous().push_blob(&layer(&content), &Memory(content.clone()), &silent()).await.unwrap();
    assert_eq!(shelf.lock().unwrap().blobs.len(), 1);
}

#[tokio::test]
async fn upload_location_elsewhere_gets_no_credentials_cve_2026_50151() {
    let content = noise(1_000);
    for works in [true, false] {
        let body = content.clone();
        let store = Server::at("127.0.0.2", move |request| match works {
            true if request.body == body => Reply::new(201),
            true => Reply::new(400),
            false => Reply::challenge("Basic realm=\"x\""),
        })
        .await;
        let location = store.url("/upload?sig=canary");
        let server =
            Server::start(move |request| match (request.header("authorization"), request.method.as_str()) {
                (None, _) => Reply::challenge("Basic realm=\"r\""),
                (_, "POST") => Reply::new(202).header("Location", &location),
                _ => Reply::new(404),
            })
            .await;
        let auth = || Auth::Given(basic("bob", "hunter2"));
        let push = |config| {
            let (repo, content) = (server.repo(config, auth()), content.clone());
            async move { repo.push_blob(&layer(&content), &Memory(content), &silent()).await }
        };
        let error = push(config()).await.unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        match push(trusting()).await {
            Ok(()) => assert!(works),
            Err(error) => {
                assert!(!works && error.kind() == Kind::Denied, "{error:?}");
                assert!(!format!("{error:?}").contains("canary"));
            }
        }
        assert!(store.requests().iter().all(|request| request.header("authorization").is_none()));
    }
}

#[tokio::test]
async fn mounts_and_leaves_nothing_behind() {
    let digest = Digest::of(b"x");
    let server = Server::start(|request| match request.method.as_str() {
        "POST" if request.target.contains("from=good%2Frepo") => Reply::new(201),
        "POST" => Reply::new(202).header("Location", UPLOAD),
        "DELETE" => Reply::new(204),
        _ => Reply::new(500),
    })
    .await;
    let repo = server.anonymous();
    assert!(repo.mount_blob(&digest, &repository("good/repo")).await.unwrap());
    assert!(!repo.mount_blob(&digest, &repository("bad/repo")).await.unwrap());
    assert!(server.requests()[0].target.contains("mount=sha256%3A"));
    assert!(server.requests()[2].is("DELETE", UPLOAD));
}

fn document(text: String) -> Document {
    Document::parse(text.into_bytes(), None).unwrap()
}

#[tokio::test]
async fn manifests_are_pushed_as_they_are() {
    let server = Server::start(|_| Reply::new(201)).await;
    let (document, tag) = (document(image("x")), Tag::new("1.0").unwrap());
    assert_eq!(server.anonymous().push_manifest(&document, Some(&tag)).await.unwrap(), document.digest());
    server.anonymous().push_manifest(&document, None).await.unwrap();
    let requests = server.requests();
    assert!(requests[0].is("PUT", "/v2/a/b/manifests/1.0"));
    assert!(requests[1].is("PUT", &format!("/v2/a/b/manifests/{}", document.digest())));
    assert_eq!(requests[0].body, document.raw()[..]);
    assert_eq!(requests[0].header("content-type"), Some(MediaType::OCI_MANIFEST.as_str()));
    let other =
        Server::start(|_| Reply::new(201).header("Docker-Content-Digest", Digest::of(b"other"))).await;
    assert_eq!(other.anonymous().push_manifest(&document, None).await.unwrap_err().kind(), Kind::Corrupt);
}

#[tokio::test]
async fn attached_documents_are_entered_where_the_registry_does_not() {
    let subject = layer(b"subject");
    let attached = image("x").replacen(
        '{',
        &format!("{{\"artifactType\":\"sig\",\"subject\":{},", serde_json::to_string(&subject).unwrap()),
        1,
    );
    let attached = document(attached);
    let tag = format!("/v2/a/b/manifests/sha256-{}", subject.digest.hex());
    let knowing = Server::start(|_| Reply::new(201).header("OCI-Subject", "yes")).await;
    knowing.anonymous().push_manifest(&attached, None).await.unwrap();
    assert_eq!(knowing.requests().len(), 1);

    let list = Arc::new(Mutex::new(None::<Vec<u8>>));
    let (kept, path) = (list.clone(), tag.clone());
    let old = Server::start(move |request| match (request.method.as_str(), request.path() == path) {
        ("PUT", true) => {
            *kept.lock().unwrap() = Some(request.body.clone());
            Reply::new(201)
        }
        ("PUT", false) => Reply::new(201),
        ("GET", true) => match kept.lock().unwrap().clone() {
            Some(list) => Reply::ok(list).header("Content-Type", MediaType::OCI_INDEX.as_str()),
            None => Reply::new(404),
        },
        _ => Reply::new(404),
    })
    .await;
    let repo = old.anonymous();
    repo.push_manifest(&attached, None).await.unwrap();
    repo.push_manifest(&attached, None).await.unwrap();
    let found = repo.referrers(&subject.digest, Some("sig")).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.digest).collect::<Vec<_>>(), [attached.digest()]);
}

#[tokio::test]
async fn what_cannot_be_read_is_not_the_networks_fault() {
    struct Broken;
    #[async_trait]
    impl BlobOpener for Broken {
        async fn open_at(&self, _offset: u64) -> std::io::Result<Box<dyn AsyncRead + Send + Unpin>> {
            // Ends before the promised size.
            Ok(Box::new(std::io::Cursor::new(vec![0; 10])))
        }
    }
    let server = registry(Arc::default(), |_, _| None).await;
    let error = server.anonymous().push_blob(&layer(&noise(1_000)), &Broken, &silent()).await.unwrap_err();
    assert!(matches!(error, Error::Source { .. }), "{error:?}");
}
