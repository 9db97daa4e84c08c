//! What the client does on the wire, against servers that follow a script.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod auth;
mod blob;
mod hosts;
mod keychain;
mod leaks;
mod manifest;
mod push;
mod registry;
mod retry;
mod server;
mod tls;
