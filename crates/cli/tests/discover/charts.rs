//! Charts from directories, archives, repositories and registries.

use super::{Ends as _, pod};
use larder_core::{Descriptor, MediaType};
use larder_testkit::{FaultRegistry, Home, RecordedApi};
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
    assert_eq!(list(&["app", "--repo", &url]), expected, "a path stays a path");
    assert_eq!(list(&[&format!("{oci}:1.2.0")]), expected);
    assert_eq!(list(&[&oci]), expected, "the newest version");
    assert_eq!(list(&[&oci, "--version", "1.2.0", "--set", "image.tag=9"]), "shop.test/app:9\n");

    let rendered = |chart: &[&str]| home.run([&["render", "web"], chart].concat()).ends(0).stdout;
    assert_eq!(rendered(&["app"]), rendered(&[&oci]));

    assert_eq!(list(&[&oci, "--version", "^1.1"]), expected, "the newest version in the range");
    home.write("pod.yaml", pod(&["nginx:1"])).unwrap();
    let other = files(vec![
        ("/index.yaml".into(), b"entries: {other: [{version: 1.0.0, urls: [a.tgz]}]}".to_vec()),
        ("/a.tgz".into(), packed),
    ]);
    assert_eq!(
        list(&["pod.yaml", "other", "--repo", &other]),
        "docker.io/library/nginx:1\nshop.test/app:7\n"
    );
    for address in ["http://me:s3cret@127.0.0.1:1", "https://me:s3cret@127.0.0.1:1/a.tgz"] {
        let secret = match address.ends_with(".tgz") {
            true => home.run(["discover", address]).ends(2),
            false => home.run(["discover", "other", "--repo", address]).ends(8),
        };
        assert!(!secret.stderr.contains("s3cret"), "{}", secret.stderr);
    }
    let html = files(vec![("/index.yaml".into(), b"<html>not here</html>".to_vec())]);
    let no_index = home.run(["discover", "other", "--repo", &html]).ends(3);
    assert!(no_index.stderr.contains("is not the index of a chart repository"), "{}", no_index.stderr);

    std::fs::rename(home.path().join("app"), home.path().join("elsewhere")).unwrap();
    let wrong = home.run(["discover", "app", "--repo", &url]).ends(5);
    assert!(wrong.stderr.contains("/charts/bad.tgz hashes to"), "{}", wrong.stderr);
    assert_eq!(list(&["app", "--repo", &url, "--version", "~1.2"]), expected);
    let absent = home.run(["discover", "other", "--repo", &url]).ends(3);
    assert!(absent.stderr.contains("the chart other is not in the repository"), "{}", absent.stderr);
    let alone = home.run(["discover", &url]).ends(2);
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
    let piped = home.larder(["render", "web", "app", "-f", "-"]).input("image: {tag: '3'}").run().ends(0);
    assert_eq!(piped.stdout, expected);
    home.larder(["discover", "-", "-f", "-"]).input("image: {tag: '3'}").run().ends(2);
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

