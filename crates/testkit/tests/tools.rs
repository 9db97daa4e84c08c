//! The tools of the distribution against what this crate builds and serves.

use anyhow::Result;
use larder_core::{Compression, MediaType};
use larder_testkit::tools::{Buildah, Skopeo, SkopeoCopy, Umoci, buildah_image, tool, umoci_image};
use larder_testkit::{
    Access, DockerRegistry, Family, Fault, FaultRegistry, Flaw, Ignore, Image, ImageBuilder, IndexBuilder,
    Layer, ListedKind, Listing, Member, RawRequest, Rule, TarBuilder, referrers_tag, signature_tag,
};
use std::path::Path;

fn docker(host: &str, image: &str) -> String {
    format!("docker://{host}/{image}")
}

#[test]
fn skopeo_copies_from_and_to_the_fault_registry() -> Result<()> {
    let registry = FaultRegistry::start();
    let skopeo = Skopeo::new()?;
    let dir = tempfile::tempdir()?;
    for (family, compression) in [(Family::Oci, Compression::Zstd), (Family::Docker, Compression::Gzip)] {
        let image = ImageBuilder::new(1).family(family).random_layers(3, 200_000, compression).build();
        image.push(&registry, "from/app", Some("1"));
        let copy = SkopeoCopy { preserve_digests: true, ..SkopeoCopy::default() };
        let layout = format!("dir:{}", dir.path().join(format!("{family:?}")).display());
        skopeo.copy(&docker(&registry.host(), "from/app:1"), &layout, &copy)?;
        skopeo.copy(&layout, &docker(&registry.host(), "to/app:1"), &copy)?;
        let (media_type, raw) = registry.manifest("to/app", "1").expect("it was pushed");
        assert_eq!((&media_type, &raw), (&image.descriptor.media_type, image.raw()));
        for (descriptor, content) in &image.blobs {
            assert_eq!(registry.blob("to/app", &descriptor.digest).as_ref(), Some(content));
        }
    }
    let inspected = skopeo.inspect(&docker(&registry.host(), "from/app:1"))?;
    assert_eq!(inspected["Layers"].as_array().map(Vec::len), Some(3));
    Ok(())
}

#[test]
fn skopeo_authenticates_and_copies_indexes() -> Result<()> {
    let registry = FaultRegistry::start();
    let index = IndexBuilder::multi_platform(3, &["linux/amd64", "linux/arm64"], 2, 10_000).build();
    index.push(&registry, "team/app", Some("1"));
    registry.set_access(Access::bearer().user("dev", "secret"));
    let skopeo = Skopeo::new()?;
    let source = docker(&registry.host(), "team/app:1");
    let dir = tempfile::tempdir()?;
    let layout = format!("oci:{}:x", dir.path().display());
    let error = skopeo.copy(&source, &layout, &SkopeoCopy::default()).unwrap_err().to_string();
    assert!(error.contains("authentication required") || error.contains("unauthorized"), "{error}");
    let credentials = Some("dev:secret".to_owned());
    let copy = SkopeoCopy { all: true, source_credentials: credentials.clone(), ..SkopeoCopy::default() };
    skopeo.copy(&source, &layout, &copy)?;
    assert_eq!(skopeo.raw_manifest(&layout)?, index.raw()[..]);
    let back = SkopeoCopy { all: true, destination_credentials: credentials, ..SkopeoCopy::default() };
    skopeo.copy(&layout, &docker(&registry.host(), "team/copy:1"), &back)?;
    assert_eq!(registry.manifest("team/copy", "1").expect("pushed").1, *index.raw());
    Ok(())
}

#[test]
fn skopeo_notices_wrong_bytes() -> Result<()> {
    let registry = FaultRegistry::start();
    let image = ImageBuilder::new(1).random_layers(1, 100_000, Compression::Gzip).build();
    image.push(&registry, "app", Some("1"));
    let hits = registry.fault(Rule::blob(&image.layers[0].digest).fault(Fault::WrongByte(50_000)));
    let dir = tempfile::tempdir()?;
    let layout = format!("dir:{}", dir.path().join("x").display());
    let source = docker(&registry.host(), "app:1");
    assert!(Skopeo::new()?.copy(&source, &layout, &SkopeoCopy::default()).is_err());
    assert!(hits.count() > 0);
    Ok(())
}

