//! The quota is kept while serving, and what is used stays.

use crate::world::{World, anonymous, name, selector};
use larder_engine::Bytes;
use larder_testkit::{IndexBuilder, eventually_async};
use std::time::Duration;

const LAYER: usize = 4 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_holds_and_the_least_recently_used_goes_first() {
    let world = World::with(|_| {}, |config| config.quota = Some(Bytes(10 << 20)));
    let images: Vec<_> = (0..4).map(|n| world.image(n, "library/app", &n.to_string(), LAYER)).collect();
    let upstreams = world.upstreams.clone();
    let keeper = tokio::spawn(async move { upstreams.housekeeping().await });
    for (n, image) in images.iter().enumerate() {
        // The first one is used again and again; those after it are not.
        for tag in [n, 0] {
            world.clock.advance(Duration::from_secs(1));
            world.tag(&format!("library/app:{tag}")).await.unwrap();
            world.upstreams.flush().await;
        }
        world.blob("library/app", &image.layers[0].digest, &anonymous()).await.unwrap();
        world.quiet().await;
    }
    world.clock.advance(Duration::from_secs(1));
    world.tag("library/app:0").await.unwrap();
    world.upstreams.flush().await;
    // As if much more had come in.
    world.upstreams.wrote(64 << 20);
    let store = world.engine.store();
    eventually_async("the quota is kept", Duration::from_secs(30), || async {
        let left = images.iter().filter(|image| store.contains(&image.layers[0].digest).unwrap()).count();
        (left == 2).then_some(())
    })
    .await;
    let repository = name("library/app");
    let kept: Vec<bool> =
        (0..4).map(|n| store.cached(&repository, &n.to_string()).unwrap().is_some()).collect();
    assert_eq!(kept, [true, false, false, true]);
    // What went comes again.
    world.blob("library/app", &images[0].layers[0].digest, &anonymous()).await.unwrap();
    world.tag("library/app:1").await.unwrap();
    world.blob("library/app", &images[1].layers[0].digest, &anonymous()).await.unwrap();
    keeper.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_are_written_down_together_and_by_digest_too() {
    let world = World::new();
    let image = IndexBuilder::multi_platform(1, &["linux/amd64", "linux/arm64"], 1, 1000).build();
    image.push(&world.registry, "library/app", Some("1"));
    world.tag("library/app:1").await.unwrap();
    let repository = name("library/app");
    let used = || world.engine.store().cached(&repository, "1").unwrap().unwrap().used;
    let before = used();
    world.clock.advance(Duration::from_secs(10));
    for _ in 0..3 {
        world.tag("library/app:1").await.unwrap();
    }
    assert_eq!(used(), before, "not with every request");
    world.upstreams.flush().await;
    assert_eq!(used(), before + Duration::from_secs(10));
    // Whoever pulls by digest uses what the tag stands for, be it the digest itself or an index that lists it.
    for digest in [image.digest(), image.documents[0].0.digest] {
        let before = used();
        world.clock.advance(Duration::from_secs(10));
        let digest = selector(&digest.to_string());
        world.authorize("library/app", Some(&digest), &anonymous()).await.unwrap();
        world.upstreams.flush().await;
        assert_eq!(used(), before + Duration::from_secs(10));
    }
}
