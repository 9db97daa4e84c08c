//! Manifests, tags and referrers of servers that mean well and of others.

use crate::server::{Reply, Server, config, image, manifest_reply};
use larder_core::{Classify, Descriptor, Digest, Kind, MANIFEST_LIMIT, MediaType, report};
use larder_remote::{Auth, Error};
use std::sync::atomic::{AtomicUsize, Ordering};

#[tokio::test]
async fn resolves_with_head_and_without() {
    let text = image("x");
    let expected = Descriptor::of(MediaType::OCI_MANIFEST, text.as_bytes());
    let good = {
        let text = text.clone();
        Server::start(move |_| manifest_reply(&text)).await
    };
    assert_eq!(good.anonymous().resolve("1.0").await.unwrap(), expected);
    assert_eq!(good.requests().len(), 1);
    assert!(good.requests()[0].is("HEAD", "/v2/a/b/manifests/1.0"));
    for (reply, gets) in [(Reply::new(405), 1), (Reply::new(401), 1), (manifest_reply("").declared(0), 1)] {
        let text = text.clone();
        let server =
            Server::start(
                move |request| if request.method == "HEAD" { reply.clone() } else { manifest_reply(&text) },
            )
            .await;
        assert_eq!(server.anonymous().resolve("1.0").await.unwrap(), expected);
        assert_eq!(server.requests().len(), 1 + gets);
    }
    // No digest in the answer, or no media type of a manifest.
    for header in ["Docker-Content-Digest", "Content-Type"] {
        let text = text.clone();
        let server = Server::start(move |request| match (request.method.as_str(), header) {
            ("HEAD", "Content-Type") => {
                Reply::ok(text.as_str()).header("Docker-Content-Digest", Digest::of(b""))
            }
            ("HEAD", _) => Reply::ok(text.as_str()).header("Content-Type", MediaType::OCI_MANIFEST.as_str()),
            _ => manifest_reply(&text),
        })
        .await;
        assert_eq!(server.anonymous().resolve("1.0").await.unwrap(), expected);
    }
}

#[tokio::test]
async fn bytes_that_do_not_hash_to_their_name_are_refused() {
    let wrong = image("evil");
    let server = Server::start(move |_| manifest_reply(&wrong)).await;
    let digest = Digest::of(image("good").as_bytes()).to_string();
    let error = server.anonymous().manifest(&digest).await.unwrap_err();
    assert!(matches!(error, Error::Mismatch { .. }), "{error:?}");
    assert_eq!(error.kind(), Kind::Corrupt);
    assert_eq!(server.anonymous().resolve(&digest).await.unwrap_err().kind(), Kind::Corrupt);
}

#[tokio::test]
async fn the_digest_header_is_not_believed() {
    let text = image("x");
    let actual = Digest::of(text.as_bytes());
    let server = Server::start(move |_| {
        Reply::ok(text.as_str())
            .header("Content-Type", MediaType::OCI_MANIFEST.as_str())
            .header("Docker-Content-Digest", Digest::of(b"a lie"))
    })
    .await;
    assert_eq!(server.anonymous().manifest("1.0").await.unwrap().digest(), actual);
}

#[tokio::test]
async fn answers_that_flip_never_mix_cve_2022_47633() {
    let turn = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        manifest_reply(&image(if turn.fetch_add(1, Ordering::Relaxed) == 0 { "good" } else { "evil" }))
    })
    .await;
    let repo = server.anonymous();
    let resolved = repo.resolve("1.0").await.unwrap();
    let error = repo.manifest(&resolved.digest.to_string()).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Corrupt, "{error:?}");
}

