//! The program as users run it, against real registries, real tools, and a registry that misbehaves.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops where it is")]

mod clients;
mod copies;
mod damage;
mod hostile;
mod interruptions;
mod mounts;
mod registries;

use larder_core::Compression;
use larder_testkit::{DockerRegistry, Home, Image, ImageBuilder, Layer, Random};

/// An image with a file tree worth mounting: two gzip layers, one zstd, one plain.
fn image(seed: u64) -> Image {
    let mut random = Random::new(seed);
    ImageBuilder::new(seed)
        .layer(Layer::tree(&mut random, 60, 400_000, Compression::Gzip))
        .layer(Layer::tree(&mut random, 20, 100_000, Compression::Zstd))
        .layer(Layer::tree(&mut random, 5, 10_000, Compression::None))
        .build()
}

/// A registry that holds [`image`] as `team/app:1`, and a home for the program.
fn world(seed: u64) -> (DockerRegistry, Home, Image, String) {
    let registry = DockerRegistry::start().unwrap();
    let image = image(seed);
    registry.push(&image, "team/app", Some("1")).unwrap();
    let reference = registry.reference("team/app:1").to_string();
    (registry, Home::new().unwrap(), image, reference)
}
