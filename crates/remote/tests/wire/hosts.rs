//! Mirrors and hosts files.

use crate::server::{
    Reply, Server, basic, config, fetch, image, layer, manifest_reply, noise, repository, watched,
};
use larder_core::{Classify, Event, Kind, Registry};
use larder_remote::{Auth, Client, Config, Error, Repo};
use std::time::{Duration, Instant};

/// A registry with mirrors. Blocks of TOML, one per mirror, come first.
fn repo(mirrors: &[String], upstream: &Server, mut config: Config, auth: Auth) -> (tempfile::TempDir, Repo) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("docker.io")).unwrap();
    let text = format!("server = \"{}\"\n{}\n", upstream.url(""), mirrors.join("\n"));
    std::fs::write(dir.path().join("docker.io/hosts.toml"), text).unwrap();
    config.certs_dirs = vec![dir.path().into()];
    let registry = Registry::new("docker.io").unwrap();
    let repo = Client::new(config).unwrap().repository(&registry, &repository("library/a"), auth);
    (dir, repo)
}

fn mirror(server: &Server, rest: &str) -> String {
    format!("[host.\"{}\"]\n{rest}\n", server.url(""))
}

#[tokio::test]
async fn mirrors_are_asked_in_order_and_told_for_whom() {
    let empty = Server::start(|_| Reply::new(404)).await;
    let sick = Server::start(|_| Reply::new(503)).await;
    let full = Server::start(|_| manifest_reply(&image("x"))).await;
    let upstream = Server::start(|_| panic!("nobody should ask")).await;
    let blocks = [mirror(&empty, ""), mirror(&sick, ""), mirror(&full, "")];
    let (config, events) = watched(config());
    let (_dir, repo) = repo(&blocks, &upstream, config, Auth::Anonymous);
    repo.manifest("1.0").await.unwrap();
    for server in [&empty, &sick, &full] {
        assert_eq!(server.requests()[0].target, "/v2/library/a/manifests/1.0?ns=docker.io");
    }
    // Trouble is worth a word; a mirror that lacks something is not.
    let events = events.lock().unwrap();
    let [Event::Warning { message }] = &events[..] else { panic!("{events:?}") };
    assert!(message.contains(&sick.host()), "{message}");
}