#[tokio::test]
async fn documents_with_two_readings_are_refused_cve_2021_41190() {
    let both = image("x").replace("\"schemaVersion\"", "\"manifests\":[],\"schemaVersion\"");
    let cases = [
        (both.clone(), MediaType::OCI_MANIFEST),
        (both, MediaType::OCI_INDEX),
        (image("x"), MediaType::OCI_INDEX),
        (image("x"), MediaType::DOCKER_MANIFEST),
    ];
    for (text, carrier) in cases {
        let digest = Digest::of(text.as_bytes()).to_string();
        let server =
            Server::start(move |_| Reply::ok(text.as_str()).header("Content-Type", carrier.as_str())).await;
        let error = server.anonymous().manifest(&digest).await.unwrap_err();
        assert!(matches!(error, Error::Document { .. }), "{error:?}");
        assert_eq!(error.kind(), Kind::Invalid);
    }
}

#[tokio::test]
async fn huge_manifests_cost_nothing_cve_2017_11468() {
    // 100 MB, declared.
    let server = Server::start(|_| {
        Reply::ok(vec![b' '; 100_000])
            .declared(100_000_000)
            .header("Content-Type", MediaType::OCI_MANIFEST.as_str())
            .stall(100_000)
    })
    .await;
    let error = server.anonymous().manifest("1.0").await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { limit: MANIFEST_LIMIT, .. }), "{error:?}");
    // Endless, undeclared.
    let server = Server::start(|_| Reply::ok(vec![b' '; 100_000]).endless()).await;
    let error = server.anonymous().manifest("1.0").await.unwrap_err();
    assert!(matches!(error, Error::TooLarge { .. }), "{error:?}");
    // What fits into socket buffers may be sent in vain, not much more.
    assert!(server.sent() < 32 << 20, "{} bytes were sent", server.sent());
    // The limit itself is fine.
    let mut text = image("x");
    text.push_str(&" ".repeat(MANIFEST_LIMIT as usize - text.len()));
    let server = Server::start(move |_| manifest_reply(&text)).await;
    assert!(server.anonymous().manifest("1.0").await.is_ok());
}

#[tokio::test]
async fn a_dripping_manifest_ends() {
    let server =
        Server::start(|_| Reply::ok(vec![b' '; 100_000]).drip(std::time::Duration::from_millis(50))).await;
    let config = larder_remote::Config { attempts: 1, ..config() };
    let error = server.repo(config, Auth::Anonymous).manifest("1.0").await.unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error:?}");
}

#[tokio::test]
async fn selectors_cannot_bend_urls_cve_2024_3727() {
    let server = Server::start(|_| manifest_reply(&image("x"))).await;
    let repo = server.anonymous();
    let hex = "e".repeat(64);
    let bad = [
        "sha256:../../x".to_owned(),
        format!("sha256:{}", hex.to_uppercase()),
        format!("sha256:{}", &hex[1..]),
        format!("sha256:{hex}0"),
        format!("md5:{}", "e".repeat(32)),
        "../../../_catalog".into(),
        "a/b".into(),
        "a?b".into(),
        "a%2fb".into(),
        String::new(),
    ];
    for selector in bad {
        assert_eq!(repo.manifest(&selector).await.unwrap_err().kind(), Kind::Invalid, "{selector:?}");
        assert_eq!(repo.resolve(&selector).await.unwrap_err().kind(), Kind::Invalid, "{selector:?}");
    }
    assert!(server.requests().is_empty());
    // The same in what a server sends.
    let evil = image("x").replace(&Digest::of(b"x").to_string(), "sha256:../../x");
    let server = Server::start(move |_| manifest_reply(&evil)).await;
    assert_eq!(server.anonymous().manifest("1.0").await.unwrap_err().kind(), Kind::Invalid);
}

#[tokio::test]
async fn pages_and_encodings_are_named() {
    let server = Server::start(|_| Reply::ok("<html>").header("Content-Type", "text/html")).await;
    let error = server.anonymous().manifest("1.0").await.unwrap_err();
    assert!(matches!(error, Error::WebPage { .. }), "{error:?}");
    let server = Server::start(|_| manifest_reply(&image("x")).header("Content-Encoding", "br")).await;
    let error = server.anonymous().manifest("1.0").await.unwrap_err();
    assert!(report(&error).contains("br"), "{error:?}");
}

