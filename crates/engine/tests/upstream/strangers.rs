//! One upstream that lies about what another has.

use crate::world::{REGISTRY, World, anonymous, name};
use larder_core::{Digest, RepositoryName};
use larder_engine::{Terms, UpstreamSettings, Upstreams};
use larder_server::{Bringing, OnMiss as _};
use larder_testkit::{Fault, FaultRegistry, Rule, eventually_async};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

const LAYER: usize = 1_000_000;

struct Liar {
    world: World,
    liar: FaultRegistry,
    layer: Digest,
    right: Vec<u8>,
}

impl Liar {
    /// An image at an honest registry, and garbage of some length under the name of its layer at another.
    async fn new(length: impl FnOnce(usize) -> usize, fault: impl FnOnce(Rule) -> Rule) -> Self {
        let mut world = World::with(|_| {}, |config| config.idle_timeout = "1m".parse().unwrap());
        let image = world.image(1, "library/app", "1", LAYER);
        let layer = image.layers[0].digest;
        let right = world.registry.blob("library/app", &layer).unwrap().to_vec();
        let liar = FaultRegistry::start();
        liar.put_blob_as("evil/app", layer, vec![b'G'; length(right.len())]);
        liar.fault(fault(Rule::blob(&layer)));
        let (_, with) = UpstreamSettings::parse(&format!("evil.example={}", liar.url(""))).unwrap();
        let all =
            BTreeMap::from([(REGISTRY.to_owned(), world.settings()), ("evil.example".to_owned(), with)]);
        world.upstreams = Upstreams::new(&world.engine, &all, Terms::default()).unwrap();
        world.tag("library/app:1").await.unwrap();
        Self { world, liar, layer, right }
    }

    /// Somebody asks the liar, and goes away.
    async fn is_asked(&self) {
        let registry = larder_core::Registry::new("evil.example").unwrap();
        let repository = RepositoryName::new(registry, name("evil/app").repository().clone());
        let brought = self.world.upstreams.blob(&repository, &self.layer, &anonymous()).await.unwrap();
        assert!(matches!(brought, Bringing::Coming { .. }));
        drop(brought);
    }

    async fn everybody_else_is_served_within(&self, limit: Duration) {
        let began = Instant::now();
        let bytes = self.world.blob("library/app", &self.layer, &anonymous()).await.unwrap();
        assert!(bytes == self.right, "wrong bytes, beginning {:?}", &bytes[..20.min(bytes.len())]);
        assert!(began.elapsed() < limit, "it took {:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_claims_another_length_and_dribbles_is_not_waited_for() {
    let liar = Liar::new(|right| right + 2_000_000, |rule| rule.fault(Fault::Throttle(2_000))).await;
    liar.is_asked().await;
    liar.everybody_else_is_served_within(Duration::from_secs(9)).await;
    assert_eq!(liar.liar.count("GET", &format!("*{}", liar.layer)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_claims_the_right_length_and_dribbles_is_waited_for_ten_seconds() {
    let liar = Liar::new(|right| right, |rule| rule.fault(Fault::Throttle(2_000))).await;
    liar.is_asked().await;
    liar.everybody_else_is_served_within(Duration::from_secs(25)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_registry_left_behind_is_not_shown_to_those_who_ask_another() {
    let liar = Liar::new(|right| right, |rule| rule.fault(Fault::Reset(400_000))).await;
    liar.is_asked().await;
    eventually_async("the liar gives up", Duration::from_secs(30), || async {
        (liar.world.upstreams.transfers() == 0).then_some(())
    })
    .await;
    liar.everybody_else_is_served_within(Duration::from_secs(30)).await;
}
