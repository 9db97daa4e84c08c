//! Nodes that pull through larder.

use super::{image, outcome, run};
use larder_testkit::nodes::{Engine, Fleet, Link, Node};
use larder_testkit::{Certificate, FaultRegistry, Flaw, Home};
use serde_json::Value;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

const CERTS: &str = "/etc/containerd/certs.d";

/// Every file below a directory of a node, with all that an undo has to bring back.
fn files(node: &Node, directory: &str) -> Vec<(String, u32, u32, i64, Vec<u8>)> {
    let mut found = Vec::new();
    let mut left = vec![node.file(directory)];
    while let Some(path) = left.pop() {
        let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
        let name = path.display().to_string();
        if metadata.is_dir() {
            left.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            found.push((name, metadata.mode(), metadata.uid(), 0, Vec::new()));
        } else {
            let content = std::fs::read(&path).unwrap_or_default();
            found.push((name, metadata.mode(), metadata.uid(), metadata.mtime(), content));
        }
    }
    found.sort();
    found
}

fn changes(report: &Value, node: usize) -> Vec<(String, String)> {
    let files = report["nodes"][node]["files"].as_array().unwrap();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    files.iter().map(|file| (word(&file["path"]), word(&file["change"]))).collect()
}

fn notes(report: &Value, node: usize) -> String {
    report["nodes"][node]["notes"].to_string()
}

