//! Every tier of the product passes the conformance suites.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

use larder_core::{Reference, silent};
use larder_fetch::{DiskTier, MemoryTier, RegistryTier, Scope};
use larder_remote::{Auth, Client, Config};
use larder_store::{Options, Store};
use larder_testkit::{FaultRegistry, suite};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

fn store(home: &std::path::Path) -> Store {
    Store::open(home, Options { boot_id: "test".into(), clock: Arc::new(SystemTime::now) }).unwrap()
}

fn scope(store: &Store, reference: Reference) -> Scope {
    Scope { reference, auth: Auth::Anonymous, lease: store.lease("test").unwrap(), progress: silent() }
}

#[tokio::test]
async fn memory_conforms() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path());
    let scope = scope(&store, "127.0.0.1:1/a:1".parse().unwrap());
    suite::tier(&MemoryTier::new(32 << 20, Duration::ZERO), &scope).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn disk_conforms() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path());
    let scope = scope(&store, "127.0.0.1:1/a:1".parse().unwrap());
    let disk = DiskTier::new(store.clone(), Duration::ZERO, Arc::new(SystemTime::now));
    suite::tier(&disk, &scope).await;
    let lease = scope.lease.clone();
    let put = |_: &larder_core::Descriptor, content: &[u8]| {
        store.put(content, larder_store::BlobKind::Other, &lease).map(drop).unwrap();
    };
    suite::source(suite::SourceUnderTest { source: &disk, put: &put }, &scope).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn registries_conform() {
    let home = tempfile::tempdir().unwrap();
    let store = store(home.path());
    let registry = FaultRegistry::start();
    let scope = scope(&store, registry.reference("a:1"));
    let tier = RegistryTier::new(Client::new(Config::default()).unwrap(), 4);
    let put = |_: &larder_core::Descriptor, content: &[u8]| {
        registry.put_blob("a", content.to_vec());
    };
    suite::source(suite::SourceUnderTest { source: &tier, put: &put }, &scope).await;
}
