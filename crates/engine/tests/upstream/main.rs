//! Standing in front of a registry that misbehaves to order.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod access;
mod blobs;
mod faults;
mod housekeeping;
mod lists;
mod locked;
mod manifests;
mod private;
mod real;
mod strangers;
mod trouble;
mod world;
