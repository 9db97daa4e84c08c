//! Clients over TLS, where most of them speak HTTP/2.

use larder_core::{Compression, Digest};
use larder_testkit::tools::{Containerd, Podman, Skopeo, SkopeoCopy, tool};
use larder_testkit::{Certificate, Family, Flaw, Home, Image, ImageBuilder, Layer, Random, Serve};
use std::path::PathBuf;

/// A server with a certificate of a private authority, and the authority's file.
fn secure(home: &Home) -> (Serve, PathBuf) {
    let certificate = Certificate::new(Flaw::None).unwrap();
    let authority = home.write("certs/ca.crt", &certificate.authority).unwrap();
    home.write("server.crt", &certificate.server).unwrap();
    home.write("server.key", &certificate.key).unwrap();
    let server = home.serve(["--offline", "--tls-cert", "server.crt", "--tls-key", "server.key"]).unwrap();
    (server, authority)
}

/// Layers larger than the windows and frames of HTTP/2.
fn large(seed: u64) -> Image {
    let mut random = Random::new(seed);
    ImageBuilder::new(seed)
        .family(Family::Oci)
        .layer(Layer::tree(&mut random, 50, 8 << 20, Compression::None))
        .layer(Layer::tree(&mut random, 5, 10_000, Compression::Gzip))
        .build()
}

fn skopeo(certs: &str, side: &str) -> SkopeoCopy {
    let extra = [format!("--{side}-tls-verify=true"), format!("--{side}-cert-dir={certs}")];
    SkopeoCopy { preserve_digests: true, extra: extra.into(), ..SkopeoCopy::default() }
}

#[test]
fn curl_and_http_2() {
    let home = Home::new().unwrap();
    let (server, authority) = secure(&home);
    let base = format!("https://{}/v2/", server.host());
    let content = Random::new(300).bytes(9 << 20);
    let digest = Digest::of(&content);
    let sent = home.write("blob", &content).unwrap();
    for version in ["--http1.1", "--http2"] {
        let curl =
            || tool("curl").unwrap().args(["-sS", "--fail-with-body", version, "--cacert"]).arg(&authority);
        let name = version.trim_matches(['-', '.']).replace('.', "-");
        let pushed =
            curl().args(["-X", "POST", "-H", "Content-Type: application/octet-stream", "--data-binary"]);
        let pushed = pushed.arg(format!("@{}", sent.display())).args(["-w", "%{http_version} %{http_code}"]);
        let pushed = pushed.arg(format!("{base}{name}/blobs/uploads/?digest={digest}")).run().unwrap().text();
        let spoken = if version == "--http2" { "2" } else { "1.1" };
        assert_eq!(pushed, format!("{spoken} 201"));
        let url = format!("{base}{name}/blobs/{digest}");
        let file = home.path().join("back");
        curl().arg("-o").arg(&file).arg(&url).run().unwrap();
        assert!(std::fs::read(&file).unwrap() == content, "{version}: other bytes came back");
        let part = curl().args(["-r", "1000000-8999999", "-o"]).arg(&file).arg(&url).run();
        part.unwrap();
        assert!(std::fs::read(&file).unwrap() == content[1_000_000..9_000_000], "{version}: another part");
        let head = curl().arg("-I").arg(&url).run().unwrap().text().to_lowercase();
        assert!(head.contains(&format!("content-length: {}", content.len())), "{head}");
    }
    // An unknown authority is not trusted, so this was TLS.
    tool("curl").unwrap().args(["-sS", &base]).run().unwrap_err();
}

#[test]
fn skopeo_over_tls() {
    let home = Home::new().unwrap();
    let (server, authority) = secure(&home);
    let certs = authority.parent().unwrap().display().to_string();
    let image = large(310);
    let (from, to) = (home.path().join("in"), home.path().join("out"));
    image.write_layout(&from, Some("1")).unwrap();
    let there = format!("docker://{}", server.reference("team/app:1"));
    let client = Skopeo::new().unwrap();
    client.copy(&format!("oci:{}:1", from.display()), &there, &skopeo(&certs, "dest")).unwrap();
    client.copy(&there, &format!("oci:{}:1", to.display()), &skopeo(&certs, "src")).unwrap();
    for (descriptor, content) in &image.blobs {
        let name = format!("blobs/sha256/{}", descriptor.digest.hex());
        assert!(std::fs::read(to.join(name)).unwrap() == content.to_vec(), "{}", descriptor.digest);
    }
}

#[test]
fn containerd_and_podman_over_tls() {
    let home = Home::new().unwrap();
    let (server, authority) = secure(&home);
    let certs = authority.parent().unwrap().display().to_string();
    let image = large(320);
    let from = home.path().join("in");
    image.write_layout(&from, Some("1")).unwrap();
    let reference = server.reference("team/app:1").to_string();
    let client = Skopeo::new().unwrap();
    let source = format!("oci:{}:1", from.display());
    client.copy(&source, &format!("docker://{reference}"), &skopeo(&certs, "dest")).unwrap();

    let containerd = Containerd::start().unwrap();
    let toml = format!("[host.\"https://{}\"]\n  ca = \"{}\"\n", server.host(), authority.display());
    let hosts = containerd.hosts(&server.host(), &toml).unwrap();
    let pull = containerd.ctr().unwrap().args(["images", "pull", "--snapshotter", "native", "--hosts-dir"]);
    pull.arg(&hosts).arg(&reference).run().unwrap();
    assert_eq!(containerd.read(&image.digest().to_string()).unwrap().stdout, image.raw().to_vec());

    let podman = Podman::new().unwrap();
    podman.run(&["pull", "--cert-dir", &certs, &reference]).unwrap();
    let other = server.reference("team/podman:1").to_string();
    podman.run(&["push", "--cert-dir", &certs, &reference, &other]).unwrap();
    podman.run(&["pull", &reference]).unwrap_err();
}
