//! `larder serve` as its clients see it: the specification's sentences, real tools, and the recorded requests of tools that are
//! not installed.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod conformance;