#[tokio::test]
async fn the_registry_has_the_last_word() {
    let empty = Server::start(|_| Reply::new(404)).await;
    let refusing = Server::start(|_| Reply::new(403)).await;
    let upstream = Server::start(|_| manifest_reply(&image("x"))).await;
    let (_dir, good) =
        repo(&[mirror(&empty, ""), mirror(&refusing, "")], &upstream, config(), Auth::Anonymous);
    good.manifest("1.0").await.unwrap();
    // What a mirror lacks while the registry is down is not absent.
    let down = Server::start(|_| Reply::new(500)).await;
    let (_dir, bad) = repo(&[mirror(&empty, "")], &down, config(), Auth::Anonymous);
    assert_eq!(bad.manifest("1.0").await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(bad.has_blob(&layer(b"x").digest).await.unwrap_err().kind(), Kind::Unavailable);
    assert_eq!(bad.referrers(&layer(b"x").digest, None).await.unwrap_err().kind(), Kind::Unavailable);
}

#[tokio::test]
async fn a_mirror_that_serves_wrong_bytes_is_passed_over() {
    let wrong = Server::start(|_| manifest_reply(&image("evil"))).await;
    let upstream = Server::start(|_| manifest_reply(&image("good"))).await;
    let (_dir, repo) = repo(&[mirror(&wrong, "")], &upstream, config(), Auth::Anonymous);
    let digest = larder_core::Digest::of(image("good").as_bytes());
    assert_eq!(repo.manifest(&digest.to_string()).await.unwrap().digest(), digest);
    assert_eq!(wrong.requests().len(), 1);
}

#[tokio::test]
async fn mirrors_do_what_they_may() {
    let pull_only = Server::start(|_| manifest_reply(&image("mirror"))).await;
    let upstream = Server::start(|_| manifest_reply(&image("upstream"))).await;
    let block = mirror(&pull_only, "capabilities = [\"pull\"]");
    let (_dir, repo) = repo(&[block], &upstream, config(), Auth::Anonymous);
    let from_tag = repo.manifest("1.0").await.unwrap();
    assert_eq!(from_tag.raw()[..], *image("upstream").as_bytes());
    assert!(pull_only.requests().is_empty());
    let digest = larder_core::Digest::of(image("mirror").as_bytes());
    repo.manifest(&digest.to_string()).await.unwrap();
    assert_eq!(pull_only.requests().len(), 1);
}

#[tokio::test]
async fn a_black_hole_costs_its_timeout_once() {
    // Accepts and never answers.
    let hole = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let upstream = Server::start(|_| manifest_reply(&image("x"))).await;
    let block = format!("[host.\"http://{}\"]\ndial_timeout = \"200ms\"\n", hole.local_addr().unwrap());
    let config = Config {
        connect_timeout: Duration::from_millis(300),
        idle_timeout: Duration::from_millis(300),
        ..config()
    };
    let (_dir, repo) = repo(&[block], &upstream, config, Auth::Anonymous);
    let began = Instant::now();
    for _ in 0..10 {
        repo.manifest("1.0").await.unwrap();
    }
    assert!(began.elapsed() < Duration::from_millis(1_500), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_blob_moves_on_to_the_next_host_midway() {
    let content = noise(50_000);
    let (first, second) = (content.clone(), content.clone());
    let dying = Server::start(move |request| match request.range_start() {
        None => Reply::ok(first.clone()).cut(20_000),
        Some(_) => Reply::new(500),
    })
    .await;
    let upstream = Server::start(move |request| crate::server::blob_reply(request, &second)).await;
    let (_dir, repo) = repo(&[mirror(&dying, "")], &upstream, config(), Auth::Anonymous);
    assert!(fetch(&repo, &content).await.unwrap() == content);
    assert_eq!(upstream.requests()[0].range_start(), Some(20_000));
}

#[tokio::test]
async fn a_mirror_that_brings_nothing_is_left() {
    let content = noise(1_000);
    let served = content.clone();
    let teasing = Server::start(|_| Reply::ok(noise(1_000)).reset(0)).await;
    let upstream = Server::start(move |request| crate::server::blob_reply(request, &served)).await;
    let (_dir, repo) = repo(&[mirror(&teasing, "")], &upstream, config(), Auth::Anonymous);
    let mut stream = repo.blob(&layer(&content), 0).await.unwrap();
    while stream.next().await.unwrap().is_some() {}
    assert_eq!(teasing.requests().len(), 1);
    assert_eq!(stream.host(), upstream.host());
}

#[tokio::test]
async fn a_distrusted_mirror_is_asked_last() {
    let content = noise(1_000);
    let served = content.clone();
    let lying = Server::start(|_| Reply::ok(vec![0; 1_000])).await;
    let upstream = Server::start(move |request| crate::server::blob_reply(request, &served)).await;
    let (_dir, repo) = repo(&[mirror(&lying, "")], &upstream, config(), Auth::Anonymous);
    assert!(fetch(&repo, &content).await.unwrap() != content);
    repo.distrust(&lying.host());
    assert!(fetch(&repo, &content).await.unwrap() == content);
}

#[tokio::test]
async fn headers_go_to_their_host_and_credentials_to_the_registry_only() {
    let demanding = Server::start(|_| Reply::challenge("Basic realm=\"r\"")).await;
    let upstream = Server::start(|request| match request.header("authorization") {
        Some(_) => manifest_reply(&image("x")),
        None => Reply::challenge("Basic realm=\"r\""),
    })
    .await;
    let block = mirror(
        &demanding,
        &format!("[host.\"{}\".header]\nX-Mirror = [\"one\", \"two\"]\n", demanding.url("")),
    );
    let (_dir, repo) = repo(&[block], &upstream, config(), Auth::Given(basic("bob", "hunter2")));
    repo.manifest("1.0").await.unwrap();
    let asked = &demanding.requests()[0];
    assert_eq!(asked.headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("x-mirror")).count(), 2);
    assert!(demanding.requests().iter().all(|request| request.header("authorization").is_none()));
    assert!(upstream.requests().iter().all(|request| request.header("x-mirror").is_none()));
}

#[tokio::test]
async fn paths_of_mirrors() {
    let server = Server::start(|_| manifest_reply(&image("x"))).await;
    let upstream = Server::start(|_| Reply::new(404)).await;
    for (path, rest, expected) in [
        ("/proxy", "", "/proxy/v2/library/a/manifests/1.0"),
        ("/v2/proxy", "override_path = true", "/v2/proxy/library/a/manifests/1.0"),
        ("/v2", "", "/v2/library/a/manifests/1.0"),
    ] {
        let block = format!("[host.\"{}\"]\n{rest}\n", server.url(path));
        let (_dir, repo) = repo(&[block], &upstream, config(), Auth::Anonymous);
        repo.manifest("1.0").await.unwrap();
        assert_eq!(server.requests().last().unwrap().path(), expected);
    }
}

#[tokio::test]
async fn broken_configuration_stops_everything() {
    let upstream = Server::start(|_| manifest_reply(&image("x"))).await;
    let (_dir, repo) =
        repo(&["[host.\"http://x\"]\nskip_verify = 1\n".into()], &upstream, config(), Auth::Anonymous);
    let error = repo.manifest("1.0").await.unwrap_err();
    assert!(matches!(error, Error::Hosts { .. }), "{error:?}");
    assert!(upstream.requests().is_empty());
}

#[tokio::test]
async fn an_insecure_registry_falls_back_to_plain_http() {
    // The server does not understand TLS at all.
    let server = Server::start(|_| manifest_reply(&image("x"))).await;
    let registry = Registry::new(&format!("r.corp.test:{}", server.port)).unwrap();
    let lookup = |_: &str| Some(vec!["127.0.0.1".parse().unwrap()]);
    let strict = Config { lookup: Some(std::sync::Arc::new(lookup)), attempts: 1, ..config() };
    let repo =
        |config| Client::new(config).unwrap().repository(&registry, &repository("a/b"), Auth::Anonymous);
    let error = repo(strict.clone()).manifest("1.0").await.unwrap_err();
    assert!(matches!(error, Error::Tls { .. } | Error::Connect { .. }), "{error:?}");
    assert!(server.requests().iter().all(|request| request.method != "GET"));
    repo(Config { insecure: vec![registry.clone()], ..strict }).manifest("1.0").await.unwrap();
}

#[tokio::test]
async fn proxies_are_used_and_do_not_open_the_firewall() {
    // The proxy answers for everybody.
    let proxy = Server::start(|request| match request.target.as_str() {
        "http://r.corp.test/v2/a/b/manifests/1.0" => manifest_reply(&image("x")),
        "http://r.corp.test/v2/a/b/manifests/2.0" => Reply::redirect("http://inside.test/x"),
        "http://r.corp.test/v2/a/b/manifests/3.0" => Reply::redirect("http://unknown.test/x"),
        "http://unknown.test/x" => manifest_reply(&image("y")),
        other => panic!("{other}"),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("r.corp.test")).unwrap();
    std::fs::write(dir.path().join("r.corp.test/hosts.toml"), "server = \"http://r.corp.test\"").unwrap();
    let config = Config {
        certs_dirs: vec![dir.path().into()],
        proxy: Some(larder_remote::Proxy {
            http: Some(larder_core::Secret::new(format!("http://bob:canary@{}", proxy.host()))),
            https: None,
            exceptions: String::new(),
        }),
        lookup: Some(std::sync::Arc::new(|name| match name {
            "inside.test" => Some(vec!["10.0.0.1".parse().unwrap()]),
            _ => Some(Vec::new()),
        })),
        ..config()
    };
    assert!(!format!("{config:?}").contains("canary"));
    let registry = Registry::new("r.corp.test").unwrap();
    let repo = Client::new(config).unwrap().repository(&registry, &repository("a/b"), Auth::Anonymous);
    repo.manifest("1.0").await.unwrap();
    assert!(proxy.requests()[0].header("proxy-authorization").is_some());
    let error = repo.manifest("2.0").await.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error:?}");
    assert!(!format!("{error:?}").contains("canary"));
    repo.manifest("3.0").await.unwrap();
}
