//! Conformance suites: what every implementation of a public seam must do. Give a factory, get the tests.

mod keychain;
mod tier;

pub use keychain::keychain;
pub use tier::{SourceUnderTest, source, tier};
