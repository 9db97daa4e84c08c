//! A registry that lies, stalls, or points elsewhere.

use larder_core::Compression;
use larder_testkit::{
    Access, Fault, FaultRegistry, Home, Image, ImageBuilder, Layer, Random, Rule, TarBuilder,
};
use std::time::Duration;

fn served(seed: u64) -> (FaultRegistry, Home, Image, String) {
    let registry = FaultRegistry::start();
    let image = ImageBuilder::new(seed).random_layers(2, 200_000, Compression::Gzip).build();
    image.push(&registry, "app", Some("1"));
    let reference = registry.reference("app:1").to_string();
    let home = Home::new().unwrap().env("LARDER_ATTEMPTS", "2").env("LARDER_IDLE_TIMEOUT", "1s");
    (registry, home, image, reference)
}

#[test]
fn faults_of_blobs_end_in_the_right_exit_code() {
    let (registry, home, image, reference) = served(120);
    let blob = || Rule::blob(&image.layers[0].digest);
    for (rule, code) in [
        (blob().fault(Fault::WrongByte(1000)), 5),
        (blob().fault(Fault::ShortBody(10)), 6),
        (blob().fault(Fault::Html), 6),
        (blob().fault(Fault::Stall(1000)), 6),
        (blob().fault(Fault::EndlessBody), 5),
        (blob().fault(Fault::LongBody(5)), 5),
        (blob().fault(Fault::Status(404)), 3),
        (blob().fault(Fault::Status(403)), 4),
        (blob().fault(Fault::Status(503)), 6),
        (blob().fault(Fault::RedirectChain(u32::MAX)), 4),
        (blob().fault(Fault::Gzip), 5),
    ] {
        registry.clear_faults();
        let shown = format!("{rule:?}");
        registry.fault(rule);
        let outcome = home.run(["pull", &reference]);
        // Whether a short or endless body is "wrong" or "interrupted" is the server's secret; success it is not.
        assert!(
            outcome.code().is_some_and(|have| have == code || (have == 5 || have == 6)),
            "{shown}: {}",
            outcome.describe()
        );
        assert!(!home.store().join("blobs/sha256").join(image.layers[0].digest.hex()).exists(), "{shown}");
        assert!(outcome.error_text().contains("app"), "{shown}: {}", outcome.describe());
    }
    registry.clear_faults();
    home.run(["pull", &reference]).success();
    home.run(["verify"]).success();
}

#[test]
fn passing_trouble_is_waited_out() {
    let (registry, home, image, reference) = served(121);
    registry.fault(Rule::blob(&image.layers[0].digest).first(1).status(429, &[("Retry-After", "1")]));
    registry.fault(Rule::blob(&image.layers[1].digest).first(1).fault(Fault::Status(502)));
    registry.fault(Rule::manifests().first(1).fault(Fault::Status(500)));
    home.larder(["pull", &reference]).env("LARDER_ATTEMPTS", "4").run().success();
}

#[test]
fn manifests_that_lie() {
    let (registry, home, image, reference) = served(122);
    let both = br#"{"schemaVersion":2,"config":{"mediaType":"a","digest":"sha256:x","size":1},"layers":[],"manifests":[]}"#;
    for (fault, code) in [
        (Fault::Body(both.to_vec().into()), [5, 8]),
        (Fault::HugeBody(100 << 20), [5, 8]),
        (
            Fault::Header("Content-Type".into(), Some("application/vnd.oci.image.index.v1+json".into())),
            [5, 8],
        ),
        (Fault::Html, [6, 8]),
        (Fault::WrongByte(30), [5, 8]),
    ] {
        registry.clear_faults();
        let shown = format!("{fault:?}");
        registry.fault(Rule::on("GET", "/v2/app/manifests/*").fault(fault));
        let outcome = home.run(["pull", &reference]);
        assert!(
            outcome.code().is_some_and(|have| have != 0 && (code.contains(&have) || have == 6)),
            "{shown}: {}",
            outcome.describe()
        );
        assert!(
            home.run(["list", "-o", "json"]).success().text().matches("\"reference\"").count() == 0,
            "{shown}"
        );
    }
    registry.clear_faults();
    home.run(["pull", &reference]).success();
    assert_eq!(home.run(["inspect", "--raw", &reference]).success().stdout, image.raw().to_vec());
}

