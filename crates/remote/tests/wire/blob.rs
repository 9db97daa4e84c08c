//! Blobs through broken networks.

use crate::server::{Reply, Server, blob_reply, config, drain, fetch, layer, noise, trusting, watched};
use larder_core::{Classify, Event, Kind};
use larder_remote::{Auth, Config, Error};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[tokio::test]
async fn whole_blobs_ranges_and_offsets() {
    let content = noise(300_000);
    let served = content.clone();
    let server = Server::start(move |request| blob_reply(request, &served)).await;
    let repo = server.anonymous();
    let descriptor = layer(&content);
    assert_eq!(fetch(&repo, &content).await.unwrap(), content);
    assert_eq!(drain(repo.blob(&descriptor, 299_999).await.unwrap()).await.unwrap(), content[299_999..]);
    assert_eq!(repo.blob_range(&descriptor, 1_000, 2_000).await.unwrap().concat(), content[1_000..3_000]);
    assert!(drain(repo.blob(&descriptor, 300_000).await.unwrap()).await.unwrap().is_empty());
    for error in
        [repo.blob(&descriptor, 300_001).await.err(), repo.blob_range(&descriptor, 299_999, 2).await.err()]
    {
        assert!(matches!(error, Some(Error::OutOfRange { .. })), "{error:?}");
    }
    let ranges: Vec<_> =
        server.requests().iter().map(|request| request.header("range").map(str::to_owned)).collect();
    assert_eq!(ranges, [None, Some("bytes=299999-".into()), Some("bytes=1000-2999".into())]);
}

#[tokio::test]
async fn a_thousand_resets_cost_one_range_each() {
    let content = noise(400_000);
    let served = content.clone();
    let connection = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let at = connection.fetch_add(1, Ordering::Relaxed);
        let reply = blob_reply(request, &served);
        // Bytes that make it vary, and now and then nothing does.
        let upto = if at % 50 == 49 { 0 } else { 100 + at * 7 % 601 };
        match at {
            0..1000 if at.is_multiple_of(2) => reply.reset(upto),
            0..1000 => reply.cut(upto),
            _ => reply,
        }
    })
    .await;
    let mut stream = server.anonymous().blob(&layer(&content), 0).await.unwrap();
    let mut got = Vec::new();
    while let Some(chunk) = stream.next().await.unwrap() {
        got.extend_from_slice(&chunk);
    }
    assert!(got == content);
    // No byte twice, and every request asked for exactly what was missing.
    assert_eq!(stream.received(), content.len() as u64);
    assert_eq!(stream.connections(), 1001);
    let starts: Vec<_> = server.requests().iter().map(|request| request.range_start().unwrap_or(0)).collect();
    assert_eq!(starts.len(), 1001);
    assert!(starts.is_sorted());
}

#[tokio::test]
async fn stalls_and_short_bodies_are_resumed() {
    let content = noise(50_000);
    let served = content.clone();
    let connection = AtomicUsize::new(0);
    let server = Server::start(move |request| {
        let reply = blob_reply(request, &served);
        match connection.fetch_add(1, Ordering::Relaxed) {
            0 => reply.stall(10_000),
            1 => reply.cut(10_000),
            2 => reply.chunked().cut(10_000),
            _ => reply,
        }
    })
    .await;
    let (config, events) = watched(config());
    assert!(fetch(&server.repo(config, Auth::Anonymous), &content).await.unwrap() == content);
    let starts: Vec<_> = server.requests().iter().map(|request| request.range_start().unwrap_or(0)).collect();
    assert_eq!(starts, [0, 10_000, 20_000, 30_000]);
    let retries =
        events.lock().unwrap().iter().filter(|event| matches!(event, Event::Retrying { .. })).count();
    assert_eq!(retries, 3);
}

#[tokio::test]
async fn attempts_without_progress_are_counted() {
    let content = noise(1_000);
    let server = Server::start(|request| {
        if request.range_start().is_none() {
            Reply::ok(noise(1_000)).cut(10)
        } else {
            Reply::new(206).header("Content-Range", "bytes 10-999/1000").body(noise(990)).reset(0)
        }
    })
    .await;
    let error = fetch(&server.anonymous(), &content).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unavailable, "{error:?}");
    // The first brought something; four did not.
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn a_server_that_ignores_ranges_still_works() {
    let content = noise(60_000);
    let served = content.clone();
    let server = Server::start(move |request| match request.range_start() {
        None => Reply::ok(served.clone()).cut(25_000),
        Some(_) => Reply::ok(served.clone()),
    })
    .await;
    let repo = server.anonymous();
    assert!(fetch(&repo, &content).await.unwrap() == content);
    assert_eq!(
        repo.blob_range(&layer(&content), 30_000, 10).await.unwrap().concat(),
        content[30_000..30_010]
    );
}

