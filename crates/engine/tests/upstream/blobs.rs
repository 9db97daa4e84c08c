//! Blobs are brought once and read along.

use crate::world::{World, anonymous, name, selector};
use larder_core::{Compression, Descriptor, Digest};
use larder_server::{Bringing, OnMiss};
use larder_testkit::{Fault, ImageBuilder, Rule, eventually_async};
use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

const LAYER: usize = 300_000;

#[tokio::test(flavor = "multi_thread")]
async fn five_hundred_callers_cause_one_request() {
    let world = World::with(|_| {}, |config| config.idle_timeout = "1m".parse().unwrap());
    let image = world.image(1, "library/app", "1", 2_000_000);
    world.tag("library/app:1").await.unwrap();
    let layer = image.layers[0].digest;
    let content = image.blobs.iter().find(|(descriptor, _)| descriptor.digest == layer).unwrap().1.clone();
    // Slow enough for all of them to find it under way.
    world.registry.fault(Rule::blob(&layer).fault(Fault::Throttle(4_000_000)));
    let world = Arc::new(world);
    let callers: Vec<_> = (0..500)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.blob("library/app", &layer, &anonymous()).await })
        })
        .collect();
    for caller in callers {
        assert!(caller.await.unwrap().unwrap() == content, "wrong bytes");
    }
    assert_eq!(world.registry.count("*", &format!("*{layer}")), 1);
    assert_eq!(world.registry.bytes_sent(&layer), content.len() as u64);
    world.quiet().await;
    // And from then on none.
    assert!(world.blob("library/app", &layer, &anonymous()).await.unwrap() == content);
    assert_eq!(world.registry.count("*", &format!("*{layer}")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_comes_while_a_blob_lands_asks_nobody_either() {
    let world = World::with(|_| {}, |config| config.idle_timeout = "1m".parse().unwrap());
    let image = ImageBuilder::new(18).random_layers(40, 2000, Compression::None).build();
    image.push(&world.registry, "library/app", Some("1"));
    world.tag("library/app:1").await.unwrap();
    let world = Arc::new(world);
    let mut callers = Vec::new();
    for layer in &image.layers {
        for late in 0..20 {
            let (world, digest) = (world.clone(), layer.digest);
            callers.push(tokio::spawn(async move {
                tokio::time::sleep(Duration::from_millis(late * 2)).await;
                world.blob("library/app", &digest, &anonymous()).await.map(drop)
            }));
        }
    }
    for caller in callers {
        caller.await.unwrap().unwrap();
    }
    for layer in &image.layers {
        assert_eq!(world.registry.count("*", &format!("*{}", layer.digest)), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_bytes_are_there_before_the_rest_and_late_joiners_see_them_at_once() {
    let world = World::with(|_| {}, |config| config.idle_timeout = "1m".parse().unwrap());
    let image = world.image(2, "library/app", "1", LAYER);
    world.tag("library/app:1").await.unwrap();
    let layer = image.layers[0].digest;
    world.registry.fault(Rule::blob(&layer).fault(Fault::Stall(100_000)));
    let repository = name("library/app");
    for _ in 0..3 {
        let Bringing::Coming { mut follower, size } =
            world.upstreams.blob(&repository, &layer, &anonymous()).await.unwrap()
        else {
            panic!("a stalled blob cannot be here");
        };
        assert!(size > 100_000);
        let read = tokio::task::spawn_blocking(move || {
            let mut bytes = vec![0; 100_000];
            follower.read_exact(&mut bytes).map(|()| bytes)
        });
        let bytes = read.await.unwrap().unwrap();
        assert!(*bytes == world.registry.blob("library/app", &layer).unwrap()[..100_000]);
    }
    assert_eq!(world.registry.count("GET", &format!("*{layer}")), 1);
    assert_eq!(world.upstreams.transfers(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_goes_on_when_nobody_reads_any_more() {
    let world = World::new();
    let image = world.image(3, "library/app", "1", LAYER);
    world.tag("library/app:1").await.unwrap();
    let layer = image.layers[0].digest;
    world.registry.fault(Rule::blob(&layer).fault(Fault::Throttle(1_000_000)));
    drop(world.upstreams.blob(&name("library/app"), &layer, &anonymous()).await.unwrap());
    assert!(!world.engine.store().contains(&layer).unwrap());
    world.quiet().await;
    assert!(world.engine.store().contains(&layer).unwrap());
    assert_eq!(world.registry.count("GET", &format!("*{layer}")), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_transfer_is_continued_by_the_next_one_even_after_a_restart() {
    let world = World::new();
    let image = world.image(4, "library/app", "1", LAYER);
    world.tag("library/app:1").await.unwrap();
    let layer = image.layers[0].digest;
    let whole = world.registry.blob("library/app", &layer).unwrap();
    let half = whole.len() as u64 / 2;
    world.registry.fault(Rule::blob(&layer).ranged(false).fault(Fault::Reset(half)));
    world.registry.fault(Rule::blob(&layer).ranged(true).fault(Fault::Status(500)));
    world.blob("library/app", &layer, &anonymous()).await.unwrap_err();
    world.quiet().await;
    world.registry.clear_faults();
    world.registry.clear_log();
    let world = world.restarted();
    assert!(world.blob("library/app", &layer, &anonymous()).await.unwrap() == whole);
    let asked = world.registry.requests_to("GET", &format!("*{layer}"));
    assert_eq!(
        asked.iter().map(|request| request.range().unwrap()).collect::<Vec<_>>(),
        [format!("bytes={half}-")]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_break_every_reader_and_leave_nothing() {
    let world = World::new();
    let image = world.image(5, "library/app", "1", LAYER);
    world.tag("library/app:1").await.unwrap();
    let layer = image.layers[0].digest;
    let spoiled = world.registry.fault(Rule::blob(&layer).fault(Fault::WrongByte(150_000)));
    let world = Arc::new(world);
    let readers: Vec<_> = (0..10)
        .map(|_| {
            let world = world.clone();
            tokio::spawn(async move { world.blob("library/app", &layer, &anonymous()).await })
        })
        .collect();
    for reader in readers {
        reader.await.unwrap().unwrap_err();
    }
    world.quiet().await;
    assert!(spoiled.count() > 0);
    assert!(!world.engine.store().contains(&layer).unwrap());
    let left = std::fs::read_dir(world.engine.store().home().join("ingest")).unwrap().count();
    assert_eq!(left, 0, "a part file with wrong bytes stayed");
    world.registry.clear_faults();
    world.blob("library/app", &layer, &anonymous()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_blob_with_wrong_bytes_is_fetched_again_before_anybody_sees_it() {
    let world = World::new();
    let image = world.image(6, "library/app", "1", 1000);
    world.tag("library/app:1").await.unwrap();
    let (config, content) = &image.blobs[0];
    let spoiled = world.registry.fault(Rule::blob(&config.digest).nth(1).fault(Fault::WrongByte(10)));
    assert!(world.blob("library/app", &config.digest, &anonymous()).await.unwrap() == *content);
    assert_eq!((spoiled.count(), spoiled.seen()), (1, 2));
    // Once, not for ever.
    let layer = image.layers[0].digest;
    let spoiled = world.registry.fault(Rule::blob(&layer).fault(Fault::WrongByte(10)));
    let error = world.blob("library/app", &layer, &anonymous()).await.unwrap_err();
    assert!(error.starts_with("corrupt"), "{error}");
    assert_eq!(spoiled.count(), 2);
    assert!(!world.engine.store().contains(&layer).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn small_blobs_do_not_queue_behind_large_ones() {
    let world = World::with(
        |_| {},
        |config| {
            config.jobs = 1;
            config.idle_timeout = "1m".parse().unwrap();
        },
    );
    let large = world.image(7, "library/large", "1", 2_000_000);
    let small = world.image(8, "library/small", "1", 1000);
    world.tag("library/large:1").await.unwrap();
    world.tag("library/small:1").await.unwrap();
    let stalled = large.layers[0].digest;
    world.registry.fault(Rule::blob(&stalled).fault(Fault::Stall(1000)));
    let coming = world.upstreams.blob(&name("library/large"), &stalled, &anonymous()).await.unwrap();
    let caller = anonymous();
    for (descriptor, content) in &small.blobs {
        let got = world.blob("library/small", &descriptor.digest, &caller);
        let got = tokio::time::timeout(Duration::from_secs(20), got).await.expect("it is not in the way");
        assert!(got.unwrap() == *content);
    }
    drop(coming);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_no_manifest_names_is_as_long_as_the_upstream_says_and_not_longer_than_allowed() {
    let world = World::with(|settings| settings.max_blob = "150kB".parse().unwrap(), |_| {});
    let content = vec![7_u8; 100_000];
    let digest = world.registry.put_blob("library/app", content.clone());
    assert!(world.blob("library/app", &digest, &anonymous()).await.unwrap() == content);
    world.quiet().await;
    assert!(world.blob("library/app", &digest, &anonymous()).await.unwrap() == content, "it stays readable");
    assert_eq!(world.registry.count("GET", &format!("*{digest}")), 1);
    let larger = world.registry.put_blob("library/app", vec![8_u8; 200_000]);
    let error = world.blob("library/app", &larger, &anonymous()).await.unwrap_err();
    assert!(error.contains("limit of 150000"), "{error}");
    assert_eq!(world.registry.bytes_sent(&larger), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_for_one_repository_is_read_through_another_only_if_that_has_it_too() {
    let world = World::new();
    let image = world.image(10, "team/a", "1", LAYER);
    world.image(11, "team/b", "1", 1000);
    world.image(12, "team/c", "1", 1000);
    let layer = image.layers[0].digest;
    world.tag("team/a:1").await.unwrap();
    let content = world.blob("team/a", &layer, &anonymous()).await.unwrap();
    world.quiet().await;
    let error = world.blob("team/b", &layer, &anonymous()).await.unwrap_err();
    assert!(error.starts_with("not found"), "{error}");
    world.registry.put_blob("team/c", content.clone());
    assert!(world.blob("team/c", &layer, &anonymous()).await.unwrap() == content);
    assert_eq!(world.registry.count("GET", &format!("*{layer}")), 1, "its bytes were here already");
    // The same for documents.
    let digest = selector(&image.digest().to_string());
    let error = world.manifest("team/b", &digest, &anonymous()).await.unwrap_err();
    assert_eq!(error.kind, larder_core::Kind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_joins_from_another_repository_proves_that_it_has_the_blob() {
    let world = World::with(|_| {}, |config| config.idle_timeout = "1m".parse().unwrap());
    let image = world.image(13, "team/a", "1", LAYER);
    world.image(14, "team/b", "1", 1000);
    let layer = image.layers[0].digest;
    world.tag("team/a:1").await.unwrap();
    world.registry.fault(Rule::on("GET", &format!("/v2/team/a/blobs/{layer}")).fault(Fault::Stall(100_000)));
    let coming = world.upstreams.blob(&name("team/a"), &layer, &anonymous()).await.unwrap();
    assert!(matches!(coming, Bringing::Coming { .. }));
    let trouble = world.upstreams.blob(&name("team/b"), &layer, &anonymous()).await.unwrap_err();
    assert_eq!(trouble.kind, larder_core::Kind::NotFound, "{trouble}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_a_crash_left_behind_prove_nothing() {
    let world = World::new();
    let image = world.image(16, "team/a", "1", LAYER);
    world.image(17, "team/b", "1", 1000);
    world.tag("team/a:1").await.unwrap();
    let layer = image.layers[0].digest;
    let content = world.registry.blob("team/a", &layer).unwrap();
    let store = world.engine.store();
    let lease = store.lease("a server that crashes").unwrap();
    let begun = store.begin(&layer, Some(content.len() as u64), &lease).unwrap();
    let larder_store::Begin::Ingest(mut ingest) = begun else { panic!("nobody writes it") };
    // Whole, but for the last step.
    ingest.write(&content).unwrap();
    drop(ingest);
    let manifest = larder_core::MediaType::OCI_MANIFEST;
    world.registry.put_manifest("team/b", &manifest, image.raw().clone(), Some("2"));
    world.tag("team/b:2").await.unwrap();
    let error = world.blob("team/b", &layer, &anonymous()).await.unwrap_err();
    assert!(error.starts_with("not found"), "{error}");
    world.clock.advance(Duration::from_secs(60));
    assert!(world.blob("team/a", &layer, &anonymous()).await.unwrap() == content);
    assert_eq!(world.registry.bytes_sent(&layer), 0, "not a byte is fetched twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_somebody_else_writes_is_waited_for() {
    let world = World::new();
    let image = world.image(15, "library/app", "1", LAYER);
    world.tag("library/app:1").await.unwrap();
    let (descriptor, content): &(Descriptor, _) =
        image.blobs.iter().find(|(descriptor, _)| descriptor.digest == image.layers[0].digest).unwrap();
    let store = world.engine.store().clone();
    let lease = store.lease("another process").unwrap();
    let begun = store.begin(&descriptor.digest, Some(descriptor.size), &lease).unwrap();
    let larder_store::Begin::Ingest(mut ingest) = begun else { panic!("nobody writes it") };
    ingest.replay(&mut |_| {}).unwrap();
    let world = Arc::new(world);
    let digest: Digest = descriptor.digest;
    let waiting = tokio::spawn({
        let world = world.clone();
        async move { world.blob("library/app", &digest, &anonymous()).await }
    });
    eventually_async("it waits", Duration::from_secs(10), || async {
        (world.upstreams.transfers() == 1).then_some(())
    })
    .await;
    ingest.write(content).unwrap();
    ingest.commit(larder_store::BlobKind::Layer).unwrap();
    assert!(waiting.await.unwrap().unwrap() == *content);
    assert_eq!(world.registry.count("GET", &format!("*{digest}")), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn asking_how_long_a_blob_is_brings_nothing() {
    let world = World::new();
    let image = world.image(31, "library/app", "1", LAYER);
    world.tag("library/app:1").await.unwrap();
    let layer = &image.layers[0];
    let repository = name("library/app");
    let size = world.upstreams.blob_size(&repository, &layer.digest, &anonymous()).await.unwrap();
    let descriptor = &image.blobs.iter().find(|(known, _)| known.digest == layer.digest).unwrap().0;
    assert_eq!(size, descriptor.size);
    world.quiet().await;
    assert_eq!(world.registry.bytes_sent(&layer.digest), 0);
    assert_eq!(world.registry.count("GET", &format!("*{}", layer.digest)), 0);

    let unknown = Digest::of(b"nobody has this");
    let trouble = world.upstreams.blob_size(&repository, &unknown, &anonymous()).await.unwrap_err();
    assert_eq!(trouble.kind, larder_core::Kind::NotFound);
    // And that is remembered.
    let asked = world.registry.count("*", &format!("*{unknown}"));
    world.upstreams.blob_size(&repository, &unknown, &anonymous()).await.unwrap_err();
    assert_eq!(world.registry.count("*", &format!("*{unknown}")), asked);
}
