//! Nodes are machines of their own.

use anyhow::{Context as _, Result};
use larder_core::Compression;
use larder_testkit::nodes::{Engine, Fleet, Link, Node, Plan};
use larder_testkit::tools::tool;
use larder_testkit::{Image, ImageBuilder, Member, Outcome, Random, TarBuilder, busybox, eventually};
use serde_json::json;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

fn ssh(node: &Node, way: SocketAddr, known_hosts: &Path, command: &str, input: &[u8]) -> Result<Outcome> {
    tool("ssh")?
        .args(["-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"])
        .args(["-o", "GlobalKnownHostsFile=none", "-o", "IdentitiesOnly=yes", "-o", "ConnectTimeout=20"])
        .arg("-o")
        .arg(format!("UserKnownHostsFile={}", known_hosts.display()))
        .arg("-i")
        .arg(node.key())
        .args(["-p", &way.port().to_string(), &format!("{}@{}", node.user(), way.ip()), command])
        .input(input)
        .limit(Duration::from_secs(60))
        .outcome()
}

/// An OCI archive of an image under a name.
fn archive(image: &Image, name: &str) -> Vec<u8> {
    let mut entry = json!(image.descriptor);
    entry["annotations"] = json!({ "io.containerd.image.name": name });
    let index = json!({ "schemaVersion": 2, "manifests": [entry] }).to_string();
    let mut tar = TarBuilder::new()
        .member(&Member::file("oci-layout", r#"{"imageLayoutVersion":"1.0.0"}"#))
        .member(&Member::file("index.json", index));
    for (descriptor, content) in image.blobs.iter().chain(&image.documents) {
        let path = format!("blobs/sha256/{}", descriptor.digest.hex());
        tar = tar.member(&Member::file(&path, content.clone()));
    }
    tar.build()
}

#[test]
fn the_key_opens_and_only_the_right_host_key_is_trusted() -> Result<()> {
    let fleet = Fleet::start(2, &Engine::None)?;
    let (one, other) = (&fleet[0], &fleet[1]);
    let log_in = |known_hosts: &Path| ssh(one, one.socket_address(), known_hosts, "hostname; cat", b"in");
    let outcome = log_in(one.known_hosts())?;
    assert_eq!(outcome.success().text(), "worker-1\nin");

    let stranger = fleet.directory().join("stranger");
    std::fs::write(&stranger, format!("{} {}\n", one.address(), other.host_key()))?;
    let outcome = log_in(&stranger)?;
    assert!(outcome.fails_with(255).error_text().contains("HOST IDENTIFICATION HAS CHANGED"));
    let outcome = log_in(other.known_hosts())?;
    assert!(outcome.fails_with(255).error_text().contains("Host key verification failed"));
    Ok(())
}

#[test]
fn nodes_share_neither_files_nor_names_nor_processes() -> Result<()> {
    let fleet = Fleet::start(2, &Engine::None)?;
    let [one, other] = fleet.nodes() else { unreachable!("two were asked for") };
    for path in [
        "/usr/local/bin/x",
        "/etc/x",
        "/var/lib/x",
        "/opt/x",
        "/root/x",
        "/run/x",
        "/tmp/x",
        "/usr/bin/x-only-here",
    ] {
        std::fs::write(one.file(path), "x")?;
        assert!(!other.file(path).exists() && !Path::new(path).exists(), "{path}");
    }
    one.run(["ls", "/work", "/home"])?;
    assert_eq!(other.run(["hostname"])?.text(), "worker-2\n");
    let processes = one.run(["ps", "-e", "-o", "args="])?.text();
    assert!(processes.contains("sshd") && processes.lines().count() < 8, "{processes}");
    let addresses = one.run(["ip", "-brief", "address"])?.text();
    assert!(addresses.contains(&one.address().to_string()), "{addresses}");
    assert!(!addresses.contains(&other.address().to_string()), "{addresses}");
    Ok(())
}

#[test]
fn a_reboot_kills_everything_and_keeps_the_disk() -> Result<()> {
    let mut fleet = Fleet::with(&[Plan::new("n", Engine::None).disk(64 << 20)])?;
    let node = &mut fleet[0];
    std::fs::write(node.file("/var/lib/kept"), "kept")?;
    std::fs::write(node.file("/usr/local/bin/kept"), "kept")?;
    std::fs::write(node.file("/run/lost"), "lost")?;
    let sleeper = node.command(["sleep", "600"])?.spawn()?;
    node.reboot()?;
    assert_eq!(sleeper.wait()?.signal(), Some(9));
    assert_eq!(std::fs::read_to_string(node.file("/var/lib/kept"))?, "kept");
    assert_eq!(std::fs::read_to_string(node.file("/usr/local/bin/kept"))?, "kept");
    assert!(!node.file("/run/lost").exists());
    let outcome = ssh(node, node.socket_address(), node.known_hosts(), "echo back", b"")?;
    assert_eq!(outcome.success().text(), "back\n");

    node.fill_disk(1 << 20)?;
    let full = node.run(["dd", "if=/dev/zero", "of=/opt/big", "bs=1M", "count=2"])?;
    assert!(full.fails_with(1).error_text().contains("No space left"));
    node.free_disk()?;
    node.run(["dd", "if=/dev/zero", "of=/opt/big", "bs=1M", "count=2"])?.success();
    assert!(node.disk_used()? > 2 << 20);
    Ok(())
}

#[test]
fn images_are_imported_and_run_in_containerd_and_in_docker() -> Result<()> {
    let image = ImageBuilder::new(1).layer(busybox(Compression::Gzip)?).build();
    let fleet = Fleet::with(&[
        Plan::new("c", Engine::Containerd),
        Plan::new("small", Engine::Containerd).disk(64 << 20),
        Plan::new("d", Engine::Docker),
    ])?;
    let name = "docker.io/library/tool:1";
    for node in &fleet.nodes()[..2] {
        let import = "ctr --namespace k8s.io images import -";
        ssh(node, node.socket_address(), node.known_hosts(), import, &archive(&image, name))?.success();
        let checked = node.ctr(["images", "check", &format!("name=={name}")])?.text();
        assert!(checked.contains("complete (2/2)"), "{checked}");
        let said = node.ctr(["run", "--rm", name, "one", "/bin/busybox", "echo", "hello"])?;
        assert_eq!(said.text(), "hello\n");
    }
    let docker = fleet[2].docker(["info", "--format", "{{.Name}} {{.Driver}}"])?;
    assert_eq!(docker.text(), "d overlay2\n");
    Ok(())
}

#[test]
fn a_link_counts_slows_stalls_and_cuts() -> Result<()> {
    let fleet = Fleet::start(1, &Engine::None)?;
    let node = &fleet[0];
    let link = Link::to(node)?;
    let sink = |bytes: usize| {
        let input = Random::new(1).bytes(bytes);
        ssh(node, link.address(), link.known_hosts(), "wc -c", &input)
    };
    assert_eq!(sink(1 << 20)?.success().text(), format!("{}\n", 1 << 20));
    let sent = link.sent();
    assert!((1 << 20..(1 << 20) + 100_000).contains(&sent), "{sent}");
    assert!(link.received() > 1000 && link.connections() == 1);

    link.cut_after(300_000);
    sink(1 << 20)?.fails_with(255);
    assert_eq!((link.sent() - sent, link.cuts()), (300_000, 1));
    sink(1 << 20)?.success();

    link.rate(Some(1 << 20));
    let start = Instant::now();
    sink(1 << 20)?.success();
    assert!(start.elapsed() > Duration::from_millis(700), "{:?}", start.elapsed());
    link.rate(None);

    link.stall();
    let before = link.sent();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| sink(10));
        eventually("it connects", Duration::from_secs(10), || (link.connections() == 5).then_some(()));
        assert_eq!(link.sent(), before);
        link.resume();
        waiting.join().expect("no panic")?.success();
        anyhow::Ok(())
    })?;

    link.down();
    sink(10)?.fails_with(255);
    link.up();
    sink(10)?.success();
    link.known_hosts().exists().then_some(()).context("its file lasts as long as it does")
}
