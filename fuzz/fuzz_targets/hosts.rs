//! `hosts.toml`: any file leads to an error that is said, or to hosts that are asked; never to a panic, and never to a
//! connection that the limits forbid.
#![no_main]

use larder_core::{Registry, Repository};
use larder_remote::{Auth, Client, Config};
use libfuzzer_sys::fuzz_target;
use std::sync::Arc;
use std::time::Duration;

fuzz_target!(|text: &[u8]| {
    let directory =
        tempfile::tempdir_in(if cfg!(target_os = "linux") { "/dev/shm" } else { "." }).expect("a directory");
    let host = directory.path().join("registry.example");
    std::fs::create_dir(&host).expect("a directory");
    std::fs::write(host.join("hosts.toml"), text).expect("a file");
    let config = Config {
        certs_dirs: vec![directory.path().to_owned()],
        attempts: 1,
        retry_budget: 0,
        backoff_base: Duration::ZERO,
        backoff_max: Duration::ZERO,
        connect_timeout: Duration::from_secs(1),
        // Nothing leaves this process: no name has an address, and no address may be dialed.
        lookup: Some(Arc::new(|_| Some(Vec::new()))),
        blocked_networks: ["0.0.0.0/0", "::/0"].map(|all| all.parse().expect("a network")).into(),
        ..Config::default()
    };
    let client = Client::new(config).expect("no proxy, nothing to fail");
    let registry = Registry::new("registry.example").expect("a registry");
    let repository = Repository::new("library/app").expect("a repository");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let answer = runtime.block_on(client.repository(&registry, &repository, Auth::Anonymous).resolve("1"));
    assert!(answer.is_err(), "there is nobody who could have answered");
});