#[test]
fn docker_registry_plain_with_any_content() -> Result<()> {
    let registry = DockerRegistry::start()?;
    let image = ImageBuilder::new(1).random_layers(2, 300_000, Compression::Gzip).build();
    registry.push(&image, "library/app", Some("1"))?;
    let skopeo = Skopeo::new()?;
    assert_eq!(skopeo.raw_manifest(&docker(&registry.host(), "library/app:1"))?, image.raw()[..]);
    let layer = &image.layers[0];
    assert_eq!(std::fs::read(registry.blob_file(&layer.digest))?, layer.blob);
    let index = IndexBuilder::multi_platform(7, &["linux/amd64", "linux/arm64"], 1, 1000).build();
    registry.push(&index, "library/app", Some("all"))?;
    let url = format!("{}/v2/library/app/blobs/{}", registry.url(), layer.digest);
    let part = RawRequest::get(&url).header("Range", "bytes=10-19").send();
    assert_eq!((part.status, &part.body[..]), (206, &layer.blob[10..20]));
    assert_eq!(registry.requests("GET", &layer.digest.to_string()), 1);
    Ok(())
}

#[test]
fn docker_registry_dies_with_its_handle() -> Result<()> {
    let registry = DockerRegistry::start()?;
    let (entry, storage) = (format!("/proc/{}", registry.id()), registry.storage());
    assert!(Path::new(&entry).exists());
    drop(registry);
    assert!(!Path::new(&entry).exists() && !storage.exists());
    Ok(())
}

#[test]
fn docker_registry_with_tls_and_password() -> Result<()> {
    let registry = DockerRegistry::with().user("dev", "s3cret").tls().start()?;
    let image = ImageBuilder::new(2).random_layers(1, 1000, Compression::Gzip).build();
    registry.push(&image, "app", Some("1"))?;
    let authority = registry.certs_d().join(registry.host()).join("ca.crt");
    let curl = |args: &[&str]| {
        tool("curl")?
            .args(["-sS", "-o", "/dev/null", "-w", "%{http_code}"])
            .args(args)
            .arg(registry.url() + "/v2/")
            .outcome()
    };
    let trusted = ["--cacert", &authority.display().to_string()];
    assert_eq!(curl(&trusted)?.success().text(), "401");
    assert_eq!(curl(&[&trusted[..], &["-u", "dev:s3cret"]].concat())?.success().text(), "200");
    curl(&[])?.fails_with(60);
    let skopeo = Skopeo::new()?;
    let certs = registry.certs_d().join(registry.host()).display().to_string();
    let inspected = skopeo
        .command()?
        .args(["inspect", "--raw", "--cert-dir", &certs, "--creds", "dev:s3cret"])
        .arg(docker(&registry.host(), "app:1"))
        .run()?;
    assert_eq!(inspected.stdout, image.raw()[..]);

    for flaw in [Flaw::Expired, Flaw::WrongHost, Flaw::SelfSigned] {
        let registry = DockerRegistry::with().tls_with(flaw).start()?;
        let authority = registry.certs_d().join(registry.host()).join("ca.crt");
        let refused =
            tool("curl")?.args(["-sS", "--cacert"]).arg(authority).arg(registry.url() + "/v2/").outcome()?;
        assert_eq!(refused.code(), Some(60), "{flaw:?}: {}", refused.describe());
    }
    Ok(())
}

#[test]
fn docker_registry_as_mirror() -> Result<()> {
    let upstream = FaultRegistry::start();
    let image = ImageBuilder::new(2).random_layers(1, 100_000, Compression::Gzip).build();
    image.push(&upstream, "library/app", Some("1"));
    let mirror = DockerRegistry::with().mirror_of(&upstream.url("")).start()?;
    let skopeo = Skopeo::new()?;
    let dir = tempfile::tempdir()?;
    let pull = |name: &str| {
        let destination = format!("dir:{}", dir.path().join(name).display());
        skopeo.copy(&docker(&mirror.host(), "library/app:1"), &destination, &SkopeoCopy::default())
    };
    pull("first")?;
    let layer = image.layers[0].digest;
    assert!(upstream.bytes_sent(&layer) > 0);
    larder_testkit::eventually("the mirror keeps the layer", std::time::Duration::from_secs(10), || {
        mirror.blob_file(&layer).is_file().then_some(())
    });
    upstream.clear_log();
    pull("second")?;
    assert_eq!(upstream.bytes_sent(&layer), 0);
    Ok(())
}

