//! Descriptions of clusters, and clusters that run.

use super::Ends as _;
use larder_testkit::{Answers, Home, RecordedApi};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::thread;

#[test]
fn a_description_of_a_cluster_names_its_control_plane_and_what_is_not_here() {
    let home = Home::new().unwrap();
    let cluster = "apiVersion: larder.dev/v1alpha1\nkind: Cluster\nspec:\n  kubernetesVersion: v1.34.2\n  \
                   images: [registry.test/tool:1]\n";
    home.write("cluster.yaml", cluster).unwrap();
    let listed = home.run(["discover", "cluster.yaml", "--output", "images"]).ends(0).stdout;
    for image in
        ["registry.k8s.io/etcd:3.6.5-0", "registry.k8s.io/kube-proxy:v1.34.2", "registry.test/tool:1"]
    {
        assert!(listed.lines().any(|line| line == image), "{image}: {listed}");
    }
    home.write("cluster.yaml", cluster.replace("1.34.2", "1.99.0")).unwrap();
    let outcome = home.run(["discover", "cluster.yaml"]);
    assert_ne!(outcome.code(), Some(0));
    assert!(outcome.error_text().contains("Kubernetes v1.99.0 are not known; known are 1.34.10"));
}

#[test]
fn a_running_cluster_is_read_through_a_kubeconfig() {
    let mut answers = Answers::new();
    for (path, body) in [
        ("/version", r#"{"gitVersion":"v1.34.2"}"#),
        ("/api", r#"{"versions":["v1"]}"#),
        ("/apis", r#"{"groups":[]}"#),
        ("/api/v1", r#"{"resources":[{"name":"pods","namespaced":true,"kind":"Pod","verbs":["list"]}]}"#),
        (
            "/api/v1/pods?limit=500",
            r#"{"items":[{"metadata":{"name":"p","namespace":"shop"},"spec":{"containers":[{"name":"c","image":"registry.test/web:7"}]}}]}"#,
        ),
    ] {
        answers.insert(path.into(), (200, body.into()));
    }
    let (home, api) = (Home::new().unwrap(), RecordedApi::start("s3cret", answers).unwrap());
    home.write("config", api.kubeconfig()).unwrap();
    let listed = home.run(["discover", "kubeconfig:config", "--output", "images"]).ends(0).stdout;
    assert_eq!(listed, "registry.test/web:7\n");
    let why = home.run(["discover", "kubeconfig:config#recorded", "--why", "web"]).ends(0).stdout;
    assert!(why.contains("kubeconfig:recorded/api/v1/namespaces/shop/pods/p"), "{why}");
    // As kubectl has it: of several files the first one decides, and what is not there is passed over.
    let users = api.kubeconfig().find("users:").unwrap();
    let (rest, users) = (api.kubeconfig()[..users].to_owned(), api.kubeconfig()[users..].to_owned());
    let files = [
        home.path().join("absent"),
        home.write("users", users).unwrap(),
        home.write("rest", rest.replace("s3cret", "wrong")).unwrap(),
    ];
    let merged = home
        .larder(["discover", "kubeconfig:", "--output", "images"])
        .env("KUBECONFIG", std::env::join_paths(files).unwrap());
    assert_eq!(merged.run().ends(0).stdout, "registry.test/web:7\n");
    let outcome = home.run(["discover", "kubeconfig:config#elsewhere"]);
    assert_ne!(outcome.code(), Some(0));
    assert!(outcome.error_text().contains("there is no context \"elsewhere\"; there are recorded"));
}

#[test]
fn a_cluster_is_reached_through_the_proxy_of_the_environment() {
    let mut answers = Answers::new();
    for (path, body) in [
        ("/version", r#"{"gitVersion":"v1.34.2"}"#),
        ("/api", r#"{"versions":[]}"#),
        ("/apis", r#"{"groups":[]}"#),
    ] {
        answers.insert(path.into(), (200, body.into()));
    }
    let (home, api) = (Home::new().unwrap(), RecordedApi::start("s3cret", answers).unwrap());
    let direct = api.kubeconfig();
    let server = direct.split_once("https://").and_then(|(_, rest)| rest.split_once('\'')).unwrap().0;
    let named =
        direct.replace(&format!("'https://{server}'"), "'https://api.test', tls-server-name: localhost");
    home.write("direct", &direct).unwrap();
    home.write("named", named).unwrap();
    let proxy = tunnel(server.to_owned());
    let run = |kubeconfig: &str, variable: &str, value: &str, exceptions: &str| {
        let asked = home.larder(["discover", kubeconfig]).env(variable, value).env("NO_PROXY", exceptions);
        asked.run()
    };
    run("kubeconfig:named", "HTTPS_PROXY", &format!("http://bob:canary@{proxy}"), "other.test").ends(0);
    let excepted = run("kubeconfig:named", "HTTPS_PROXY", &format!("http://{proxy}"), "api.test").ends(6);
    assert!(excepted.stderr.contains("cannot connect to the API server api.test"));
    // Clusters on this machine are not asked for anywhere else, as kubectl has it.
    run("kubeconfig:direct", "https_proxy", "http://127.0.0.1:1", "").ends(0);
    let wrong = run("kubeconfig:named", "HTTPS_PROXY", "http://bob:canary @", "").ends(8);
    assert!(wrong.stderr.contains("the configured proxy is no address"));
    assert!(!wrong.stderr.contains("canary"));
}

/// A proxy that leads to one server whoever is asked for, and knows bob; it ends with the process.
fn tunnel(server: String) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, server) = (client.unwrap(), server.clone());
            thread::spawn(move || {
                let mut request = Vec::new();
                while !request.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    client.read_exact(&mut byte).unwrap();
                    request.push(byte[0]);
                }
                let request = String::from_utf8(request).unwrap();
                // bob:canary
                if !request.starts_with("CONNECT api.test:443 ")
                    || !request.contains("Basic Ym9iOmNhbmFyeQ==")
                {
                    return client.write_all(b"HTTP/1.1 407 No\r\n\r\n").unwrap();
                }
                let mut server = TcpStream::connect(server).unwrap();
                client.write_all(b"HTTP/1.1 200 Yes\r\n\r\n").unwrap();
                let (mut there, mut back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || std::io::copy(&mut there, &mut server));
                let _ = std::io::copy(&mut back, &mut client);
                let _ = client.shutdown(std::net::Shutdown::Both);
            });
        }
    });
    address
}
