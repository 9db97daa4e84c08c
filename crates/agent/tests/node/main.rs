//! `larder-node` as a child process, spoken to through its pipes.

mod conversation;
mod cut;
mod program;
mod protocol;
mod sharing;
mod spool;
mod sweep;
