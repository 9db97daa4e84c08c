//! The nine tools, published as their projects publish them.

use crate::world::{World, contents, listing, program, shell};
use larder_core::Digest;
use larder_packages::{Error, Wish};

/// Publishes all nine for one architecture, at one version each, with checksums in the format of each.
fn publish_all(world: &World, arch: &str) {
    let work = world.path(&format!("work-{arch}"));
    std::fs::create_dir(&work).unwrap();
    let tool = |name: &str, seed: u64| {
        let bytes = program(seed, 40_000);
        std::fs::write(work.join(name), &bytes).unwrap();
        bytes
    };
    let read = |name: &str| std::fs::read(work.join(name)).unwrap();
    let hash = |bytes: &[u8]| Digest::of(bytes).hex();
    let line = |bytes: &[u8], name: &str| format!("{}  {name}\n", hash(bytes));
    let github = "https://github.com";

    for (at, name) in
        ["ctr", "containerd", "containerd-shim-runc-v2", "helm", "crictl", "nerdctl", "bridge", "loopback"]
            .iter()
            .enumerate()
    {
        tool(name, at as u64);
    }
    let name = format!("containerd-2.1.0-linux-{arch}.tar.gz");
    shell(
        &work,
        &format!(
            "mkdir bin; cp ctr containerd containerd-shim-runc-v2 bin; chmod 755 bin/*; tar -czf {name} bin"
        ),
    );
    let url = format!("{github}/containerd/containerd/releases/download/v2.1.0/{name}");
    world.publish(&url, read(&name));
    world.publish(&format!("{url}.sha256sum"), line(&read(&name), &name));

    let runc = tool("runc", 20);
    let base = format!("{github}/opencontainers/runc/releases/download/v1.3.0");
    world.publish(&format!("{base}/runc.{arch}"), runc.clone());
    let list = format!("{}{}", line(b"other", "runc.s390x"), line(&runc, &format!("runc.{arch}")));
    world.publish(
        &format!("{base}/runc.sha256sum"),
        format!("-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n{list}-----BEGIN PGP SIGNATURE-----\n\niQ==\n-----END PGP SIGNATURE-----\n"),
    );

    let name = format!("cni-plugins-linux-{arch}-v1.7.1.tgz");
    shell(
        &work,
        &format!(
            "mkdir cni; cp bridge loopback cni; echo words > cni/LICENSE; chmod 755 cni/bridge cni/loopback; tar -czf {name} -C cni ."
        ),
    );
    let url = format!("{github}/containernetworking/plugins/releases/download/v1.7.1/{name}");
    world.publish(&url, read(&name));
    world.publish(&format!("{url}.sha256"), line(&read(&name), &name));

    for (name, seed) in [("kubectl", 30), ("kubeadm", 31), ("kubelet", 32)] {
        let bytes = tool(name, seed);
        let url = format!("https://dl.k8s.io/release/v1.33.4/bin/linux/{arch}/{name}");
        world.publish(&url, bytes.clone());
        // No line end and no name.
        world.publish(&format!("{url}.sha256"), hash(&bytes));
    }

    let name = format!("helm-v3.18.0-linux-{arch}.tar.gz");
    shell(
        &work,
        &format!(
            "mkdir linux-{arch}; cp helm linux-{arch}; chmod 755 linux-{arch}/helm; echo words > linux-{arch}/LICENSE; tar -czf {name} linux-{arch}"
        ),
    );
    let url = format!("https://get.helm.sh/{name}");
    world.publish(&url, read(&name));
    world.publish(&format!("{url}.sha256sum"), line(&read(&name), &name));

    let name = format!("crictl-v1.33.0-linux-{arch}.tar.gz");
    shell(&work, &format!("chmod 755 crictl; tar -czf {name} crictl"));
    let url = format!("{github}/kubernetes-sigs/cri-tools/releases/download/v1.33.0/{name}");
    world.publish(&url, read(&name));
    world.publish(&format!("{url}.sha256"), format!("{}\n", hash(&read(&name))));

    let name = format!("nerdctl-2.1.0-linux-{arch}.tar.gz");
    shell(
        &work,
        &format!(
            "echo '#!/bin/sh' > containerd-rootless.sh; chmod 755 nerdctl containerd-rootless.sh; tar -czf {name} nerdctl containerd-rootless.sh"
        ),
    );
    let base = format!("{github}/containerd/nerdctl/releases/download/v2.1.0");
    world.publish(&format!("{base}/{name}"), read(&name));
    world.publish(
        &format!("{base}/SHA256SUMS"),
        format!(
            "{}{}",
            line(b"full", &format!("nerdctl-full-2.1.0-linux-{arch}.tar.gz")),
            line(&read(&name), &name)
        ),
    );
}