#[tokio::test]
async fn tags_come_in_pages() {
    let server = Server::start(|request| match request.target.as_str() {
        "/v2/a/b/tags/list?n=1000" => Reply::ok(r#"{"name":"a/b","tags":["1","2","no tag!"]}"#)
            .header("Link", "</v2/a/b/tags/list?n=1000&last=2>; rel=\"next\""),
        _ => Reply::ok(r#"{"name":"a/b","tags":["3"]}"#),
    })
    .await;
    let tags = server.anonymous().tags().await.unwrap();
    assert_eq!(tags.iter().map(larder_core::Tag::as_str).collect::<Vec<_>>(), ["1", "2", "3"]);
    // Nowhere else, and not in circles.
    for link in ["http://127.0.0.2:1/v2/a/b/tags/list", "/v2/a/b/tags/list?n=1000"] {
        let server = Server::start(move |_| {
            Reply::ok(r#"{"tags":null}"#).header("Link", format!("<{link}>; rel=next"))
        })
        .await;
        let error = server.anonymous().tags().await.unwrap_err();
        assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    }
}

fn list(types: &[&str]) -> String {
    let entries: Vec<_> = types
        .iter()
        .map(|kind| Descriptor {
            artifact_type: Some((*kind).into()),
            ..Descriptor::of(MediaType::OCI_MANIFEST, kind.as_bytes())
        })
        .collect();
    serde_json::json!({"schemaVersion": 2, "mediaType": MediaType::OCI_INDEX.as_str(), "manifests": entries})
        .to_string()
}

#[tokio::test]
async fn referrers_by_api_and_by_tag() {
    let subject = Digest::of(b"subject");
    let index = |text: String| Reply::ok(text).header("Content-Type", MediaType::OCI_INDEX.as_str());
    let api = Server::start(move |_| index(list(&["sig", "sbom"]))).await;
    assert_eq!(api.anonymous().referrers(&subject, None).await.unwrap().len(), 2);
    let only = api.anonymous().referrers(&subject, Some("sig")).await.unwrap();
    assert_eq!(only.len(), 1);
    assert!(api.requests()[1].target.ends_with(&format!("/referrers/{subject}?artifactType=sig")));

    let tag = format!("/v2/a/b/manifests/sha256-{}", subject.hex());
    let fallback =
        Server::start(
            move |request| {
                if request.path() == tag { index(list(&["sig", "sbom"])) } else { Reply::new(404) }
            },
        )
        .await;
    assert_eq!(fallback.anonymous().referrers(&subject, Some("sbom")).await.unwrap().len(), 1);
    let neither = Server::start(|_| Reply::new(404)).await;
    assert!(neither.anonymous().referrers(&subject, None).await.unwrap().is_empty());
    // Trouble is not absence, not even behind an API that is missing.
    let half =
        Server::start(|request| Reply::new(if request.path().contains("/referrers/") { 404 } else { 403 }))
            .await;
    assert_eq!(half.anonymous().referrers(&subject, None).await.unwrap_err().kind(), Kind::Denied);
    for status in [500, 401] {
        let broken = Server::start(move |_| Reply::new(status)).await;
        assert!(broken.anonymous().referrers(&subject, None).await.is_err());
    }
}

#[tokio::test]
async fn endless_referrers_are_cut_off_cve_2023_33958() {
    let page = AtomicUsize::new(0);
    let server = Server::start(move |_| {
        let at = page.fetch_add(1, Ordering::Relaxed);
        Reply::ok(list(&["sig"; 2_000]))
            .header("Content-Type", MediaType::OCI_INDEX.as_str())
            .header("Link", format!("</v2/a/b/referrers/x?page={at}>; rel=next"))
    })
    .await;
    let error = server.anonymous().referrers(&Digest::of(b"s"), None).await.unwrap_err();
    assert!(matches!(error, Error::Protocol { .. }), "{error:?}");
    assert!(server.requests().len() < 10);
}
