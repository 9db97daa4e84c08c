//! buildah, podman, Docker's engine and containerd: they build, push, pull and run on what they pulled.

use larder_core::Compression;
use larder_testkit::tools::{Buildah, Containerd, Docker, Podman};
use larder_testkit::{DockerRegistry, Family, Home, Image, ImageBuilder, IndexBuilder, Layer, Random, Serve};
use std::path::PathBuf;

fn server() -> (Home, Serve) {
    let home = Home::new().unwrap();
    let server = home.serve(["--offline"]).unwrap();
    (home, server)
}

/// A directory with a Containerfile for two layers.
fn context(home: &Home) -> PathBuf {
    home.write("context/Containerfile", "FROM scratch\nCOPY one /srv/one\nCOPY two /srv/two\nENV A=b\n")
        .unwrap();
    home.write("context/one", "one").unwrap();
    home.write("context/two", vec![7; 300_000]).unwrap();
    home.path().join("context")
}

fn tree(seed: u64, family: Family) -> Image {
    let mut random = Random::new(seed);
    ImageBuilder::new(seed)
        .family(family)
        .layer(Layer::tree(&mut random, 20, 100_000, Compression::Gzip))
        .layer(Layer::tree(&mut random, 5, 10_000, Compression::Gzip))
        .build()
}

