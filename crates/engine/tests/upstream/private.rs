//! Private images are nobody's but those whom the upstream lets read them, cached or not, by tag or by digest, up or down.

use crate::world::{World, account, anonymous, name, presenting, selector};
use larder_core::{Digest, Kind};
use larder_engine::{CredentialSource, Terms, UpstreamSettings};
use larder_server::{Caller, Login, OnMiss as _, Selector};
use larder_testkit::Access;
use std::time::Duration;

const TTL: Duration = Duration::from_secs(300);

fn guarded() -> Access {
    Access::bearer()
        .user("operator", "operator's secret")
        .user_with("bob", "hunter2", &[("corp/*", "pull")])
        .user_with("eve", "letmein", &[("eve/*", "pull")])
}

struct Cached {
    world: World,
    layer: Digest,
    selectors: [Selector; 2],
}

/// With `corp/app:1` in the store, brought by bob.
async fn cached(access: Access) -> Cached {
    let world = World::new();
    world.registry.set_access(access);
    let image = world.image(1, "corp/app", "1", 100_000);
    let bob = presenting("bob", "hunter2");
    world.manifest("corp/app", &selector("1"), &bob).await.unwrap();
    let layer = image.layers[0].digest;
    world.blob("corp/app", &layer, &bob).await.unwrap();
    world.quiet().await;
    Cached { world, layer, selectors: [selector("1"), selector(&image.digest().to_string())] }
}

impl Cached {
    async fn is_refused(&self, caller: &Caller, kind: Kind) {
        for selector in &self.selectors {
            let trouble = self.world.manifest("corp/app", selector, caller).await.unwrap_err();
            assert_eq!(trouble.kind, kind, "{selector} for {caller:?}: {trouble}");
        }
        let error = self.world.blob("corp/app", &self.layer, caller).await.unwrap_err();
        assert!(error.starts_with(&kind.to_string()), "{error}");
    }

