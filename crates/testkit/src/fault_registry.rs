//! A registry that misbehaves to order.

mod access;
mod content;
mod fault;
mod http;
mod log;
mod reply;
mod routes;
mod send;
mod server;
mod uploads;

pub use access::Access;
pub use fault::{Fault, Hits, Rule};
pub use log::Logged;

use bytes::Bytes;
use fault::ActiveRule;
use larder_core::{Digest, MediaType, Reference, Registry};
use server::{Order, Shared, State};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// An OCI registry (distribution-spec 1.1: pull, push, referrers, tags) in this process, in memory, over plain HTTP/1.1 on a
/// free port of 127.0.0.1. It has a thread and runtime of its own, so that blocking and async tests can use it alike. It logs
/// every request, guards by [`Access`], and goes wrong by [`Rule`]s. Dropping it ends it.
///
/// ```
/// use larder_testkit::{Fault, FaultRegistry, ImageBuilder, Rule};
/// let registry = FaultRegistry::start();
/// let image = ImageBuilder::new(1).random_layers(2, 100_000, larder_core::Compression::Gzip).build();
/// image.push(&registry, "library/app", Some("1"));
/// let layer = image.layers[0].digest;
/// let resets = registry.fault(Rule::blob(&layer).first(2).fault(Fault::Reset(30_000)));
/// // … pull registry.reference("library/app:1") …
/// # let _ = resets.count();
/// assert_eq!(registry.count("GET", "/v2/*/blobs/*"), 0);
/// ```
#[derive(Debug)]
pub struct FaultRegistry {
    shared: Arc<Shared>,
    orders: watch::Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

impl FaultRegistry {
    /// An empty, open registry.
    ///
    /// # Panics
    /// Where there is no free port or thread.
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port on 127.0.0.1");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::new(address));
        let (orders, receiver) = watch::channel(Order::Serve);
        let served = shared.clone();
        let thread = std::thread::Builder::new()
            .name("fault-registry".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .expect("a runtime for the registry");
                runtime.block_on(server::run(listener, served, receiver));
            })
            .expect("a thread for the registry");
        Self { shared, orders, thread: Some(thread) }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// `127.0.0.1:PORT`, as written in a reference.
    pub fn host(&self) -> String {
        self.shared.address.to_string()
    }

    /// The host as a registry name.
    pub fn registry(&self) -> Registry {
        Registry::new(&self.host()).expect("an address is a registry")
    }

