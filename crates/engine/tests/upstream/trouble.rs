//! Upstreams that cannot be found, trusted or hurried, and two servers on one store.

use crate::world::{World, anonymous, name, selector};
use larder_core::{Kind, Secret};
use larder_server::{Bringing, Freshness, OnMiss, Presented};
use larder_testkit::{Access, Fault, RawRequest, Rule};
use std::io::Read as _;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_cannot_be_found_or_trusted_is_unavailable_and_not_denied() {
    for url in ["http://nowhere.invalid", "https://{host}", "http://127.0.0.1:1", "http://192.0.2.1:1"] {
        let settings = |settings: &mut larder_engine::UpstreamSettings| {
            let host = settings.url.as_deref().unwrap().trim_start_matches("http://").trim_end_matches('/');
            settings.url = Some(url.replace("{host}", host));
        };
        let world = World::with(settings, |config| config.connect_timeout = "300ms".parse().unwrap());
        world.image(1, "library/app", "1", 1000);
        let trouble = world.tag("library/app:1").await.unwrap_err();
        assert_eq!((trouble.kind, trouble.wants_credential), (Kind::Unavailable, false), "{url}: {trouble}");
        let digest = larder_core::Digest::of(b"x");
        let trouble = world.upstreams.blob(&name("library/app"), &digest, &anonymous()).await.unwrap_err();
        assert_eq!(trouble.kind, Kind::Unavailable, "{url}: {trouble}");
        assert_eq!(world.upstreams.tags(&name("library/app"), &anonymous()).await.unwrap(), None, "{url}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_wants_to_be_left_alone_is() {
    let world = World::new();
    world.image(1, "library/app", "1", 1000);
    world.tag("library/app:1").await.unwrap();
    world.clock.advance(MINUTE);
    let busy = world.registry.fault(Rule::on("*", "/v2/*").status(429, &[("Retry-After", "120")]));
    let began = std::time::Instant::now();
    for _ in 0..5 {
        assert_eq!(world.tag("library/app:1").await.unwrap().freshness, Freshness::Stale);
    }
    assert_eq!(busy.count(), 1, "nobody insists");
    world.clock.advance(Duration::from_secs(119));
    assert_eq!(world.tag("library/app:1").await.unwrap().freshness, Freshness::Stale);
    assert_eq!(busy.count(), 1);
    // Who gets nothing is told when to come back, at once.
    let trouble = world.tag("library/app:2").await.unwrap_err();
    assert_eq!((trouble.kind, trouble.retry_after), (Kind::Unavailable, Some(Duration::from_secs(120))));
    assert!(began.elapsed() < Duration::from_secs(20));
    world.registry.clear_faults();
    world.clock.advance(Duration::from_secs(121));
    assert_eq!(world.tag("library/app:1").await.unwrap().freshness, Freshness::Confirmed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flap_of_the_line_is_no_reason_to_be_stale() {
    let world = World::new();
    let image = world.image(1, "library/app", "1", 1000);
    world.tag("library/app:1").await.unwrap();
    for fault in [Fault::Status(500), Fault::Silence, Fault::Garbage("x\r\n\r\n".into())] {
        world.clock.advance(MINUTE);
        let what = format!("{fault:?}");
        let struck = world.registry.fault(Rule::manifests().first(1).fault(fault));
        let found = world.tag("library/app:1").await.unwrap();
        assert_eq!(
            (found.descriptor.digest, found.freshness),
            (image.digest(), Freshness::Confirmed),
            "{what}"
        );
        assert_eq!(struck.count(), 1, "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_upstream_is_as_good_as_a_password() {
    let world = World::new();
    world.registry.set_access(Access::bearer().user_with("bob", "hunter2", &[("corp/*", "pull")]));
    world.image(1, "corp/app", "1", 1000);
    // "bob:hunter2"
    let answer = RawRequest::get(&world.registry.url("/token?scope=repository:corp/app:pull"))
        .header("Authorization", "Basic Ym9iOmh1bnRlcjI=")
        .send();
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    let bearer = |token: &str| larder_server::Caller {
        presented: Some(Presented::Bearer(Secret::new(token))),
        ..anonymous()
    };
    let good = bearer(body["token"].as_str().unwrap());
    world.manifest("corp/app", &selector("1"), &good).await.unwrap();
    for bad in [bearer("guess"), bearer(""), bearer("not\na header")] {
        let trouble = world.manifest("corp/app", &selector("1"), &bad).await.unwrap_err();
        assert_eq!(trouble.kind, Kind::Denied, "{trouble}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_on_one_store_fetch_a_blob_once() {
    let world = World::with(|_| {}, |config| config.idle_timeout = "1m".parse().unwrap());
    let image = world.image(1, "library/app", "1", 1_000_000);
    let layer = image.layers[0].digest;
    let right = world.registry.blob("library/app", &layer).unwrap();
    world.registry.fault(Rule::blob(&layer).fault(Fault::Throttle(1_500_000)));
    let servers = [world.upstreams.clone(), world.beside()];
    let mut asked = Vec::new();
    for server in servers.iter().cycle().take(10) {
        let (server, right) = (server.clone(), right.clone());
        let store = world.engine.store().clone();
        asked.push(tokio::spawn(async move {
            let repository = name("library/app");
            server.authorize(&repository, Some(&selector("1")), &anonymous()).await.unwrap();
            server.manifest(&repository, &selector("1"), &anonymous()).await.unwrap();
            match server.blob(&repository, &layer, &anonymous()).await.unwrap() {
                Bringing::Here => {
                    assert!(store.read(&layer, 2_000_000).unwrap().unwrap() == right);
                }
                Bringing::Coming { mut follower, .. } => {
                    let read = tokio::task::spawn_blocking(move || {
                        let mut bytes = Vec::new();
                        follower.read_to_end(&mut bytes).map(|_| bytes)
                    });
                    assert!(read.await.unwrap().unwrap() == right);
                }
            }
        }));
    }
    for asked in asked {
        asked.await.unwrap();
    }
    assert_eq!(world.registry.count("GET", &format!("*{layer}")), 1);
}
