//! `larder-node` as a child process, spoken to through its pipes.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod conversation;
mod cut;
mod program;
mod protocol;
mod sharing;
mod spool;
mod sweep;
mod unpack;
