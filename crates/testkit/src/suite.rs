//! Conformance suites: what every implementation of a public seam must do. Give a factory, get the tests.

pub mod distribution;
#[cfg(feature = "suite")]
mod keychain;
#[cfg(feature = "suite")]
mod tier;

#[cfg(feature = "suite")]
pub use keychain::keychain;
#[cfg(feature = "suite")]
pub use tier::{SourceUnderTest, source, tier};
