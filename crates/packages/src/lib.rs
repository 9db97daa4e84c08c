#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod add;
mod catalog;
mod checksum;
mod clean;
mod cosign;
mod definition;
mod error;
mod fetch;
mod index;
mod keys;
mod openpgp;
mod pack;
mod packages;
mod pin;
mod signature;
mod version;
mod wish;

pub use add::{Added, Order, Origin};
pub use catalog::Catalog;
pub use clean::{CleanPolicy, Cleaned, DamagedPackage, PackageStats, PackagesVerified};
pub use definition::{Cosign, Definition, Install, OpenPgp};
pub use error::{Error, Result};
pub use index::Entry;
pub use keys::Keys;
pub use packages::{Packages, Settings, architecture};
pub use pin::Pins;
pub use version::Version;
pub use wish::{Selector, Wish};
