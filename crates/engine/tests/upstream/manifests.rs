//! Tags have an age; documents by digest have none.

use crate::world::{World, account, anonymous, name, selector};
use larder_core::{Kind, Tag};
use larder_server::{Freshness, OnMiss};
use larder_testkit::{Fault, ImageBuilder, IndexBuilder, Rule};
use std::sync::Arc;
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn asked(world: &World) -> (usize, usize) {
    (world.registry.count("HEAD", "*/manifests/*"), world.registry.count("GET", "*/manifests/*"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_is_asked_for_once_a_minute_and_fetched_once() {
    let world = World::new();
    let image = world.image(1, "library/app", "1", 1000);
    let found = world.tag("library/app:1").await.unwrap();
    assert_eq!((found.descriptor.digest, found.freshness), (image.digest(), Freshness::Fetched));
    assert_eq!(found.descriptor.size, image.descriptor.size);
    assert_eq!(asked(&world), (1, 1), "access and meaning are one question");
    for _ in 0..5 {
        assert_eq!(world.tag("library/app:1").await.unwrap().freshness, Freshness::Fresh);
    }
    assert_eq!(asked(&world), (1, 1));
    world.clock.advance(MINUTE);
    assert_eq!(world.tag("library/app:1").await.unwrap().freshness, Freshness::Confirmed);
    assert_eq!(world.tag("library/app:1").await.unwrap().freshness, Freshness::Fresh);
    assert_eq!(asked(&world), (2, 1));
    let other = world.image(2, "library/app", "1", 1000);
    assert_eq!(world.tag("library/app:1").await.unwrap().descriptor.digest, image.digest(), "not yet");
    world.clock.advance(MINUTE);
    let found = world.tag("library/app:1").await.unwrap();
    assert_eq!((found.descriptor.digest, found.freshness), (other.digest(), Freshness::Fetched));
    assert_eq!(asked(&world), (3, 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_who_ask_for_a_tag_cause_one_question() {
    let world = Arc::new(World::new());
    world.image(1, "library/app", "1", 1000);
    world.registry.fault(Rule::manifests().fault(Fault::Delay(Duration::from_millis(200))));
    let callers: Vec<_> = (0..100)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.tag("library/app:1").await.map(|found| found.descriptor.digest) })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(asked(&world), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_index_only_what_is_asked_for_is_fetched() {
    let world = World::new();
    let image = IndexBuilder::multi_platform(1, &["linux/amd64", "linux/arm64"], 1, 1000).build();
    image.push(&world.registry, "library/app", Some("1"));
    let found = world.tag("library/app:1").await.unwrap();
    assert_eq!(found.descriptor.digest, image.digest());
    assert_eq!(world.registry.count("GET", "/v2/*"), 1, "the index and nothing else");
    let child = image.documents[0].0.digest;
    let found = world.manifest("library/app", &selector(&child.to_string()), &anonymous()).await.unwrap();
    assert_eq!(found.freshness, Freshness::Fetched);
    assert_eq!(world.registry.count("GET", "/v2/*"), 2);
    assert_eq!(world.registry.count("GET", "/v2/*/blobs/*"), 0);
    // Immutable: never asked for again.
    world.clock.advance(MINUTE * 60);
    world.registry.clear_log();
    let found =
        world.upstreams.manifest(&name("library/app"), &selector(&child.to_string()), &anonymous()).await;
    assert_eq!(found.unwrap().freshness, Freshness::Fresh);
    assert!(world.registry.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_that_no_tag_leads_to_stays_readable() {
    let world = World::new();
    let image = ImageBuilder::new(5).random_layers(1, 1000, larder_core::Compression::None).build();
    image.push(&world.registry, "library/app", None);
    let digest = selector(&image.digest().to_string());
    assert_eq!(
        world.manifest("library/app", &digest, &anonymous()).await.unwrap().freshness,
        Freshness::Fetched
    );
    world.registry.down();
    let world = world.restarted();
    assert_eq!(
        world.manifest("library/app", &digest, &anonymous()).await.unwrap().freshness,
        Freshness::Fresh
    );
    assert!(world.engine.store().holds(&name("library/app"), &image.digest()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_upstream_is_down_tags_are_what_they_were() {
    let world = World::new();
    let image = world.image(1, "library/app", "1", 1000);
    world.tag("library/app:1").await.unwrap();
    world.registry.down();
    world.clock.advance(MINUTE * 60 * 24);
    let world = world.restarted();
    let found = world.tag("library/app:1").await.unwrap();
    assert_eq!((found.descriptor.digest, found.freshness), (image.digest(), Freshness::Stale));
    assert!(
        world.warned("is served as it was known before") > 0 || world.warned("what its upstream said") > 0
    );
    let state =
        world.upstreams.states().into_iter().find(|state| state.registry.as_str() == "hub.example").unwrap();
    assert_eq!(state.reachable, Some(false));
    assert!(state.stale >= 2 && state.errors >= 1, "{state:?}");
    // What never was here is not absent.
    let trouble = world.tag("library/app:2").await.unwrap_err();
    assert_eq!(trouble.kind, Kind::Unavailable, "{trouble}");
    // And it is not the whole time waited for who does not answer.
    world.registry.up();
    world.clock.advance(Duration::from_secs(6));
    assert_eq!(world.tag("library/app:1").await.unwrap().freshness, Freshness::Confirmed);
    let states = world.upstreams.states();
    assert!(states.iter().any(|state| state.reachable == Some(true)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_upstream_costs_the_configured_patience_once() {
    let world = World::with(
        |settings| settings.patience = "200ms".parse().unwrap(),
        |config| config.idle_timeout = "1m".parse().unwrap(),
    );
    world.image(1, "library/app", "1", 1000);
    world.tag("library/app:1").await.unwrap();
    world.registry.fault(Rule::on("*", "*").fault(Fault::Silence));
    world.clock.advance(MINUTE);
    let began = std::time::Instant::now();
    for _ in 0..20 {
        assert_eq!(world.tag("library/app:1").await.unwrap().freshness, Freshness::Stale);
    }
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    assert!(began.elapsed() >= Duration::from_millis(200));
}

#[tokio::test(flavor = "multi_thread")]
async fn names_of_pulled_images_count_while_the_upstream_is_down() {
    let world = World::new();
    let image = world.image(1, "library/app", "1", 1000);
    world.tag("library/app:1").await.unwrap();
    // As `larder pull` leaves it.
    let reference = name("library/app").tagged(Tag::new("pulled").unwrap());
    let store = world.engine.store();
    let descriptor = store.document(&image.digest()).unwrap().unwrap().descriptor();
    store.set_name(&reference, &descriptor).unwrap();
    world.clock.advance(MINUTE * 10);
    world.registry.down();
    let found = world.tag("library/app:pulled").await.unwrap();
    assert_eq!((found.descriptor.digest, found.freshness), (image.digest(), Freshness::Stale));
    // But the upstream has the last word while it can speak.
    world.registry.up();
    world.clock.advance(MINUTE);
    assert_eq!(world.tag("library/app:pulled").await.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn not_found_is_remembered_for_ten_seconds() {
    let world = World::new();
    world.image(1, "library/app", "1", 1000);
    world.tag("library/app:1").await.unwrap();
    world.registry.clear_log();
    for _ in 0..5 {
        assert_eq!(world.tag("library/app:2").await.unwrap_err().kind, Kind::NotFound);
    }
    assert_eq!(world.registry.count("HEAD", "*/manifests/2"), 1);
    world.image(2, "library/app", "2", 1000);
    assert_eq!(world.tag("library/app:2").await.unwrap_err().kind, Kind::NotFound);
    world.clock.advance(Duration::from_secs(10));
    world.tag("library/app:2").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tag_that_was_deleted_does_not_come_back_when_the_upstream_is_down() {
    let world = World::new();
    let image = world.image(1, "library/app", "1", 1000);
    world.tag("library/app:1").await.unwrap();
    world.registry.untag("library/app", "1");
    world.clock.advance(MINUTE);
    assert_eq!(world.tag("library/app:1").await.unwrap_err().kind, Kind::NotFound);
    world.registry.down();
    world.clock.advance(MINUTE);
    assert_eq!(world.tag("library/app:1").await.unwrap_err().kind, Kind::Unavailable);
    // Who knows the digest still gets it.
    let digest = selector(&image.digest().to_string());
    world.manifest("library/app", &digest, &anonymous()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_header_that_lies_does_not_name_anything() {
    let world = World::new();
    let image = world.image(1, "library/app", "1", 1000);
    let other = world.image(2, "library/other", "1", 1000);
    let lie = Fault::Header("Docker-Content-Digest".into(), Some(other.digest().to_string()));
    let lied = world.registry.fault(Rule::on("GET|HEAD", "/v2/library/app/manifests/1").fault(lie));
    let found = world.tag("library/app:1").await.unwrap();
    assert_eq!(found.descriptor.digest, image.digest());
    assert!(lied.count() > 0);
    assert!(!world.engine.store().contains(&other.digest()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offline_upstream_is_never_asked() {
    let world = World::with(|settings| settings.offline = true, |_| {});
    world.image(1, "library/app", "1", 1000);
    let missing = world.manifest("library/app", &selector("1"), &account()).await;
    assert_eq!(missing.unwrap_err().kind, Kind::NotFound);
    let digest = world.registry.put_blob("library/app", "x");
    assert!(world.blob("library/app", &digest, &account()).await.unwrap_err().starts_with("not found"));
    let tags = world.upstreams.tags(&name("library/app"), &account()).await;
    assert_eq!(tags.unwrap_err().kind, Kind::NotFound);
    assert!(world.registry.requests().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_that_are_not_configured_are_never_contacted() {
    let world = World::new();
    let here = larder_core::Registry::new(&world.registry.host()).unwrap();
    assert!(!world.upstreams.covers(&larder_core::Registry::new("localhost").unwrap()));
    assert!(world.upstreams.covers(&here));
    let repository =
        larder_core::RepositoryName::new(here, larder_core::Repository::new("library/app").unwrap());
    let trouble = world.upstreams.authorize(&repository, None, &anonymous()).await.unwrap_err();
    assert_eq!((trouble.kind, trouble.wants_credential), (Kind::Denied, false));
    world.upstreams.authorize(&repository, None, &account()).await.unwrap();
    world.upstreams.manifest(&repository, &selector("1"), &anonymous()).await.unwrap_err();
    world.upstreams.blob(&repository, &larder_core::Digest::of(b"x"), &anonymous()).await.unwrap_err();
    assert!(world.registry.requests().is_empty());
}