#[test]
fn a_description_of_a_cluster_brings_what_it_wants() {
    let home = Home::new().unwrap();
    let packed = chart(&home, "1.2.0");
    let index = "apiVersion: v1\nentries:\n  app:\n  - {version: 1.2.0, urls: [app.tgz]}\n";
    let url = files(vec![
        ("/index.yaml".into(), index.as_bytes().to_vec()),
        ("/app.tgz".into(), packed),
        ("/install.yaml".into(), pod(&["quay.io/o/installed:1"]).into_bytes()),
    ]);
    let cluster = |charts: &str, manifests: &str| {
        format!(
            "apiVersion: larder.dev/v1alpha1\nkind: Cluster\nspec:\n  kubernetesVersion: v1.34.2\n  charts: [{charts}]\n  manifests: [{manifests}]\n"
        )
    };
    let wanted = format!("{{repository: '{url}', name: app, version: 1.2.0}}");
    home.write("cluster.yaml", cluster(&wanted, &format!("'{url}/install.yaml'"))).unwrap();
    let list = home.run(["discover", "cluster.yaml", "-o", "images"]).ends(0).stdout;
    for image in ["shop.test/app:7", "quay.io/o/installed:1", "registry.k8s.io/kube-apiserver:v1.34.2"] {
        assert!(list.lines().any(|line| line == image), "{image}: {list}");
    }
    assert!(list.contains("registry.k8s.io/etcd:3.6."), "{list}");

    home.write("cluster.yaml", cluster("", &format!("'{url}/absent.yaml'"))).unwrap();
    let absent = home.run(["discover", "cluster.yaml", "-o", "images"]).ends(3);
    assert!(absent.stderr.contains("/absent.yaml"), "{}", absent.stderr);
    assert!(absent.stderr.contains("404"), "{}", absent.stderr);
    assert!(absent.stdout.contains("kube-proxy"), "{}", absent.stdout);

    let unknown = cluster("", "").replace("v1.34.2", "v1.99.0");
    home.write("cluster.yaml", unknown).unwrap();
    let unknown = home.run(["discover", "cluster.yaml"]).ends(8);
    assert!(unknown.stderr.contains("1.99.0"), "{}", unknown.stderr);
}

#[test]
fn a_running_cluster_is_read_and_what_it_refuses_is_named() {
    let say = |path: &str, status: u16, body: &str| (path.to_owned(), (status, body.to_owned()));
    let answers = [
        say("/version", 200, r#"{"gitVersion":"v1.34.2"}"#),
        say("/api", 200, r#"{"kind":"APIVersions","versions":["v1"]}"#),
        say("/apis", 200, r#"{"kind":"APIGroupList","groups":[]}"#),
        say(
            "/api/v1",
            200,
            r#"{"resources":[{"name":"pods","namespaced":true,"kind":"Pod","verbs":["list"]},
                {"name":"configmaps","namespaced":true,"kind":"ConfigMap","verbs":["list"]}]}"#,
        ),
        say(
            "/api/v1/pods?limit=500",
            200,
            r#"{"items":[{"metadata":{"name":"p","namespace":"shop"},
                "spec":{"containers":[{"name":"c","image":"shop.test/running:1"}]}}]}"#,
        ),
        say("/api/v1/configmaps?limit=500", 200, r#"{"items":[]}"#),
    ];
    let api = RecordedApi::start("s3cret", answers.iter().cloned().collect()).unwrap();
    let home = Home::new().unwrap();
    let file = home.write("kubeconfig", api.kubeconfig()).unwrap();
    let found = home.run(["discover", "kubeconfig:kubeconfig", "-o", "json"]).ends(0).json().unwrap();
    assert_eq!(found["images"][0]["image"], "shop.test/running:1");
    assert_eq!(found["images"][0]["finds"][0]["object"], "Pod shop/p");
    let from_environment =
        home.larder(["discover", "kubeconfig:", "-o", "images"]).env("KUBECONFIG", &file).run();
    assert_eq!(from_environment.ends(0).stdout, "shop.test/running:1\n");

    let mut answers = answers.to_vec();
    answers.pop();
    answers.push(say("/api/v1/configmaps?limit=500", 403, r#"{"message":"configmaps is forbidden"}"#));
    let api = RecordedApi::start("s3cret", answers.into_iter().collect()).unwrap();
    home.write("kubeconfig", api.kubeconfig()).unwrap();
    let refused = home.run(["discover", "kubeconfig:kubeconfig", "-o", "images"]).ends(4);
    assert!(refused.stderr.contains("configmaps is forbidden"), "{}", refused.stderr);
    assert_eq!(refused.stdout, "shop.test/running:1\n");
    assert!(!refused.stderr.contains("s3cret"), "{}", refused.stderr);

    home.write("kubeconfig", api.kubeconfig().replace("s3cret", "wrong")).unwrap();
    home.run(["discover", "kubeconfig:kubeconfig"]).ends(4);
    home.run(["discover", "kubeconfig:absent"]).ends(3);
    home.run(["discover", "kubeconfig:kubeconfig#no-such-context"]).ends(8);
}
