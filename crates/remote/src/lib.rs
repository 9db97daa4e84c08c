//! Everything that speaks HTTP outward: transport, the credential chain and the OCI distribution client.
//!
//! A [`Client`] holds connections, tokens and the retry budget; a [`Repo`] is a cheap handle on one repository, for somebody
//! ([`Auth`]). Content is pulled with [`Repo::resolve`], [`Repo::manifest`] and [`Repo::blob`], pushed with
//! [`Repo::push_blob`] and [`Repo::push_manifest`].
//!
//! An [`ApiServer`] is Kubernetes', reached as a [`Kubeconfig`] says, and is only read.
//!
//! What it guarantees, whatever the other side does:
//!
//! - Credentials go to the host they are for and to its own token server; never to a redirect's target, an upload location
//!   on another host, a foreign layer or a mirror, and never from TLS to plain http.
//! - Servers cannot send it to private addresses ([`Config::allowed_networks`] opens what is needed).
//! - Memory is bounded: manifests are read up to 4 MiB, error bodies up to 64 KiB, blobs pass through in pieces.
//! - A [`BlobStream`] ends exactly at the descriptor's size, and survives any number of broken connections as long as it
//!   gets forward. That the bytes hash to their name is for the reader of the stream to check; manifests are checked here.
//! - An error is never "absent": only the registry itself can say that it does not have something.
//!
//! It reads no environment variables and no home directory; proxies, credential files and directories come in through
//! [`Config`] and the [`Keychain`] implementations.

mod auth;
mod backoff;
mod blob;
mod client;
mod cluster;
mod config;
mod document;
mod download;
mod error;
mod exchange;
mod failure;
mod guard;
mod hosts;
mod keychain;
mod manifest;
mod pace;
mod page;
mod part;
mod push;
mod redact;
mod referrers;
mod repo;
mod tags;
mod transport;
mod upload;

pub use auth::{Auth, Credential};
pub use blob::BlobStream;
pub use client::Client;
pub use cluster::{ApiAccess, ApiKind, ApiKinds, ApiServer, Fault, Kubeconfig, Plugin, RunPlugin};
pub use config::{Clock, Config, Lookup, Proxy};
pub use download::{Download, Wanted};
pub use error::Error;
pub use failure::Failure;
pub use ipnet::IpNet;
pub use keychain::{Cached, Chain, DockerConfig, Given, Keychain, PerHost, Scope};
pub use repo::Repo;
pub use upload::BlobOpener;

/// The result of everything in this crate.
pub type Result<T> = std::result::Result<T, Error>;
