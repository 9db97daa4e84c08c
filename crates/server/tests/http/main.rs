//! The server over real sockets, in this process, on a store of its own.

#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

mod files;
mod house;
mod requests;
mod roles;
