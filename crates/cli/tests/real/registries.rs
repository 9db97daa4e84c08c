//! Debian's registry: open, with passwords, with a private authority, as a mirror.

use super::{image, world};
use larder_core::Compression;
use larder_testkit::{DockerRegistry, Family, Home, ImageBuilder, IndexBuilder, Layer, Random};

#[test]
fn a_pull_is_whole_and_the_next_one_has_nothing_to_do() {
    let (registry, home, image, reference) = world(1);
    let report = home.run(["pull", "-o", "json", &reference]).success().json().unwrap();
    let pulled = &report["images"][0]["pulled"];
    assert_eq!(pulled["digest"], image.digest().to_string());
    assert_eq!(pulled["downloaded"], image.size());
    let before = registry.requests("GET", "/blobs/");
    let report = home.run(["pull", "-o", "json", &reference]).success().json().unwrap();
    assert_eq!(report["images"][0]["pulled"]["up_to_date"], true);
    assert_eq!(registry.requests("GET", "/blobs/"), before);
    home.run(["verify"]).success();
}

#[test]
fn one_failure_does_not_stop_the_rest_and_is_named() {
    let (registry, home, _, reference) = world(2);
    let missing = registry.reference("team/none:1").to_string();
    let list = home.write("images.txt", format!("# ours\n{reference}\n\n{missing}\n")).unwrap();
    let outcome = home.run(["pull", "--from-file", &list.display().to_string()]);
    outcome.fails_with(3);
    assert!(outcome.error_text().contains("team/none:1"), "{}", outcome.describe());
    assert!(home.run(["list"]).success().text().contains("team/app:1"));
}

#[test]
fn passwords_are_asked_for_kept_and_forgotten() {
    let registry = DockerRegistry::with().user("ann", "s3cret pass:word").start().unwrap();
    let image = image(3);
    registry.push(&image, "private/app", Some("1")).unwrap();
    let reference = registry.reference("private/app:1").to_string();
    let home = Home::new().unwrap();
    let denied = home.run(["pull", &reference]);
    denied.fails_with(4);
    assert!(denied.error_text().contains("larder login"), "{}", denied.describe());
    let wrong =
        home.larder(["login", &registry.host(), "-u", "ann", "--password-stdin"]).input("wrong").run();
    wrong.fails_with(4);
    home.larder(["login", &registry.host(), "-u", "ann", "--password-stdin"])
        .input("s3cret pass:word")
        .run()
        .success();
    let pulled = home.run(["pull", &reference]);
    pulled.success();
    for text in [pulled.text(), pulled.error_text()] {
        assert!(!text.contains("s3cret"), "{text}");
    }
    home.run(["logout", &registry.host()]).success();
    home.run(["remove", &reference]).success();
    home.run(["gc"]).success();
    home.run(["pull", &reference]).fails_with(4);
}

#[test]
fn a_private_authority_is_trusted_by_certs_d_only() {
    let registry = DockerRegistry::with().tls().start().unwrap();
    registry.push(&image(4), "app", Some("1")).unwrap();
    let reference = registry.reference("app:1").to_string();
    let home = Home::new().unwrap();
    let refused = home.run(["pull", &reference]);
    assert!(refused.code() != Some(0), "an unknown authority was trusted");
    home.larder(["pull", &reference]).env("LARDER_CERTS_DIR", registry.certs_d()).run().success();
}

#[test]
fn mirrors_come_first_and_failover_works() {
    let upstream = DockerRegistry::start().unwrap();
    let image = image(5);
    upstream.push(&image, "team/app", Some("1")).unwrap();
    let mirror = DockerRegistry::with().mirror_of(&upstream.url()).start().unwrap();
    let home = Home::new().unwrap();
    let hosts = format!(
        "server = \"{}\"\n[host.\"http://127.0.0.1:1\"]\n  dial_timeout = \"1s\"\n[host.\"{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
        upstream.url(),
        mirror.url()
    );
    let certs = home.write(&format!("certs.d/{}/hosts.toml", upstream.host()), hosts).unwrap();
    let certs = certs.parent().unwrap().parent().unwrap().to_owned();
    let reference = upstream.reference("team/app:1").to_string();
    home.larder(["pull", &reference]).env("LARDER_CERTS_DIR", &certs).run().success();
    assert!(mirror.requests("GET", "/blobs/") >= 3, "the mirror was not asked");
    drop(mirror);
    home.run(["remove", &reference]).success();
    home.run(["gc"]).success();
    home.larder(["pull", &reference]).env("LARDER_CERTS_DIR", &certs).run().success();
}