#[tokio::test]
async fn a_wrong_range_is_refused() {
    for range in [
        "bytes 0-999/1000",
        "bytes 400-999/1000",
        "bytes 500-999/2000",
        "bytes 500-1999/2000",
        "nonsense",
        "",
    ] {
        let server =
            Server::start(move |_| Reply::new(206).header("Content-Range", range).body(noise(500))).await;
        let error = server.anonymous().blob(&layer(&noise(1_000)), 500).await.err().unwrap();
        assert!(matches!(error, Error::WrongRange { expected: 500, .. }), "{range}: {error:?}");
        assert_eq!(error.kind(), Kind::Corrupt);
    }
}

#[tokio::test]
async fn a_blob_of_another_length_is_an_error() {
    let content = noise(1_000);
    // Declared too long or too short: known before a byte is handed out.
    for length in [999, 1_001] {
        let server = Server::start(move |_| Reply::ok(noise(length))).await;
        let error = server.anonymous().blob(&layer(&content), 0).await.err().unwrap();
        assert!(matches!(error, Error::Length { expected: 1_000, .. }), "{error:?}");
    }
    // Undeclared and too long.
    let server = Server::start(move |_| Reply::ok(noise(1_001)).chunked()).await;
    let error = fetch(&server.anonymous(), &content).await.unwrap_err();
    assert!(matches!(error, Error::Length { expected: 1_000, .. }), "{error:?}");
    // Undeclared and endless.
    let server = Server::start(move |_| Reply::ok(noise(1_000)).endless()).await;
    let error = fetch(&server.anonymous(), &content).await.unwrap_err();
    assert!(matches!(error, Error::Length { expected: 1_000, .. }), "{error:?}");
    // Undeclared and too short, every time.
    let server = Server::start(move |request| match request.range_start() {
        None => Reply::ok(noise(999)).chunked(),
        Some(_) => Reply::new(416).header("Content-Range", "bytes */999"),
    })
    .await;
    let error = fetch(&server.anonymous(), &content).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Invalid, "{error:?}");
}

#[tokio::test]
async fn a_web_page_is_not_a_blob() {
    let page = "<html>Please log in</html>";
    let server =
        Server::start(move |_| Reply::ok(page).header("Content-Type", "text/html; charset=utf-8")).await;
    let error = fetch(&server.anonymous(), &noise(1_000)).await.unwrap_err();
    assert!(matches!(error, Error::WebPage { .. }), "{error:?}");
    assert!(error.hints()[0].contains("proxy"));
    // A blob that happens to be a page is a blob.
    assert_eq!(fetch(&server.anonymous(), page.as_bytes()).await.unwrap(), page.as_bytes());
}

#[tokio::test]
async fn a_compressing_proxy_is_refused() {
    let server = Server::start(|_| Reply::ok(noise(1_000)).header("Content-Encoding", "gzip")).await;
    let error = fetch(&server.anonymous(), &noise(1_000)).await.unwrap_err();
    assert!(matches!(error, Error::Encoded { .. }), "{error:?}");
    assert_eq!(server.requests()[0].header("accept-encoding"), Some("identity"));
}

#[tokio::test]
async fn an_expired_redirect_is_asked_for_anew() {
    let content = noise(40_000);
    let served = content.clone();
    let store = Server::at("127.0.0.2", {
        let used = Mutex::new(Vec::new());
        move |request| {
            // A signature is good for one request.
            let mut used = used.lock().unwrap();
            if used.contains(&request.target) {
                return Reply::new(403).body("<Error><Code>AccessDenied</Code></Error>");
            }
            used.push(request.target.clone());
            let reply = blob_reply(request, &served);
            if used.len() < 4 { reply.cut(10_000) } else { reply }
        }
    })
    .await;
    let (base, issued) = (store.url("/bucket"), AtomicUsize::new(0));
    // The registry keeps giving out the old signature for a while.
    let server = Server::start(move |_| {
        Reply::redirect(&format!("{base}?X-Sig={}", issued.fetch_add(1, Ordering::Relaxed) / 2))
    })
    .await;
    let repo = server.repo(trusting(), Auth::Anonymous);
    assert!(fetch(&repo, &content).await.unwrap() == content);
    let delivered: Vec<_> =
        store.requests().iter().map(|request| request.range_start().unwrap_or(0)).collect();
    assert_eq!(delivered, [0, 10_000, 10_000, 20_000, 20_000, 30_000, 30_000]);
}

