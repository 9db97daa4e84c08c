//! `larder serve` as its clients see it: the specification's sentences, real tools, and the recorded requests of tools that are
//! not installed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod again;
mod audit;
mod clients;
mod conformance;
mod crowd;
mod disk;
mod engines;
mod flip;
mod kill;
mod leaving;
mod limits;
mod pair;
mod raw;
mod recorded;
mod secure;
mod words;
