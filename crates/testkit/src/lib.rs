//! What the tests of larder are made with. Never part of the product.
//!
//! - [`FaultRegistry`]: a registry in this process that goes wrong by script and logs what it was asked.
//! - [`DockerRegistry`]: a real registry as a child process.
//! - [`ImageBuilder`], [`IndexBuilder`], [`Layer`], [`TarBuilder`]: images in memory, from a seed, honest or not.
//! - [`tools`]: skopeo, umoci and buildah, without a trace on the machine.
//! - [`Home`]: the real `larder` program in a world of its own; [`Process`] for any other program.
//! - [`RawRequest`]: HTTP as it is on the wire.
//! - [`Listing`], [`Tmpfs`], [`Random`], [`eventually`]: comparing trees, full disks, seeded chance, waiting.
//!
//! Children die with the test process, temporary directories with the value that made them, and a missing tool is an error
//! that says which package to install.

mod certificate;
mod docker_registry;
mod eventually;
mod fault_registry;
mod image;
mod larder;
mod layer;
mod listing;
mod process;
mod random;
mod raw_request;
#[cfg(feature = "suite")]
pub mod suite;
mod tar_builder;
mod tmpfs;
pub mod tools;

pub use certificate::{Certificate, Flaw};
pub use docker_registry::{DockerRegistry, DockerRegistryOptions};
pub use eventually::{eventually, eventually_async};
pub use fault_registry::{Access, Fault, FaultRegistry, Hits, Logged, Rule};
pub use image::{Image, ImageBuilder, IndexBuilder, referrers_tag, signature_tag};
pub use larder::{Home, Larder};
pub use layer::{Family, Layer, Packing, pack};
pub use listing::{Ignore, Listed, ListedKind, Listing};
pub use process::{Outcome, Process, Running};
pub use random::Random;
pub use raw_request::{RawEnd, RawRequest, RawResponse};
pub use tar_builder::{Member, TarBuilder};
pub use tmpfs::Tmpfs;
