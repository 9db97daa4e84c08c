//! The library's entry point against a registry that misbehaves on command.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use larder_core::{Compression, Digest, Hasher, Platform, Reference, Tier, silent};
use larder_fetch::{
    DiskTier, Fetcher, Image, LayerReader, MemoryTier, Reader, RegistryTier, Request, Scope, Settings,
};
use larder_remote::{Auth, Client, Config};
use larder_store::{Options, Store};
use larder_testkit::{Fault, FaultRegistry, ImageBuilder, IndexBuilder, Rule};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

struct World {
    registry: FaultRegistry,
    store: Store,
    fetcher: Fetcher,
    _home: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        Self::with_registry(FaultRegistry::start())
    }

    fn with_registry(registry: FaultRegistry) -> Self {
        let home = tempfile::tempdir().unwrap();
        let clock = Arc::new(SystemTime::now);
        let store =
            Store::open(home.path(), Options { boot_id: "test".into(), clock: clock.clone() }).unwrap();
        let config = Config {
            backoff_base: Duration::from_millis(1),
            backoff_max: Duration::from_millis(5),
            idle_timeout: Duration::from_secs(5),
            retry_budget: 10_000,
            ..Config::default()
        };
        let fetcher = Fetcher::new(
            store.clone(),
            vec![
                Arc::new(MemoryTier::new(32 << 20, Duration::ZERO)),
                Arc::new(DiskTier::new(store.clone(), Duration::ZERO, clock)),
                Arc::new(RegistryTier::new(Client::new(config).unwrap(), 4)),
            ],
            Settings { jobs: 4 },
        );
        Self { registry, store, fetcher, _home: home }
    }

    fn scope(&self, reference: &Reference) -> Scope {
        let lease = self.store.lease("test").unwrap();
        Scope { reference: reference.clone(), auth: Auth::Anonymous, lease, progress: silent() }
    }

    async fn fetch(&self, image: &str) -> larder_fetch::Result<Image> {
        let reference = self.registry.reference(image);
        let request = Request { reference: reference.clone(), platform: Platform::host() };
        self.fetcher.fetch(&request, &self.scope(&reference)).await
    }
}