#[test]
fn buildah_builds_pushes_and_pulls() {
    let (home, server) = server();
    let context = context(&home);
    let containerfile = std::fs::read_to_string(context.join("Containerfile")).unwrap();
    for family in [Family::Oci, Family::Docker] {
        let name = format!("{}/buildah/{family:?}:1", server.host()).to_lowercase();
        let buildah = Buildah::new().unwrap();
        buildah.build("localhost/built:1", &containerfile, &context, family).unwrap();
        buildah.push("localhost/built:1", &format!("docker://{name}")).unwrap();
        // Again, now that everything is known.
        buildah.push("localhost/built:1", &format!("docker://{name}")).unwrap();
        let other = Buildah::new().unwrap();
        let policy = home.write("policy.json", r#"{"default":[{"type":"insecureAcceptAnything"}]}"#).unwrap();
        let pull = other.command().unwrap().args(["pull", "--tls-verify=false", "--signature-policy"]);
        pull.arg(&policy).arg(&name).run().unwrap();
        let inspected = other.command().unwrap().args(["inspect", "--type", "image", &name]).run().unwrap();
        assert!(inspected.text().contains("A=b"), "{}", inspected.describe());
    }
}

#[test]
fn podman_builds_pushes_and_pulls() {
    let (home, server) = server();
    let context = context(&home).display().to_string();
    let podman = Podman::new().unwrap();
    let name = format!("{}/podman/app:1", server.host());
    podman.run(&["build", "--isolation", "chroot", "--layers", "--tag", &name, &context]).unwrap();
    podman.run(&["push", "--tls-verify=false", &name]).unwrap();
    let id = podman.run(&["image", "inspect", "--format", "{{.Id}}", &name]).unwrap().text();
    podman.run(&["rmi", "--all", "--force"]).unwrap();
    podman.run(&["pull", "--tls-verify=false", &name]).unwrap();
    assert_eq!(podman.run(&["image", "inspect", "--format", "{{.Id}}", &name]).unwrap().text(), id);
    let saved = home.path().join("saved.tar").display().to_string();
    podman.run(&["save", "--output", &saved, &name]).unwrap();
    // A list of manifests, made by podman.
    let list = format!("{}/podman/list:1", server.host());
    podman.run(&["manifest", "create", &list]).unwrap();
    podman.run(&["manifest", "add", "--tls-verify=false", &list, &format!("docker://{name}")]).unwrap();
    podman
        .run(&["manifest", "push", "--all", "--tls-verify=false", &list, &format!("docker://{list}")])
        .unwrap();
    podman.run(&["rmi", "--all", "--force"]).unwrap();
    podman.run(&["pull", "--tls-verify=false", &list]).unwrap();
    podman
        .run(&["search", "--tls-verify=false", "--list-tags", &format!("{}/podman/app", server.host())])
        .unwrap();
}

#[test]
fn docker_builds_pushes_and_pulls() {
    let (home, server) = server();
    let context = context(&home).display().to_string();
    let docker = Docker::start().unwrap();
    let name = format!("{}/docker/app:1", server.host());
    let file = format!("{context}/Containerfile");
    docker.run(&["build", "--tag", &name, "--file", &file, &context]).unwrap();
    let pushed = docker.run(&["push", &name]).unwrap().text();
    let id = docker.run(&["image", "inspect", "--format", "{{.Id}}", &name]).unwrap().text();
    // What is elsewhere in the registry is mounted.
    let other = format!("{}/docker/other:1", server.host());
    docker.run(&["tag", &name, &other]).unwrap();
    let mounted = docker.run(&["push", &other]).unwrap().text();
    assert!(mounted.contains("Mounted from"), "{mounted}");
    docker.run(&["rmi", "--force", &id.trim()[7..]]).unwrap();
    let digest = pushed.split_whitespace().find(|word| word.starts_with("sha256:")).unwrap();
    for reference in [name.clone(), format!("{}/docker/other@{digest}", server.host())] {
        docker.run(&["pull", &reference]).unwrap();
        assert_eq!(docker.run(&["image", "inspect", "--format", "{{.Id}}", &reference]).unwrap().text(), id);
    }
    // A list of manifests, made by the client, of what is in another repository.
    let list = format!("{}/docker/list:1", server.host());
    docker.run(&["manifest", "create", "--insecure", &list, &name]).unwrap();
    docker.run(&["manifest", "push", "--insecure", &list]).unwrap();
    docker.run(&["manifest", "inspect", "--insecure", &list]).unwrap();
    docker.run(&["tag", &name, &format!("{}/docker/app:2", server.host())]).unwrap();
    docker.run(&["push", "--all-tags", &format!("{}/docker/app", server.host())]).unwrap();
    docker.run(&["rmi", "--force", &id.trim()[7..]]).unwrap();
    docker.run(&["pull", "--all-tags", &format!("{}/docker/app", server.host())]).unwrap();
    docker.run(&["image", "inspect", &format!("{}/docker/app:2", server.host())]).unwrap();
}

#[test]
fn docker_pulls_what_is_on_its_hub_through_a_mirror() {
    let hub = DockerRegistry::start().unwrap();
    let image = tree(200, Family::Docker);
    hub.push(&image, "library/app", Some("latest")).unwrap();
    let home = Home::new().unwrap();
    let upstream = format!("docker.io={}", hub.url());
    let server = home.serve(["--upstream", &upstream, "--default-namespace", "docker.io"]).unwrap();
    let docker = Docker::with(&["--registry-mirror", &server.url("/")]).unwrap();
    docker.run(&["pull", "app"]).unwrap();
    let digests = docker.run(&["image", "inspect", "--format", "{{.RepoDigests}}", "app"]).unwrap().text();
    assert!(digests.contains(&image.digest().to_string()), "{digests}");
    // From now on it is here, whatever becomes of the hub.
    drop(hub);
    docker.run(&["rmi", "--force", "app"]).unwrap();
    docker.run(&["pull", &format!("app@{}", image.digest())]).unwrap();
}

#[test]
fn containerd_pulls_what_was_pushed_and_pushes_it_back() {
    let (home, server) = server();
    let containerd = Containerd::start().unwrap();
    let index = {
        let (amd64, arm64) = (tree(210, Family::Oci), tree(211, Family::Oci));
        IndexBuilder::new(Family::Oci).image(&amd64).image(&arm64).build()
    };
    let layout = home.path().join("in");
    index.write_layout(&layout, Some("1")).unwrap();
    let first = server.reference("team/app:1").to_string();
    let skopeo = larder_testkit::tools::Skopeo::new().unwrap();
    let all = larder_testkit::tools::SkopeoCopy { all: true, preserve_digests: true, ..Default::default() };
    skopeo.copy(&format!("oci:{}:1", layout.display()), &format!("docker://{first}"), &all).unwrap();
    let ctr = |args: &[&str]| containerd.ctr().unwrap().args(args).run().unwrap();
    ctr(&["images", "pull", "--plain-http", "--snapshotter", "native", "--all-platforms", &first]);
    let root = index.digest().to_string();
    assert_eq!(containerd.read(&root).unwrap().stdout, index.raw().to_vec());
    let second = server.reference("team/back:1").to_string();
    ctr(&["images", "tag", &first, &second]);
    ctr(&["images", "push", "--plain-http", &second]);
    assert_eq!(skopeo.raw_manifest(&format!("docker://{second}")).unwrap(), index.raw().to_vec());
}

#[test]
fn containerd_pulls_through_a_mirror_with_the_name_of_the_upstream() {
    let upstream = DockerRegistry::start().unwrap();
    let image = tree(220, Family::Docker);
    upstream.push(&image, "team/app", Some("1")).unwrap();
    let home = Home::new().unwrap();
    let server = home.serve(["--upstream", &format!("registry.test={}", upstream.url())]).unwrap();
    let containerd = Containerd::start().unwrap();
    let toml = format!(
        "server = \"https://registry.test\"\n[host.\"{}\"]\n  capabilities = [\"pull\", \"resolve\"]\n",
        server.url("")
    );
    let hosts = containerd.hosts("registry.test", &toml).unwrap().display().to_string();
    let pull = |reference: &str| {
        let ctr = containerd.ctr().unwrap();
        ctr.args(["images", "pull", "--hosts-dir", &hosts, "--snapshotter", "native", reference])
            .run()
            .unwrap()
    };
    pull("registry.test/team/app:1");
    let content = containerd.content().unwrap();
    assert!(content.contains(&image.digest().to_string()), "{content:?}");
    let asked = upstream.requests("GET", "/v2/");
    let log = server.log();
    assert!(log.contains("registry.test/team/app"), "{log}");
    // Another node finds everything here.
    let other = Containerd::start().unwrap();
    let hosts = other.hosts("registry.test", &toml).unwrap().display().to_string();
    let by_digest = format!("registry.test/team/app@{}", image.digest());
    let ctr = other.ctr().unwrap();
    ctr.args(["images", "pull", "--hosts-dir", &hosts, "--snapshotter", "native", &by_digest]).run().unwrap();
    assert_eq!(upstream.requests("GET", "/blobs/") + upstream.requests("GET", "/manifests/"), {
        let blobs = image.blobs.len();
        assert!(asked > blobs);
        blobs + 1
    });
}
