//! `larder package`, as users run it: several processes at once, killed ones, and the words for people and programs.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use larder_core::Digest;
use larder_testkit::{Fault, FaultRegistry, Home, Random, Rule, eventually};
use std::time::Duration;

const PATH: &str = "/files/k8s/release/v1.33.4/bin/linux/amd64/tool";

/// A server with a tool of so many bytes, and a home whose configuration knows it.
fn world(size: usize) -> (FaultRegistry, Home, Vec<u8>) {
    let server = FaultRegistry::start();
    let content = [b"\x7fELF".to_vec(), Random::new(5).bytes(size)].concat();
    let path = PATH.strip_prefix("/files/").unwrap();
    server.put_file(path, content.clone());
    server.put_file(&format!("{path}.sha256"), Digest::of(&content).hex());
    let home = Home::new().unwrap();
    let definitions = format!(
        "packages:\n- name: tool\n  url: https://dl.example/release/{{tag}}/bin/linux/{{arch}}/tool\n  binary: tool\n  \
         checksum: '{{url}}.sha256'\nrepositories:\n- {{ prefix: 'https://dl.example/', url: '{}' }}\n",
        server.url("/files/k8s")
    );
    let path = home.write("definitions.yaml", definitions).unwrap();
    let home = home.env("LARDER_PACKAGE_DEFINITIONS", path);
    (server, home, content)
}

const ADD: [&str; 5] = ["package", "add", "tool@1.33.4", "--arch", "amd64"];

#[test]
fn a_killed_download_is_continued_by_the_next_process() {
    let (server, home, content) = world(8_000_000);
    server.fault(Rule::on("GET", PATH).nth(1).fault(Fault::Throttle(8_000_000)));
    let running = home.larder(ADD).spawn().unwrap();
    let parts = home.store().join("packages/.parts");
    let grown = || {
        let entries = std::fs::read_dir(&parts).ok()?;
        let sizes = entries.filter_map(|entry| entry.ok()?.metadata().ok()).map(|metadata| metadata.len());
        sizes.max().filter(|size| *size > 2_000_000)
    };
    eventually("a part", Duration::from_secs(60), grown);
    running.kill().unwrap();
    home.run(ADD).success();
    let asked = server.requests_to("GET", PATH);
    assert_eq!(asked.len(), 2);
    assert!(asked[1].range().is_some() && asked[1].sent < 6_500_000, "{:?}", asked[1]);
    let listed = home.run(["package", "list", "--output", "json"]).json().unwrap();
    assert_eq!(listed["packages"][0]["upstream"], Digest::of(&content).to_string());
}

#[test]
fn processes_that_want_the_same_fetch_it_once() {
    let (server, home, _) = world(2_000_000);
    server.fault(Rule::on("GET", PATH).fault(Fault::Delay(Duration::from_millis(500))));
    let running: Vec<_> = (0..4).map(|_| home.larder(ADD).spawn().unwrap()).collect();
    for process in running {
        let outcome = process.wait().unwrap();
        assert!(outcome.status.success(), "{}", outcome.describe());
    }
    assert_eq!(server.count("GET", PATH), 1);
    let verified = home.run(["package", "verify", "--output", "json"]).json().unwrap();
    assert_eq!(
        (&verified["sound"], verified["damaged"].as_array().unwrap().len()),
        (&serde_json::json!(1), 0)
    );
}

#[test]
fn failures_have_their_exit_codes_and_the_others_go_on() {
    let (_server, home, _) = world(1000);
    home.run(["package", "add", "tool@9.9.9", "tool@1.33.4", "--arch", "amd64"]).fails_with(3);
    let info = home.run(["package", "info", "tool", "--arch", "amd64"]);
    assert!(info.text().contains("tool 1.33.4 amd64"), "{}", info.text());
    home.run(["package", "add", "../etc@1"]).fails_with(2);
    let info = home.run(["package", "info", "helm", "--arch", "arm64"]);
    let text = info.fails_with(3).error_text();
    assert!(text.contains("larder package add helm --arch arm64"), "{text}");
    let missing = home.run(["package", "add", "tool@9.9.9", "--arch", "amd64"]);
    assert!(missing.error_text().contains("NAME@latest"), "{}", missing.error_text());
    home.run(["package", "add", "tool@1", "--from", "/", "--arch", "amd64"]).fails_with(8);
    home.run(["package", "install", "helm"]).fails_with(2);
}

#[test]
fn statistics_and_collection_count_packages() {
    let (_server, home, _) = world(100_000);
    home.run(ADD).success();
    let stats = home.run(["stats", "--output", "json"]).json().unwrap();
    let bytes = stats["package_bytes"].as_u64().unwrap();
    assert!(stats["packages"] == 1 && bytes > 100_000 && stats["stored_bytes"] == bytes, "{stats}");
    let collected = home.run(["gc", "--quota", "1kB", "--output", "json"]).json().unwrap();
    assert_eq!((&collected["package_bytes"], &collected["kept_bytes"]), (&bytes.into(), &bytes.into()));
    let said = home.run(["gc"]);
    assert!(said.text().contains("of them packages"), "{}", said.text());
    home.run(["package", "verify"]).success();
}