async fn drain(mut reader: LayerReader) -> larder_fetch::Result<Digest> {
    let mut hasher = Hasher::new(larder_core::Algorithm::Sha256);
    while let Some(chunk) = reader.next().await? {
        hasher.update(&chunk);
    }
    Ok(hasher.finish())
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_are_lazy_and_fill_the_nearer_tiers() {
    let world = World::new();
    let made = ImageBuilder::new(1).random_layers(3, 300_000, Compression::Gzip).build();
    made.push(&world.registry, "a", Some("1"));
    let image = world.fetch("a:1").await.unwrap();
    assert_eq!((image.digest, image.tier, image.layers.len()), (made.digest(), Tier::Registry, 3));
    for layer in &image.layers {
        assert_eq!(world.registry.bytes_sent(&layer.digest()), 0, "a layer was fetched before it was opened");
    }
    let layer = &image.layers[1];
    assert_eq!(drain(layer.open()).await.unwrap(), layer.digest());
    assert!(world.store.contains(&layer.digest()).unwrap(), "reading a layer keeps it");
    assert!(!world.store.contains(&image.layers[0].digest()).unwrap());
    world.registry.down();
    assert_eq!(drain(layer.open()).await.unwrap(), layer.digest(), "the second time it comes from the disk");
    drain(image.layers[0].open()).await.unwrap_err();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_callers_cause_one_download() {
    let world = World::new();
    ImageBuilder::new(2).random_layers(1, 2_000_000, Compression::Gzip).build().push(
        &world.registry,
        "a",
        Some("1"),
    );
    let image = world.fetch("a:1").await.unwrap();
    let layer = image.layers[0].clone();
    let readers: Vec<_> = (0..20).map(|_| tokio::spawn(drain(layer.open()))).collect();
    for reader in readers {
        assert_eq!(reader.await.unwrap().unwrap(), layer.digest());
    }
    assert_eq!(world.registry.bytes_sent(&layer.digest()), layer.size());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_gives_up_does_not_stop_the_others() {
    let world = World::new();
    ImageBuilder::new(3).random_layers(1, 4_000_000, Compression::Gzip).build().push(
        &world.registry,
        "a",
        Some("1"),
    );
    let image = world.fetch("a:1").await.unwrap();
    let layer = image.layers[0].clone();
    let mut impatient = layer.open();
    impatient.next().await.unwrap().unwrap();
    let patient = tokio::spawn(drain(layer.open()));
    drop(impatient);
    assert_eq!(patient.await.unwrap().unwrap(), layer.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_never_end_well() {
    let world = World::new();
    ImageBuilder::new(4).random_layers(1, 500_000, Compression::Gzip).build().push(
        &world.registry,
        "a",
        Some("1"),
    );
    let image = world.fetch("a:1").await.unwrap();
    let layer = &image.layers[0];
    for fault in [Fault::WrongByte(100_000), Fault::ShortBody(1), Fault::LongBody(1), Fault::Html] {
        world.registry.clear_faults();
        world.registry.fault(Rule::blobs().fault(fault.clone()));
        drain(layer.open()).await.expect_err(&format!("{fault:?} went unnoticed"));
        assert!(!world.store.contains(&layer.digest()).unwrap(), "{fault:?} was kept");
    }
    world.registry.clear_faults();
    assert_eq!(drain(layer.open()).await.unwrap(), layer.digest(), "and it works again afterwards");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_prefix_does_not_spoil_the_next_attempt() {
    let world = World::new();
    let made = ImageBuilder::new(5).random_layers(1, 500_000, Compression::Gzip).build();
    made.push(&world.registry, "a", Some("1"));
    let image = world.fetch("a:1").await.unwrap();
    let layer = &image.layers[0];
    let wrong = vec![7; 1000];
    {
        let lease = world.store.lease("test").unwrap();
        let larder_store::Begin::Ingest(mut ingest) =
            world.store.begin(&layer.digest(), Some(layer.size()), &lease).unwrap()
        else {
            panic!("not empty")
        };
        ingest.write(&wrong).unwrap();
    }
    let scope = world.scope(&world.registry.reference("a:1"));
    let served = world.fetcher.blob(&scope, &layer.descriptor, Reader::None).await.unwrap();
    assert_eq!(served.tier, Tier::Registry);
    assert!(world.store.contains(&layer.digest()).unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_blob_is_continued() {
    let world = World::new();
    ImageBuilder::new(6).random_layers(1, 1_000_000, Compression::None).build().push(
        &world.registry,
        "a",
        Some("1"),
    );
    let image = world.fetch("a:1").await.unwrap();
    let layer = &image.layers[0];
    {
        let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
        let (fetcher, scope) = (world.fetcher.clone(), world.scope(&world.registry.reference("a:1")));
        let descriptor = layer.descriptor.clone();
        world.registry.fault(Rule::blobs().fault(Fault::Stall(600_000)));
        let task =
            tokio::spawn(async move { fetcher.blob(&scope, &descriptor, Reader::Chunks(sender)).await });
        let mut seen = 0;
        while seen < 500_000 {
            seen += receiver.recv().await.unwrap().len();
        }
        task.abort();
        assert!(task.await.is_err());
    }
    world.registry.clear_faults();
    let before = world.registry.bytes_sent(&layer.digest());
    assert_eq!(
        drain(layer.open()).await.unwrap(),
        layer.digest(),
        "the reader sees the whole blob, kept bytes too"
    );
    let again = world.registry.bytes_sent(&layer.digest()) - before;
    assert!(again <= layer.size() - 400_000, "{again} of {} bytes were fetched again", layer.size());
}

#[tokio::test(flavor = "multi_thread")]
async fn platforms_are_part_of_the_answer() {
    let world = World::new();
    IndexBuilder::multi_platform(7, &["linux/amd64", "linux/arm64", "linux/arm/v7"], 1, 1000).build().push(
        &world.registry,
        "a",
        Some("1"),
    );
    let reference = world.registry.reference("a:1");
    let mut digests = Vec::new();
    for platform in ["linux/amd64", "linux/arm64", "linux/arm/v7"] {
        let request = Request { reference: reference.clone(), platform: platform.parse().unwrap() };
        let image = world.fetcher.fetch(&request, &world.scope(&reference)).await.unwrap();
        assert_eq!(image.config.platform.to_string(), platform);
        digests.push(image.manifest.digest());
    }
    digests.dedup();
    assert_eq!(digests.len(), 3);
    let request = Request { reference: reference.clone(), platform: "linux/s390x".parse().unwrap() };
    let Err(error) = world.fetcher.fetch(&request, &world.scope(&reference)).await else {
        panic!("s390x was found")
    };
    assert!(error.to_string().contains("linux/arm64"), "the error says what there is: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moving_tag_is_seen_and_a_digest_is_believed() {
    let world = World::new();
    let old = ImageBuilder::new(8).random_layers(1, 1000, Compression::Gzip).build();
    old.push(&world.registry, "a", Some("1"));
    assert_eq!(world.fetch("a:1").await.unwrap().digest, old.digest());
    let new = ImageBuilder::new(9).random_layers(1, 1000, Compression::Gzip).build();
    new.push(&world.registry, "a", Some("1"));
    assert_eq!(world.fetch("a:1").await.unwrap().digest, new.digest());
    let requests = world.registry.requests().len();
    let pinned = format!("a@{}", old.digest());
    assert_eq!(world.fetch(&pinned).await.unwrap().tier, Tier::Disk);
    assert_eq!(world.registry.requests().len(), requests, "a digest that is here needs nobody");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_flips_answers_is_never_mixed() {
    let world = World::new();
    let one = ImageBuilder::new(10).random_layers(1, 1000, Compression::Gzip).build();
    let two = ImageBuilder::new(11).random_layers(1, 1000, Compression::Gzip).build();
    two.push(&world.registry, "a", None);
    one.push(&world.registry, "a", Some("1"));
    // HEAD tells of the one, every GET delivers the other (CVE-2022-47633).
    world.registry.fault(Rule::on("GET", "/v2/a/manifests/*").fault(Fault::Body(two.raw().clone())));
    let Err(error) = world.fetch("a:1").await else { panic!("a manifest of another digest was taken") };
    assert!(larder_core::report(&error).contains("sha256:"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn looking_up_what_is_cached_asks_nobody() {
    let world = World::new();
    let made = ImageBuilder::new(12).random_layers(2, 1000, Compression::Gzip).build();
    made.push(&world.registry, "a", Some("1"));
    let reference = world.registry.reference("a:1");
    let request = Request { reference: reference.clone(), platform: Platform::host() };
    assert!(!world.fetcher.is_cached(&request).unwrap());
    let image = world.fetch("a:1").await.unwrap();
    for layer in &image.layers {
        drain(layer.open()).await.unwrap();
    }
    world.store.set_name(&reference, &made.descriptor).unwrap();
    world.registry.down();
    assert!(world.fetcher.is_cached(&request).unwrap());
    let other = Request { platform: "linux/s390x".parse().unwrap(), ..request.clone() };
    assert!(
        !world.fetcher.is_cached(&other).unwrap(),
        "an image without index is for the platform of its config"
    );
    world.fetcher.invalidate(&reference).await.unwrap();
    assert!(!world.fetcher.is_cached(&request).unwrap());
}

/// The requests that a blob of 70 MiB takes where each connection brings at most so many bytes per second.
async fn ranges_at(rate: u64) -> Vec<u64> {
    let world = World::new();
    let made = ImageBuilder::new(13).random_layers(1, 70 << 20, Compression::None).build();
    made.push(&world.registry, "a", Some("1"));
    world.registry.fault(Rule::blobs().fault(Fault::Throttle(rate)));
    let image = world.fetch("a:1").await.unwrap();
    let layer = &image.layers[0];
    assert_eq!(drain(layer.open()).await.unwrap(), layer.digest());
    assert_eq!(world.registry.bytes_sent(&layer.digest()), layer.size());
    let path = format!("/v2/a/blobs/{}", layer.digest());
    world.registry.requests_to("GET", &path).iter().map(|request| request.sent).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn large_blobs_come_over_several_connections_where_one_is_slow() {
    let ranges = ranges_at(10 << 20).await;
    assert!(ranges.len() > 20, "{ranges:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn large_blobs_come_over_one_connection_where_that_is_fast() {
    let ranges = ranges_at(10 << 30).await;
    assert_eq!(ranges.len(), 3, "a small one to try, a large one, and the rest: {ranges:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_store_is_never_handed_out_and_is_brought_again() {
    let world = World::new();
    ImageBuilder::new(14).random_layers(1, 2_000_000, Compression::None).build().push(
        &world.registry,
        "a",
        Some("1"),
    );
    let image = world.fetch("a:1").await.unwrap();
    let layer = &image.layers[0];
    drain(layer.open()).await.unwrap();
    let path = world.store.blob(&layer.digest()).unwrap().unwrap().path().to_owned();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[1_000_000] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    drain(layer.open()).await.expect_err("damaged bytes ended well");
    let scope = world.scope(&world.registry.reference("a:1"));
    let (sender, mut chunks) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move { while chunks.recv().await.is_some() {} });
    world.fetcher.blob(&scope, &layer.descriptor, Reader::Chunks(sender)).await.unwrap();
    assert_eq!(drain(layer.open()).await.unwrap(), layer.digest(), "it was set aside and brought again");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_memory_has_reaches_a_store_that_lost_it() {
    let world = World::new();
    let made = ImageBuilder::new(15).random_layers(1, 1000, Compression::Gzip).build();
    made.push(&world.registry, "a", Some("1"));
    let image = world.fetch("a:1").await.unwrap();
    world.store.quarantine(&image.manifest.digest()).unwrap();
    world.fetch("a:1").await.unwrap();
    assert!(world.store.contains(&image.manifest.digest()).unwrap(), "the manifest is in memory only");
}

#[tokio::test(flavor = "multi_thread")]
async fn many_layers_may_be_open_at_once_and_read_in_any_order() {
    let world = World::new();
    ImageBuilder::new(16).random_layers(8, 6 << 20, Compression::None).build().push(
        &world.registry,
        "a",
        Some("1"),
    );
    let image = world.fetch("a:1").await.unwrap();
    let mut readers: Vec<LayerReader> = image.layers.iter().map(|layer| layer.open()).collect();
    for reader in &mut readers {
        reader.next().await.unwrap().unwrap();
    }
    for reader in readers.into_iter().rev() {
        let reading = tokio::time::timeout(Duration::from_secs(30), drain(reader));
        reading.await.expect("the readers wait for each other").unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_index_for_another_platform_is_refused() {
    let world = World::new();
    let other =
        ImageBuilder::new(17).platform("linux/s390x").random_layers(1, 1000, Compression::Gzip).build();
    other.push(&world.registry, "a", Some("1"));
    let Err(error) = world.fetch("a:1").await else { panic!("an image for s390x was given out") };
    assert!(error.to_string().contains("linux/s390x"), "{error}");
}
