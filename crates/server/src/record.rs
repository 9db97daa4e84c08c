//! What happened: one record per request, for logs and the audit log.

use crate::{Action, Freshness, Login};
use larder_core::{Digest, RepositoryName};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// One request and its answer, complete once the last byte has left or the connection broke.
#[derive(Debug, Clone)]
pub struct Record {
    /// When the request had been read.
    pub time: SystemTime,
    /// Its name, as in the `X-Request-Id` of the answer.
    pub id: String,
    /// The method.
    pub method: String,
    /// The path without query, at most 512 bytes of it.
    pub path: String,
    /// The kind of route: `manifest`, `blob`, `upload`, …
    pub route: &'static str,
    /// What it took; `None` for paths that do not exist.
    pub action: Option<Action>,
    /// Which repository, by its full name.
    pub repository: Option<RepositoryName>,
    /// The tag, digest or upload that was asked for.
    pub reference: Option<String>,
    /// What was read, written or deleted.
    pub digest: Option<Digest>,
    /// What a tag stood for before it was moved or deleted.
    pub before: Option<Digest>,
    /// The account; `None` for anonymous callers.
    pub caller: Option<String>,
    /// How it was proven.
    pub login: Login,
    /// From where.
    pub address: IpAddr,
    /// What the client calls itself, at most 256 bytes of it.
    pub agent: Option<String>,
    /// The status of the answer; 499 if the client left before there was one.
    pub status: u16,
    /// Bytes of the answer's body that were handed to the connection.
    pub sent: u64,
    /// Bytes of the request's body.
    pub received: u64,
    /// From the head of the request to the end of the answer.
    pub elapsed: Duration,
    /// How current the answer was, where an upstream had a say.
    pub freshness: Option<Freshness>,
    /// The answer ended early.
    pub broken: bool,
    /// Why it was refused or failed, for the operator.
    pub reason: Option<String>,
}

/// Takes records; called from any thread, must not block.
pub type Sink = Arc<dyn Fn(&Record) + Send + Sync>;
