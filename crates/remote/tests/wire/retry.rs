//! Servers that are busy.

use crate::server::{Reply, Server, config, image, manifest_reply, repository, watched};
use larder_core::{Classify, Event, Kind};
use larder_remote::{Auth, Client, Config, Error};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, UNIX_EPOCH};

async fn after(failures: usize, failure: Reply) -> Server {
    let asked = AtomicUsize::new(0);
    Server::start(move |_| {
        if asked.fetch_add(1, Ordering::Relaxed) < failures {
            failure.clone()
        } else {
            manifest_reply(&image("x"))
        }
    })
    .await
}

#[tokio::test]
async fn bursts_of_errors_pass() {
    for status in [408, 429, 500, 502, 503, 504] {
        let server = after(3, Reply::new(status)).await;
        assert!(server.anonymous().manifest("1.0").await.is_ok(), "{status}");
        assert_eq!(server.requests().len(), 4);
    }
    for reply in [
        manifest_reply(&image("x")).cut(7),
        manifest_reply(&image("x")).reset(0),
        manifest_reply(&image("x")).stall(5),
    ] {
        let server = after(2, reply).await;
        assert!(server.anonymous().manifest("1.0").await.is_ok());
    }
    for status in [400, 404, 410, 418, 451, 501] {
        let server = after(1, Reply::new(status)).await;
        assert!(server.anonymous().manifest("1.0").await.is_err(), "{status}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_retry_gives_one_plain_reason() {
    let server = after(1, manifest_reply(&image("x")).reset(0)).await;
    let (watching, events) = watched(config());
    server.repo(watching, Auth::Anonymous).manifest("1.0").await.unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (watching, other) = watched(Config { attempts: 2, ..config() });
    let client = Client::new(watching).unwrap();
    let registry = larder_core::Registry::new(&nobody.to_string()).unwrap();
    let repo = client.repository(&registry, &repository("app"), Auth::Anonymous);
    assert!(repo.manifest("1.0").await.is_err());
    for (events, ours) in [(events, "interrupted"), (other, "cannot connect")] {
        let events = events.lock().unwrap();
        let [Event::Retrying { reason, .. }] = &events[..] else { panic!("{events:?}") };
        let (_, rest) = reason.split_once(ours).unwrap_or_else(|| panic!("{reason}"));
        // Our words, and one cause.
        assert_eq!(rest.matches(": ").count(), 1, "{reason}");
        assert!(!reason.contains("os error") && !reason.contains("error sending request"), "{reason}");
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_and_capped() {
    // The clock of the test stands still at a known date.
    let clock = Arc::new(|| UNIX_EPOCH + Duration::from_secs(784_111_777));
    for (value, waited) in
        [("0", 0), ("0.2", 200), ("Sun, 06 Nov 1994 08:49:38 GMT", 300), ("1698765432000000", 300)]
    {
        let server = after(1, Reply::new(429).header("Retry-After", value)).await;
        let (config, events) =
            watched(Config { retry_after_max: Duration::from_millis(300), clock: clock.clone(), ..config() });
        let began = Instant::now();
        server.repo(config, Auth::Anonymous).manifest("1.0").await.unwrap();
        assert!(began.elapsed() >= Duration::from_millis(waited), "{value}: {:?}", began.elapsed());
        let events = events.lock().unwrap();
        let [Event::Retrying { delay, reason, what }] = &events[..] else { panic!("{events:?}") };
        assert_eq!(delay.as_millis() as u64, waited, "{value}");
        assert!(reason.contains("429") && what.contains("127.0.0.1"), "{what}: {reason}");
    }
}

#[tokio::test]
async fn patience_ends() {
    let server = after(1_000, Reply::new(503).header("Retry-After", "0")).await;
    let error = server.anonymous().manifest("1.0").await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable);
    assert_eq!(error.retry_after(), Some(Duration::ZERO));
    assert_eq!(server.requests().len(), 4);
    // All operations of a client share a budget.
    let repo = server.repo(Config { retry_budget: 5, ..config() }, Auth::Anonymous);
    for _ in 0..10 {
        assert!(repo.manifest("1.0").await.is_err());
    }
    assert_eq!(server.requests().len(), 4 + 10 + 5);
}

#[tokio::test]
async fn a_registry_that_comes_up_late_is_found() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let registry = larder_core::Registry::new(&address.to_string()).unwrap();
    let client = Client::new(Config { attempts: 2, ..config() }).unwrap();
    let repo = client.repository(&registry, &repository("a"), Auth::Anonymous);
    let error = repo.manifest("1").await.unwrap_err();
    assert!(matches!(error, Error::Connect { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Unavailable);
    assert!(error.hints()[0].contains(&address.to_string()));
}

#[tokio::test]
async fn names_that_do_not_resolve_are_tried_again_and_named() {
    let server = Server::start(|_| manifest_reply(&image("x"))).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("late.test")).unwrap();
    std::fs::write(
        dir.path().join("late.test/hosts.toml"),
        format!("server = \"http://late.test:{}\"", server.port),
    )
    .unwrap();
    let asked = AtomicUsize::new(0);
    let config = Config {
        certs_dirs: vec![dir.path().into()],
        lookup: Some(Arc::new(move |_| {
            let late = asked.fetch_add(1, Ordering::Relaxed) >= 2;
            Some(if late { vec!["127.0.0.1".parse().unwrap()] } else { Vec::new() })
        })),
        ..config()
    };
    let registry = larder_core::Registry::new("late.test").unwrap();
    let client = Client::new(config).unwrap();
    let repo = client.repository(&registry, &repository("a"), Auth::Anonymous);
    repo.manifest("1").await.unwrap();

    let nowhere = larder_core::Registry::new("nowhere.invalid").unwrap();
    let client = Client::new(Config { attempts: 1, ..crate::server::config() }).unwrap();
    let repo = client.repository(&nowhere, &repository("a"), Auth::Anonymous);
    let error = repo.manifest("1").await.unwrap_err();
    assert!(matches!(error, Error::UnknownHost { .. }), "{error:?}");
    assert!(error.hints()[0].contains("nowhere.invalid"));
}

#[tokio::test]
async fn a_handle_has_its_own_patience() {
    let server = Server::start(|_| Reply::new(503)).await;
    let repo = server.repo(config(), Auth::Anonymous);
    let curt = repo.with_patience(2, Duration::from_secs(1));
    curt.manifest("1.0").await.unwrap_err();
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn who_asks_for_more_time_than_there_is_gets_all_of_it() {
    let server = Server::start(|_| Reply::new(429).header("Retry-After", "30")).await;
    let repo = server.repo(config(), Auth::Anonymous).with_patience(5, Duration::from_secs(1));
    let began = Instant::now();
    let error = repo.manifest("1.0").await.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(30)));
    assert!(began.elapsed() < Duration::from_secs(5));
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn one_tag_is_a_small_question() {
    let server = Server::start(|request| match request.target.as_str() {
        "/v2/library/a/tags/list?n=1" => Reply::ok(r#"{"tags":["1.0"]}"#),
        "/v2/library/none/tags/list?n=1" => Reply::ok(r#"{"tags":null}"#),
        _ => Reply::new(404),
    })
    .await;
    let client = Client::new(config()).unwrap();
    let ask = async |name: &str| {
        client.repository(&server.registry(), &repository(name), Auth::Anonymous).any_tag().await
    };
    assert_eq!(ask("library/a").await.unwrap().unwrap().as_str(), "1.0");
    assert_eq!(ask("library/none").await.unwrap(), None);
    assert_eq!(ask("library/other").await.unwrap_err().kind(), Kind::NotFound);
}