#[test]
fn every_packing_of_both_families() {
    let registry = DockerRegistry::start().unwrap();
    let home = Home::new().unwrap();
    for family in [Family::Oci, Family::Docker] {
        for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
            if family == Family::Docker && compression == Compression::Zstd {
                continue;
            }
            let name = format!("{family:?}-{}", compression.as_str()).to_lowercase();
            let mut random = Random::new(6);
            let image = ImageBuilder::new(6)
                .family(family)
                .layer(Layer::tree(&mut random, 10, 50_000, compression))
                .build();
            registry.push(&image, &name, Some("1")).unwrap();
            let reference = registry.reference(&format!("{name}:1")).to_string();
            home.run(["unpack", &reference, &format!("out-{name}")]).success();
            assert!(home.path().join(format!("out-{name}/usr/share")).is_dir(), "{name}");
        }
    }
}

#[test]
fn sixty_layers() {
    let registry = DockerRegistry::start().unwrap();
    let home = Home::new().unwrap();
    let mut builder = ImageBuilder::new(7);
    let mut random = Random::new(7);
    for _ in 0..60 {
        builder = builder.layer(Layer::tree(&mut random, 3, 2_000, Compression::Gzip));
    }
    registry.push(&builder.build(), "many", Some("1")).unwrap();
    let reference = registry.reference("many:1").to_string();
    for driver in ["erofs", "overlay"] {
        home.run(["mount", "--driver", driver, &reference, driver]).success();
        home.run(["unmount", driver]).success();
    }
}

#[test]
fn a_platform_subset_keeps_the_index_and_its_digest() {
    let registry = DockerRegistry::start().unwrap();
    let index =
        IndexBuilder::multi_platform(8, &["linux/amd64", "linux/arm64", "linux/arm/v7"], 2, 50_000).build();
    registry.push(&index, "multi", Some("1")).unwrap();
    let reference = registry.reference("multi:1").to_string();
    let home = Home::new().unwrap();
    let report =
        home.run(["pull", "-o", "json", "--platform", "linux/arm64", &reference]).success().json().unwrap();
    let pulled = &report["images"][0]["pulled"];
    assert_eq!(pulled["digest"], index.digest().to_string());
    assert_eq!(pulled["platforms"].as_array().unwrap().len(), 1);
    let by_digest = registry.reference(&format!("multi@{}", index.digest())).to_string();
    home.run(["inspect", "--platform", "linux/arm64", &by_digest]).success();
    home.run(["inspect", "--platform", "linux/arm/v7", &by_digest]).fails_with(3);
    let unknown = home.run(["pull", "--platform", "linux/s390x", &reference]);
    unknown.fails_with(3);
    assert!(unknown.error_text().contains("linux/arm/v7"), "{}", unknown.describe());
    home.run(["pull", "--all-platforms", &reference]).success();
    home.run(["inspect", "--platform", "linux/arm/v7", &by_digest]).success();
}

#[test]
fn an_image_of_another_platform_is_refused_also_when_it_is_here() {
    let registry = DockerRegistry::start().unwrap();
    let image =
        ImageBuilder::new(10).platform("linux/arm64").random_layers(2, 20_000, Compression::Gzip).build();
    registry.push(&image, "other", Some("1")).unwrap();
    let reference = registry.reference("other:1").to_string();
    let home = Home::new().unwrap();
    let refused = |verb: &[&str]| {
        let outcome = home.run(verb.iter().chain(&[reference.as_str()]));
        outcome.fails_with(3);
        assert!(outcome.error_text().contains("it offers linux/arm64"), "{}", outcome.describe());
    };
    refused(&["pull", "--platform", "linux/amd64"]);
    refused(&["pull", "--dry-run", "--platform", "linux/amd64"]);
    assert_eq!(home.run(["list", "--quiet"]).success().text(), "");
    home.run(["pull", "--platform", "linux/arm64", &reference]).success();
    refused(&["pull", "--platform", "linux/amd64"]);
    refused(&["pull", "--dry-run", "--platform", "linux/s390x,linux/amd64"]);
    home.run(["pull", "--platform", "linux/amd64,linux/arm64", &reference]).success();
}

#[test]
fn a_dry_run_downloads_nothing() {
    let (registry, home, image, reference) = world(9);
    let report = home.run(["pull", "-o", "json", "--dry-run", &reference]).success().json().unwrap();
    assert_eq!(report["images"][0]["pulled"]["missing"], image.blobs.len());
    let layers = registry.requests("GET", &image.layers[0].digest.to_string());
    assert_eq!(layers, 0, "a layer was downloaded");
    assert!(!home.run(["list"]).success().text().contains("team/app"));
}
