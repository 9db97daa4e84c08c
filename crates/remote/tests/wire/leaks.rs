//! What must never leave, and where larder must never go.

use crate::server::{
    Reply, Server, basic, config, fetch, image, layer, manifest_reply, noise, trusting, watched,
};
use larder_core::{Classify, Kind, report};
use larder_remote::{Auth, Config, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn bob() -> Auth {
    Auth::Given(basic("bob", "canary-secret"))
}

/// The header that a registry's own configuration adds.
fn with_header(server: &Server) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(server.host())).unwrap();
    let text = format!("server = \"{}\"\n[header]\nX-Canary = \"canary-header\"\n", server.url(""));
    std::fs::write(dir.path().join(server.host()).join("hosts.toml"), text).unwrap();
    dir
}

fn assert_clean(server: &Server) {
    for request in server.requests() {
        assert_eq!(request.header("authorization"), None, "{request:?}");
        assert_eq!(request.header("x-canary"), None, "{request:?}");
        assert_eq!(request.header("referer"), None, "{request:?}");
        assert!(!format!("{request:?}").contains("canary"), "{request:?}");
    }
}

#[tokio::test]
async fn redirects_lose_credentials_and_do_not_get_them_back_ggcr_2349() {
    let content = noise(1_000);
    for demand in
        ["Basic realm=\"x\"", "Bearer realm=\"REALM\",service=\"s\"", "Bearer realm=\"HOME\",service=\"s\""]
    {
        let home = Server::start(|_| Reply::ok(r#"{"token":"canary-token"}"#)).await;
        let (realm, home_realm) = (home.url("/foreign"), home.url("/token"));
        let demand = demand.replace("REALM", &realm).replace("HOME", &home_realm);
        let greedy = Server::at("127.0.0.2", move |_| Reply::challenge(&demand)).await;
        let target = greedy.url("/blob");
        let server = Server::start(move |request| match request.header("authorization") {
            None => Reply::challenge("Basic realm=\"r\""),
            Some(_) => Reply::redirect(&target),
        })
        .await;
        let dir = with_header(&server);
        let repo = server.repo(Config { certs_dirs: vec![dir.path().into()], ..trusting() }, bob());
        let error = fetch(&repo, &content).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Denied, "{error:?}");
        assert!(error.hints().is_empty(), "logging in would not help: {:?}", error.hints());
        assert!(!greedy.requests().is_empty());
        assert_clean(&greedy);
        assert!(home.requests().is_empty(), "no token was fetched for a stranger");
        assert!(server.requests().iter().all(|request| request.header("x-canary") == Some("canary-header")));
    }
}

#[tokio::test]
async fn a_redirect_back_home_stays_anonymous() {
    let content = noise(100);
    let home = Arc::new(std::sync::OnceLock::<String>::new());
    let back = home.clone();
    let other =
        Server::at("127.0.0.2", move |_| Reply::redirect(&format!("{}/back", back.get().unwrap()))).await;
    let target = other.url("/away");
    let served = content.clone();
    let server = Server::start(move |request| match (request.path(), request.header("authorization")) {
        ("/back", _) => Reply::ok(served.clone()),
        (_, None) => Reply::challenge("Basic realm=\"r\""),
        _ => Reply::redirect(&target),
    })
    .await;
    home.set(server.url("")).unwrap();
    assert_eq!(fetch(&server.repo(trusting(), bob()), &content).await.unwrap(), content);
    let back = server.requests().into_iter().find(|request| request.path() == "/back").unwrap();
    assert_eq!(back.header("authorization"), None);
}

#[tokio::test]
async fn redirects_within_the_registry_keep_credentials() {
    let content = noise(100);
    let served = content.clone();
    let server = Server::start(move |request| match (request.path(), request.header("authorization")) {
        (_, None) => Reply::challenge("Basic realm=\"r\""),
        ("/elsewhere", Some(_)) => Reply::ok(served.clone()),
        _ => Reply::redirect("/elsewhere"),
    })
    .await;
    assert_eq!(fetch(&server.repo(config(), bob()), &content).await.unwrap(), content);
}

#[tokio::test]
async fn redirect_loops_end() {
    let server = Server::start(|request| Reply::redirect(&format!("{}x", request.path()))).await;
    let error = server.anonymous().manifest("1.0").await.unwrap_err();
    assert!(matches!(error, Error::Redirect { .. }), "{error:?}");
    assert_eq!(server.requests().len(), 11);
    for location in ["ftp://127.0.0.1/x", "http://", "file:///etc/passwd", "http://u:canary@127.0.0.1/x"] {
        let server = Server::start(move |_| Reply::redirect(location)).await;
        let error = server.anonymous().manifest("1.0").await.unwrap_err();
        assert!(matches!(error, Error::Redirect { .. }), "{error:?}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn redirects_to_private_addresses_are_not_dialled() {
    let canary = Server::at("127.0.0.2", |_| manifest_reply(&image("x"))).await;
    let target = canary.url("/x");
    let server = Server::start(move |_| Reply::redirect(&target)).await;
    let error = server.anonymous().manifest("1.0").await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(error.hints()[0].contains("127.0.0.2"));
    assert!(canary.requests().is_empty());
    server.repo(trusting(), Auth::Anonymous).manifest("1.0").await.unwrap();
    // Blocked networks are blocked for everybody.
    let blocked = Config { blocked_networks: vec!["127.0.0.1/32".parse().unwrap()], ..trusting() };
    let error = server.repo(blocked, Auth::Anonymous).manifest("1.0").await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
}

#[tokio::test]
async fn a_name_that_turns_private_is_not_dialled_ggcr_2440() {
    let canary = Server::start(|_| manifest_reply(&image("x"))).await;
    let port = canary.port;
    // First an address that may be pointed to, then one that may not: on the same port another server answers there.
    let server = Server::start(move |_| Reply::redirect(&format!("http://rebind.test:{port}/x"))).await;
    let good = {
        let listener = tokio::net::TcpListener::bind(("127.0.0.2", port)).await.unwrap();
        tokio::spawn(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let (mut socket, _) = listener.accept().await.unwrap();
            let _ = socket.read(&mut [0; 4096]).await;
            let text = image("x");
            let head = format!(
                "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
                text.len()
            );
            socket.write_all(head.as_bytes()).await.unwrap();
        })
    };
    let asked = AtomicUsize::new(0);
    let config = Config {
        allowed_networks: vec!["127.0.0.2/32".parse().unwrap()],
        lookup: Some(Arc::new(move |_| {
            let first = asked.fetch_add(1, Ordering::Relaxed) == 0;
            Some(vec![if first { "127.0.0.2" } else { "127.0.0.1" }.parse().unwrap()])
        })),
        ..config()
    };
    let repo = server.repo(config, Auth::Anonymous);
    repo.manifest("1.0").await.unwrap();
    good.await.unwrap();
    let error = repo.manifest("1.0").await.unwrap_err();
    assert!(matches!(&error, Error::Refused { host, .. } if host == "rebind.test"), "{error:?}");
    assert!(canary.requests().is_empty());
}

#[tokio::test]
async fn foreign_layer_urls_get_no_credentials_cve_2020_15157() {
    let content = noise(1_000);
    let served = content.clone();
    let helpful = Server::at("127.0.0.3", move |_| Reply::ok(served.clone())).await;
    let server = Server::start(|request| match request.header("authorization") {
        None => Reply::challenge("Basic realm=\"r\""),
        Some(_) => Reply::new(404),
    })
    .await;
    for demand in ["Basic realm=\"x\"", "Bearer realm=\"http://127.0.0.2/token\""] {
        let greedy = Server::at("127.0.0.2", move |_| Reply::challenge(demand)).await;
        let mut descriptor = layer(&content);
        descriptor.urls = vec!["nonsense".into(), greedy.url("/layer"), helpful.url("/layer")];
        // Not unless the user wants it.
        let error = server.repo(trusting(), bob()).blob(&descriptor, 0).await.err().unwrap();
        assert_eq!(error.kind(), Kind::NotFound);
        assert!(error.hints()[0].contains("foreign"), "{:?}", error.hints());
        assert!(greedy.requests().is_empty());
        // Not at private addresses.
        let wanted = Config { allow_foreign_urls: true, ..config() };
        let error = server.repo(wanted, bob()).blob(&descriptor, 0).await.err().unwrap();
        assert!(matches!(error, Error::Refused { .. }), "{error:?}");
        let wanted = Config { allow_foreign_urls: true, ..trusting() };
        let stream = server.repo(wanted, bob()).blob(&descriptor, 0).await.unwrap();
        assert_eq!(crate::server::drain(stream).await.unwrap(), content);
        assert_eq!(greedy.requests().len(), 1);
        assert_clean(&greedy);
    }
    assert_clean(&helpful);
}

#[tokio::test]
async fn secrets_do_not_reach_messages_cve_2025_48374() {
    // The registry says everything it heard; the redirect is signed.
    let store = Server::at("127.0.0.2", |_| Reply::new(400).body("bad signature")).await;
    let signed = store.url("/blob?X-Amz-Signature=canary-signature&token=canary-query");
    let echo = |request: &crate::server::Request| {
        let heard =
            request.header("authorization").unwrap_or_default().replace("Bearer ", "").replace("Basic ", "");
        Reply::new(403)
            .body(format!(r#"{{"errors":[{{"code":"{heard}","message":"you said {heard}\u001b[2J"}}]}}"#))
    };
    let tokens = Server::start(move |request| match request.method.as_str() {
        "GET" => Reply::ok(r#"{"token":"canary-token"}"#),
        _ => Reply::new(400).body(request.body.clone()),
    })
    .await;
    let realm = tokens.url("/token");
    let server = Server::start(move |request| match (request.header("authorization"), request.path()) {
        (None, _) => Reply::challenge(&format!("Bearer realm=\"{realm}\",service=\"s\"")),
        (_, path) if path.contains("/blobs/") => Reply::redirect(&signed),
        _ => echo(request),
    })
    .await;
    let (config, events) = watched(trusting());
    let identity = larder_remote::Credential::Identity {
        username: String::new(),
        token: larder_core::Secret::new("canary-secret"),
    };
    let auths = [bob(), Auth::Given(identity)];
    for auth in auths {
        let repo = server.repo(config.clone(), auth.clone());
        let errors = [repo.manifest("1.0").await.unwrap_err(), fetch(&repo, &noise(10)).await.unwrap_err()];
        for error in errors {
            let said = format!("{} {error:?} {:?} {auth:?} {config:?}", report(&error), error.hints());
            assert!(!said.contains("canary"), "{said}");
            assert!(!said.contains("Y2FuYXJ5"), "{said}");
            assert!(!said.contains('\u{1b}'), "{said}");
        }
    }
    assert!(!format!("{:?}", events.lock().unwrap()).contains("canary"));
}

#[tokio::test]
async fn error_bodies_are_read_up_to_a_limit() {
    let server = Server::start(|_| Reply::new(404).body(vec![b'x'; 100_000]).endless()).await;
    let error = server.anonymous().manifest("1.0").await.unwrap_err();
    assert_eq!(error.kind(), Kind::NotFound);
    assert!(error.to_string().len() < 1_000);
    assert!(server.sent() < 32 << 20);
}
