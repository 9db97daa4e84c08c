//! Running clusters: what their objects ask for, read over their API.
//!
//! Only GET requests are sent. Secrets are not read, nor is what a cluster says of itself (`status`): what counts is what it was
//! told to run.

mod scan;

pub use scan::{Problem, Running, RunningOptions, scan};