#[test]
fn layouts_are_read_by_skopeo_and_umoci() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let layout = dir.path().join("layout");
    let index = IndexBuilder::multi_platform(1, &["linux/amd64", "linux/arm64"], 1, 1000).build();
    index.write_layout(&layout, Some("all"))?;
    let image =
        ImageBuilder::new(9).tar(TarBuilder::new().file("hello", "world").build(), Compression::Gzip).build();
    image.write_layout(&layout, Some("one"))?;
    image.write_layout(&layout, Some("one"))?;
    let skopeo = Skopeo::new()?;
    assert_eq!(skopeo.raw_manifest(&format!("oci:{}:all", layout.display()))?, index.raw()[..]);
    let umoci = Umoci::open(&layout)?;
    assert_eq!(umoci.tags()?, ["all", "one"]);
    let rootfs = umoci.unpack("one", &dir.path().join("bundle"))?;
    assert_eq!(std::fs::read(rootfs.join("hello"))?, b"world");
    Ok(())
}

#[test]
fn tars_mean_what_tar_and_umoci_say() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let long = format!("d/{}", "n".repeat(200));
    let lower = TarBuilder::new()
        .directory("d/")
        .member(
            &Member::file("d/f", "content")
                .mode(0o4755)
                .owner(1000, 3_000_000)
                .mtime(1_600_000_000, 123_456_789),
        )
        .hard_link("d/h", "d/f")
        .symlink("s", "d/f")
        .char_device("null", 1, 3)
        .fifo("p")
        .file(&long, "long")
        .member(&Member::file("d/x", "").xattr("user.note", "hello\0there"))
        .sparse("holes", 1 << 20, &[(4096, b"data"), (1 << 19, b"more")])
        .file("gone", "")
        .directory("o/")
        .file("o/old", "")
        .build();
    let upper = TarBuilder::new().whiteout("gone").opaque("o").file("o/new", "").build();

    let extracted = dir.path().join("tar");
    std::fs::create_dir(&extracted)?;
    tool("tar")?
        .args(["-x", "--xattrs", "--xattrs-include=*", "-C"])
        .arg(&extracted)
        .input(lower.clone())
        .run()?;
    let listing = Listing::of(&extracted)?;
    let file = listing.get("d/f").expect("it is there");
    assert_eq!(
        (file.mode, file.uid, file.gid, file.mtime),
        (0o4755, 1000, 3_000_000, (1_600_000_000, 123_456_789))
    );
    assert_eq!(listing.get("d/h").expect("it is there").same_as.as_deref(), Some(Path::new("d/f")));
    assert_eq!(listing.get("null").expect("it is there").kind, ListedKind::CharDevice(1, 3));
    assert_eq!(listing.get("p").expect("it is there").kind, ListedKind::Fifo);
    assert_eq!(listing.get("d/x").expect("it is there").xattrs[&b"user.note"[..]], b"hello\0there");
    assert!(listing.get(&long).is_some());
    let holes = std::fs::read(extracted.join("holes"))?;
    assert_eq!(
        (holes.len(), &holes[4096..4100], &holes[1 << 19..(1 << 19) + 4]),
        (1 << 20, &b"data"[..], &b"more"[..])
    );

    let image = ImageBuilder::new(1).tar(lower, Compression::Gzip).tar(upper, Compression::None).build();
    image.write_layout(&dir.path().join("layout"), Some("x"))?;
    let rootfs = Umoci::open(&dir.path().join("layout"))?.unpack("x", &dir.path().join("bundle"))?;
    let unpacked = Listing::of(&rootfs)?;
    assert!(
        unpacked.get("gone").is_none() && unpacked.get("o/old").is_none() && unpacked.get("o/new").is_some()
    );
    for path in ["d", "d/f", "d/h", "s", "null", "p", "d/x", &long] {
        assert_eq!(unpacked.get(path).map(|l| &l.kind), listing.get(path).map(|l| &l.kind), "{path}");
    }
    Ok(())
}

#[test]
fn umoci_makes_layers_with_whiteouts() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let layout = dir.path().join("layout");
    umoci_image(
        &layout,
        "1",
        &mut [
            &mut |root| {
                std::fs::create_dir(root.join("etc"))?;
                std::fs::write(root.join("etc/old"), "1")?;
                Ok(std::fs::write(root.join("etc/kept"), "1")?)
            },
            &mut |root| {
                std::fs::remove_file(root.join("etc/old"))?;
                Ok(std::fs::write(root.join("etc/new"), "2")?)
            },
        ],
    )?;
    let umoci = Umoci::open(&layout)?;
    let rootfs = umoci.unpack("1", &dir.path().join("bundle"))?;
    assert_eq!(Listing::of(&rootfs)?.paths(), ["etc", "etc/kept", "etc/new"]);
    umoci.config("1", &["--config.env", "A=b"])?;
    let skopeo = Skopeo::new()?;
    let config: serde_json::Value =
        serde_json::from_slice(&skopeo.raw_config(&format!("oci:{}:1", layout.display()))?)?;
    assert_eq!(config["rootfs"]["diff_ids"].as_array().map(Vec::len), Some(2));
    assert!(config["config"]["Env"].to_string().contains("A=b"));
    Ok(())
}

