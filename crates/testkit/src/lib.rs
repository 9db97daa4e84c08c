#![doc = include_str!("../README.md")]

mod busybox;
mod certificate;
mod docker_registry;
mod eventually;
mod fault_registry;
mod image;
mod larder;
mod layer;
mod listing;
pub mod nodes;
mod process;
mod random;
mod raw_request;
mod recorded_api;
mod serve;
pub mod suite;
mod tar_builder;
mod tmpfs;
pub mod tools;

pub use busybox::busybox;
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
pub use recorded_api::{Answers, RecordedApi};
pub use serve::Serve;
pub use tar_builder::{Member, TarBuilder};
pub use tmpfs::Tmpfs;