fn write(node: &Node, path: &str, content: &str, mode: u32) {
    let path = node.file(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, content).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn containerd_pulls_through_larder_and_from_the_upstream_when_larder_is_gone() {
    let fleet = Fleet::start(1, &Engine::Containerd).unwrap();
    let node = &fleet[0];
    let home = Home::new().unwrap();
    let registry = FaultRegistry::start();
    image(1).push(&registry, "shop/web", Some("1"));
    image(2).push(&registry, "shop/db", Some("1"));
    let upstream = Link::from_address(node.sender_address(), registry.address()).unwrap();
    let server = home.serve(["--upstream", &format!("shop.example=http://{}", registry.host())]).unwrap();
    let larder = Link::from_address(node.sender_address(), server.address()).unwrap();
    // By hand: where the upstream of this name is. larder keeps that, and comes before it.
    let own = format!("server = \"http://{}\"\n", upstream.address());
    write(node, &format!("{CERTS}/shop.example/hosts.toml"), &own, 0o640);
    let before = files(node, "/etc/containerd");
    let url = format!("http://{}", larder.address());
    let args = ["nodes", "mirror", "--node", "all", "--registry", &url, "--for", "shop.example"];
    let report = run(&home, &fleet, 0, &[&args[..], &["--dry-run"]].concat());
    assert_eq!(changes(&report, 0)[0].1, "replaced");
    assert_eq!(files(node, "/etc/containerd"), before);
    let report = run(&home, &fleet, 0, &args);
    let path = format!("{CERTS}/shop.example/hosts.toml");
    assert_eq!(changes(&report, 0), [(path.clone(), "replaced".to_owned())]);
    let mirrored = files(node, "/etc/containerd");
    assert_ne!(mirrored, before);
    assert_eq!(changes(&run(&home, &fleet, 0, &args), 0), [(path.clone(), "unchanged".to_owned())]);
    assert_eq!(files(node, "/etc/containerd"), mirrored);

    let pull = |name: &str| node.ctr(["images", "pull", "--hosts-dir", CERTS, name]).unwrap();
    pull("shop.example/shop/web:1");
    assert!(server.log().contains("shop/web"), "larder was not asked:\n{}", server.log());
    let (through_larder, direct) = (larder.connections(), upstream.connections());
    assert!(through_larder > 0 && direct == 0, "{through_larder} {direct}");
    server.stop().unwrap();
    pull("shop.example/shop/db:1");
    assert!(upstream.connections() > 0);

    let report = run(&home, &fleet, 0, &["nodes", "mirror", "--node", "all", "--undo"]);
    assert_eq!(changes(&report, 0), [(path, "restored".to_owned())]);
    assert_eq!(files(node, "/etc/containerd"), before);
    assert!(!node.file("/var/lib/larder-node/mirror").exists());
    assert!(
        notes(&run(&home, &fleet, 0, &["nodes", "mirror", "--node", "all", "--undo"]), 0)
            .contains("no mirror")
    );
}

#[test]
fn containerd_is_told_to_read_the_directory_and_what_others_changed_is_kept() {
    let fleet = Fleet::start(1, &Engine::Containerd).unwrap();
    let node = &fleet[0];
    let home = Home::new().unwrap();
    let mirror = |args: &[&str]| {
        run(&home, &fleet, 0, &[&["nodes", "mirror", "--node", "worker-1", "--registry"], args].concat())
    };
    assert!(notes(&mirror(&["http://10.9.9.9:5000", "--dry-run"]), 0).contains("Kubernetes interface"));
    write(node, "/etc/containerd/config.toml", "# ours\nversion = 2\n", 0o600);
    let before = files(node, "/etc/containerd");
    let said = notes(&mirror(&["http://10.9.9.9:5000", "--dry-run"]), 0);
    assert!(said.contains("io.containerd.grpc.v1.cri") && said.contains("config_path"), "{said}");
    let certificate = Certificate::new(Flaw::None).unwrap();
    let ca = home.write("ca.crt", certificate.authority).unwrap();
    let args = ["https://larder.example", "--configure", "--ca", ca.to_str().unwrap()];
    let report = mirror(&args);
    let states: Vec<String> = changes(&report, 0).into_iter().map(|(_, change)| change).collect();
    assert_eq!(states, ["created", "created", "replaced"]);
    assert!(notes(&report, 0).contains("restarted"));
    let config = std::fs::read_to_string(node.file("/etc/containerd/config.toml")).unwrap();
    assert!(config.starts_with("# ours\nversion = 2\n") && config.contains(CERTS), "{config}");
    let dump = node.run(["containerd", "config", "dump"]).unwrap();
    assert!(dump.success().text().contains("config_path = \"/etc/containerd/certs.d\""));
    // Again, also without --configure: nothing changes.
    for args in [&args[..], &["https://larder.example", "--ca", ca.to_str().unwrap()]] {
        assert!(changes(&mirror(args), 0).iter().all(|(_, change)| change == "unchanged"));
    }
    // Another registry, for one host: what the first run made for all goes.
    let report = mirror(&["http://10.9.9.9:5000", "--for", "quay.io"]);
    let default = format!("{CERTS}/_default/hosts.toml");
    assert!(changes(&report, 0).contains(&(default.clone(), "removed".to_owned())), "{report}");
    assert!(!node.file(&default).exists());
    // Somebody changes what larder wrote; an undo keeps that beside.
    let hosts = format!("{CERTS}/quay.io/hosts.toml");
    write(node, &hosts, "# by hand\n", 0o644);
    let report = run(&home, &fleet, 0, &["nodes", "mirror", "--node", "worker-1", "--undo"]);
    assert!(notes(&report, 0).contains("/var/lib/larder-node/mirror/kept/"), "{report}");
    assert_eq!(files(node, "/etc/containerd"), before);
    let kept =
        std::fs::read_dir(node.file("/var/lib/larder-node/mirror/kept")).unwrap().next().unwrap().unwrap();
    assert_eq!(std::fs::read_to_string(kept.path()).unwrap(), "# by hand\n");
}

#[test]
fn an_interrupted_change_is_undone() {
    let fleet = Fleet::start(1, &Engine::Containerd).unwrap();
    let node = &fleet[0];
    let home = Home::new().unwrap();
    write(node, &format!("{CERTS}/quay.io/hosts.toml"), "# mine\n", 0o644);
    let before = files(node, "/etc/containerd");
    // The second file cannot be put in its place: where its directory should be is a file.
    let args = [
        "nodes",
        "mirror",
        "--node",
        "all",
        "--registry",
        "http://10.9.9.9:5000",
        "--for",
        "quay.io,ghcr.io",
    ];
    std::fs::write(node.file(format!("{CERTS}/ghcr.io")), "in the way").unwrap();
    let failed = outcome(&home, &fleet, &args);
    assert_ne!(failed.code(), Some(0), "{}", failed.describe());
    assert_ne!(files(node, &format!("{CERTS}/quay.io")), Vec::new());
    std::fs::remove_file(node.file(format!("{CERTS}/ghcr.io"))).unwrap();
    run(&home, &fleet, 0, &["nodes", "mirror", "--node", "all", "--undo"]);
    assert_eq!(files(node, "/etc/containerd"), before);
    assert!(!Path::new(&node.file("/var/lib/larder-node/mirror")).exists());
}

#[test]
fn docker_pulls_through_larder_and_its_settings_come_back() {
    let fleet = Fleet::start(1, &Engine::Docker).unwrap();
    let node = &fleet[0];
    let home = Home::new().unwrap();
    let registry = FaultRegistry::start();
    image(1).push(&registry, "library/web", Some("1"));
    let upstream = format!("docker.io=http://{}", registry.host());
    let server = home.serve(["--upstream", &upstream, "--default-namespace", "docker.io"]).unwrap();
    let larder = Link::from_address(node.sender_address(), server.address()).unwrap();
    let own = "{\n  \"max-concurrent-downloads\" : 2,\n  \"registry-mirrors\": [ \"http://127.0.0.1:9\" ]\n}";
    write(node, "/etc/docker/daemon.json", own, 0o600);
    let before = files(node, "/etc/docker");
    let url = format!("http://{}", larder.address());
    let report = run(&home, &fleet, 0, &["nodes", "mirror", "--node", "all", "--registry", &url, "--reload"]);
    assert!(notes(&report, 0).contains("--default-namespace docker.io"), "{report}");
    let made = std::fs::read_to_string(node.file("/etc/docker/daemon.json")).unwrap();
    assert!(made.contains("\"max-concurrent-downloads\" : 2,\n"), "{made}");
    node.docker(["pull", "web:1"]).unwrap();
    assert!(larder.connections() > 0);
    let report = run(&home, &fleet, 0, &["nodes", "mirror", "--node", "all", "--undo", "--reload"]);
    assert_eq!(changes(&report, 0), [("/etc/docker/daemon.json".to_owned(), "restored".to_owned())]);
    assert_eq!(files(node, "/etc/docker"), before);
    let mirrors = node.docker(["info", "--format", "{{json .RegistryConfig.Mirrors}}"]);
    assert!(!mirrors.unwrap().text().contains(&larder.address().to_string()));
}