    async fn is_served(&self, caller: &Caller) {
        for selector in &self.selectors {
            self.world.manifest("corp/app", selector, caller).await.unwrap();
        }
        self.world.blob("corp/app", &self.layer, caller).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_whom_the_upstream_lets_read_it_get_it() {
    for access in [guarded(), Access::basic().user_with("bob", "hunter2", &[("corp/*", "pull")])] {
        let cached = cached(access).await;
        cached.is_served(&presenting("bob", "hunter2")).await;
        for stranger in
            [anonymous(), presenting("bob", "wrong"), presenting("eve", "letmein"), presenting("", "")]
        {
            cached.is_refused(&stranger, Kind::Denied).await;
        }
        // Names alone prove nothing.
        let named = Caller { name: Some("bob".into()), login: Login::Anonymous, ..anonymous() };
        cached.is_refused(&named, Kind::Denied).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_might_help_with_a_credential_is_asked_for_one() {
    let cached = cached(guarded()).await;
    let ask = async |caller: Caller| {
        cached.world.authorize("corp/app", Some(&selector("1")), &caller).await.unwrap_err().wants_credential
    };
    assert!(ask(anonymous()).await);
    assert!(!ask(presenting("eve", "letmein")).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_upstream_is_down_only_those_it_accepted_lately_are_served() {
    let cached = cached(guarded()).await;
    let bob = presenting("bob", "hunter2");
    cached.is_refused(&presenting("eve", "letmein"), Kind::Denied).await;
    cached.world.registry.down();
    cached.world.clock.advance(TTL);
    cached.is_served(&bob).await;
    for stranger in [anonymous(), presenting("bob", "wrong"), presenting("eve", "letmein"), account()] {
        cached.is_refused(&stranger, Kind::Unavailable).await;
    }
    // For an hour after the last word, and no longer.
    cached.world.clock.advance(Duration::from_secs(3600) - TTL - Duration::from_secs(1));
    cached.is_served(&bob).await;
    cached.world.clock.advance(Duration::from_secs(1));
    cached.is_refused(&bob, Kind::Unavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_while_the_upstream_is_down_serves_nothing_private() {
    let mut cached = cached(guarded()).await;
    cached.world.registry.down();
    cached.world = cached.world.restarted();
    for caller in [presenting("bob", "hunter2"), anonymous(), account()] {
        cached.is_refused(&caller, Kind::Unavailable).await;
    }
}

/// Every way in which there is nobody to ask.
fn nobody_to_ask(settings: &UpstreamSettings) -> Vec<(&'static str, Option<UpstreamSettings>, Terms)> {
    let with = |change: fn(&mut UpstreamSettings)| {
        let mut settings = settings.clone();
        change(&mut settings);
        Some(settings)
    };
    vec![
        ("not configured", None, Terms::default()),
        ("turned off", with(|settings| settings.enabled = false), Terms::default()),
        ("offline", with(|settings| settings.offline = true), Terms::default()),
        ("all offline", with(|_| {}), Terms { offline: true, ..Terms::default() }),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_private_stays_so_when_there_is_nobody_to_ask() {
    let mut cached = cached(guarded()).await;
    let asked = cached.world.registry.requests().len();
    for (how, settings, terms) in nobody_to_ask(&cached.world.settings()) {
        cached.world.behind(settings.clone(), terms);
        for stranger in [anonymous(), presenting("bob", "hunter2"), presenting("eve", "letmein")] {
            cached.is_refused(&stranger, Kind::Denied).await;
        }
        // Whether it is there is nobody's business either.
        let absent = cached.world.authorize("corp/none", None, &anonymous()).await.unwrap_err();
        assert_eq!(absent.kind, Kind::Denied, "{how}");
        assert_eq!(cached.world.upstreams.withheld().await.unwrap().len(), 1, "{how}");
        // Whom the operator gave an account may, and everybody if the operator says so.
        cached.is_served(&account()).await;
        cached.world.behind(settings.clone(), Terms { share: true, ..terms });
        cached.is_served(&anonymous()).await;
        assert!(cached.world.upstreams.withheld().await.unwrap().is_empty(), "{how}");
        if let Some(settings) = settings {
            cached.world.behind(Some(UpstreamSettings { share: true, ..settings }), terms);
            cached.is_served(&anonymous()).await;
        }
        cached.world.behind(None, Terms { accounts: true, ..Terms::default() });
        let trouble = cached.world.authorize("corp/app", None, &anonymous()).await.unwrap_err();
        assert!(trouble.wants_credential, "logging in helps where there are accounts");
    }
    assert_eq!(cached.world.registry.requests().len(), asked, "nobody was asked");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_public_is_served_when_there_is_nobody_to_ask() {
    let mut world = World::new();
    let image = world.image(1, "library/app", "1", 1000);
    world.tag("library/app:1").await.unwrap();
    world.blob("library/app", &image.layers[0].digest, &anonymous()).await.unwrap();
    world.quiet().await;
    for (how, settings, terms) in nobody_to_ask(&world.settings()) {
        world.behind(settings, terms);
        world.clock.advance(TTL);
        let found = world.tag("library/app:1").await.unwrap();
        assert_eq!(found.freshness, larder_server::Freshness::Fresh, "{how}");
        world.blob("library/app", &image.layers[0].digest, &anonymous()).await.unwrap();
        assert_eq!(world.upstreams.tags(&name("library/app"), &anonymous()).await.unwrap(), None, "{how}");
        assert!(world.upstreams.withheld().await.unwrap().is_empty(), "{how}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn revoked_access_ends_after_the_time_it_is_believed() {
    let cached = cached(guarded()).await;
    let bob = presenting("bob", "hunter2");
    cached.world.registry.set_access(Access::bearer().user("operator", "operator's secret"));
    cached.world.registry.revoke_tokens();
    cached.world.clock.advance(TTL - Duration::from_secs(1));
    cached.world.authorize("corp/app", None, &bob).await.unwrap();
    cached.world.clock.advance(Duration::from_secs(1));
    cached.is_refused(&bob, Kind::Denied).await;
    // The refusal is the last word, also when nobody can be asked any more.
    cached.world.registry.down();
    cached.world.clock.advance(TTL);
    cached.is_refused(&bob, Kind::Unavailable).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_operators_credential_is_for_accounts_unless_it_is_shared() {
    let cached = cached(guarded()).await;
    cached.is_served(&account()).await;
    cached.is_refused(&anonymous(), Kind::Denied).await;
    let world = World::with(|settings| settings.share = true, |_| {});
    world.registry.set_access(guarded());
    world.image(1, "corp/app", "1", 1000);
    world.tag("corp/app:1").await.unwrap();
    // Lent, not public: once nobody can be asked, and the hour is over, it is nobody's.
    world.registry.down();
    world.clock.advance(Duration::from_secs(3601));
    assert_eq!(world.tag("corp/app:1").await.unwrap_err().kind, Kind::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn whose_credentials_are_used_can_be_narrowed() {
    let bob = presenting("bob", "hunter2");
    for (source, bob_may, account_may) in [
        (CredentialSource::Both, true, true),
        (CredentialSource::Own, false, true),
        (CredentialSource::Client, true, false),
    ] {
        let world = World::with(|settings| settings.credentials = source, |_| {});
        world.registry.set_access(guarded());
        world.image(1, "corp/app", "1", 1000);
        let about = selector("1");
        assert_eq!(world.authorize("corp/app", Some(&about), &bob).await.is_ok(), bob_may, "{source:?}");
        assert_eq!(
            world.authorize("corp/app", Some(&about), &account()).await.is_ok(),
            account_may,
            "{source:?}"
        );
        let hunter = world.registry.requests().iter().any(|request| {
            // "bob:hunter2"
            request.authorization().is_some_and(|header| header.ends_with("Ym9iOmh1bnRlcjI="))
        });
        assert_eq!(hunter, bob_may, "{source:?}: where it is not used it does not leave");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_may_not_see_a_tag_cannot_make_others_lose_it() {
    let cached = cached(guarded()).await;
    // To strangers the tag is not there, as some registries have it.
    let hidden = larder_testkit::Rule::on("GET|HEAD", "/v2/corp/app/*").before_auth();
    cached.world.registry.fault(hidden.status(404, &[]));
    let trouble = cached.world.manifest("corp/app", &selector("1"), &anonymous()).await.unwrap_err();
    assert_eq!(trouble.kind, Kind::NotFound);
    cached.world.registry.down();
    cached.world.clock.advance(TTL);
    cached.is_served(&presenting("bob", "hunter2")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_is_in_a_message() {
    let cached = cached(guarded()).await;
    for caller in [presenting("bob", "s3cr3t-of-bob"), presenting("eve", "letmein")] {
        let trouble = cached.world.authorize("corp/app", None, &caller).await.unwrap_err();
        assert!(!trouble.message.contains("s3cr3t") && !trouble.message.contains("letmein"), "{trouble}");
    }
    let all = cached.world.warnings.lock().unwrap().join("\n");
    for secret in ["hunter2", "s3cr3t", "letmein", "operator's secret"] {
        assert!(!all.contains(secret), "{all}");
    }
}

/// A public image of somebody else that names what is private.
fn naming(victim: &larder_core::Descriptor) -> String {
    let config = larder_core::Descriptor::of(larder_core::MediaType::OCI_CONFIG, b"{}");
    let text = |value: &larder_core::Descriptor| serde_json::to_string(value).unwrap();
    format!(r#"{{"schemaVersion":2,"config":{},"layers":[{}]}}"#, text(&config), text(victim))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_names_what_is_private_does_not_open_it() {
    for named_first in [true, false] {
        let world = World::new();
        world.registry.set_access(guarded().anonymous(&[("evil/*", "pull")]));
        let image = world.image(1, "corp/app", "1", 100_000);
        let layer = image.blobs.iter().find(|(blob, _)| blob.digest == image.layers[0].digest).unwrap();
        let manifest = larder_core::MediaType::OCI_MANIFEST;
        world.registry.put_manifest("evil/app", &manifest, naming(&layer.0), Some("1"));
        let index = larder_core::MediaType::OCI_INDEX;
        let descriptor = serde_json::to_string(&image.descriptor).unwrap();
        let text = format!(r#"{{"schemaVersion":2,"manifests":[{descriptor}]}}"#);
        world.registry.put_manifest("evil/app", &index, text, Some("2"));
        let pull = async || {
            let bob = presenting("bob", "hunter2");
            world.manifest("corp/app", &selector("1"), &bob).await.unwrap();
            world.blob("corp/app", &layer.0.digest, &bob).await.unwrap();
            world.quiet().await;
        };
        if !named_first {
            pull().await;
        }
        for tag in ["1", "2"] {
            world.manifest("evil/app", &selector(tag), &anonymous()).await.unwrap();
        }
        if named_first {
            pull().await;
        }
        let store = world.engine.store();
        let evil = name("evil/app");
        for digest in [layer.0.digest, image.digest()] {
            assert!(store.contains(&digest).unwrap(), "it is there to be stolen");
            assert!(!store.holds(&evil, &digest).unwrap());
        }
        let error = world.blob("evil/app", &layer.0.digest, &anonymous()).await.unwrap_err();
        assert!(error.starts_with("not found"), "{error}");
        let digest = selector(&image.digest().to_string());
        let trouble = world.manifest("evil/app", &digest, &anonymous()).await.unwrap_err();
        assert_eq!(trouble.kind, Kind::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_attached_in_private_to_a_public_image_stays_private() {
    let world = World::new();
    world.registry.set_access(guarded().anonymous(&[("library/*", "pull")]));
    let image = world.image(1, "library/app", "1", 1000);
    image.push(&world.registry, "corp/app", Some("1"));
    let note = larder_testkit::Image::referrer(&image.descriptor, "application/x.note", "secret");
    note.push(&world.registry, "corp/app", None);
    world.tag("library/app:1").await.unwrap();
    let bob = presenting("bob", "hunter2");
    world.manifest("corp/app", &selector("1"), &bob).await.unwrap();
    world.manifest("corp/app", &selector(&note.digest().to_string()), &bob).await.unwrap();
    let store = world.engine.store();
    let listed = |repository: &str| store.referrers_in(&name(repository), &image.digest()).unwrap().len();
    assert_eq!((listed("corp/app"), listed("library/app")), (1, 0));
    assert!(!store.holds(&name("library/app"), &note.digest()).unwrap());
}
