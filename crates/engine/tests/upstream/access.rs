//! Public images: the upstream's word, remembered.

use crate::world::{World, account, anonymous, name, presenting, selector};
use larder_core::Kind;
use larder_server::OnMiss;
use larder_testkit::{Access, Fault, Rule};
use std::sync::Arc;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(300);

fn public() -> Access {
    Access::bearer().anonymous(&[("library/*", "pull")]).user("operator", "operator's secret")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_word_holds_for_five_minutes_for_everybody() {
    let world = World::new();
    world.registry.set_access(public());
    let image = world.image(1, "library/app", "1", 1000);
    let about = selector("1");
    world.authorize("library/app", Some(&about), &anonymous()).await.unwrap();
    let asked = world.registry.requests().len();
    for caller in [anonymous(), account(), presenting("mallory", "guess")] {
        world.authorize("library/app", Some(&selector("2")), &caller).await.unwrap();
        world.authorize("library/app", None, &caller).await.unwrap();
    }
    world.authorize("library/app", Some(&selector(&image.digest().to_string())), &anonymous()).await.unwrap();
    assert_eq!(world.registry.requests().len(), asked);
    world.clock.advance(TTL);
    world.authorize("library/app", Some(&about), &anonymous()).await.unwrap();
    assert!(world.registry.requests().len() > asked);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_credential_that_the_upstream_does_not_take_is_as_good_as_none() {
    let world = World::new();
    world.registry.set_access(public());
    let image = world.image(1, "library/app", "1", 100_000);
    let mallory = presenting("mallory", "guess");
    // First of all, and when the refusal is remembered, and when it is not any more.
    for pause in [0, 0, 60, 299] {
        world.clock.advance(Duration::from_secs(pause));
        world.manifest("library/app", &selector("1"), &mallory).await.unwrap();
    }
    world.clock.advance(Duration::from_secs(60));
    world.blob("library/app", &image.layers[0].digest, &mallory).await.unwrap();
    world.quiet().await;
    world.clock.advance(Duration::from_secs(60));
    image.push(&world.registry, "library/other", Some("1"));
    world.tag("library/other:1").await.unwrap();
    world.blob("library/other", &image.layers[0].digest, &mallory).await.unwrap();
    let private = world.image(2, "private/app", "1", 1000);
    let trouble = world.authorize("private/app", Some(&selector("1")), &mallory).await.unwrap_err();
    assert_eq!(trouble.kind, Kind::Denied);
    assert!(!world.engine.store().contains(&private.digest()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_question_at_a_time() {
    let world = Arc::new(World::new());
    world.image(1, "library/app", "1", 1000);
    world.registry.fault(Rule::on("*", "*").fault(Fault::Delay(Duration::from_millis(100))));
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.authorize("library/app", None, &anonymous()).await })
        })
        .collect();
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    assert_eq!(world.registry.requests().len(), 1, "{:?}", world.registry.requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn public_images_are_served_after_a_restart_while_the_upstream_is_down() {
    let world = World::new();
    world.registry.set_access(public());
    let image = world.image(1, "library/app", "1", 100_000);
    world.tag("library/app:1").await.unwrap();
    let layer = image.layers[0].digest;
    let content = world.blob("library/app", &layer, &anonymous()).await.unwrap();
    world.quiet().await;
    world.registry.down();
    world.clock.advance(TTL * 1000);
    let world = world.restarted();
    for caller in [anonymous(), account(), presenting("bob", "new")] {
        world.authorize("library/app", Some(&selector("1")), &caller).await.unwrap();
        assert!(world.blob("library/app", &layer, &caller).await.unwrap() == content);
    }
    let trouble = world.authorize("library/never-seen", None, &anonymous()).await.unwrap_err();
    assert_eq!((trouble.kind, trouble.wants_credential), (Kind::Unavailable, false));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_public_any_more_is_refused_after_the_time_is_over() {
    let world = World::new();
    world.registry.set_access(public());
    world.image(1, "library/app", "1", 1000);
    world.tag("library/app:1").await.unwrap();
    world.registry.set_access(Access::bearer().user("operator", "operator's secret"));
    world.registry.revoke_tokens();
    world.authorize("library/app", Some(&selector("1")), &anonymous()).await.unwrap();
    world.clock.advance(TTL);
    let trouble = world.authorize("library/app", Some(&selector("1")), &anonymous()).await.unwrap_err();
    assert_eq!((trouble.kind, trouble.wants_credential), (Kind::Denied, true));
    // Not even when nobody can be asked, and not after a restart either.
    world.registry.down();
    world.clock.advance(TTL);
    let world = world.restarted();
    let trouble = world.authorize("library/app", Some(&selector("1")), &anonymous()).await.unwrap_err();
    assert_eq!(trouble.kind, Kind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn that_something_is_public_is_doubted_when_only_others_ask() {
    let world = World::new();
    world.registry.set_access(public());
    world.image(1, "library/app", "1", 1000);
    world.tag("library/app:1").await.unwrap();
    world.registry.set_access(Access::bearer().user("operator", "operator's secret"));
    world.registry.revoke_tokens();
    world.clock.advance(TTL);
    // Nobody without a credential comes; what is private by now must not be taken for public later.
    world.authorize("library/app", Some(&selector("1")), &account()).await.unwrap();
    world.registry.down();
    world.clock.advance(TTL);
    let trouble = world.authorize("library/app", Some(&selector("1")), &anonymous()).await.unwrap_err();
    assert_eq!(trouble.kind, Kind::Unavailable);
    world.authorize("library/app", Some(&selector("1")), &account()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_without_known_manifests_is_asked_for_a_tag() {
    let world = World::new();
    world.registry.set_access(public());
    world.image(1, "library/app", "1", 1000);
    world.image(1, "private/app", "1", 1000);
    world.authorize("library/app", None, &anonymous()).await.unwrap();
    assert_eq!(world.registry.count("GET", "/v2/library/app/tags/list"), 2, "with and without a token");
    let trouble = world.authorize("private/app", None, &anonymous()).await.unwrap_err();
    assert_eq!(trouble.kind, Kind::Denied);
    let trouble = world.authorize("library/nothing", None, &anonymous()).await.unwrap_err();
    assert_eq!(trouble.kind, Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_upstream_is_still_read_by_its_digest() {
    let world = World::new();
    let image = world.image(1, "library/app", "1", 1000);
    world.image(2, "library/app", "2", 1000);
    world.tag("library/app:1").await.unwrap();
    world.registry.untag("library/app", "1");
    world.registry.remove("library/app", &image.digest());
    world.clock.advance(TTL);
    let digest = selector(&image.digest().to_string());
    world.manifest("library/app", &digest, &anonymous()).await.unwrap();
    // That is no way to learn about what never was here.
    let trouble = world
        .manifest("library/app", &selector(&larder_core::Digest::of(b"x").to_string()), &anonymous())
        .await;
    assert_eq!(trouble.unwrap_err().kind, Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_guesses_does_not_make_the_upstream_forget_who_was_accepted() {
    let world = World::new();
    world.registry.set_access(public());
    world.image(1, "private/app", "1", 1000);
    world.authorize("private/app", Some(&selector("1")), &account()).await.unwrap();
    for guess in 0..20 {
        let caller = presenting("mallory", &guess.to_string());
        let trouble = world.authorize("private/app", Some(&selector("1")), &caller).await.unwrap_err();
        assert_eq!(trouble.kind, Kind::Denied);
    }
    let before = world.registry.requests().len();
    world.authorize("private/app", None, &account()).await.unwrap();
    let again = presenting("mallory", "7");
    world.authorize("private/app", Some(&selector("1")), &again).await.unwrap_err();
    assert_eq!(world.registry.requests().len(), before, "both are remembered");
    assert!(world.upstreams.covers(name("private/app").registry()));
}
