//! A running server.

use larder_core::{Digest, RepositoryName};
use larder_server::{Access, AccessSettings, KeySource, Parts, Record, Server, Settings, Trouble};
use larder_store::{BlobKind, HeldKind, Options, Store};
use larder_testkit::{RawRequest, RawResponse};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};
use tempfile::TempDir;
use tokio::sync::oneshot;

/// A server on a free port, until it is dropped.
pub(crate) struct House {
    pub(crate) store: Store,
    pub(crate) address: SocketAddr,
    pub(crate) records: Arc<Mutex<Vec<Record>>>,
    pub(crate) home: TempDir,
    leave: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct NoKeys;

#[async_trait::async_trait]
impl KeySource for NoKeys {
    async fn fetch(&self, url: &str) -> Result<Vec<u8>, Trouble> {
        panic!("nobody asks for {url}")
    }
}

impl House {
    /// Open to everybody.
    pub(crate) fn open() -> Self {
        Self::with(
            Settings::default(),
            serde_json::json!({
                "rules": [{ "repositories": ["**"], "anonymous": true, "allow": ["pull", "push", "delete", "admin"] }]
            }),
        )
    }

    pub(crate) fn with(settings: Settings, access: serde_json::Value) -> Self {
        let home = tempfile::tempdir().unwrap();
        let options = Options { boot_id: "boot".into(), clock: Arc::new(SystemTime::now) };
        let store = Store::open(home.path(), options).unwrap();
        let access: AccessSettings = serde_json::from_value(access).unwrap();
        let access = Access::new(access, Arc::new(SystemTime::now), Arc::new(NoKeys)).unwrap();
        let records: Arc<Mutex<Vec<Record>>> = Arc::default();
        let written = records.clone();
        let parts = Parts {
            store: store.clone(),
            access: Arc::new(access),
            on_miss: None,
            sinks: vec![Arc::new(move |record| written.lock().unwrap().push(record.clone()))],
            clock: Arc::new(SystemTime::now),
        };
        let (leave, left) = oneshot::channel();
        let (told, address) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                told.send(listener.local_addr().unwrap()).unwrap();
                let server = Server::new(settings, parts);
                server.serve(listener, None, async move { drop(left.await) }).await;
            });
        });
        let address = address.recv().unwrap();
        Self { store, address, records, home, leave: Some(leave), thread: Some(thread) }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn get(&self, path: &str) -> RawResponse {
        RawRequest::get(&self.url(path)).header("Connection", "close").send()
    }

    pub(crate) fn send(&self, method: &str, path: &str) -> RawRequest {
        RawRequest::new(method, &self.url(path)).header("Connection", "close")
    }

    /// Puts a blob into a repository by the back door.
    pub(crate) fn hold(&self, repository: &str, bytes: &[u8]) -> Digest {
        let repository: RepositoryName = repository.parse().unwrap();
        let lease = self.store.lease("test").unwrap();
        let blob = self.store.put(bytes, BlobKind::Other, &lease).unwrap();
        self.store.hold(&repository, blob.digest(), HeldKind::Blob).unwrap();
        *blob.digest()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        drop(self.leave.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Waits for something to become true.
pub(crate) fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    larder_testkit::eventually(what, Duration::from_secs(60), || is().then_some(()));
}

/// A header of an answer.
pub(crate) fn header<'a>(response: &'a RawResponse, name: &str) -> Option<&'a str> {
    let found = response.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.as_str())
}

/// Bytes that do not repeat.
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ length as u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}
