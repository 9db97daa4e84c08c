//! The fault matrix: whatever an upstream does, a reader gets the right bytes or an error, and wrong bytes leave nothing.

use crate::world::{World, account, anonymous, selector};
use bytes::Bytes;
use larder_core::{Digest, Kind};
use larder_server::Freshness;
use larder_testkit::{Access, Fault, Image, Rule};
use std::time::Duration;

const LAYER: usize = 300_000;

/// What a reader gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gets {
    TheBytes,
    AnError(Kind),
    /// An error at the end of what looked right until then.
    ABrokenAnswer,
}

use Gets::{ABrokenAnswer, AnError, TheBytes};

fn header(name: &str, value: &str) -> Fault {
    Fault::Header(name.into(), Some(value.into()))
}

fn redirect(location: &str) -> Fault {
    Fault::Redirect { status: 307, location: location.into() }
}

async fn check_blob(row: &str, gets: Gets, rules: impl FnOnce(&Digest) -> Vec<Rule>) {
    let world = World::new();
    let image = world.image(1, "library/app", "1", LAYER);
    world.tag("library/app:1").await.unwrap();
    let layer = image.layers[0].digest;
    let right = world.registry.blob("library/app", &layer).unwrap();
    let hits: Vec<_> = rules(&layer).into_iter().map(|rule| world.registry.fault(rule)).collect();
    let got = world.blob("library/app", &layer, &anonymous()).await;
    assert!(hits.iter().any(|hits| hits.count() > 0), "{row}: the fault did not come to pass");
    match (&got, gets) {
        (Ok(bytes), TheBytes) => assert!(*bytes == right, "{row}: wrong bytes"),
        (Err(error), AnError(kind)) => assert!(error.starts_with(&kind.to_string()), "{row}: {error}"),
        // Who comes when it is over already is told at once.
        (Err(error), ABrokenAnswer) => {
            let kinds = ["the blob", "corrupt", "unavailable"];
            assert!(kinds.iter().any(|kind| error.starts_with(kind)), "{row}: {error}");
        }
        (Ok(_), _) => panic!("{row}: served"),
        (Err(error), TheBytes) => panic!("{row}: {error}"),
    }
    world.quiet().await;
    assert_eq!(world.engine.store().contains(&layer).unwrap(), got.is_ok(), "{row}: what is stored");
    // Whatever it was, it passes.
    world.registry.clear_faults();
    world.clock.advance(Duration::from_secs(60));
    let again = world.blob("library/app", &layer, &anonymous()).await;
    assert!(
        again.unwrap_or_else(|error| panic!("{row}, then well: {error}")) == right,
        "{row}, then well: wrong bytes"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_with_wrong_bodies() {
    let on = |fault: Fault| move |layer: &Digest| vec![Rule::blob(layer).fault(fault)];
    check_blob("short body", AnError(Kind::Corrupt), on(Fault::ShortBody(10))).await;
    check_blob("long body", AnError(Kind::Corrupt), on(Fault::LongBody(10))).await;
    check_blob("wrong byte", ABrokenAnswer, on(Fault::WrongByte(200_000))).await;
    check_blob("html", AnError(Kind::Unavailable), on(Fault::Html)).await;
    check_blob("another body", AnError(Kind::Corrupt), on(Fault::Body("{}".into()))).await;
    check_blob("endless body", ABrokenAnswer, on(Fault::EndlessBody)).await;
    check_blob("compressed by a proxy", AnError(Kind::Corrupt), on(Fault::Gzip)).await;
    check_blob("no content length", TheBytes, on(Fault::NoContentLength)).await;
    check_blob("chunked", TheBytes, on(Fault::Chunked)).await;
    check_blob("a header that lies about the digest", TheBytes, |layer| {
        let other = Digest::of(b"other").to_string();
        vec![Rule::blob(layer).fault(header("Docker-Content-Digest", &other))]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_over_lines_that_break() {
    check_blob("chunked and cut", TheBytes, |layer| {
        vec![Rule::blob(layer).first(2).fault(Fault::Chunked).fault(Fault::Cut(100_000))]
    })
    .await;
    check_blob("reset every 100,000 bytes", TheBytes, |layer| {
        vec![Rule::blob(layer).fault(Fault::Reset(100_000))]
    })
    .await;
    check_blob("cut once, and the range is ignored", TheBytes, |layer| {
        let cut = Rule::blob(layer).ranged(false).first(1).fault(Fault::Cut(100_000));
        vec![cut, Rule::blob(layer).ranged(true).fault(Fault::IgnoreRange)]
    })
    .await;
    check_blob("cut once, and the range is another", ABrokenAnswer, |layer| {
        let cut = Rule::blob(layer).ranged(false).first(1).fault(Fault::Cut(100_000));
        vec![cut, Rule::blob(layer).ranged(true).fault(Fault::WrongRange(7))]
    })
    .await;
    check_blob("the ETag changes", TheBytes, |layer| {
        let cut = Rule::blob(layer).ranged(false).first(1).fault(Fault::Cut(100_000));
        vec![cut, Rule::blob(layer).ranged(true).fault(header("ETag", "\"another\""))]
    })
    .await;
    check_blob("stall", TheBytes, |layer| vec![Rule::blob(layer).first(1).fault(Fault::Stall(100_000))])
        .await;
    check_blob("silence", TheBytes, |layer| vec![Rule::blob(layer).first(1).fault(Fault::Silence)]).await;
    check_blob("ten bytes per second", TheBytes, |layer| {
        vec![Rule::blob(layer).first(1).fault(Fault::Throttle(10))]
    })
    .await;
    check_blob("nothing but stalls", ABrokenAnswer, |layer| {
        let stall = Rule::blob(layer).first(1).fault(Fault::Stall(100_000));
        vec![stall, Rule::blob(layer).from(1).ranged(true).fault(Fault::Silence)]
    })
    .await;
    check_blob("garbage", TheBytes, |layer| {
        vec![Rule::blob(layer).first(1).fault(Fault::Garbage(Bytes::from_static(b"\x15\x03\x01\r\n\r\n")))]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_with_errors_instead() {
    let always = |status: u16| move |layer: &Digest| vec![Rule::blob(layer).status(status, &[])];
    for (status, kind) in [
        (401, Kind::Denied),
        (403, Kind::Denied),
        (404, Kind::NotFound),
        (400, Kind::Unavailable),
        (418, Kind::Unavailable),
        (503, Kind::Unavailable),
    ] {
        check_blob(&status.to_string(), AnError(kind), always(status)).await;
    }
    for status in [429, 500, 502, 503] {
        let row = format!("{status} twice");
        check_blob(&row, TheBytes, |layer| vec![Rule::blob(layer).first(2).status(status, &[])]).await;
    }
    check_blob("429 with a short time to wait", TheBytes, |layer| {
        vec![Rule::blob(layer).first(2).status(429, &[("Retry-After", "0.05")])]
    })
    .await;
    check_blob("401 in the middle", TheBytes, |layer| {
        let cut = Rule::blob(layer).ranged(false).first(1).fault(Fault::Cut(100_000));
        vec![cut, Rule::blob(layer).ranged(true).first(1).status(401, &[])]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_behind_redirects() {
    let on = |fault: Fault| move |layer: &Digest| vec![Rule::blob(layer).fault(fault)];
    check_blob("loop", AnError(Kind::Unavailable), on(Fault::RedirectChain(u32::MAX))).await;
    check_blob("to a file", AnError(Kind::Unavailable), on(redirect("file:///etc/passwd"))).await;
    check_blob("to a private network", AnError(Kind::Unavailable), on(redirect("http://192.168.0.1{path}")))
        .await;
    check_blob("to nowhere", AnError(Kind::Unavailable), on(redirect("//"))).await;
    check_blob("signed URLs that work once", TheBytes, |layer| {
        let redirect = Rule::on("GET", &format!("/v2/*/{layer}"));
        let storage = Rule::on("GET", &format!("/storage/{layer}"));
        vec![
            redirect.fault(Fault::SignedRedirect { host: None, uses: 1 }),
            storage.fault(Fault::Reset(100_000)),
        ]
    })
    .await;
}

async fn check_tag(row: &str, gets: Gets, rules: Vec<Rule>) {
    let world = World::new();
    let image = world.image(1, "library/app", "1", 1000);
    let hits: Vec<_> = rules.into_iter().map(|rule| world.registry.fault(rule)).collect();
    let got = world.tag("library/app:1").await;
    assert!(hits.iter().any(|hits| hits.count() > 0), "{row}: the fault did not come to pass");
    match (&got, gets) {
        (Ok(found), TheBytes) => {
            assert_eq!(found.descriptor.digest, image.digest(), "{row}");
            assert_eq!(found.freshness, Freshness::Fetched, "{row}");
        }
        (Err(trouble), AnError(kind)) => assert_eq!(trouble.kind, kind, "{row}: {trouble}"),
        (Ok(_), _) => panic!("{row}: served"),
        (Err(trouble), _) => panic!("{row}: {trouble}"),
    }
    let stored = world.engine.store().all_cached().unwrap();
    assert_eq!(stored.len(), usize::from(got.is_ok()), "{row}: what is remembered");
    assert_eq!(world.engine.store().contains(&image.digest()).unwrap(), got.is_ok(), "{row}");
    world.registry.clear_faults();
    world.clock.advance(Duration::from_secs(60));
    let again = world.tag("library/app:1").await;
    assert_eq!(
        again.unwrap_or_else(|trouble| panic!("{row}, then well: {trouble}")).descriptor.digest,
        image.digest()
    );
}

/// What can be wrong with every answer of the registry, and what comes of it.
fn rows() -> Vec<(&'static str, Gets, Fault)> {
    vec![
        ("html", AnError(Kind::Unavailable), Fault::Html),
        ("silence", AnError(Kind::Unavailable), Fault::Silence),
        ("garbage", AnError(Kind::Unavailable), Fault::Garbage(Bytes::from_static(b"\x15\x03\x01\r\n\r\n"))),
        ("redirect loop", AnError(Kind::Unavailable), Fault::RedirectChain(u32::MAX)),
        ("redirect to a file", AnError(Kind::Unavailable), redirect("file:///etc/passwd")),
        ("redirect to a private network", AnError(Kind::Unavailable), redirect("http://10.0.0.1{path}")),
        ("500", AnError(Kind::Unavailable), Fault::Status(500)),
        ("429", AnError(Kind::Unavailable), Fault::Status(429)),
        ("401", AnError(Kind::Denied), Fault::Status(401)),
        ("403", AnError(Kind::Denied), Fault::Status(403)),
        ("404", AnError(Kind::NotFound), Fault::Status(404)),
        ("400", AnError(Kind::Unavailable), Fault::Status(400)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_with_errors_instead() {
    for (row, gets, fault) in rows() {
        check_tag(row, gets, vec![Rule::manifests().before_auth().fault(fault)]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn manifests_with_wrong_bodies() {
    let get = || Rule::on("GET", "/v2/*/manifests/*");
    for (row, gets, fault) in [
        ("a wrong byte", AnError(Kind::Corrupt), Fault::WrongByte(40)),
        ("an endless body", AnError(Kind::Unavailable), Fault::EndlessBody),
        ("a huge body", AnError(Kind::Unavailable), Fault::HugeBody(100 << 20)),
        ("a short body", AnError(Kind::Corrupt), Fault::ShortBody(10)),
        ("compressed by a proxy", AnError(Kind::Corrupt), Fault::Gzip),
        ("cut", AnError(Kind::Unavailable), Fault::Cut(50)),
        ("reset", AnError(Kind::Unavailable), Fault::Reset(50)),
        ("stall", AnError(Kind::Unavailable), Fault::Stall(50)),
        ("chunked", TheBytes, Fault::Chunked),
        ("no content length", TheBytes, Fault::NoContentLength),
    ] {
        check_tag(row, gets, vec![get().fault(fault)]).await;
    }
    for fault in [Fault::Cut(50), Fault::Stall(50), Fault::Status(503), Fault::Silence] {
        check_tag(&format!("{fault:?} once"), TheBytes, vec![get().first(1).fault(fault)]).await;
    }
    check_tag(
        "another type",
        AnError(Kind::Unavailable),
        vec![Rule::manifests().fault(header("Content-Type", "application/vnd.oci.image.index.v1+json"))],
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_that_is_known_is_served_through_all_of_it() {
    for (row, gets, fault) in rows() {
        if gets != AnError(Kind::Unavailable) {
            continue;
        }
        let world = World::new();
        let image: Image = world.image(1, "library/app", "1", 100_000);
        world.tag("library/app:1").await.unwrap();
        let layer = image.layers[0].digest;
        let right = world.blob("library/app", &layer, &anonymous()).await.unwrap();
        world.quiet().await;
        world.clock.advance(Duration::from_secs(1000));
        let struck = world.registry.fault(Rule::on("*", "*").before_auth().fault(fault));
        let found = world.tag("library/app:1").await.unwrap_or_else(|trouble| panic!("{row}: {trouble}"));
        assert_eq!((found.descriptor.digest, found.freshness), (image.digest(), Freshness::Stale), "{row}");
        assert!(world.blob("library/app", &layer, &anonymous()).await.unwrap() == right, "{row}");
        assert!(struck.count() > 0, "{row}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_go_wrong_are_no_word_of_the_registry() {
    let mut table = rows();
    table.retain(|(row, ..)| !matches!(*row, "404" | "redirect to a private network"));
    // The token server's "not found" is not the registry's.
    table.push(("404", AnError(Kind::Unavailable), Fault::Status(404)));
    table.push(("no JSON", AnError(Kind::Unavailable), Fault::Body("token".into())));
    table.push(("no token", AnError(Kind::Unavailable), Fault::Body("{}".into())));
    table.push((
        "a token that is none",
        AnError(Kind::Unavailable),
        Fault::Body("{\"token\":\"a\\nb\"}".into()),
    ));
    table.push(("an endless body", AnError(Kind::Unavailable), Fault::EndlessBody));
    table.push(("a huge body", AnError(Kind::Unavailable), Fault::HugeBody(100 << 20)));
    table.push((
        "a token that nobody takes",
        AnError(Kind::Denied),
        Fault::Body("{\"token\":\"other\"}".into()),
    ));
    for (row, gets, fault) in table {
        let world = World::new();
        world
            .registry
            .set_access(Access::bearer().anonymous(&[("*", "pull")]).user("operator", "operator's secret"));
        let image = world.image(1, "library/app", "1", 1000);
        let struck = world.registry.fault(Rule::token().fault(fault));
        for caller in [anonymous(), account()] {
            let trouble = world.manifest("library/app", &selector("1"), &caller).await.unwrap_err();
            assert_eq!(AnError(trouble.kind), gets, "{row}: {trouble}");
            world.clock.advance(Duration::from_secs(60));
        }
        assert!(struck.count() > 0, "{row}");
        assert!(!world.engine.store().contains(&image.digest()).unwrap(), "{row}");
        world.registry.clear_faults();
        world.tag("library/app:1").await.unwrap_or_else(|trouble| panic!("{row}, then well: {trouble}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tokens_that_expire_at_once_or_in_the_middle_are_fetched_again() {
    let world = World::new();
    world.registry.set_access(Access::bearer().anonymous(&[("*", "pull")]).uses(1));
    let image = world.image(1, "library/app", "1", LAYER);
    world.tag("library/app:1").await.unwrap();
    let layer = image.layers[0].digest;
    world.registry.fault(Rule::blob(&layer).fault(Fault::Reset(100_000)));
    let right = world.registry.blob("library/app", &layer).unwrap();
    assert!(world.blob("library/app", &layer, &anonymous()).await.unwrap() == right);
}