#[tokio::test]
async fn a_token_that_expires_midway_is_replaced() {
    let content = noise(30_000);
    let served = content.clone();
    let good = std::sync::Arc::new(AtomicUsize::new(0));
    let issue = good.clone();
    let tokens = Server::start(move |_| {
        let number = issue.fetch_add(1, Ordering::Relaxed) + 1;
        Reply::ok(format!(r#"{{"token":"t{number}","expires_in":3600}}"#))
    })
    .await;
    let (realm, uses) = (tokens.url("/token"), AtomicUsize::new(0));
    let server = Server::start(move |request| {
        let wanted = format!("Bearer t{}", good.load(Ordering::Relaxed));
        // Every token is good for one answer.
        if request.header("authorization") != Some(&wanted) || uses.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
            return Reply::challenge(&format!(
                "Bearer realm=\"{realm}\",service=\"s\",scope=\"repository:a/b:pull\""
            ));
        }
        blob_reply(request, &served).cut(10_000)
    })
    .await;
    assert!(fetch(&server.anonymous(), &content).await.unwrap() == content);
    assert_eq!(tokens.requests().len(), 3);
}

#[tokio::test]
async fn what_vanishes_midway_is_asked_for_again_but_absence_is_final() {
    let content = noise(20_000);
    let served = content.clone();
    let connection = AtomicUsize::new(0);
    let server = Server::start(move |request| match connection.fetch_add(1, Ordering::Relaxed) {
        0 => blob_reply(request, &served).cut(5_000),
        1 => Reply::new(404),
        2 => Reply::new(403),
        _ => blob_reply(request, &served),
    })
    .await;
    assert!(fetch(&server.anonymous(), &content).await.unwrap() == content);
    let server = Server::start(|_| Reply::new(404)).await;
    assert_eq!(fetch(&server.anonymous(), &content).await.unwrap_err().kind(), Kind::NotFound);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_crawling_server_is_given_up() {
    let server = Server::start(|_| Reply::ok(noise(1_000)).drip(Duration::from_millis(20))).await;
    let config =
        Config { min_rate: Some(10_000), attempts: 2, idle_timeout: Duration::from_millis(200), ..config() };
    let error = fetch(&server.repo(config, Auth::Anonymous), &noise(1_000)).await.unwrap_err();
    assert!(matches!(error, Error::Slow { rate: 10_000, .. }), "{error:?}");
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_byte_per_connection_is_no_progress_forever() {
    let content = noise(100_000);
    let served = content.clone();
    let server = Server::start(move |request| blob_reply(request, &served).cut(1)).await;
    let config = Config { min_rate: Some(1 << 20), idle_timeout: Duration::from_millis(100), ..config() };
    let error = fetch(&server.repo(config, Auth::Anonymous), &content).await.unwrap_err();
    assert!(matches!(error, Error::Slow { .. }), "{error:?}");
    assert!(server.requests().len() < 10_000, "{} requests", server.requests().len());
}

#[tokio::test]
async fn slices_go_straight_to_where_the_first_was_sent() {
    let content = noise(100_000);
    let served = content.clone();
    let valid = std::sync::Arc::new(AtomicUsize::new(0));
    let (issue, check) = (valid.clone(), valid.clone());
    let store = Server::at("127.0.0.2", move |request| {
        let wanted = format!("/blob?sig={}", check.load(Ordering::Relaxed));
        if request.target == wanted { blob_reply(request, &served) } else { Reply::new(403) }
    })
    .await;
    let base = store.url("/blob");
    let server =
        Server::start(move |_| Reply::redirect(&format!("{base}?sig={}", issue.load(Ordering::Relaxed))))
            .await;
    let repo = server.repo(trusting(), Auth::Anonymous);
    let descriptor = layer(&content);
    for start in [0, 10_000, 20_000] {
        let slice = repo.blob_range(&descriptor, start, 10_000).await.unwrap().concat();
        assert!(slice == content[start as usize..][..10_000]);
    }
    assert_eq!(server.requests().len(), 1);
    // The signature expires: ask anew.
    valid.store(1, Ordering::Relaxed);
    assert!(repo.blob_range(&descriptor, 30_000, 10_000).await.unwrap().concat() == content[30_000..40_000]);
    assert_eq!(server.requests().len(), 2);
}

#[tokio::test]
async fn a_slow_reader_is_not_a_slow_server() {
    let content = noise(3_000_000);
    let served = content.clone();
    let server = Server::start(move |request| blob_reply(request, &served)).await;
    let config =
        Config { min_rate: Some(1 << 20), idle_timeout: Duration::from_millis(50), attempts: 1, ..config() };
    let mut stream = server.repo(config, Auth::Anonymous).blob(&layer(&content), 0).await.unwrap();
    let mut got = 0;
    while let Some(chunk) = stream.next().await.unwrap() {
        if got == 0 {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        got += chunk.len();
    }
    assert_eq!((got, stream.connections()), (content.len(), 1));
}

#[tokio::test]
async fn a_registry_that_refuses_head_is_asked_for_one_byte() {
    let content = noise(777);
    let served = content.clone();
    let server = Server::start(move |request| match request.method.as_str() {
        "HEAD" => Reply::new(401),
        _ => blob_reply(request, &served),
    })
    .await;
    assert_eq!(server.anonymous().has_blob(&layer(&content).digest).await.unwrap(), Some(777));
    assert_eq!(server.requests()[1].header("range"), Some("bytes=0-0"));
    let empty = Server::start(|_| Reply::new(404)).await;
    assert_eq!(empty.anonymous().has_blob(&layer(&content).digest).await.unwrap(), None);
    let broken = Server::start(|_| Reply::new(500)).await;
    assert!(broken.anonymous().has_blob(&layer(&content).digest).await.is_err());
}