    /// The URL of a path (`/v2/…`).
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.shared.address)
    }

    /// A reference to `image` (`repository[:tag][@digest]`) in this registry.
    ///
    /// # Panics
    /// Where `image` is not one.
    pub fn reference(&self, image: &str) -> Reference {
        format!("{}/{image}", self.host()).parse().expect("a repository with a tag or digest")
    }

    // --- content

    /// Puts a blob into a repository.
    pub fn put_blob(&self, repository: &str, content: impl Into<Bytes>) -> Digest {
        let content = content.into();
        let digest = Digest::of(&content);
        self.with(|state| state.content.put_blob(repository, digest, content));
        digest
    }

    /// Puts a blob under a digest that need not be its own: a registry whose disk is damaged.
    pub fn put_blob_as(&self, repository: &str, digest: Digest, content: impl Into<Bytes>) {
        self.with(|state| state.content.put_blob(repository, digest, content.into()));
    }

    /// Puts a manifest or index into a repository, unchecked, and tags it.
    pub fn put_manifest(
        &self,
        repository: &str,
        media_type: &MediaType,
        raw: impl Into<Bytes>,
        tag: Option<&str>,
    ) -> Digest {
        let raw = raw.into();
        let digest = Digest::of(&raw);
        self.with(|state| {
            let repository = state.content.repository(repository);
            repository.manifests.insert(digest, (media_type.clone(), raw));
            if let Some(tag) = tag {
                repository.tags.insert(tag.to_owned(), digest);
            }
        });
        digest
    }

    /// Makes a tag point at something, or moves it.
    pub fn tag(&self, repository: &str, tag: &str, digest: &Digest) {
        self.with(|state| state.content.repository(repository).tags.insert(tag.to_owned(), *digest));
    }

    /// Removes a tag.
    pub fn untag(&self, repository: &str, tag: &str) {
        self.with(|state| state.content.repository(repository).tags.remove(tag));
    }

    /// Removes a blob or manifest from a repository.
    pub fn remove(&self, repository: &str, digest: &Digest) {
        self.with(|state| {
            let repository = state.content.repository(repository);
            repository.blobs.remove(digest);
            repository.manifests.remove(digest);
        });
    }

    /// A blob of a repository.
    pub fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        self.with(|state| state.content.blob(repository, digest))
    }

    /// A manifest by tag or digest: its media type and bytes.
    pub fn manifest(&self, repository: &str, selector: &str) -> Option<(MediaType, Bytes)> {
        let found = self.with(|state| state.content.manifest(repository, selector));
        found.map(|(_, media_type, raw)| (media_type, raw))
    }

    /// The tags of a repository.
    pub fn tags(&self, repository: &str) -> Vec<String> {
        self.with(|state| state.content.repository(repository).tags.keys().cloned().collect())
    }

    /// Uploads that were begun and neither finished nor cancelled, with the bytes they have.
    pub fn open_uploads(&self) -> Vec<u64> {
        self.with(|state| state.content.uploads.values().map(|upload| upload.bytes.len() as u64).collect())
    }

    /// Serves a file at `/files/PATH`, as a web server does: with entity tag and ranges, without credentials. Returns its URL.
    pub fn put_file(&self, path: &str, content: impl Into<Bytes>) -> String {
        let path = format!("/files/{path}");
        let url = self.url(&path);
        self.with(|state| state.content.files.insert(path, content.into()));
        url
    }

    /// Serves it no more.
    pub fn remove_file(&self, path: &str) {
        self.with(|state| state.content.files.remove(&format!("/files/{path}")));
    }

    // --- manners

    /// Sets who may do what; tokens handed out before stay valid.
    pub fn set_access(&self, access: Access) {
        self.with(|state| state.access = access);
    }

    /// Makes all access tokens invalid: the next request with one gets a 401, even in the middle of a layer.
    pub fn expire_tokens(&self) {
        self.with(|state| state.tokens.expire());
    }

    /// Makes all access and identity tokens invalid.
    pub fn revoke_tokens(&self) {
        self.with(|state| state.tokens.revoke());
    }

    /// Makes all signed URLs invalid: they answer 403, as storage services do.
    pub fn expire_signed_urls(&self) {
        self.with(|state| state.signed.clear());
    }

    /// A signed URL of a blob in this registry's storage, good for `uses` requests without credentials: a place for
    /// redirects of another registry to lead to.
    pub fn signed_url(&self, digest: &Digest, uses: u32) -> String {
        let key = self.with(|state| server::sign(state, *digest, uses));
        self.url(&format!("/storage/{digest}?key={key}"))
    }

    /// Turns the referrers API off (404, and no `OCI-Subject`) or on again.
    pub fn set_referrers_api(&self, on: bool) {
        self.with(|state| state.referrers_api = on);
    }

    /// Takes manifests whose blobs are not there, or not (the default).
    pub fn set_lenient(&self, lenient: bool) {
        self.with(|state| state.check_references = !lenient);
    }

    /// Answers uploads with a `Location` without host.
    pub fn set_relative_locations(&self, relative: bool) {
        self.with(|state| state.relative_locations = relative);
    }

    /// Scripts faults. Rules add up: a request gets the faults of every rule that strikes, older rules first.
    pub fn fault(&self, rule: Rule) -> Hits {
        let (active, hits) = ActiveRule::new(rule);
        self.with(|state| state.rules.push(active));
        hits
    }

    /// Behaves again.
    pub fn clear_faults(&self) {
        self.with(|state| state.rules.clear());
    }

    /// Goes down: connections break, new ones are refused. Content and log stay. Returns when it is so.
    pub fn down(&self) {
        self.order(Order::Rest, false);
    }

    /// Comes back on the same port. Returns when it listens.
    pub fn up(&self) {
        self.order(Order::Serve, true);
    }

    // --- the log

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Logged> {
        self.with(|state| state.log().to_vec())
    }

    /// The requests that match, by the rules of [`Rule::on`].
    pub fn requests_to(&self, methods: &str, path: &str) -> Vec<Logged> {
        self.with(|state| {
            state.log().iter().filter(|logged| logged.matches(methods, path)).cloned().collect()
        })
    }

    /// How many requests match, by the rules of [`Rule::on`].
    pub fn count(&self, methods: &str, path: &str) -> usize {
        self.with(|state| state.log().iter().filter(|logged| logged.matches(methods, path)).count())
    }

    /// Forgets requests and byte counts so far. A request under way is not in the new log.
    pub fn clear_log(&self) {
        self.with(State::clear_log);
    }

    /// Bytes sent in 200 and 206 answers for this digest, all together.
    pub fn bytes_sent(&self, digest: &Digest) -> u64 {
        self.with(|state| state.sent.get(digest).copied().unwrap_or(0))
    }

    /// Body bytes sent in all.
    pub fn total_sent(&self) -> u64 {
        self.with(|state| state.log().iter().map(|logged| logged.sent).sum())
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> u64 {
        self.with(|state| state.connections)
    }

    /// The most requests that were in flight at once.
    pub fn peak_requests(&self) -> u64 {
        self.with(|state| state.peak)
    }

    /// Requests in flight now.
    pub fn active_requests(&self) -> u64 {
        self.with(|state| state.active)
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        self.shared.with(f)
    }

    fn order(&self, order: Order, listening: bool) {
        self.orders.send_replace(order);
        crate::eventually("the registry obeys", Duration::from_secs(10), || {
            (self.with(|state| state.listening) == listening).then_some(())
        });
    }
}

impl Drop for FaultRegistry {
    fn drop(&mut self) {
        self.orders.send_replace(Order::End);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