#[test]
fn skopeo_converts_families_and_compressions() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let layout = |name: &str| format!("oci:{}:x", dir.path().join(name).display());
    let tree = Layer::tree(&mut larder_testkit::Random::new(1), 50, 100_000, Compression::Gzip);
    let image = ImageBuilder::new(1).layer(tree).build();
    image.write_layout(&dir.path().join("start"), Some("x"))?;
    let skopeo = Skopeo::new()?;
    let layer_type = |name: &str| -> Result<String> {
        let manifest: serde_json::Value = serde_json::from_slice(&skopeo.raw_manifest(&layout(name))?)?;
        Ok(manifest["layers"][0]["mediaType"].as_str().unwrap_or_default().to_owned())
    };
    for (compression, expected) in [
        (Compression::Zstd, MediaType::OCI_LAYER_ZSTD),
        (Compression::None, MediaType::OCI_LAYER),
        (Compression::Gzip, MediaType::OCI_LAYER_GZIP),
    ] {
        let copy = SkopeoCopy { compression: Some(compression), ..SkopeoCopy::default() };
        let name = compression.as_str();
        skopeo.copy(&layout("start"), &layout(name), &copy)?;
        assert_eq!(layer_type(name)?, expected.as_str());
    }
    let registry = FaultRegistry::start();
    let copy = SkopeoCopy { family: Some(Family::Docker), ..SkopeoCopy::default() };
    skopeo.copy(&layout("start"), &docker(&registry.host(), "app:1"), &copy)?;
    assert_eq!(registry.manifest("app", "1").expect("pushed").0, MediaType::DOCKER_MANIFEST);
    Ok(())
}

#[test]
fn buildah_builds() -> Result<()> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("hello"), "world")?;
    let containerfile =
        "FROM scratch\nCOPY hello /etc/hello\nCOPY hello /etc/again\nENV A=b\nCMD [\"/etc/hello\"]\n";
    let layout = dir.path().join("layout");
    buildah_image(&layout, "1", containerfile, dir.path())?;
    let rootfs = Umoci::open(&layout)?.unpack("1", &dir.path().join("bundle"))?;
    let listing = Listing::of(&rootfs)?;
    assert_eq!(listing.paths(), ["etc", "etc/again", "etc/hello"]);
    listing.assert_same(&listing.clone(), Ignore::default());

    let registry = FaultRegistry::start();
    let buildah = Buildah::new()?;
    buildah.build("localhost/x:1", containerfile, dir.path(), Family::Docker)?;
    buildah.push("localhost/x:1", &docker(&registry.host(), "x:1"))?;
    assert_eq!(registry.manifest("x", "1").expect("pushed").0, MediaType::DOCKER_MANIFEST);
    Ok(())
}

#[test]
fn attachments_have_their_places() -> Result<()> {
    let registry = FaultRegistry::start();
    let image = ImageBuilder::new(1).random_layers(1, 100, Compression::Gzip).build();
    image.push(&registry, "app", Some("1"));
    Image::referrer(&image.descriptor, "application/x.sbom", "sbom").push(&registry, "app", None);
    let signature = Image::cosign_signature(&image.descriptor, "c2ln");
    signature.push(&registry, "app", Some(&signature_tag(&image.digest())));
    let url = registry.url(&format!("/v2/app/referrers/{}", image.digest()));
    let list: serde_json::Value = serde_json::from_slice(&RawRequest::get(&url).send().body)?;
    assert_eq!(list["manifests"].as_array().map(Vec::len), Some(1));
    assert_eq!(registry.tags("app"), ["1", &format!("{}.sig", referrers_tag(&image.digest()))]);
    let fallback = IndexBuilder::new(Family::Oci).child(signature.descriptor).build();
    fallback.push(&registry, "app", Some(&referrers_tag(&image.digest())));
    assert_eq!(registry.tags("app").len(), 3);
    Ok(())
}
