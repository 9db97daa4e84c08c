//! The seam to where things come from that the store lacks.

use crate::Caller;
use async_trait::async_trait;
use larder_core::{Descriptor, Digest, Kind, Registry, RepositoryName, Tag};
use larder_store::Follower;
use std::fmt;

/// Brings what the store lacks, and knows who may see what came from elsewhere.
///
/// Declared here, implemented above: the server itself never opens a connection outward.
#[async_trait]
pub trait OnMiss: Send + Sync {
    /// Whether there is an upstream for this registry. Repositories of others are only what was put into them.
    fn covers(&self, registry: &Registry) -> bool;

    /// Whether `caller` may read a repository now, by the word of its upstream. Asked before anything of a covered repository
    /// is served, also from the store; answers come from a cache of bounded age. `about` is what the caller wants to read
    /// there, which is the cheapest thing to ask the upstream for.
    async fn authorize(
        &self,
        repository: &RepositoryName,
        about: Option<&Selector>,
        caller: &Caller,
    ) -> Result<(), Trouble>;

    /// Makes sure that the store has a manifest, and says what the selector stands for now. Called after
    /// [`OnMiss::authorize`], for tags always and for digests that the repository does not hold.
    async fn manifest(
        &self,
        repository: &RepositoryName,
        selector: &Selector,
        caller: &Caller,
    ) -> Result<Found, Trouble>;

    /// Starts to bring a blob that the store does not have, or joins whoever is bringing it already.
    async fn blob(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        caller: &Caller,
    ) -> Result<Bringing, Trouble>;

    /// How long a blob is that the store does not have. Brings nothing.
    async fn blob_size(
        &self,
        repository: &RepositoryName,
        digest: &Digest,
        caller: &Caller,
    ) -> Result<u64, Trouble>;

    /// All tags upstream, sorted. `None`: it could not be asked; what the store knows has to do.
    async fn tags(&self, repository: &RepositoryName, caller: &Caller) -> Result<Option<Vec<Tag>>, Trouble>;

    /// What is attached to `subject` upstream. `None`: it could not be asked; what the store knows has to do.
    async fn referrers(
        &self,
        repository: &RepositoryName,
        subject: &Digest,
        caller: &Caller,
    ) -> Result<Option<Vec<Descriptor>>, Trouble>;

    /// How the upstreams are, for `/readyz` and metrics. Never waits for one of them.
    fn states(&self) -> Vec<UpstreamState>;
}

/// Which manifest of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Selector {
    /// By name.
    Tag(Tag),
    /// By content.
    Digest(Digest),
}

/// A manifest that is in the store now.
#[derive(Debug, Clone)]
pub struct Found {
    /// What the selector stands for. Type and size are those of the stored document.
    pub descriptor: Descriptor,
    /// How sure that is.
    pub freshness: Freshness,
}

/// How current an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Freshness {
    /// Known for less than the configured time, or immutable.
    Fresh,
    /// The upstream has just said so.
    Confirmed,
    /// Just fetched.
    Fetched,
    /// The upstream cannot be asked; this is what it said last.
    Stale,
}

/// A blob on its way.
#[derive(Debug)]
pub enum Bringing {
    /// It is in the store now.
    Here,
    /// It is being written; this reads along, from the first byte on.
    Coming {
        /// Reads behind the writer. Its end comes only when the bytes hash to the name.
        follower: Follower,
        /// How long the blob will be.
        size: u64,
    },
}

/// How one upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamState {
    /// Which registry it stands for.
    pub registry: Registry,
    /// The last attempt to speak to it succeeded. `None`: not tried yet.
    pub reachable: Option<bool>,
    /// Requests sent to it since the start.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Bytes of blobs and manifests it sent.
    pub bytes: u64,
    /// Answers given from the store because it could not be reached.
    pub stale: u64,
}

/// Why something could not be brought. The message is for the log: it may name hosts, and never reaches a client.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// Decides the status: not found 404, denied 401 or 403, unavailable 503 or 502, corrupt 502, …
    pub kind: Kind,
    /// What happened, for the log.
    pub message: String,
    /// The caller was anonymous and the upstream wants a credential: worth asking the client for one.
    pub wants_credential: bool,
    /// How long the upstream asked to be left alone.
    pub retry_after: Option<std::time::Duration>,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Trouble {}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => tag.fmt(f),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}
