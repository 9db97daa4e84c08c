//! In front of the distribution project's own registry.

use larder_core::{Compression, Kind, RepositoryName, Secret};
use larder_engine::{Config, Engine, Host, Terms, UpstreamSettings, Upstreams};
use larder_server::{Bringing, Caller, Freshness, OnMiss, Presented, Selector};
use larder_testkit::{DockerRegistry, ImageBuilder};
use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::Arc;
use std::time::SystemTime;

fn caller(password: Option<&str>) -> Caller {
    let mut caller = Caller::anonymous([127, 0, 0, 1].into());
    caller.presented =
        password.map(|password| Presented::Basic { username: "bob".into(), password: Secret::new(password) });
    caller
}

fn upstreams(registry: &DockerRegistry, home: &std::path::Path) -> (Engine, Arc<Upstreams>) {
    let config = Config {
        home: home.to_owned(),
        certs_dir: vec![registry.certs_d()],
        attempts: 2,
        ..Config::default()
    };
    let host = Host {
        boot_id: "test".into(),
        clock: Arc::new(SystemTime::now),
        credential_files: Vec::new(),
        helper_path: Vec::new(),
        seed: 1,
        user_agent: "larder-tests".into(),
        proxy: None,
        actor: None,
    };
    let engine = Engine::open(config, host, larder_core::silent()).unwrap();
    let (name, settings) = UpstreamSettings::parse(&format!("hub.example={}", registry.url())).unwrap();
    let upstreams = Upstreams::new(&engine, &BTreeMap::from([(name, settings)]), Terms::default()).unwrap();
    (engine, upstreams)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_behind_tls_and_a_password() {
    let registry = DockerRegistry::with().user("bob", "hunter2").tls().start().unwrap();
    let image = ImageBuilder::new(1).random_layers(2, 500_000, Compression::Gzip).build();
    registry.push(&image, "corp/app", Some("1")).unwrap();
    let home = tempfile::tempdir().unwrap();
    let (engine, upstreams) = upstreams(&registry, home.path());
    let repository: RepositoryName = "hub.example/corp/app".parse().unwrap();
    let tag = Selector::Tag(larder_core::Tag::new("1").unwrap());
    for stranger in [caller(None), caller(Some("wrong"))] {
        let trouble = upstreams.authorize(&repository, Some(&tag), &stranger).await.unwrap_err();
        assert_eq!(trouble.kind, Kind::Denied, "{trouble}");
    }
    let bob = caller(Some("hunter2"));
    upstreams.authorize(&repository, Some(&tag), &bob).await.unwrap();
    let found = upstreams.manifest(&repository, &tag, &bob).await.unwrap();
    assert_eq!((found.descriptor.digest, found.freshness), (image.digest(), Freshness::Fetched));
    for (descriptor, content) in &image.blobs {
        match upstreams.blob(&repository, &descriptor.digest, &bob).await.unwrap() {
            Bringing::Here => {}
            Bringing::Coming { mut follower, .. } => {
                let mut bytes = Vec::new();
                tokio::task::spawn_blocking(move || follower.read_to_end(&mut bytes).map(|_| bytes))
                    .await
                    .unwrap()
                    .map(|bytes| assert!(bytes == *content))
                    .unwrap();
            }
        }
    }
    larder_testkit::eventually("all of it is here", std::time::Duration::from_secs(10), || {
        let all =
            image.blobs.iter().all(|(descriptor, _)| engine.store().contains(&descriptor.digest).unwrap());
        all.then_some(())
    });
    let tags = upstreams.tags(&repository, &bob).await.unwrap().unwrap();
    assert_eq!(tags.len(), 1);
    assert!(upstreams.referrers(&repository, &image.digest(), &bob).await.unwrap().unwrap().is_empty());
    let layer = image.layers[0].digest.to_string();
    assert_eq!(registry.requests("GET", &layer), 1, "{}", registry.log());
}