/// Kubernetes' programs as they are, without the signatures that this test does not make.
const WISHES: [(&str, &str); 6] = [
    ("containerd@2.1.0", "bin/containerd"),
    ("runc@v1.3.0", "runc"),
    ("cni-plugins@1.7.1", "bridge"),
    ("helm@v3.18.0", "linux-amd64/helm"),
    ("crictl@1.33.0", "crictl"),
    ("nerdctl@2.1.0", "nerdctl"),
];

#[test]
fn all_tools_come_verified_and_in_one_format() {
    let world = World::plain();
    publish_all(&world, "amd64");
    for (wish, member) in WISHES.iter().chain([&("kubectl@1.33.4", "kubectl")]) {
        let added = world.add(wish).unwrap();
        let name = wish.split('@').next().unwrap();
        let version = wish.split('@').nth(1).unwrap().trim_start_matches('v');
        let file = format!("{name}-{version}-amd64.tar.zst");
        assert_eq!(added.archive, world.store().join("packages").join(name).join(file));
        assert!(added.entry.verified[0].starts_with("sha256 by http://"), "{:?}", added.entry.verified);
        let files = contents(&added.archive);
        assert!(files[*member].starts_with(b"\x7fELF"), "{wish}: {:?}", files.keys());
        for line in listing(&added.archive) {
            let mode = if line.contains("LICENSE") { "-rw-r--r--" } else { "rwxr-xr-x" };
            assert!(
                line.contains(mode) && line.contains(" 0/0 ") && line.contains("1980-01-01 00:00"),
                "{line}"
            );
        }
        assert_eq!(Digest::of(&std::fs::read(&added.archive).unwrap()), added.entry.digest);
    }
    assert_eq!(world.packages().list().unwrap().len(), 7);
    assert!(world.parts().is_empty());
}

#[test]
fn each_architecture_gets_its_own() {
    let world = World::plain();
    publish_all(&world, "amd64");
    publish_all(&world, "arm64");
    let amd = world.add("containerd@2.1.0").unwrap();
    let arm = world.add_with("containerd@2.1.0", |order| order.architecture = "arm64".into()).unwrap();
    assert!(amd.archive != arm.archive && arm.archive.ends_with("containerd-2.1.0-arm64.tar.zst"));
    let error = world.add_with("containerd@2.1.0", |order| order.architecture = "s390x".into()).unwrap_err();
    assert!(matches!(error, Error::NotForArchitecture { .. }), "{error}");
}

#[test]
fn what_is_there_is_not_fetched_again_and_asks_nobody() {
    let world = World::plain();
    world.publish_kubectl("1.33.4", &program(1, 1000));
    assert!(!world.add("kubectl@v1.33.4").unwrap().up_to_date);
    let asked = world.server.requests().len();
    for wish in ["kubectl@1.33.4", "kubectl", "kubectl@1.33"] {
        assert!(world.add(wish).unwrap().up_to_date, "{wish}");
    }
    assert_eq!(world.server.requests().len(), asked);
}

#[test]
fn the_latest_version_is_what_the_project_says() {
    let world = World::plain();
    world.publish("https://dl.k8s.io/release/stable.txt", "v1.34.1\n");
    world.publish("https://dl.k8s.io/release/stable-1.33.txt", "v1.33.9");
    world.publish_kubectl("1.34.1", &program(1, 100));
    world.publish_kubectl("1.33.9", &program(2, 100));
    assert_eq!(world.add("kubectl@latest").unwrap().entry.version.as_str(), "1.34.1");
    assert_eq!(world.add("kubectl@1.33").unwrap().entry.version.as_str(), "1.33.9");
    publish_all(&world, "amd64");
    let latest = "https://api.github.com/repos/opencontainers/runc/releases/latest";
    world.publish(latest, "{\"tag_name\": \"v1.3.0\", \"name\": \"x\"}");
    assert_eq!(world.add("runc").unwrap().entry.version.as_str(), "1.3.0");
    for nonsense in ["{}", "{\"tag_name\": \"../../etc\"}", "<html>", "{\"tag_name\": 7}"] {
        world.publish(latest, nonsense);
        let error = world.add("runc@latest").unwrap_err();
        assert!(matches!(error, Error::Latest { .. }), "{nonsense}: {error}");
    }
}

#[test]
fn an_unknown_tool_is_said_to_be_unknown() {
    let world = World::new();
    let error = world.add("contanerd@2.1.0").unwrap_err();
    assert!(matches!(&error, Error::Unknown { similar, .. } if similar[0] == "containerd"), "{error}");
    let wish: Wish = "helm".parse().unwrap();
    assert!(matches!(world.packages().find(&wish, "amd64"), Err(Error::NotCached { .. })));
}
