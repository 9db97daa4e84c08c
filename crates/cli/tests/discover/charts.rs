//! Charts from directories, archives, repositories and registries.

use super::{Ends as _, pod};
use larder_core::{Descriptor, MediaType};
use larder_testkit::{FaultRegistry, Home};
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

fn chart(home: &Home, version: &str) -> Vec<u8> {
    let write = |name: &str, text: &str| drop(home.write(name, text).unwrap());
    write("app/Chart.yaml", &format!("apiVersion: v2\nname: app\nversion: {version}\nappVersion: '7'\n"));
    write("app/values.yaml", "image: {repository: shop.test/app}\n");
    write(
        "app/templates/pod.yaml",
        &pod(&["{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}"])
            .replace('"', "'"),
    );
    let packed = Command::new("tar").args(["czf", "-", "app"]).current_dir(home.path()).output().unwrap();
    assert!(packed.status.success());
    packed.stdout
}

/// Serves files by their paths until the test ends.
fn files(files: Vec<(String, Vec<u8>)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut head = Vec::new();
            let mut byte = [0];
            while !head.ends_with(b"\r\n\r\n") && socket.read(&mut byte).is_ok_and(|read| read == 1) {
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let (status, body) = match files.iter().find(|(name, _)| *name == path) {
                Some((_, body)) => ("200 OK", body.clone()),
                None => ("404 Not Found", Vec::new()),
            };
            let head =
                format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = socket.write_all(head.as_bytes()).and_then(|()| socket.write_all(&body));
        }
    });
    url
}

#[test]
fn a_chart_is_the_same_from_everywhere() {
    let home = Home::new().unwrap();
    let packed = chart(&home, "1.2.0");
    home.write("app-1.2.0.tgz", &packed).unwrap();
    let digest = larder_core::Digest::of(&packed).hex();
    let index = format!(
        "apiVersion: v1\nentries:\n  app:\n  - {{version: 1.2.0, urls: [charts/app-1.2.0.tgz], digest: {digest}}}\n  - {{version: 1.3.0, urls: [charts/bad.tgz], digest: {digest}}}\n"
    );
    let url = files(vec![
        ("/index.yaml".into(), index.into_bytes()),
        ("/charts/app-1.2.0.tgz".into(), packed.clone()),
        ("/charts/bad.tgz".into(), b"something else".to_vec()),
    ]);
    let registry = FaultRegistry::start();
    artifact(&registry, "charts/app", "1.2.0", &packed);
    artifact(&registry, "charts/app", "1.1.0", b"older");
    let oci = format!("oci://{}/charts/app", registry.host());
    let archive = format!("{url}/charts/app-1.2.0.tgz");

    let list = |args: &[&str]| home.run([&["discover", "-o", "images"], args].concat()).ends(0).stdout;
    let expected = "shop.test/app:7\n";
    assert_eq!(list(&["app"]), expected);
    assert_eq!(list(&["app-1.2.0.tgz"]), expected);
    assert_eq!(list(&[&archive]), expected);
    assert_eq!(list(&["app", "--repo", &url, "--version", "~1.2"]), expected);
    assert_eq!(list(&[&format!("{oci}:1.2.0")]), expected);
    assert_eq!(list(&[&oci]), expected, "the newest version");
    assert_eq!(list(&[&oci, "--version", "1.2.0", "--set", "image.tag=9"]), "shop.test/app:9\n");

    let rendered = |chart: &[&str]| home.run([&["render", "web"], chart].concat()).ends(0).stdout;
    assert_eq!(rendered(&["app"]), rendered(&[&oci]));

    let wrong = home.run(["discover", "app", "--repo", &url]).ends(5);
    assert!(wrong.stderr.contains("/charts/bad.tgz hashes to"), "{}", wrong.stderr);
    let absent = home.run(["discover", "other", "--repo", &url]).ends(3);
    assert!(absent.stderr.contains("the chart other is not in the repository"), "{}", absent.stderr);
    let alone = home.run(["discover", &url]).ends(8);
    assert!(alone.stderr.contains("--repo"), "{}", alone.stderr);
}

/// A chart as helm pushes it.
fn artifact(registry: &FaultRegistry, repository: &str, tag: &str, packed: &[u8]) {
    let config = Descriptor::of(MediaType::new("application/vnd.cncf.helm.config.v1+json"), b"{}");
    let layer = Descriptor::of(MediaType::new("application/vnd.cncf.helm.chart.content.v1.tar+gzip"), packed);
    let manifest = serde_json::json!({"schemaVersion": 2, "config": config, "layers": [layer]}).to_string();
    registry.put_blob(repository, b"{}".to_vec());
    registry.put_blob(repository, packed.to_vec());
    registry.put_manifest(repository, &MediaType::OCI_MANIFEST, manifest.into_bytes(), Some(tag));
}

#[test]
fn a_rendering_is_what_helm_prints() {
    let home = Home::new().unwrap();
    chart(&home, "1.2.0");
    let outcome = home.run(["render", "web", "app", "--set", "image.tag=3"]).ends(0);
    let expected = "---\n# Source: app/templates/pod.yaml\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - {name: c0, image: 'shop.test/app:3'}\n";
    assert_eq!(outcome.stdout, expected);
    assert!(outcome.stderr.contains("seed 0"), "{}", outcome.stderr);
    home.run(["render", "web", "app", "--show-only", "templates/absent.yaml"]).ends(3);
    home.run(["render", "web", "absent"]).ends(3);
}

#[test]
fn values_for_a_mirror() {
    let home = Home::new().unwrap();
    chart(&home, "1.2.0");
    let outcome = home.run(["values-images", "app", "--mirror", "mirror.test:5000"]).ends(0);
    assert_eq!(outcome.stdout, "image:\n  repository: mirror.test:5000/shop.test/app\n");
    home.write("values.yaml", outcome.stdout.as_bytes()).unwrap();
    let list = home.run(["discover", "app", "-f", "values.yaml", "-o", "images"]).ends(0).stdout;
    assert_eq!(list, "mirror.test:5000/shop.test/app:7\n");

    home.write("app/templates/fixed.yaml", pod(&["registry.k8s.io/pause:3.10"])).unwrap();
    let fixed = home
        .run(["values-images", "app", "--mirror", "mirror.test:5000", "-o", "json"])
        .ends(9)
        .json()
        .unwrap();
    assert_eq!(fixed["fixed"][0]["text"], "registry.k8s.io/pause:3.10");
    assert_eq!(fixed["fixed"][0]["source"], "app/templates/fixed.yaml");
    home.run(["values-images", "app", "--mirror", "https://mirror.test"]).ends(2);
}