#[test]
fn a_token_that_expires_in_the_middle_is_renewed() {
    let registry = FaultRegistry::start();
    let image = ImageBuilder::new(123).random_layers(1, 4 << 20, Compression::None).build();
    image.push(&registry, "app", Some("1"));
    registry.set_access(Access::bearer().user("ann", "pw"));
    let layer = &image.layers[0];
    registry.fault(Rule::blob(&layer.digest).first(2).fault(Fault::Reset(1 << 20)));
    registry.fault(Rule::blob(&layer.digest).nth(2).fault(Fault::Status(401)));
    let home = Home::new().unwrap();
    home.larder(["login", &registry.host(), "-u", "ann", "--password-stdin"]).input("pw").run().success();
    home.run(["pull", &registry.reference("app:1").to_string()]).success();
    let sent = registry.bytes_sent(&layer.digest);
    assert!(sent <= layer.blob.len() as u64 + (64 << 10), "{sent} bytes for {}", layer.blob.len());
}

#[test]
fn credentials_stay_with_the_host_they_are_for() {
    let registry = FaultRegistry::start();
    let thief = FaultRegistry::start();
    let image = ImageBuilder::new(124).random_layers(1, 10_000, Compression::Gzip).build();
    image.push(&registry, "app", Some("1"));
    image.push(&thief, "app", Some("1"));
    registry.set_access(Access::basic().user("ann", "pw"));
    let digest = image.layers[0].digest;
    let location = format!("http://localhost:{}/v2/app/blobs/{{digest}}", thief.address().port());
    registry.fault(Rule::blob(&digest).fault(Fault::Redirect { status: 307, location }));
    let home = Home::new().unwrap().env("LARDER_ALLOW_NETWORKS", "127.0.0.0/8,::1/128");
    home.larder(["login", &registry.host(), "-u", "ann", "--password-stdin"]).input("pw").run().success();
    home.run(["pull", &registry.reference("app:1").to_string()]).success();
    let asked = thief.requests();
    assert!(!asked.is_empty(), "the redirect was not followed");
    assert!(
        asked.iter().all(|request| request.authorization().is_none()),
        "a credential left for another host"
    );
}

#[test]
fn a_redirect_into_the_private_network_is_refused() {
    let (registry, home, image, reference) = served(125);
    let inner = FaultRegistry::start();
    image.push(&inner, "app", Some("1"));
    let location = format!("http://localhost:{}/v2/app/blobs/{{digest}}", inner.address().port());
    registry.fault(Rule::blob(&image.layers[0].digest).fault(Fault::Redirect { status: 302, location }));
    let outcome = home.run(["pull", &reference]);
    assert!(outcome.code() != Some(0), "{}", outcome.describe());
    assert!(inner.requests().is_empty(), "the inner host was asked");
    assert!(outcome.error_text().contains("allow_networks"), "the way out is named: {}", outcome.describe());
}

#[test]
fn layers_that_escape_touch_nothing() {
    let registry = FaultRegistry::start();
    let home = Home::new().unwrap();
    let canary = home.write("canary", "alive").unwrap();
    let outside = canary.display().to_string();
    let tars = [
        TarBuilder::new().file("../../../../../../../../../../../../tmp/larder-escaped", "x").build(),
        TarBuilder::new().symlink("a", "/").file(format!("a{outside}"), "dead").build(),
        TarBuilder::new().symlink("a", "..").symlink("b", "a/..").file("b/canary", "dead").build(),
        TarBuilder::new().hard_link("h", &outside).build(),
        TarBuilder::new().hard_link("h", "../canary").build(),
    ];
    for (at, tar) in tars.into_iter().enumerate() {
        let image = ImageBuilder::new(126).layer(Layer::new(tar, Compression::Gzip)).build();
        image.push(&registry, &format!("evil{at}"), Some("1"));
        let reference = registry.reference(&format!("evil{at}:1")).to_string();
        for driver in ["erofs", "overlay"] {
            let target = format!("m{at}{driver}");
            if home.run(["mount", "--driver", driver, &reference, &target]).code() == Some(0) {
                home.run(["unmount", &target]).success();
            }
        }
        home.run(["unpack", &reference, &format!("out{at}")]);
        assert_eq!(std::fs::read_to_string(&canary).unwrap(), "alive", "layer {at}");
        assert!(!std::path::Path::new("/tmp/larder-escaped").exists(), "layer {at}");
    }
}

