//! skopeo and umoci, as Debian has them.

use larder_core::Compression;
use larder_testkit::tools::{Skopeo, SkopeoCopy, Umoci, umoci_image};
use larder_testkit::{
    DockerRegistry, Family, Home, Image, ImageBuilder, IndexBuilder, Layer, Process, Random, Serve,
    eventually, tools,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

fn server() -> (Home, Serve) {
    let home = Home::new().unwrap();
    let server = home.serve(["--offline"]).unwrap();
    (home, server)
}

fn image(seed: u64, family: Family, compression: Compression) -> Image {
    let mut random = Random::new(seed);
    ImageBuilder::new(seed)
        .family(family)
        .layer(Layer::tree(&mut random, 20, 200_000, compression))
        .layer(Layer::tree(&mut random, 5, 10_000, compression))
        .build()
}

/// The blobs of a layout, by name.
fn blobs(layout: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = std::fs::read_dir(layout.join("blobs/sha256")).unwrap();
    let read = |file: std::fs::DirEntry| {
        let name = file.file_name().into_string().unwrap();
        (name, std::fs::read(file.path()).unwrap())
    };
    files.map(|file| read(file.unwrap())).collect()
}

#[test]
fn skopeo_copies_in_and_out_and_not_a_byte_changes() {
    let (home, server) = server();
    let skopeo = Skopeo::new().unwrap();
    let options = SkopeoCopy { preserve_digests: true, ..SkopeoCopy::default() };
    for compression in [Compression::Gzip, Compression::Zstd, Compression::None] {
        let name = compression.as_str();
        let image = image(100, Family::Oci, compression);
        let (from, to) = (home.path().join(format!("in-{name}")), home.path().join(format!("out-{name}")));
        image.write_layout(&from, Some("1")).unwrap();
        let there = format!("docker://{}", server.reference(&format!("skopeo/{name}:1")));
        skopeo.copy(&format!("oci:{}:1", from.display()), &there, &options).unwrap();
        assert_eq!(skopeo.inspect(&there).unwrap()["Digest"], image.digest().to_string());
        assert_eq!(skopeo.raw_manifest(&there).unwrap(), image.raw().to_vec());
        skopeo.copy(&there, &format!("oci:{}:1", to.display()), &options).unwrap();
        assert!(blobs(&from) == blobs(&to), "{name}: what came out is not what went in");
    }
}

#[test]
fn skopeo_converts_to_the_manifests_of_docker() {
    let (home, server) = server();
    let skopeo = Skopeo::new().unwrap();
    let layout = home.path().join("in");
    image(105, Family::Oci, Compression::Gzip).write_layout(&layout, Some("1")).unwrap();
    let there = format!("docker://{}", server.reference("skopeo/docker:1"));
    let converted = SkopeoCopy { family: Some(Family::Docker), ..SkopeoCopy::default() };
    skopeo.copy(&format!("oci:{}:1", layout.display()), &there, &converted).unwrap();
    let raw = skopeo.raw_manifest(&there).unwrap();
    assert!(String::from_utf8_lossy(&raw).contains("vnd.docker.distribution.manifest.v2+json"));
    let directory = home.path().join("out");
    let as_it_is = SkopeoCopy { preserve_digests: true, ..SkopeoCopy::default() };
    skopeo.copy(&there, &format!("dir:{}", directory.display()), &as_it_is).unwrap();
    assert_eq!(std::fs::read(directory.join("manifest.json")).unwrap(), raw);
}

#[test]
fn skopeo_copies_indexes_with_all_their_platforms() {
    let (home, server) = server();
    let skopeo = Skopeo::new().unwrap();
    let index =
        IndexBuilder::multi_platform(7, &["linux/amd64", "linux/arm64", "linux/arm/v7"], 2, 50_000).build();
    let (from, to) = (home.path().join("in"), home.path().join("out"));
    index.write_layout(&from, Some("all")).unwrap();
    let all = SkopeoCopy { all: true, preserve_digests: true, ..SkopeoCopy::default() };
    let there = format!("docker://{}", server.reference("skopeo/multi:1"));
    skopeo.copy(&format!("oci:{}:all", from.display()), &there, &all).unwrap();
    skopeo.copy(&there, &format!("oci:{}:all", to.display()), &all).unwrap();
    assert!(blobs(&from) == blobs(&to), "what came out is not what went in");
    // Within the registry it is a mount of every blob.
    let elsewhere = format!("docker://{}", server.reference("skopeo/copy:1"));
    skopeo.copy(&there, &elsewhere, &all).unwrap();
    assert_eq!(skopeo.raw_manifest(&elsewhere).unwrap(), index.raw().to_vec());
}

#[test]
fn skopeo_lists_inspects_and_deletes() {
    let (home, server) = server();
    let skopeo = Skopeo::new().unwrap();
    let image = image(110, Family::Oci, Compression::Gzip);
    let layout = home.path().join("in");
    image.write_layout(&layout, Some("1")).unwrap();
    let from = format!("oci:{}:1", layout.display());
    for tag in ["2", "10", "v1", "Beta"] {
        let to = format!("docker://{}", server.reference(&format!("skopeo/app:{tag}")));
        skopeo.copy(&from, &to, &SkopeoCopy::default()).unwrap();
    }
    let repository = format!("docker://{}/skopeo/app", server.host());
    let listed =
        skopeo.command().unwrap().args(["list-tags", "--tls-verify=false", &repository]).run().unwrap();
    assert_eq!(listed.json().unwrap()["Tags"], serde_json::json!(["10", "2", "Beta", "v1"]));
    let one = format!("{repository}:Beta");
    assert_eq!(skopeo.inspect(&one).unwrap()["RepoTags"].as_array().unwrap().len(), 4);
    assert!(!skopeo.raw_config(&one).unwrap().is_empty());
    // skopeo deletes the manifest, and so every tag of it.
    skopeo.command().unwrap().args(["delete", "--tls-verify=false", &one]).run().unwrap();
    skopeo.inspect(&one).unwrap_err();
    skopeo.inspect(&format!("{repository}:2")).unwrap_err();
}

#[test]
fn skopeo_syncs_from_another_registry() {
    let (_home, server) = server();
    let upstream = DockerRegistry::start().unwrap();
    let images: Vec<Image> = (0..3).map(|at| image(120 + at, Family::Docker, Compression::Gzip)).collect();
    for (at, image) in images.iter().enumerate() {
        upstream.push(image, "team/app", Some(&at.to_string())).unwrap();
    }
    let skopeo = Skopeo::new().unwrap();
    let from = format!("{}/team/app", upstream.host());
    let sync = skopeo.command().unwrap().args([
        "sync",
        "--src",
        "docker",
        "--dest",
        "docker",
        "--src-tls-verify=false",
    ]);
    sync.args(["--dest-tls-verify=false", &from, &format!("{}/synced", server.host())]).run().unwrap();
    for (at, image) in images.iter().enumerate() {
        let there = format!("docker://{}", server.reference(&format!("synced/app:{at}")));
        assert_eq!(skopeo.raw_manifest(&there).unwrap(), image.raw().to_vec());
    }
}

#[test]
fn skopeo_reaches_an_upstream_through_a_mirror_of_its_configuration() {
    let upstream = DockerRegistry::start().unwrap();
    let index = IndexBuilder::multi_platform(9, &["linux/amd64", "linux/arm64"], 1, 50_000).build();
    upstream.push(&index, "team/app", Some("1")).unwrap();
    let home = Home::new().unwrap();
    let server = home.serve(["--upstream", &format!("registry.test={}", upstream.url())]).unwrap();
    let skopeo = Skopeo::new().unwrap();
    let mirror = format!(
        "[[registry]]\nlocation = \"registry.test\"\n[[registry.mirror]]\nlocation = \"{}/registry.test\"\ninsecure = true\n",
        server.host()
    );
    std::fs::write(skopeo.home().join("registries.conf"), mirror).unwrap();
    let all = SkopeoCopy { all: true, preserve_digests: true, ..SkopeoCopy::default() };
    let pull = |name: &str| {
        let to = home.path().join(name);
        skopeo.copy("docker://registry.test/team/app:1", &format!("oci:{}:1", to.display()), &all).unwrap();
        blobs(&to)
    };
    let first = pull("first");
    let asked = upstream.requests("GET", "/blobs/");
    assert_eq!(asked, index.blobs.len(), "each blob is fetched once");
    assert!(first.contains_key(&index.digest().hex()));
    assert!(pull("second") == first);
    assert_eq!(upstream.requests("GET", "/blobs/"), asked);
}

#[test]
fn skopeo_logs_in_and_strangers_do_not_write() {
    let home = Home::new().unwrap();
    let line =
        tools::tool("htpasswd").unwrap().args(["-nbB", "-C", "5", "ann", "s3cret"]).run().unwrap().text();
    let users = home.write("users", line).unwrap();
    let server =
        home.serve(["--offline", "--htpasswd", &users.display().to_string(), "--anonymous", "pull"]).unwrap();
    let image = image(130, Family::Oci, Compression::Gzip);
    let layout = home.path().join("in");
    image.write_layout(&layout, Some("1")).unwrap();
    let (from, to) =
        (format!("oci:{}:1", layout.display()), format!("docker://{}", server.reference("team/app:1")));
    let skopeo = Skopeo::new().unwrap();
    for credentials in [None, Some("ann:wrong"), Some("bob:s3cret")] {
        let options =
            SkopeoCopy { destination_credentials: credentials.map(str::to_owned), ..SkopeoCopy::default() };
        skopeo.copy(&from, &to, &options).unwrap_err();
    }
    let options = SkopeoCopy { destination_credentials: Some("ann:s3cret".into()), ..SkopeoCopy::default() };
    skopeo.copy(&from, &to, &options).unwrap();
    assert_eq!(skopeo.raw_manifest(&to).unwrap(), image.raw().to_vec());
}

#[test]
fn layouts_of_umoci_come_back_as_they_went() {
    let (home, server) = server();
    let layout = home.path().join("made");
    let umoci = umoci_image(
        &layout,
        "1",
        &mut [
            &mut |root| {
                std::fs::create_dir_all(root.join("etc/deep"))?;
                std::fs::write(root.join("etc/deep/gone"), "soon")?;
                Ok(std::fs::write(root.join("etc/kept"), "kept")?)
            },
            &mut |root| Ok(std::fs::remove_file(root.join("etc/deep/gone"))?),
        ],
    )
    .unwrap();
    umoci.config("1", &["--config.env", "A=b"]).unwrap();
    let there = format!("docker://{}", server.reference("umoci/app:1"));
    let back = home.path().join("back");
    let (skopeo, options) =
        (Skopeo::new().unwrap(), SkopeoCopy { preserve_digests: true, ..SkopeoCopy::default() });
    skopeo.copy(&format!("oci:{}:1", layout.display()), &there, &options).unwrap();
    skopeo.copy(&there, &format!("oci:{}:1", back.display()), &options).unwrap();
    let reached = blobs(&back);
    let made = blobs(&layout);
    assert!(reached.len() >= 4 && reached.iter().all(|(name, bytes)| made.get(name) == Some(bytes)));
    let rootfs = Umoci::open(&back).unwrap().unpack("1", &home.path().join("bundle")).unwrap();
    assert_eq!(std::fs::read_to_string(rootfs.join("etc/kept")).unwrap(), "kept");
    assert!(!rootfs.join("etc/deep/gone").exists());
}

#[test]
fn what_was_pushed_is_an_image_of_the_program_too() {
    let (home, server) = server();
    let image = image(140, Family::Oci, Compression::Gzip);
    let layout = home.path().join("in");
    image.write_layout(&layout, Some("1")).unwrap();
    let to = format!("docker://{}", server.reference("team/app:1"));
    let from = format!("oci:{}:1", layout.display());
    Skopeo::new().unwrap().copy(&from, &to, &SkopeoCopy::default()).unwrap();
    home.run(["inspect", "localhost/team/app:1"]).success();
    home.run(["unpack", "localhost/team/app:1", "tree"]).success();
    assert!(home.path().join("tree/usr/share").is_dir());
    home.run(["verify"]).success();
    // And the other way about.
    home.run(["tag", "localhost/team/app:1", "localhost/team/app:2"]).success();
    let second = format!("docker://{}", server.reference("team/app:2"));
    assert_eq!(Skopeo::new().unwrap().raw_manifest(&second).unwrap(), image.raw().to_vec());
}

/// A client that prints what it asks for as it goes.
#[test]
fn curl_resumes_a_download() {
    let (home, server) = server();
    let image = ImageBuilder::new(150).random_layers(1, 4 << 20, Compression::None).build();
    let layout = home.path().join("in");
    image.write_layout(&layout, Some("1")).unwrap();
    let to = format!("docker://{}", server.reference("team/app:1"));
    let from = format!("oci:{}:1", layout.display());
    let as_it_is = SkopeoCopy { preserve_digests: true, ..SkopeoCopy::default() };
    Skopeo::new().unwrap().copy(&from, &to, &as_it_is).unwrap();
    let layer = &image.layers[0];
    let url = server.url(&format!("/v2/team/app/blobs/{}", layer.digest));
    let file = home.path().join("blob");
    let curl = |args: &[&str]| -> Process {
        tools::tool("curl").unwrap().args(["-sS", "--fail", "-o"]).arg(&file).args(args).arg(&url)
    };
    curl(&["-r", "0-999999"]).run().unwrap();
    eventually("the first part is there", Duration::from_secs(5), || {
        (std::fs::metadata(&file).ok()?.len() == 1_000_000).then_some(())
    });
    curl(&["-C", "-"]).run().unwrap();
    assert!(std::fs::read(&file).unwrap() == layer.blob, "the two parts do not make the blob");
}
