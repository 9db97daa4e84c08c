//! Lists of tags and of referrers.

use crate::world::{World, anonymous, name};
use larder_core::{Kind, Tag};
use larder_server::OnMiss;
use larder_testkit::{Access, Fault, Image, Rule};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn words(tags: Option<Vec<Tag>>) -> Vec<String> {
    tags.unwrap().iter().map(|tag| tag.as_str().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_tags_of_the_upstream_sorted_and_asked_for_once_a_minute() {
    let world = World::new();
    let image = world.image(1, "library/app", "b", 1000);
    for tag in ["a", "B", "1.10", "1.9"] {
        world.registry.tag("library/app", tag, &image.digest());
    }
    let repository = name("library/app");
    for _ in 0..3 {
        let tags = world.upstreams.tags(&repository, &anonymous()).await.unwrap();
        assert_eq!(words(tags), ["1.10", "1.9", "B", "a", "b"]);
    }
    assert_eq!(world.registry.count("GET", "*/tags/list"), 1);
    world.clock.advance(MINUTE);
    world.registry.untag("library/app", "a");
    assert_eq!(words(world.upstreams.tags(&repository, &anonymous()).await.unwrap()).len(), 4);
    let trouble = world.upstreams.tags(&name("library/nothing"), &anonymous()).await.unwrap_err();
    assert_eq!(trouble.kind, Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_attached_upstream_with_and_without_the_api() {
    let world = World::new();
    let image = world.image(1, "library/app", "1", 1000);
    let signature = Image::referrer(&image.descriptor, "application/x.signature", "signed");
    signature.push(&world.registry, "library/app", None);
    let repository = name("library/app");
    let found = world.upstreams.referrers(&repository, &image.digest(), &anonymous()).await.unwrap().unwrap();
    assert_eq!(found.iter().map(|found| found.digest).collect::<Vec<_>>(), [signature.digest()]);
    assert_eq!(found[0].artifact_type.as_deref(), Some("application/x.signature"));
    world.upstreams.referrers(&repository, &image.digest(), &anonymous()).await.unwrap().unwrap();
    assert_eq!(world.registry.count("GET", "*/referrers/*"), 1);
    world.clock.advance(MINUTE);
    world.registry.set_referrers_api(false);
    let none = world.upstreams.referrers(&repository, &image.digest(), &anonymous()).await.unwrap().unwrap();
    assert!(none.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_cannot_be_asked_says_nothing_and_not_none() {
    for fault in [
        Fault::Status(500),
        Fault::Html,
        Fault::Garbage("nonsense\r\n".into()),
        Fault::Silence,
        Fault::ShortBody(5),
        Fault::Cut(5),
        Fault::EndlessBody,
        Fault::Body("[1]".into()),
        Fault::RedirectChain(u32::MAX),
        Fault::Status(429),
    ] {
        let world = World::new();
        let image = world.image(1, "library/app", "1", 1000);
        let what = format!("{fault:?}");
        world.registry.fault(Rule::on("GET", "/v2/*").fault(fault));
        let repository = name("library/app");
        assert_eq!(world.upstreams.tags(&repository, &anonymous()).await.unwrap(), None, "{what}");
        world.clock.advance(MINUTE);
        let found = world.upstreams.referrers(&repository, &image.digest(), &anonymous()).await.unwrap();
        assert_eq!(found, None, "{what}");
        let state = world.upstreams.states().into_iter().find(|state| state.requests > 0).unwrap();
        assert_eq!((state.reachable, state.stale), (Some(false), 2), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_list_is_told_so() {
    let world = World::new();
    let image = world.image(1, "library/app", "1", 1000);
    world.registry.set_access(Access::bearer().user("operator", "operator's secret"));
    let repository = name("library/app");
    for _ in 0..2 {
        let trouble = world.upstreams.tags(&repository, &anonymous()).await.unwrap_err();
        assert_eq!((trouble.kind, trouble.wants_credential), (Kind::Denied, true));
    }
    let trouble = world.upstreams.referrers(&repository, &image.digest(), &anonymous()).await.unwrap_err();
    assert_eq!(trouble.kind, Kind::Denied);
}