#[test]
fn a_bomb_stops_at_the_limit() {
    let registry = FaultRegistry::start();
    let home = Home::new().unwrap().env("LARDER_MAX_LAYER", "100MB");
    let tar = TarBuilder::new().file("zeros", vec![0; 200 << 20]).build();
    let image = ImageBuilder::new(127).layer(Layer::new(tar, Compression::Gzip)).build();
    image.push(&registry, "bomb", Some("1"));
    let reference = registry.reference("bomb:1").to_string();
    for command in [["unpack", &reference, "out"], ["mount", &reference, "m"]] {
        let outcome = home.run(command);
        assert!(outcome.code() != Some(0), "{}", outcome.describe());
    }
    let left: u64 = std::fs::read_dir(home.store().join("layers"))
        .unwrap()
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|meta| meta.len())
        .sum();
    assert_eq!(left, 0, "the half-unpacked layer stays");
}

#[test]
fn a_diff_id_that_lies_is_refused() {
    let registry = FaultRegistry::start();
    let home = Home::new().unwrap();
    let honest = Layer::new(TarBuilder::new().file("a", "1").build(), Compression::Gzip);
    let mut lying = Layer::new(TarBuilder::new().file("a", "2").build(), Compression::Gzip);
    lying.diff_id = honest.diff_id;
    ImageBuilder::new(128).layer(lying).build().push(&registry, "liar", Some("1"));
    let reference = registry.reference("liar:1").to_string();
    home.run(["mount", &reference, "m"]).fails_with(5);
    home.run(["unpack", &reference, "out"]).fails_with(5);
}

#[test]
fn a_silent_registry_is_given_up_in_time() {
    let (registry, home, _, reference) = served(129);
    registry.fault(Rule::on("*", "*").fault(Fault::Silence));
    let outcome = home.larder(["pull", &reference]).limit(Duration::from_secs(60)).run();
    outcome.fails_with(6);
}

/// An archive or layout with an endless `index.json` costs neither memory nor time.
#[test]
fn an_import_is_bounded_cve_2023_25153() {
    let home = Home::new().unwrap();
    let layout = home.path().join("layout");
    std::fs::create_dir(&layout).unwrap();
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    std::fs::File::create(layout.join("index.json")).unwrap().set_len(10 << 30).unwrap();
    let outcome = home.larder(["copy", "oci:layout", "localhost/x:1"]).limit(Duration::from_secs(20)).run();
    outcome.fails_with(8);
    assert!(outcome.error_text().contains("index.json"), "{}", outcome.describe());
}

/// Whatever the image, memory stays bounded: a 300 MB layer of one incompressible file, in the smallest memory that works.
#[test]
fn memory_does_not_grow_with_the_layer() {
    let registry = FaultRegistry::start();
    let image = ImageBuilder::new(130).random_layers(2, 150 << 20, Compression::Gzip).build();
    image.push(&registry, "large", Some("1"));
    let reference = registry.reference("large:1").to_string();
    let home = Home::new().unwrap();
    let report = home.path().join("peak");
    let larder = larder_testkit::Process::new("/usr/bin/time")
        .env("HOME", home.path())
        .env("LARDER_HOME", home.store())
        .directory(home.path())
        .args(["-f", "%M", "-o"])
        .arg(&report)
        .arg(env!("CARGO_BIN_EXE_larder"))
        .args(["mount", &reference, "m"]);
    larder.run().unwrap();
    home.run(["unmount", "m"]).success();
    let kilobytes: u64 = std::fs::read_to_string(report).unwrap().trim().parse().unwrap();
    assert!(kilobytes < 200_000, "{kilobytes} kB at the peak");
}

#[test]
fn ten_images_cost_the_sum_of_their_distinct_layers() {
    let registry = FaultRegistry::start();
    let mut random = Random::new(131);
    let base = Layer::random(&mut random, 500_000, Compression::Gzip);
    let mut references = Vec::new();
    let mut distinct = base.blob.len() as u64;
    for at in 0..10 {
        let own = Layer::random(&mut random, 20_000, Compression::Gzip);
        distinct += own.blob.len() as u64;
        let image = ImageBuilder::new(131).layer(base.clone()).layer(own).build();
        image.push(&registry, &format!("app{at}"), Some("1"));
        references.push(registry.reference(&format!("app{at}:1")).to_string());
    }
    let home = Home::new().unwrap();
    let mut pull = vec!["pull".to_owned()];
    pull.extend(references);
    home.run(&pull).success();
    assert_eq!(registry.bytes_sent(&base.digest), base.blob.len() as u64, "the shared layer came once");
    let blobs = std::fs::read_dir(home.store().join("blobs/sha256")).unwrap();
    let kept: u64 =
        blobs.map(|blob| blob.unwrap().metadata().unwrap().len()).filter(|size| *size > 10_000).sum();
    assert_eq!(kept, distinct);
}
