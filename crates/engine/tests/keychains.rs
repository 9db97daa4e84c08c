//! Every keychain of the product passes the conformance suite.

use larder_core::Secret;
use larder_remote::{Cached, Chain, Credential, DockerConfig, PerHost};
use larder_testkit::suite;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn per_host() -> PerHost {
    let credential = Credential::Basic { username: "ann".into(), password: Secret::new("p w:1") };
    PerHost::new([("known.example".to_owned(), credential)])
}

#[tokio::test]
async fn configuration_chain_and_cache_conform() {
    suite::keychain(&per_host(), "ann", "p w:1").await;
    let empty = PerHost::new([]);
    let chain = Arc::new(Chain(vec![Arc::new(empty), Arc::new(per_host())]));
    suite::keychain(&*chain, "ann", "p w:1").await;
    suite::keychain(&Cached::new(chain, Duration::from_secs(900), Arc::new(SystemTime::now)), "ann", "p w:1")
        .await;
}

#[tokio::test]
async fn dockers_file_and_helpers_conform() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.json");
    // base64 of "ann:p w:1"
    std::fs::write(&file, r#"{"auths":{"known.example":{"auth":"YW5uOnAgdzox"}}}"#).unwrap();
    suite::keychain(&DockerConfig::new(vec![file.clone()], Vec::new()), "ann", "p w:1").await;
    let helper = dir.path().join("docker-credential-test");
    let script = "#!/bin/sh\nread host\ncase \"$host\" in *known.example) echo '{\"Username\":\"ann\",\"Secret\":\"p w:1\"}';; \
                  *) echo 'credentials not found in native keychain'; exit 1;; esac\n";
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(&file, r#"{"credHelpers":{"known.example":"test"}}"#).unwrap();
    suite::keychain(&DockerConfig::new(vec![file], vec![dir.path().to_owned()]), "ann", "p w:1").await;
}
