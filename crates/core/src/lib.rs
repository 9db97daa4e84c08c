//! The vocabulary of larder: the words every other crate speaks.
//!
//! [`Reference`], [`Digest`], [`Descriptor`], [`Platform`], [`Manifest`] are parsed once into types that cannot
//! hold a wrong value; [`Kind`] classifies every error of the workspace; [`Event`] is how progress leaves a library.
//!
//! This crate parses and prints. It does no I/O, reads no clock and no environment, and knows nothing of async.

mod config;
mod descriptor;
mod digest;
mod error;
mod event;
mod manifest;
mod media_type;
mod platform;
mod quantity;
mod reference;
mod secret;

pub use config::{History, ImageConfig, RootFs, RunConfig};
pub use descriptor::Descriptor;
pub use digest::{Algorithm, Digest, Hasher};
pub use error::{Classify, Error, Kind, report};
pub use event::{Event, Progress, Tier, silent};
pub use manifest::{Document, ImageManifest, Index, MANIFEST_LIMIT, Manifest};
pub use media_type::{Compression, MediaType};
pub use platform::{Platform, Selection};
pub use quantity::{Bytes, Span};
pub use reference::{Reference, Registry, Repository, RepositoryName, Tag};
pub use secret::Secret;
