//! `nodes mirror` and `preheat` with real nodes: their own sshd, containerd or Docker.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod mirror;
mod preheat;

use larder_testkit::nodes::Fleet;
use larder_testkit::{Home, Image, ImageBuilder, Outcome};
use serde_json::Value;

/// Runs larder with the inventory of a fleet and insists on the exit code.
#[track_caller]
fn run(home: &Home, fleet: &Fleet, code: i32, args: &[&str]) -> Value {
    let outcome = outcome(home, fleet, args);
    assert_eq!(outcome.code(), Some(code), "{}", outcome.describe());
    outcome.json().unwrap()
}

fn outcome(home: &Home, fleet: &Fleet, args: &[&str]) -> Outcome {
    home.larder(args.iter().chain(&["--output", "json"])).env("LARDER_INVENTORY", fleet.inventory()).run()
}

/// A small image that containerd and Docker take.
fn image(seed: u64) -> Image {
    let mut random = larder_testkit::Random::new(seed);
    let layer =
        |random: &mut _| larder_testkit::Layer::tree(random, 5, 200_000, larder_core::Compression::Gzip);
    ImageBuilder::new(seed).layer(layer(&mut random)).layer(layer(&mut random)).build()
}
